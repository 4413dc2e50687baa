"""Keras's loop over a sequence, which also returns the signals of every step.

For cells whose signals do not follow from the outputs of the layer, and for layers
whose signals are changed: the loop runs once, with a step that hands out its signals
beside its output.
"""

from __future__ import annotations

import collections
import functools
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.cells import shared_equations
from keras_gates.cells.kind import Kind
from keras_gates.cells.known_cells import cells_of, kind_of
from keras_gates.layers import all_steps, collect
from keras_gates.layers.opened_cells import OpenedCell, flat_rows, flat_states, packed
from keras_gates.layers.replay import mask_of_steps, rows_of
from keras_gates.layers.run_views import view
from keras_gates.layers.signal_changes import LoopChanges, are_changed

Tensor = Any


def runs_in_loop(layer) -> bool:
    """Returns whether the signals of a layer are read in its loop."""
    kinds = [kind_of(cell) for _, cell in cells_of(layer)]
    return any(kind is not None and kind.runs_in_loop for kind in kinds)


class _Part(NamedTuple):
    """One cell of a layer.

    Attributes:
        own: The cell as the layer has it, whose signals they are.
        kind: Its kind, or `None`.
        step: What runs it.
        states: The number of its states.
    """

    own: Any
    kind: Kind | None
    step: OpenedCell
    states: int


@functools.cache
def _inputs_class(number: int) -> Any:
    """Returns the class of what a loop takes apart step by step.

    Joined to the sequence, what is done to signals would have to be parted from it at
    each step, which on JAX takes twice the time. Keras's loop takes a flat tuple; the
    method around it asks the sequence for its shape.

    Args:
        number: How many tensors there are beside the sequence.
    """
    names = ["sequences", *(f"moving_{n}" for n in range(number))]
    shape = property(lambda inputs: inputs.sequences.shape)
    fields = collections.namedtuple("_Fields", names)  # type: ignore[misc]
    return type("_Inputs", (fields,), {"__slots__": (), "shape": shape})


class _Step:
    """Takes the place of the cell of a layer, and returns all signals as the output.

    Args:
        parts: The cells of the layer.
        changes: What is done to their signals.
        hands_out: Whether signals are returned; else the output of the layer alone.
    """

    def __init__(self, parts: list[_Part], changes: LoopChanges, hands_out: bool):
        self._parts = parts
        self._changes = changes
        self._hands_out = hands_out
        self.widths: list[tuple[int, str, int]] = []
        """Of what is returned: the number of a cell, a signal of it, and its width."""

    def __call__(self, inputs, states):
        inputs, *moving = inputs
        waiting, after, found = flat_states(states), [], []
        for number, part in enumerate(self._parts):
            own, waiting = waiting[: part.states], waiting[part.states :]
            change = None
            if self._changes.changes(number):
                change = self._changes.change(number, moving)
            inputs, new, signals = part.step(inputs, own, change)
            after += new
            if self._hands_out:
                found += [(number, name, value) for name, value in signals.items()]
        # The output of the layer comes last, also of a cell that is not known.
        found.append((len(self._parts), v.OUTPUT, inputs))
        values = [value for _, _, value in found]
        self.widths = [(n, name, value.shape[-1]) for n, name, value in found]
        if len(values) == 1:
            return inputs, packed(states, after)
        dtype = keras.backend.result_type(*(value.dtype for value in values))
        joined = ops.concatenate([ops.cast(value, dtype) for value in values], axis=-1)
        return joined, packed(states, after)


def run_observed(owner, layer, sequences, initial_state, mask, training, looks):
    """Runs a layer, and emits its signals.

    Args:
        owner: The layer, whose signals they are.
        layer: The view of it that runs here.
        sequences: As for `inner_loop` of Keras's layers.
        initial_state: Likewise.
        mask: Likewise.
        training: Likewise.
        looks: How many rows are wanted, each number once.

    Returns:
        What `inner_loop` returns.
    """
    parts = [
        _Part(
            own,
            kind := kind_of(own),
            OpenedCell(cell, kind, training),
            len(keras.tree.flatten(own.state_size)),
        )
        for (_, own), (_, cell) in zip(cells_of(owner), cells_of(layer), strict=True)
    ]
    mask = mask_of_steps(mask)
    if layer.go_backwards:
        sequences = ops.flip(sequences, axis=1)
        mask = None if mask is None else ops.flip(mask, axis=1)
    if not keras.tree.is_nested(initial_state):
        initial_state = [initial_state]
    # Copied, as a stateful layer overwrites its states in place on PyTorch.
    initial_state = keras.tree.map_structure(ops.copy, initial_state)
    changes = LoopChanges(owner, sequences, mask)
    # The state that Keras may put where a step is masked must be known.
    alone = len(parts) == 1 and _shows_state(parts[0])
    hands_out = bool(looks) or (mask is not None and not alone)
    at_once = (
        hands_out
        and not training
        and not are_changed(owner)
        and all(all_steps.allowed(part.own, part.kind) for part in parts)
    )
    step: Any = (
        all_steps.StatesStep(layer.cell, training, not _shows_state(parts[-1]))
        if at_once
        else _Step(parts, changes, hands_out)
    )
    every = hands_out or mask is not None or layer.return_sequences
    loop = view(
        layer,
        cell=step,
        return_sequences=every,
        go_backwards=False,
        # Masked steps are zero at first: on JAX, Keras would put a state there.
        zero_output_for_mask=True,
    )
    inputs = _inputs_class(len(changes.moving))(changes.sequences, *changes.moving)
    # Not that of the layer's own class, which may prefer a kernel to the cell.
    last, joined, states = keras.layers.RNN.inner_loop(
        loop, inputs, initial_state, mask
    )
    if not every:
        return last, joined, states
    first = [flat_rows(state) for state in keras.tree.flatten(initial_state)]
    if at_once:
        outputs, found = _all_at_once(
            layer, parts, step, changes.sequences, joined, first, mask
        )
    else:
        found = _parted(joined, step.widths)
        outputs = found[len(parts), v.OUTPUT]
    held = []  # The first state of each cell.
    if not hands_out and mask is not None:
        held.append(shared_equations.hold(outputs, first[0], mask))
    for number, part in enumerate(parts if hands_out else ()):
        own, first = first[: part.states], first[part.states :]
        names = part.kind.signals if part.kind is not None else (v.HIDDEN,)
        states_of_cell = part.kind.states if part.kind is not None else (v.HIDDEN,)
        signals = {name: found[number, name] for name in names}
        initial = dict(zip(states_of_cell, reversed(own), strict=False))
        if mask is not None and not at_once:
            for name, start in initial.items():
                signals[name] = shared_equations.hold(signals[name], start, mask)
        held.append(signals[states_of_cell[-1]])
        if part.kind is not None:
            hand_out(owner, part.own, signals, initial, mask, looks)
    if mask is not None and not layer.zero_output_for_mask:
        # Of a stack of cells of one state each, Keras takes that of the first cell.
        nested = keras.tree.is_nested(states[0])
        outputs = _held(layer, outputs, mask, held[-1 if nested else 0])
    return outputs[:, -1], outputs, states


def _all_at_once(
    layer, parts: list[_Part], step, sequences, joined, first: list[Tensor], mask
) -> tuple[Tensor, dict]:
    """Returns the outputs of a layer and the signals of its cells, at all steps.

    Args:
        layer: The view of the layer that runs here.
        parts: Its cells.
        step: What ran in the place of its cell.
        sequences: What it ran on.
        joined: What the loop returned of each step.
        first: The states before the first step, `(batch, width)`.
        mask: Where steps are unmasked, or `None`.
    """
    named = [(0, str(n), width) for n, width in enumerate(step.widths)]
    loose = [*_parted(joined, named).values()]
    outputs = loose[-1]  # Or the first state of the last cell, which is the same.
    states, shapes = loose[: len(first)], step.shapes
    found: dict[tuple[int, str], Tensor] = {}
    waiting = [
        state if mask is None else shared_equations.hold(state, start, mask)
        for state, start in zip(states, first, strict=True)
    ]
    begin = 0
    for number, (part, (_, cell)) in enumerate(
        zip(parts, cells_of(layer), strict=True)
    ):
        place = slice(begin, begin + part.states)
        begin += part.states
        assert part.kind is not None
        output, signals = all_steps.signals_of_steps(
            cell, part.kind, sequences, waiting[place], first[place], shapes[place]
        )
        # The last state in the order of `Kind` is the first one in that of Keras.
        signals |= dict(zip(part.kind.states, reversed(waiting[place]), strict=True))
        found |= {(number, name): values for name, values in signals.items()}
        sequences = output
        if _shows_state(part):
            sequences = states[place][0]
            if part is parts[-1]:
                outputs = sequences
    return outputs, found


def _shows_state(part: _Part) -> bool:
    """Returns whether the output of a cell is its first state."""
    return part.kind is not None and part.kind.states[-1:] == (v.HIDDEN,)


def hand_out(owner, cell, signals, initial, mask, looks) -> None:
    """Emits the signals of a run to everybody who wants some rows of them.

    Args:
        owner: The layer that ran.
        cell: Its cell that they belong to.
        signals: Each `(batch, time, units)`, in the order in which the layer worked.
        initial: Of each state, what the run started from.
        mask: Where steps are unmasked, or `None`.
        looks: How many rows are wanted, each number once; `None` for all of them, in
            the gradient.
    """
    for rows in looks:
        few, start, steps = signals, initial, mask
        if rows is not None:
            few = {name: rows_of(value, rows) for name, value in signals.items()}
            start = {name: rows_of(value, rows) for name, value in initial.items()}
            steps = rows_of(mask, rows)
        collect.emit(
            collect.Emission(owner, cell, few, start, steps, owner.go_backwards, rows)
        )


def _parted(joined: Tensor, widths: list[tuple[int, str, int]]) -> dict:
    ends, total = [], 0
    for _, _, width in widths[:-1]:
        total += width
        ends.append(total)
    parts = ops.split(joined, ends, axis=-1) if ends else [joined]
    return {
        (number, name): part
        for (number, name, _), part in zip(widths, parts, strict=True)
    }


def _held(layer, outputs: Tensor, mask: Tensor, state: Tensor) -> Tensor:
    """Puts in the place of masked steps what Keras has there.

    Args:
        layer: The layer.
        outputs: Its output at every step.
        mask: Where steps are unmasked.
        state: The state that Keras takes for the output, where a backend does so.
    """
    if backend.MASKS_WITH_STATE and not layer.unroll:
        return ops.where(mask[..., None], outputs, ops.cast(state, outputs.dtype))
    return shared_equations.hold(outputs, ops.zeros_like(outputs[:, 0]), mask)
