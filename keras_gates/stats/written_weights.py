"""The weight of each earlier step in a state, on the path through the cell."""

from __future__ import annotations

import numpy as np

from keras_gates.stats.block_reduction import BLOCK

STRIDE = 8
"""Steps in a group: products are formed step by step, in all groups together."""

NARROW = 16
"""The smallest number of units that are computed together."""


def weights_reached(keep: np.ndarray, write: np.ndarray | None = None) -> np.ndarray:
    """Sums, over samples, the share of the weight up to each lag.

    Args:
        keep: The share of the state that each step keeps, of shape
            `(sample, time, unit)`. NaN at masked steps.
        write: The share that each step writes, likewise. Default: 1 - `keep`.

    Returns:
        The sums, and in the last row the number of samples that have a weight, of shape
        `(lag + 1, unit)`.
    """
    samples, steps, units = keep.shape
    wide = min(max(BLOCK // steps, NARROW), units)
    number = min(max(BLOCK // (steps * wide), 1), samples)
    groups = -(-steps // STRIDE)
    # One allocation: new memory for each part would take longer than all the sums.
    weight = np.zeros((STRIDE, number, groups, wide))
    reached = np.zeros((groups, STRIDE, units))
    count = np.zeros(units)
    for left in range(0, units, wide):
        few = slice(left, left + wide)
        for first in range(0, samples, number):
            some = slice(first, first + number), slice(None), few
            latest = _latest_first(
                keep[some], 1 - keep[some] if write is None else write[some]
            )
            part = weight[:, : len(latest[0]), :, : latest[0].shape[-1]]
            _weigh(*latest, part)
            total = part.sum(axis=(0, 2))
            known = (total > 0) & np.isfinite(total)
            if not known.all():
                np.copyto(part, 0, where=~known[:, None])
                total = np.where(known, total, 1)
            reached[:, :, few] += np.einsum("psgu,su->gpu", part, 1 / total)
            count[few] += known.sum(axis=0)
    shares = np.cumsum(reached.reshape(-1, units)[:steps], axis=0)
    return np.concatenate([shares, count[None]])


def _weigh(keep: np.ndarray, write: np.ndarray, weight: np.ndarray) -> None:
    """Computes the weight of each lag.

    Args:
        keep: Of shape `(sample, lag, unit)`, without NaN.
        write: Likewise.
        weight: The array for the result, of shape `(place in a group, sample, group,
            unit)`. It must be 0 after the last lag.
    """
    kept = np.ones(weight.shape[1:])
    for place in range(min(STRIDE, keep.shape[1])):
        factor = keep[:, place::STRIDE].astype(np.float64)
        number = factor.shape[1]
        weight[place, :, :number] = write[:, place::STRIDE]
        weight[place] *= kept
        kept[:, :number] *= factor
    # The product over all groups between a group and the last step.
    since = np.ones_like(kept)
    np.multiply.accumulate(kept[:, :-1], axis=1, out=since[:, 1:])
    weight *= since


def _latest_first(keep: np.ndarray, write: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reverses time, with masked steps, which then have no effect, at the end."""
    keep, write = keep[:, ::-1], write[:, ::-1]
    masked = np.isnan(keep)
    if not masked.any():
        # Contiguous in memory, because every eighth step is read separately.
        return np.ascontiguousarray(keep), np.ascontiguousarray(write)
    keep, write = np.where(masked, 1, keep), np.where(masked, 0, write)
    if (masked == masked[:, :, :1]).all():
        # Moving whole rows is faster than moving single values.
        rows = np.arange(len(keep))[:, None]
        order = np.argsort(masked[:, :, 0], axis=1, kind="stable")
        return keep[rows, order], write[rows, order]
    order = np.argsort(masked, axis=1, kind="stable")
    keep, write = (
        np.take_along_axis(values, order, axis=1) for values in (keep, write)
    )
    return keep, write
