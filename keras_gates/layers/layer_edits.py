"""The edits of a layer: data in variables, so that one program works for all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

Tensor = Any
Place = tuple[int, str]
"""The number of a cell in its layer, and a signal of it."""

_local = threading.local()
_edits: dict[int, LayerEdit] = {}
"""For each layer that is edited, by its `id`: its edit."""


class Rows:
    """Keeps track of which samples of a data set are the rows of a batch.

    Rows are counted from batch to batch, so that an edit acts on its chosen samples.
    """

    def __init__(self):
        self.begun = keras.Variable(0, trainable=False, dtype="int32", name="edit_rows")
        """The number of rows of all batches so far."""
        self.samples: int | None = None
        """The number of samples that have their own values in the edits, if any."""
        self.keys: list[str] = []
        """The keys of the edits that have chosen samples."""
        self.missed = keras.Variable(0, trainable=False, dtype="int32", name="missed")
        """Whether a step for which an edit has no value ran unmasked."""

    def rewind(self) -> None:
        """Makes the next batch the first one of a data set."""
        self.begun.assign(0)
        self.missed.assign(0)

    def require_all(self) -> None:
        """Raises an error if an edit has no values for some of the data that ran."""
        self.require_values(int(ops.convert_to_numpy(self.missed.value)))
        if self.samples is not None:
            self.require(int(ops.convert_to_numpy(self.begun.value)))

    def require_values(self, missed: int) -> None:
        """Raises an error if a step for which there is no value ran unmasked."""
        if missed:
            self.rewind()
            raise ValueError(
                "The values of an edit are NaN at steps that were masked in the run "
                "they were taken from, but are unmasked here, so there is no value to "
                "use. Swap runs with the same mask, or choose steps in `time`."
            )

    def require(self, ran: int) -> None:
        """Raises an error if the edits have no values for a number of samples."""
        if self.samples is None or ran in (0, self.samples):
            return
        self.rewind()
        keys = " and ".join(f"'{key}'" for key in self.keys)
        raise ValueError(
            f"The values for {keys} are for {self.samples} samples, but the model ran "
            f"on {ran}, so its results are not those of the intended edit. Run the "
            "model on the same samples, or give values of one sample."
        )

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Counts the rows of the single batch that runs in the block."""
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
        place: The signal of the layer.
        steps: How many steps the layer must have, or `None`.
        factor: `(samples, steps, width)`: the factor by which the signal is multiplied.
            A single sample or step applies to all; the last one applies to all later
            ones.
        summand: The summand, likewise.
        absent: 1 where there is no value, so that steps must be masked; likewise.
    """

    place: Place
    steps: int | None
    factor: Any
    summand: Any
    absent: Any = None


class LayerEdit:
    """The edit of a layer, in variables.

    Args:
        path: The name of the layer in its model, for errors.
        parts: The data of each edited signal, with variables in it.
        rows: The count of rows, which gives the samples of a batch.
    """

    def __init__(self, path: str, parts: list[PlaceData], rows: Rows):
        self.path = path
        self.parts = parts
        self.rows = rows
        self.by_sample = any(
            max(part.factor.shape[0], part.summand.shape[0]) > 1 for part in parts
        )
        self.variables = [one for part in parts for one in (part.factor, part.summand)]
        if self.by_sample:
            self.variables.append(rows.begun)
        absent = [part.absent for part in parts if part.absent is not None]
        self.variables += [*absent, rows.missed] if absent else []
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
    """Returns the edit of a layer that is in force now, if any."""
    return _edits.get(id(layer))


def edited_layers(layers) -> list:
    """Returns the given layers that are edited now."""
    return [layer for layer in layers if id(layer) in _edits]
