"""Pictures of units, of gates over training and of texts, by what is drawn on them."""

import pickle

import numpy as np
import pytest
import xarray
from drawn import assert_legible, layer, words
from matplotlib import pyplot
from matplotlib.colors import to_hex

from keras_gates import plots, stats
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.cells.kinds.simple_rnn import SIMPLE_RNN
from keras_gates.trees import appearance, tree
from keras_gates.trees.notebook import strip
from keras_gates.vocabulary import KEEP_CONVENTION

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("no_global_state")]


def statistics(steps=4, bins=5):
    """A recorder's statistics of a GRU, with other counts in every place."""
    shape = (steps, 3, 2, bins)
    counts = np.random.default_rng(0).integers(0, 50, shape).astype(float)
    counts[:, 2] = np.nan  # A candidate has no histogram.
    return xarray.Dataset(
        {"histogram": (("step", "signal", "unit", "bin"), counts)},
        coords={
            "signal": ["update", "reset", "candidate"],
            "bin": (np.arange(bins) + 0.5) / bins,
            "epoch": ("step", 1 + np.arange(steps)),
        },
        attrs={"cell_type": "GRU", "layer": "gru"},
    )


def said(figure):
    return " ".join(words(figure)).replace("\n", " ")


def ridge(patch):
    """The heights of a ridge over its own line."""
    values, _, baseline = patch.get_data()
    return baseline - values


# A dot for each unit


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_saturation_draws_the_fractions_that_stats_returns(kind):
    node = layer(kind, steps=30, units=7, masked=3)
    axes = plots.saturation(node)
    sides = stats.saturation(node)
    assert len(axes.collections) == len(kind.gates)
    for dots, gate in zip(axes.collections, kind.gates, strict=True):
        left, right = dots.get_offsets().data.T
        np.testing.assert_allclose(left, sides[gate].sel(side="left"))
        np.testing.assert_allclose(right, sides[gate].sel(side="right"))
        assert to_hex(dots.get_facecolor()[0]) == appearance.colour_of(gate).lower()
    diagonal = axes.lines[0].get_xydata()
    assert (diagonal.sum(axis=1) == 1).all()
    assert KEEP_CONVENTION in said(axes.figure)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_time_scales_and_horizons_are_sorted_and_drawn_with_the_length(kind):
    node = layer(kind, steps=30, units=7, masked=3)
    scale = stats.timescale(node)[kind.keep].values
    horizon = stats.memory_horizon(node)["memory_horizon"].values
    for draw, values in ((plots.timescale, scale), (plots.memory_horizon, horizon)):
        axes = draw(node)
        length, dots = axes.lines
        assert set(length.get_ydata()) == {27}  # Three are masked.
        np.testing.assert_allclose(dots.get_ydata(), np.sort(values))
        assert dots.get_color() == appearance.colour_of(kind.keep)
        assert "sequence length, 27 steps" in said(axes.figure)
        assert axes.get_yscale() in ("log", "symlog")


def test_units_without_a_time_scale_and_with_an_infinite_one_are_counted():
    node = layer(GRU, units=4)
    node["update"][..., 0] = 1
    node["update"][..., 3] = -0.5
    node["update"][0, 0, 2] = 0  # Gone at once.
    axes = plots.timescale(node)
    _, dots, endless = axes.lines
    assert len(dots.get_ydata()) == 1
    assert endless.get_label() == "infinite: 1 of 4 units"
    assert endless.get_ydata() > 6
    assert axes.get_xlabel() == "unit, sorted (2 without a value)"


def test_a_layer_whose_steps_are_all_masked_is_an_empty_picture():
    node = layer(LSTM, masked=6)
    assert plots.timescale(node).get_xlabel().endswith("(4 without a value)")
    assert plots.memory_horizon(node).lines[1].get_ydata().size == 0
    plots.saturation(node).figure.draw_without_rendering()


def test_a_dot_needs_its_gates_and_one_moment():
    node = layer(LSTM)
    for draw in (plots.saturation, plots.timescale, plots.memory_horizon):
        with pytest.raises(ValueError, match="of one moment; it has 2 steps"):
            draw(node.expand_dims(step=2))
        with pytest.raises(TypeError, match="`layer` must be one layer"):
            draw(node["forget"])
    with pytest.raises(ValueError, match="'lstm' lacks 'forget'. Name them in `capt"):
        plots.timescale(node[["input"]])
    with pytest.raises(ValueError, match="lacks 'input'"):
        plots.memory_horizon(node[["forget"]])
    with pytest.raises(ValueError, match="at least one of 'input'"):
        plots.saturation(node[["cell"]])


# Ridges


def test_a_ridge_is_the_distribution_of_a_gate_at_a_step():
    node = statistics()
    axes = plots.ridges(node, gate="reset")
    counts = node["histogram"].sel(signal="reset").sum("unit").values
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert len(axes.patches) == 4
    for row, patch in enumerate(axes.patches):
        values, edges, baseline = patch.get_data()
        assert np.all(baseline == row)
        np.testing.assert_allclose(edges, [0, 0.2, 0.4, 0.6, 0.8, 1])
        ratio = ridge(patch) / shares[row]
        np.testing.assert_allclose(ratio, ratio[0])
        assert to_hex(patch.get_facecolor()) == appearance.colour_of("reset").lower()
    top, bottom = axes.get_ylim()[::-1]
    assert top < bottom  # Time runs downwards.
    assert [label.get_text() for label in axes.get_yticklabels()] == list("1234")
    with_update = plots.ridges(node, gate="update")
    assert KEEP_CONVENTION in with_update.get_xlabel()


def test_of_a_long_training_some_ridges_are_drawn():
    node = statistics(steps=100)
    axes = plots.ridges(node, gate="update")
    assert len(axes.patches) == 20  # Every fifth.
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:3] == ["5", "15", "25"]
    last = node["histogram"].sel(signal="update").sum("unit").values[-1]
    np.testing.assert_allclose(
        ridge(axes.patches[-1]) / ridge(axes.patches[-1]).sum(), last / last.sum()
    )
    node["histogram"][:] = 0
    assert len(plots.ridges(node, gate="update").patches) == 20


def test_ridges_need_a_recorder_and_a_gate():
    with pytest.raises(ValueError, match=r"such as `recorder.statistics\['lstm'\]`"):
        plots.ridges(layer(GRU), gate="update")
    for gate in ("forget", "candidate"):
        with pytest.raises(ValueError, match=f"'update', 'reset'; got '{gate}'"):
            plots.ridges(statistics(), gate=gate)


# Trajectories


def test_trajectories_are_those_of_the_units_over_what_was_read():
    node = layer(LSTM, steps=12, masked=2)
    read = np.arange(12.0)
    figure = plots.trajectories(
        node, units=[3, 1], signal="cell", sample=2, inputs=read
    )
    above, below = figure.axes
    drawn = above.lines[0].get_ydata()
    assert np.isnan(drawn[:2]).all()
    np.testing.assert_array_equal(drawn[2:], read[2:])
    for line, unit in zip(below.lines, (3, 1), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), node["cell"][2, :, unit])
        assert line.get_label() == f"unit {unit}"
    assert below.lines[0].get_color() != below.lines[1].get_color()
    for axes in (above, below):  # Masked: the first two steps.
        (span,) = axes.patches
        assert span.get_x() == -0.5 and span.get_width() == 2
    assert above.get_shared_x_axes().joined(above, below)


def test_a_gate_has_its_scale_and_the_keep_convention():
    figure = plots.trajectories(layer(GRU), units=0, signal="update")
    (axes,) = figure.axes
    assert axes.get_ylim() == (-0.02, 1.02)
    assert KEEP_CONVENTION in axes.get_ylabel()


def test_trajectories_say_what_does_not_fit():
    node = layer(LSTM)
    for units in ([], list(range(4)) * 4):
        with pytest.raises(ValueError, match="from 1 to 15 labels; got (0|16)"):
            plots.trajectories(node, units=units)
    for units in ([0, 4], -1):
        with pytest.raises(IndexError, match="`units` must be from 0 to 3; got"):
            plots.trajectories(node, units=units)
    for units in (1.5, "0"):
        with pytest.raises(TypeError, match="`units` must be a whole number; got"):
            plots.trajectories(node, units=units)
    with pytest.raises(ValueError, match=r"with 6 steps; got \(5,\)"):
        plots.trajectories(node, units=0, inputs=np.ones(5))
    with pytest.raises(ValueError, match="is an LSTM, which has no 'update'"):
        plots.trajectories(node, units=0, signal="update")
    with pytest.raises(IndexError, match="from 0 to 2"):
        plots.trajectories(node, units=0, sample=3)


# Texts


def grounds(figure):
    return [to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches]


@pytest.mark.parametrize(
    ("signal", "name", "low", "high"),
    [("forget", "viridis", 0, 1), ("cell", "RdBu_r", None, None)],
)
def test_each_character_has_the_colour_of_its_step(signal, name, low, high):
    node = layer(LSTM, steps=9)
    figure = plots.text(node, "ab\tc d\ne$", unit=2, signal=signal, sample=1)
    values = node[signal].values[1, :, 2]
    high = high or np.abs(values).max()
    low = -high if low is None else low
    scale = pyplot.Normalize(low, high)
    expected = [to_hex(colour) for colour in pyplot.get_cmap(name)(scale(values))]
    assert grounds(figure) == expected
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == list("ab→c d↵e$")
    corners = [patch.get_xy() for patch in axes.patches]
    assert corners[:7] == [(column, -0.5) for column in range(7)]
    assert corners[7:] == [(0, 0.5), (1, 0.5)]  # The line feed ended the line.
    assert "unit 2 in 'lstm' (LSTM), sample 1" in said(figure)


def test_words_are_set_apart_and_lines_end_between_them():
    node = layer(GRU, steps=30)
    tokens = ["several"] * 29 + ["x" * 90]
    axes = plots.text(node, tokens, unit=0).axes[0]
    columns = [patch.get_x() for patch in axes.patches]
    lines = [patch.get_y() + 0.5 for patch in axes.patches]
    assert columns[:10] == [8 * n for n in range(10)] and lines[:11] == [0] * 10 + [1]
    assert axes.patches[-1].get_width() == 90 and axes.get_xlim() == (0, 90)


def test_padded_tokens_may_be_left_out_and_masked_ones_are_grey():
    node = layer(LSTM, steps=6, masked=2)
    whole = plots.text(node, "..abcd", unit=1)
    real = plots.text(node, "abcd", unit=1)
    assert grounds(whole)[:2] == [to_hex("0.93")] * 2
    assert grounds(whole)[2:] == grounds(real)
    assert 'title="step 2: ' in real._repr_html_()  # The step, not the token.
    assert 'title="step 0: ' not in real._repr_html_()


def test_a_notebook_shows_a_text_with_the_value_of_each_token():
    node = layer(LSTM, steps=5)
    node["hidden"][0, 3, 1] = np.nan
    tokens = ["<b>", "&", "two\n", "x", "y"]
    shown = plots.text(node, tokens, unit=1)._repr_html_()
    assert "<b>" not in shown and "&lt;b&gt;" in shown and "&amp;" in shown
    assert "two↵\n" in shown
    for step in (0, 1, 2, 4):
        value = node["hidden"].values[0, step, 1]
        assert f'title="step {step}: {value:.4f}"' in shown
    assert 'title="step 3: no value"' in shown
    assert "hidden state of unit 1 in &#x27;lstm&#x27;" in shown


def test_texts_that_do_not_fit_are_refused():
    node = layer(LSTM, masked=2)
    with pytest.raises(ValueError, match="the 6 steps .* its 4 unmasked steps; got 5"):
        plots.text(node, "abcde", unit=0)
    with pytest.raises(TypeError, match="one for each step; got an int"):
        plots.text(node, [1, 2, 3, 4], unit=0)
    with pytest.raises(TypeError, match="`tokens` must be a string"):
        plots.text(node, 7, unit=0)
    with pytest.raises(IndexError, match="`unit` must be from 0 to 3; got 4"):
        plots.text(node, "abcd", unit=4)


# What a notebook shows of a tree


def test_a_notebook_shows_a_small_picture_of_each_layer():
    hostile = layer(LSTM, layer="<script>alert(1)</script>")
    grown = tree.grow({"lstm": hostile, "gru": layer(GRU)}, {"model": "m"})
    assert isinstance(grown, xarray.DataTree)
    shown = grown._repr_html_()
    assert shown.count("<img") == 2 and "xarray.DataTree" in shown
    assert "<script>" not in shown
    assert grown["gru"]._repr_html_().count("<img") == 1
    assert repr(grown).startswith("<xarray.DataTree>")
    copied = pickle.loads(pickle.dumps(grown))
    assert copied.identical(grown) and copied._repr_html_().count("<img") == 2


def test_what_is_no_capture_is_shown_as_xarray_shows_it():
    means = layer(LSTM).mean("sample", keep_attrs=True)
    for node in (means, statistics(), layer(LSTM).isel(sample=slice(0))):
        assert "<img" not in tree.grow({"a": node}, {})._repr_html_()
    moving = xarray.concat([layer(LSTM)] * 2, "step", data_vars="all")
    assert "<img" in tree.grow({"a": moving}, {})._repr_html_()
    many = {f"layer_{n}": layer(GRU) for n in range(8)}
    shown = tree.grow(many, {})._repr_html_()
    assert shown.count("<img") == 6 and "and 2 more layers" in shown


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_the_small_picture_says_what_a_gate_of_one_does(kind):
    figure = strip(layer(kind))
    assert KEEP_CONVENTION in said(figure)
    assert len(figure.axes) == len(kind.signals)


FIGURES = {
    "saturation": lambda: plots.saturation(layer(LSTM)).figure,
    "timescales": lambda: plots.timescale(layer(GRU)).figure,
    "horizon": lambda: plots.memory_horizon(layer(LSTM)).figure,
    "ridges": lambda: plots.ridges(statistics(40), gate="update").figure,
    "trajectories": lambda: plots.trajectories(
        layer(GRU, masked=1), units=range(4), signal="update", inputs=np.ones(6)
    ),
    "text": lambda: plots.text(layer(LSTM, steps=200), "text " * 40, unit=0),
    "strip": lambda: strip(layer(LSTM)),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_every_picture_is_legible_at_the_width_of_a_page(draw):
    assert_legible(draw())
    pickle.loads(pickle.dumps(draw()))


def draw_every_picture(node):
    for figure in (
        plots.heatmap(node),
        plots.saturation(node).figure,
        plots.timescale(node).figure,
        plots.memory_horizon(node).figure,
        plots.trajectories(node, units=[0, 1], inputs=[1.0] * node.sizes["time"]),
        plots.text(node, "x" * node.sizes["time"], unit=1),
    ):
        figure.draw_without_rendering()


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_one_step_of_one_sample_is_drawn(kind):
    draw_every_picture(layer(kind, steps=1).isel(sample=[0]))


@pytest.mark.parametrize("kind", [LSTM, GRU])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_numbers_that_are_none_are_drawn(kind, value):
    broken = layer(kind).drop_vars("mask").copy(deep=True)
    for signal in kind.signals:
        broken[signal][0, 2, 1] = value
    draw_every_picture(broken)
    scale = stats.timescale(broken)[kind.keep].values
    finite = np.sort(scale[np.isfinite(scale) & (scale > 0)])
    np.testing.assert_allclose(
        plots.timescale(broken).lines[1].get_ydata(), finite, rtol=1e-6
    )


DRAWN = {
    "saturation": lambda node: plots.saturation(node[["reset"]]).figure,
    "timescales": lambda node: plots.timescale(node).figure,
    "horizon": lambda node: plots.memory_horizon(node).figure,
    "ridges": lambda node: plots.ridges(statistics(), gate="reset").figure,
    "trajectories": lambda node: plots.trajectories(node, units=0),
    "text": lambda node: plots.text(node, "abcdef", unit=0),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_every_picture_of_a_gru_says_what_an_update_of_one_does(draw):
    figure = draw(layer(GRU))
    assert said(figure).count(KEEP_CONVENTION) == 1
    shown = figure._repr_html_()
    assert shown is None or KEEP_CONVENTION in shown


# A layer without gates


def test_a_layer_without_gates_is_drawn_by_its_hidden_state():
    node = layer(SIMPLE_RNN, steps=8, units=3)
    title = "(SimpleRNN), sample 0"
    for figure in (
        plots.heatmap(node),
        plots.trajectories(node, units=[0, 1]),
        plots.text(node, "abcdefgh", unit=0),
    ):
        assert title in said(figure) and "hidden state" in said(figure)
        assert "None" not in said(figure)
        assert_legible(figure)


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (
            plots.saturation,
            "`layer` must have gates; .* is a SimpleRNN, which has none.",
        ),
        (plots.timescale, "keeps the old state; .* is a SimpleRNN, which has none"),
        (
            plots.memory_horizon,
            "keeps the old state; .* is a SimpleRNN, which has none",
        ),
        (
            lambda node: plots.trajectories(node, units=0, signal="cell"),
            "is a SimpleRNN, which has no 'cell'",
        ),
        (
            lambda node: plots.text(node, "abcdefgh", unit=0, signal="forget"),
            "is a SimpleRNN, which has no 'forget'",
        ),
        (
            lambda node: plots.compare_layers(node, layer(GRU, steps=8)),
            "`lstm` must be one layer of kind LSTM; got the SimpleRNN layer",
        ),
        (
            lambda node: plots.ridges(counts_of_no_gate(), gate="hidden"),
            "`layer` must hold the statistics of a gate; .*, a SimpleRNN, has none",
        ),
    ],
)
def test_figures_of_gates_say_that_a_layer_has_none(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(layer(SIMPLE_RNN, steps=8, units=3))


def counts_of_no_gate():
    nothing = np.full((2, 1, 3, 5), np.nan)
    return xarray.Dataset(
        {"histogram": (("step", "signal", "unit", "bin"), nothing)},
        coords={"signal": ["hidden"]},
        attrs={"cell_type": "SimpleRNN", "layer": "rnn"},
    )


def test_a_gate_that_was_not_captured_is_named_by_the_figure():
    hidden = layer(GRU, steps=8)[["hidden"]]
    with pytest.raises(ValueError, match="at least one of 'update', 'reset'; 'gru'"):
        plots.saturation(hidden)
