"""A model and its inputs become a tree of labelled signals."""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.cells import registry
from keras_gates.checks import flag, names_of, one_of, whole_number
from keras_gates.layers.collect import Collector, Emission
from keras_gates.models import batches, shapes
from keras_gates.models.copies import Copies, finish_building
from keras_gates.models.instrumenting import instrument_layers, layers_to_convert
from keras_gates.models.nodes import Node, require_call, select
from keras_gates.stores import paths
from keras_gates.stores import store as stores
from keras_gates.trees.tree import to_tree

if TYPE_CHECKING:
    import xarray

VERBOSE = (0, 1, 2)
"""What Keras's own progress bar takes."""


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
    layers, same weights, same states, same random seeds. It runs on copies of its
    variables, taken at the start: other threads may use the model meanwhile, and the
    gates are those of one state of it. On JAX, where Keras takes the variables from
    the model while `predict` or `fit` runs, a capture in another thread waits for the
    end of it, for ten seconds.

    Args:
        model: A `keras.Model` with LSTM, GRU or SimpleRNN layers, stock or gate layers:
            Sequential, functional, subclassed or nested. A model that is not built
            yet is built on the first batch, as `predict` does.
        x: Anything that `model.predict` takes and that ends: an array, a list or a
            dict of arrays, `None` among them for an optional input; a table of
            pandas, a sparse array, a tensor of any backend; a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a PyTorch `DataLoader`, a generator.
        layers: Names, paths or glob patterns of the layers to capture, one or
            several. Default: all.
        signals: Names of the signals to capture, one or several, of
            `input`, `forget`, `candidate`, `output`, `update`, `reset`, `cell`,
            `hidden`. Default: all.
        batch_size: Number of samples in a batch, when `x` does not come in batches.
        training: Whether the model runs in training mode, with dropout.
        store: Path of a Zarr store to be written batch by batch, in place of memory.
            It must not exist yet. The tree that comes back then reads from it.
            Hidden folders of captures that were killed are removed beside it.
        verbose: 1 shows a progress bar.

    Returns:
        A tree with one node for each recurrent layer, named by the path of layer
        names that leads to it; the second call of a shared layer is `"lstm@2"`, and
        the layers of a stack of cells are `"rnn/lstm_cell"`. A layer inside another
        recurrent layer of other sizes, which cannot lie below it in a tree, lies beside
        it: `"outer.inner"`, with `"outer/inner"` as its `layer`. Each node is a dataset
        with one variable for each signal, dimensions `(sample, time, unit)`, float32,
        time in the order of the input also for a layer that reads it backwards,
        masked steps NaN, and `mask` `(sample, time)` where there was one. Inside a
        `TimeDistributed` the dimensions are `(sample, frame, time, unit)`. The
        coordinates `initial_hidden` and `initial_cell` `(sample, unit)` are the
        states before the first step. Batches of different lengths are padded at the
        end with masked steps.

    Raises:
        ValueError: If the model has no `call`, no recurrent layer, or one whose
            equations are not known; if `layers` or `signals` name what is not there;
            if `x` is empty or endless, does not fit the model, or holds NaN that
            reaches a recurrent layer at a step that is not masked; on JAX, if a layer
            runs inside `keras.remat`.
        TypeError: If an argument has the wrong type.
        FileExistsError: If `store` exists.
        OSError: Before the model runs, if `store` cannot be written.
        RuntimeError: On JAX, if another thread trains the model.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> gates = keras_gates.capture(model, np.ones((3, 5, 1)))
        >>> gates["lstm/forget"].dims, gates["lstm/forget"].shape
        (('sample', 'time', 'unit'), (3, 5, 4))
    """
    require_call(model)
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    training = flag("training", training)
    one_of("verbose", verbose, VERBOSE)
    store = paths.new_path(store)
    if not model.built:
        x = batches.build(model, x, batch_size, "x")
    reader = Reader(model, layers=layers, signals=signals, training=training)
    read = reader.read(x, batch_size=batch_size, verbose=verbose)
    if store is None:
        return reader.tree(list(read))
    with contextlib.closing(read):
        return stores.write(store, (reader.tree([batch]) for batch in read))


class Reader:
    """Reads the signals of one model, batch by batch, as often as asked.

    The compiled function is kept, so that a second reading costs no compilation. One
    reader is for one thread; several readers may read one model at once.

    Args:
        model: As for `capture`.
        layers: As for `capture`.
        signals: As for `capture`.
        training: As for `capture`.
    """

    def __init__(self, model, *, layers=None, signals=None, training=False):
        self.model = model
        nodes = select(model, layers)
        self._chosen = choose(nodes, signals)
        self.nodes = [node for node in nodes if self._chosen & set(node.kind.signals)]
        self._training = training
        self._layers = layers_to_convert(model, self.nodes)
        self._program: _Program | None = None

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
        total = batches.number_of_batches(x, batch_size)
        progress = keras.utils.Progbar(total, verbose=verbose, unit_name="batch")
        found: set[str] = set()
        so_far = batches.SoFar(total, argument)
        numbers = backend.RandomNumbers()
        for batch in batches.iterate(x, self.model, batch_size, argument):
            if not found:
                program = self._start(batch)
            with (
                instrument_layers(self.model, self._layers),
                numbers.apart(),
                shapes.ragged_explained(batch, argument),
            ):
                result = program.run(batch)
            shapes.refuse_missing(batch, result, self.model, argument)
            so_far.add(result)
            if not found:
                self._check_complete(result)
                found = set(result)
            elif found != set(result):
                other = sorted(found.symmetric_difference(result))
                raise RuntimeError(
                    f"{other} ran in some batches and not in others, so their samples "
                    "would not line up. Name the other layers in `layers`."
                )
            progress.add(1)
            yield {path: dict(arrays) for path, arrays in result.items()}

    def _start(self, batch) -> "_Program":
        """Makes the program once, and lets it run on the model as it is now."""
        if self._program is None:
            finish_building(self.model, batch)
            self._program = _Program(
                self.model, self.nodes, self._chosen, self._training
            )
        self._program.copies.take()
        return self._program

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
        self.copies = Copies(model)
        self._variables = self.copies.variables
        self._missed: set[str] = set()
        self._uncompiled = self._ran = False
        # In a function, where Keras does not find the model: it would write on it.
        self._signals = functools.partial(
            _signals, model, nodes, chosen, training, self._missed
        )
        self.run_eagerly = bool(getattr(model, "run_eagerly", False))
        self.built = True

    def run(self, batch) -> dict:
        """Runs one batch, and returns path to name to array."""
        result = self._run(batch)
        if self._missed and not self._ran:
            # Once more, step by step, without any function that is compiled on its own.
            self.copies.take()
            self._missed.clear()
            self._uncompiled = self.run_eagerly = True
            self.predict_function = None
            result = self._run(batch)
        self._ran = True
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
        with self.copies.in_place():
            return self._signals(inputs)


def _signals(
    model,
    nodes: list[Node],
    chosen: set[str],
    training,
    missed: set[str],
    inputs,
) -> dict:
    """Runs a model, and returns what its nodes emit: path to name to tensor.

    The paths of the nodes whose signals cannot be returned are added to `missed`.
    """
    paths = {(id(node.layer), id(node.cell)): node.path for node in nodes}
    collector = Collector([(node.layer, node.cell) for node in nodes])
    with backend.opened(), collector.active():
        model(inputs, training=training)
    missed.update(paths[id(layer), id(cell)] for layer, cell in collector.missed)
    results = {}
    for emission in collector.emissions:
        key = path = paths[id(emission.layer), id(emission.cell)]
        calls = 1
        while key in results or (calls > 1 and key in paths.values()):
            calls += 1
            key = f"{path}@{calls}"
        results[key] = _for_the_host(emission, chosen)
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
            elsewhere = [
                k.with_article for k in registry.KINDS.values() if signal in k.signals
            ]
            hint = f", which is a signal of {elsewhere[0]}" if elsewhere else ""
            names = ", ".join(repr(name) for name in available)
            raise ValueError(
                f"`signals` must be among {names} for {where}; got {signal!r}{hint}."
            )
    return set(signals)
