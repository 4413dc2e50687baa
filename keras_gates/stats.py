"""What gates mean: saturation, time scales and a summary of every signal.

The functions take what `capture` and `GateRecorder` return, a tree, the dataset of
one layer or the array of one gate, and give back the same kind of object. They
reduce over every dimension but `unit` and `step`. Masked steps are NaN and are left
out. They are xarray operations throughout, so data that lie on disk stay lazy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

from keras_gates.tree import depth_first, grow
from keras_gates.vocabulary import GATES, KINDS, SIGNALS, STEP, UNIT

if TYPE_CHECKING:
    import pandas
    import xarray

SIDES = ("left", "right")
"""The coordinate of `side`: left-saturated is shut, right-saturated is open."""

KEEP_GATES = tuple(kind.keep for kind in KINDS.values())
"""The gates whose value is the share of the old state that is kept."""


def saturation(gates: Any, *, low: float = 0.1, high: float = 0.9) -> Any:
    """Computes how often each unit's gates are shut, and how often open.

    A gate is left-saturated at a step if it is below `low`, right-saturated if it is
    above `high`. A unit whose forget gate is right-saturated nearly always remembers
    over long spans; one whose gates saturate on neither side blends at every step.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Of a tree or a dataset every
            gate is taken and every other variable left out; an array is taken as a
            gate.
        low: The value below which a gate counts as shut.
        high: The value above which a gate counts as open.

    Returns:
        The same kind of object with dimensions `(side, unit)`, and `step` where there
        was one: the fractions of steps, between 0 and 1, with the coordinate `side`
        "left" and "right". NaN where every step is masked.

    Raises:
        ValueError: If the thresholds are out of order, or there is no gate.
        TypeError: If `gates` is not an xarray object.

    Example:
        >>> import xarray
        >>> forget = xarray.DataArray(
        ...     [[[0.02, 0.95], [0.50, 0.99], [0.05, 0.40], [0.60, 0.97]]],
        ...     dims=("sample", "time", "unit"),
        ... )
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

    def of_gate(gate: xarray.DataArray) -> xarray.DataArray:
        return _saturation(gate, low, high, kept=(UNIT, STEP))

    return _measure(gates, GATES, of_gate)


def timescale(gates: Any) -> Any:
    """Computes how many steps each unit's memory lasts.

    After n steps the share of the old state that is left is the product of n values
    of the gate that keeps it, so its geometric mean governs how fast a memory fades:
    the time scale is -1 / mean(ln f), the number of steps in which a state falls to
    1/e. For a GRU the `update` gate, of which 1 keeps the old state, takes the place
    of f.

    Args:
        gates: A tree, the dataset of one layer or the array of one gate, with
            dimensions such as `(sample, time, unit)`. Of a tree or a dataset the gate
            that keeps the old state is taken, `forget` or `update`, and every other
            variable left out; an array is taken as that gate.

    Returns:
        The same kind of object with dimensions `(unit)`, and `step` where there was
        one, in steps. Infinite where the gate is 1 throughout (in float32 a sigmoid
        rounds to 1 from about 17 on), 0 where it is 0 at some step, negative where it
        amplifies (an activation other than a sigmoid), NaN where it is negative at
        some step or every step is masked.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        An LSTM with zero weights and Keras's default bias forgets with sigmoid(1):

        >>> import xarray
        >>> forget = xarray.DataArray(
        ...     [[[0.7311], [0.7311]]], dims=("sample", "time", "unit")
        ... )
        >>> timescale(forget).values.round(2)
        array([3.19])

    Reference:
        Tallec and Ollivier (2018), Can recurrent neural networks warp time?,
        arXiv:1804.11188, section 2, read as a geometric mean over the steps.
    """
    return _measure(gates, KEEP_GATES, _timescale)


def half_life(gates: Any) -> Any:
    """Computes in how many steps half of each unit's memory is gone.

    It is ln 2 times the time scale: see `timescale`.

    Args:
        gates: As for `timescale`.

    Returns:
        As for `timescale`, in steps.

    Raises:
        ValueError: If no gate keeps the old state.
        TypeError: If `gates` is not an xarray object.

    Example:
        A GRU with zero weights keeps a half at each step:

        >>> import xarray
        >>> update = xarray.DataArray(
        ...     [[[0.5], [0.5]]], dims=("sample", "time", "unit")
        ... )
        >>> half_life(update).values
        array([1.])
    """

    def of_gate(gate: xarray.DataArray) -> xarray.DataArray:
        steps = math.log(2) * _timescale(gate)
        return steps.assign_attrs(long_name="half-life", units="steps")

    return _measure(gates, KEEP_GATES, of_gate)


def summary(gates: xarray.DataTree) -> pandas.DataFrame:
    """Sums up every signal of every layer in one table.

    Args:
        gates: A tree of layers, as `capture` returns it.

    Returns:
        A table with a row for each layer and signal (the index has these two levels)
        and the columns `mean`, `standard_deviation` (of the population), `minimum`,
        `maximum`, `left` and `right`, over every unmasked step and every unit. `left`
        and `right` are the fractions below 0.1 and above 0.9, as in `saturation`; NaN
        for what is not a gate.

    Raises:
        ValueError: If there is no signal in the tree.
        TypeError: If `gates` is not a tree.

    Example:
        >>> import xarray
        >>> dimensions = ("sample", "time", "unit")
        >>> tree = xarray.DataTree.from_dict(
        ...     {"lstm": xarray.Dataset({"forget": (dimensions, [[[0.5], [1.0]]])})}
        ... )
        >>> summary(tree).loc[("lstm", "forget"), ["mean", "right"]].tolist()
        [0.75, 0.5]
    """
    import pandas
    import xarray

    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray.DataTree, as `capture` returns it; got "
            f"{type(gates).__name__}."
        )
    rows = {}
    for path, dataset in _layers(gates, SIGNALS):
        layer = path if path != "/" else dataset.attrs.get("layer", path)
        for signal in _present(dataset, SIGNALS):
            rows[layer, signal] = _summary(dataset[signal], is_gate=signal in GATES)
    index = pandas.MultiIndex.from_tuples(rows, names=["layer", "signal"])
    return pandas.DataFrame(list(rows.values()), index=index)


def mean_interval(data: Any, dim: str, *, level: float = 0.95) -> tuple[Any, Any, Any]:
    """Computes a mean and its Student-t confidence interval along a dimension.

    The interval is mean -+ t s / sqrt(n), with s the standard deviation of the n
    values (n - 1 in its denominator) and t the quantile (1 + level) / 2 of Student's
    distribution with n - 1 degrees of freedom.

    Nothing is skipped: one NaN or infinity makes all three NaN. A seed whose loss ran
    away would otherwise drop out unseen, and leave a mean that flatters.

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

    Reference:
        Student (1908), The probable error of a mean, Biometrika 6(1).
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
    data = data.astype("float64").where(numpy.isfinite(data))
    mean = data.mean(dim, skipna=False)
    if count == 1:
        return mean, mean * math.nan, mean * math.nan
    error = data.std(dim, ddof=1, skipna=False) / math.sqrt(count)
    margin = float(stdtrit(count - 1, (1 + level) / 2)) * error
    return mean, mean - margin, mean + margin


def _saturation(
    gate: xarray.DataArray, low: float, high: float, kept: tuple[str, ...]
) -> xarray.DataArray:
    """Returns the fractions below and above, with a new first dimension `side`."""
    import xarray

    reduced = _all_but(gate, kept)
    count = gate.count(reduced)
    # Division by NaN, unlike division by zero, is silent also in Dask's threads.
    count = count.where(count > 0)
    side = xarray.DataArray(list(SIDES), dims="side", name="side")
    sides = [(gate < low).sum(reduced), (gate > high).sum(reduced)]
    fraction = xarray.concat(sides, side) / count
    name = gate.attrs.get("long_name", "gate")
    fraction.attrs = {"long_name": f"saturated share of steps, {name}", "units": "1"}
    return fraction.rename(gate.name)


def _timescale(gate: xarray.DataArray) -> xarray.DataArray:
    """Returns -1 / mean(ln f), without a warning on the way."""
    import xarray

    reduced = _all_but(gate, (UNIT, STEP))
    count = gate.count(reduced)
    # Masked steps add ln 1 = 0. With `skipna` a negative value, whose logarithm is
    # NaN too, would pass for a masked step.
    logarithm = xarray.apply_ufunc(
        _silent_log,
        gate.fillna(1),
        dask="parallelized",
    )
    total = logarithm.sum(reduced, skipna=False, dtype=numpy.float64)
    rate = -total / count.where(count > 0)
    steps = (1 / rate.where(rate != 0)).where(rate != 0, numpy.inf)
    steps.attrs = {"long_name": "time scale", "units": "steps"}
    return steps.rename(gate.name)


def _silent_log(values: numpy.ndarray) -> numpy.ndarray:
    # Set here because Dask runs this in threads that know no setting of the caller.
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.log(values)


def _summary(values: xarray.DataArray, is_gate: bool) -> dict[str, float]:
    """Returns one row of the summary, all of it from one pass over the data."""
    import warnings

    import xarray

    measures = {
        "mean": values.mean(dtype=numpy.float64),
        "standard_deviation": values.std(dtype=numpy.float64),
        "minimum": values.min(),
        "maximum": values.max(),
    }
    if is_gate:
        sides = _saturation(values, 0.1, 0.9, kept=())
        measures |= {side: sides.sel(side=side, drop=True) for side in SIDES}
    with warnings.catch_warnings():
        # Dask says so when it divides nothing by nothing; the answer, NaN, is right.
        warnings.filterwarnings("ignore", "invalid value", RuntimeWarning)
        row = xarray.Dataset(measures).compute()
    columns = [*measures, *(side for side in SIDES if side not in measures)]
    return {name: float(row[name]) if name in row else math.nan for name in columns}


def _measure(
    gates: Any,
    wanted: tuple[str, ...],
    measure: Callable[[xarray.DataArray], xarray.DataArray],
) -> Any:
    """Applies a measure to the wanted signals of whatever xarray object it gets."""
    import xarray

    def of_dataset(dataset: xarray.Dataset) -> xarray.Dataset:
        measured = {name: measure(dataset[name]) for name in _present(dataset, wanted)}
        return xarray.Dataset(measured, attrs=dataset.attrs)

    if isinstance(gates, xarray.DataArray):
        return measure(gates)
    if isinstance(gates, xarray.Dataset):
        if not _present(gates, wanted):
            raise _nothing_to_measure([gates], wanted)
        return of_dataset(gates)
    if isinstance(gates, xarray.DataTree):
        layers = {path: of_dataset(layer) for path, layer in _layers(gates, wanted)}
        return grow(layers, gates.attrs)
    raise TypeError(
        "`gates` must be an xarray DataTree, Dataset or DataArray, as `capture` "
        f"returns them; got {type(gates).__name__}."
    )


def _layers(
    tree: xarray.DataTree, wanted: tuple[str, ...]
) -> list[tuple[str, xarray.Dataset]]:
    """Returns path and dataset of every layer that has a wanted signal."""
    nodes = list(depth_first(tree))
    found = [
        ("/" if node is tree else node.relative_to(tree), node.to_dataset())
        for node in nodes
        if _present(node.dataset, wanted)
    ]
    if not found:
        raise _nothing_to_measure([node.dataset for node in nodes], wanted)
    return found


def _present(dataset: xarray.Dataset, wanted: tuple[str, ...]) -> list[str]:
    """Returns the wanted signals of a layer, in the order of the vocabulary."""
    kind = KINDS.get(dataset.attrs.get("kind"))
    known = kind.signals if kind else SIGNALS
    return [name for name in known if name in wanted and name in dataset.data_vars]


def _nothing_to_measure(
    datasets: list[xarray.Dataset], wanted: tuple[str, ...]
) -> ValueError:
    names = dict.fromkeys(name for dataset in datasets for name in dataset.data_vars)
    have = ", ".join(map(repr, names)) or "none"
    want = ", ".join(map(repr, wanted))
    return ValueError(
        f"`gates` must hold at least one of {want}; its signals are: {have}. Capture "
        "again with `capture(..., signals=...)` naming such a signal, or leave "
        "`signals` out."
    )


def _all_but(values: xarray.DataArray, kept: tuple[str, ...]) -> list[str]:
    return [str(dim) for dim in values.dims if dim not in kept]
