"""Properties of Matplotlib that a caller passes to a function of `plots`."""

import inspect
import types

import numpy as np
import pandas
import pytest
import xarray
from drawn import layer
from matplotlib.colors import LogNorm, to_hex

from keras_gates import plots
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM

pytestmark = pytest.mark.once

RED = "#ff0000"


def traced():
    return xarray.DataArray(
        np.random.default_rng(0).uniform(size=(3, 4, 5, 2)),
        dims=("step", "sample", "time", "unit"),
        name="forget",
    )


def statistics():
    counts = np.random.default_rng(0).integers(1, 50, (3, 1, 2, 5))
    return xarray.Dataset(
        {"histogram": (("step", "signal", "unit", "bin"), counts)},
        {"signal": ["update"], "epoch": ("step", [1, 2, 3])},
        {"cell_type": "GRU"},
    )


def importances():
    row = ("lstm", "forget", "unit", (0,), 1.0, 0.5, 1.5)
    names = ["layer", "signal", "group", "units", "change", "change_low", "change_high"]
    return pandas.DataFrame([row], columns=names)


def measured_reach():
    data = {"retention": (("time", "lag"), [[1.0, 0.5, 0.25]])}
    data |= {name: ("time", [1.4]) for name in ("reach", "reach_low", "reach_high")}
    coordinates = {"time": [3], "lag": [0, 1, 2]}
    return xarray.Dataset(data, coordinates, {"cell_type": "LSTM"})


def study():
    losses = np.random.default_rng(0).uniform(size=(2, 3, 4))
    names = {"architecture": ["LSTM", "GRU"], "seed": [0, 1, 2], "epoch": range(4)}
    history = xarray.Dataset({"val_loss": (tuple(names), losses)}, names)
    pair = types.SimpleNamespace(
        a="LSTM", b="GRU", mean=0.1, low=0.0, high=0.2, pairs=[0.1], significant=False
    )
    return types.SimpleNamespace(history=history, difference=lambda *_: pair)


def flows():
    return xarray.DataArray([1.0, 0.5], {"lag": [0, 1]}, ("lag",))


# Two seeds, so that there is a band.
PREDICTED = xarray.DataArray(
    [[[0.1, 0.9], [0.2, 0.7]]],
    {"architecture": ["LSTM"]},
    ("architecture", "seed", "sample"),
)

# The call, and what is drawn with the properties.
CURVES = {
    "trajectories": lambda **look: (
        plots.trajectories(layer(GRU), units=0, **look).axes[0].lines[0]
    ),
    "evolution": lambda **look: plots.evolution(traced(), **look).lines[0],
    "timescale": lambda **look: plots.timescale(layer(GRU), **look).lines[1],
    "memory_horizon": lambda **look: plots.memory_horizon(layer(GRU), **look).lines[1],
    "reach": lambda **look: plots.reach(measured_reach(), **look).axes[0].lines[0],
    "gradient_flow": lambda **look: plots.gradient_flow(flows(), **look).lines[0],
    "study": lambda **look: plots.study(study(), **look).lines[0],
    "differences": lambda **look: plots.differences(study(), **look).lines[2],
    "predictions": lambda **look: plots.predictions([0, 1], PREDICTED, **look).lines[1],
}
OTHERS = {
    "heatmap": lambda **look: plots.heatmap(layer(LSTM), **look),
    "compare_layers": lambda **look: plots.compare_layers(
        layer(LSTM), layer(GRU), **look
    ),
    "text": lambda **look: plots.text(layer(LSTM), "abcdef", unit=0, **look),
    "saturation": lambda **look: plots.saturation(layer(GRU), **look),
    "ridges": lambda **look: plots.ridges(statistics(), gate="update", **look),
    "importance": lambda **look: plots.importance(importances(), **look),
}


def test_every_function_takes_properties():
    assert set(CURVES) | set(OTHERS) == set(plots.__all__)
    for name in plots.__all__:
        (last,) = list(inspect.signature(getattr(plots, name)).parameters.values())[-1:]
        assert last.kind is inspect.Parameter.VAR_KEYWORD, name


@pytest.mark.parametrize("draw", CURVES.values(), ids=CURVES)
def test_curves_have_the_properties_that_are_passed(draw):
    line = draw(lw=4.5, c=RED, marker="s", label="mine", alpha=0.4)
    assert line.get_linewidth() == 4.5 and line.get_marker() == "s"
    assert to_hex(line.get_color()) == RED and line.get_alpha() == 0.4
    plain = draw()
    assert plain.get_linewidth() != 4.5 and to_hex(plain.get_color()) != RED


@pytest.mark.parametrize("name", ["evolution", "study", "predictions"])
def test_a_band_has_the_colour_of_its_line(name):
    band = CURVES[name](color=RED).axes.collections[0]
    assert to_hex(band.get_facecolor()[0]) == RED
    assert to_hex(CURVES[name]().axes.collections[0].get_facecolor()[0]) != RED


@pytest.mark.parametrize("name", ["heatmap", "compare_layers"])
def test_heat_maps_have_the_properties_that_are_passed(name):
    figure = OTHERS[name](cmap="magma", vmin=-2, vmax=3)
    images = [image for axes in figure.axes for image in axes.images]
    assert images and {image.get_cmap().name for image in images} == {"magma"}
    assert {image.get_clim() for image in images} == {(-2, 3)}
    normed = OTHERS[name](norm=LogNorm(0.01, 1)).axes[0].images[0]
    assert isinstance(normed.norm, LogNorm)
    with pytest.raises(ValueError, match="norm"):  # Matplotlib's own error.
        OTHERS[name](norm=LogNorm(0.01, 1), vmin=0.5)


def test_letters_dots_ridges_and_bars_have_them():
    letters = OTHERS["text"](family="serif", size=5, weight="bold").axes[0].texts
    assert {letter.get_fontsize() for letter in letters} == {5}
    assert {letter.get_fontfamily()[0] for letter in letters} == {"serif"}
    for dots in OTHERS["saturation"](s=90, marker="x", color=RED).collections:
        assert dots.get_sizes() == [90] and to_hex(dots.get_edgecolor()[0]) == RED
    for ridge in OTHERS["ridges"](fc=RED, lw=3).patches:
        assert to_hex(ridge.get_facecolor()) == RED and ridge.get_linewidth() == 3
    for bar in OTHERS["importance"](color=RED, height=0.2).patches:
        assert to_hex(bar.get_facecolor()) == RED and bar.get_height() == 0.2


@pytest.mark.parametrize("draw", [*CURVES.values(), *OTHERS.values()])
def test_what_is_no_property_is_answered(draw):
    sentence = r"has no argument `thickness`\. It has .*(`ax`|`fig`)"
    with pytest.raises(TypeError, match=sentence):
        draw(thickness=2)
