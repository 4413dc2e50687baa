"""Reduces signals over samples, frames and time, in blocks that the cache holds.

An expression over whole signals writes each intermediate result to memory, which takes
longer than computing it. Here, a function gets a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.trees.dimensions import pieces_together, reduced

if TYPE_CHECKING:
    import xarray

BLOCK = 2**16
"""The number of elements of a block."""

WIDE = 512
"""The number of elements of a row that NumPy reduces at full speed."""

TOGETHER = 64
"""The number of results that are joined at once."""

FOUND = "found"
"""The dimension of the results that a function computes from a block."""

OfBlock = Callable[..., np.ndarray]
Join = Callable[[np.ndarray], np.ndarray]


def total(parts: np.ndarray) -> np.ndarray:
    """Joins sums."""
    return parts.sum(axis=0)


def reduce_blocks(
    of_block: OfBlock,
    *signals: xarray.DataArray,
    join: Join = total,
    whole: Sequence[str] = (),
    size: int = BLOCK,
) -> xarray.DataArray:
    """Reduces signals over all dimensions but step and unit.

    Signals in Dask arrays are reduced later, chunk by chunk. Others that are on disk
    are read a few samples at a time. Floating-point errors are silent.

    Args:
        of_block: Takes one array for each signal, of shape `(row, *whole, unit)` and
            with the same rows, and returns the results, of shape `(found, unit)`.
            Masked steps are NaN. Every unit is reduced separately.
        signals: One signal, or several that have the same sizes.
        join: Takes the results of several blocks, of shape `(part, found, unit)`, and
            returns the result for all of them, `(found, unit)`; more dimensions may be
            between the last two.
        whole: Dimensions that every block contains completely.
        size: The number of elements of a block.

    Returns:
        The results, in float64, of dimensions `(found, step, unit)`; the last two are
        there if the signals have them.
    """
    import xarray

    first = signals[0]
    if any(set(signal.dims) != set(first.dims) for signal in signals):
        signals = xarray.broadcast(*signals)
    rows = [dim for dim in reduced(signals[0]) if dim not in whole] or [v.SAMPLE]
    steps = [v.STEP] if v.STEP in signals[0].dims else []
    order = [*rows, *whole, *steps, v.UNIT]
    added = [dim for dim in order if dim not in signals[0].dims]
    data: Any = [
        (signal.expand_dims(added) if added else signal).variable.transpose(*order)
        for signal in signals
    ]
    before = len(rows) + len(whole)

    def of_arrays(arrays: Sequence[np.ndarray]) -> np.ndarray:
        # Each step of training counts as a further set of units.
        flat = [array.reshape(*array.shape[:before], -1) for array in arrays]
        found = _reduced(of_block, join, flat, len(rows), size)
        return found.reshape(len(found), *arrays[0].shape[before:])

    lazy = any(signal.chunks is not None for signal in signals)
    found = (
        _later(of_arrays, join, data, rows, whole)
        if lazy
        else _now(of_arrays, join, data)
    )
    dims = (FOUND, *steps, v.UNIT)
    result = xarray.DataArray(
        found,
        {
            name: coordinate
            for name, coordinate in first.coords.items()
            if set(coordinate.dims) <= set(dims)
        },
        dims,
        first.name,
    )
    return result if v.UNIT in signals[0].dims else result.squeeze(v.UNIT)


def count_of(values: np.ndarray) -> np.ndarray:
    """Returns the number of unmasked rows of each unit.

    Args:
        values: Of shape `(row, unit)`.
    """
    missing = np.isnan(values)
    number = np.full(values.shape[1], float(len(values)))
    return number - missing.sum(axis=0) if missing.any() else number


def blocks(
    arrays: Sequence[np.ndarray], rows: int, size: int = BLOCK
) -> Iterator[list[np.ndarray]]:
    """Yields arrays a few rows at a time, of shape `(row, ...)`.

    Args:
        arrays: Arrays whose first dimensions are the same.
        rows: The number of these dimensions, which count as rows.
        size: The number of elements of a block. A row with more is a block itself.
    """
    length, each = len(arrays[0]), max(arrays[0][:1].size, 1)
    if rows > 1 and each > size:
        for row in range(length):
            yield from blocks([array[row] for array in arrays], rows - 1, size)
        return
    number = max(size // each, 1)
    for start in range(0, length, number):
        some = [array[start : start + number] for array in arrays]
        yield [array.reshape(-1, *array.shape[rows:]) for array in some]


def _reduced(
    of_block: OfBlock, join: Join, arrays: Sequence[np.ndarray], rows: int, size: int
) -> np.ndarray:
    """Reduces arrays in memory, of shape `(*rows, *whole, unit)`."""
    parts: list[np.ndarray] = []
    with np.errstate(all="ignore"):  # Dask's threads ignore the caller's setting.
        for block in blocks(arrays, rows, size):
            parts += _parts(of_block, block)
            if len(parts) >= TOGETHER:
                parts = [join(np.concatenate(parts))[None]]
        return join(np.concatenate(parts))


def _parts(of_block: OfBlock, block: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the results for a block, of shape `(part, found, unit)`."""
    length, *whole, units = block[0].shape
    together = 1 if whole else max(WIDE // units, 1)
    even = length - length % together
    if even:
        # Several short rows are reduced as one long row.
        wide = [array[:even].reshape(-1, *whole, together * units) for array in block]
        found = of_block(*wide)
        yield np.moveaxis(found.reshape(len(found), together, units), 1, 0)
    if even < length:
        yield of_block(*(array[even:] for array in block))[None]


def _now(of_arrays: Callable, join: Join, data: list[xarray.Variable]) -> np.ndarray:
    """Reduces data in memory or on disk."""
    steps = data[0].sizes.get(v.STEP, 1)
    # Each step is reduced separately, in the order of memory; small ones together.
    number = max(BLOCK * steps // data[0].size, 1)
    found = []
    for start in range(0, steps, number):
        some = data
        if steps > number:
            few = {v.STEP: slice(start, start + number)}
            some = [variable.isel(few) for variable in data]
        parts = [of_arrays(arrays) for arrays in pieces_together(some)]
        with np.errstate(all="ignore"):
            found.append(join(np.stack(parts)) if len(parts) > 1 else parts[0])
    return np.concatenate(found, axis=1) if len(found) > 1 else found[0]


def _later(
    of_arrays: Callable,
    join: Join,
    data: list[xarray.Variable],
    rows: list[str],
    whole: Sequence[str],
) -> Any:
    """Reduces Dask arrays: a task for each chunk, and one that joins the results."""
    import dask.array

    first = data[0]
    arrays = [variable.chunk(dict.fromkeys(whole, -1)).data for variable in data]
    # A single row shows how many results there are.
    row = np.ones([first.sizes[dim] if dim in whole else 1 for dim in first.dims])
    number = len(of_arrays([row for _ in arrays]))

    def of_chunks(*chunks: np.ndarray) -> np.ndarray:
        return of_arrays(chunks)[(None,) * len(rows)]

    def together(found: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return join(found.reshape(-1, *found.shape[len(rows) :]))

    kept = (FOUND, *(dim for dim in first.dims if dim not in (*rows, *whole)))
    parts = dask.array.blockwise(
        of_chunks,
        (*rows, *kept),
        *(x for array in arrays for x in (array, first.dims)),
        new_axes={FOUND: number},
        adjust_chunks=dict.fromkeys(rows, lambda length: 1),
        concatenate=True,
        meta=np.empty((0,) * len((*rows, *kept))),
    )
    return dask.array.blockwise(
        together,
        kept,
        parts,
        (*rows, *kept),
        concatenate=True,
        meta=np.empty((0,) * len(kept)),
    )
