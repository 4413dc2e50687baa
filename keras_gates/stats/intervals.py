"""Means over repetitions, with their confidence intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates.checks import share_of, type_of
from keras_gates.trees.data_checks import real_signal

if TYPE_CHECKING:
    from keras_gates.trees.types import Array


def mean_interval(
    data: Array, dim: str, *, level: float = 0.95
) -> tuple[Array, Array, Array]:
    """Computes a mean and its Student-t confidence interval along a dimension.

    The interval is that of Student (1908), The probable error of a mean, Biometrika
    6(1): mean -+ t s / sqrt(n). Nothing is skipped: a single NaN or infinity makes all
    three values NaN. Otherwise, a seed that diverged would be dropped silently, and the
    mean would look too good.

    Args:
        data: A DataArray or a Dataset with the dimension `dim`.
        dim: The dimension of the repetitions, such as "seed".
        level: The fraction of such intervals that contain the true mean.

    Returns:
        The mean and the lower and upper ends of the interval, each without `dim`. The
        ends are NaN if there is only one value.

    Raises:
        ValueError: If `dim` is not in `data` or empty, or `level` not in (0, 1).
        TypeError: If `data` is something else, or does not hold real numbers.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> losses = xarray.DataArray([1.0, 2.0, 3.0], dims="seed")
        >>> [float(value.round(2)) for value in stats.mean_interval(losses, "seed")]
        [2.0, -0.48, 4.48]
    """
    import xarray
    from scipy.special import stdtrit

    level = share_of("level", level)
    if not isinstance(data, xarray.DataArray | xarray.Dataset):
        raise TypeError(
            f"`data` must be an xarray DataArray or Dataset; got {type_of(data)}."
        )
    arrays = data.values() if isinstance(data, xarray.Dataset) else [data]
    for array in arrays:
        real_signal(array, "data")
    if not isinstance(dim, str) or not data.sizes.get(dim):
        raise ValueError(
            f"`dim` must be a dimension of `data` that is not empty; got {dim!r}, "
            f"and `data` has {dict(data.sizes)}."
        )
    count = data.sizes[dim]
    values: Any = data.astype("float64").where(np.isfinite(data))
    mean = values.mean(dim, skipna=False)
    if count == 1:
        return mean, mean * math.nan, mean * math.nan
    error = values.std(dim, ddof=1, skipna=False) / math.sqrt(count)
    margin = float(stdtrit(count - 1, (1 + level) / 2)) * error
    return mean, mean - margin, mean + margin
