"""Curves: a gate over training, and units over a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.checks import one_of, real_numbers
from keras_gates.plots import canvas
from keras_gates.stats.gate_pairs import QUANTILES
from keras_gates.trees import appearance
from keras_gates.trees.labels import labels_of, places_of, words
from keras_gates.trees.requirements import check_dimensions, needed, quoted
from keras_gates.trees.selection import PICTURE, one_layer, one_sample, sample_of

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def evolution(gate: xarray.DataArray, *, ax: Axes | None = None) -> Axes:
    """Draws how the values of a gate, or of any signal, move over training.

    The line is the median over samples (and frames), time and units at each recorded
    step; the bands reach from 25 to 75 % and from 5 to 95 % of the values. Masked steps
    are left out.

    Args:
        gate: A signal of `GateRecorder.traces`, with dimensions
            `(step, sample, time, unit)` and the coordinate `epoch` along `step`:
            finished epochs, 0 before training. Where an epoch has several steps, they
            are drawn against `batch`. Or one of `GateRecorder.statistics`, of one
            signal: `statistics["lstm/mean"].sel(gate="forget")`.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If `gate` has no dimension `step`, or another one than these, such
            as the `gate` of statistics.
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
    ax = canvas.axes_of(ax)
    low, lower, median, upper, high = _quantiles(gate)
    axes = ax or canvas.new_axes()
    at, what = _moments(gate)
    axes.set_xlabel("finished epochs" if what == v.EPOCH else what)
    signal, name = gate.name, gate.attrs.get("long_name", gate.name or "signal")
    if v.GATE in gate.coords:  # A statistic, of one signal.
        signal = str(gate[v.GATE].values)
        name = f"{name} of {registry.long_names().get(signal, signal)}"
    label = f"{name}, median"
    colour = appearance.colour_of(signal)
    axes.plot(at, median, color=colour, marker="o", markersize=3, label=label)
    band = {"color": colour, "linewidth": 0}
    axes.fill_between(at, lower, upper, alpha=0.4, label="25–75 %", **band)
    axes.fill_between(at, low, high, alpha=0.18, label="5–95 %", **band)
    axes.set_ylabel("value")
    if gate.name in registry.gates():
        axes.set_ylabel(appearance.GATE_LABEL)
        axes.set_ylim(0, 1)
    canvas.whole_numbers(axes.xaxis)
    axes.legend(fontsize="small")
    return axes


RIDGES = 24
"""More ridges than this hide each other."""

OVERLAP = 1.6
"""How many rows high the highest ridge is."""


def ridges(layer: Any, *, gate: str, ax: Axes | None = None) -> Axes:
    """Draws a gate's histogram at the steps of a training, one ridge behind another.

    The first step is at the top. A ridge is the distribution over all units and real
    steps that the recorder looked at; the area under each is the same. Of more than 24,
    every second, third, ... is drawn, counted from the last one.

    Args:
        layer: A layer of `GateRecorder.statistics`: a DataTree node or a Dataset, with
            `histogram` of dimensions `(step, gate, unit, bin)`.
        gate: The name of the gate.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no histogram of this gate.
        TypeError: If `layer` is not a layer.

    Example:
        >>> import numpy as np
        >>> import xarray
        >>> counts = np.array([[[[1, 1]]], [[[0, 2]]]])
        >>> layer = xarray.Dataset(
        ...     {"histogram": (("step", "gate", "unit", "bin"), counts)},
        ...     {"epoch": ("step", [1, 2]), "gate": ["update"], "bin": [0.25, 0.75]},
        ...     attrs={"kind": "GRU"},
        ... )
        >>> axes = ridges(layer, gate="update")
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['1', '2']
    """
    layer = one_layer(layer, "layer", of_signals=False)
    ax = canvas.axes_of(ax)
    if "histogram" not in layer or v.STEP not in layer.dims:
        raise ValueError(
            "`layer` must be of a recorder's statistics, such as "
            f"`recorder.statistics['lstm']`; {quoted(layer)} has no histogram over "
            "training."
        )
    known = [name for name in layer[v.GATE].values.tolist() if name in registry.gates()]
    if not isinstance(gate, str) or gate not in known:
        raise ValueError(
            f"`gate` must be among those of {quoted(layer)}: "
            f"{', '.join(map(repr, known))}; got {gate!r}."
        )
    histogram = layer["histogram"].sel({v.GATE: gate})
    check_dimensions(histogram, "layer", (v.STEP, v.UNIT, v.BIN))
    counts = histogram.sum(v.UNIT).compute()
    stride = -(-counts.sizes[v.STEP] // RIDGES)
    chosen = np.arange(counts.sizes[v.STEP])[::-stride][::-1]  # With the last one.
    counts = counts.assign_coords({v.STEP: labels_of(counts, v.STEP)})
    counts = counts.isel({v.STEP: chosen})
    # Of an empty step nothing is drawn.
    total = counts.sum(v.BIN)
    heights = (counts / total.where(total > 0)).values
    heights *= OVERLAP / np.nanmax(heights, initial=1e-9)
    edges = np.linspace(0, 1, counts.sizes[v.BIN] + 1)
    axes = ax or canvas.new_axes(height=1.5 + 0.16 * len(chosen))
    style = {"facecolor": appearance.colour_of(gate), "edgecolor": "white"}
    for row, height in enumerate(heights):
        axes.axhline(row, color="0.85", linewidth=0.6, zorder=row)
        ridge = {"baseline": row, "fill": True, "linewidth": 0.6, "zorder": row}
        axes.stairs(row - height, edges, **ridge, **style)
    labels, at = _moments(counts)
    names = words(labels)
    every = max(len(chosen) // 8, 1)
    axes.set_yticks(range(0, len(chosen), every), names[::every])
    axes.set_ylim(len(chosen) - 0.5, -OVERLAP - 0.1)
    axes.set(xlim=(0, 1), xlabel=registry.long_names()[gate], ylabel=at)
    title = f"{quoted(layer)}: {gate} over training"
    title += canvas.convention(layer.attrs["kind"], gate)
    axes.set_title(title, parse_math=False)
    return axes


def trajectories(
    layer: Any,
    *,
    units: Any,
    signal: str = v.HIDDEN,
    sample: Any = None,
    values: Any = None,
    figure: Figure | None = None,
) -> Figure:
    """Draws the course of some units over one sample, beneath what the layer read.

    Args:
        layer: A layer of what `capture` returns: a DataTree node or a Dataset, its
            signals with dimensions `(sample, time, unit)`.
        units: The units to draw, fifteen at most: their labels, or their positions
            where units have no labels.
        signal: The signal to draw.
        sample: The label of the sample, or its position. Default: the first one.
        values: What the layer read in this sample, to be drawn above, of shape
            `(time,)` or `(time, feature)`. Default: nothing.
        figure: The figure to draw on. Default: a new one.

    Returns:
        The figure.

    Raises:
        ValueError: If the signal is not there, or `values` have another length.
        IndexError: If there is no such unit or sample.
        TypeError: If `layer` is not a layer.

    Example:
        >>> import xarray
        >>> hidden = (("sample", "time", "unit"), [[[0.1, 0.5], [0.2, 0.4]]])
        >>> layer = xarray.Dataset({"hidden": hidden}, attrs={"kind": "GRU"})
        >>> figure = trajectories(layer, units=1, values=[3.0, 4.0])
        >>> figure.axes[1].lines[0].get_ydata()
        array([0.5, 0.4])
    """
    layer = one_layer(layer, "layer", dims=PICTURE)
    figure = canvas.figure_of(figure)
    one_of("signal", signal, registry.signals())
    needed(layer, "layer", (signal,))
    course = one_sample(layer, sample, [signal])[signal]
    most = len(canvas.OTHER_COLOURS) * len(canvas.OTHER_LINES)
    places = places_of("units", units, course, v.UNIT, most=most)
    figure = figure or canvas.new_figure(height=2.8 if values is None else 4.2)
    panels = figure.subplots(
        1 if values is None else 2,
        squeeze=False,
        sharex=True,
        height_ratios=[1] if values is None else [1, 1.6],
    )[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        canvas.shade_masked(axes, course)
    if values is not None:
        _draw_input(panels[0], values, course)
    axes = panels[-1]
    names = list(map(canvas.plain, words(labels_of(course, v.UNIT))))
    for place, style in canvas.line_styles(places).items():
        line = course.isel({v.UNIT: place})
        axes.plot(line.values, label=f"unit {names[place]}", linewidth=1.3, **style)
    if signal in registry.gates():
        axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel(registry.long_names()[signal].replace(" (", "\n("))
    axes.set_xlabel(canvas.time_label(course))
    canvas.ticks_of_places(axes.xaxis, course, v.TIME)
    style = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "frameon": False}
    axes.legend(fontsize="small", **style)
    kind = layer.attrs["kind"]
    title = f"{quoted(layer)} ({kind}), sample {sample_of(course)}"
    title += canvas.convention(kind, signal)
    figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure


def _draw_input(axes: Axes, values: Any, course: xarray.DataArray) -> None:
    values, steps = real_numbers("values", values), course.sizes[v.TIME]
    if values.ndim not in (1, 2) or len(values) != steps:
        raise ValueError(
            f"`values` must have the shape (time,) or (time, feature) with {steps} "
            f"steps; got {values.shape}. Give the sample that is drawn, such as `x[0]`."
        )
    masked = course.isnull().all(v.UNIT).values
    drawn = values.astype(np.float64)
    drawn[masked] = np.nan  # Padding was not read.
    axes.plot(drawn, color="0.35", linewidth=1)
    axes.set_ylabel("what was read")


def _moments(data: xarray.DataArray) -> tuple[np.ndarray, str]:
    """Returns a label for each step, and what it is: an epoch, if each has one."""
    for name, what in ((v.EPOCH, v.EPOCH), (v.BATCH, "batches so far")):
        labels = data[name].values if name in data.coords else []
        if len(labels) and len(np.unique(labels)) == len(labels):
            return labels, what
    return labels_of(data, v.STEP), "recorded step"


def _check_trace(gate: Any) -> None:
    import xarray

    if not isinstance(gate, xarray.DataArray):
        raise TypeError(
            "`gate` must be one signal, such as `recorder.traces['lstm/forget']`; got "
            f"{type(gate).__name__}."
        )
    if v.STEP not in gate.dims:
        raise ValueError(
            f"`gate` must have the dimension `{v.STEP}`; got {gate.dims}. A capture is "
            "one moment of a training: record all of it with "
            "`model.fit(..., callbacks=[GateRecorder(...)])` and take "
            "`recorder.traces['lstm/forget']`."
        )
    check_dimensions(gate, "gate")


def _quantiles(gate: xarray.DataArray) -> np.ndarray:
    """Returns the quantiles of each step, of shape (quantile, step)."""
    quantiles = []
    # Step by step, so that of lazy data one step at a time is in memory.
    for step in range(gate.sizes[v.STEP]):
        values = gate.isel({v.STEP: step}).values
        values = values[~np.isnan(values)]
        # A step without a value has no quantiles: a gap in the line.
        values = values if values.size else np.nan
        quantiles.append(np.quantile(values, QUANTILES))
    return np.transpose(quantiles)
