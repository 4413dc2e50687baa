"""Measures of one gate: how far it is from deciding, and how long it keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_gates.checks import thresholds
from keras_gates.trees.apply_measure import gates_of, keeping, of_each_signal
from keras_gates.trees.dimensions import reduced

if TYPE_CHECKING:
    import xarray

    from keras_gates.trees.types import Gates


def saturation(gates: Gates, *, low: float = 0.1, high: float = 0.9) -> Gates:
    """Computes how often each unit's gates are shut, and how often open.

    A gate is left-saturated at a step if it is below `low`, right-saturated if it is
    above `high`. A unit whose forget gate is right-saturated nearly always keeps its
    cell state over long spans; one whose gates saturate on neither side blends at
    every step.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only gates are measured.
        low: The value below which a gate counts as shut.
        high: The value above which a gate counts as open.

    Returns:
        The fractions of steps, in the same kind of object, with dimensions
        `(side, unit)`, and `step` where there was one; `side` is "left" and "right".
        NaN where every step is masked.

    Raises:
        ValueError: If the thresholds are out of order, or there is no gate.
        TypeError: If `gates` is not an xarray object.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> values = [[[0.02, 0.95], [0.50, 0.99], [0.05, 0.40], [0.60, 0.97]]]
        >>> forget = xarray.DataArray(values, dims=("sample", "time", "unit"))
        >>> stats.saturation(forget).sel(side="right").values
        array([0.  , 0.75])

    Reference:
        Karpathy, Johnson and Li (2015), Visualizing and Understanding Recurrent
        Networks, arXiv:1506.02078, section 4.2.
    """
    low, high = thresholds(low=low, high=high)
    return of_each_signal(gates, gates_of, lambda gate: _saturation(gate, low, high))


def entropy(gates: Gates) -> Gates:
    """Computes how undecided each unit's gates are.

    A gate of value p is as undecided as a coin that falls on one side with probability
    p: 0 bits where it is shut or open, 1 bit at a half.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only gates are measured.

    Returns:
        The mean binary entropy in bits, in the same kind of object, with dimensions
        `(unit)`, and `step` where there was one. NaN where every step is masked, and
        where a gate leaves 0 to 1 (an activation other than a sigmoid).

    Raises:
        ValueError: If there is no gate.
        TypeError: If `gates` is not an xarray object.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> reset = xarray.DataArray([[[0.0], [0.5]]], dims=("sample", "time", "unit"))
        >>> stats.entropy(reset).values
        array([0.5])

    Reference:
        Shannon (1948), A mathematical theory of communication, Bell System Technical
        Journal 27(3), section 6.
    """
    return of_each_signal(gates, gates_of, _entropy)


def timescale(gates: Gates) -> Gates:
    """Computes how many steps the path through the cell keeps each unit's value.

    After n steps the share of the old state that is left on this path is the product
    of n values of the gate that keeps it, so its geometric mean governs how fast a
    value fades there: the time scale is -1 / mean(ln f), the number of steps in which
    it falls to 1/e. For a GRU `update`, of which 1 keeps the old state, takes the
    place of f.

    It is not how long the layer remembers: the path through the recurrent weights may
    keep more. `keras_gates.reach` measures that.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only the gate that keeps the
            old state is measured, `forget` or `update`; an array is taken as it.

    Returns:
        The steps, in the same kind of object, with dimensions `(unit)`, and `step`
        where there was one. Infinite where the gate is 1 throughout (in float32 a
        sigmoid rounds to 1 from about 17 on), 0 where it is 0 at some step, negative
        where it amplifies (an activation other than a sigmoid), NaN where it is
        negative at some step or every step is masked.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        An LSTM with zero weights and Keras's default bias forgets with sigmoid(1):

        >>> import xarray
        >>> from keras_gates import stats
        >>> forget = xarray.DataArray([[[0.7311]]], dims=("sample", "time", "unit"))
        >>> stats.timescale(forget).values.round(2)
        array([3.19])

    Reference:
        Tallec and Ollivier (2018), Can recurrent neural networks warp time?,
        arXiv:1804.11188, section 2, read as a geometric mean over the steps.
    """
    return of_each_signal(
        gates, keeping, lambda gate: _fading(gate, 1 / math.e, "time scale")
    )


def half_life(gates: Gates) -> Gates:
    """Computes in how many steps the path through the cell keeps half of a value.

    Like `timescale` it describes this path alone, of each unit. `keras_gates.reach`
    measures how long the layer remembers.

    Args:
        gates: As for `timescale`, with dimensions such as `(sample, time, unit)`.

    Returns:
        ln 2 times the `timescale`, with dimensions `(unit)`, in steps.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        A GRU with zero weights keeps a half at each step:

        >>> import xarray
        >>> from keras_gates import stats
        >>> update = xarray.DataArray([[[0.5]]], dims=("sample", "time", "unit"))
        >>> stats.half_life(update).values
        array([1.])
    """
    return of_each_signal(
        gates, keeping, lambda gate: _fading(gate, 1 / 2, "half-life")
    )


def _saturation(gate: xarray.DataArray, low: float, high: float) -> xarray.DataArray:
    """Returns the fractions below and above, with a new first dimension `side`."""
    import xarray

    dims = reduced(gate)
    count = gate.count(dims)
    side = xarray.DataArray(["left", "right"], dims="side", name="side")
    sides = [(gate < low).sum(dims), (gate > high).sum(dims)]
    # Division by NaN, unlike division by zero, is silent also in Dask's threads.
    fraction = xarray.concat(sides, side) / count.where(count > 0)
    return fraction.assign_attrs(long_name="saturated share of steps", units="1")


def _entropy(gate: xarray.DataArray) -> xarray.DataArray:
    """Returns the mean of -p log2 p - (1 - p) log2 (1 - p)."""
    import xarray

    dims = reduced(gate)
    count = gate.count(dims)
    # Masked steps add 0, as an open gate does. What lies outside of 0 to 1 adds NaN.
    bits = xarray.apply_ufunc(_binary_entropy, gate.fillna(1), dask="parallelized")
    total = bits.sum(dims, skipna=False, dtype=np.float64)
    mean = total / count.where(count > 0)
    return mean.assign_attrs(long_name="mean binary entropy", units="bits")


def _binary_entropy(values: np.ndarray) -> np.ndarray:
    rest = 1 - values
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -(values * np.log2(values) + rest * np.log2(rest))
    bits[(values == 0) | (rest == 0)] = 0
    return bits


def _fading(gate: xarray.DataArray, share: float, name: str) -> xarray.DataArray:
    """Returns in how many steps a state falls to a share: ln(share) / mean(ln f)."""
    import xarray

    dims = reduced(gate)
    count = gate.count(dims)
    # Masked steps add ln 1 = 0. With `skipna` a negative value, whose logarithm is
    # NaN too, would pass for a masked step.
    logarithm = xarray.apply_ufunc(_silent_log, gate.fillna(1), dask="parallelized")
    total = logarithm.sum(dims, skipna=False, dtype=np.float64)
    mean = total / count.where(count > 0)
    steps = (math.log(share) / mean.where(mean != 0)).where(mean != 0, np.inf)
    return steps.assign_attrs(long_name=name, units="steps")


def _silent_log(values: np.ndarray) -> np.ndarray:
    # Set here because Dask runs this in threads that know no setting of the caller.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)
