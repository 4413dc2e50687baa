"""The values of some units over time, for one sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.checks import one_of, real_numbers
from keras_gates.old_names import renamed
from keras_gates.plots import canvas
from keras_gates.trees.choose_layer import PICTURE, one_layer, one_sample, sample_of
from keras_gates.trees.data_checks import needed, quoted
from keras_gates.trees.labels import labels_of, places_of, words

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@renamed(figure="fig", values="inputs")
@canvas.styled("lines.Line2D")
def trajectories(
    layer: Any,
    *,
    units: Any,
    signal: str = v.HIDDEN,
    sample: Any = None,
    inputs: Any = None,
    fig: Figure | None = None,
    **kwargs: Any,
) -> Figure:
    """Draws the values of some units over time for one sample, as curves.

    Args:
        layer: A layer of what `capture` returns: a DataTree node or a Dataset, its
            signals with dimensions `(sample, time, unit)`.
        units: The units to draw, fifteen at most: their labels, or their positions
            where units have no labels.
        signal: The signal to draw.
        sample: The label of the sample, or its position. Default: the first one.
        inputs: The inputs of the layer in this sample, to be drawn above the curves,
            of shape `(time,)` or `(time, feature)`. Default: nothing.
        fig: The figure to draw on. Default: a new one.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the curves, such as
            `linewidth=2`.

    Returns:
        The figure.

    Raises:
        ValueError: If the signal is missing, or `inputs` have another length.
        IndexError: If there is no such unit or sample.
        TypeError: If `layer` is not a layer.

    Example:
        >>> import xarray
        >>> hidden = (("sample", "time", "unit"), [[[0.1, 0.5], [0.2, 0.4]]])
        >>> layer = xarray.Dataset({"hidden": hidden}, attrs={"cell_type": "GRU"})
        >>> figure = trajectories(layer, units=1, inputs=[3.0, 4.0])
        >>> figure.axes[1].lines[0].get_ydata()
        array([0.5, 0.4])
    """
    layer = one_layer(layer, "layer", dims=PICTURE)
    fig = canvas.figure_of(fig)
    one_of("signal", signal, registry.signals())
    needed(layer, "layer", (signal,))
    sequence = one_sample(layer, sample, [signal])[signal]
    most = len(canvas.OTHER_COLOURS) * len(canvas.OTHER_LINES)
    places = places_of("units", units, sequence, v.UNIT, most=most)
    fig = fig or canvas.new_figure(height=2.8 if inputs is None else 4.2)
    panels = fig.subplots(
        1 if inputs is None else 2,
        squeeze=False,
        sharex=True,
        height_ratios=[1] if inputs is None else [1, 1.6],
    )[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        canvas.shade_masked(axes, sequence)
    if inputs is not None:
        _draw_inputs(panels[0], inputs, sequence)
    axes = panels[-1]
    names = list(map(canvas.plain, words(labels_of(sequence, v.UNIT))))
    for place, style in canvas.line_styles(places).items():
        line = sequence.isel({v.UNIT: place})
        line_style = {
            "label": f"unit {names[place]}",
            "linewidth": 1.3,
            **style,
            **kwargs,
        }
        axes.plot(line.values, **line_style)
    if signal in registry.gates():
        axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel(registry.long_names()[signal].replace(" (", "\n("))
    axes.set_xlabel(canvas.time_label(sequence))
    canvas.ticks_of_places(axes.xaxis, sequence, v.TIME)
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "frameon": False}
    axes.legend(fontsize="small", **place)
    kind = layer.attrs["cell_type"]
    title = f"{quoted(layer)} ({kind}), sample {sample_of(sequence)}"
    title += canvas.convention(layer.attrs, signal)
    fig.suptitle(title, fontsize="medium", parse_math=False)
    return fig


def _draw_inputs(axes: Axes, inputs: Any, sequence: xarray.DataArray) -> None:
    values, steps = real_numbers("inputs", inputs), sequence.sizes[v.TIME]
    if values.ndim not in (1, 2) or len(values) != steps:
        raise ValueError(
            f"`inputs` must have the shape (time,) or (time, feature) with {steps} "
            f"steps; got {values.shape}. Give the sample that is drawn, such as `x[0]`."
        )
    masked = sequence.isnull().all(v.UNIT).values
    drawn = values.astype(np.float64)
    drawn[masked] = np.nan  # The layer did not read the padding.
    axes.plot(drawn, color="0.35", linewidth=1)
    axes.set_ylabel("inputs")
