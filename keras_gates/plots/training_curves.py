"""A gate over training: its quantiles, and its histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.plots import canvas
from keras_gates.stats.gate_pairs import QUANTILES
from keras_gates.trees import appearance
from keras_gates.trees.choose_layer import one_layer
from keras_gates.trees.data_checks import check_dimensions, quoted
from keras_gates.trees.labels import labels_of, words
from keras_gates.trees.layer_kind import kind_of_layer

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


@canvas.styled("lines.Line2D")
def evolution(gate: xarray.DataArray, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draws how the values of one signal change during training.

    The line is the median over samples (and frames), time and units at each recorded
    step; the bands reach from 25 to 75 % and from 5 to 95 % of the values. Masked steps
    are omitted.

    Args:
        gate: A signal of `GateRecorder.traces`, with dimensions
            `(step, sample, time, unit)` and the coordinate `epoch` along `step`: the
            epoch of the step, from 1, and 0 before training. Where an epoch has several
            steps, they are drawn against `batch`. Or a variable of
            `GateRecorder.statistics`, for one signal:
            `statistics["lstm/mean"].sel(signal="forget")`.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the line, such as
            `color="black"`.

    Returns:
        The Axes.

    Raises:
        ValueError: If `gate` has no dimension `step`, or another dimension, such as
            the `signal` of statistics.
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
    at, unit = _moments(gate)
    axes.set_xlabel("finished epochs" if unit == v.EPOCH else unit)
    signal, name = gate.name, gate.attrs.get("long_name", gate.name or "signal")
    if v.SIGNAL in gate.coords:  # It is a statistic of one signal.
        signal = str(gate[v.SIGNAL].values)
        name = f"{name} of {registry.long_names().get(signal, signal)}"
    label = f"{name}, median"
    colour = appearance.colour_of(str(signal))
    style = {"color": colour, "marker": "o", "markersize": 3, "label": label, **kwargs}
    (line,) = axes.plot(at, median, **style)
    band = {"color": line.get_color(), "linewidth": 0}
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
"""The largest number of ridges: more would hide each other."""

OVERLAP = 1.6
"""The height of the highest ridge, in rows."""


@canvas.styled("patches.StepPatch")
def ridges(layer: Any, *, gate: str, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draws the histogram of a gate at each recorded step, one above another.

    The first step is at the top. A ridge is the distribution over all units and
    unmasked steps that the recorder counted. The area under each is the same. If there
    are more than 24 steps, only every second, third, ... one is drawn, counted from the
    last one.

    Args:
        layer: A layer of `GateRecorder.statistics`: a DataTree node or a Dataset, with
            `histogram` of dimensions `(step, signal, unit, bin)`.
        gate: The name of the gate.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.patches.StepPatch` for the ridges, such as
            `facecolor="grey"`.

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
        ...     {"histogram": (("step", "signal", "unit", "bin"), counts)},
        ...     {"epoch": ("step", [1, 2]), "signal": ["update"], "bin": [0.25, 0.75]},
        ...     attrs={"cell_type": "GRU"},
        ... )
        >>> axes = ridges(layer, gate="update")
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['1', '2']
    """
    layer = one_layer(layer, "layer", of_signals=False)
    ax = canvas.axes_of(ax)
    if "histogram" not in layer or v.STEP not in layer.dims:
        raise ValueError(
            "`layer` must be a layer of a recorder's statistics, such as "
            f"`recorder.statistics['lstm']`; {quoted(layer)} has no histogram over "
            "training."
        )
    known = [
        name for name in layer[v.SIGNAL].values.tolist() if name in registry.gates()
    ]
    if not known:
        raise ValueError(
            f"`layer` must hold the statistics of a gate; {quoted(layer)}, "
            f"{kind_of_layer(layer).with_article}, has none."
        )
    if not isinstance(gate, str) or gate not in known:
        raise ValueError(
            f"`gate` must be among those of {quoted(layer)}: "
            f"{', '.join(map(repr, known))}; got {gate!r}."
        )
    histogram = layer["histogram"].sel({v.SIGNAL: gate})
    check_dimensions(histogram, "layer", (v.STEP, v.UNIT, v.BIN))
    counts = histogram.sum(v.UNIT).compute()
    stride = -(-counts.sizes[v.STEP] // RIDGES)
    # The last step is always drawn.
    chosen = np.arange(counts.sizes[v.STEP])[::-stride][::-1]
    counts = counts.assign_coords({v.STEP: labels_of(counts, v.STEP)})
    counts = counts.isel({v.STEP: chosen})
    # A step without values has no ridge.
    total = counts.sum(v.BIN)
    heights = (counts / total.where(total > 0)).values
    heights *= OVERLAP / np.nanmax(heights, initial=1e-9)
    edges = np.linspace(0, 1, counts.sizes[v.BIN] + 1)
    axes = ax or canvas.new_axes(height=1.5 + 0.16 * len(chosen))
    style: dict[str, Any] = {"facecolor": appearance.colour_of(gate), "fill": True}
    style |= {"edgecolor": "white", "linewidth": 0.6, **kwargs}
    for row, height in enumerate(heights):
        axes.axhline(row, color="0.85", linewidth=0.6, zorder=row)
        axes.stairs(row - height, edges, baseline=row, **{"zorder": row, **style})
    labels, at = _moments(counts)
    names = words(labels)
    every = max(len(chosen) // 8, 1)
    axes.set_yticks(range(0, len(chosen), every), names[::every])
    axes.set_ylim(len(chosen) - 0.5, -OVERLAP - 0.1)
    axes.set(xlim=(0, 1), xlabel=registry.long_names()[gate], ylabel=at)
    title = f"{quoted(layer)}: {gate} over training"
    title += canvas.convention(layer.attrs, gate)
    axes.set_title(title, parse_math=False)
    return axes


def _moments(data: xarray.DataArray) -> tuple[np.ndarray, str]:
    """Returns a number for each step, and its meaning: an epoch, if these differ."""
    for name, meaning in ((v.EPOCH, v.EPOCH), (v.BATCH, "batches so far")):
        if name not in data.coords:
            continue
        labels = data[name].values
        if len(labels) and len(np.unique(labels)) == len(labels):
            return labels, meaning
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
            "one moment of training: record the whole training with "
            "`model.fit(..., callbacks=[GateRecorder(...)])` and take "
            "`recorder.traces['lstm/forget']`."
        )
    check_dimensions(gate, "gate")


def _quantiles(gate: xarray.DataArray) -> np.ndarray:
    """Returns the quantiles of each step, of shape (quantile, step)."""
    quantiles = []
    # Step by step, so that only one step of lazy data is in memory at a time.
    for step in range(gate.sizes[v.STEP]):
        values = gate.isel({v.STEP: step}).values
        values = values[~np.isnan(values)]
        # A step without values has no quantiles, and leaves a gap in the line.
        values = values if values.size else np.array([np.nan])
        quantiles.append(np.quantile(values, QUANTILES))
    return np.transpose(quantiles)
