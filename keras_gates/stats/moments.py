"""Counts, means, products and extremes of signals, each in one pass over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_gates.stats.block_reduction import reduce_blocks

if TYPE_CHECKING:
    import xarray

PAIRS = {1: ((0, 0),), 2: ((0, 0), (1, 1), (0, 1))}
"""For each number of signals, those whose products are summed up."""


def moments(*signals: xarray.DataArray) -> xarray.DataArray:
    """Computes count, means and products of each unit, over the unmasked steps.

    Args:
        signals: One signal, or two. With two, only steps that are known in both count.

    Returns:
        Along the first dimension: the count; the mean of each signal, 0 where every
        step is masked; and the sums of the products of the differences from the means,
        in the order of `PAIRS`.
    """
    return reduce_blocks(moments_of, *signals, join=joined)


def correlation(found: xarray.DataArray) -> xarray.DataArray:
    """Returns Pearson's correlation of each unit, from the `moments` of two signals."""
    count, _, _, squares, others, products = found
    scale = (squares * others) ** 0.5
    # For a constant gate, only rounding errors are left.
    return products / scale.where(scale > 1e-12 * count)


def extremes(signal: xarray.DataArray) -> xarray.DataArray:
    """Returns the smallest and largest value of each unit; NaN if all are masked."""

    def of_block(values: np.ndarray) -> np.ndarray:
        return np.stack([np.fmin.reduce(values), np.fmax.reduce(values)])

    def join(parts: np.ndarray) -> np.ndarray:
        return np.stack([np.fmin.reduce(parts[:, 0]), np.fmax.reduce(parts[:, 1])])

    return reduce_blocks(of_block, signal, join=join)


def moments_of(*arrays: np.ndarray) -> np.ndarray:
    """Computes the results of `moments` from arrays of shape `(row, unit)`."""
    away = [array.astype(np.float64) for array in arrays]
    count = np.full(away[0].shape[1], float(len(away[0])))
    means = [values.sum(axis=0) / len(values) for values in away]
    missing = None
    # A NaN is found faster in the means than in the values.
    if np.isnan(sum(means)).any():
        missing = np.logical_or.reduce([np.isnan(values) for values in away])
        count -= missing.sum(axis=0)
        for values in away:
            np.copyto(values, 0, where=missing)
        means = [values.sum(axis=0) / np.maximum(count, 1) for values in away]
    for values, mean in zip(away, means, strict=True):
        values -= mean
        if missing is not None:
            np.copyto(values, 0, where=missing)
    products = [np.einsum("ru,ru->u", away[i], away[j]) for i, j in PAIRS[len(arrays)]]
    return np.stack([count, *means, *products])


def joined(parts: np.ndarray) -> np.ndarray:
    """Joins the moments of several parts, as Chan, Golub and LeVeque (1979) do.

    Args:
        parts: The results of `moments` for each part, of shape `(part, found, unit)`.
    """
    number = 1 if parts.shape[1] == 3 else 2
    count, means, products = np.split(parts, [1, 1 + number], axis=1)
    whole = count.sum(axis=0)
    mean = (count * means).sum(axis=0) / np.maximum(whole, 1)
    apart = means - mean
    first, second = zip(*PAIRS[number], strict=True)
    between = count * apart[:, first] * apart[:, second]
    return np.concatenate([whole, mean, (products + between).sum(axis=0)])
