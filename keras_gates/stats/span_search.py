"""A search for spans of time in which some units behave as in a given span."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.checks import one_of, type_of, whole_number
from keras_gates.old_names import renamed
from keras_gates.trees.data_checks import check_dimensions, needed, real_signal
from keras_gates.trees.dimensions import in_order, pieces
from keras_gates.trees.labels import (
    distinct,
    labelled,
    labels_of,
    place_of,
    places_of,
    word,
)
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import pandas
    import xarray

    from keras_gates.trees.types import Layer


@renamed(count="n_spans")
def find_similar_spans(
    gates: Layer,
    *,
    layer: str,
    units: int | str | Sequence[Any],
    span: tuple[Any, Any],
    sample: Any = None,
    signal: str = v.HIDDEN,
    n_spans: int = 10,
) -> pandas.DataFrame:
    """Finds the spans of time in which some units behave as in a given span.

    The span is compared with every other span of this length in every sample, step by
    step and over all of the given units.

    Args:
        gates: A tree of layers, their signals with dimensions `(sample, time, unit)`.
        layer: The path of the layer, such as "lstm".
        units: The unit or the units: their labels, or their positions where units have
            no labels.
        span: The first step, and the step after the last, as in
            `isel(time=slice(*span))`. Where time has labels, the labels of the first
            and of the last step, as in `sel(time=slice(*span))`, which includes both.
        sample: The label of the sample, or its position. Default: the first one.
        signal: The signal to compare.
        n_spans: The number of places to return.

    Returns:
        A table of places that do not overlap, best first. The columns `sample`, `start`
        and `stop` are labels or positions, like the arguments `sample` and `span`;
        `distance` is the root mean square difference over steps and units, 0 for the
        same values. Places with masked steps and the
        span itself are omitted.

    Raises:
        ValueError: If there is no such layer or signal, the span has masked steps, or
            two samples, time steps or units have the same label.
        IndexError: If there is no such unit, sample or span.
        TypeError: If `gates` is not a tree, or a position is not a whole number.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> hidden = [[[0.0], [0.9], [0.0], [0.0], [0.0], [0.8], [0.0]]]
        >>> layer = xarray.Dataset({"hidden": (("sample", "time", "unit"), hidden)})
        >>> gates = xarray.DataTree(children={"lstm": xarray.DataTree(layer)})
        >>> place = stats.find_similar_spans(
        ...     gates, layer="lstm", units=0, span=(0, 3), n_spans=1
        ... )
        >>> place[["sample", "start", "stop"]].values
        array([[0, 4, 7]])

    Reference:
        Strobelt et al. (2018), LSTMVis, arXiv:1606.07461, which searches for spans
        over which the same units stay on.
    """
    import pandas

    one_of("signal", signal, registry.signals())
    values = in_order(_signal_of(gates, layer, signal))
    for dim in (v.SAMPLE, v.TIME, v.UNIT):
        distinct(values, dim, "gates")
    chosen = 0 if sample is None else place_of("sample", sample, values, v.SAMPLE)
    units = places_of("units", units, values, v.UNIT)
    start, stop = _edges(span, values)
    n_spans = whole_number("n_spans", n_spans, at_least=1)
    of_units = values.isel({v.UNIT: units})
    wanted = of_units.isel({v.SAMPLE: chosen, v.TIME: slice(start, stop)})
    wanted = wanted.values.astype(np.float64)
    if not np.isfinite(wanted).all():
        raise ValueError(
            f"`span` must have no masked step; {span!r} of sample "
            f"{word(values, v.SAMPLE, chosen)} in '{layer}' has one, or a value that "
            "is not finite."
        )
    distances = np.concatenate(
        [_distances(block, wanted) for block in pieces(of_units)]
    )
    found = np.reshape(
        _apart(distances, (chosen, start), stop - start, n_spans), (-1, 2)
    )
    samples, starts = found.T.astype(int)
    ends = starts + stop - start
    times = labels_of(values, v.TIME)
    return pandas.DataFrame(
        {
            v.SAMPLE: labels_of(values, v.SAMPLE)[samples],
            "start": times[starts],
            # A slice of labels includes its last step; a slice of positions does not.
            "stop": times[ends - 1] if labelled(values, v.TIME) else ends,
            "distance": distances[samples, starts],
        }
    )


def _edges(span: Any, values: xarray.DataArray) -> tuple[int, int]:
    """Returns the positions of the first step of a span and of the step after it."""
    if not isinstance(span, (tuple, list)) or len(span) != 2:
        raise TypeError(f"`span` must be (start, stop); got {span!r}.")
    steps = values.sizes[v.TIME]
    if labelled(values, v.TIME):
        start, last = (place_of("span", edge, values, v.TIME) for edge in span)
        if start > last:
            raise IndexError(
                "`span` must be the labels of a first and of a last time step, in the "
                f"order of the data; got {span!r}."
            )
        return start, last + 1
    start, stop = (whole_number("span", edge, at_least=0) for edge in span)
    if not start < stop <= steps:
        raise IndexError(
            f"`span` must be (start, stop) with 0 <= start < stop <= {steps}; got "
            f"{span!r}."
        )
    return start, stop


def _signal_of(gates: Any, layer: str, signal: str) -> xarray.DataArray:
    import xarray

    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray DataTree, as `capture` returns it; got "
            f"{type_of(gates)}."
        )
    try:
        dataset = gates[layer].to_dataset() if isinstance(layer, str) else None
    except (KeyError, AttributeError, ValueError):
        dataset = None
    if dataset is None:
        known = ", ".join(
            repr(node.relative_to(gates))
            for node in recurrent(gates)
            if node is not gates
        )
        raise ValueError(
            f"`layer` must be the path of a layer in `gates`, {known or 'none'}; got "
            f"{layer!r}."
        )
    if not dataset.data_vars and gates[layer].children:
        below = ", ".join(repr(f"{layer}/{name}") for name in gates[layer].children)
        raise ValueError(f"`layer` must be a layer; '{layer}' contains {below}.")
    needed(dataset, "gates", (signal,))
    real_signal(dataset[signal], "gates")
    if v.FRAME in dataset.dims:
        raise ValueError(
            f"'{layer}' has frames. Choose one with `gates.isel(frame=0)`."
        )
    dims = (v.SAMPLE, v.TIME, v.UNIT)
    check_dimensions(dataset[signal], "gates", dims, wanted=dims, name=layer)
    return dataset[signal]


def _distances(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns the distance of each place, of shape (sample, time - length + 1).

    Args:
        values: Of shape (sample, time, unit).
        wanted: The values to search for, of shape (length, unit).
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
