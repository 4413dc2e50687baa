"""A table that summarises every signal of every layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from keras_gates.cells import registry
from keras_gates.stats.gate_measures import saturation
from keras_gates.stats.moments import extremes, moments
from keras_gates.trees.apply_measure import called, signals_by_layer, signals_of
from keras_gates.trees.data_checks import one_moment

if TYPE_CHECKING:
    import pandas
    import xarray


def summary(gates: xarray.DataTree) -> pandas.DataFrame:
    """Summarises every signal of every layer in one table.

    Args:
        gates: A tree of layers, as `capture` returns it.

    Returns:
        A table with a row for each layer and signal (the index has these two levels)
        and the columns `mean`, `std` (of the population), `min`, `max`, `left` and
        `right`, over every unmasked time step and every unit. `left`
        and `right` are those of `saturation`, NaN for signals that are not gates.

    Raises:
        ValueError: If there is no signal in the tree, or there is more than one
            `step` of training, or a dimension that signals do not have.
        TypeError: If `gates` is not a tree.

    Example:
        >>> import xarray
        >>> forget = (("sample", "time", "unit"), [[[0.5], [1.0]]])
        >>> layer = xarray.Dataset({"forget": forget}, attrs={"layer": "lstm"})
        >>> from keras_gates import stats
        >>> stats.summary(xarray.DataTree(layer))[["mean", "right"]].values
        array([[0.75, 0.5 ]])
    """
    return table_of_signals(gates, _row)


def table_of_signals(
    gates: xarray.DataTree, row: Callable[[xarray.DataArray], dict]
) -> pandas.DataFrame:
    """Makes a table with a row for each layer and signal of a tree.

    Args:
        gates: The tree.
        row: Returns the columns of a signal.
    """
    import pandas
    import xarray

    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray.DataTree, as `capture` returns it; got "
            f"{type(gates).__name__}."
        )
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for path, layer in signals_by_layer(gates, signals_of).items():
        one_moment(layer, "gates")
        name = called(path, layer)
        rows |= {(name, str(signal)): row(values) for signal, values in layer.items()}
    index = pandas.MultiIndex.from_tuples(rows, names=["layer", "signal"])
    return pandas.DataFrame(list(rows.values()), index=index)


def _row(signal: xarray.DataArray) -> dict[str, float]:
    """Returns one row of the summary, from one pass over the data."""
    import xarray

    left = right = math.nan
    if signal.name in registry.gates():
        left, right = (side.mean() for side in saturation(signal).drop_vars("side"))
    count, mean, squares = moments(signal)
    least, largest = extremes(signal)
    every = count.sum().where(count.sum() > 0)
    middle = (count * mean).sum() / every
    row = {
        "mean": middle,
        "std": ((squares + count * (mean - middle) ** 2).sum(skipna=False) / every)
        ** 0.5,
        "min": least.min(),
        "max": largest.max(),
        "left": left,
        "right": right,
    }
    with warnings.catch_warnings():
        # Dask warns of 0 / 0 where every step is masked; the result, NaN, is correct.
        warnings.filterwarnings("ignore", "invalid value", RuntimeWarning)
        computed = xarray.Dataset(row).compute()
    return {str(name): float(value) for name, value in computed.items()}
