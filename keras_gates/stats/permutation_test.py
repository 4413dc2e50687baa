"""Scores of how well a unit follows labels, and of permuted labels."""

from __future__ import annotations

import math

import numpy as np

TOLERANCE = 1e-9
"""A permutation that maps the labels onto themselves scores the same up to this."""

LEAST = 100
"""With fewer permutations of the samples, no p-value could be small."""


def chance(
    labels: np.ndarray,
    real: np.ndarray,
    permutations: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Chooses permutations or shifts that assign labels to other steps at random.

    Returns:
        Permutations of the samples, of shape (permutation, sample); or shifts along
        the unmasked steps, of shape (shift,).
    """
    steps = real.reshape(len(real), -1)
    _, group = np.unique(steps, axis=0, return_inverse=True)
    groups = [np.flatnonzero(group.ravel() == g) for g in range(group.max() + 1)]
    # In a group of samples with equal labels, every order gives the same labels.
    groups = [g for g in groups if (labels[g] != labels[g[:1]]).any()]
    if sum(math.lgamma(len(g) + 1) for g in groups) >= math.log(LEAST):
        chosen = np.tile(np.arange(len(real)), (permutations, 1))
        for g in groups:
            chosen[:, g] = generator.permuted(chosen[:, g], axis=1)
        return chosen
    return 1 + generator.permutation(real.sum() - 1)[:permutations]


def score(
    values: np.ndarray,
    labels: np.ndarray,
    real: np.ndarray,
    null: np.ndarray,
    yes_or_no: bool,
) -> tuple[float, np.ndarray]:
    """Returns the score of a unit, from -1 to 1, and its scores by chance.

    Both measures are sums of products of values and labels, once the values are ranked
    or standardised.

    Args:
        values: The values of the unit at the unmasked steps.
        labels: Of shape (sample, ..., time), 0 at steps that are masked or unlabelled.
        real: True at the other steps, of the same shape.
        null: The permutations or shifts from `chance`.
        yes_or_no: Whether the labels are true or false.
    """
    from scipy import fft, stats

    count, known = len(values), labels[real]
    unknown = np.nan, np.full(len(null), np.nan)
    if yes_or_no:
        if np.isnan(values).any():
            return unknown
        # 2 AUC - 1, from the sum of the ranks of the ones (Mann and Whitney 1947).
        # In float64, as SciPy 1.18 ranks float32 in float32.
        values = stats.rankdata(values.astype(np.float64)) - (count + 1) / 2
        scale = known.sum() * (count - known.sum()) / 2
    else:
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            return unknown
        spread = values.std()
        if spread <= TOLERANCE * np.abs(values).max():
            return unknown
        values = values - values.mean()
        known = known - known.mean()
        scale = spread * known.std() * count
    if null.ndim == 1:
        # The sums of all shifts together are a circular correlation.
        product = fft.rfft(values) * np.conj(fft.rfft(known))
        sums = fft.irfft(product, n=count)
        observed, permuted = sums[0], sums[null]
    else:
        # Row by column: the values of one sample times the labels of another.
        left, right = np.zeros((2, *real.shape))
        left[real], right[real] = values, known
        samples = len(real)
        products = left.reshape(samples, -1) @ right.reshape(samples, -1).T
        observed = products.trace()
        permuted = products[np.arange(samples), null].sum(axis=1)
    # Rounded, so that equal scores stay equal.
    return float(np.round(observed / scale, 12)), permuted / scale


def p_values(scores: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Returns the fraction of permutations in which the best unit scores as high.

    Args:
        scores: The absolute score of each unit; NaN where it has none.
        best: The largest absolute score of any unit in each permutation.
    """
    reached = np.searchsorted(np.sort(best), scores - TOLERANCE)
    values = (1 + len(best) - reached) / (1 + len(best))
    return np.where(np.isnan(scores), np.nan, values)
