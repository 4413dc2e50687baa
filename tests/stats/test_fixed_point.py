"""`stats.ranges` finds the fixed-point numbers that hold a signal."""

import math

import numpy as np
import pytest
import xarray
from captured import tree

from keras_gates import stats

pytestmark = pytest.mark.once


def table_of(*values, width=16):
    cell = (("sample", "time", "unit"), np.array(values, "float32").reshape(1, -1, 1))
    layer = xarray.Dataset({"cell": cell}, attrs={"layer": "lstm"})
    return stats.ranges(xarray.DataTree(layer), width=width).loc["lstm", "cell"]


@pytest.mark.parametrize(
    "values, bits",
    [
        ([0.0], 1),
        ([0.0, 0.5], 1),
        ([-1.0, 0.5], 1),
        ([1.0], 2),  # 1 itself is not below 2 ** 0.
        ([-2.0, 1.9], 2),
        ([-2.1], 3),
        ([100.0, -128.0], 8),
        ([0.9999999], 2),  # It is rounded to 1.
        ([0.01, -0.02], -4),
        ([1e6], 21),
    ],
)
def test_the_fewest_integer_bits_that_hold_the_values(values, bits):
    row = table_of(*values)
    assert row["integer_bits"] == bits
    assert row["fraction_bits"] == 16 - bits
    assert [row["min"], row["max"]] == [
        np.float32(min(values)),
        np.float32(max(values)),
    ]


def test_the_error_is_measured():
    assert table_of(0.5, 0.3, width=4)["rounding_error"] == pytest.approx(0.05)
    assert table_of(0.5, 0.25, width=4)["rounding_error"] == 0
    table = stats.ranges(data := tree(), width=8)
    assert (table["rounding_error"] <= 2.0 ** -(table["fraction_bits"] + 1)).all()
    for (layer, signal), row in table.iterrows():
        values = data[f"{layer}/{signal}"].values.astype("float64")
        steps = 2 ** row["fraction_bits"]
        error = np.nanmax(np.abs(np.round(values * steps) / steps - values))
        assert row["rounding_error"] == pytest.approx(error)
        rounded = np.round(values[~np.isnan(values)] * steps)
        assert rounded.min() >= -128 and rounded.max() <= 127
    pairs = stats.summary(data)[["min", "max"]]
    assert table[["min", "max"]].equals(pairs)


def test_masked_steps_and_infinite_values():
    assert table_of(0.5, math.nan)["integer_bits"] == 1
    assert np.isnan(table_of(math.nan)).all()
    with pytest.raises(ValueError, match="'cell' has infinite values, which no fixed"):
        table_of(0.5, math.inf)
    with pytest.raises(ValueError, match="`width` must be at least 2; got 1"):
        table_of(0.5, width=1)
