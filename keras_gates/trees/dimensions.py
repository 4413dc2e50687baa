"""The dimensions of signals: their order, and values taken along them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates.vocabulary import FRAME, SAMPLE, STEP, TIME, UNIT

if TYPE_CHECKING:
    import xarray

DIMENSIONS = (STEP, SAMPLE, FRAME, TIME, UNIT)
"""Of signals, in the usual order. None of them has another one."""

BLOCK_BYTES = 2**26
"""How much of data that may lie on disk is read at a time."""


def reduced(signal: xarray.DataArray) -> list[str]:
    """Returns the dimensions that a measure takes together: all but step and unit."""
    return [str(dim) for dim in signal.dims if dim not in (STEP, UNIT)]


def in_order(layer: Any) -> Any:
    """Puts the dimensions of a layer, or of a signal, in the usual order."""
    return layer.transpose(SAMPLE, FRAME, TIME, UNIT, missing_dims="ignore")


def as_read(layer: Any) -> Any:
    """Puts the steps of a layer in the order in which the layer read them.

    A capture has the order of the input, also of a layer that reads from its end.

    Args:
        layer: The dataset of a layer, with the attributes that `capture` gave it.
    """
    backward = layer.attrs.get("direction") == "backward"
    return layer.isel({TIME: slice(None, None, -1)}) if backward else layer


def longest_sequence(signal: xarray.DataArray) -> int:
    """Returns how many real steps the longest sequence has; padding is no step."""
    real = signal.isel({UNIT: 0}).notnull().sum(TIME)
    return int(real.max())


def spread(signal: xarray.DataArray, dims: Sequence[str] | None = None) -> Any:
    """Returns the standard deviation, NaN where every step is masked."""
    with warnings.catch_warnings():
        # Early versions of xarray let NumPy warn of that.
        warnings.filterwarnings("ignore", "Degrees of freedom", RuntimeWarning)
        return signal.std(dims, dtype=np.float64)


def pieces(signal: xarray.DataArray) -> Iterator[np.ndarray]:
    """Yields the values of a signal a few samples at a time, units last.

    So one piece at a time is in memory, wherever the data lie.
    """
    signal = signal.transpose(..., UNIT)
    first = signal.dims[0]
    size = max(signal.nbytes // max(signal.sizes[first], 1), 1)
    number = max(BLOCK_BYTES // size, 1)
    for start in range(0, signal.sizes[first], number):
        yield signal.isel({first: slice(start, start + number)}).values
