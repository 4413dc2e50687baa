"""Changes of the signals of a layer at each step of its loop.

An edit is data: a factor and a summand for each unit, step and sample of a signal, in
variables that the layer lists. So one compiled program works for every edit of the same
signals. A derivative is taken at zeros, which are added to a signal in the same way.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import keras
from keras import ops

from keras_gates.backend import backend
from keras_gates.cells.kind import Change
from keras_gates.cells.known_cells import cells_of, kind_of, output_width
from keras_gates.cells.shared_equations import cast
from keras_gates.layers.added_zeros import Zeros, zeros_of
from keras_gates.layers.layer_edits import LayerEdit, Place, PlaceData, edit_of

Tensor = Any


def are_changed(layer) -> bool:
    """Returns whether the signals of a layer are changed."""
    return edit_of(layer) is not None or zeros_of(layer) is not None


def variables(layer) -> list:
    """Returns the variables that hold the edit of a layer."""
    edit = edit_of(layer)
    return [] if edit is None else edit.variables


class LoopChanges:
    """The changes of the signals in one run of a layer.

    Args:
        owner: The layer.
        sequences: Its inputs, `(batch, time, features)`, in the order in which it
            reads them.
        mask: Where its steps are unmasked, `(batch, time)`, or `None`.

    Attributes:
        sequences: The inputs that it gets instead.
        moving: The data that differ from step to step, each
            `(batch or 1, time, width)`.
    """

    def __init__(self, owner, sequences: Tensor, mask: Tensor | None = None):
        self.sequences = sequences
        self.moving: list[Tensor] = []
        self._steady: dict[tuple[Place, str], Tensor] = {}
        self._order: list[tuple[Place, str]] = []
        self._batch, self._time = ops.shape(sequences)[:2]
        self._backwards = owner.go_backwards
        cells = [cell for _, cell in cells_of(owner)]
        edit, zeros = edit_of(owner), zeros_of(owner)
        if edit is not None:
            self._add_edit(edit, cells, mask)
        if zeros is not None:
            self._add_zeros(zeros, owner, cells, mask)

    def change(self, number: int, now: list[Tensor]) -> Change:
        """Returns the change of the signals of a cell at a step.

        Args:
            number: The number of the cell.
            now: The values of `moving` at this step.
        """
        found = {**self._steady, **dict(zip(self._order, now, strict=True))}

        def change(name: str, value: Tensor) -> Tensor:
            if len(value.shape) == 2:
                return changed((number, name), value)
            # The signals of a traced cell may have further axes.
            rows = ops.reshape(value, (-1, math.prod(value.shape[1:])))
            return ops.reshape(changed((number, name), rows), ops.shape(value))

        def changed(place: Place, value: Tensor) -> Tensor:
            if (place, "factor") in found:
                factor, summand = found[place, "factor"], found[place, "summand"]
                dtype = keras.backend.standardize_dtype(value.dtype)
                value = value * cast(factor, dtype) + cast(summand, dtype)
            if (place, "zeros") in found:
                value = value + found[place, "zeros"]
            return value

        return change

    def changes(self, number: int) -> bool:
        """Returns whether any signal of a cell is changed."""
        return any(place[0] == number for place, _ in (*self._steady, *self._order))

    def _add_edit(self, edit: LayerEdit, cells: list, mask) -> None:
        if backend.trace() is None and edit.thread != threading.get_ident():
            raise RuntimeError(
                f"'{edit.path}' is being edited in another thread, so its values here "
                "would be those of the edited model. Run the model after the "
                "`keras_gates.edit` block has ended, or use a copy of it."
            )
        for part in edit.parts:
            if part.absent is not None:
                self._require_masked(edit, part, mask)
            dtype = cells[part.place[0]].compute_dtype
            for what, variable in (("factor", part.factor), ("summand", part.summand)):
                data = self._for_samples(ops.cast(variable, dtype), edit)
                if data.shape[1] == 1:
                    self._steady[part.place, what] = data[:, 0]
                else:
                    self.moving.append(self._for_steps(data, edit, part))
                    self._order.append((part.place, what))

    def _require_masked(self, edit: LayerEdit, part: PlaceData, mask) -> None:
        """Checks, now or after the run, that steps without a value are masked."""
        absent = self._for_samples(ops.cast(part.absent, "bool"), edit)
        if absent.shape[1] > 1:
            absent = self._for_steps(absent, edit, part)
        absent = ops.any(absent, axis=-1)
        missed = ops.any(absent if mask is None else ops.logical_and(absent, mask))
        missed = ops.cast(missed, "int32")
        if backend.trace() is None:
            edit.rows.require_values(int(ops.convert_to_numpy(missed)))
        else:  # The value is known when the run has ended.
            edit.rows.missed.assign(ops.maximum(edit.rows.missed, missed))

    def _for_samples(self, data: Tensor, edit: LayerEdit) -> Tensor:
        known = data.shape[0]
        if known == 1:
            return data
        rows = edit.rows.first(self._batch) + ops.arange(self._batch, dtype="int32")
        return ops.take(data, ops.minimum(rows, known - 1), axis=0)

    def _for_steps(self, data: Tensor, edit: LayerEdit, part: PlaceData) -> Tensor:
        steps = self.sequences.shape[1]
        if part.steps is not None and steps not in (None, part.steps):
            raise ValueError(
                f"The edit of '{edit.path}/{part.place[1]}' is for {part.steps} time "
                f"steps, but the layer runs on {steps}. Choose `time`, or give values, "
                f"for {steps} steps, or leave `time` out."
            )
        if steps != data.shape[1]:
            last = data.shape[1] - 1
            at = ops.minimum(ops.arange(self._time, dtype="int32"), last)
            data = ops.take(data, at, axis=1)
        return ops.flip(data, axis=1) if self._backwards else data

    def _add_zeros(self, zeros: Zeros, owner, cells: list, mask) -> None:
        for place in zeros.places(owner):
            shape: tuple = self._batch, self._time
            if place is None:
                dtype = keras.backend.standardize_dtype(self.sequences.dtype)
                shape = (*shape, self.sequences.shape[-1])
                self.sequences = self.sequences + zeros.at(owner, None, shape, dtype)
            else:
                cell, name = cells[place[0]], place[1]
                kind = kind_of(cell)
                width = output_width(cell) if kind is None else kind.widths.get(name)
                shape = (*shape, width or output_width(cell))
                self.moving.append(zeros.at(owner, place, shape, cell.compute_dtype))
                self._order.append((place, "zeros"))
        zeros.masked(owner, mask)
