"""Fixed-point numbers that hold every signal, and the errors of rounding to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.capturing.preactivations import preactivations
from keras_gates.checks import whole_number
from keras_gates.stats.block_reduction import reduce_blocks
from keras_gates.stats.moments import extremes
from keras_gates.stats.summaries import table_of_signals
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import keras
    import pandas
    import xarray

WIDEST = 64
"""The largest width of a word: float64 holds no more digits."""


def ranges(
    gates: xarray.DataTree,
    *,
    width: int = 16,
    model: keras.Model | None = None,
    x: Any = None,
) -> pandas.DataFrame:
    """Returns the range of every signal, and the fixed-point numbers that hold it.

    For networks on FPGAs and microcontrollers: `hls4ml` writes such numbers as
    `ap_fixed<width, integer_bits>`, signed, with the sign among the integer bits. They
    hold the captured values, so capture representative data. The pre-activation, which
    is the input of an activation, may need more bits and is not in a capture: with the
    model and the data, it is computed again, and has separate rows. Its partial sums
    (the accumulators) may need even more bits.

    Args:
        gates: A tree of layers, as `capture` returns it.
        width: The number of bits of a word, from 2 to 64.
        model: The model that was captured, for the pre-activations. It requires `x`.
        x: The data that were captured, as for `capture`.

    Returns:
        A table with a row for each layer and signal (the index has these two levels),
        and with `model` for each pre-activation of an LSTM, a GRU or a SimpleRNN, named
        after its signal, such as `"input_preactivation"`. Each row is over all unmasked
        steps and all units, with the columns `min` and `max`; `integer_bits`, the
        smallest number that holds both after rounding; `fraction_bits`, the rest of the
        word; and `rounding_error`, the largest change of a value by rounding to the
        nearest of these numbers. All columns are NaN for a signal that is masked
        throughout. If all values are 0, there is one integer bit. An LSTM's second
        activation takes the cell state, which has a row anyway.

    Raises:
        ValueError: If there is no signal in the tree, there is more than one `step`
            of training or a dimension that signals do not have, a value is infinite,
            `width` is not from 2 to 64, only one of `model` and `x` is given, `model`
            has none of the layers or is edited, or as by `capture`.
        TypeError: If `gates` is not a tree, or `width` is not a whole number.

    Example:
        >>> import xarray
        >>> cell = (("sample", "time", "unit"), [[[-2.3], [1.25]]])
        >>> layer = xarray.Dataset({"cell": cell}, attrs={"layer": "lstm"})
        >>> from keras_gates import stats
        >>> stats.ranges(xarray.DataTree(layer), width=8).iloc[0, 2:].values
        array([3.    , 5.    , 0.0125])
    """
    width = whole_number("width", width, at_least=2, at_most=WIDEST)
    table = table_of_signals(gates, lambda signal: _row(signal, width))
    if (model is None) != (x is None):
        raise ValueError(
            "`model` and `x` must be given together, for the pre-activations; got only "
            f"`{'x' if model is None else 'model'}`."
        )
    if model is None:
        return table
    return _grouped([table, _of_preactivations(gates, model, x, width)])


def _of_preactivations(gates, model, x, width: int) -> pandas.DataFrame:
    """Returns the rows of the sums that enter the activations."""
    layers = {
        node.attrs.get("layer", node.path.strip("/")) for node in recurrent(gates)
    }
    sums = preactivations(model, x, layers)

    def row(signal: xarray.DataArray) -> dict[str, float]:
        return _row(signal.rename(v.preactivation(str(signal.name))), width)

    table = table_of_signals(sums, row)
    return table.rename(index=v.preactivation, level="signal")


def _grouped(tables: list[pandas.DataFrame]) -> pandas.DataFrame:
    """Joins tables, and groups the rows by layer."""
    import pandas

    rows = pandas.concat(tables).groupby(level="layer", sort=False)
    return pandas.concat([layer for _, layer in rows])


def _row(signal: xarray.DataArray, width: int) -> dict[str, float]:
    found = extremes(signal).astype("float64")
    least, largest = float(found[0].min()), float(found[1].max())
    columns = ["min", "max", "integer_bits", "fraction_bits", "rounding_error"]
    if math.isnan(least):
        return dict.fromkeys(columns, math.nan)
    if math.isinf(least) or math.isinf(largest):
        raise ValueError(
            f"The signal '{signal.name}' has infinite values, which no fixed-point "
            "number can hold. Find them with `stats.summary(gates)`."
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
