"""What is done to the signals of a layer at each step of its loop.

An edit is data: a factor and a summand for each unit, step and sample of a signal, in
variables that the layer lists. So one compiled program serves every edit of the same
signals. A derivative is taken at zeros, which are added to a signal in the same way.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gates.backend import backend
from keras_gates.cells.kind import Change
from keras_gates.cells.known_cells import cells_of, kind_of

Tensor = Any
Place = tuple[int, str]
"""The number of a cell in its layer, and a signal of it."""

_local = threading.local()
_edits: dict[int, LayerEdit] = {}
"""For each layer that is edited, by its `id`: its edit."""


class Rows:
    """Which samples of a data set the rows of a batch are.

    Edits of chosen samples follow them from batch to batch by counting rows.
    """

    def __init__(self):
        self.begun = keras.Variable(0, trainable=False, dtype="int32", name="edit_rows")
        """How many rows the batches had so far."""
        self.samples: int | None = None
        """How many samples the edits have values for, if for each its own."""
        self.keys: list[str] = []
        """The keys of the edits of chosen samples."""

    def rewind(self) -> None:
        """Lets the next batch be the first one of a data set."""
        self.begun.assign(0)

    def require_all(self) -> None:
        """Refuses the data that ran if they had another number of samples."""
        if self.samples is not None:
            self.require(int(ops.convert_to_numpy(self.begun.value)))

    def require(self, ran: int) -> None:
        """Refuses a number of samples for which the edits have no values."""
        if self.samples is None or ran in (0, self.samples):
            return
        self.rewind()
        keys = " and ".join(f"'{key}'" for key in self.keys)
        raise ValueError(
            f"The values for {keys} are for {self.samples} samples, and the model ran "
            f"on {ran}: its results are those of an edit that missed some. Run it on "
            "the same samples, or give values of one sample."
        )

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Counts the rows of the one batch that runs in the block."""
        before = getattr(_local, "first", None)
        _local.first = {self: None}
        try:
            yield
        finally:
            _local.first = before

    def first(self, batch) -> Tensor:
        """Returns the number of the first sample of the batch that runs now."""
        known = getattr(_local, "first", None)
        if known is None or self not in known:
            if isinstance(batch, int):
                self.require(batch)
            return 0
        if known[self] is None:
            known[self] = self.begun + 0  # A value, not the variable.
            self.begun.assign(known[self] + ops.cast(batch, "int32"))
        return known[self]


class PlaceData(NamedTuple):
    """The data of the edits of one signal.

    Attributes:
        place: Which signal of the layer it is.
        factor: `(samples, steps, width)`: what the signal is multiplied by. A single
            sample or step stands for all; the last one stands for all later ones.
        summand: Likewise, what is added.
        steps: How many steps the layer must have, or `None`.
    """

    place: Place
    factor: Any
    summand: Any
    steps: int | None


class LayerEdit:
    """The edit of a layer, in variables.

    Args:
        path: The name of the layer in its model, for errors.
        parts: The data of each edited signal, with variables in it.
        rows: Which samples the rows of a batch are.
    """

    def __init__(self, path: str, parts: list[PlaceData], rows: Rows):
        self.path = path
        self.parts = parts
        self.rows = rows
        self.by_sample = any(part.factor.shape[0] > 1 for part in parts)
        self.variables = [one for part in parts for one in (part.factor, part.summand)]
        if self.by_sample:
            self.variables.append(rows.begun)
        self.thread = threading.get_ident()

    @contextlib.contextmanager
    def in_force(self, layer) -> Iterator[None]:
        """Edits a layer within the block, in this thread."""
        before = _edits.get(id(layer))
        self.thread = threading.get_ident()
        _edits[id(layer)] = self
        try:
            yield
        finally:
            del _edits[id(layer)]
            if before is not None:
                _edits[id(layer)] = before


def edit_of(layer) -> LayerEdit | None:
    """Returns the edit of a layer, if there is one at this moment."""
    return _edits.get(id(layer))


def edited_layers(layers) -> list:
    """Returns those of some layers that are edited at this moment."""
    return [layer for layer in layers if id(layer) in _edits]


class Zeros:
    """Tensors of zeros that are added to signals, at which derivatives are taken.

    Args:
        chosen: For each layer, by its `id`: the places whose signals they are added to,
            `None` for its input.
        make: Makes one, from its key, its shape and its type. A key is the `id` of a
            layer, a place in it or `None`, and the number of the call of it, from 1.

    Attributes:
        masks: For each layer, by its `id`, and number of a call: where its steps are
            unmasked, if it had a mask.
    """

    def __init__(
        self,
        chosen: dict[int, list[Place | None]],
        make: Callable[[tuple, tuple, str], Tensor],
    ):
        self._chosen = chosen
        self._make = make
        self._calls: dict[int, int] = {}
        self.masks: dict[tuple[int, int], Tensor] = {}

    @contextlib.contextmanager
    def added(self) -> Iterator[Zeros]:
        """Adds them within the block, in this thread."""
        before = getattr(_local, "zeros", None)
        _local.zeros = self
        try:
            yield self
        finally:
            _local.zeros = before

    def wanted(self, layer) -> bool:
        """Returns whether they are added to the signals of a layer."""
        return id(layer) in self._chosen

    def places(self, layer) -> list[Place | None]:
        """Returns where they are added in a layer, which is called now."""
        self._calls[id(layer)] = self._calls.get(id(layer), 0) + 1
        return self._chosen[id(layer)]

    def at(self, layer, place: Place | None, shape: tuple, dtype: str) -> Tensor:
        """Returns the ones for a place in the call of a layer that runs now."""
        key = id(layer), place, self._calls[id(layer)]
        return self._make(key, shape, dtype)

    def masked(self, layer, mask: Tensor | None) -> None:
        """Takes the mask of the call of a layer that runs now."""
        if mask is not None:
            self.masks[id(layer), self._calls[id(layer)]] = mask


def _zeros(layer) -> Zeros | None:
    zeros: Zeros | None = getattr(_local, "zeros", None)
    return zeros if zeros is not None and zeros.wanted(layer) else None


def are_changed(layer) -> bool:
    """Returns whether anything is done to the signals of a layer."""
    return edit_of(layer) is not None or _zeros(layer) is not None


def variables(layer) -> list:
    """Returns the variables with the edit of a layer."""
    edit = edit_of(layer)
    return [] if edit is None else edit.variables


class LoopChanges:
    """What is done to the signals of one run of a layer.

    Args:
        owner: The layer.
        sequences: What it runs on, `(batch, time, features)`, in the order of its work.
        mask: Where its steps are unmasked, `(batch, time)`, or `None`.

    Attributes:
        sequences: What it runs on instead.
        moving: What differs from step to step, each `(batch or 1, time, width)`.
    """

    def __init__(self, owner, sequences: Tensor, mask: Tensor | None = None):
        self.sequences = sequences
        self.moving: list[Tensor] = []
        self._steady: dict[tuple[Place, str], Tensor] = {}
        self._order: list[tuple[Place, str]] = []
        self._batch, self._time = ops.shape(sequences)[:2]
        self._backwards = owner.go_backwards
        cells = [cell for _, cell in cells_of(owner)]
        edit, zeros = edit_of(owner), _zeros(owner)
        if edit is not None:
            self._add_edit(edit, cells)
        if zeros is not None:
            self._add_zeros(zeros, owner, cells, mask)

    def change(self, number: int, now: list[Tensor]) -> Change:
        """Returns the change of the signals of a cell at a step.

        Args:
            number: The number of the cell.
            now: What `moving` has at this step.
        """
        found = {**self._steady, **dict(zip(self._order, now, strict=True))}

        def change(name: str, value: Tensor) -> Tensor:
            if len(value.shape) == 2:
                return changed((number, name), value)
            # What a traced cell computes may have further axes.
            rows = ops.reshape(value, (-1, math.prod(value.shape[1:])))
            return ops.reshape(changed((number, name), rows), ops.shape(value))

        def changed(place: Place, value: Tensor) -> Tensor:
            if (place, "factor") in found:
                factor, summand = found[place, "factor"], found[place, "summand"]
                value = value * ops.cast(factor, value.dtype)
                value = value + ops.cast(summand, value.dtype)
            if (place, "zeros") in found:
                value = value + found[place, "zeros"]
            return value

        return change

    def changes(self, number: int) -> bool:
        """Returns whether any signal of a cell is changed."""
        return any(place[0] == number for place, _ in (*self._steady, *self._order))

    def _add_edit(self, edit: LayerEdit, cells: list) -> None:
        if backend.trace() is None and edit.thread != threading.get_ident():
            raise RuntimeError(
                f"'{edit.path}' is edited at this moment, in another thread, and its "
                "values here would be those of the edited model. Run the model when "
                "the `keras_gates.edit` block has ended, or use a copy of it."
            )
        for part in edit.parts:
            dtype = cells[part.place[0]].compute_dtype
            for what, variable in (("factor", part.factor), ("summand", part.summand)):
                data = self._for_samples(ops.cast(variable, dtype), edit)
                if data.shape[1] == 1:
                    self._steady[part.place, what] = data[:, 0]
                else:
                    self.moving.append(self._for_steps(data, edit, part))
                    self._order.append((part.place, what))

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
                f"steps, and the layer runs on {steps}. Choose `time`, or give values, "
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
                width = _width(cell) if kind is None else kind.widths.get(name)
                shape = (*shape, width or _width(cell))
                self.moving.append(zeros.at(owner, place, shape, cell.compute_dtype))
                self._order.append((place, "zeros"))
        zeros.masked(owner, mask)


def _width(cell) -> int:
    sizes = getattr(cell, "output_size", None) or cell.state_size
    return keras.tree.flatten(sizes)[0]
