"""The frames of the pictures, in Bokeh; the scripts of the page put the values in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import canvas
from keras_gates import vocabulary as v
from keras_gates.page.content import Layer
from keras_gates.page.overview import Overview

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

ROWS = 6
"""Rows of heat maps: as many as an LSTM beside a GRU needs."""
COLUMNS = 2
MASKED = "#b4b4b4"
INFINITE = "#d01c8b"
SPAN = "#111111"

# Wide enough for the same labels in every figure of a column: the time axes line up.
FRAME = {"min_border_left": 58, "min_border_right": 14, "toolbar_location": None}


def figures(layers: list[Layer], overviews: list[Overview]) -> dict[str, Figure]:
    """Returns every figure of the page by the name of its place."""
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
        found[f"input-{column}"] = _lines(f"input-{column}", time, height=110)
        _add_words(found[f"input-{column}"])
    for index, (layer, one) in enumerate(zip(layers, overviews, strict=True)):
        if one.saturation:
            found[f"saturation-{index}"] = _saturation(one)
        if one.timescale is not None and (one.timescale > 0).any():
            found[f"timescale-{index}"] = _timescale(layer, one.timescale)
    return found


def palettes() -> dict[str, list[str]]:
    """Returns the colours of gates and of states, those of every other figure too."""
    import matplotlib
    from matplotlib.colors import to_hex

    return {
        group: [to_hex(colour) for colour in matplotlib.colormaps[name](range(256))]
        for group, name in (("gates", canvas.GATE_MAP), ("states", canvas.STATE_MAP))
    }


def _new(**options: Any) -> Figure:
    from bokeh.plotting import figure

    options = {"sizing_mode": "stretch_width", "tools": "", **FRAME, **options}
    made = figure(**options)
    made.grid.visible = False
    made.outline_line_color = "#c4c9d0"
    made.axis.axis_line_color = None
    made.axis.minor_tick_line_color = None
    made.axis.major_tick_line_color = "#8a9099"
    made.axis.major_label_text_color = "#3b424b"
    made.axis.major_label_text_font_size = "11px"
    made.axis.axis_label_text_font_size = "12px"
    made.axis.axis_label_text_font_style = "normal"
    made.axis.axis_label_text_color = "#3b424b"
    return made


def _add_span(made: Figure, name: str) -> None:
    """Adds what shows the span, and the tool that chooses it by a drag."""
    from bokeh.models import BoxAnnotation, BoxSelectTool

    style = {"line_color": SPAN, "line_width": 1.5, "fill_alpha": 0.06}
    box = BoxAnnotation(name=f"{name}-span", visible=False, fill_color=SPAN, **style)
    made.add_layout(box)
    made.add_tools(BoxSelectTool(dimensions="width"))


def _heat_map(name: str, time: Any, units: Any) -> Figure:
    from bokeh.models import ColumnDataSource, LinearColorMapper

    made = _new(name=name, height=168, x_range=time, y_range=units, min_border_top=4)
    # NaN is grey, and what is infinite lies above every value.
    mapper = LinearColorMapper(
        palette=["#ffffff", "#000000"],
        low=0,
        high=1,
        nan_color=MASKED,
        high_color=INFINITE,
        name=f"{name}-colours",
    )
    image = np.zeros((1, 1), np.float32)
    place = {"x": [-0.5], "y": [-0.5], "dw": [1], "dh": [1]}
    source = ColumnDataSource({"image": [image], **place}, name=f"{name}-image")
    columns = {column: column for column in place}
    made.image("image", source=source, color_mapper=mapper, **columns)
    made.background_fill_color = "#f2f2f2"
    made.yaxis.axis_label = v.UNIT
    made.yaxis.name = f"{name}-units"
    made.yaxis.ticker.min_interval = made.xaxis.ticker.min_interval = 1
    _add_span(made, name)
    marks = ColumnDataSource({"x": [], "y": []}, name=f"{name}-marks")
    made.scatter(
        "x",
        "y",
        source=marks,
        marker="triangle",
        angle=-np.pi / 2,
        size=8,
        fill_color="#ffffff",
        line_color=SPAN,
    )
    return made


def _lines(name: str, time: Any, height: int) -> Figure:
    from bokeh.models import ColumnDataSource, Range1d

    values = Range1d(0, 1, name=f"{name}-values")
    made = _new(name=name, height=height, x_range=time, y_range=values)
    made.ygrid.visible = True
    made.ygrid.grid_line_color = "#e6e9ed"
    made.xaxis.ticker.min_interval = 1
    made.xaxis.axis_label = f"{v.TIME} (step)"
    source = ColumnDataSource({"x": [], "y": [], "colour": []}, name=f"{name}-lines")
    made.multi_line("x", "y", color="colour", source=source, line_width=1.6)
    _add_span(made, name)
    return made


def _add_words(made: Figure) -> None:
    """Adds the text of a token at each step."""
    from bokeh.models import ColumnDataSource

    source = ColumnDataSource(
        {"x": [], "text": [], "angle": []}, name=f"{made.name}-words"
    )
    made.text(
        "x",
        0.06,
        text="text",
        angle="angle",
        source=source,
        text_baseline="middle",
        text_font_size="12px",
        text_color="#1b1f24",
    )
    made.yaxis.name = f"{made.name}-axis"
    made.yaxis.ticker.desired_num_ticks = 4
    made.ygrid.visible = False


def _saturation(one: Overview) -> Figure:
    """Draws how often each unit's gates are shut and open, a dot for a unit."""
    from bokeh.models import ColumnDataSource, HoverTool

    made = _new(height=250, x_range=(-0.04, 1.04), y_range=(-0.04, 1.04))
    made.line([0, 1], [1, 0], color="#8a9099", line_dash="dashed")
    for gate, (left, right) in one.saturation.items():
        data = {"left": left, "right": right, "unit": np.arange(len(left))}
        dots = made.scatter(
            "left",
            "right",
            source=ColumnDataSource(data),
            size=7,
            alpha=0.65,
            color=canvas.SIGNAL_COLOURS[gate],
            legend_label=gate,
        )
        tips = [("unit", "@unit"), ("left", "@left{0.000}"), ("right", "@right{0.000}")]
        made.add_tools(HoverTool(renderers=[dots], tooltips=[("gate", gate), *tips]))
    made.xaxis.axis_label = "left: share of steps below 0.1"
    made.yaxis.axis_label = "right: share above 0.9"
    made.legend.location = "top_right"
    made.legend.label_text_font_size = "11px"
    made.legend.padding = made.legend.spacing = 3
    made.legend.border_line_color = None
    made.legend.background_fill_alpha = 0.7
    return made


def _timescale(layer: Layer, steps: np.ndarray) -> Figure:
    """Draws the time scales of the units, sorted, beside the length of the sequence."""
    from bokeh.models import ColumnDataSource, HoverTool

    units = np.argsort(steps, kind="stable")
    units = units[np.isfinite(steps[units]) & (steps[units] > 0)]
    length = layer.size(v.TIME)
    values = [*steps[units].tolist(), length]
    made = _new(
        height=250,
        y_axis_type="log",
        x_range=(-0.7, max(len(units), 1) - 0.3),
        y_range=(min(values) / 1.6, max(values) * 1.6),
    )
    colour = canvas.SIGNAL_COLOURS[layer.kind.keep]
    made.line([-0.7, len(units)], [length, length], color=SPAN, line_dash="dashed")
    data = {"rank": np.arange(len(units)), "steps": steps[units], "unit": units}
    source = ColumnDataSource(data)
    dots = made.scatter("rank", "steps", source=source, size=6, color=colour)
    tips = [("unit", "@unit"), ("time scale", "@steps{0.00} steps")]
    made.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    made.xaxis.axis_label = "units, sorted"
    made.yaxis.axis_label = "time scale (steps)"
    made.xaxis.ticker.min_interval = 1
    return made
