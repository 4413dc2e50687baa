"""A trained model that takes one time step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.capturing.stream_check import carrying_layers, check
from keras_gates.capturing.stream_inputs import Inputs
from keras_gates.capturing.stream_program import StepProgram
from keras_gates.layers.signal_changes import are_changed
from keras_gates.models.cell_checks import check_cell
from keras_gates.models.find_layers import Node, find_nodes, require_call, select
from keras_gates.trees.tree import grow, to_tree

if TYPE_CHECKING:
    import xarray

STARTED = "started"
"""The key in `Stream.state` for the samples that have taken a step."""


class Stream:
    """A trained model that takes one time step at a time, made by `stream`.

    Call it with the inputs of one time step, which have the shape of the model's inputs
    without the time axis. It returns NumPy arrays: the output of `model.predict` for
    the sequence so far, at its last step. Use a stream in one thread only.

    Attributes:
        model: The model.
    """

    def __init__(self, model: keras.Model, x=None):
        self.model = model
        self._layers = carrying_layers(model)
        self._inputs = Inputs(model)
        self._program = StepProgram(model, self._layers)
        self._shapes, self._in_time = check(model, self._program, self._inputs, x)
        self._states: dict[str, Any] | None = None
        self._started = np.zeros(0, bool)
        self._signals: dict[str, dict] | None = None
        self._nodes: list[Node] = []
        self._latest: tuple | None = None

    def __call__(self, x):
        """Takes one time step.

        Args:
            x: Each input of the model at this step, `(samples, features)`, or
                `(samples,)` where the model takes tokens: an array, or a list or a dict
                of arrays. The number of samples stays the same until `reset`.

        Returns:
            The result of `model.predict` at the last step of the sequence so far:
            `(samples, ...)`, or a list or a dict of arrays.
        """
        arrays = self._inputs.of_step(x)
        samples = len(arrays[0])
        if self._states is None:
            self._begin(samples)
        elif samples != len(self._started):
            raise ValueError(
                f"The stream has the states of {len(self._started)} samples; got "
                f"{samples}. Start new sequences with `stream.reset()`, or set "
                "`stream.state` to the state of these samples."
            )
        edited = [path for path, layer in self._layers.items() if are_changed(layer)]
        if edited:
            raise ValueError(
                f"The layer '{edited[0]}' is being edited, and a stream runs "
                "the model without edits. Take the step after the `keras_gates.edit` "
                "block."
            )
        self._latest = self._inputs.packed(arrays), self._states, ~self._started
        outputs, self._states, self._signals = self._program.step(*self._latest)
        self._started = np.ones_like(self._started)
        flat = [
            _numpy(one)[:, 0] if timed else _numpy(one)
            for one, timed in zip(
                keras.tree.flatten(outputs), self._in_time, strict=True
            )
        ]
        return keras.tree.pack_sequence_as(outputs, flat)

    def _begin(self, samples: int) -> None:
        self._started = np.zeros(samples, bool)
        self._states = {
            name: np.zeros((samples, *shape), dtype)
            for name, (shape, dtype) in self._shapes.items()
        }
        self._signals = self._latest = None

    def reset(self, samples=None) -> None:
        """Starts a new sequence in all samples, or in some of them.

        Args:
            samples: The numbers of the samples, one or several, or an array of
                booleans. `None` for all; then the number of samples may change.

        Raises:
            ValueError: If there is no such sample.
        """
        if samples is None:
            self._states = self._signals = self._latest = None
            self._started = np.zeros(0, bool)
            return
        chosen = np.atleast_1d(np.asarray(samples))
        count = len(self._started)
        if chosen.dtype == bool:
            fits = chosen.shape == (count,)
        else:
            fits = chosen.ndim == 1 and (
                not chosen.size
                or chosen.dtype.kind in "iu"
                and -count <= chosen.min()
                and chosen.max() < count
            )
        if not fits:
            raise ValueError(
                f"`samples` must be numbers of samples of the stream, which has "
                f"{count}, or a boolean for each of them; got {samples!r}."
            )
        started = self._started.copy()
        started[chosen if chosen.size else []] = False
        state = self.state
        if state is not None:
            for array in state.values():
                array[~started] = 0
            self._states = {name: state[name] for name in self._shapes}
            self._started = started

    @property
    def state(self) -> dict[str, np.ndarray] | None:
        """The states of the stream. Set it to resume from a stored state.

        A dict of NumPy arrays, `(samples, ...)`: the states of each layer, by the path
        of the layer and the name of the state (`"lstm/hidden"`), and `started`, which
        samples have taken a step. `None` before the first step and after `reset()`.
        """
        if self._states is None:
            return None
        copies = {name: _copy(value) for name, value in self._states.items()}
        return {STARTED: self._started.copy(), **copies}

    @state.setter
    def state(self, state) -> None:
        if state is None:
            self.reset()
            return
        wanted = [STARTED, *self._shapes]
        if not isinstance(state, dict) or set(state) != set(wanted):
            got = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise ValueError(
                f"`state` must be what `stream.state` of this model returns, a dict of "
                f"{wanted}; got {got}."
            )
        arrays = {name: np.array(state[name]) for name in wanted}
        samples = arrays[STARTED].shape[:1]
        for name, (shape, dtype) in self._shapes.items():
            if arrays[name].shape != (*samples, *shape):
                raise ValueError(
                    f"`state['{name}']` must have the shape {(*samples, *shape)}; got "
                    f"{arrays[name].shape}."
                )
            arrays[name] = arrays[name].astype(dtype)
        self._started = arrays.pop(STARTED).astype(bool)
        self._states = arrays
        self._signals = self._latest = None

    @property
    def gates(self) -> xarray.DataTree:
        """The signals of the latest step, as `capture` names them.

        A tree with one node for each recurrent layer of a known kind, whose variables
        have the dimensions `(sample, unit)`; NaN where the step is masked. After the
        first access, each step computes them.
        """
        if self._latest is None:
            raise ValueError(
                "There are no gates before the first step: call the stream first."
            )
        if not self._nodes:
            self._nodes = self._readable_nodes()
            self._program = StepProgram(self.model, self._layers, self._nodes)
        if not self._signals:
            _, _, self._signals = self._program.step(*self._latest)
        arrays = {
            path: {name: _copy(value) for name, value in signals.items()}
            for path, signals in self._signals.items()
        }
        tree: Any = to_tree(arrays, self._nodes, self.model.name)
        datasets = {
            path: tree[path].to_dataset(inherit=False).isel({v.TIME: 0})
            for path in tree.attrs["layers"]
        }
        return grow(datasets, dict(tree.attrs))

    def _readable_nodes(self) -> list[Node]:
        carrying = {id(layer) for layer in self._layers.values()}
        nodes = [
            node
            for node in find_nodes(self.model)
            if node.kind is not None and id(node.layer) in carrying
        ]
        if not nodes:
            return select(self.model, None)  # Its error states why there is none.
        for node in nodes:
            check_cell(node.path, node.cell)
        return nodes


def stream(model: keras.Model, x: Any = None) -> Stream:
    """Runs a trained model on a live stream, one time step at a time.

    The recurrent layers keep their states from call to call, so that the cost of a step
    does not depend on the length of the sequence. The model does not change: its
    weights are read at each step, and the states of its stateful layers are neither
    used nor changed.

    When the stream is created, it is compared with the model on a few short random
    sequences (of the length of the model's input, if that is fixed). A model that needs
    the whole sequence at once raises an error, so that no step silently differs from
    `predict`.

    Args:
        model: A trained `keras.Model` of any style, with recurrent layers that read
            forwards: LSTM, GRU, SimpleRNN, `RNN` around any cell and stacks of cells.
            The layers around them must process each step independently: `Dense`,
            `TimeDistributed`, `Embedding`, `Masking`, `Dropout`, normalisation of
            features, and so on. The last recurrent layer may have
            `return_sequences=True` or not.
        x: A few sequences for the comparison, in place of random ones, as
            `model.predict` takes them.

    Returns:
        A `Stream`. `output = stream(x_now)` runs one step, `stream.gates` holds the
        signals of that step, `stream.state` can be read, stored and set, and
        `stream.reset(samples)` starts new sequences.

    Raises:
        ValueError: If the model has no recurrent layer that carries states, is not
            built, or needs the whole sequence, as a backward or bidirectional layer,
            pooling over time or attention does.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((None, 2)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> x = np.ones((1, 3, 2), "float32")
        >>> stream = keras_gates.stream(model)
        >>> for t in range(3):
        ...     output = stream(x[:, t])
        >>> bool(np.allclose(output, model.predict(x, verbose=0), atol=1e-6))
        True
        >>> stream.gates["lstm/forget"].dims
        ('sample', 'unit')
    """
    require_call(model)
    if not model.built:
        raise ValueError(
            f"The model '{model.name}' is not built yet, so it has no weights. Call it "
            "once on a batch, or begin it with a `keras.Input`."
        )
    return Stream(model, x)


def _numpy(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def _copy(tensor) -> np.ndarray:
    return np.array(_numpy(tensor))
