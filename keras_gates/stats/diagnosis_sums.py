"""All sums that the diagnosis needs, from one pass over the signals of a layer.

The measures of `stats` are lazy expressions, each of which reads its signals again. A
diagnosis of a gigabyte would need a dozen passes. Here, a few rows that fit into the
processor's cache are read once, and all sums are computed from them. A test compares
each number with the measure of the same name.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind
from keras_gates.trees.dimensions import BLOCK_BYTES

if TYPE_CHECKING:
    import xarray

CACHE_BYTES = 2**20
"""The size of a block of one signal.

With the few other signals and a result or two, it fits into the cache of one core.
"""


@dataclasses.dataclass(frozen=True)
class Sums:
    """The counts of one signal at its unmasked steps, in arrays `(unit,)`.

    Attributes:
        count: Number of unmasked steps.
        broken: Number of values at unmasked steps that are NaN or infinite.
        below: Number of values of a gate that are below the lower threshold.
        above: Number of values of a gate that are above the upper threshold.
        mean: Mean of the values.
        squares: Sum of the squared differences from the mean.
        products: Sum of the products of these differences with those of the gate that
            may carry the same information.
        logarithms: Sum of the logarithms, for a gate that keeps the old state.
        largest: The largest value.
    """

    count: int
    broken: int = 0
    below: int = 0
    above: int = 0
    mean: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0
    products: np.ndarray | float = 0.0
    logarithms: np.ndarray | float = 0.0
    largest: np.ndarray | float = -np.inf

    @property
    def spread(self) -> np.ndarray:
        """The standard deviation of each unit."""
        return np.sqrt(self.squares / self.count)

    def correlation(self, other: Sums) -> np.ndarray:
        """Pearson's correlation of each unit with the same unit of a second gate."""
        scale = np.sqrt(self.squares * other.squares)
        # For a constant gate, only rounding errors are left.
        scale = np.where(scale > 1e-12 * self.count, scale, np.nan)
        return self.products / scale


class Scratch(threading.local):
    """Arrays that are reused from block to block; each thread has its own.

    The allocation of new memory for each block would take longer than all the sums.
    """

    def __init__(self):
        self._arrays: dict[tuple, np.ndarray] = {}

    def like(self, values: np.ndarray, name: str, dtype: Any = None) -> np.ndarray:
        """Returns an array of the shape of `values`, with arbitrary contents."""
        dtype = np.dtype(dtype or values.dtype)
        array = self._arrays.get((name, dtype))
        if array is None or len(array) < len(values):
            array = self._arrays[name, dtype] = np.empty(values.shape, dtype)
        return array[: len(values)]


def count_signals(
    layer: xarray.Dataset,
    kind: Kind,
    mask: xarray.DataArray | None,
    low: float,
    high: float,
) -> dict[str, Sums]:
    """Counts all signals of a layer.

    Args:
        layer: Its signals, with dimensions such as `(sample, time, unit)`.
        kind: The kind of its cell.
        mask: True where a step is unmasked. If it is None, the steps at which every
            unit is NaN count as masked.
        low: The threshold for `Sums.below`.
        high: The threshold for `Sums.above`.

    Returns:
        The sums of each signal, by its name.
    """
    names = [str(name) for name in layer]
    dims = [dim for dim in layer[names[0]].dims if dim != v.UNIT]
    layer = layer.transpose(*dims, v.UNIT)
    if mask is not None:
        steps = layer[names[0]].isel({v.UNIT: 0}, drop=True)
        mask = mask.broadcast_like(steps).transpose(*dims)
    per_sample = max(layer.nbytes // max(layer.sizes[dims[0]], 1), 1)
    step = max(BLOCK_BYTES // per_sample, 1)
    parts: list[dict[str, Sums]] = []
    scratch = Scratch()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, layer.sizes[dims[0]], step):
            part = {dims[0]: slice(start, start + step)}
            block = {name: _flat(layer[name].isel(part)) for name in names}
            real = None if mask is None else mask.isel(part).values.ravel()
            count = functools.partial(_count, kind, block, real, low, high, scratch)
            parts += pool.map(count, _ranges(block[names[0]]))
    with np.errstate(invalid="ignore"):  # Infinity leads to NaN.
        return _joined(kind, names, [part for part in parts if part[names[0]].count])


def _flat(signal: xarray.DataArray) -> np.ndarray:
    return signal.values.reshape(-1, signal.sizes[v.UNIT])


def _ranges(values: np.ndarray) -> list[slice]:
    length = max(CACHE_BYTES // max(values[:1].nbytes, 1) // 16, 1) * 16
    return [slice(i, i + length) for i in range(0, len(values), length)]


def _count(
    kind: Kind,
    block: dict[str, np.ndarray],
    real: np.ndarray | None,
    low: float,
    high: float,
    scratch: Scratch,
    rows: slice,
) -> dict[str, Sums]:
    """Computes the sums of a few rows of every signal."""
    with np.errstate(all="ignore"):  # The caller's setting is not known in a thread.
        few = {
            # In half precision, the sums would lose most of their digits.
            name: values[rows].astype(
                np.promote_types(values.dtype, np.float32), copy=False
            )
            for name, values in block.items()
        }
        few = _unmasked(few, None if real is None else real[rows])
        number = len(next(iter(few.values())))
        if not number:
            return dict.fromkeys(few, Sums(0))
        means = {name: _total(values) / number for name, values in few.items()}
        away = {
            name: np.subtract(
                values, means[name].astype(values.dtype), out=scratch.like(values, name)
            )
            for name, values in few.items()
            if name in kind.gates or name == v.HIDDEN
        }
        return {
            name: _sums(name, values, means[name], away, kind, low, high, scratch)
            for name, values in few.items()
        }


def _unmasked(
    few: dict[str, np.ndarray], real: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Returns the unmasked rows."""
    if real is None:
        # A NaN is found faster in the sums than in the values. Often there is none.
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
    mean: np.ndarray,
    away: dict[str, np.ndarray],
    kind: Kind,
    low: float,
    high: float,
    scratch: Scratch,
) -> Sums:
    """Returns the sums of one signal over a few rows.

    Args:
        name: The name of the signal.
        values: Of shape (row, unit).
        mean: The mean of each unit.
        away: For each gate and for `hidden`, the differences from the mean.
        kind: The kind of the cell.
        low: The lower threshold.
        high: The upper threshold.
        scratch: Memory for intermediate results.
    """
    found: dict[str, Any] = {"count": len(values), "mean": mean}
    if not np.isfinite(mean).all():
        found["broken"] = values.size - np.count_nonzero(np.isfinite(values))
    if name in away:
        found["squares"] = _products(away[name], away[name])
    partner = _partner(name, kind)
    if name in away and partner in away:
        found["products"] = _products(away[name], away[partner])
    if name in kind.gates:
        beyond = scratch.like(values, "beyond", bool)
        found["below"] = np.count_nonzero(np.less(values, low, out=beyond))
        found["above"] = np.count_nonzero(np.greater(values, high, out=beyond))
    if name == kind.keep:
        logarithm = np.log(values, out=scratch.like(values, "logarithm"))
        found["logarithms"] = _total(logarithm)
    if name in (kind.write, kind.show):
        found["largest"] = _over_rows(np.maximum, values)
    return Sums(**found)


def _partner(name: str, kind: Kind) -> str:
    """Returns the gate that may carry the same information as another one, or ""."""
    coupled = kind.coupled
    return coupled.second if coupled is not None and coupled.first == name else ""


def _joined(
    kind: Kind, names: list[str], parts: list[dict[str, Sums]]
) -> dict[str, Sums]:
    """Returns the sums of the whole from those of its parts (Chan et al. 1979)."""
    if not parts:
        return dict.fromkeys(names, Sums(0))
    counts = np.array([[part[names[0]].count] for part in parts], float)
    means = {name: np.stack([part[name].mean for part in parts]) for name in names}
    whole = {name: (counts * m).sum(axis=0) / counts.sum() for name, m in means.items()}
    apart = {name: means[name] - whole[name] for name in names}

    def total(name: str, field: str) -> Any:
        return np.sum([getattr(part[name], field) for part in parts], axis=0)

    joined = {}
    for name in names:
        other = apart.get(_partner(name, kind))
        between = 0.0 if other is None else (counts * apart[name] * other).sum(axis=0)
        joined[name] = Sums(
            count=int(total(name, "count")),
            broken=int(total(name, "broken")),
            below=int(total(name, "below")),
            above=int(total(name, "above")),
            mean=whole[name],
            squares=total(name, "squares") + (counts * apart[name] ** 2).sum(axis=0),
            products=total(name, "products") + between,
            logarithms=total(name, "logarithms"),
            largest=np.max([np.asarray(part[name].largest) for part in parts], axis=0),
        )
    return joined


def _total(values: np.ndarray) -> np.ndarray:
    return _over_rows(np.add, values).astype(np.float64)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("tu,tu->u", a, b).astype(np.float64)


def _over_rows(function: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Reduces values of shape (row, unit) to (unit,)."""
    # Sixteen rows as one: NumPy reduces long rows three times as fast as short ones.
    together = 16 if len(values) % 16 == 0 else 1
    wide = values.reshape(-1, together, values.shape[1])
    return function.reduce(function.reduce(wide, axis=0), axis=0)
