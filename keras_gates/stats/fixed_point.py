"""The numbers that hold every signal on a small device, and what rounding changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_gates.checks import whole_number
from keras_gates.stats.block_reduction import reduce_blocks
from keras_gates.stats.moments import extremes
from keras_gates.stats.summaries import table_of_signals

if TYPE_CHECKING:
    import pandas
    import xarray

WIDEST = 64
"""The largest width of a word: float64 holds no more digits."""


def ranges(gates: xarray.DataTree, *, width: int = 16) -> pandas.DataFrame:
    """Returns the range of every signal, and the fixed-point numbers that hold it.

    For networks on FPGAs and microcontrollers: `hls4ml` writes such numbers as
    `ap_fixed<width, integer_bits>`, signed, with the sign among the integer bits. They
    hold what was captured, so capture data that are typical of all. What a signal is
    computed from (the sums that enter an activation, and the accumulators) is not in a
    capture and may need more bits.

    Args:
        gates: A tree of layers, as `capture` returns it.
        width: The number of bits of a word, 2 to 64.

    Returns:
        A table with a row for each layer and signal (the index has these two levels),
        over every unmasked step and every unit, with the columns `min` and
        `max`; `integer_bits`, the fewest that hold both, rounded; `fraction_bits`,
        the rest of the word; and `rounding_error`, the largest change of a value where
        each is rounded to the nearest of these numbers. NaN in all columns of a signal
        that is masked throughout. Without values other than 0, one bit is the integer.

    Raises:
        ValueError: If there is no signal in the tree, there is more than one `step`
            of training or a dimension that signals do not have, a value is infinite, or
            `width` is not from 2 to 64.
        TypeError: If `gates` is not a tree, or `width` is no whole number.

    Example:
        >>> import xarray
        >>> cell = (("sample", "time", "unit"), [[[-2.3], [1.25]]])
        >>> layer = xarray.Dataset({"cell": cell}, attrs={"layer": "lstm"})
        >>> from keras_gates import stats
        >>> stats.ranges(xarray.DataTree(layer), width=8).iloc[0, 2:].values
        array([3.    , 5.    , 0.0125])
    """
    width = whole_number("width", width, at_least=2, at_most=WIDEST)
    return table_of_signals(gates, lambda signal: _row(signal, width))


def _row(signal: xarray.DataArray, width: int) -> dict[str, float]:
    found = extremes(signal).astype("float64")
    least, largest = float(found[0].min()), float(found[1].max())
    columns = ["min", "max", "integer_bits", "fraction_bits", "rounding_error"]
    if math.isnan(least):
        return dict.fromkeys(columns, math.nan)
    if math.isinf(least) or math.isinf(largest):
        raise ValueError(
            f"The signal '{signal.name}' has infinite values, which no fixed-point "
            "number holds. Find them with `stats.summary(gates)`."
        )
    integer = _integer_bits(least, largest, width)
    error = float(_errors(signal, width - integer).max())
    numbers = [least, largest, integer, width - integer, error]
    return dict(zip(columns, numbers, strict=True))


def _integer_bits(least: float, largest: float, width: int) -> int:
    """Returns the fewest integer bits, with the sign, that hold a range."""
    size = max(-least, largest)
    if size <= 0:
        return 1
    bits = math.frexp(size)[1]  # 2 ** (bits - 1) <= size < 2 ** bits
    while not _holds(least, largest, bits, width):
        bits += 1
    return bits


def _holds(least: float, largest: float, integer: int, width: int) -> bool:
    step = 2.0 ** (integer - width)
    end = 2.0 ** (width - 1)
    return -end <= round(least / step) and round(largest / step) <= end - 1


def _errors(signal: xarray.DataArray, fraction: int) -> xarray.DataArray:
    """Returns the largest rounding error of each unit."""
    steps = 2.0**fraction

    def of_block(values: np.ndarray) -> np.ndarray:
        scaled = values.astype("float64") * steps
        return np.fmax.reduce(np.abs(np.rint(scaled) - scaled))[None] / steps

    return reduce_blocks(of_block, signal, join=lambda parts: np.fmax.reduce(parts))
