"""A dot for each unit: its saturation, its time scale or its memory horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import stats
from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.plots import canvas
from keras_gates.trees import appearance
from keras_gates.trees.choose_layer import one_layer
from keras_gates.trees.data_checks import check_dimensions, needed, one_moment, quoted
from keras_gates.trees.dimensions import longest_sequence
from keras_gates.trees.layer_kind import kind_of_layer

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

    from keras_gates.trees.types import Layer


@canvas.styled("collections.PathCollection", "s", "marker")
def saturation(layer: Layer, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draws how often each unit's gates are closed, and how often they are open.

    A dot is one gate of one unit. On the diagonal, the gate is closed or open at every
    step; at the origin, it blends at every step. The numbers are those of
    `stats.saturation`.

    Args:
        layer: A layer of what `capture` returns: a DataTree node or a Dataset, its
            gates with dimensions `(sample, time, unit)`.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.collections.PathCollection` for the dots,
            such as `s=40`.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no gate, or more than one `step` of training.
        TypeError: If `layer` is not a layer.

    Example:
        >>> import xarray
        >>> update = (("sample", "time", "unit"), [[[0.95, 0.6], [0.98, 0.05]]])
        >>> layer = xarray.Dataset({"update": update}, attrs={"cell_type": "GRU"})
        >>> saturation(layer).collections[0].get_offsets().data
        array([[0. , 1. ],
               [0.5, 0. ]])

    Reference:
        Karpathy, Johnson and Li (2015), Visualizing and Understanding Recurrent
        Networks, arXiv:1506.02078, figure 3.
    """
    layer = one_layer(layer, "layer")
    one_moment(layer, "layer")
    ax = canvas.axes_of(ax)
    kind = kind_of_layer(layer)
    if not kind.gates:
        raise ValueError(
            f"`layer` must have gates; {quoted(layer)} is {kind.with_article}, which "
            "has none."
        )
    if not set(kind.gates) & set(layer.data_vars):
        raise ValueError(
            f"`layer` must hold at least one of {', '.join(map(repr, kind.gates))}; "
            f"{quoted(layer)} has none of them. Name one in "
            "`capture(..., signals=...)`, or leave `signals` out."
        )
    sides = stats.saturation(layer).compute()
    axes = ax or canvas.new_axes(height=4.2)
    axes.plot([0, 1], [1, 0], color="0.6", linewidth=0.8, zorder=0)
    for (name, values), marker in zip(sides.items(), "o^s", strict=False):
        gate = str(name)
        style = {"s": 22, "marker": marker, "color": appearance.colour_of(gate)}
        style |= {"alpha": 0.75, "linewidth": 0}
        style |= {"label": registry.long_names()[gate].replace(" (", "\n(")}
        axes.scatter(
            values.sel(side="left"), values.sel(side="right"), **style | kwargs
        )
    # A margin, so that a dot at 0 or 1 is completely visible.
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set_xlabel("left-saturated (share of steps below 0.1)")
    axes.set_ylabel("right-saturated (share of steps above 0.9)")
    title = f"{_title(layer)}, a dot for each unit"
    title += canvas.convention(layer.attrs, *sides)
    axes.set_title(title, parse_math=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return axes


@canvas.styled("lines.Line2D")
def timescale(layer: Layer, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draws the time scale of each unit, compared with the length of the sequences.

    The numbers are those of `stats.timescale`, a dot for each unit, from the shortest
    to the longest. `plots.reach` draws the measured memory.

    Args:
        layer: A layer of what `capture` returns: a DataTree node or a Dataset, with
            `forget` or `update` of dimensions `(sample, time, unit)`.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the dots, such as
            `markersize=6`.

    Returns:
        The Axes. Infinite time scales are drawn at the upper edge, with a note.
        Units without a time scale are counted below the axis.

    Raises:
        ValueError: If no gate keeps the old state, or there is more than one `step`.
        TypeError: If `layer` is not a layer.

    Example:
        >>> import xarray
        >>> update = (("sample", "time", "unit"), [[[0.9, 0.5], [0.9, 0.5]]])
        >>> layer = xarray.Dataset({"update": update}, attrs={"cell_type": "GRU"})
        >>> timescale(layer).lines[1].get_ydata().round(1)
        array([1.4, 9.5])
    """
    layer = one_layer(layer, "layer", dims=(v.TIME, v.UNIT))
    ax = canvas.axes_of(ax)
    *_, keep = _memory(layer)
    needed(layer, "layer", (keep,))
    check_dimensions(layer[[keep]], "layer", wanted=(v.TIME, v.UNIT))
    values = stats.timescale(layer)[keep].values
    # A time scale of 0, or a negative one, has no place on a logarithmic axis.
    axes = _steps(layer, np.where(values > 0, values, np.nan), keep, ax, kwargs)
    _logarithmic(axes, "log")
    axes.set_ylabel("time scale of the cell's path, steps")
    axes.set_title(f"{_title(layer)}: {registry.long_names()[keep]}", parse_math=False)
    return axes


@canvas.styled("lines.Line2D")
def memory_horizon(layer: Layer, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draws the memory horizon of each unit, compared with the sequence length.

    The numbers are those of `stats.memory_horizon`, a dot for each unit, from the
    shortest to the longest.

    Args:
        layer: A layer of what `capture` returns: a DataTree node or a Dataset, with
            `input` and `forget`, or `update`, of dimensions `(sample, time, unit)`.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the dots, such as
            `markersize=6`.

    Returns:
        The Axes. Their scale is logarithmic from one step on, and linear below it.

    Raises:
        ValueError: If these gates are missing, or there is more than one `step`.
        TypeError: If `layer` is not a layer.

    Example:
        >>> import numpy as np
        >>> import xarray
        >>> update = (("sample", "time", "unit"), np.full((1, 50, 2), 0.5))
        >>> layer = xarray.Dataset({"update": update}, attrs={"cell_type": "GRU"})
        >>> memory_horizon(layer).lines[1].get_ydata()
        array([3., 3.])
    """
    layer = one_layer(layer, "layer", dims=(v.TIME, v.UNIT))
    ax = canvas.axes_of(ax)
    memory = _memory(layer)
    *_, keep = memory
    needed(layer, "layer", memory)
    check_dimensions(layer[[keep]], "layer", wanted=(v.TIME, v.UNIT))
    values = stats.memory_horizon(layer)["memory_horizon"].values
    axes = _steps(layer, values, keep, ax, kwargs)
    _logarithmic(axes, "symlog", linthresh=1, linscale=0.3)
    axes.set_ylabel("horizon of the cell's path, steps")
    title = f"{_title(layer)}: the last steps that make up 90 % of the state"
    title += canvas.convention(layer.attrs)
    axes.set_title(title, parse_math=False)
    return axes


def _memory(layer: xarray.Dataset) -> tuple[str, ...]:
    """Returns the gates that determine what is written and kept, in this order."""
    kind = kind_of_layer(layer)
    if kind.keep is None:
        raise ValueError(
            f"`layer` must have a gate that keeps the old state; {quoted(layer)} is "
            f"{kind.with_article}, which has none."
        )
    return kind.memory


def _steps(
    layer: xarray.Dataset,
    values: np.ndarray,
    gate: str,
    ax: Axes | None,
    properties: dict[str, Any],
) -> Axes:
    """Draws a number of steps for each unit, sorted, and the length of the sequence."""
    length = longest_sequence(layer[gate])
    axes = ax or canvas.new_axes()
    style = {
        "color": appearance.colour_of(gate),
        "linestyle": "none",
        "markersize": 4,
        **properties,
    }
    axes.axhline(length, color="0.4", linewidth=1, linestyle="--", zorder=0)
    words = f"sequence length, {length:,} steps"
    at = {"xycoords": ("axes fraction", "data"), "xy": (0.01, length)}
    offset = {"xytext": (0, 3), "textcoords": "offset points"}
    axes.annotate(words, **at, **offset, fontsize="small", color="0.4")
    finite = np.sort(values[np.isfinite(values)])
    axes.plot(np.arange(len(finite)), finite, **{"marker": "o", **style})
    endless = int(np.isposinf(values).sum())
    if endless:
        # Above all finite values.
        top = 3 * max(length, finite.max(initial=1))
        ranks = len(finite) + np.arange(endless)
        label = f"infinite: {endless} of {len(values)} units"
        marker_style = {"marker": "^", **style, "label": label}
        axes.plot(ranks, np.full(endless, top), **marker_style)
        axes.legend(fontsize="small", loc="center left", frameon=False)
    without = int(np.isnan(values).sum())
    note = f" ({without} without a value)" if without else ""
    axes.set_xlabel(f"unit, sorted{note}")
    canvas.whole_numbers(axes.xaxis)
    return axes


def _logarithmic(axes: Axes, scale: str, **options: float) -> None:
    """Sets a scale whose ticks are numbers of steps, and not powers of ten."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    shown = np.concatenate([line.get_ydata() for line in axes.lines])
    if not shown.max() > 0:
        return  # Every step is masked.
    axes.set_yscale(scale, **options)
    low, high = 0.6 * shown.min(), 1.8 * shown.max()
    axes.set_ylim(low, high)  # With space for the label of the sequence length.
    lowest = 1 if scale == "symlog" else low
    ticks = canvas.ticks_of_steps(max(low, lowest), high)
    axes.yaxis.set_major_locator(FixedLocator([0, *ticks] if low <= 0 else ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _title(layer: xarray.Dataset) -> str:
    return f"{quoted(layer)} ({layer.attrs['cell_type']})"
