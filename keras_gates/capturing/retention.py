"""Computes retention, reach and share from the arrays of a swap."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

RESAMPLES = 400
"""The number of resamples of the pairs for an interval."""

FALLEN = math.exp(-1)
"""A retention below this value counts as forgotten."""


class Swapped(NamedTuple):
    """The effects of the swap of a state, pair by pair.

    Attributes:
        moved: `(pair, lag)`, the squared change of the state; NaN where masked.
        apart: `(pair, lag)`, the squared distance of the two samples; likewise.
        outputs: `(pair, 2)`, the squared change of the output, and its distance.
    """

    moved: np.ndarray
    apart: np.ndarray
    outputs: np.ndarray


class Reach(NamedTuple):
    """The memory of the state after one step, with intervals of 95 %.

    Attributes:
        retention: `(lag,)`: 1 where all of the state is still there.
        reach: The steps until it falls below 1/e, and the ends of the interval;
            infinite if it does not.
        share: The share of the variance of the output that goes through it, likewise.
    """

    retention: np.ndarray
    reach: tuple[float, float, float]
    share: tuple[float, float, float]


def measured(swapped: Swapped, rng: np.random.Generator) -> Reach:
    """Computes retention, reach and share, with intervals over pairs.

    Args:
        swapped: The effects of the swap.
        rng: Resamples the pairs.
    """
    pairs = len(swapped.outputs)
    ones = np.ones((1, pairs))
    drawn = rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=RESAMPLES)
    retention = _retention(ones, swapped)[0]
    reaches = np.array([fall(curve) for curve in _retention(drawn, swapped)])
    return Reach(
        retention,
        (fall(retention), *_ends(reaches)),
        (_share(ones, swapped)[0], *_ends(_share(drawn, swapped))),
    )


def _retention(weights: np.ndarray, swapped: Swapped) -> np.ndarray:
    return np.sqrt(
        _ratio(
            weights @ np.nan_to_num(swapped.moved),
            weights @ np.nan_to_num(swapped.apart),
        )
    )


def _share(weights: np.ndarray, swapped: Swapped) -> np.ndarray:
    moved, apart = (weights @ swapped.outputs).T
    return _ratio(moved, apart)


def _ratio(moved: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Returns the ratio, NaN where the two samples do not differ."""
    ratio = np.full(moved.shape, np.nan)
    np.divide(moved, apart, out=ratio, where=apart > 0)
    return ratio


def _ends(values: np.ndarray) -> tuple[float, float]:
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return np.nan, np.nan
    # Values may be infinite, so quantiles are not interpolated.
    low, high = (values[round(share * (len(values) - 1))] for share in (0.025, 0.975))
    return float(low), float(high)


def fall(curve: np.ndarray) -> float:
    """Returns the lag at which a curve first falls below 1/e.

    Args:
        curve: Retention by lag, 1 at lag 0; NaN where there is none.

    Returns:
        The lag, interpolated between steps as an exponential fall; infinite if the
        known part does not fall below 1/e; NaN if nothing is known.

    Example:
        >>> round(fall(np.exp(-np.arange(9) / 2.5)), 3)
        2.5
        >>> fall(np.ones(9))
        inf
    """
    if np.isnan(curve).all():
        return np.nan
    below = np.flatnonzero(curve < FALLEN)
    if not len(below):
        return np.inf
    lag = int(below[0])
    before, after = curve[lag - 1] if lag else np.nan, curve[lag]
    if not before > 0 or after <= 0:
        return float(lag)
    return lag - 1 + float((np.log(before) + 1) / (np.log(before) - np.log(after)))


def donors(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns another sample of the same group for each sample, or itself if alone.

    Args:
        groups: `(sample,)`, values of any type that can be compared.
        rng: Draws the samples.
    """
    chosen = np.arange(len(groups))
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        chosen[members] = np.roll(members, 1)
    return chosen
