"""Everything the diagnosis counts, in one pass over the signals of a layer.

The measures of `stats` are lazy expressions, each of which reads its signals again.
For a diagnosis of a gigabyte that would be a dozen passes. Here a few rows that fit
into the processor's cache are read once, and all is counted on them. A test holds each
figure against the measure of the same name.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
from typing import TYPE_CHECKING

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.layerwise import BLOCK_BYTES
from keras_gates.measures import KEEP

if TYPE_CHECKING:
    import xarray

CACHE_BYTES = 2**19
"""Of one signal: with the few others and a result or two, what a core has by itself."""

COUPLED = ((v.INPUT, v.FORGET), (v.RESET, v.UPDATE))
"""Gates that may carry the same information."""


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over the real steps, of one signal or two; arrays are of shape `(unit,)`.

    Attributes:
        count: Number of real steps.
        broken: Number of values at real steps that are NaN or infinite.
        below: Number of values under the threshold, of a gate.
        above: Number of values over the other one.
        first: Sum of the values, each less the pivot of its unit.
        second: Sum of their squares.
        product: Sum of their products with those of a second gate.
        logarithm: Sum of the logarithms, of a gate that keeps the old state.
        largest: The largest value.
    """

    count: int
    broken: int = 0
    below: int = 0
    above: int = 0
    first: np.ndarray | float = 0.0
    second: np.ndarray | float = 0.0
    product: np.ndarray | float = 0.0
    logarithm: np.ndarray | float = 0.0
    largest: np.ndarray | float = -np.inf

    @property
    def spread(self) -> np.ndarray:
        """The standard deviation of each unit."""
        variance = self.second / self.count - (self.first / self.count) ** 2
        return np.sqrt(np.maximum(variance, 0))

    def correlation(self, other: Sums) -> np.ndarray:
        """Pearson's correlation of each unit with the same unit of a second gate."""
        mean = self.first * other.first / self.count**2
        scale = self.spread * other.spread
        # Of a constant gate only roundings are left.
        scale = np.where(scale > 1e-12, scale, np.nan)
        return (self.product / self.count - mean) / scale


def joined(parts: list[Sums]) -> Sums:
    """Returns the sums of the whole from those of its parts."""
    parts = [part for part in parts if part.count]
    if not parts:
        return Sums(0)
    columns = {
        field.name: [getattr(part, field.name) for part in parts]
        for field in dataclasses.fields(Sums)
    }
    largest = np.max(columns.pop("largest"), axis=0)
    sums = {name: np.sum(column, axis=0) for name, column in columns.items()}
    return Sums(largest=largest, **sums)


def tally(
    layer: xarray.Dataset, mask: xarray.DataArray | None, low: float, high: float
) -> dict[str, Sums]:
    """Counts all signals of a layer.

    Args:
        layer: Its signals, with dimensions such as `(sample, time, unit)`.
        mask: True where a step is real, or None: then steps are masked at which every
            unit is NaN.
        low: The threshold for `Sums.below`.
        high: The threshold for `Sums.above`.

    Returns:
        From each signal to its sums.
    """
    names = list(layer)
    rows = {name: layer[name].transpose(..., v.UNIT) for name in names}
    sample = rows[names[0]].dims[0]
    per_sample = max(layer.nbytes // max(layer.sizes[sample], 1), 1)
    step = max(BLOCK_BYTES // per_sample, 1)
    parts: list[dict[str, Sums]] = []
    pivots: dict[str, np.ndarray] = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, layer.sizes[sample], step):
            part = {sample: slice(start, start + step)}
            block = {name: _flat(rows[name].isel(part)) for name in names}
            real = None if mask is None else mask.isel(part).values.ravel()
            for name in names:
                pivots.setdefault(name, _pivot(block[name]))
            count = functools.partial(_count, block, real, pivots, low, high)
            parts += pool.map(count, _ranges(block[names[0]]))
    return {name: joined([part[name] for part in parts]) for name in names}


def _flat(signal: xarray.DataArray) -> np.ndarray:
    return signal.values.reshape(-1, signal.sizes[v.UNIT])


def _pivot(values: np.ndarray) -> np.ndarray:
    """Returns values in the midst of the others, so that squares lose no digits."""
    for row in values:
        if np.isfinite(row).all():
            return row
    return np.zeros(values.shape[1], values.dtype)


def _ranges(values: np.ndarray) -> list[slice]:
    length = max(CACHE_BYTES // max(values[:1].nbytes, 1) // 16, 1) * 16
    return [slice(i, i + length) for i in range(0, len(values), length)]


def _count(
    block: dict[str, np.ndarray],
    real: np.ndarray | None,
    pivots: dict[str, np.ndarray],
    low: float,
    high: float,
    rows: slice,
) -> dict[str, Sums]:
    """Counts a few rows of every signal."""
    with np.errstate(all="ignore"):  # A thread knows no setting of the caller.
        return _count_silently(block, real, pivots, low, high, rows)


def _count_silently(block, real, pivots, low, high, rows) -> dict[str, Sums]:
    few = {name: values[rows] for name, values in block.items()}
    few = _unmasked(few, None if real is None else real[rows])
    away = {
        name: values - pivots[name]
        for name, values in few.items()
        if name in v.GATES or name == v.HIDDEN
    }
    partners = {a: b for a, b in COUPLED if a in few and b in few}
    return {
        name: _sums(
            name,
            values,
            away.get(name),
            away.get(partners.get(name)),
            low,
            high,
        )
        for name, values in few.items()
    }


def _unmasked(
    few: dict[str, np.ndarray], real: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Leaves out the masked rows."""
    if real is None:
        # NaN in a sum is found sooner than NaN itself, and no step may be masked.
        if not np.isnan(_total(next(iter(few.values())))).any():
            return few
        empty = [np.isnan(values).all(axis=1) for values in few.values()]
        real = ~np.logical_and.reduce(empty)
    if real.all():
        return few
    return {name: values[real] for name, values in few.items()}


def _sums(
    name: str,
    values: np.ndarray,
    away: np.ndarray | None,
    other: np.ndarray | None,
    low: float,
    high: float,
) -> Sums:
    """Returns the sums of one signal over a few rows.

    Args:
        name: The name of the signal.
        values: Of shape (row, unit).
        away: Their differences from the pivot, of what has a spread to tell.
        other: Those of the gate that may carry the same information.
        low: The lower threshold.
        high: The upper threshold.
    """
    if not len(values):
        return Sums(0)
    found = {"count": len(values)}
    if not np.isfinite(_total(values)).all():
        found["broken"] = values.size - np.count_nonzero(np.isfinite(values))
    if away is not None:
        found["first"] = _total(away)
        found["second"] = _products(away, away)
    if other is not None:
        found["product"] = _products(away, other)
    if name in v.GATES:
        found["below"] = np.count_nonzero(values < low)
        found["above"] = np.count_nonzero(values > high)
    if name in KEEP:
        found["logarithm"] = _total(np.log(values))
    if name in (v.INPUT, v.OUTPUT):
        found["largest"] = _over_rows(np.maximum, values)
    return Sums(**found)


def _total(values: np.ndarray) -> np.ndarray:
    return _over_rows(np.add, values).astype(np.float64)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("tu,tu->u", a, b).astype(np.float64)


def _over_rows(function: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Reduces values of shape (row, unit) to (unit,)."""
    # Sixteen rows as one: NumPy takes long rows three times as fast as short ones.
    together = 16 if len(values) % 16 == 0 else 1
    wide = values.reshape(-1, together, values.shape[1])
    return function.reduce(function.reduce(wide, axis=0), axis=0)
