"""The diagnosis: each sentence where it is due, with the true figure, and not else."""

import warnings

import numpy as np
import pytest
import xarray
from captured import layer, tree

from keras_gates import stats
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.recording.alarms import Alarms
from keras_gates.stats.diagnosis_sums import count_signals

pytestmark = pytest.mark.once

DIMENSIONS = ("sample", "time", "unit")
SHAPE = (4, 20, 8)


def healthy(kind=LSTM, name="lstm"):
    """Gates all over their range, with a memory as long as the sequence."""
    rng = np.random.default_rng(0)
    data = {}
    for signal in kind.signals:
        low = 0.06 if signal in kind.gates else -1
        data[signal] = (DIMENSIONS, rng.uniform(low, 0.94, SHAPE))
    keep = 0.9 + 0.04 * rng.random(SHAPE)
    data[kind.keep] = (DIMENSIONS, keep)
    return xarray.Dataset(data, attrs={"cell_type": kind.name, "layer": name})


def sentences(gates, **options):
    return [symptom.message for symptom in stats.diagnose(gates, **options).findings]


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_a_diagnosis_without_findings_states_it(kind):
    found = stats.diagnose(healthy(kind, "a"))
    assert found.findings == []
    assert str(found) == "- No findings in 'a'."


@pytest.mark.parametrize(
    ("gate", "value", "words"),
    [
        ("forget", 0.97, "of 'forget' in 'lstm' is above 0.95: this layer hardly ever"),
        ("forget", 0.03, "of 'forget' in 'lstm' is below 0.05: the cell state hardl"),
        ("input", 0.97, "'input' in 'lstm' is above 0.95: this layer writes"),
        ("output", 0.97, "'output' in 'lstm' is above 0.95: this layer shows"),
    ],
)
def test_a_stuck_gate_is_reported_with_its_share(gate, value, words):
    gates = healthy()
    gates[gate][:3] = value  # Three samples of four.
    messages = [sentence for sentence in sentences(gates) if words in sentence]
    assert len(messages) == 1 and messages[0].startswith("75 %")
    assert not any(words in sentence for sentence in sentences(gates, min_fraction=0.8))
    gates[gate][2] = 0.5
    gates[gate][:2, :5] = 0.5
    assert not any(words in sentence for sentence in sentences(gates))


def test_masked_steps_count_in_no_share():
    gates = healthy()
    gates["forget"][:2] = 0.97
    masked = gates.copy(deep=True)
    for signal in LSTM.signals:
        masked[signal][3] = np.nan
    assert any(message.startswith("50 % of 'forget'") for message in sentences(gates))
    assert any(message.startswith("67 % of 'forget'") for message in sentences(masked))


def test_short_time_scales_are_reported_with_the_length():
    gates = healthy()
    gates["forget"][:] = np.exp(-1 / 0.8)
    (messages,) = sentences(gates)
    assert "is 0.8 steps, and the sequences have 20" in messages
    assert sentences(gates, min_memory_fraction=0.03) == []


def test_dead_units_are_counted_and_named():
    gates = healthy()
    gates["hidden"][..., 2] = 0.4
    gates["output"][..., 5] = 0.01
    (messages,) = sentences(gates)
    assert messages.startswith("2 of 8 units in 'lstm' are dead (2, 5)")


@pytest.mark.parametrize(
    ("kind", "words"),
    [(LSTM, "'input' and 1 - 'forget'"), (GRU, "'reset' and 'update'")],
)
def test_redundant_gates_are_reported(kind, words):
    gates = healthy(kind)
    first = "input" if kind is LSTM else "reset"
    keep = gates[kind.keep]
    gates[first] = 10 * (0.94 - keep) + 0.1 if kind is LSTM else 10 * (keep - 0.9) + 0.1
    (messages,) = sentences(gates)
    assert messages.startswith(words) and "correlation is 1.00" in messages
    assert sentences(gates, correlation=1.01) == []


def test_a_gate_near_0_5_is_reported_if_it_hardly_changes():
    gates = healthy()
    gates["output"] = 0.5 + 0.01 * (gates["output"] - 0.5)
    (messages,) = sentences(gates)
    assert messages.startswith("'output' in 'lstm' stays near 0.5 (entropy 1.00 bits")


def test_the_most_serious_comes_first_and_layers_keep_their_names():
    data = tree()
    data["encoder/lstm"]["hidden"][..., 0] = 0.4
    data["gru"]["hidden"][..., :3] = 0.4
    found = stats.diagnose(data)
    severities = [symptom.severity for symptom in found.findings]
    assert severities == sorted(severities, reverse=True)
    dead = [finding for finding in found.findings if "dead" in finding.message]
    assert [finding.layer for finding in dead] == ["gru", "encoder/lstm"]
    assert found.layers == ("encoder/lstm", "gru")


def test_checks_without_their_signals_are_skipped_and_masked_layers_are_named():
    assert sentences(healthy()[["cell"]]) == []
    masked = healthy().where(False)
    masked.attrs = {"layer": "lstm"}
    assert sentences(masked) == [
        "Every step of 'lstm' is masked: there is nothing to measure."
    ]
    with pytest.raises(ValueError, match="of one moment; 'a layer' has 2 steps"):
        stats.diagnose(xarray.concat([layer(LSTM), layer(LSTM, 1)], "step"))
    with pytest.raises(TypeError, match="got a DataArray"):
        stats.diagnose(healthy()["forget"])
    with pytest.raises(ValueError, match="at least one of"):
        stats.diagnose(xarray.Dataset())


def test_lazy_data_give_the_same_diagnosis():
    data = tree()
    assert str(stats.diagnose(data.chunk({"sample": 1}))) == str(stats.diagnose(data))


def test_one_sample_and_one_step_are_enough():
    gates = healthy().isel(sample=[0], time=[0])
    gates.attrs["layer"] = "lstm"
    assert all(isinstance(sentence, str) for sentence in sentences(gates))


@pytest.mark.parametrize("kind", [LSTM, GRU])
@pytest.mark.parametrize("masked", [False, True])
def test_the_one_pass_counts_what_the_measures_measure(kind, masked, monkeypatch):
    """The diagnosis has its own sums; they must not come to mean something else."""
    monkeypatch.setattr("keras_gates.stats.diagnosis_sums.CACHE_BYTES", 3 * 8 * 4)
    monkeypatch.setattr("keras_gates.stats.diagnosis_sums.BLOCK_BYTES", 2**12)
    gates = healthy(kind).astype("float32")
    gates["hidden"][..., 3] = 0.7 + 1e-5 * gates["hidden"][..., 3]
    gates[kind.gates[0]][0, :5, 2] = 0.97
    if masked:
        gates = gates.where(np.random.default_rng(1).random((4, 20, 1)) < 0.7)
        gates["mask"] = gates["hidden"].notnull().any("unit")
    counted = count_signals(
        gates[list(kind.signals)], kind, gates.get("mask"), 0.2, 0.8
    )
    wide = gates.astype("float64")
    sides = stats.saturation(wide, lower=0.2, upper=0.8)
    for gate in kind.gates:
        total = counted[gate].count * 8
        left, right = (sides[gate].sel(side=side).mean() for side in ("left", "right"))
        assert counted[gate].below / total == pytest.approx(left.item())
        assert counted[gate].above / total == pytest.approx(right.item())
    for signal in (*kind.gates, "hidden"):
        spread = wide[signal].std(("sample", "time"))
        np.testing.assert_allclose(counted[signal].spread, spread, rtol=2e-4, atol=1e-7)
    keep = counted[kind.keep]
    np.testing.assert_allclose(
        -keep.count / keep.logarithms, stats.timescale(wide)[kind.keep], rtol=1e-5
    )
    pair = kind.coupled
    sign = -1 if pair.opposed else 1
    np.testing.assert_allclose(
        sign * counted[pair[0]].correlation(counted[pair[1]]),
        stats.gate_correlation(wide)["gate_correlation"],
        atol=1e-5,
    )
    if kind is LSTM:
        largest = wide["output"].max(("sample", "time"))
        np.testing.assert_allclose(counted["output"].largest, largest, rtol=1e-6)
    assert not any(sums.broken for sums in counted.values())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_come_first(value):
    gates = healthy()
    gates["forget"][:] = 0.97
    gates["cell"][0, 0, 0] = value
    gates["hidden"][2:] = value
    messages = sentences(gates)
    assert messages[0].startswith("50 % of 'hidden' in 'lstm' is NaN or infinite: the")
    assert messages[1].startswith("Less than 1 % of 'cell'")
    assert any("hardly ever erases" in sentence for sentence in messages)


def test_a_model_that_diverged_is_not_called_masked():
    gates = healthy().where(False)
    gates.attrs = {"layer": "lstm"}
    gates["mask"] = (DIMENSIONS[:2], np.ones(SHAPE[:2], bool))
    assert sentences(gates)[0] == (
        "100 % of 'input' in 'lstm' is NaN or infinite: the model has diverged, or its "
        "input has such values."
    )


@pytest.mark.parametrize("lost", ["half", "all"])
def test_missing_values_of_a_capture_without_a_mask_are_not_called_masked(lost):
    """What `capture` returned has initial states; a table made by hand has none."""
    gates = healthy()
    captured = gates.assign_coords(
        initial_hidden=(("sample", "unit"), np.zeros((4, 8)))
    )
    where = xarray.DataArray(np.arange(4) < (2 if lost == "half" else 0), dims="sample")
    figure = 50 if lost == "half" else 100
    messages = sentences(captured.where(where).assign_attrs(gates.attrs))
    assert messages[0] == (
        f"{figure} % of 'input' in 'lstm' is NaN or infinite: the model has diverged, "
        "its input has such values, or a `mask` was left out."
    )
    assert not any("NaN" in message for message in sentences(gates.where(where)))


def test_a_store_with_missing_values_is_named():
    gates = healthy().where(False)
    gates["mask"] = (DIMENSIONS[:2], np.ones(SHAPE[:2], bool))
    gates.encoding = {"source": "/data/run.zarr"}
    assert sentences(gates)[0].endswith(
        "its input has such values, or values are missing from the store "
        "'/data/run.zarr'."
    )


def dying(condition):
    """Gates of an LSTM, unit 2 of which is dead in one way, and only in that one."""
    gates = healthy()
    if condition == "constant":
        gates["hidden"][..., 2] = 0.4
    elif condition:
        signal = {"never_shown": "output", "never_written": "input"}[condition]
        gates[signal][..., 2] = 0.07
    return gates


@pytest.mark.parametrize(
    "condition", [None, "constant", "never_shown", "never_written"]
)
def test_dead_means_one_thing(condition):
    """To the measure, to the diagnosis and to the alarm of a recorder."""
    gates = dying(condition)
    measured = stats.dead_units(gates)
    expected = [2] if condition else []
    assert np.flatnonzero(measured["dead"]).tolist() == expected
    for name in ("constant", "never_shown", "never_written"):
        assert measured[name].any() == (name == condition)
    messages = [sentence for sentence in sentences(gates) if "dead" in sentence]
    assert ["dead (2)" in sentence for sentence in messages] == [True] * len(expected)
    alarms = Alarms("warn", 1, lower=0.1, upper=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alarms.check(counted(gates), step=0, epoch=1)
    units = [alarm.units for alarm in alarms.found if alarm.code == "dead-units"]
    assert units == [(2,)] * len(expected)


def counted(gates):
    """What a recorder counts of the signals of a layer, as its statistics."""
    signals = gates.to_dataarray("signal")
    dims = ("sample", "time")
    count = signals.notnull().sum(dims)
    layer = xarray.Dataset(
        {
            "count": count,
            "mean": signals.mean(dims),
            "std": signals.std(dims),
            "min": signals.min(dims),
            "max": signals.max(dims),
            "left": (signals < 0.1).sum(dims) / count,
            "right": (signals > 0.9).sum(dims) / count,
        },
        attrs=gates.attrs,
    )
    return xarray.DataTree(children={"lstm": xarray.DataTree(layer)})


def test_padding_is_no_part_of_a_sequence():
    gates = healthy().isel(time=slice(8))
    gates["forget"][:] = np.exp(-1 / 2)
    padded = gates.pad(time=(0, 200))
    masked = padded.assign(mask=padded["hidden"].notnull().any("unit"))
    assert not any("longest time scale" in message for message in sentences(gates))
    messages = sentences(gates, min_memory_fraction=0.5)
    assert any("the sequences have 8" in one for one in messages)
    for reach in (0.1, 0.5):
        for other in (padded, masked):
            options = {"min_memory_fraction": reach}
            assert sentences(other, **options) == sentences(gates, **options)


def test_a_unit_that_amplifies_never_fades():
    gates = healthy()
    gates["forget"][:] = 0.3
    assert any("longest time scale" in message for message in sentences(gates))
    gates["forget"][..., 0] = 1.5
    assert not any("longest time scale" in message for message in sentences(gates))


def test_two_gates_over_a_few_steps_say_nothing_of_each_other():
    assert not any(
        "same" in t for t in sentences(healthy().isel(sample=[0, 1], time=[0]))
    )


def test_half_precision_and_a_first_step_unlike_the_rest_invent_nothing():
    rng = np.random.default_rng(0)
    half = rng.uniform(0.3, 0.7, (64, 1000, 4)).astype("float16")
    half = xarray.Dataset({"forget": (DIMENSIONS, half)}, attrs={"layer": "a"})
    counted = count_signals(half, LSTM, None, 0.1, 0.9)["forget"]
    wide = half["forget"].astype("float64")
    np.testing.assert_allclose(counted.spread, wide.std(("sample", "time")), rtol=1e-4)
    np.testing.assert_allclose(
        -counted.count / counted.logarithms, stats.timescale(wide), rtol=1e-4
    )
    hidden = 0.7 + 2e-3 * rng.normal(size=(4, 5000, 3)).astype("float32")
    hidden[0, 0] = -0.9
    still = xarray.Dataset({"hidden": (DIMENSIONS, hidden)}, attrs={"layer": "a"})
    spread = count_signals(still, LSTM, None, 0.1, 0.9)["hidden"].spread
    np.testing.assert_allclose(spread, hidden.std((0, 1), dtype="float64"), rtol=1e-4)


def test_the_order_of_dimensions_and_a_smaller_mask_do_not_matter():
    gates = healthy().where(np.arange(20)[:, None] < 15)
    mask = xarray.DataArray(np.arange(20) < 15, dims="time")
    turned = gates.transpose("time", "unit", "sample").assign(mask=mask)
    wanted = count_signals(gates, LSTM, None, 0.3, 0.7)
    for name, sums in count_signals(
        turned[list(gates)], LSTM, turned["mask"], 0.3, 0.7
    ).items():
        assert sums.count == wanted[name].count == 60
        np.testing.assert_allclose(sums.mean, wanted[name].mean)
    assert sentences(turned) == sentences(gates)


def test_of_one_step_nothing_is_called_constant():
    one = healthy().isel(sample=[0], time=[0])
    assert sentences(one[["hidden"]]) == []
    assert not stats.dead_units(one)["constant"].any()
