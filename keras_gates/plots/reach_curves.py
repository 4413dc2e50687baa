"""Measured memory, with the time scales of the path through the cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import stats
from keras_gates import vocabulary as v
from keras_gates.old_names import renamed
from keras_gates.plots import canvas
from keras_gates.trees.choose_layer import one_layer
from keras_gates.trees.data_checks import quoted
from keras_gates.trees.layer_kind import kind_of_layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LEVEL = math.exp(-1)
"""A retention below this value counts as forgotten."""


@renamed(figure="fig")
@canvas.styled("lines.Line2D")
def reach(
    layer: Any, gates: Any = None, *, fig: Figure | None = None, **kwargs: Any
) -> Figure:
    """Draws how much of a layer's state is left after each time step, from `reach`.

    The left side shows the retention by steps after the swap, with a line for each step
    at which it was measured, and the level 1/e. The right side shows the reach with its
    interval at each of these steps. If the retention never fell below the level, a
    triangle marks the number of observed steps, and the reach is at least that. With
    `gates`, short lines show the time scales of the units, which describe only the path
    through the cell.

    Args:
        layer: A layer of the result of `keras_gates.reach`: a DataTree node or a
            dataset.
        gates: The same layer of the result of `capture`, for the time scales.
        fig: The figure to draw on. Default: a new one.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the curves on the left,
            such as `linewidth=2`.

    Returns:
        The figure.

    Raises:
        ValueError: If `layer` is not a result of `keras_gates.reach`, or `gates` has no
            gate that keeps the old state.
        TypeError: If one of them is not a layer.

    Example:
        >>> import numpy as np
        >>> import xarray
        >>> data = {"retention": (("time", "lag"), [[1.0, 0.5, 0.25]])}
        >>> for name, steps in {"": 1.44, "_low": 1.3, "_high": 1.6}.items():
        ...     data["reach" + name] = ("time", [steps])
        >>> coordinates = {"time": [3], "lag": [0, 1, 2]}
        >>> found = xarray.Dataset(data, coordinates, {"cell_type": "LSTM"})
        >>> reach(found).axes[0].lines[0].get_ydata()
        array([1.  , 0.5 , 0.25])
    """
    layer = one_layer(layer, "layer", of_signals=False)
    wanted = {"retention", "reach", "reach_low", "reach_high"}
    if not wanted <= set(layer.data_vars):
        raise ValueError(
            "`layer` must be a layer of what `keras_gates.reach` returned; "
            f"{quoted(layer)} has no retention."
        )
    scales = None if gates is None else _timescales(gates)
    fig = canvas.figure_of(fig) or canvas.new_figure(3.2)
    left, right = fig.subplots(1, 2, width_ratios=[3, 2])
    _draw_retention(left, layer, kwargs)
    _draw_reach(right, layer, scales)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return fig


def _timescales(gates: Any) -> np.ndarray:
    gates = one_layer(gates, "gates")
    keep = kind_of_layer(gates).keep
    if keep is None or keep not in gates:
        raise ValueError(
            f"`gates` must hold a gate that keeps the old state; {quoted(gates)} has "
            "none, so there are no time scales. Leave `gates` out."
        )
    return np.ravel(stats.timescale(gates[keep]))


def _draw_retention(axes: Axes, layer: Any, style: dict[str, Any]) -> None:
    from matplotlib import colormaps

    steps = layer[v.TIME].values
    colours = colormaps["viridis"](np.linspace(0.1, 0.85, len(steps)))
    for step, colour in zip(steps, colours, strict=True):
        curve = layer["retention"].sel({v.TIME: step}).dropna(v.LAG)
        line_style = {"color": colour, "label": f"after step {step}", **style}
        axes.plot(curve[v.LAG], curve, **line_style)
    axes.axhline(LEVEL, color="0.6", linewidth=0.8, linestyle="--")
    axes.annotate(
        "1/e",
        (1, LEVEL),
        xycoords=("axes fraction", "data"),
        color="0.4",
        ha="right",
        va="bottom",
        fontsize="small",
    )
    axes.set_ylim(0, max(1.05, float(layer["retention"].max()) * 1.05))
    axes.set_xlabel("steps after the swap")
    axes.set_ylabel("retention")
    canvas.whole_numbers(axes.xaxis)
    axes.legend(fontsize="small")


def _draw_reach(axes: Axes, layer: Any, scales: np.ndarray | None) -> None:
    steps = layer[v.TIME].values
    seen = layer["retention"].notnull().sum(v.LAG).values - 1
    found, low, high = (
        layer[name].values for name in ("reach", "reach_low", "reach_high")
    )
    ends = np.isfinite(found)
    top = np.where(np.isfinite(high), high, np.maximum(seen, found))
    axes.errorbar(
        steps[ends],
        found[ends],
        [found[ends] - low[ends], top[ends] - found[ends]],
        fmt="o",
        color="black",
        capsize=3,
        markersize=4,
        label="measured reach",
    )
    if (~ends).any():
        axes.plot(steps[~ends], seen[~ends], "^", color="black", label="at least")
    if scales is not None:
        finite = scales[np.isfinite(scales)]
        axes.scatter(
            np.full(len(finite), 0.05),  # As a fraction of the width, next to the axis.
            finite,
            marker="_",
            s=120,
            color="#0072B2",
            transform=axes.get_yaxis_transform(),
            clip_on=False,
            label="time scales of the path\nthrough the cell, by unit",
        )
    # From 0, near which the time scales are drawn; with space for the legend.
    axes.set_xlim(0, 1.15 * max(steps) or 1)
    axes.set_ylim(0, 1.5 * _largest(top, seen[~ends], scales))
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=6)
    axes.set_xlabel("swapped after step")
    axes.set_ylabel("steps")
    canvas.whole_numbers(axes.xaxis)
    axes.legend(fontsize="small", loc="upper right")


def _largest(*drawn: Any) -> float:
    """Returns the largest finite number that is drawn, 1 if there is none."""
    values = np.concatenate([np.ravel(one) for one in drawn if one is not None])
    return float(np.max(values[np.isfinite(values)], initial=0)) or 1.0
