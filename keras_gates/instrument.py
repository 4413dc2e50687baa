"""Turning the recurrent layers of a model into gate layers, in place, and back."""

import fnmatch
import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_gates import vocabulary as v
from keras_gates.checks import names_of
from keras_gates.layers import GateGRU, GateLSTM, GateRNN, cells_of, kind_of
from keras_gates.wrappers import GateBidirectional, GateTimeDistributed

GATE_CLASSES = {
    keras.layers.LSTM: GateLSTM,
    keras.layers.GRU: GateGRU,
    keras.layers.RNN: GateRNN,
    keras.layers.Bidirectional: GateBidirectional,
    keras.layers.TimeDistributed: GateTimeDistributed,
}


class Node(NamedTuple):
    """A place in a model where gates can be read.

    Attributes:
        path: The names of the layers that lead to it, joined by "/".
        layer: The recurrent layer.
        cell: The cell whose gates they are, the layer's own or one of its stack.
        kind: The kind of the cell, or `None` if its equations are not known.
    """

    path: str
    layer: keras.layers.RNN
    cell: Any
    kind: v.Kind | None


class Instrumented:
    """Holds the layers that one call of `instrument` turned, to turn them back.

    Use it as a context manager, or forget it and call `restore`.
    """

    def __init__(self, model, turned):
        self.model = model
        self._turned = turned

    def __enter__(self):
        return self.model

    def __exit__(self, *_):
        for layer in self._turned:
            _turn_back(layer)


def instrument(model: keras.Model) -> Instrumented:
    """Turns the recurrent layers of a model into gate layers, in place.

    The layers stay the same objects, with the same weights, the same optimizer state
    and the same predictions. Every `LSTM` becomes a `GateLSTM`, every `GRU` a
    `GateGRU`; wrappers and stacks around them are made ready too. Layers that are
    gate layers already are left alone. A model that is saved, pickled or exported
    meanwhile is saved as the model it was.

    Args:
        model: A built `keras.Model`, of any style, with an LSTM or a GRU in it.

    Returns:
        A context manager that turns the layers back at the end of a `with` block.
        Without one, call `restore(model)`.

    Raises:
        ValueError: If the model is not built, holds no LSTM or GRU, or holds a
            recurrent layer whose equations are not known.

    Example:
        >>> import keras, keras_gates
        >>> model = keras.Sequential([keras.Input((5, 1)), keras.layers.LSTM(4)])
        >>> with keras_gates.instrument(model):
        ...     isinstance(model.layers[0], keras_gates.GateLSTM)
        True
        >>> isinstance(model.layers[0], keras_gates.GateLSTM)
        False
    """
    return instrument_nodes(model, select(model, None))


def instrument_nodes(model: keras.Model, nodes: list[Node]) -> Instrumented:
    """Turns the layers of the given nodes, and the wrappers around them."""
    chosen = {id(node.layer): node.layer for node in nodes}
    wrappers = (keras.layers.Bidirectional, keras.layers.TimeDistributed)
    for path, layer in walk(model):
        if isinstance(layer, wrappers) and any(
            id(inner) in chosen for _, inner in walk(layer)
        ):
            _require_stock_call(path, layer)
            chosen[id(layer)] = layer
    return Instrumented(model, [layer for layer in chosen.values() if _turn(layer)])


def _require_stock_call(path: str, layer) -> None:
    """Refuses a `TimeDistributed` of the user's own: its frames cannot be folded."""
    stock = keras.layers.TimeDistributed
    if isinstance(layer, stock) and "call" in _added(layer):
        raise ValueError(
            f"'{path}' is a `{type(layer).__name__}`, which changes the `call` of "
            "`TimeDistributed`, so the recurrent layer inside cannot be captured. "
            "Leave it out: name the other layers in `layers`."
        )


def _added(layer) -> set[str]:
    """Returns the names that a user's subclass adds to Keras's class and to ours."""
    known = {base for cls in GATE_CLASSES.values() for base in cls.__mro__}
    return {name for cls in set(type(layer).__mro__) - known for name in vars(cls)}


def restore(model: keras.Model) -> keras.Model:
    """Turns every layer that `instrument` turned back into what it was.

    Args:
        model: The model; one that was never instrumented is left as it is.

    Returns:
        The same model.

    Example:
        >>> import keras, keras_gates
        >>> model = keras.Sequential([keras.Input((5, 1)), keras.layers.GRU(4)])
        >>> handle = keras_gates.instrument(model)
        >>> type(keras_gates.restore(model).layers[0]) is keras.layers.GRU
        True
    """
    _require_model(model)
    for _, layer in walk(model):
        _turn_back(layer)
    return model


def _turn(layer) -> bool:
    """Turns one layer into its gate layer; tells whether there was need to."""
    stock = type(layer)
    if issubclass(stock, tuple(GATE_CLASSES.values())):
        return False
    layer.__class__ = _turned(stock)
    return True


def _turn_back(layer) -> None:
    if issubclass(type(layer), _Turned):
        layer.__class__ = type(layer).stock_class


class _Turned:
    """Marks the classes of turned layers, which remember what the layer was."""

    stock_class: type


@functools.cache
def _turned(stock: type) -> type:
    """Makes the gate class of a stock class, or of a user's subclass of one.

    Keras saves a layer under the module, the name and the registered name of its
    class. They are those of the stock class, so that Keras loads it as what it was.
    """
    gate = next(GATE_CLASSES[cls] for cls in stock.__mro__ if cls in GATE_CLASSES)
    public = getattr(keras.layers, stock.__name__, None) is stock
    attributes = {
        "__init__": stock.__init__,
        "__module__": "keras.layers" if public else stock.__module__,
        "stock_class": stock,
    }
    turned = type(stock.__name__, (_Turned, gate, stock), attributes)
    package, _, name = keras.saving.get_registered_name(stock).rpartition(">")
    if package:
        # The stock class comes last: it is the one to be found under the name.
        for cls in (turned, stock):
            keras.saving.register_keras_serializable(package, name)(cls)
    return turned


def walk(layer, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every layer inside a layer or model, with the path that leads to it.

    A layer that is found twice is yielded once, at its first path. Of two layers at
    one path, the second gets "#2" behind it.
    """
    seen, paths = set(), {}

    def visit(parent, prefix):
        for child in _sublayers(parent):
            if id(child) in seen:
                continue
            seen.add(id(child))
            path = f"{prefix}{child.name}"
            paths[path] = paths.get(path, 0) + 1
            if paths[path] > 1:
                path = f"{path}#{paths[path]}"
            yield path, child
            yield from visit(child, f"{path}/")

    yield from visit(layer, path)


def _sublayers(layer) -> list:
    if isinstance(layer, keras.Model):
        return layer.layers
    # Private to Keras, and the only way to the layers that a custom layer holds. If
    # it changes, layers inside layers are no longer found, and a test says so.
    return layer._flatten_layers(include_self=False, recursive=False)


def find_nodes(model: keras.Model) -> list[Node]:
    """Lists the places in a model where gates are, known or not, in order.

    Layers without gates (`SimpleRNN`) are left out.
    """
    nodes = []
    for path, layer in walk(model):
        if not isinstance(layer, keras.layers.RNN):
            continue
        names = Counter()
        for name, cell in cells_of(layer):
            if isinstance(cell, keras.layers.SimpleRNNCell):
                continue
            names[name] += 1
            twin = f"#{names[name]}" if names[name] > 1 else ""
            place = f"{path}/{name}{twin}" if name else path
            changed = "inner_loop" in _added(layer)
            kind = None if changed else kind_of(cell)
            nodes.append(Node(place, layer, cell, kind))
    return nodes


def select(model: keras.Model, patterns) -> list[Node]:
    """Chooses the nodes of a model whose path or name matches a pattern.

    Args:
        model: A built model.
        patterns: A name or glob pattern, several of them, or `None` for all.

    Returns:
        The chosen nodes, at least one, all of a known kind.

    Raises:
        ValueError: If the model is not built or has no gates, if a pattern matches
            nothing, or if a chosen layer's equations are not known.
    """
    _require_model(model)
    if not model.built:
        raise ValueError(
            f"The model '{model.name}' is not built yet, so it has no weights. Call it "
            "once on a batch, or begin it with a `keras.Input`."
        )
    nodes = find_nodes(model)
    if not nodes:
        raise ValueError(
            f"The model '{model.name}' has no LSTM or GRU layer; it has "
            f"{_list_of(type(layer).__name__ for _, layer in walk(model))}."
        )
    chosen = nodes
    if patterns is not None:
        patterns = names_of("layers", patterns)
        chosen = [node for node in nodes if any(_matches(node, p) for p in patterns)]
        for pattern in patterns:
            if not any(_matches(node, pattern) for node in nodes):
                raise ValueError(
                    f"`layers` must name recurrent layers of the model; {pattern!r} "
                    f"matches none of {_list_of(node.path for node in nodes)}."
                )
    for node in chosen:
        if node.kind is None:
            known = [other.path for other in nodes if other.kind is not None]
            way_out = (
                f"Leave it out with `layers={known}`."
                if known
                else "Build the layer from `LSTMCell` or `GRUCell`."
            )
            raise ValueError(
                f"The equations of '{node.path}' are not known: it is a "
                f"`{type(node.layer).__name__}` with a `{type(node.cell).__name__}`, "
                "and keras_gates reads Keras's `LSTMCell` and `GRUCell` in Keras's own "
                f"`inner_loop`. {way_out}"
            )
    return chosen


def _matches(node: Node, pattern: str) -> bool:
    """Tells whether a pattern names a node, or a layer around it, by path or name."""
    parts = node.path.split("/")
    paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return any(
        name == pattern or fnmatch.fnmatchcase(name, pattern)
        for name in (*paths, *parts)
    )


def _list_of(words) -> str:
    return ", ".join(f"'{word}'" for word in dict.fromkeys(words)) or "no layers"


def _require_model(model) -> None:
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a `keras.Model`; got {type(model).__name__}. Put a "
            "single layer into a `keras.Sequential` first."
        )
