"""The empty figures of the page, in Bokeh; the scripts of the page add the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.page.overview import Overview
from keras_gates.page.page_layers import Layer
from keras_gates.plots import canvas
from keras_gates.trees import appearance
from keras_gates.trees.dimensions import longest_sequence
from keras_gates.trees.labels import words

if TYPE_CHECKING:
    from bokeh.models import Plot
    from bokeh.plotting import figure as Figure

ROWS = 6
"""Rows of heat maps, enough for an LSTM next to a GRU."""
COLUMNS = 2
MASKED_COLOUR = "#b4b4b4"
INFINITE = "#d01c8b"
SPAN = "#111111"

EDGE = "#c4c9d0"
AXIS = {
    "axis_line_color": None,
    "minor_tick_line_color": None,
    "major_tick_line_color": "#8a9099",
    "major_label_text_color": "#3b424b",
    "major_label_text_font_size": "11px",
    "axis_label_text_color": "#3b424b",
    "axis_label_text_font_size": "12px",
    "axis_label_text_font_style": "normal",
}

# Wide enough for the labels of every figure, so that the time axes are aligned.
FRAME = {"min_border_left": 58, "min_border_right": 14, "toolbar_location": None}


def figures(layers: list[Layer], overviews: list[Overview]) -> dict[str, Plot]:
    """Returns every figure of the page by the name of its place in the template."""
    from bokeh.models import Range1d

    time = Range1d(-0.5, 0.5, name="time")
    found: dict[str, Any] = {}
    for column in range(COLUMNS):
        units = Range1d(-0.5, 0.5, name=f"units-{column}")
        for row in range(ROWS):
            name = f"map-{row}-{column}"
            found[name] = _heat_map(name, time, units)
        for row in range(2):
            name = f"line-{row}-{column}"
            found[name] = _lines(name, time, height=150)
        found[f"input-{column}"] = _input(f"input-{column}", time)
    for index, (layer, overview) in enumerate(zip(layers, overviews, strict=True)):
        if overview.saturation:
            found[f"saturation-{index}"] = _saturation(layer, overview)
        steps, keep = overview.timescale, overview.keep
        if keep and steps is not None and (steps > 0).any():
            found[f"timescale-{index}"] = _timescale(layer, steps, keep)
    return found


def palettes() -> dict[str, list[str]]:
    """Returns the colours of gates and of states, as in the figures of `plots`."""
    import matplotlib
    from matplotlib.colors import to_hex

    return {
        group: [to_hex(colour) for colour in matplotlib.colormaps[name](range(256))]
        for group, name in (
            ("gates", appearance.GATE_MAP),
            ("states", appearance.STATE_MAP),
        )
    }


def _new(**options: Any) -> Figure:
    """Returns an empty figure for a measure of a whole layer."""
    from bokeh.plotting import figure

    made = figure(
        height=250, sizing_mode="stretch_width", tools="", **{**FRAME, **options}
    )
    made.grid.visible = False
    made.outline_line_color = EDGE
    for axis in made.axis:
        axis.update(**AXIS)
    return made


def _plot(name: str, height: int, time: Any, values: Any, **options: Any) -> Plot:
    """Returns an empty plot over time.

    It is built from its parts, because `bokeh.plotting.figure` adds invisible parts,
    and the page has many plots.
    """
    from bokeh.models import BasicTicker, BoxAnnotation, BoxSelectTool, LinearAxis, Plot

    made = Plot(
        name=name,
        height=height,
        x_range=time,
        y_range=values,
        sizing_mode="stretch_width",
        outline_line_color=EDGE,
        **{**FRAME, **options},
    )
    # Ticks are at whole steps and units only.
    ticker = BasicTicker(min_interval=1)
    made.add_layout(LinearAxis(name=f"{name}-time", ticker=ticker, **AXIS), "below")
    style = {"line_color": SPAN, "line_width": 1.5, "fill_alpha": 0.06}
    box = BoxAnnotation(name=f"{name}-span", visible=False, fill_color=SPAN, **style)
    made.add_layout(box)
    # Dragging chooses the span.
    made.add_tools(BoxSelectTool(dimensions="width"))
    return made


def _draw(made: Plot, glyph: Any, name: str, **columns: list) -> None:
    """Adds a glyph that draws the columns of a source of this name."""
    from bokeh.models import ColumnDataSource, GlyphRenderer

    # Nothing in the plot can be selected, so these glyphs are not needed.
    unused = ("selection_glyph", "nonselection_glyph", "hover_glyph", "muted_glyph")
    source = ColumnDataSource(columns, name=name)
    renderer = GlyphRenderer(
        data_source=source, glyph=glyph, **dict.fromkeys(unused, None)
    )
    made.renderers.append(renderer)


def _heat_map(name: str, time: Any, units: Any) -> Plot:
    from bokeh.models import BasicTicker, Image, LinearAxis, LinearColorMapper, Scatter

    made = _plot(name, 168, time, units, min_border_top=4)
    made.background_fill_color = "#f2f2f2"
    ticker = BasicTicker(min_interval=1)
    axis = LinearAxis(name=f"{name}-units", axis_label=v.UNIT, ticker=ticker, **AXIS)
    made.add_layout(axis, "left")
    # NaN is grey. Infinite values have the colour above the highest value.
    mapper = LinearColorMapper(
        palette=["#ffffff", "#000000"],
        low=0,
        high=1,
        nan_color=MASKED_COLOUR,
        high_color=INFINITE,
        name=f"{name}-colours",
    )
    image = Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=mapper)
    nothing = [np.zeros((1, 1), np.float32)]
    place: dict[str, Any] = {"x": [-0.5], "y": [-0.5], "dw": [1], "dh": [1]}
    _draw(made, image, f"{name}-image", image=nothing, **place)
    mark = Scatter(x="x", y="y", marker="triangle", angle=-np.pi / 2, size=8)
    mark.update(fill_color="#ffffff", line_color=SPAN)
    _draw(made, mark, f"{name}-marks", x=[], y=[])
    return made


def _lines(name: str, time: Any, height: int) -> Plot:
    from bokeh.models import BasicTicker, Grid, LinearAxis, MultiLine, Range1d

    made = _plot(name, height, time, Range1d(0, 1, name=f"{name}-values"))
    made.below[0].axis_label = f"{v.TIME} (step)"
    axis = LinearAxis(
        name=f"{name}-axis", ticker=BasicTicker(desired_num_ticks=4), **AXIS
    )
    made.add_layout(axis, "left")
    grid = Grid(dimension=1, axis=axis, grid_line_color="#e6e9ed", name=f"{name}-grid")
    made.add_layout(grid)
    lines = MultiLine(xs="x", ys="y", line_color="colour", line_width=1.6)
    _draw(made, lines, f"{name}-lines", x=[], y=[], colour=[])
    return made


def _input(name: str, time: Any) -> Plot:
    """Returns a plot for the inputs, numbers or tokens."""
    from bokeh.models import Text

    made = _lines(name, time, height=110)
    words = Text(x="x", y=0.06, text="text", angle="angle", text_baseline="middle")
    words.update(text_font_size="12px", text_color="#1b1f24")
    _draw(made, words, f"{name}-words", x=[], text=[], angle=[])
    return made


def _saturation(layer: Layer, overview: Overview) -> Figure:
    """Draws how often the gates of each unit are closed and open, as one dot each."""
    from bokeh.models import ColumnDataSource, HoverTool

    made = _new(x_range=(-0.04, 1.04), y_range=(-0.04, 1.04))
    made.line([0, 1], [1, 0], color="#8a9099", line_dash="dashed")
    for gate, (left, right) in overview.saturation.items():
        data = {"left": left, "right": right, "unit": words(layer.labels(v.UNIT))}
        dots = made.scatter(
            "left",
            "right",
            source=ColumnDataSource(data),
            size=7,
            alpha=0.65,
            color=appearance.colour_of(gate),
            legend_label=gate,
        )
        tips = [("unit", "@unit"), ("left", "@left{0.000}"), ("right", "@right{0.000}")]
        made.add_tools(HoverTool(renderers=[dots], tooltips=[("gate", gate), *tips]))
    made.xaxis.axis_label = "left: share of steps below 0.1"
    made.yaxis.axis_label = "right: share of steps above 0.9"
    made.legend.location = "top_right"
    made.legend.label_text_font_size = "11px"
    made.legend.padding = made.legend.spacing = 3
    made.legend.border_line_color = None
    made.legend.background_fill_alpha = 0.7
    return made


def _timescale(layer: Layer, steps: np.ndarray, keep: str) -> Figure:
    """Draws the sorted time scales of the units, and the length of the sequence."""
    from bokeh.models import (
        ColumnDataSource,
        FixedTicker,
        HoverTool,
        PrintfTickFormatter,
    )

    units = np.argsort(steps, kind="stable")
    units = units[np.isfinite(steps[units]) & (steps[units] > 0)]
    names = words(layer.labels(v.UNIT)[units])
    length = longest_sequence(layer.last()[keep])
    values = [*steps[units].tolist(), length]
    values_range = (max(min(values), 1e-3) / 1.6, max(*values, 1) * 1.6)
    made = _new(
        y_axis_type="log",
        x_range=(-0.7, max(len(units), 1) - 0.3),
        y_range=values_range,
    )
    colour = appearance.colour_of(keep)
    made.line([-0.7, len(units)], [length, length], color=SPAN, line_dash="dashed")
    data = {"rank": np.arange(len(units)), "steps": steps[units], "unit": names}
    source = ColumnDataSource(data)
    dots = made.scatter("rank", "steps", source=source, size=6, color=colour)
    tips = [("unit", "@unit"), ("time scale", "@steps{0.00} steps")]
    made.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    made.xaxis.axis_label = "units, sorted"
    made.yaxis.axis_label = "time scale (steps)"
    made.yaxis.ticker = FixedTicker(ticks=canvas.ticks_of_steps(*values_range))
    made.yaxis.formatter = PrintfTickFormatter(format="%g")
    made.xaxis.ticker.min_interval = 1
    return made
