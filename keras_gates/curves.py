"""Curves: a gate over training, learning curves, predictions over the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import canvas, stats
from keras_gates.vocabulary import GATES, SAMPLE, STEP

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

EPOCH = "epoch"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def evolution(gate: xarray.DataArray, *, ax: Axes | None = None) -> Axes:
    """Draws how the values of a gate, or of any signal, move over training.

    The line is the median over sample, time and unit at each recorded step; the bands
    reach from 25 to 75 % and from 5 to 95 % of the values. Masked steps are left out.

    Args:
        gate: A signal of `GateRecorder.traces`, with dimensions
            `(step, sample, time, unit)` and the coordinate `epoch` along `step`:
            finished epochs, 0 before training.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If `gate` has no dimension `step`.
        TypeError: If `gate` is not a DataArray.

    Example:
        >>> import xarray
        >>> gate = xarray.DataArray(
        ...     [[[[0.2, 0.4]]], [[[0.6, 0.8]]]],
        ...     dims=("step", "sample", "time", "unit"),
        ...     coords={"epoch": ("step", [0, 1])},
        ... )
        >>> evolution(gate).lines[0].get_ydata().round(2)
        array([0.3, 0.7])
    """
    _check_trace(gate)
    low, lower, median, upper, high = _quantiles(gate)
    axes = ax or canvas.new_axes()
    axes.set_xlabel("recorded step")
    at = np.arange(gate.sizes[STEP])
    if EPOCH in gate.coords:
        axes.set_xlabel("finished epochs")
        at = gate[EPOCH].values
    label = f"{gate.attrs.get('long_name', gate.name or 'signal')}, median"
    colour = canvas.SIGNAL_COLOURS.get(gate.name, "black")
    axes.plot(at, median, color=colour, marker="o", markersize=3, label=label)
    band = {"color": colour, "linewidth": 0}
    axes.fill_between(at, lower, upper, alpha=0.4, label="25–75 %", **band)
    axes.fill_between(at, low, high, alpha=0.18, label="5–95 %", **band)
    axes.set_ylabel("value")
    if gate.name in GATES:
        axes.set_ylabel(canvas.GATE_LABEL)
        axes.set_ylim(0, 1)
    canvas.whole_numbers(axes.xaxis)
    axes.legend(fontsize="small")
    return axes


def study(study: Any, *, metric: str = "val_loss", ax: Axes | None = None) -> Axes:
    """Draws learning curves: the mean over seeds and its 95 % interval.

    The interval is Student's, by `stats.mean_interval`, for each epoch by itself. A
    line ends where the first of its seeds does, or runs away to NaN.

    Args:
        study: What `compare` returns; its `history` is a Dataset with dimensions
            `(architecture, seed, epoch)`.
        metric: The variable of the history to draw.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If the metric is not in the history.

    Example:
        >>> import types
        >>> import xarray
        >>> losses = (("architecture", "seed", "epoch"), [[[3.0, 2.0], [5.0, 2.5]]])
        >>> history = xarray.Dataset(
        ...     {"val_loss": losses},
        ...     coords={"architecture": ["LSTM"], "seed": [0, 1], "epoch": [1, 2]},
        ... )
        >>> axes = study(types.SimpleNamespace(history=history))
        >>> axes.lines[0].get_ydata()
        array([4.  , 2.25])
    """
    history = study.history
    if metric not in history.data_vars:
        known = ", ".join(map(repr, history.data_vars))
        raise ValueError(
            f"`metric` must be in the history of the study: {known}; got {metric!r}."
        )
    values = history[metric]
    seeds = values.sizes["seed"]
    mean, low, high = stats.mean_interval(values, "seed")
    epochs = values[EPOCH].values
    axes = ax or canvas.new_axes()
    styles = canvas.line_styles(values["architecture"].values.tolist())
    for index, (name, style) in enumerate(styles.items()):
        at = {"architecture": index}
        axes.plot(epochs, mean[at], marker="o", markersize=3, label=name, **style)
        if seeds > 1:
            band = {"color": style["color"], "alpha": 0.2, "linewidth": 0}
            axes.fill_between(epochs, low[at], high[at], **band)
    axes.set_xlabel(EPOCH)
    axes.set_ylabel(_in_words(metric))
    canvas.whole_numbers(axes.xaxis)
    if values.min() >= 0 > axes.get_ylim()[0]:
        # Only an interval goes below zero. Axes that are shared go on growing.
        axes.set_ylim(bottom=0, auto=None)
    title = f"mean of {seeds} seeds, 95 % interval" if seeds > 1 else "one seed"
    axes.legend(title=title, fontsize="small", title_fontsize="small")
    return axes


def predictions(
    truth: Any, predictions: Mapping[str, Any], *, ax: Axes | None = None
) -> Axes:
    """Draws predictions over the truth, sample by sample.

    Args:
        truth: The true values, of shape `(sample,)` or `(sample, 1)`.
        predictions: From the name of a model to its predictions, in the shape of
            `truth`.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If a shape is another.
        TypeError: If `predictions` is not a mapping.

    Example:
        >>> axes = predictions([0.0, 1.0], {"LSTM": [0.1, 0.9]})
        >>> [line.get_label() for line in axes.lines]
        ['truth', 'LSTM']
    """
    if not isinstance(predictions, Mapping):
        raise TypeError(
            "`predictions` must map names to arrays, such as "
            "{'LSTM': model.predict(x)}; got " + type(predictions).__name__ + "."
        )
    truth = _column("truth", truth)
    axes = ax or canvas.new_axes()
    axes.plot(truth, color="0.7", linewidth=3, label="truth")
    for name, style in canvas.line_styles(predictions).items():
        values = _column(f"predictions[{name!r}]", predictions[name])
        if len(values) != len(truth):
            raise ValueError(
                f"`predictions[{name!r}]` must have a value for each of the "
                f"{len(truth)} samples of `truth`; got {len(values)}."
            )
        axes.plot(values, linewidth=1.2, label=name, **style)
    axes.set_xlabel(SAMPLE)
    axes.set_ylabel("value")
    canvas.whole_numbers(axes.xaxis)
    axes.legend(fontsize="small")
    return axes


def _check_trace(gate: Any) -> None:
    import xarray

    if not isinstance(gate, xarray.DataArray):
        raise TypeError(
            "`gate` must be one signal, such as `recorder.traces['lstm/forget']`; got "
            f"{type(gate).__name__}."
        )
    if STEP not in gate.dims:
        raise ValueError(
            f"`gate` must have the dimension `{STEP}`; got {gate.dims}. A capture is "
            "one moment of a training: record all of it with "
            "`model.fit(..., callbacks=[GateRecorder(...)])` and take "
            "`recorder.traces['lstm/forget']`."
        )


def _quantiles(gate: xarray.DataArray) -> np.ndarray:
    """Returns the quantiles of each step, of shape (quantile, step)."""
    quantiles = []
    # Step by step, so that of lazy data one step at a time is in memory.
    for step in range(gate.sizes[STEP]):
        values = gate.isel({STEP: step}).values
        values = values[~np.isnan(values)]
        # A step without a value has no quantiles: a gap in the line.
        values = values if values.size else np.nan
        quantiles.append(np.quantile(values, QUANTILES))
    return np.transpose(quantiles)


def _in_words(metric: str) -> str:
    """Returns "validation loss" for "val_loss"."""
    before = "validation " if metric.startswith("val_") else ""
    return before + metric.removeprefix("val_").replace("_", " ")


def _column(argument: str, values: Any) -> np.ndarray:
    """Returns values of shape (sample,) or (sample, 1) as (sample,)."""
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"`{argument}` must have the shape (sample,) or (sample, 1); got "
            f"{values.shape}. Choose one output, such as `values[:, 0]`."
        )
    return values
