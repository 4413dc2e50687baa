"""States that recurrent layers carry from one run of a model to the next one.

The model runs on a single time step. Each of its recurrent layers takes its states from
here instead of its initial ones, and stores its new states here.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.cells.known_cells import cells_of, kind_of
from keras_gates.layers.observed_loop import emit_signals
from keras_gates.layers.opened_cells import OpenedCell, flat_states, training_option
from keras_gates.layers.replay import mask_of_steps
from keras_gates.layers.run_views import MASKS, view

Tensor = Any
_local = threading.local()

STATE = "state_{}"
"""The name of a state of an unknown cell, by its number."""

HELD = "held_output"
"""The name of the output of the last unmasked step, which masked steps repeat."""


class Carrying:
    """The states of the recurrent layers of a model, for one time step.

    Args:
        paths: The layers that carry states, by their `id`, with their paths.
        states: The value of each state, `(batch, ...)`, by the path of the layer and
            the name of the state. `None` for a step from the initial states.
        fresh: `(batch,)`, true where a sample begins.

    Attributes:
        after: The states after the step, named like `states`.
    """

    def __init__(self, paths: dict[int, str], states: dict | None, fresh: Tensor):
        self._paths = paths
        self._states = states
        self._fresh = fresh
        self._calls: dict[int, int] = {}
        self.after: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def active(self):
        """Lets the layers carry their states within the block, in this thread."""
        outer, _local.carrying = current(), self
        try:
            yield self
        finally:
            _local.carrying = outer

    def carries(self, layer) -> bool:
        """Returns whether a layer carries its states."""
        return id(layer) in self._paths

    def run(self, layer, sequences: Tensor, initial, mask, wanted_rows) -> tuple:
        """Takes one step of a layer.

        Args:
            layer: The layer.
            sequences: `(batch, 1, ...)`.
            initial: The states from which Keras starts it.
            mask: `(batch, 1)`, or `None`.
            wanted_rows: The numbers of rows of its signals that are wanted, each once.

        Returns:
            The result of `inner_loop`.
        """
        mask = mask_of_steps(mask)
        if layer.stateful:  # Keras would continue from the layer's own states.
            initial = layer.get_initial_state(ops.shape(sequences)[0])
        parts = _parts(layer, initial)
        names = self._names(layer, parts)
        waiting = [
            self._before(name, given)
            for name, given in zip(names, keras.tree.flatten(initial), strict=True)
        ]
        output, after, signals = sequences[:, 0], [], []
        for _, cell, size in parts:
            own, waiting = waiting[:size], waiting[size:]
            output, new, found = _step(cell, output, own, bool(wanted_rows))
            if mask is not None:
                pairs = zip(new, own, strict=True)
                new = [_where(mask[:, 0], *pair) for pair in pairs]
            after += new
            signals.append((cell, own, found))
        if mask is not None:
            last = f"{names[-1].rpartition('/')[0]}/{HELD}"
            nested = keras.tree.is_nested(initial[0])
            state = after[-parts[-1][-1] if nested else 0]
            output = self._masked(layer, last, mask[:, 0], output, state)
        self.after.update(zip(names, after, strict=True))
        for cell, own, found in signals if wanted_rows else ():
            _emit_step(layer, cell, own, found, mask, wanted_rows)
        return output, output[:, None], keras.tree.pack_sequence_as(initial, after)

    def _names(self, layer, parts: list[tuple[str, Any, int]]) -> list[str]:
        """Names the states of the current call of a layer, in the order of Keras."""
        calls = self._calls[id(layer)] = self._calls.get(id(layer), 0) + 1
        path = v.numbered_call(self._paths[id(layer)], calls)
        names: list[str] = []
        for place, cell, size in parts:
            kind = kind_of(cell)
            own = [STATE.format(number) for number in range(size)]
            if kind is not None and len(kind.states) == size:
                own = [*reversed(kind.states)]
            node = twin = f"{path}/{place}" if place else path
            twins = 1
            while f"{twin}/{own[0]}" in names:  # Cells with the same name in a stack.
                twins += 1
                twin = f"{node}#{twins}"
            names += [f"{twin}/{name}" for name in own]
        return names

    def _before(self, name: str, given: Tensor) -> Tensor:
        """Returns the value of a state before the step."""
        if self._states is None:
            return given
        carried = ops.cast(self._states[name], given.dtype)
        return _where(self._fresh, given, carried)

    def _masked(self, layer, name: str, real, output: Tensor, state: Tensor) -> Tensor:
        """Replaces masked steps by the values that Keras has there."""
        if layer.zero_output_for_mask:
            return _where(real, output, ops.zeros_like(output))
        if backend.MASKS_WITH_STATE and not layer.unroll:
            return _where(real, output, ops.cast(state, output.dtype))
        # Until the first unmasked step, the output is zero.
        held = self._before(name, ops.zeros_like(output))
        self.after[name] = output = _where(real, output, held)
        return output


def current() -> Carrying | None:
    """Returns the `Carrying` that is active in this thread, if any."""
    return getattr(_local, "carrying", None)


def carries(layer) -> bool:
    """Returns whether a layer carries its states at the moment."""
    carrying = current()
    return carrying is not None and carrying.carries(layer)


def _parts(layer, initial) -> list[tuple[str, Any, int]]:
    """Returns the cells of a layer, with their places and their numbers of states."""
    cells = cells_of(layer)
    if len(cells) == 1:  # The cell of a `ConvLSTM1D` does not state how many it has.
        return [(*cells[0], len(keras.tree.flatten(initial)))]
    return [(*one, len(keras.tree.flatten(one[1].state_size))) for one in cells]


def _step(cell, inputs, states: list[Tensor], opened: bool) -> tuple:
    """Returns the output of a cell, its new states and, where opened, its signals."""
    kind = kind_of(cell) if opened else None
    quiet = _without_dropout(cell)
    if kind is not None:
        return OpenedCell(quiet, kind, False)(inputs, states)
    options = training_option(cell, False)
    if keras.tree.is_nested(cell.state_size) and any(
        keras.tree.is_nested(part) for part in cell.state_size
    ):
        states = keras.tree.pack_sequence_as(cell.state_size, states)
    output, after = quiet(inputs, states, **options)
    return output, flat_states(after if keras.tree.is_nested(after) else [after]), {}


def _without_dropout(cell) -> Any:
    """Returns a view of a cell that draws no dropout masks.

    In inference, `SimpleRNNCell` draws masks too, and does not use them.
    """
    drawn = [name for name in MASKS if hasattr(cell, name)]
    return view(cell, **dict.fromkeys(drawn, _nothing)) if drawn else cell


def _nothing(step):
    return None


def _where(condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Chooses between two tensors for each row."""
    condition = ops.reshape(condition, (-1, *[1] * (len(one.shape) - 1)))
    return ops.where(condition, one, ops.cast(other, one.dtype))


def _emit_step(
    layer, cell, states: list[Tensor], signals: dict, mask, wanted_rows
) -> None:
    """Emits the signals of one step as those of a sequence of one step."""
    kind = kind_of(cell)
    if kind is not None:
        signals = {name: value[:, None] for name, value in signals.items()}
        initial = dict(zip(kind.states, reversed(states), strict=False))
        emit_signals(layer, cell, signals, initial, mask, wanted_rows)
