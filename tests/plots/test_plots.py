"""Figures, tested by what is drawn on their Axes."""

import io
import pickle
import types

import numpy as np
import pytest
import xarray
from drawn import DIMENSIONS, assert_legible, layer, words
from matplotlib.figure import Figure
from small_studies import study_of

from keras_gates import plots, stats
from keras_gates.cells import registry
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.plots import (
    canvas,
    heatmaps,
    study_plots,
    training_curves,
    unit_curves,
)
from keras_gates.trees import appearance
from keras_gates.vocabulary import KEEP_CONVENTION

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("no_global_state")]

WRITTEN = "GRU: 1 − update (share written)"


def trace(name="forget", steps=4):
    """A signal over training, some steps masked; its epochs are not the steps."""
    values = np.random.default_rng(3).random((steps, 3, 5, 4), "float32")
    values[:, 0, :2] = np.nan
    return xarray.DataArray(
        values,
        dims=("step", *DIMENSIONS),
        coords={"epoch": ("step", np.arange(steps) * 2)},
        name=name,
        attrs={"long_name": registry.long_names()[name]},
    )


def a_study(seeds=3, architectures=("LSTM", "GRU", "mine")):
    shape = (len(architectures), seeds, 5)
    values = np.random.default_rng(5).uniform(0.5, 1, shape)
    dims = ("architecture", "seed", "epoch")
    coordinates = {"architecture": list(architectures), "epoch": np.arange(1, 6)}
    history = xarray.Dataset({"val_loss": (dims, values), "loss": (dims, values + 1)})
    return types.SimpleNamespace(history=history.assign_coords(coordinates))


def panels(figure):
    """The Axes that hold a heat map, by title, as they stand: by column, then down."""
    figure.draw_without_rendering()
    found = [axes for axes in figure.axes if axes.images]
    found.sort(key=lambda axes: (round(axes.get_position().x0, 2), -axes.bbox.y0))
    return {axes.get_title(): axes for axes in found}


def drawn(axes):
    """What a heat map shows, NaN where it is masked."""
    return np.ma.filled(axes.images[0].get_array(), np.nan)


def band(collection):
    """Where `fill_between` drew, and its lower and upper edge there."""
    vertices = np.concatenate([path.vertices for path in collection.get_paths()])
    at = np.unique(vertices[:, 0])
    edges = [vertices[vertices[:, 0] == x, 1] for x in at]
    return at, [edge.min() for edge in edges], [edge.max() for edge in edges]


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_each_panel_shows_its_signal_with_time_across_and_unit_up(kind):
    node = layer(kind, masked=2)
    shown = panels(plots.heatmap(node, sample=1))
    order = [*kind.gates, *(name for name in kind.signals if name not in kind.gates)]
    assert list(shown) == [registry.long_names()[name] for name in order]
    for name in kind.signals:
        axes = shown[registry.long_names()[name]]
        np.testing.assert_array_equal(drawn(axes), node[name].values[1].T)
        # The first step is on the left, the first unit at the bottom.
        assert axes.images[0].origin == "lower"
        assert axes.get_xlim() == (-0.5, 5.5)
        assert axes.get_ylim() == (-0.5, 3.5)
        assert axes.get_ylabel() == "unit"
    lowest = [
        shown[registry.long_names()[name]] for name in (kind.gates[-1], kind.states[-1])
    ]
    assert [axes.get_xlabel() for axes in lowest] == ["time (step)"] * 2


def test_gates_share_one_scale_and_states_are_centred_on_zero():
    node = layer(LSTM)
    figure = plots.heatmap(node, sample=2)
    shown = panels(figure)
    for name in LSTM.signals:
        image = shown[registry.long_names()[name]].images[0]
        if name in LSTM.gates:
            assert image.get_clim() == (0, 1)
            assert image.get_cmap().name == appearance.GATE_MAP
        else:
            limit = float(np.abs(node[name][2]).max())
            assert image.get_clim() == (-limit, limit)
            assert image.get_cmap().name == appearance.STATE_MAP
    labels = [axes.get_ylabel() for axes in figure.axes if not axes.images]
    assert sorted(labels) == sorted(
        [appearance.GATE_LABEL, "candidate", "cell state", "hidden state"]
    )


def test_the_title_names_layer_kind_sample_and_direction():
    node = layer(LSTM, layer="bidirectional/backward_lstm", direction="backward")
    title = plots.heatmap(node, sample=2).get_suptitle()
    assert title == (
        "'bidirectional/backward_lstm' (LSTM), sample 2\n"
        "read backward, drawn in the order of the input"
    )


@pytest.mark.parametrize("signals", [None, ["reset"], ["hidden"]])
def test_every_picture_of_a_gru_says_what_an_update_of_one_does(signals):
    figure = plots.heatmap(layer(GRU), signals=signals)
    assert " ".join(words(figure)).count(KEEP_CONVENTION) == 1
    assert KEEP_CONVENTION not in plots.heatmap(layer(LSTM)).get_suptitle()


def test_only_the_signals_that_were_asked_for_are_drawn():
    figure = plots.heatmap(layer(LSTM), signals=["cell", "output"])
    assert list(panels(figure)) == ["output gate", "cell state"]


def test_where_a_column_is_shorter_its_last_panel_has_the_time_axis():
    figure = plots.heatmap(layer(LSTM), signals=["input", "cell", "hidden"])
    shown = panels(figure)
    for title in ("input gate", "hidden state"):
        assert shown[title].get_xlabel() == "time (step)"
        assert any(label.get_text() for label in shown[title].get_xticklabels())
    assert not any(label.get_text() for label in shown["cell state"].get_xticklabels())


def test_masked_steps_are_hatched_and_a_note_says_so():
    note = "masked step: no value"
    figure = plots.heatmap(layer(GRU, masked=2))
    assert note in words(figure)
    assert all(axes.patch.get_hatch() for axes in panels(figure).values())
    assert note not in words(plots.heatmap(layer(GRU)))


def test_a_signal_of_zeros_or_of_masked_steps_only_can_be_drawn():
    node = layer(GRU, masked=6)
    node["hidden"] = node["hidden"].fillna(0)
    shown = panels(plots.heatmap(node))
    assert np.isnan(drawn(shown["candidate"])).all()
    assert shown["hidden state"].images[0].get_clim() == (-1, 1)


def test_ticks_are_whole_numbers_also_for_one_unit_and_one_step():
    shown = panels(plots.heatmap(layer(LSTM, steps=1, units=1)))
    for axes in shown.values():
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, (-0.5, 0.5))):
            ticks = [x for x in axis.get_ticklocs() if limits[0] <= x <= limits[1]]
            assert ticks == [0]


def test_more_cells_than_dots_are_averaged_and_fewer_are_drawn_sharp():
    def interpolation(steps):
        figure = plots.heatmap(layer(LSTM, steps=steps, signals=["input"]))
        return figure.axes[0].images[0].get_interpolation()

    assert interpolation(50) == "nearest"
    assert interpolation(2000) != "nearest"


def test_a_node_of_a_tree_and_its_dataset_are_drawn_alike():
    tree = xarray.DataTree.from_dict({"encoder/lstm": layer(LSTM)})
    shown = [
        panels(plots.heatmap(node))["cell state"]
        for node in (tree["encoder/lstm"], tree["encoder/lstm"].to_dataset())
    ]
    np.testing.assert_array_equal(drawn(shown[0]), drawn(shown[1]))


def test_only_the_sample_that_is_drawn_is_read():
    array = pytest.importorskip("dask.array")

    def read(block, block_info=None):
        if block_info and block_info[0]["chunk-location"][0] != 1:
            raise AssertionError("another sample was read")
        return block

    values = array.zeros((3, 6, 4), chunks=(1, 6, 4), dtype="float32")
    lazy = values.map_blocks(read, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    node = xarray.Dataset({"update": (DIMENSIONS, lazy)}, attrs={"cell_type": "GRU"})
    plots.heatmap(node, sample=1)


def test_a_pair_puts_side_by_side_what_does_the_same_work():
    lstm, gru = layer(LSTM), layer(GRU, units=5)
    figure = plots.compare_layers(lstm, gru, sample=1)
    shown = panels(figure)
    expected = {
        "LSTM: forget gate (1 keeps the old state)": lstm["forget"],
        "GRU: update gate (1 keeps the old state)": gru["update"],
        "LSTM: input gate (share written)": lstm["input"],
        WRITTEN: 1 - gru["update"],
        "LSTM: output gate (no counterpart)": lstm["output"],
        "GRU: reset gate (no counterpart)": gru["reset"],
        "LSTM: candidate": lstm["candidate"],
        "GRU: candidate": gru["candidate"],
        "LSTM: cell state (no counterpart)": lstm["cell"],
        "LSTM: hidden state": lstm["hidden"],
        "GRU: hidden state": gru["hidden"],
    }
    assert set(shown) == set(expected)
    for title, values in expected.items():
        np.testing.assert_array_equal(drawn(shown[title]), values.values[1].T)
    titles = list(expected)
    cell = titles.index("LSTM: cell state (no counterpart)")
    pairs = titles[:cell] + titles[cell + 1 :]
    for left, right in zip(pairs[::2], pairs[1::2], strict=True):
        boxes = [shown[title].get_position() for title in (left, right)]
        assert boxes[0].y0 == pytest.approx(boxes[1].y0)
        assert boxes[0].x1 < boxes[1].x0
    assert any("A GRU has no cell state" in text for text in words(figure))


def test_the_two_sides_of_a_pair_share_their_scales():
    lstm, gru = layer(LSTM), layer(GRU, units=5)
    gru["hidden"] = gru["hidden"] * 10
    shown = panels(plots.compare_layers(lstm, gru))
    limit = float(np.abs(gru["hidden"][0]).max())
    for side in ("LSTM", "GRU"):
        assert shown[f"{side}: hidden state"].images[0].get_clim() == (-limit, limit)
    assert shown[WRITTEN].images[0].get_clim() == (0, 1)


def test_a_pair_says_what_was_not_captured():
    lstm = layer(LSTM, signals=["forget", "hidden"])
    figure = plots.compare_layers(lstm, layer(GRU, signals=["update"]))
    assert list(panels(figure)) == [
        "LSTM: forget gate (1 keeps the old state)",
        "LSTM: hidden state",
        "GRU: update gate (1 keeps the old state)",
    ]
    assert "hidden was not captured" in words(figure)
    assert "forget and update: 1 keeps the old state" in figure.get_suptitle()


def test_a_pair_of_the_wrong_layers_is_refused():
    lstm, gru = layer(LSTM), layer(GRU)
    with pytest.raises(
        ValueError, match="`lstm` must .* LSTM; got the GRU layer 'gru'"
    ):
        plots.compare_layers(gru, lstm)
    with pytest.raises(ValueError, match="`gru` must .* kind GRU; got the LSTM"):
        plots.compare_layers(lstm, lstm)
    with pytest.raises(ValueError, match="same input; got 6 and 7 time steps"):
        plots.compare_layers(lstm, layer(GRU, steps=7))


def test_what_cannot_be_drawn_is_refused_with_a_way_out():
    node = layer(LSTM)
    with pytest.raises(ValueError, match="'lstm': 'input', .* got 'update'"):
        plots.heatmap(node, signals=["forget", "update"])
    with pytest.raises(ValueError, match="`signals` is empty"):
        plots.heatmap(node, signals=[])
    for sample in (3, -1):
        with pytest.raises(IndexError, match=f"from 0 to 2: 'lstm' .* got {sample}"):
            plots.heatmap(node, sample=sample)
    for dim in ("frame", "step"):
        with pytest.raises(ValueError, match=rf"`{dim}`.*`\.isel\({dim}=0\)`"):
            plots.heatmap(node.expand_dims(dim))
    with pytest.raises(ValueError, match=r"must have .*; it lacks 'sample'"):
        plots.heatmap(node.isel(sample=0))
    with pytest.raises(TypeError, match=r"one layer, .*\['lstm'\]`; got a DataArray"):
        plots.heatmap(node["forget"])
    tree = xarray.DataTree.from_dict({"encoder/lstm": node})
    with pytest.raises(ValueError, match="Choose a layer below it: 'encoder/lstm'"):
        plots.heatmap(tree)


def test_a_figure_that_is_given_is_drawn_on():
    figure = Figure(figsize=(14, 6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plots.heatmap(layer(LSTM, masked=1), fig=left) is left
    assert plots.compare_layers(layer(LSTM), layer(GRU), fig=right) is right
    figure.draw_without_rendering()
    assert sum(bool(axes.images) for axes in left.axes) == 6


def test_evolution_draws_the_quantiles_of_each_step():
    gate = trace()
    axes = plots.evolution(gate)
    assert axes.get_xlabel() == "finished epochs"
    assert axes.get_ylabel() == appearance.GATE_LABEL and axes.get_ylim() == (0, 1)
    flat = gate.values.reshape(4, -1)
    low, lower, median, upper, high = np.nanquantile(
        flat, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1
    )
    (line,) = axes.lines
    assert line.get_label() == "forget gate (1 keeps the old state), median"
    assert line.get_color() == appearance.colour_of("forget")
    np.testing.assert_array_equal(line.get_xdata(), [0, 2, 4, 6])
    np.testing.assert_allclose(line.get_ydata(), median, rtol=1e-6)
    edges = ((lower, upper), (low, high))
    for collection, (bottom, top) in zip(axes.collections, edges, strict=True):
        at, *found = band(collection)
        np.testing.assert_array_equal(at, [0, 2, 4, 6])
        np.testing.assert_allclose(found, [bottom, top], rtol=1e-6)
    labels = [collection.get_label() for collection in axes.collections]
    assert labels == ["25–75 %", "5–95 %"]


def test_evolution_of_a_state_is_not_held_to_the_scale_of_a_gate():
    cell = trace("cell") * 100 - 50
    axes = plots.evolution(cell.rename("cell").drop_vars("epoch"))
    low, high = axes.get_ylim()
    assert low < -10 and high > 10
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recorded step", "value")


def test_two_evolutions_share_the_axes_they_are_given():
    axes = Figure().subplots()
    assert plots.evolution(trace("forget"), ax=axes) is axes
    assert plots.evolution(trace("update"), ax=axes) is axes
    colours = [line.get_color() for line in axes.lines]
    assert colours == [appearance.colour_of(name) for name in ("forget", "update")]


def test_evolution_of_lazy_and_of_fully_masked_steps_is_silent():
    pytest.importorskip("dask")
    gate = trace()
    gate[1] = np.nan
    lazy, eager = (plots.evolution(data) for data in (gate.chunk(sample=1), gate))
    values = eager.lines[0].get_ydata()
    assert np.isnan(values).tolist() == [False, True, False, False]
    np.testing.assert_allclose(lazy.lines[0].get_ydata(), values, rtol=1e-6)


def test_evolution_needs_a_training():
    with pytest.raises(ValueError, match=r"dimension `step`; got .*GateRecorder"):
        plots.evolution(trace().isel(step=0))
    with pytest.raises(TypeError, match=r"one signal, .* got Dataset"):
        plots.evolution(trace().to_dataset())


def test_a_study_draws_the_means_and_intervals_that_stats_returns():
    study = a_study()
    axes = plots.study(study, metric="loss")
    mean, low, high = stats.mean_interval(study.history["loss"], "seed")
    assert [line.get_label() for line in axes.lines] == ["LSTM", "GRU", "mine"]
    for index, line in enumerate(axes.lines):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 6))
        np.testing.assert_array_equal(line.get_ydata(), mean[index])
        at, bottom, top = band(axes.collections[index])
        np.testing.assert_array_equal(at, np.arange(1, 6))
        np.testing.assert_allclose([bottom, top], [low[index], high[index]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    title = axes.get_legend().get_title().get_text()
    assert title == "mean of 3 seeds, 95 % interval"


def test_a_study_of_one_seed_has_no_band():
    axes = plots.study(a_study(seeds=1))
    assert len(axes.lines) == 3 and not axes.collections
    assert axes.get_legend().get_title().get_text() == "one seed"


def test_the_line_of_a_study_ends_where_a_seed_runs_away():
    study = a_study()
    study.history["val_loss"][0, 1, 3:] = np.inf
    values = plots.study(study).lines[0].get_ydata()
    assert np.isfinite(values).tolist() == [True] * 3 + [False] * 2


def test_a_study_is_drawn_along_updates_or_seconds():
    study = a_study()
    epochs = study.history["epoch"]
    study.history["updates"] = 7 * epochs
    speeds = np.arange(1.0, 1 + study.history.sizes["seed"])
    elapsed = xarray.DataArray(speeds, dims="seed") * epochs
    study.history["elapsed"] = elapsed.broadcast_like(study.history["val_loss"])
    usual = plots.study(study)
    for along, places, label in (
        ("updates", 7 * epochs, "updates"),
        ("elapsed", speeds.mean() * epochs, "training time, s"),
    ):
        axes = plots.study(study, x=along)
        assert axes.get_xlabel() == label
        for line, same in zip(axes.lines, usual.lines, strict=True):
            np.testing.assert_allclose(line.get_xdata(), places)
            np.testing.assert_array_equal(line.get_ydata(), same.get_ydata())
    with pytest.raises(ValueError, match="`x` must be one of 'epoch', 'updates'"):
        plots.study(study, x="time")


def test_differences_are_drawn_as_the_study_returns_them():
    losses = {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.1, 4.2], "c": [1.2, 1.9, 3.1]}
    study = study_of(losses)
    axes = plots.differences(study)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    differences = [study.difference(*pair) for pair in pairs]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["a - b", "a - c", "b - c"]
    for row, (bar, difference) in enumerate(
        zip(axes.containers, differences, strict=True)
    ):
        dot, _, (interval,) = bar.lines
        assert dot.get_xdata().tolist() == [difference.mean]
        assert dot.get_ydata().tolist() == [row]
        ends = interval.get_segments()[0][:, 0]
        np.testing.assert_allclose(ends, [difference.low, difference.high])
        assert dot.get_color() == ("black" if difference.significant else "0.5")
    seeds = [line for line in axes.lines if len(line.get_xdata()) == 3]
    for line, difference in zip(seeds, differences, strict=True):
        np.testing.assert_allclose(line.get_xdata(), difference.pairs)
    assert "3 seeds, 95 % interval" in axes.get_xlabel()
    first, last = axes.get_ylim()
    assert first > last  # The first pair is at the top.


def test_one_architecture_has_no_difference_to_draw():
    with pytest.raises(ValueError, match="needs two architectures; this study has one"):
        plots.differences(study_of({"a": [1.0, 2.0]}))


def test_predictions_of_a_study_are_drawn_as_median_and_range():
    truth = np.arange(4.0)
    shifts = np.array([[0.0, 1.0, 5.0], [0.5, 0.6, 0.7]])
    values = truth + shifts[..., None]
    predictions = xarray.DataArray(
        values[..., None],
        dims=("architecture", "seed", "sample", "output_0"),
        coords={"architecture": ["LSTM", "GRU"], "seed": [3, 1, 2]},
    )
    axes = plots.predictions(truth, predictions)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), truth + 1.0)
    np.testing.assert_allclose(axes.lines[2].get_ydata(), truth + 0.6)
    for band, (low, *_, high) in zip(axes.collections, shifts, strict=True):
        (path,) = band.get_paths()
        drawn = {tuple(point) for point in path.vertices.round(6)}
        assert (0.0, low) in drawn and (3.0, round(3 + high, 6)) in drawn
    title = axes.get_legend().get_title().get_text()
    assert title == "median of 3 seeds, lowest to highest"


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("val_loss", "validation loss"),
        ("val_mean_squared_error", "validation mean squared error"),
        ("interval_loss", "interval loss"),
    ],
)
def test_the_axis_of_a_study_names_its_metric_in_words(metric, words):
    study = a_study()
    study.history[metric] = study.history["loss"]
    assert plots.study(study, metric=metric).get_ylabel() == words


def test_two_studies_share_axes_that_show_both_and_nothing_below_zero():
    low, high = a_study(seeds=2), a_study(seeds=2)
    high.history["val_loss"] *= 100
    axes = Figure().subplots()
    plots.study(low, ax=axes)
    assert plots.study(high, ax=axes) is axes
    bottom, top = axes.get_ylim()
    assert bottom == 0
    assert top > max(line.get_ydata().max() for line in axes.lines)


def test_an_unknown_metric_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'val_loss', 'loss'; got 'accuracy'"):
        plots.study(a_study(), metric="accuracy")


def test_predictions_lie_over_the_truth():
    truth = np.sin(np.arange(9.0))
    models = {"LSTM": truth + 0.1, "GRU": (truth - 0.1)[:, None]}
    axes = plots.predictions(truth[:, None], models)
    assert [line.get_label() for line in axes.lines] == ["truth", "LSTM", "GRU"]
    for line, values in zip(axes.lines, (truth, *models.values()), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values.ravel())
    assert axes.get_xlabel() == "sample"


def test_predictions_that_do_not_fit_the_truth_are_refused():
    with pytest.raises(ValueError, match=r"`y_true` must .* got \(3, 2\)"):
        plots.predictions(np.zeros((3, 2)), {"GRU": np.zeros(3)})
    with pytest.raises(ValueError, match=r"`y_pred\['GRU'\]` .* got \(3, 2\)"):
        plots.predictions(np.zeros(3), {"GRU": np.zeros((3, 2))})
    with pytest.raises(ValueError, match="at least one model; it is empty"):
        plots.predictions(np.zeros(3), {})
    with pytest.raises(ValueError, match=r"each of the 3 samples of `y_true`; got 4"):
        plots.predictions(np.zeros(3), {"GRU": np.zeros(4)})
    with pytest.raises(TypeError, match="must map names to arrays.* got a ndarray"):
        plots.predictions(np.zeros(3), np.zeros(3))


def test_an_architecture_has_the_same_style_in_every_figure():
    def looks(axes, names):
        lines = {line.get_label(): line for line in axes.lines}
        return [
            (lines[name].get_color(), lines[name].get_linestyle()) for name in names
        ]

    names = ["a", "GRU", *"bcdefgh", "LSTM"]
    learning = plots.study(a_study(architectures=names))
    predicted = plots.predictions(np.zeros(3), dict.fromkeys(names, np.ones(3)))
    assert looks(learning, names) == looks(predicted, names)
    assert len(set(looks(learning, names))) == len(names)
    assert looks(learning, ["LSTM", "GRU"]) == [("#0072B2", "-"), ("#D55E00", "-")]


FIGURES = {
    "gates": lambda: plots.heatmap(layer(LSTM, masked=2)),
    "pair": lambda: plots.compare_layers(layer(LSTM, masked=2), layer(GRU)),
    "evolution": lambda: plots.evolution(trace()).figure,
    "study": lambda: plots.study(a_study()).figure,
    "differences": lambda: (
        plots.differences(
            study_of({"a rather long name": [1.0, 2.0, 3.0], "GRU": [2.0, 3.1, 4.2]})
        ).figure
    ),
    "predictions": lambda: plots.predictions([1, 2], {"LSTM": [1, 3]}).figure,
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_every_figure_is_legible_at_the_width_of_a_page(draw):
    assert_legible(draw())


def test_a_notebook_can_show_a_new_figure_and_it_can_be_pickled():
    axes = plots.evolution(trace())
    for shown in (axes, axes.figure, pickle.loads(pickle.dumps(axes.figure))):
        assert shown._repr_png_().startswith(b"\x89PNG")
    # What pyplot shows by itself must not be shown twice.
    assert not hasattr(plots.evolution(trace(), ax=Figure().subplots()), "_repr_png_")


def test_a_layer_name_is_shown_as_it_is():
    figure = plots.heatmap(layer(LSTM, layer=r"a$\b$_c", masked=1))
    figure.savefig(io.BytesIO(), format="svg")
    assert figure.get_suptitle().startswith(repr(r"a$\b$_c"))


def test_the_import_is_cheap():
    for module in (canvas, training_curves, unit_curves, heatmaps, study_plots):
        assert not {"xarray", "matplotlib", "pyplot"} & set(vars(module))
