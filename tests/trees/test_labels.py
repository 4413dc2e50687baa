"""Units, samples and steps are chosen, and reported, by the labels that data have.

Each function is run on data without labels and on the same data with labels; the
answers must be the same, with positions translated.
"""

import functools
import warnings

import numpy as np
import pandas
import pytest
import xarray

import keras_gates
from keras_gates import plots, stats
from keras_gates.cells import registry
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.page import packing, page_layers, thinning
from keras_gates.page.overview import overview
from keras_gates.trees import labels
from keras_gates.trees.notebook import DataTree

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("no_global_state")]

DIMENSIONS = ("sample", "time", "unit")
STEPS = 40
LABELS = {
    "sample": np.array(["anna", "ben", "cleo", "dan"]),
    "time": pandas.date_range("2024-01-01", periods=STEPS, freq="6h").values,
    "unit": np.array([4, 9, 2], "int32"),
}
OTHER_LABELS = {
    "numbers": {
        "sample": [17, -3, 0, 5],
        "time": np.arange(STEPS) * 0.5,
        "unit": [4, 9, 2],
    },
    "names": {
        "sample": list("wxyz"),
        "time": [f"t{n}" for n in range(STEPS)],
        "unit": ["x1", "x0", "y"],
    },
    "negative": {
        "sample": [-1, -2, -3, -4],
        "time": np.arange(-5, STEPS - 5),
        "unit": [-1, 0, -2],
    },
}


def layer(kind, seed=0, units=3):
    generator = np.random.default_rng(seed)
    data = {}
    for name in kind.signals:
        low = 0.01 if name in registry.gates() else -1
        values = generator.uniform(low, 0.99, (4, STEPS, units)).astype("float32")
        values[1, :3] = np.nan
        data[name] = (DIMENSIONS, values)
    data["hidden"][1][:, :, 1] = 0.3  # The unit at position 1 is dead.
    mask = np.ones((4, STEPS), bool)
    mask[1, :3] = False
    data["mask"] = (DIMENSIONS[:2], mask)
    attributes = {"cell_type": kind.name, "layer": kind.name.lower()}
    return xarray.Dataset(data, attrs=attributes)


def plain():
    # In the order in which a store lists them.
    children = {"gru": DataTree(layer(GRU, 1)), "lstm": DataTree(layer(LSTM))}
    return DataTree(children=children)


def named(names=LABELS):
    gates = plain()
    for path in ("lstm", "gru"):
        dataset = gates[path].to_dataset().assign_coords(names)
        gates[path] = DataTree(dataset)
    return gates


class Positions:
    """How data without labels are asked."""

    def __getattr__(self, dim):
        return lambda *places: places[0] if len(places) == 1 else list(places)

    def span(self, start, stop):
        return start, stop


class Names(Positions):
    """How the same is asked of data with labels."""

    def __init__(self, names):
        self.names = {dim: np.asarray(some) for dim, some in names.items()}

    def __getattr__(self, dim):
        def of(*places):
            some = [self.names[dim][place] for place in places]
            return some[0] if len(some) == 1 else some

        return of

    def span(self, start, stop):
        return self.names["time"][start], self.names["time"][stop - 1]


def find_units(gates, names):
    known = np.random.default_rng(5).normal(size=(4, STEPS)) > 0
    return stats.find_units(gates, known, n_permutations=20)


def match(gates, names):
    return stats.find_similar_spans(
        gates,
        layer="lstm",
        units=names.unit(2, 0),
        span=names.span(5, 9),
        sample=names.sample(2),
        signal="cell",
    )


def match_units(gates, names):
    return stats.match_units(gates["lstm"], gates["gru"])


def of_units(measure):
    def run(gates, names):
        return measure(gates)["lstm"].to_dataset()

    return run


TABLES = {"find_units": find_units, "find_similar_spans": match}


@pytest.fixture(params=["mixed", *OTHER_LABELS])
def names(request):
    return OTHER_LABELS.get(request.param, LABELS)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("where", ["memory", "dask", "store"])
def test_tables_name_what_they_found(name, names, where, tmp_path):
    gates = named(names)
    if where == "dask":
        gates = gates.chunk(sample=1)
    if where == "store":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Zarr warns of words, and of metadata.
            gates.to_zarr(tmp_path / "gates.zarr")
        gates = xarray.open_datatree(tmp_path / "gates.zarr", engine="zarr", chunks={})
    wanted = TABLES[name](plain(), Positions())
    found = TABLES[name](gates, Names(names))
    assert list(found) == list(wanted)
    for column in wanted:
        dim = {"start": "time", "stop": "time"}.get(column, column)
        expected = wanted[column].values
        if dim in names:
            expected = expected - 1 if column == "stop" else expected
            expected = np.asarray(names[dim])[expected]
            if expected.dtype.kind in "iuf":
                assert found[column].dtype == expected.dtype
        np.testing.assert_array_equal(found[column], expected)
    # What was found is what is chosen next.
    best = found.iloc[0]
    if name == "find_units":
        plots.trajectories(gates[best["layer"]], units=best["unit"])
        assert gates[best["layer"]]["hidden"].sel(unit=best["unit"]).size
    else:
        place = {"sample": best["sample"], "time": slice(best["start"], best["stop"])}
        if names is not OTHER_LABELS["names"]:  # A slice of words must be sorted.
            assert gates["lstm/cell"].sel(place).sizes["time"] == 4


@pytest.mark.parametrize(
    "measure",
    [
        stats.saturation,
        stats.entropy,
        stats.timescale,
        stats.half_life,
        stats.dead_units,
        stats.gate_correlation,
        stats.memory_horizon,
    ],
)
def test_measures_keep_the_labels_of_units(measure, names):
    wanted, found = measure(plain())["lstm"], measure(named(names))["lstm"]
    assert found["unit"].values.tolist() == list(names["unit"])
    xarray.testing.assert_equal(
        found.to_dataset().drop_vars("unit"), wanted.to_dataset()
    )


def test_a_correspondence_names_units_of_both_layers(names):
    wanted = stats.match_units(plain()["lstm"], plain()["gru"])
    gates = named(names)
    gru = gates["gru"].to_dataset()
    other = [f"g{n}" for n in range(3)]
    found = stats.match_units(gates["lstm"], gru.assign_coords(unit=other))
    assert found["unit"].values.tolist() == list(names["unit"])
    assert found["matched"].values.tolist() == [
        other[n] for n in wanted["matched"].values
    ]
    for name in ("distance", "matched_distance", "correlation"):
        np.testing.assert_array_equal(found[name], wanted[name])
    few = gru.isel(unit=[0, 1])
    found = stats.match_units(gates["lstm"], few)
    wanted = stats.match_units(layer(LSTM), layer(GRU, 1).isel(unit=[0, 1]))
    places = wanted["matched"].values
    assert found["matched"].isnull().values.tolist() == (places < 0).tolist()
    kept = [label for label in found["matched"].values.tolist() if label == label]
    assert kept == [names["unit"][n] for n in places if n >= 0]


def test_samples_of_other_names_are_not_correlated():
    lstm, gru = named()["lstm"].to_dataset(), named()["gru"].to_dataset()
    assert stats.match_units(lstm, gru)["correlation"].notnull().any()
    turned = gru.assign_coords(sample=gru["sample"].values[::-1])
    assert stats.match_units(lstm, turned)["correlation"].isnull().all()


def test_a_diagnosis_names_dead_units(names):
    word = labels.words(np.asarray(names["unit"]))[1]
    assert f"are dead ({word}):" in str(stats.diagnose(named(names)))
    assert "are dead (1):" in str(stats.diagnose(plain()))


def test_a_summary_is_that_of_the_same_numbers(names):
    assert stats.summary(named(names)).equals(stats.summary(plain()))


# Figures


def said(figure):
    figure.draw_without_rendering()
    found = [
        text.get_text()
        for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))
    ]
    return " ".join(found).replace("\n", " ")


def lines(figure):
    return [line.get_ydata() for axes in figure.axes for line in axes.lines]


def ticks(axis, size):
    """Returns places and labels of the ticks of a figure that was drawn."""
    places = [at for at in axis.get_majorticklocs() if at in range(size)]
    names = axis.get_major_formatter().format_ticks(places)
    names = [name.replace("\n", " ") for name in names]
    return dict(zip(map(int, places), names, strict=True))


def test_trajectories_draw_and_name_the_units_of_the_labels(names):
    ask = Names(names)
    figure = plots.trajectories(
        named(names)["lstm"], units=ask.unit(2, 0), sample=ask.sample(2), signal="cell"
    )
    plain_one = plots.trajectories(
        plain()["lstm"], units=[2, 0], sample=2, signal="cell"
    )
    np.testing.assert_array_equal(lines(figure), lines(plain_one))
    units = labels.words(np.asarray(names["unit"]))
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [f"unit {units[2]}", f"unit {units[0]}"]
    assert f"sample {names['sample'][2]}" in said(figure)
    times = labels.words(np.asarray(names["time"]))
    figure.draw_without_rendering()
    shown = ticks(figure.axes[0].xaxis, STEPS)
    assert shown and all(times[at] == label for at, label in shown.items())
    assert figure.axes[0].get_xlabel() == "time"
    assert plain_one.axes[0].get_xlabel() == "time (step)"


def heat_map(draw, gates, **options):
    layers = (gates["lstm"], gates["gru"])[: 1 + (draw is plots.compare_layers)]
    return draw(*layers, **options)


@functools.cache
def plain_heat_map(draw, **options):
    """The same for whatever labels a test has."""
    return heat_map(draw, plain(), **options)


@pytest.mark.parametrize("draw", [plots.heatmap, plots.compare_layers])
def test_heat_maps_have_the_labels_at_their_ticks(draw, names):
    figure = heat_map(draw, named(names), sample=names["sample"][2])
    wanted = plain_heat_map(draw, sample=2)
    figure.draw_without_rendering()
    units = labels.words(np.asarray(names["unit"]))
    times = labels.words(np.asarray(names["time"]))
    seen = 0
    for axes, other in zip(figure.axes, wanted.axes, strict=True):
        if axes.images and axes.get_ylabel() == "unit":
            drawn_values = axes.images[0].get_array()
            np.testing.assert_array_equal(drawn_values, other.images[0].get_array())
            shown = ticks(axes.yaxis, 3)
            assert [shown[at] for at in sorted(shown)] == units
            for at, label in ticks(axes.xaxis, STEPS).items():
                assert label in ("", times[at])  # Empty where the axis is shared.
                seen += label != ""
    assert seen
    assert f"sample {names['sample'][2]}" in said(figure)


def test_without_a_sample_the_first_one_is_drawn(names):
    gates = named(names)
    first = f"sample {names['sample'][0]}"
    assert first in said(plots.heatmap(gates["lstm"]))
    assert first in said(plots.compare_layers(gates["lstm"], gates["gru"]))
    assert first in said(plots.trajectories(gates["lstm"], units=names["unit"][0]))
    turned = gates["gru"].to_dataset().isel(sample=slice(None, None, -1))
    pair = plots.compare_layers(gates["lstm"], turned)
    images = [axes.images[0].get_array() for axes in pair.axes if axes.images]
    wanted = plain_heat_map(plots.compare_layers)
    for image, other in zip(
        images, [a.images[0].get_array() for a in wanted.axes if a.images], strict=True
    ):
        np.testing.assert_array_equal(image, other)


def test_a_text_is_of_the_unit_and_sample_of_the_labels(names):
    ask = Names(names)
    tokens = "x" * STEPS
    figure = plots.text(
        named(names)["gru"], tokens, unit=ask.unit(2), sample=ask.sample(3)
    )
    wanted = plots.text(plain()["gru"], tokens, unit=2, sample=3)
    grounds = [
        [patch.get_facecolor() for patch in one.axes[0].patches]
        for one in (figure, wanted)
    ]
    assert grounds[0] == grounds[1]
    unit = labels.words(np.asarray(names["unit"]))[2]
    assert f"of unit {unit} in" in said(figure)
    assert f"sample {names['sample'][3]}" in said(figure)
    time = labels.words(np.asarray(names["time"]))[7]
    assert f'title="step {time}: ' in figure._repr_html_()
    assert 'title="step 7: ' in wanted._repr_html_()


def test_dots_of_units_are_the_same(names):
    for draw in (plots.saturation, plots.timescale, plots.memory_horizon):
        found, wanted = draw(named(names)["gru"]), draw(plain()["gru"])
        for one, other in zip(found.lines, wanted.lines, strict=True):
            np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())


def training(names=None):
    signal = np.linspace(0, 1, 3 * 2 * 4 * 3).reshape(3, 2, 4, 3)
    gate = xarray.DataArray(signal, dims=("step", *DIMENSIONS), name="forget")
    return gate.assign_coords(step=[0, 5, 10]) if names else gate


def test_a_training_is_drawn_over_the_labels_of_its_steps():
    assert plots.evolution(training(True)).lines[0].get_xdata().tolist() == [0, 5, 10]
    assert plots.evolution(training()).lines[0].get_xdata().tolist() == [0, 1, 2]
    counts = np.ones((3, 1, 2, 4))
    node = xarray.Dataset(
        {"histogram": (("step", "signal", "unit", "bin"), counts)},
        {"signal": ["update"], "step": [1, 6, 11]},
        {"cell_type": "GRU", "layer": "gru"},
    )
    axes = plots.ridges(node, gate="update")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1", "6", "11"]


# What is not there, and what is there twice


def choosing(gates):
    """Every call that chooses by a label, by the dimension it chooses along."""
    lstm = gates["lstm"]
    return {
        "unit": [
            lambda unit: plots.trajectories(lstm, units=[unit]),
            lambda unit: plots.text(lstm, "x" * STEPS, unit=unit),
            lambda unit: stats.find_similar_spans(
                gates, layer="lstm", units=unit, span=(5, 9)
            ),
        ],
        "sample": [
            lambda sample: plots.trajectories(lstm, units=0, sample=sample),
            lambda sample: plots.text(lstm, "x" * STEPS, unit=0, sample=sample),
            lambda sample: plots.heatmap(lstm, sample=sample),
            lambda sample: plots.compare_layers(lstm, gates["gru"], sample=sample),
            lambda sample: stats.find_similar_spans(
                gates, layer="lstm", units=0, span=(5, 9), sample=sample
            ),
        ],
        "time": [
            lambda time: stats.find_similar_spans(
                gates, layer="lstm", units=0, span=(time, time)
            ),
        ],
    }


@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("wrong", ["nobody", 3, True, None, 2.5])
def test_a_label_that_is_not_there_is_answered_with_those_that_are(dim, wrong):
    only = {dim: OTHER_LABELS["numbers"][dim]}
    if dim == "time":
        only = {"time": np.arange(STEPS) + 100}
    if dim == "sample" and wrong is None:
        return  # The first one.
    for call in choosing(named(only))[dim]:
        listed = ", ".join(map(str, list(only[dim])[:3]))
        with pytest.raises(
            IndexError, match=f"labels of `{dim}`: {listed}.*; got {wrong!r}"
        ):
            call(wrong)


def test_of_many_labels_the_first_are_listed():
    gates = named({"time": np.arange(STEPS) + 100})
    with pytest.raises(IndexError, match=r"106, 107, ... \(40 in all\); got 5"):
        stats.find_similar_spans(gates, layer="lstm", units=0, span=(5, 9))
    with pytest.raises(IndexError, match="first and of a last time step, in the order"):
        stats.find_similar_spans(gates, layer="lstm", units=0, span=(109, 105))


@pytest.mark.parametrize("dim", DIMENSIONS)
def test_a_label_that_is_there_twice_gets_a_sentence(dim, tmp_path):
    some = np.array(OTHER_LABELS["numbers"][dim])
    some[1] = some[0]
    gates = named({dim: some})
    sentence = f"different label for each `{dim}`; .* occurs more than once"
    for call in choosing(gates)[dim]:
        with pytest.raises(ValueError, match=sentence):
            call(some[0])
    with pytest.raises(ValueError, match=sentence):
        keras_gates.report(gates, tmp_path / "report.html")
    if dim == "unit":
        for call in (
            lambda: stats.find_units(gates, np.arange(STEPS) * np.ones((4, 1))),
            lambda: stats.match_units(gates["lstm"], gates["gru"]),
            lambda: stats.diagnose(gates),
        ):
            with pytest.raises(ValueError, match=sentence):
                call()
    # A measure of each unit is right whatever units are called.
    wanted = stats.timescale(plain())["lstm/forget"].values
    np.testing.assert_array_equal(stats.timescale(gates)["lstm/forget"], wanted)


def test_a_selection_without_labels_is_counted_from_0():
    part = plain()["lstm"].to_dataset().isel(unit=[2, 0])
    figure = plots.trajectories(part, units=1)
    np.testing.assert_array_equal(lines(figure)[0], part["hidden"][0, :, 1])
    selected = named()["lstm"].to_dataset().sel(unit=[2, 4], sample=["cleo"])
    figure = plots.trajectories(selected, units=4)
    np.testing.assert_array_equal(lines(figure)[0], part["hidden"][2, :, 1])
    assert "unit 4" in said(figure) and "sample cleo" in said(figure)


def test_layers_may_have_other_labels():
    gates = plain()
    gates["lstm"] = DataTree(gates["lstm"].to_dataset().assign_coords(unit=[4, 9, 2]))
    found = find_units(gates, None)
    shown = {
        path: set(found.query("layer == @path")["unit"]) for path in ("lstm", "gru")
    }
    assert shown == {"lstm": {4, 9, 2}, "gru": {0, 1, 2}}
    gates["gru"] = DataTree(gates["gru"].to_dataset().assign_coords(unit=list("abc")))
    found = find_units(gates, None)
    assert set(found["unit"]) == {4, 9, 2, "a", "b", "c"}
    for n, path in enumerate(("lstm", "gru")):
        ids = np.arange(4) + n
        gates[path] = DataTree(gates[path].to_dataset().assign_coords(sample=ids))
    with pytest.raises(
        ValueError, match="the same samples and steps; got 'gru', 'lstm'"
    ):
        find_units(gates, None)


def test_dates_may_be_written():
    found = stats.find_similar_spans(
        named(), layer="lstm", units=4, span=("2024-01-02", "2024-01-03"), sample="ben"
    )
    assert (found["stop"] - found["start"] == np.timedelta64(1, "D")).all()


def test_units_may_be_given_in_any_collection():
    node = named()["lstm"].to_dataset()
    for some in (
        [9, 2],
        (9, 2),
        {9: 0, 2: 0},
        {9: 0, 2: 0}.keys(),
        pandas.Series([9, 2]),
        node["unit"][1:],
        (unit for unit in (9, 2)),
    ):
        figure = plots.trajectories(node, units=some)
        np.testing.assert_array_equal(lines(figure), node["hidden"][0, :, 1:].T)
    for one in (9, np.int64(9), np.array(9), node["unit"][1]):
        figure = plots.trajectories(node, units=one)
        np.testing.assert_array_equal(lines(figure), node["hidden"][0, :, 1:2].T)


def test_labels_may_be_pairs_signs_or_without_an_index():
    pairs = pandas.MultiIndex.from_product([["a", "b"], [1, 2]], names=["who", "visit"])
    pairs = xarray.Coordinates.from_pandas_multiindex(pairs, "sample")
    node = layer(LSTM).assign_coords(pairs).assign_coords(unit=["$x$", r"$\y$", "_"])
    node = node.drop_indexes("unit")
    figure = plots.trajectories(node, units=[r"$\y$", "_"], sample=("b", 1))
    np.testing.assert_array_equal(lines(figure), node["hidden"][2, :, 1:].T)
    assert "sample ('b', 1)" in said(figure)
    said(plots.heatmap(node, sample=("a", 2)))  # Nothing is read as mathematics.
    gates = xarray.DataTree(children={"lstm": xarray.DataTree(node)})
    found = stats.find_similar_spans(
        gates, layer="lstm", units="_", span=(5, 9), sample=("a", 2), n_spans=4
    )
    assert set(found["sample"]) <= {("a", 1), ("a", 2), ("b", 1), ("b", 2)}
    with pytest.raises(IndexError, match=r"\('a', 1\), .*; got \('b', 3\)"):
        plots.heatmap(node, sample=("b", 3))


# The page


def page_data(gates):
    layers, origins = page_layers.read_layers(gates)
    parts = thinning.parts(layers, thinning.BUDGET)
    seen = list(map(overview, layers))
    blocks = {}
    none = [None] * len(layers)
    return [
        packing.pack_layer(index, *one, blocks)
        for index, one in enumerate(zip(layers, parts, seen, none, strict=True))
    ]


def test_the_page_has_the_labels(names, tmp_path):
    found, wanted = page_data(named(names))[1], page_data(plain())[1]
    units, samples, times = (
        labels.words(np.asarray(names[dim])) for dim in ("unit", "sample", "time")
    )
    assert list(map(str, found["units"])) == units and wanted["units"] == [0, 1, 2]
    assert [str(sample) for sample, frame in found["items"]] == samples
    assert found["times"] == times and wanted["times"] is None
    for key in ("orders", "signals", "steps", "moments", "threshold"):
        assert found[key] == wanted[key]  # Orders are positions on the page.
    path = keras_gates.report(named(names), tmp_path / "report.html")
    assert f"({units[1]}):" in path.read_text()  # The dead unit of the diagnosis.


# Dimensions that nobody named


SIGNAL_FUNCTIONS = {
    **{name: getattr(stats, name) for name in ("saturation", "entropy", "timescale")},
    **{name: getattr(stats, name) for name in ("half_life", "dead_units")},
    **{name: getattr(stats, name) for name in ("gate_correlation", "memory_horizon")},
    "diagnose": stats.diagnose,
    "summary": lambda data: stats.summary(DataTree(data)),
    "ranges": lambda data: stats.ranges(DataTree(data)),
    "find_units": lambda data: stats.find_units(data, np.eye(4, STEPS) > 0),
    "find_similar_spans": lambda data: stats.find_similar_spans(
        DataTree(children={"lstm": DataTree(data)}), layer="lstm", units=0, span=(5, 9)
    ),
    "match_units": lambda data: stats.match_units(data, layer(GRU)),
    "plots.heatmap": plots.heatmap,
    "plots.compare_layers": lambda data: plots.compare_layers(data, layer(GRU)),
    "plots.trajectories": lambda data: plots.trajectories(data, units=0),
    "plots.text": lambda data: plots.text(data, "x" * STEPS, unit=0),
    "plots.saturation": plots.saturation,
    "plots.timescale": plots.timescale,
    "plots.memory_horizon": plots.memory_horizon,
    "report": lambda data: keras_gates.report(data, "never.html"),
}


@pytest.mark.parametrize("dim", ["signal", "bin", "seed"])
@pytest.mark.parametrize("name", SIGNAL_FUNCTIONS)
def test_an_unknown_dimension_is_refused(dim, name):
    data = layer(LSTM).expand_dims({dim: 2})
    with pytest.raises(ValueError, match=rf"`?{dim}`?.*isel\({dim}=0\)"):
        SIGNAL_FUNCTIONS[name](data)


KEEP_STEPS = {"saturation", "entropy", "timescale", "half_life", "dead_units"}
KEEP_STEPS |= {"gate_correlation", "memory_horizon", "report"}


@pytest.mark.parametrize("name", sorted(SIGNAL_FUNCTIONS.keys() - KEEP_STEPS))
def test_steps_of_training_are_never_taken_together(name):
    data = layer(LSTM).expand_dims(step=2)
    with pytest.raises(ValueError, match=r"step.*isel\(step=(-1|0)\)"):
        SIGNAL_FUNCTIONS[name](data)


def test_statistics_are_of_one_signal():
    mean = xarray.DataArray(
        np.full((2, 3, 4), 0.5),
        dims=("step", "signal", "unit"),
        coords={"signal": ["forget", "cell", "hidden"], "epoch": ("step", [1, 2])},
        name="mean",
    )
    for call in (plots.evolution, stats.saturation, stats.entropy, stats.timescale):
        choose = r"has 'signal'.*`.sel\(signal='forget'\)`"
        with pytest.raises(ValueError, match=choose):
            call(mean)
    line = plots.evolution(mean.sel(signal="forget")).lines[0]
    assert line.get_label() == "mean of forget gate (1 keeps the old state), median"
    histogram = xarray.DataArray(np.ones((2, 4, 5)), dims=("step", "unit", "bin"))
    with pytest.raises(ValueError, match=r"has 'bin'.*`.isel\(bin=0\)`"):
        plots.evolution(histogram)


def test_ridges_add_nothing_but_units():
    counts = np.ones((2, 2, 1, 3, 4))
    node = xarray.Dataset(
        {"histogram": (("seed", "step", "signal", "unit", "bin"), counts)},
        {"signal": ["update"]},
        {"cell_type": "GRU", "layer": "gru"},
    )
    with pytest.raises(ValueError, match=r"has 'seed'.*isel\(seed=0\)"):
        plots.ridges(node, gate="update")
    plots.ridges(node.isel(seed=0), gate="update")


def test_every_function_that_takes_gates_is_in_a_table_here():
    """A new function is tried on labels, too."""
    others = {"mean_interval"}  # Takes no gates.
    others |= {f"plots.{name}" for name in ("differences", "predictions", "study")}
    others |= {"plots.evolution", "plots.ridges"}  # Above.
    others |= {"Diagnosis", "Finding"}  # What `diagnose` returns.
    # They take no gates but gradients, their flow, and what was measured.
    others |= {"gradient_flow", "plots.gradient_flow", "plots.reach"}
    others |= {"plots.importance"}
    public = {f"plots.{name}" for name in plots.__all__} | set(stats.__all__)
    assert public <= SIGNAL_FUNCTIONS.keys() | others
