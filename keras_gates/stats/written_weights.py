"""How much of a state comes from each earlier step, on the path through the cell."""

from __future__ import annotations

import numpy as np

from keras_gates.stats.block_reduction import BLOCK

STRIDE = 16
"""Steps whose products are formed one after the other, all such groups together."""

NARROW = 16
"""The least number of units that are taken together."""


def weights_reached(keep: np.ndarray, write: np.ndarray) -> np.ndarray:
    """Sums, over samples, the share of the weight up to each lag.

    Args:
        keep: The share of the state that each step keeps, of shape
            `(sample, time, unit)`. NaN at masked steps.
        write: What each step writes, likewise.

    Returns:
        The sums, and in the last row the number of samples that have a weight, of shape
        `(lag + 1, unit)`.
    """
    samples, steps, units = keep.shape
    wide = min(max(BLOCK // steps, NARROW), units)
    number = min(max(BLOCK // (steps * wide), 1), samples)
    # New memory for each few samples would take longer than all the sums.
    scratch = np.empty((STRIDE, number, -(-steps // STRIDE), wide))
    reached = np.zeros((steps + 1, units))
    for left in range(0, units, wide):
        few = slice(left, left + wide)
        for first in range(0, samples, number):
            some = slice(first, first + number)
            pair = keep[some, :, few], write[some, :, few]
            reached[:, few] += _of_few(*_latest_first(*pair), scratch)
    np.cumsum(reached[:-1], axis=0, out=reached[:-1])
    return reached


def _of_few(keep: np.ndarray, write: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Returns the sums of the share of each lag, and the number of samples.

    Args:
        keep: Of shape `(sample, lag, unit)`, without NaN.
        write: Likewise.
        scratch: Room for the weights.
    """
    samples, steps, units = keep.shape
    weight = scratch[:, :samples, :, :units]
    kept = np.ones(weight.shape[1:])
    for place in range(STRIDE):
        factor = keep[:, place::STRIDE].astype(np.float64)
        number = factor.shape[1]
        weight[place, :, number:] = 0
        np.copyto(weight[place, :, :number], write[:, place::STRIDE])
        weight[place] *= kept
        kept[:, :number] *= factor
    # What lies between a group and the last step.
    np.multiply.accumulate(kept, axis=1, out=kept)
    weight[:, :, 1:] *= kept[:, :-1]
    total = weight.sum(axis=(0, 2))
    known = (total > 0) & np.isfinite(total)
    if not known.all():
        np.copyto(weight, 0, where=~known[:, None])
        total = np.where(known, total, 1)
    shares = np.einsum("psgu,su->gpu", weight, 1 / total)
    shares = shares.reshape(-1, units)[:steps]
    return np.concatenate([shares, known.sum(axis=0, keepdims=True)])


def _latest_first(keep: np.ndarray, write: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts the last unmasked step first, and masked ones, which do nothing, behind."""
    keep, write = keep[:, ::-1], write[:, ::-1]
    masked = np.isnan(keep)
    if not masked.any():
        return keep, write
    keep, write = np.where(masked, 1, keep), np.where(masked, 0, write)
    if (masked == masked[:, :, :1]).all():
        # Whole rows are moved faster than single values.
        rows = np.arange(len(keep))[:, None]
        order = np.argsort(masked[:, :, 0], axis=1, kind="stable")
        return keep[rows, order], write[rows, order]
    order = np.argsort(masked, axis=1, kind="stable")
    return tuple(np.take_along_axis(values, order, axis=1) for values in (keep, write))
