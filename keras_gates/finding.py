"""Searches: which unit follows what the user knows, and where units behave alike."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.checks import kind_of, whole_number
from keras_gates.layerwise import (
    BLOCK_BYTES,
    as_tree,
    blocks,
    layers_of,
    needed,
    one_moment,
)
from keras_gates.tree import recurrent

if TYPE_CHECKING:
    import pandas
    import xarray

TOLERANCE = 1e-9
"""A shift that brings the labels back onto themselves scores the same, but rounded."""


def find_units(
    gates: Any, labels: Any, *, permutations: int = 1000, seed: int = 0
) -> pandas.DataFrame:
    """Finds the units and signals that follow something known of the data.

    Of labels that are true or false, such as "inside quotation marks", "a holiday" or
    "an anomaly", the measure is the area under the ROC curve: the share of pairs of a
    true and a false step of which the true one has the higher value, 0.5 by chance
    and 0 for a unit that falls silent exactly then. Of other labels it is Pearson's
    correlation.

    Many units are tried, and neighbouring steps resemble each other, so some unit
    always seems to follow. The p-value takes both into account: the labels are shifted
    along all steps, sample after sample, the end coming back at the start, and `p` is
    the share of shifts at which the best of all units does as well as this one.

    Args:
        gates: A tree of layers, or the dataset of one, its signals with dimensions
            `(sample, time, unit)`, or `(sample, frame, time, unit)`. Only the signals
            that are in it are tried: `gates[["cell"]]` tries one.
        labels: What is known of each step, of shape `(sample, time)`, or
            `(sample, frame, time)`. Or a DataArray with some of these dimensions. NaN
            where nothing is known.
        permutations: How many shifts are tried, or as many as there are.
        seed: Of the choice of the shifts.

    Returns:
        A table, best first, with the columns `layer`, `signal`, `unit`, `auc` (or
        `correlation`) and `p`, corrected for the number of units and signals. A unit
        that is constant has an `auc` of 0.5, or a `correlation` of NaN.

    Raises:
        ValueError: If the labels have another shape than a layer, are the same at
            every real step, or if there is no signal or more than one `step`.
        TypeError: If `gates` is neither a tree nor a dataset, or the labels are not
            numbers.

    Example:
        >>> import numpy as np
        >>> import xarray
        >>> from keras_gates import stats
        >>> hidden = np.random.default_rng(0).normal(size=(4, 50, 3))
        >>> labels = hidden[..., 1] > 0.5
        >>> layer = xarray.Dataset({"hidden": (("sample", "time", "unit"), hidden)})
        >>> table = stats.find_units(layer, labels)
        >>> table[["unit", "auc"]].values[0]
        array([1., 1.])

    Reference:
        Karpathy, Johnson and Li (2015), arXiv:1506.02078, section 4.1, found such units
        by eye. Westfall and Young (1993), Resampling-based multiple testing, for the
        largest statistic; Harris (2020), Nonsense correlations in neuroscience, for
        the shifts and their limits.
    """
    import pandas

    permutations = whole_number("permutations", permutations, at_least=1)
    layers = layers_of(as_tree(gates), v.SIGNALS)
    for layer in layers.values():
        one_moment(layer, "gates")
    known = {name: _known(labels, layer, name) for name, layer in layers.items()}
    real = np.logical_and.reduce([steps for _, steps in known.values()])
    labels = next(iter(known.values()))[0][real]
    if len(np.unique(labels)) < 2:
        what = f"{labels[0]:g} at all {len(labels):,} real steps" if len(labels) else ""
        raise ValueError(
            "`labels` must differ between steps, or no unit can follow them; they are "
            f"{what or 'known at no real step'}."
        )
    yes_or_no = set(np.unique(labels)) == {0, 1}
    shifts = 1 + np.random.default_rng(seed).permutation(len(labels) - 1)[:permutations]
    rows, best = [], np.zeros(len(shifts))
    for path, layer in layers.items():
        name = layer.attrs.get("layer", path) if path == "/" else path
        for signal, values in layer.items():
            for unit, column in _columns(values, real):
                score, shifted = _score(column, labels, shifts, yes_or_no)
                rows.append((name, signal, unit, score))
                best = np.fmax(best, np.abs(shifted))
    measure = "auc" if yes_or_no else "correlation"
    table = pandas.DataFrame(rows, columns=["layer", "signal", "unit", measure])
    strength = table[measure].abs()
    reached = np.searchsorted(np.sort(best), strength - TOLERANCE)
    table["p"] = (1 + len(shifts) - reached) / (1 + len(shifts))
    table.loc[strength.isna(), "p"] = np.nan
    if yes_or_no:
        table[measure] = (1 + table[measure]) / 2
    order = strength.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def match(
    gates: Any,
    *,
    layer: str,
    units: int | Sequence[int],
    span: tuple[int, int],
    sample: int = 0,
    signal: str = v.HIDDEN,
    count: int = 10,
) -> pandas.DataFrame:
    """Finds where else some units behave as they do in one span of one sample.

    The span is laid over every place of every sample. What is compared is the whole
    course of the units through it, step by step.

    Args:
        gates: A tree of layers, their signals with dimensions `(sample, time, unit)`.
        layer: The path of the layer, such as "lstm".
        units: The unit, or the units.
        span: The first step, and the one behind the last, as in a slice.
        sample: The position of the sample.
        signal: The signal to compare.
        count: How many places to return.

    Returns:
        A table, best first, with the columns `sample`, `start` and `stop` of the
        places, which do not overlap, and `distance`: the root mean square difference
        over steps and units, 0 for the same course. Places with masked steps are left
        out, and the span itself.

    Raises:
        ValueError: If there is no such layer or signal, or the span has masked steps.
        IndexError: If there is no such unit, sample or span.
        TypeError: If `gates` is not a tree.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> hidden = [[[0.0], [0.9], [0.0], [0.0], [0.0], [0.8], [0.0]]]
        >>> layer = xarray.Dataset({"hidden": (("sample", "time", "unit"), hidden)})
        >>> gates = xarray.DataTree(children={"lstm": xarray.DataTree(layer)})
        >>> place = stats.match(gates, layer="lstm", units=0, span=(0, 3), count=1)
        >>> place[["sample", "start", "stop"]].values
        array([[0, 4, 7]])

    Reference:
        Strobelt et al. (2018), LSTMVis, arXiv:1606.07461, which searches for spans
        over which the same units stay on.
    """
    import pandas

    values = _signal_of(gates, layer, signal)
    units = [units] if np.ndim(units) == 0 else list(units)
    start, stop = span
    samples, steps = values.sizes[v.SAMPLE], values.sizes[v.TIME]
    _within("sample", sample, samples)
    for unit in units:
        _within("units", unit, values.sizes[v.UNIT])
    if not units or not 0 <= start < stop <= steps:
        raise IndexError(
            f"`span` must be (start, stop) with 0 <= start < stop <= {steps}, and "
            f"`units` must name one; got span={span!r}, units={units!r}."
        )
    count = whole_number("count", count, at_least=1)
    values = values.isel({v.UNIT: units})
    wanted = values.isel({v.SAMPLE: sample, v.TIME: slice(start, stop)})
    wanted = wanted.transpose(v.TIME, v.UNIT).values
    if not np.isfinite(wanted).all():
        raise ValueError(
            f"`span` must have no masked step; {span!r} of sample {sample} in "
            f"'{layer}' has one, or a value that is not finite."
        )
    distances = np.concatenate([_distances(block, wanted) for block in blocks(values)])
    found = _apart(distances, (sample, start), stop - start, count)
    rows = [(i, t, t + stop - start, distances[i, t]) for i, t in found]
    return pandas.DataFrame(rows, columns=[v.SAMPLE, "start", "stop", "distance"])


def _known(
    labels: Any, layer: xarray.Dataset, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the labels of a layer's steps, and at which steps both are known."""
    import xarray

    signals = list(layer.values())
    signal = signals[0].isel({v.UNIT: 0}, drop=True)
    if isinstance(labels, xarray.DataArray) and set(labels.dims) <= set(signal.dims):
        fits = all(labels.sizes[dim] == signal.sizes[dim] for dim in labels.dims)
        given = labels.broadcast_like(signal).transpose(*signal.dims) if fits else None
    else:
        labels = labels if hasattr(labels, "dims") else np.asarray(labels)
        fits = labels.shape == signal.shape
        given = labels
    if not fits:
        raise ValueError(
            f"`labels` must have a value for each step of '{name}', the shape "
            f"{dict(signal.sizes)}; got the shape {tuple(labels.shape)}. Give the "
            "layers that the labels belong to, such as `gates['lstm']`."
        )
    given = np.asarray(given)
    if given.dtype.kind not in "biuf":
        raise TypeError(
            f"`labels` must be true or false, or numbers; got {given.dtype}. Compare "
            "first, such as `labels == 'holiday'`."
        )
    given = given.astype(np.float64)
    real = np.logical_or.reduce(
        [
            np.concatenate([(~np.isnan(block)).any(-1) for block in blocks(values)])
            for values in signals
        ]
    )
    return given, real & np.isfinite(given)


def _columns(
    signal: xarray.DataArray, real: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields units and their values at the real steps; a few at a time are read."""
    number = max(BLOCK_BYTES // (real.size * signal.dtype.itemsize), 1)
    for start in range(0, signal.sizes[v.UNIT], number):
        some = signal.isel({v.UNIT: slice(start, start + number)})
        for offset, column in enumerate(some.transpose(v.UNIT, ...).values):
            yield start + offset, column[real]


def _score(
    values: np.ndarray, labels: np.ndarray, shifts: np.ndarray, yes_or_no: bool
) -> tuple[float, np.ndarray]:
    """Returns how well values follow labels, from -1 to 1, and at each shift.

    Both measures are sums of products of values and labels, once the values are ranked
    or standardised. The sums of all shifts together are a circular correlation.
    """
    from scipy import fft, stats

    missing = np.full(len(shifts), np.nan)
    if yes_or_no:
        if np.isnan(values).any():
            return np.nan, missing
        ones = labels.sum()
        # 2 AUC - 1, from the sum of the ranks of the ones (Mann and Whitney 1947).
        values = stats.rankdata(values) - (len(values) + 1) / 2
        scale = ones * (len(labels) - ones) / 2
    else:
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            return np.nan, missing
        spread = values.std() * labels.std()
        if spread <= TOLERANCE * max(np.abs(values).max() * labels.std(), 1e-300):
            return np.nan, missing
        values = values - values.mean()
        labels = labels - labels.mean()
        scale = spread * len(values)
    product = fft.rfft(values) * np.conj(fft.rfft(labels))
    sums = fft.irfft(product, n=len(values)) / scale
    return float(sums[0]), sums[shifts]


def _signal_of(gates: Any, layer: str, signal: str) -> xarray.DataArray:
    import xarray

    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray DataTree, as `capture` returns it; got "
            f"{kind_of(gates)}."
        )
    try:
        dataset = gates[layer].to_dataset()
    except (KeyError, AttributeError):
        known = ", ".join(repr(node.path.strip("/")) for node in recurrent(gates))
        raise ValueError(
            f"`layer` must be the path of a layer in `gates`, {known or 'none'}; got "
            f"{layer!r}."
        ) from None
    needed(dataset, "gates", (signal,))
    if v.FRAME in dataset.dims:
        raise ValueError(
            f"'{layer}' has frames. Choose one with `gates.isel(frame=0)`."
        )
    return dataset[signal]


def _within(argument: str, value: int, size: int) -> None:
    if not 0 <= whole_number(argument, value, at_least=0) < size:
        raise IndexError(f"`{argument}` must be below {size}; got {value}.")


def _distances(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns the distance of each place, of shape (sample, time - length + 1).

    Args:
        values: Of shape (sample, time, unit).
        wanted: The course to look for, of shape (length, unit).
    """
    places = values.shape[1] - len(wanted) + 1
    total = np.zeros((len(values), places))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "overflow|invalid value", RuntimeWarning)
        for lag, row in enumerate(wanted):
            total += ((values[:, lag : lag + places] - row) ** 2).sum(-1)
    return np.sqrt(total / wanted.size)


def _apart(
    distances: np.ndarray, itself: tuple[int, int], length: int, count: int
) -> list[tuple[int, int]]:
    """Returns the places of the smallest distances that do not overlap."""
    taken = [itself]
    for flat in np.argsort(distances, axis=None, kind="stable"):
        sample, start = map(int, np.unravel_index(flat, distances.shape))
        if not np.isfinite(distances[sample, start]) or len(taken) > count:
            break
        if all(sample != i or abs(start - t) >= length for i, t in taken):
            taken.append((sample, start))
    return taken[1:]
