"""Converting the recurrent layers of a model to gate layers, in place, and back."""

import dataclasses
import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import keras

from keras_gates.layers.gate_mixins import GateRecurrence
from keras_gates.layers.wrappers import GATE_CLASSES, added
from keras_gates.models.edit_programs import FUNCTIONS
from keras_gates.models.find_layers import Node, select, walk
from keras_gates.models.model_checks import require_model

_lock = threading.RLock()
_holders: dict[int, set["Holder"]] = {}
"""The holders of each converted layer, by its `id`.

Several threads may use one model. A layer is restored when it has no holder any more.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Holder:
    """A run or a call that needs layers to be converted.

    Attributes:
        lasting: Whether `restore` ends this need.
        fast: Whether the layers run in a fast kernel as long as it lasts.
    """

    lasting: bool = False
    fast: bool = False


class Instrumented:
    """Holds the layers that one call of `instrument` converted, to restore them.

    Use it as a context manager, or ignore it and call `restore`.
    """

    def __init__(self, model, layers, holder=None):
        self.model = model
        self._layers = layers
        self._holder = holder or Holder()
        with _lock:
            for layer in layers:
                _turn(layer, self._holder)

    def __enter__(self):
        return self.model

    def __exit__(self, *_):
        with _lock:
            for layer in self._layers:
                _turn_back(layer, lambda holder: holder is self._holder)


def instrument(model: keras.Model) -> Instrumented:
    """Converts the recurrent layers of a model to gate layers, in place.

    The layers stay the same objects, with the same weights, the same optimizer state
    and the same predictions. Every `LSTM` becomes a `GateLSTM`, every `GRU` a
    `GateGRU`, every `SimpleRNN` a layer that returns its hidden state, and every `RNN`
    around other cells a layer that returns their signals. Wrappers and stacks around
    them are converted too. Layers that are already gate layers stay as they are. A
    converted model is saved, pickled and exported as the original model.

    Args:
        model: A `keras.Model`, of any style, with recurrent layers that are built.

    Returns:
        A context manager that restores the layers at the end of a `with` block. Without
        such a block, call `restore(model)`.

    Raises:
        ValueError: If the recurrent layers are not built, if there are none,
            or if there is a recurrent layer whose equations are not known.

    Example:
        >>> import keras, keras_gates
        >>> model = keras.Sequential([keras.Input((5, 1)), keras.layers.LSTM(4)])
        >>> with keras_gates.instrument(model):
        ...     isinstance(model.layers[0], keras_gates.GateLSTM)
        True
        >>> isinstance(model.layers[0], keras_gates.GateLSTM)
        False
    """
    layers = layers_to_convert(model, select(model, None))
    return Instrumented(model, layers, Holder(lasting=True))


def instrument_layers(model: keras.Model, layers: list) -> Instrumented:
    """Converts the given layers of a model, for a run that `restore` leaves alone."""
    return Instrumented(model, layers)


def layers_to_convert(model: keras.Model, nodes: list[Node]) -> list:
    """Lists the layers of the given nodes, and the wrappers around them."""
    chosen = {id(node.layer): node.layer for node in nodes}
    wrappers = (keras.layers.Bidirectional, keras.layers.TimeDistributed)
    for path, layer in walk(model):
        if isinstance(layer, wrappers) and any(
            id(inner) in chosen for _, inner in walk(layer)
        ):
            _require_stock_call(path, layer)
            chosen[id(layer)] = layer
    return list(chosen.values())


def _require_stock_call(path: str, layer) -> None:
    """Refuses a `TimeDistributed` of the user's own: its frames cannot be folded."""
    stock = keras.layers.TimeDistributed
    if isinstance(layer, stock) and "call" in added(layer):
        raise ValueError(
            f"'{path}' is a `{type(layer).__name__}`, which changes the `call` of "
            "`TimeDistributed`, so the recurrent layer inside cannot be captured. "
            "`capture` and `GateRecorder` leave it out if `layers` names other layers."
        )


def restore(model: keras.Model) -> keras.Model:
    """Restores every layer that `instrument` or `accelerate` converted.

    A layer that a capture or a recorder in another thread is running is restored when
    that run ends.

    Args:
        model: The model. A model that was never instrumented is left as it is.

    Returns:
        The same model.

    Example:
        >>> import keras, keras_gates
        >>> model = keras.Sequential([keras.Input((5, 1)), keras.layers.GRU(4)])
        >>> handle = keras_gates.instrument(model)
        >>> type(keras_gates.restore(model).layers[0]) is keras.layers.GRU
        True
    """
    require_model(model)
    with _lock:
        slower = [
            _turn_back(layer, lambda holder: holder.lasting) for _, layer in walk(model)
        ]
    if any(slower):
        compile_anew(model)
    return model


def fast_paths(model: keras.Model) -> list[str]:
    """Lists the layers of a model that were converted to run in a fast kernel."""
    return [
        path
        for path, layer in walk(model)
        if isinstance(layer, _Converted) and "kernel" in vars(layer)
    ]


def compile_anew(model: keras.Model) -> None:
    """Drops the functions that Keras compiled for a model, as they hold old kernels."""
    for name in FUNCTIONS:
        setattr(model, name, None)


def _turn(layer: Any, holder: Holder) -> None:
    """Converts one layer to its gate layer, unless it is one, and notes the holder."""
    cls: Any = type(layer)
    if not issubclass(cls, _Converted):
        if issubclass(cls, tuple(GATE_CLASSES.values())):
            return
        layer.__class__ = _turned(cls)
    if id(layer) not in _holders:
        _holders[id(layer)] = set()
        # An `id` is given out again after the layer is gone.
        weakref.finalize(layer, _holders.pop, id(layer), None).atexit = False
    _holders[id(layer)].add(holder)
    if holder.fast:
        vars(layer)["kernel"] = "fast"


def _turn_back(layer, ends: Callable[[Holder], bool]) -> bool:
    """Restores one layer, if it has no holder any more.

    Returns:
        Whether it ran in a fast kernel before, and does not now.
    """
    if not issubclass(type(layer), _Converted):
        return False
    holders = _holders.get(id(layer), set())
    holders -= {holder for holder in holders if ends(holder)}
    slower = not any(holder.fast for holder in holders) and "kernel" in vars(layer)
    if slower:
        del vars(layer)["kernel"]
    if not holders:
        layer.__class__ = type(layer).stock_class
    return slower


class _Converted:
    """Marks the classes of converted layers, which know the layer's original class."""

    stock_class: Any

    @classmethod
    def from_config(cls, *args, **kwargs):
        """Makes a copy of the original layer, as a converted copy is never restored."""
        return cls.stock_class.from_config(*args, **kwargs)


@functools.cache
def _turned(stock: Any) -> type:
    """Makes the gate class of a stock class, or of a user's subclass of one.

    Keras saves a layer under the module, the name and the registered name of its
    class. They are those of the stock class, so that Keras loads the original layer.
    """
    gate = next(GATE_CLASSES[cls] for cls in stock.__mro__ if cls in GATE_CLASSES)
    public = getattr(keras.layers, stock.__name__, None) is stock
    attributes = {
        "__init__": stock.__init__,
        "__module__": "keras.layers" if public else stock.__module__,
        "stock_class": stock,
    }
    if issubclass(gate, GateRecurrence):
        # A converted layer never returns gates. So the arguments of a user's layer are
        # passed to its own methods as they are, whatever these methods take.
        for name in ("call", "compute_output_shape", "compute_mask", "get_config"):
            attributes[name] = getattr(stock, name)
    converted = type(stock.__name__, (_Converted, gate, stock), attributes)
    full_name = keras.saving.get_registered_name(stock)
    package, _, name = full_name.rpartition(">")
    if package:
        # The class that is found under the name now must be found later too, so it is
        # registered last. If the user has defined the class again, it is another class.
        found = keras.saving.get_registered_object(full_name) or stock
        for cls in (converted, found):
            keras.saving.register_keras_serializable(package, name)(cls)
    return converted
