"""The signals of all steps at once, from the states that the loop returns.

A loop that returns only states costs little more than Keras's own. The signals follow
from the inputs and the states before each step. They are computed once, with the steps
of all samples as the rows of one batch.
"""

from __future__ import annotations

import weakref
from typing import Any

import keras
from keras import ops

from keras_gates.cells import shared_equations
from keras_gates.cells.kind import Kind
from keras_gates.layers.opened_cells import (
    OpenedCell,
    flat_rows,
    flat_states,
    joined,
    packed,
    training_option,
)

Tensor = Any

_by_rows: weakref.WeakSet[Any] = weakref.WeakSet()
"""Cells of the user's own whose rows are known to be independent of each other."""


def allow(cell) -> None:
    """Allows a cell to be run on all steps at once."""
    _by_rows.add(cell)


def allowed(cell, kind: Kind | None) -> bool:
    """Returns whether a cell may be run on all steps at once, in inference."""
    return kind is not None and (not kind.runs_in_loop or cell in _by_rows)


class StatesStep:
    """Replaces the cell of a layer, and returns its states as the output.

    Args:
        cell: The cell of the layer, which may be a stack.
        training: Whether dropout is active.
        with_output: Whether the output is returned too, after the states.
    """

    def __init__(self, cell, training, with_output: bool):
        self._cell = cell
        self._with_output = with_output
        self._options = training_option(cell, training)
        self.shapes: list[tuple[tuple, str]] = []
        """The axes of each state after the first one, and its type."""
        self.widths: list[int] = []
        """The width of each tensor that is returned."""

    def __call__(self, inputs, states):
        """Takes one step."""
        output, after = self._cell(inputs[0], states, **self._options)
        flat = flat_states(after)
        self.shapes = [
            (tuple(one.shape[1:]), keras.backend.standardize_dtype(one.dtype))
            for one in flat
        ]
        values = [flat_rows(one) for one in flat]
        if self._with_output:
            values.append(output)
        self.widths = [value.shape[-1] for value in values]
        return joined(values), packed(states, flat)


def signals_of_steps(
    cell,
    kind: Kind,
    sequences: Tensor,
    states: list[Tensor],
    initial: list[Tensor],
    shapes: list[tuple[tuple, str]],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Computes the signals of a cell at all steps.

    Args:
        cell: The view of the cell that runs here.
        kind: Its kind.
        sequences: Its inputs, `(batch, time, features)`.
        states: Its states after each step, `(batch, time, width)`, held where masked.
        initial: Its states before the first step, `(batch, width)`.
        shapes: The axes of each state after the first one, and its type.

    Returns:
        Its output and its signals without the states, `(batch, time, width)`.
    """
    batch, time = ops.shape(sequences)[:2]
    rows = ops.reshape(sequences, (-1, sequences.shape[-1]))
    before = [
        ops.cast(
            ops.reshape(shared_equations.before(state, first), (-1, *shape)), dtype
        )
        for state, first, (shape, dtype) in zip(states, initial, shapes, strict=True)
    ]
    output, _, signals = OpenedCell(cell, kind, False)(rows, before)

    def of_steps(values: Tensor) -> Tensor:
        return ops.reshape(values, (batch, time, values.shape[-1]))

    return of_steps(output), {
        name: of_steps(values)
        for name, values in signals.items()
        if name not in kind.states
    }
