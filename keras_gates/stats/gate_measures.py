"""Measures of one gate: how often it saturates, and how long it keeps a value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_gates.checks import thresholds
from keras_gates.old_names import renamed
from keras_gates.stats.block_reduction import FOUND, count_of, reduce_blocks
from keras_gates.trees.apply_measure import gates_of, keeping, of_each_signal

if TYPE_CHECKING:
    import xarray

    from keras_gates.trees.types import Gates


@renamed(low="lower", high="upper")
def saturation(gates: Gates, *, lower: float = 0.1, upper: float = 0.9) -> Gates:
    """Computes how often each unit's gates are closed, and how often they are open.

    A gate is left-saturated at a step if it is below `lower`, and right-saturated if it
    is above `upper`. A unit whose forget gate is nearly always right-saturated keeps
    its cell state over long spans. A unit whose gates saturate on neither side blends
    old and new at every step.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only gates are measured.
        lower: The value below which a gate counts as closed.
        upper: The value above which a gate counts as open.

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
    lower, upper = thresholds(lower=lower, upper=upper)
    return of_each_signal(gates, gates_of, lambda gate: _saturation(gate, lower, upper))


def entropy(gates: Gates) -> Gates:
    """Computes how undecided each unit's gates are.

    The entropy of a gate with the value p is that of a coin that shows heads with
    probability p: 0 bits if the gate is closed or open, and 1 bit at 0.5.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only gates are measured.

    Returns:
        The mean binary entropy in bits, in the same kind of object, with dimensions
        `(unit)`, and `step` where there was one. NaN where every step is masked, and
        where a gate is not between 0 and 1 (an activation other than a sigmoid).

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
    """Computes for how many time steps each unit keeps its value, from its gates.

    After n steps, the fraction of the old state that is left on the path through the
    cell is the product of n values of the gate f that keeps it. The geometric mean of f
    therefore determines how fast a value fades: the time scale is -1 / mean(ln f), the
    number of steps in which the value falls to 1/e. f is `forget` for an LSTM and
    `update` for a GRU, where 1 keeps the old state.

    It does not show how long the layer remembers: the path through the recurrent
    weights may keep more. `keras_gates.reach` measures this.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only the gate that keeps the
            old state is measured, `forget` or `update`; an array is taken to be this
            gate.

    Returns:
        The steps, in the same kind of object, with dimensions `(unit)`, and `step`
        where there was one. Infinite where the gate is 1 throughout (in float32, a
        sigmoid is 1 if its argument is above about 17), 0 where it is 0 at some step,
        negative where it amplifies (an activation other than a sigmoid), NaN where it
        is negative at some step or every step is masked.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        The forget gate of an LSTM with zero weights and Keras's default bias is
        sigmoid(1):

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
    """Computes the half-life of each unit's value in time steps, from its gates.

    Like `timescale`, it describes only the path through the cell, for each unit.
    `keras_gates.reach` measures how long the layer remembers.

    Args:
        gates: As for `timescale`, with dimensions such as `(sample, time, unit)`.

    Returns:
        ln 2 times the `timescale`, with dimensions `(unit)`, in steps.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        A GRU with zero weights keeps half of its state at each step:

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

    def of_block(values: np.ndarray) -> np.ndarray:
        # Fewer rows than 2 ** 32: sums of short numbers are fast.
        beyond = [
            np.sum(there, axis=0, dtype=np.uint32)
            for there in (values < low, values > high)
        ]
        return np.stack([*beyond, count_of(values)])

    found = reduce_blocks(of_block, gate)
    side = xarray.DataArray(["left", "right"], dims="side", name="side")
    fraction = _mean(found[:2], found[2]).rename({FOUND: "side"})
    fraction = fraction.assign_coords(side=side)
    return fraction.assign_attrs(long_name="saturated share of steps", units="1")


def _entropy(gate: xarray.DataArray) -> xarray.DataArray:
    """Returns the mean of -p log2 p - (1 - p) log2 (1 - p)."""
    bits, count = reduce_blocks(_binary_entropy, gate)
    mean = _mean(bits, count)
    return mean.assign_attrs(long_name="mean binary entropy", units="bits")


def _binary_entropy(values: np.ndarray) -> np.ndarray:
    """Returns the sum of the bits of each unit, and the number of values."""
    rest = 1 - values
    bits, others = np.log2(values), np.log2(rest)
    bits *= values
    others *= rest
    bits += others
    total = bits.sum(axis=0, dtype=np.float64)
    if np.isnan(total).any():
        # At 0 and 1, the limit is 0 bits. Values outside of 0 to 1 remain NaN.
        nothing = (values == 0) | (rest == 0) | np.isnan(values)
        np.copyto(bits, 0, where=nothing)
        total = bits.sum(axis=0, dtype=np.float64)
    return np.stack([0 - total, count_of(values)])


def _fading(gate: xarray.DataArray, share: float, name: str) -> xarray.DataArray:
    """Returns the steps in which a state falls to a share: ln(share) / mean(ln f)."""
    mean = _mean(*reduce_blocks(_logarithms, gate))
    steps = (math.log(share) / mean.where(mean != 0)).where(mean != 0, np.inf)
    return steps.assign_attrs(long_name=name, units="steps")


def _logarithms(values: np.ndarray) -> np.ndarray:
    """Returns the sum of the logarithms of each unit, and the number of values."""
    logarithms = np.log(values)
    total = logarithms.sum(axis=0, dtype=np.float64)
    if np.isnan(total).any():
        # A negative value, whose logarithm is NaN too, is not taken for a masked step.
        np.copyto(logarithms, 0, where=np.isnan(values))
        total = logarithms.sum(axis=0, dtype=np.float64)
    return np.stack([total, count_of(values)])


def _mean(total: xarray.DataArray, count: xarray.DataArray) -> xarray.DataArray:
    """Returns a mean, NaN where every step is masked."""
    # Division by NaN, unlike division by zero, is silent also in Dask's threads.
    return total / count.where(count > 0)
