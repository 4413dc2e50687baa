"""Keras's loop over a sequence, which also returns the signals of every step.

It is used for cells whose signals do not follow from the outputs of the layer, and for
layers whose signals are changed. The loop runs once, with a step that returns its
signals together with its output.
"""

from __future__ import annotations

import collections
import functools
import itertools
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.cells import shared_equations
from keras_gates.cells.kind import Kind
from keras_gates.cells.known_cells import cells_of, kind_of
from keras_gates.layers import all_steps, collect
from keras_gates.layers.opened_cells import (
    OpenedCell,
    flat_rows,
    flat_states,
    joined,
    packed,
)
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
        own: The layer's own cell, to which the signals belong.
        kind: Its kind, or `None`.
        step: The `OpenedCell` that runs it.
        states: The number of its states.
    """

    own: Any
    kind: Kind | None
    step: OpenedCell
    states: int


@functools.cache
def _inputs_class(number: int) -> Any:
    """Returns the class of the inputs that a loop splits into steps.

    If the changes of signals were joined to the sequence, they would have to be
    separated from it at each step, which on JAX takes twice the time. Keras's loop
    takes a flat tuple; the method that calls it needs the shape of the sequence.

    Args:
        number: The number of tensors besides the sequence.
    """
    names = ["sequences", *(f"moving_{n}" for n in range(number))]
    shape = property(lambda inputs: inputs.sequences.shape)
    fields = collections.namedtuple("_Fields", names)  # type: ignore[misc]
    return type("_Inputs", (fields,), {"__slots__": (), "shape": shape})


class _Step:
    """Replaces the cell of a layer, and returns all signals as the output.

    Args:
        parts: The cells of the layer.
        changes: The changes of their signals.
        with_signals: Whether signals are returned; else the output of the layer alone.
    """

    def __init__(self, parts: list[_Part], changes: LoopChanges, with_signals: bool):
        self._parts = parts
        self._changes = changes
        self._with_signals = with_signals
        self.widths: list[tuple[int, str, int]] = []
        """For each result: the number of a cell, a signal of it, and its width."""

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
            if self._with_signals:
                found += [(number, name, value) for name, value in signals.items()]
        # The output of the layer comes last, even if its cell is not known.
        found.append((len(self._parts), v.OUTPUT, inputs))
        values = [value for _, _, value in found]
        self.widths = [(n, name, value.shape[-1]) for n, name, value in found]
        return joined(values), packed(states, after)


def run_observed(owner, layer, sequences, initial_state, mask, training, wanted_rows):
    """Runs a layer, and emits its signals.

    Args:
        owner: The layer to which the signals belong.
        layer: The view of it that runs here.
        sequences: As for `inner_loop` of Keras's layers.
        initial_state: Likewise.
        mask: Likewise.
        training: Likewise.
        wanted_rows: The numbers of rows that are wanted, each once.

    Returns:
        The result of `inner_loop`.
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
    # Keras may use a state as the output of masked steps; that state must be known.
    alone = len(parts) == 1 and _shows_state(parts[0])
    with_signals = bool(wanted_rows) or (mask is not None and not alone)
    at_once = (
        with_signals
        and not training
        and not are_changed(owner)
        and all(all_steps.allowed(part.own, part.kind) for part in parts)
    )
    step: Any = (
        all_steps.StatesStep(layer.cell, training, not _shows_state(parts[-1]))
        if at_once
        else _Step(parts, changes, with_signals)
    )
    every = with_signals or mask is not None or layer.return_sequences
    loop = view(
        layer,
        cell=step,
        return_sequences=every,
        go_backwards=False,
        # Masked steps are zero at first: on JAX, Keras would put a state there.
        zero_output_for_mask=True,
    )
    inputs = _inputs_class(len(changes.moving))(changes.sequences, *changes.moving)
    # Not the loop of the layer's own class, which may run a kernel, not the cell.
    last, results, states = keras.layers.RNN.inner_loop(
        loop, inputs, initial_state, mask
    )
    if not every:
        return last, results, states
    first = [flat_rows(state) for state in keras.tree.flatten(initial_state)]
    if at_once:
        outputs, found = _all_at_once(
            layer, parts, step, changes.sequences, results, first, mask
        )
    else:
        columns = _split(results, [width for _, _, width in step.widths])
        names = [(number, name) for number, name, _ in step.widths]
        found = dict(zip(names, columns, strict=True))
        outputs = found[len(parts), v.OUTPUT]
    held = []  # The first state of each cell.
    if not with_signals and mask is not None:
        held.append(shared_equations.hold(outputs, first[0], mask))
    for number, part in enumerate(parts if with_signals else ()):
        own, first = first[: part.states], first[part.states :]
        of_cell = part.kind.signals if part.kind is not None else (v.HIDDEN,)
        states_of_cell = part.kind.states if part.kind is not None else (v.HIDDEN,)
        signals = {name: found[number, name] for name in of_cell}
        initial = dict(zip(states_of_cell, reversed(own), strict=False))
        if mask is not None and not at_once:
            for name, start in initial.items():
                signals[name] = shared_equations.hold(signals[name], start, mask)
        held.append(signals[states_of_cell[-1]])
        if part.kind is not None:
            emit_signals(owner, part.own, signals, initial, mask, wanted_rows)
    if mask is not None and not layer.zero_output_for_mask:
        # For a stack of cells with one state each, Keras takes the first cell's state.
        nested = keras.tree.is_nested(states[0])
        outputs = _held(layer, outputs, mask, held[-1 if nested else 0])
    return outputs[:, -1], outputs, states


def _all_at_once(
    layer, parts: list[_Part], step, sequences, results, first: list[Tensor], mask
) -> tuple[Tensor, dict]:
    """Returns the outputs of a layer and the signals of its cells, at all steps.

    Args:
        layer: The view of the layer that runs here.
        parts: Its cells.
        step: The step that replaced its cell.
        sequences: The inputs that it ran on.
        results: The results of the loop for each step.
        first: The states before the first step, `(batch, width)`.
        mask: Where steps are unmasked, or `None`.
    """
    columns = _split(results, step.widths)
    outputs = columns[-1]  # Or the first state of the last cell, which is the same.
    states, shapes = columns[: len(first)], step.shapes
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


def emit_signals(owner, cell, signals, initial, mask, wanted_rows) -> None:
    """Emits the signals of a run to every collector that wants some rows of them.

    Args:
        owner: The layer that ran.
        cell: The cell of the layer to which they belong.
        signals: Each `(batch, time, units)`, in the order in which the layer read.
        initial: The value of each state from which the run started.
        mask: Where steps are unmasked, or `None`.
        wanted_rows: The numbers of rows that are wanted, each once; `None` for all of
            them, in the gradient.
    """
    for rows in wanted_rows:
        few, start, steps = signals, initial, mask
        if rows is not None:
            few = {name: rows_of(value, rows) for name, value in signals.items()}
            start = {name: rows_of(value, rows) for name, value in initial.items()}
            steps = rows_of(mask, rows)
        collect.emit(
            collect.Emission(owner, cell, few, start, steps, owner.go_backwards, rows)
        )


def _split(results: Tensor, widths: list[int]) -> list[Tensor]:
    """Splits the results of a loop into those of each width."""
    ends = [*itertools.accumulate(widths[:-1])]
    return ops.split(results, ends, axis=-1) if ends else [results]


def _held(layer, outputs: Tensor, mask: Tensor, state: Tensor) -> Tensor:
    """Replaces masked steps by the values that Keras has there.

    Args:
        layer: The layer.
        outputs: Its output at every step.
        mask: Where steps are unmasked.
        state: The state that Keras uses as the output, on backends that do so.
    """
    if backend.MASKS_WITH_STATE and not layer.unroll:
        return ops.where(mask[..., None], outputs, ops.cast(state, outputs.dtype))
    return shared_equations.hold(outputs, ops.zeros_like(outputs[:, 0]), mask)
