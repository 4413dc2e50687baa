"""Measures of whole units against slow loops, and against values that are known."""

import math

import numpy as np
import pytest
import xarray
from captured import SIGMOID_OF_ONE, layer, tree, unmasked
from hypothesis import given
from hypothesis import strategies as st

from keras_gates import stats
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.cells.kinds.simple_rnn import SIMPLE_RNN

pytestmark = pytest.mark.once

DIMENSIONS = ("sample", "time", "unit")


def constant(shape=(2, 50, 3), **signals):
    data = {
        name: (DIMENSIONS, np.full(shape, value)) for name, value in signals.items()
    }
    return xarray.Dataset(data, attrs={"layer": "constant"})


# Entropy


def test_entropy_is_that_of_each_unmasked_step():
    gates = layer(LSTM)
    found = stats.entropy(gates)
    for gate in LSTM.gates:
        for unit in range(4):
            bits = [
                -p * math.log2(p) - (1 - p) * math.log2(1 - p)
                for p in map(float, unmasked(gates[gate].values, unit))
                if 0 < p < 1
            ]
            assert found[gate][unit].item() == pytest.approx(np.mean(bits), rel=1e-5)


def test_entropy_at_the_edges():
    values = [[[0.0, 1.0, 0.5, np.nan, 1.2], [1.0, 1.0, 0.5, np.nan, 0.5]]]
    gate = xarray.DataArray(values, dims=DIMENSIONS)
    np.testing.assert_array_equal(stats.entropy(gate), [0, 0, 1, np.nan, np.nan])


# Dead units


def test_dead_units_are_those_that_do_nothing():
    rng = np.random.default_rng(0)
    shape = (4, 6, 5)
    hidden = rng.normal(size=shape)
    output, written = rng.uniform(0.05, 0.9, size=(2, *shape))
    hidden[..., 1] = 0.7 + 0.0005 * hidden[..., 1]
    output[..., 2] *= 0.1
    written[..., 3] *= 0.1
    # Shut but for one step: alive.
    output[..., 4] *= 0.1
    output[0, 0, 4] = 0.5
    gates = xarray.Dataset(
        {
            "hidden": (DIMENSIONS, hidden),
            "output": (DIMENSIONS, output),
            "input": (DIMENSIONS, written),
        }
    )
    found = stats.dead_units(gates)
    assert found["constant"].values.tolist() == [False, True, False, False, False]
    assert found["never_shown"].values.tolist() == [False, False, True, False, False]
    assert found["never_written"].values.tolist() == [False, False, False, True, False]
    assert found["dead"].values.tolist() == [False, True, True, True, False]
    assert stats.dead_units(gates, min_std=9, lower=0)["constant"].all()
    assert not stats.dead_units(gates, min_std=0, lower=0)["dead"].any()


def test_masked_steps_neither_kill_nor_save_a_unit():
    gates = layer(GRU)
    gates["hidden"][..., 2] = 0.25
    gates["hidden"][0, :2] = np.nan
    assert stats.dead_units(gates)["dead"].values.tolist() == [
        False,
        False,
        True,
        False,
    ]
    assert "never_shown" not in stats.dead_units(gates)
    masked = gates.where(False)
    assert not stats.dead_units(masked)["dead"].any()


# The correlation of two gates


@pytest.mark.parametrize(
    ("kind", "first", "second", "sign"),
    [(LSTM, "input", "forget", -1), (GRU, "reset", "update", 1)],
)
def test_gate_correlation_is_that_of_pearson(kind, first, second, sign):
    gates = layer(kind)
    found = stats.gate_correlation(gates)["gate_correlation"]
    for unit in range(4):
        pair = [unmasked(gates[name].values, unit) for name in (first, second)]
        expected = sign * np.corrcoef(*pair)[0, 1]
        assert found[unit].item() == pytest.approx(expected, abs=1e-6)


def test_coupled_gates_correlate_and_constant_ones_do_not():
    gates = layer(LSTM)
    gates["input"] = 1 - gates["forget"]
    found = stats.gate_correlation(gates)["gate_correlation"]
    np.testing.assert_allclose(found, 1, atol=1e-6)
    found = stats.gate_correlation(constant(input=0.3, forget=0.3))
    assert np.isnan(found["gate_correlation"]).all()


# The memory horizon


def slow_horizon(write, keep, share=0.9):
    """Of one unit: lists of samples, each a list of (write, keep) of its real steps."""
    shares = []
    for writes, keeps in zip(write, keep, strict=True):
        last = len(writes) - 1
        weights = [
            writes[last - lag] * math.prod(keeps[last - lag + 1 :])
            for lag in range(len(writes))
        ]
        shares.append(
            [sum(weights[: lag + 1]) / sum(weights) for lag in range(last + 1)]
        )
    longest = max(map(len, shares))
    for lag in range(longest):
        reached = [sample[min(lag, len(sample) - 1)] for sample in shares]
        if np.mean(reached) >= share - 1e-9:
            return lag
    raise AssertionError


@given(
    seed=st.integers(0, 10**6),
    share=st.floats(0.05, 0.95),
    kind=st.sampled_from([LSTM, GRU]),
    backward=st.booleans(),
)
def test_the_horizon_is_that_of_a_slow_loop(seed, share, kind, backward):
    rng = np.random.default_rng(seed)
    gates = layer(kind, seed, shape=(3, 7, 2))
    holes = rng.random((3, 7)) < 0.3
    holes[:, 3] = False  # At least one real step.
    gates = gates.where(xarray.DataArray(~holes, dims=DIMENSIONS[:2]))
    gates.attrs = {
        "cell_type": kind.name,
        "direction": "backward" if backward else "forward",
    }
    found = stats.memory_horizon(gates, fraction=share)["memory_horizon"]
    for unit in range(2):
        write, keep = [], []
        for sample in range(3):
            kept = gates[kind.keep].values[sample, :, unit].astype(float)
            if kind is GRU:
                written = 1 - kept
            else:
                written = gates["input"].values[sample, :, unit].astype(float)
            real = ~np.isnan(kept)
            order = slice(None, None, -1 if backward else 1)
            write.append(written[real][order].tolist())
            keep.append(kept[real][order].tolist())
        assert found[unit].item() == slow_horizon(write, keep, share)


def test_constant_gates_have_the_known_horizon():
    # The weights fall like f ** lag: nine tenths are there once f ** (lag + 1) <= 0.1.
    for forget in (0.3, SIGMOID_OF_ONE, 0.9):
        expected = math.ceil(math.log(0.1) / math.log(forget)) - 1
        found = stats.memory_horizon(constant((1, 400, 1), input=0.2, forget=forget))
        assert found["memory_horizon"].item() == expected
        same = stats.memory_horizon(constant((1, 400, 1), update=forget))
        assert same["memory_horizon"].item() == expected


def test_a_unit_that_wrote_once_remembers_that_step():
    gates = constant((1, 40, 1), input=0.0, forget=0.999)
    gates["input"][0, 4] = 0.8
    assert stats.memory_horizon(gates)["memory_horizon"].item() == 40 - 1 - 4
    nothing = stats.memory_horizon(constant(input=0.0, forget=0.5))
    assert np.isnan(nothing["memory_horizon"]).all()


def test_chrono_initialisation_gives_the_span_it_was_made_for():
    """Tallec and Ollivier (2018): a bias of ln(T - 1) gives 1 / (1 - f) = T exactly."""
    for span in (10, 100):
        forget = 1 / (1 + math.exp(-math.log(span - 1)))
        assert 1 / (1 - forget) == pytest.approx(span)
        tau = stats.timescale(constant(forget=forget))["forget"][0].item()
        assert span - 1 < tau < span


# Trees, lazy data, and what is missing


MEASURES = [
    stats.entropy,
    stats.dead_units,
    stats.gate_correlation,
    stats.memory_horizon,
]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_trees_and_lazy_data_give_the_same_as_layers(measure):
    data = tree()
    found = measure(data)
    for path in ("encoder/lstm", "gru"):
        alone = measure(data[path].to_dataset())
        xarray.testing.assert_identical(found[path].to_dataset(), alone)
    lazy = data.chunk({"sample": 1, "time": 2, "unit": 3})
    later = measure(lazy)
    for path in ("encoder/lstm", "gru"):
        for name, values in later[path].data_vars.items():
            assert values.chunks is not None
            np.testing.assert_allclose(
                values.compute(), found[f"{path}/{name}"], rtol=1e-6
            )


@pytest.mark.parametrize("measure", MEASURES[1:], ids=lambda measure: measure.__name__)
def test_steps_of_training_stay_apart(measure):
    steps = [layer(LSTM, seed) for seed in (1, 2)]
    together = measure(xarray.concat(steps, "step"))
    for step, alone in enumerate(steps):
        for name, values in measure(alone).items():
            np.testing.assert_allclose(together[name].isel(step=step), values)


@pytest.mark.parametrize(
    ("measure", "signals", "sentence"),
    [
        (
            stats.gate_correlation,
            ["input", "output"],
            "'input' and 'forget', or 'reset' and 'update'; it has 'input', 'output'",
        ),
        (
            stats.memory_horizon,
            ["forget"],
            "'input' and 'forget', or 'update'; it has 'forget'",
        ),
        (stats.dead_units, ["cell"], "at least one of 'hidden', 'output', 'input'"),
        (stats.entropy, ["hidden"], "at least one of 'input', 'forget', 'output'"),
    ],
)
def test_missing_signals_are_named_with_the_way_to_get_them(measure, signals, sentence):
    with pytest.raises(ValueError, match=f"{sentence}.*capture"):
        measure(layer(LSTM, signals=signals))


@pytest.mark.parametrize("measure", MEASURES[1:], ids=lambda measure: measure.__name__)
def test_one_gate_is_not_enough_for_a_unit(measure):
    with pytest.raises(TypeError, match="got a DataArray"):
        measure(layer(LSTM)["forget"])


@pytest.mark.parametrize("share", [0, 1, -0.5, math.nan])
def test_a_share_must_be_one(share):
    with pytest.raises(ValueError, match="`fraction` must lie between 0 and 1"):
        stats.memory_horizon(layer(LSTM), fraction=share)


# Layers without the gates that a measure needs

NEEDING = [
    stats.saturation,
    stats.entropy,
    stats.timescale,
    stats.half_life,
    stats.gate_correlation,
    stats.memory_horizon,
]
EACH_NEEDING = pytest.mark.parametrize("measure", NEEDING, ids=lambda m: m.__name__)


@EACH_NEEDING
def test_a_layer_of_a_kind_without_gates_is_refused_by_its_kind(measure):
    alone = layer(SIMPLE_RNN)
    sentence = "must hold at least one of '.*layers of kind SimpleRNN only, which have"
    for gates in (alone, xarray.DataTree(alone)):
        with pytest.raises(ValueError, match=sentence):
            measure(gates)


@EACH_NEEDING
def test_a_layer_of_a_kind_without_gates_is_left_out_among_others(measure):
    with_gates, all_of_them = tree(), tree()
    all_of_them["rnn"] = xarray.DataTree(layer(SIMPLE_RNN))
    xarray.testing.assert_identical(measure(all_of_them), measure(with_gates))


@pytest.mark.parametrize("measure", [stats.gate_correlation, stats.memory_horizon])
@pytest.mark.parametrize("lost", ["input", "forget"])
def test_a_layer_that_lacks_one_of_two_gates_is_left_out_among_others(measure, lost):
    gates = tree()
    gates["lacking"] = xarray.DataTree(layer(LSTM).drop_vars(lost))
    xarray.testing.assert_identical(measure(gates), measure(tree()))
    with pytest.raises(ValueError, match="in one layer, 'input' and 'forget', or "):
        measure(gates["lacking"])


def test_what_needs_no_gate_takes_a_layer_without_gates():
    gates = xarray.DataTree.from_dict({"/rnn": layer(SIMPLE_RNN)})
    assert set(stats.dead_units(gates)["rnn"].data_vars) == {"constant", "dead"}
    assert stats.summary(gates).index.tolist() == [("rnn", "hidden")]
    assert str(stats.diagnose(gates)) == "- No findings in 'rnn'."
    found = stats.find_similar_spans(gates, layer="rnn", units=0, span=(1, 3), sample=1)
    assert len(found)
    with pytest.raises(ValueError, match="is a SimpleRNN, which has no 'cell'"):
        stats.find_similar_spans(
            gates, layer="rnn", units=0, span=(1, 3), signal="cell"
        )
    with pytest.raises(ValueError, match="of kind LSTM; got the SimpleRNN layer"):
        stats.match_units(gates["rnn"], layer(GRU))


def test_a_dead_unit_is_called_what_its_kind_can_be():
    for kind, words in (
        (LSTM, "constant, never shown or never written."),
        (GRU, "constant."),
        (SIMPLE_RNN, "constant."),
    ):
        still = layer(kind)
        still["hidden"] = still["hidden"].where(still["hidden"].isnull(), 0.5)
        messages = [one.message for one in stats.diagnose(still).findings]
        assert any(sentence.endswith(f": {words}") for sentence in messages), messages
