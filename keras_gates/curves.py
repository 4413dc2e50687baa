"""A gate over training, as a curve with bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import canvas
from keras_gates.vocabulary import GATES, STEP

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
