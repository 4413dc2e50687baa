"""A model and its inputs become a tree of labelled signals."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_gates import store as stores
from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.checks import names_of, whole_number
from keras_gates.collect import Collector, Emission
from keras_gates.inputs import iterate, number_of_batches
from keras_gates.instrument import instrument_nodes
from keras_gates.nodes import Node, select, walk
from keras_gates.tree import to_tree

if TYPE_CHECKING:
    import xarray


def capture(
    model: keras.Model,
    x: Any,
    *,
    layers=None,
    signals=None,
    batch_size: int = 32,
    training: bool = False,
    store=None,
    verbose: int = 0,
) -> "xarray.DataTree":
    """Runs a model and returns every gate, at every step, for every unit.

    The model is left exactly as it was, also when the call fails half way: same
    layers, same weights, same states, same random seeds.

    Args:
        model: A built `keras.Model` with LSTM or GRU layers, stock layers or gate
            layers: Sequential, functional, subclassed or nested.
        x: Anything that `model.predict` takes and that ends: an array, a list or a
            dict of arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch
            `DataLoader`, a generator.
        layers: Names, paths or glob patterns of the layers to capture, one or
            several. Default: all.
        signals: Names of the signals to capture, one or several, of
            `input`, `forget`, `candidate`, `output`, `update`, `reset`, `cell`,
            `hidden`. Default: all.
        batch_size: Number of samples in a batch, when `x` does not come in batches.
        training: Whether the model runs in training mode, with dropout.
        store: Path of a Zarr store to be written batch by batch, in place of memory.
            It must not exist yet. The tree that comes back then reads from it.
        verbose: 1 shows a progress bar.

    Returns:
        A tree with one node for each recurrent layer, named by the path of layer
        names that leads to it; the second call of a shared layer is `"lstm@2"`, and
        the layers of a stack of cells are `"rnn/lstm_cell"`. Each node is a dataset
        with one variable for each signal, dimensions `(sample, time, unit)`, float32,
        time in the order of the input also for a layer that reads it backwards,
        masked steps NaN, and `mask` `(sample, time)` where there was one. Inside a
        `TimeDistributed` the dimensions are `(sample, frame, time, unit)`. The
        coordinates `initial_hidden` and `initial_cell` `(sample, unit)` are the
        states before the first step. Batches of different lengths are padded at the
        end with masked steps.

    Raises:
        ValueError: If the model is not built, has no LSTM or GRU, or one whose
            equations are not known; if `layers` or `signals` name what is not there;
            if `x` is empty, does not fit the model, or holds NaN; on JAX, if a layer
            runs inside `keras.remat`.
        FileExistsError: If `store` exists.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> gates = keras_gates.capture(model, np.ones((3, 5, 1)))
        >>> gates["lstm/forget"].dims, gates["lstm/forget"].shape
        (('sample', 'time', 'unit'), (3, 5, 4))
    """
    reader = Reader(model, layers=layers, signals=signals, training=training)
    if store is not None:
        store = stores.new_path(store)
    # Closed by hand: the model is put back when the reading ends, also by an error.
    with contextlib.closing(
        reader.read(x, batch_size=batch_size, verbose=verbose)
    ) as batches:
        if store is None:
            return reader.tree(list(batches))
        return stores.write(store, (reader.tree([batch]) for batch in batches))


class Reader:
    """Reads the signals of one model, batch by batch, as often as asked.

    The compiled function is kept, so that a second reading costs no compilation.

    Args:
        model: As for `capture`.
        layers: As for `capture`.
        signals: As for `capture`.
        training: As for `capture`.
    """

    def __init__(self, model, *, layers=None, signals=None, training=False):
        self.model = model
        self.nodes = select(model, layers)
        chosen = choose(self.nodes, signals)
        self._program = _Program(model, self.nodes, chosen, training)
        self._program.run_eagerly = bool(getattr(model, "run_eagerly", False))

    def read(self, x, *, batch_size=32, verbose=0, argument="x") -> Iterator[dict]:
        """Yields the signals of one batch after the other.

        Args:
            x: As for `capture`.
            batch_size: As for `capture`.
            verbose: As for `capture`.
            argument: The name of `x` in error messages.

        Yields:
            Node path to a dict of arrays: the signals, the initial states and, where
            there is one, the mask.
        """
        batch_size = whole_number("batch_size", batch_size, at_least=1)
        total = number_of_batches(x, batch_size)
        progress = keras.utils.Progbar(total, verbose=verbose, unit_name="batch")
        found: set[str] = set()
        with contextlib.ExitStack() as stack:
            stack.enter_context(_state_kept(self.model))
            stack.enter_context(backend.random_state_kept())
            stack.enter_context(instrument_nodes(self.model, self.nodes))
            for batch in iterate(x, self.model, batch_size, argument):
                result = self._program.run(batch)
                if not found:
                    self._check_complete(result)
                    found = set(result)
                elif found != set(result):
                    other = sorted(found.symmetric_difference(result))
                    raise RuntimeError(
                        f"{other} ran in some batches and not in others, so their "
                        "samples would not line up. Name the other layers in "
                        "`layers`; and if another thread uses the model "
                        f"'{self.model.name}', capture it in one at a time."
                    )
                progress.add(1)
                yield {path: dict(arrays) for path, arrays in result.items()}
        if not found:
            raise ValueError(f"`{argument}` is empty: it has no batch to run.")

    def _check_complete(self, result) -> None:
        silent = [node.path for node in self.nodes if node.path not in result]
        if len(silent) == len(self.nodes):
            raise ValueError(
                f"None of the layers {silent} ran when the model was called, or they "
                "ran inside a function that was compiled before, so there are no gates "
                "to read."
            )
        if silent:
            warnings.warn(
                f"The layers {silent} did not run when the model was called; the "
                "result has no gates of them.",
                stacklevel=4,
            )

    def tree(self, batches: list[dict]) -> "xarray.DataTree":
        """Labels the batches that `read` yielded, as one tree."""
        return to_tree(batches, self.nodes, self.model.name)


class _Program(keras.Model):
    """A model that runs the user's model and returns the signals it hears.

    As a Keras model it gets compilation on every backend from Keras itself.
    """

    def __init__(self, model, nodes: list[Node], chosen: set[str], training: bool):
        # Inputs go to the user's model as they are; it casts them itself.
        super().__init__(autocast=False, name="keras_gates")
        self.model = model
        self._places = [(node.layer, node.cell) for node in nodes]
        self._paths = {(id(node.layer), id(node.cell)): node.path for node in nodes}
        self._chosen = chosen
        self._training = training
        self._missed: set[str] = set()
        self._uncompiled = self._ran = False
        self.built = True

    def run(self, batch) -> dict:
        """Runs one batch, and returns path to name to array."""
        before = None if self._ran else _state_of(self.model)
        result = self._run(batch)
        self._ran = True
        if before and self._missed:
            # Once more, step by step, without any function that is compiled on its own.
            _put_back(before)
            self._missed, self._uncompiled = set(), True
            self.run_eagerly, self.predict_function = True, None
            result = self._run(batch)
        if self._missed:
            raise ValueError(
                f"The gates of {sorted(self._missed)} cannot be read: the model runs "
                "them inside a function that the backend differentiates or compiles on "
                "its own (`keras.remat`, `jax.checkpoint` and the like), which their "
                "values cannot leave. Call these layers outside of that function, or "
                "name other ones in `layers`."
            )
        # In the scope of a `tf.distribute` strategy, which only TensorFlow's models
        # have, every replica runs the whole batch, and the results are joined.
        strategy = getattr(self, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        if replicas == 1:
            return result
        return keras.tree.map_structure(lambda a: a[: len(a) // replicas], result)

    def _run(self, batch) -> dict:
        with backend.uncompiled() if self._uncompiled else contextlib.nullcontext():
            return self.predict_on_batch(batch)

    def call(self, inputs):
        with backend.opened(), Collector(self._places).active() as collector:
            self.model(inputs, training=self._training)
        self._missed |= {
            self._paths[id(layer), id(cell)] for layer, cell in collector.missed
        }
        results = {}
        for emission in collector.emissions:
            key = path = self._paths[id(emission.layer), id(emission.cell)]
            calls = 1
            while key in results or (calls > 1 and key in self._paths.values()):
                calls += 1
                key = f"{path}@{calls}"
            results[key] = _for_the_host(emission, self._chosen)
        return results


def _for_the_host(emission: Emission, chosen: set[str]) -> dict:
    """Turns what a layer emitted into float32, input order, and NaN where masked."""

    def in_order(tensor, axis):
        return ops.flip(tensor, axis=axis) if emission.go_backwards else tensor

    arrays = {}
    mask = emission.mask
    for name, signal in emission.signals.items():
        if name in chosen:
            signal = ops.cast(signal, "float32")
            if mask is not None:
                signal = ops.where(ops.expand_dims(mask, -1), signal, float("nan"))
            arrays[name] = in_order(signal, -2)
    for name, state in emission.initial.items():
        arrays[v.initial(name)] = ops.cast(state, "float32")
    if mask is not None:
        arrays[v.MASK] = in_order(mask, -1)
    return arrays


def choose(nodes: list[Node], signals) -> set[str]:
    """Checks the names of signals against the chosen layers."""
    available = dict.fromkeys(s for node in nodes for s in node.kind.signals)
    if signals is None:
        return set(available)
    signals = names_of("signals", signals)
    for signal in signals:
        if signal not in available:
            where = ", ".join(f"'{node.path}' ({node.kind.name})" for node in nodes)
            elsewhere = [k.name for k in v.KINDS.values() if signal in k.signals]
            hint = f", which is a signal of a {elsewhere[0]}" if elsewhere else ""
            names = ", ".join(repr(name) for name in available)
            raise ValueError(
                f"`signals` must be among {names} for {where}; got {signal!r}{hint}."
            )
    return set(signals)


@contextlib.contextmanager
def _state_kept(model):
    """Puts back whatever running the model changes: states, statistics, seeds."""
    kept = _state_of(model)
    try:
        yield
    finally:
        _put_back(kept)


def _state_of(model) -> list[tuple]:
    """Returns whatever running the model changes, with its values."""
    # Trainable weights too: in training mode a layer may rewrite its own.
    changing = [*model.variables, *model.metrics_variables]
    for _, layer in walk(model):
        if isinstance(layer, keras.layers.RNN) and layer.states is not None:
            changing += keras.tree.flatten(layer.states)
    return [(var, ops.convert_to_numpy(var).copy()) for var in changing]


def _put_back(kept: list[tuple]) -> None:
    for variable, value in kept:
        variable.assign(value)
