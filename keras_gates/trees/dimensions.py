"""The dimensions of signals: their order, and values taken along them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates.vocabulary import FRAME, SAMPLE, STEP, TIME, UNIT

if TYPE_CHECKING:
    import xarray

DIMENSIONS = (STEP, SAMPLE, FRAME, TIME, UNIT)
"""All dimensions that signals can have, in the usual order."""

BLOCK_BYTES = 2**26
"""The amount of data that is read at a time, as the data may be on disk."""


def reduced(signal: xarray.DataArray) -> list[str]:
    """Returns the dimensions over which a measure reduces: all but step and unit."""
    return [str(dim) for dim in signal.dims if dim not in (STEP, UNIT)]


def in_order(layer: Any) -> Any:
    """Puts the dimensions of a layer, or of a signal, in the usual order."""
    return layer.transpose(SAMPLE, FRAME, TIME, UNIT, missing_dims="ignore")


def as_read(layer: Any) -> Any:
    """Puts the steps of a layer in the order in which the layer read them.

    A capture has the order of the input, even for a layer that reads from the end.

    Args:
        layer: The dataset of a layer, with the attributes that `capture` gave it.
    """
    backward = layer.attrs.get("direction") == "backward"
    return layer.isel({TIME: slice(None, None, -1)}) if backward else layer


def longest_sequence(signal: xarray.DataArray) -> int:
    """Returns the number of unmasked steps of the longest sequence, without padding."""
    real = signal.isel({UNIT: 0}).notnull().sum(TIME)
    return int(real.max())


def pieces(signal: Any) -> Iterator[np.ndarray]:
    """Yields the values of a signal a few samples at a time, units last.

    So only one piece at a time is in memory, even if the data are on disk.
    """
    for (piece,) in pieces_together([signal]):
        yield piece


def pieces_together(signals: Sequence[Any]) -> Iterator[list[np.ndarray]]:
    """Yields the values of several signals, each time for the same few samples."""
    signals = [signal.transpose(..., UNIT) for signal in signals]
    first = signals[0].dims[0]
    length = signals[0].sizes[first]
    size = max(sum(signal.nbytes for signal in signals) // max(length, 1), 1)
    number = max(BLOCK_BYTES // size, 1)
    for start in range(0, length, number):
        some = {first: slice(start, start + number)}
        yield [signal.isel(some).values for signal in signals]
