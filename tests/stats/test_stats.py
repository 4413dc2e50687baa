"""The measures against slow loops, and against values that are known."""

import math

import numpy as np
import pytest
import scipy.stats
import xarray
from captured import DIMENSIONS, SIGMOID_OF_ONE, layer, tree, unmasked
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_gates import stats
from keras_gates.cells import registry
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM

pytestmark = pytest.mark.once


@st.composite
def gates(draw):
    """A gate with some steps masked, of dimensions (sample, time, unit)."""
    shape = draw(st.tuples(*[st.integers(1, 4)] * 3))
    values = draw(hnp.arrays("float32", shape, elements=st.floats(0, 1, width=32)))
    masked = draw(hnp.arrays(bool, shape[:2]))
    values[masked] = np.nan
    return xarray.DataArray(values, dims=DIMENSIONS)


@given(gates(), st.sampled_from([(0.1, 0.9), (0.0, 0.5), (0.25, 1.0)]))
def test_saturation_counts_the_unmasked_steps_beyond_each_threshold(gate, thresholds):
    low, high = (np.float32(value) for value in thresholds)
    result = stats.saturation(gate, lower=low, upper=high)
    assert result.sizes == {"side": 2, "unit": gate.sizes["unit"]}
    for unit in range(gate.sizes["unit"]):
        values = unmasked(gate.values, unit)
        left, right = (float(x) for x in result.isel(unit=unit).values)
        if not values:
            assert math.isnan(left) and math.isnan(right)
            continue
        assert left == sum(value < low for value in values) / len(values)
        assert right == sum(value > high for value in values) / len(values)


def test_a_value_on_a_threshold_is_not_saturated():
    gate = xarray.DataArray(np.float32([[[0.25], [0.75]]]), dims=DIMENSIONS)
    assert (stats.saturation(gate, lower=0.25, upper=0.75) == 0).all()


@given(gates())
def test_timescale_follows_from_the_mean_logarithm_of_the_unmasked_steps(gate):
    result = stats.timescale(gate)
    for unit in range(gate.sizes["unit"]):
        values = unmasked(gate.values, unit)
        tau = float(result.isel(unit=unit))
        if not values:
            assert math.isnan(tau)
        elif min(values) == 0:
            assert tau == 0
        elif min(values) == 1:
            assert tau == math.inf
        else:
            mean = sum(map(math.log, values)) / len(values)
            assert tau == pytest.approx(-1 / mean, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "tau", "half"), [(SIGMOID_OF_ONE, 3.19, 2.21), (0.5, 1 / math.log(2), 1)]
)
def test_layers_with_zero_weights_have_the_known_time_scales(value, tau, half):
    gate = xarray.DataArray(np.full((2, 7, 3), value, "float32"), dims=DIMENSIONS)
    np.testing.assert_allclose(stats.timescale(gate), tau, rtol=2e-3)
    np.testing.assert_allclose(stats.half_life(gate), half, rtol=2e-3)
    assert stats.half_life(gate).attrs == {"long_name": "half-life", "units": "steps"}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 1, 1], math.inf),
        ([1, np.nan, 1], math.inf),
        ([1, 0, 1], 0),
        ([0, 0, 0], 0),
        ([np.nan, np.nan, np.nan], math.nan),
        ([0.5, -0.5, 0.5], math.nan),
        ([2, 2, 2], -1 / math.log(2)),
    ],
)
def test_timescale_at_the_edges_is_exact_and_silent(values, expected, lazy):
    # Warnings are errors here, also those from Dask's threads.
    gate = xarray.DataArray(np.float32(values)[None, :, None], dims=DIMENSIONS)
    if lazy:
        pytest.importorskip("dask")
        gate = gate.chunk(time=1)
    np.testing.assert_allclose(stats.timescale(gate).compute(), [expected], rtol=1e-6)
    assert np.isfinite(stats.saturation(gate).compute()).all() == any(
        not math.isnan(value) for value in values
    )


def test_float32_rounds_a_wide_open_gate_to_one_and_the_time_scale_is_infinite():
    open_gate = 1 / (1 + np.exp(np.float32([[[-18.0]]])))
    gate = xarray.DataArray(open_gate, dims=DIMENSIONS)
    assert stats.timescale(gate).item() == math.inf


def test_of_a_dataset_only_the_gates_are_measured():
    lstm = layer(LSTM)
    saturation = stats.saturation(lstm)
    assert isinstance(saturation, xarray.Dataset)
    assert list(saturation.data_vars) == list(LSTM.gates)
    assert saturation["side"].values.tolist() == ["left", "right"]
    assert saturation["side"].dtype.kind == "U"  # What every file format can hold.
    assert not set(saturation.coords) - {"side"}
    assert saturation.attrs == lstm.attrs
    xarray.testing.assert_identical(
        saturation["forget"], stats.saturation(lstm["forget"])
    )
    assert list(stats.timescale(lstm).data_vars) == ["forget"]
    assert list(stats.half_life(layer(GRU)).data_vars) == ["update"]


def test_a_tree_keeps_its_layers_and_their_order():
    data = tree()
    data["bare"] = xarray.DataTree(layer(LSTM, signals=["hidden"]))
    saturation = stats.saturation(data)
    assert isinstance(saturation, xarray.DataTree)
    assert saturation.attrs == data.attrs == {"model": "a model"}
    assert list(saturation.children) == ["encoder", "gru"]
    assert list(saturation["encoder"].children) == ["lstm"]
    xarray.testing.assert_identical(
        saturation["gru"].to_dataset(), stats.saturation(data["gru"].to_dataset())
    )
    update = data["gru/update"].values
    logs = [np.log(unmasked(update, unit)).mean() for unit in range(4)]
    np.testing.assert_allclose(
        stats.timescale(data)["gru/update"], -1 / np.array(logs), rtol=1e-5
    )


def test_one_node_of_a_tree_is_a_tree_too():
    node = tree()["encoder/lstm"]
    result = stats.saturation(node)
    xarray.testing.assert_identical(
        result.to_dataset(), stats.saturation(node.to_dataset())
    )
    below = stats.saturation(tree()["encoder"])
    xarray.testing.assert_identical(below["lstm"].to_dataset(), result.to_dataset())


def test_steps_of_training_stay_apart_and_frames_do_not():
    values = np.random.default_rng(0).random((3, 2, 2, 5, 4), "float32")
    dims = ("step", "sample", "frame", "time", "unit")
    gate = xarray.DataArray(values, dims=dims, coords={"epoch": ("step", [0, 1, 2])})
    tau = stats.timescale(gate)
    assert tau.dims == ("step", "unit")
    assert tau["epoch"].values.tolist() == [0, 1, 2]
    np.testing.assert_allclose(tau, -1 / np.log(values).mean((1, 2, 3)), rtol=1e-5)
    right = stats.saturation(gate).sel(side="right")
    np.testing.assert_allclose(right, (values > 0.9).mean((1, 2, 3)))


def test_lazy_data_stay_lazy_and_give_the_same_numbers():
    pytest.importorskip("dask")
    data = tree()
    lazy = data.chunk(sample=1, time=2)
    for measure in (stats.saturation, stats.timescale, stats.half_life):
        result = measure(lazy)
        for node in result.leaves:
            assert all(array.chunks is not None for array in node.data_vars.values())
        for node in measure(data).leaves:
            xarray.testing.assert_allclose(
                result[node.path].to_dataset().compute(), node.to_dataset()
            )
    np.testing.assert_allclose(stats.summary(lazy), stats.summary(data), rtol=1e-6)


def test_measuring_reads_nothing_until_it_is_asked_to():
    array = pytest.importorskip("dask.array")

    def read(block):
        if block.size:
            raise AssertionError("the data were read")
        return block

    values = array.zeros((2, 3, 4), dtype="float32").map_blocks(read, dtype="float32")
    dataset = xarray.Dataset({"forget": (DIMENSIONS, values)})
    stats.saturation(dataset)
    stats.timescale(dataset)


def test_summary_has_the_numbers_of_every_signal_in_the_order_of_the_vocabulary():
    data = tree()
    table = stats.summary(data)
    assert table.index.tolist() == [
        *(("encoder/lstm", name) for name in LSTM.signals),
        *(("gru", name) for name in GRU.signals),
    ]
    assert table.index.names == ["layer", "signal"]
    assert table.columns.tolist() == [
        "mean",
        "std",
        "min",
        "max",
        "left",
        "right",
    ]
    for path, kind in (("encoder/lstm", LSTM), ("gru", GRU)):
        for name in kind.signals:
            values = data[f"{path}/{name}"].values
            values = values[~np.isnan(values)].astype("float64")
            expected = [values.mean(), values.std(), values.min(), values.max()]
            is_gate = name in kind.gates
            expected += [
                np.mean(values < 0.1) if is_gate else math.nan,
                np.mean(values > 0.9) if is_gate else math.nan,
            ]
            np.testing.assert_allclose(table.loc[path, name], expected, rtol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_summary_of_a_layer_that_is_masked_throughout_is_silent(lazy):
    dataset = layer(LSTM, signals=["forget", "hidden"])
    dataset["forget"] = dataset["forget"] * np.nan
    if lazy:
        pytest.importorskip("dask")
        dataset = dataset.chunk(sample=1)
    table = stats.summary(xarray.DataTree(dataset))
    assert table.index.tolist() == [("a layer", "forget"), ("a layer", "hidden")]
    assert table.loc["a layer", "forget"].isna().all()


@pytest.mark.parametrize(
    "thresholds", [{"lower": 0.9, "upper": 0.1}, {"lower": -0.1}, {"upper": 1.1}]
)
def test_thresholds_out_of_order_are_refused(thresholds):
    with pytest.raises(ValueError, match="must be .*threshold.*; got"):
        stats.saturation(layer(LSTM), **thresholds)


@pytest.mark.parametrize("measure", [stats.saturation, stats.timescale])
@pytest.mark.parametrize("wrap", [lambda data: data, xarray.DataTree])
def test_data_without_a_gate_raise_with_the_signals_there_are(measure, wrap):
    states = layer(LSTM, signals=["cell", "hidden"])
    with pytest.raises(
        ValueError, match="'forget'.*'cell', 'hidden'.*signals="
    ) as info:
        measure(wrap(states))
    assert "capture(..., signals=...)" in str(info.value)


def test_time_scales_need_the_gate_that_keeps_the_state():
    with pytest.raises(ValueError, match="one of 'forget', 'update'; .* 'input'"):
        stats.timescale(layer(LSTM, signals=["input"]))


def test_what_is_not_labelled_data_is_refused():
    with pytest.raises(TypeError, match="xarray DataTree .* got a ndarray"):
        stats.saturation(np.zeros((1, 2, 3)))
    with pytest.raises(TypeError, match=r"must be an xarray.DataTree.* got Dataset"):
        stats.summary(layer(LSTM))
    with pytest.raises(ValueError, match=f"at least one of '{registry.signals()[0]}'"):
        stats.summary(xarray.DataTree())


@given(
    hnp.arrays("float64", (5, 2), elements=st.floats(-100, 100)),
    st.integers(2, 5),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_mean_interval_is_the_t_interval_of_scipy(values, count, level):
    values = values[:count]
    assume((values.std(0) > 1e-3).all())  # SciPy warns where there is no spread.
    data = xarray.DataArray(values, dims=("seed", "epoch"))
    mean, low, high = stats.mean_interval(data, "seed", level=level)
    expected = scipy.stats.t.interval(
        level, count - 1, loc=values.mean(0), scale=scipy.stats.sem(values)
    )
    np.testing.assert_allclose(mean, values.mean(0))
    np.testing.assert_allclose([low, high], expected, rtol=1e-6, atol=1e-9)


def test_one_value_has_a_mean_and_no_interval():
    data = xarray.Dataset({"loss": ("seed", [2])})
    mean, low, high = stats.mean_interval(data, "seed")
    assert mean["loss"] == 2
    assert np.isnan(low["loss"]) and np.isnan(high["loss"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_seed_that_ran_away_is_not_left_out_of_the_mean(value):
    data = xarray.DataArray([[1, 2], [3, value]], dims=("seed", "epoch"))
    for result in stats.mean_interval(data, "seed"):
        assert np.isfinite(result).values.tolist() == [True, False]


def test_mean_interval_says_what_is_wrong():
    data = xarray.DataArray([1.0, 2.0], dims="seed")
    with pytest.raises(ValueError, match="`dim` must .* got 'run', and .*'seed': 2"):
        stats.mean_interval(data, "run")
    with pytest.raises(ValueError, match="`level` must lie between 0 and 1, .* 95"):
        stats.mean_interval(data, "seed", level=95)


def test_the_import_is_cheap():
    assert not {"xarray", "pandas", "scipy"} & set(vars(stats))
