"""What gates mean: saturation, time scales and a summary of every signal.

The functions take what `capture` and `GateRecorder` return, a tree, the dataset of
one layer or the array of one gate, and give back the same kind of object. They
reduce over every dimension but `unit` and `step`. Masked steps are NaN and are left
out. They are xarray operations throughout, so data that lie on disk stay lazy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates.tree import depth_first, grow
from keras_gates.vocabulary import GATES, KINDS, SIGNALS, STEP, UNIT

if TYPE_CHECKING:
    import pandas
    import xarray

KEEP = tuple(kind.keep for kind in KINDS.values())
"""The gates whose value is the share of the old state that is kept."""


def saturation(gates: Any, *, low: float = 0.1, high: float = 0.9) -> Any:
    """Computes how often each unit's gates are shut, and how often open.

    A gate is left-saturated at a step if it is below `low`, right-saturated if it is
    above `high`. A unit whose forget gate is right-saturated nearly always remembers
    over long spans; one whose gates saturate on neither side blends at every step.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only gates are measured.
        low: The value below which a gate counts as shut.
        high: The value above which a gate counts as open.

    Returns:
        The fractions of steps, in the same kind of object, with dimensions
        `(side, unit)`, and `step` where there was one; `side` is "left" and "right".
        NaN where every step is masked.

    Raises:
        ValueError: If the thresholds are out of order, or there is no gate.
        TypeError: If `gates` is not an xarray object.

    Example:
        >>> import xarray
        >>> values = [[[0.02, 0.95], [0.50, 0.99], [0.05, 0.40], [0.60, 0.97]]]
        >>> forget = xarray.DataArray(values, dims=("sample", "time", "unit"))
        >>> saturation(forget).sel(side="right").values
        array([0.  , 0.75])

    Reference:
        Karpathy, Johnson and Li (2015), Visualizing and Understanding Recurrent
        Networks, arXiv:1506.02078, section 4.2.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(
            "`low` and `high` must be thresholds with 0 <= low < high <= 1; got "
            f"low={low!r} and high={high!r}."
        )
    return _measure(gates, GATES, lambda gate: _saturation(gate, low, high))


def timescale(gates: Any) -> Any:
    """Computes how many steps each unit's memory lasts.

    After n steps the share of the old state that is left is the product of n values
    of the gate that keeps it, so its geometric mean governs how fast a memory fades:
    the time scale is -1 / mean(ln f), the number of steps in which a state falls to
    1/e. For a GRU `update`, of which 1 keeps the old state, takes the place of f.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Only the gate that keeps the
            old state is measured, `forget` or `update`; an array is taken as it.

    Returns:
        The steps, in the same kind of object, with dimensions `(unit)`, and `step`
        where there was one. Infinite where the gate is 1 throughout (in float32 a
        sigmoid rounds to 1 from about 17 on), 0 where it is 0 at some step, negative
        where it amplifies (an activation other than a sigmoid), NaN where it is
        negative at some step or every step is masked.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        An LSTM with zero weights and Keras's default bias forgets with sigmoid(1):

        >>> import xarray
        >>> forget = xarray.DataArray([[[0.7311]]], dims=("sample", "time", "unit"))
        >>> timescale(forget).values.round(2)
        array([3.19])

    Reference:
        Tallec and Ollivier (2018), Can recurrent neural networks warp time?,
        arXiv:1804.11188, section 2, read as a geometric mean over the steps.
    """
    return _measure(gates, KEEP, lambda gate: _fading(gate, 1 / math.e, "time scale"))


def half_life(gates: Any) -> Any:
    """Computes in how many steps half of each unit's memory is gone.

    Args:
        gates: As for `timescale`, with dimensions such as `(sample, time, unit)`.

    Returns:
        ln 2 times the `timescale`, with dimensions `(unit)`, in steps.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        A GRU with zero weights keeps a half at each step:

        >>> import xarray
        >>> update = xarray.DataArray([[[0.5]]], dims=("sample", "time", "unit"))
        >>> half_life(update).values
        array([1.])
    """
    return _measure(gates, KEEP, lambda gate: _fading(gate, 1 / 2, "half-life"))


def summary(gates: xarray.DataTree) -> pandas.DataFrame:
    """Sums up every signal of every layer in one table.

    Args:
        gates: A tree of layers, as `capture` returns it.

    Returns:
        A table with a row for each layer and signal (the index has these two levels)
        and the columns `mean`, `standard_deviation` (of the population), `minimum`,
        `maximum`, `left` and `right`, over every unmasked step and every unit. `left`
        and `right` are those of `saturation`, NaN for what is not a gate.

    Raises:
        ValueError: If there is no signal in the tree.
        TypeError: If `gates` is not a tree.

    Example:
        >>> import xarray
        >>> forget = (("sample", "time", "unit"), [[[0.5], [1.0]]])
        >>> layer = xarray.Dataset({"forget": forget}, attrs={"layer": "lstm"})
        >>> summary(xarray.DataTree(layer))[["mean", "right"]].values
        array([[0.75, 0.5 ]])
    """
    import pandas
    import xarray

    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray.DataTree, as `capture` returns it; got "
            f"{type(gates).__name__}."
        )
    rows = {}
    for path, layer in _layers(gates, SIGNALS).items():
        name = layer.attrs.get("layer", path) if path == "/" else path
        rows |= {(name, signal): _row(values) for signal, values in layer.items()}
    index = pandas.MultiIndex.from_tuples(rows, names=["layer", "signal"])
    return pandas.DataFrame(list(rows.values()), index=index)


def mean_interval(data: Any, dim: str, *, level: float = 0.95) -> tuple[Any, Any, Any]:
    """Computes a mean and its Student-t confidence interval along a dimension.

    The interval is that of Student (1908), The probable error of a mean, Biometrika
    6(1): mean -+ t s / sqrt(n). Nothing is skipped: one NaN or infinity makes all
    three NaN. A seed whose loss ran away would otherwise drop out unseen, and leave a
    mean that flatters.

    Args:
        data: A DataArray or a Dataset with the dimension `dim`.
        dim: The dimension of the repetitions, such as "seed".
        level: The share of such intervals that hold the true mean.

    Returns:
        The mean and the low and high end of the interval, each without `dim`. The
        ends are NaN if there is only one value.

    Raises:
        ValueError: If `dim` is not in `data` or empty, or `level` not in (0, 1).

    Example:
        >>> import xarray
        >>> losses = xarray.DataArray([1.0, 2.0, 3.0], dims="seed")
        >>> [float(value.round(2)) for value in mean_interval(losses, "seed")]
        [2.0, -0.48, 4.48]
    """
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1; got {level!r}.")
    if not data.sizes.get(dim):
        raise ValueError(
            f"`dim` must be a dimension of `data` that is not empty; got {dim!r}, "
            f"and `data` has {dict(data.sizes)}."
        )
    count = data.sizes[dim]
    data = data.astype("float64").where(np.isfinite(data))
    mean = data.mean(dim, skipna=False)
    if count == 1:
        return mean, mean * math.nan, mean * math.nan
    error = data.std(dim, ddof=1, skipna=False) / math.sqrt(count)
    margin = float(stdtrit(count - 1, (1 + level) / 2)) * error
    return mean, mean - margin, mean + margin


def _saturation(gate: xarray.DataArray, low: float, high: float) -> xarray.DataArray:
    """Returns the fractions below and above, with a new first dimension `side`."""
    import xarray

    reduced = [dim for dim in gate.dims if dim not in (STEP, UNIT)]
    count = gate.count(reduced)
    side = xarray.DataArray(["left", "right"], dims="side", name="side")
    sides = [(gate < low).sum(reduced), (gate > high).sum(reduced)]
    # Division by NaN, unlike division by zero, is silent also in Dask's threads.
    fraction = xarray.concat(sides, side) / count.where(count > 0)
    return fraction.assign_attrs(long_name="saturated share of steps", units="1")


def _fading(gate: xarray.DataArray, share: float, name: str) -> xarray.DataArray:
    """Returns in how many steps a state falls to a share: ln(share) / mean(ln f)."""
    import xarray

    reduced = [dim for dim in gate.dims if dim not in (STEP, UNIT)]
    count = gate.count(reduced)
    # Masked steps add ln 1 = 0. With `skipna` a negative value, whose logarithm is
    # NaN too, would pass for a masked step.
    logarithm = xarray.apply_ufunc(_silent_log, gate.fillna(1), dask="parallelized")
    total = logarithm.sum(reduced, skipna=False, dtype=np.float64)
    mean = total / count.where(count > 0)
    steps = (math.log(share) / mean.where(mean != 0)).where(mean != 0, np.inf)
    return steps.assign_attrs(long_name=name, units="steps")


def _silent_log(values: np.ndarray) -> np.ndarray:
    # Set here because Dask runs this in threads that know no setting of the caller.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def _row(signal: xarray.DataArray) -> dict[str, float]:
    """Returns one row of the summary, all of it from one pass over the data."""
    import xarray

    left = right = math.nan
    if signal.name in GATES:
        left, right = (side.mean() for side in saturation(signal).drop_vars("side"))
    row = {
        "mean": signal.mean(dtype=np.float64),
        "standard_deviation": signal.std(dtype=np.float64),
        "minimum": signal.min(),
        "maximum": signal.max(),
        "left": left,
        "right": right,
    }
    with warnings.catch_warnings():
        # Dask says so when it divides nothing by nothing; the answer, NaN, is right.
        warnings.filterwarnings("ignore", "invalid value", RuntimeWarning)
        computed = xarray.Dataset(row).compute()
    return {name: float(value) for name, value in computed.items()}


def _measure(gates: Any, wanted: tuple[str, ...], measure: Callable) -> Any:
    """Applies a measure to the wanted signals of whatever xarray object it gets."""
    import xarray

    if isinstance(gates, xarray.DataArray):
        return measure(gates)
    if isinstance(gates, xarray.Dataset):
        return _measure(xarray.DataTree(gates), wanted, measure).to_dataset()
    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray DataTree, Dataset or DataArray, as `capture` "
            f"returns them; got {type(gates).__name__}."
        )
    layers = {}
    for path, layer in _layers(gates, wanted).items():
        measured = {name: measure(signal) for name, signal in layer.items()}
        layers[path] = xarray.Dataset(measured, attrs=layer.attrs)
    return grow(layers, gates.attrs)


def _layers(tree: xarray.DataTree, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Returns path and wanted signals of every layer that has one, as a dataset."""
    layers = {}
    for node in depth_first(tree):
        kind = KINDS.get(node.attrs.get("kind"))
        # A store lists its signals in the order of the file system.
        order = kind.signals if kind else SIGNALS
        names = [name for name in order if name in wanted and name in node.data_vars]
        if names:
            path = "/" if node is tree else node.relative_to(tree)
            layers[path] = node.to_dataset()[names]
    if not layers:
        have = [repr(name) for node in depth_first(tree) for name in node.data_vars]
        raise ValueError(
            f"`gates` must hold at least one of {', '.join(map(repr, wanted))}; it has "
            f"{', '.join(dict.fromkeys(have)) or 'none'}. Name one in "
            "`capture(..., signals=...)`, or leave `signals` out."
        )
    return layers
