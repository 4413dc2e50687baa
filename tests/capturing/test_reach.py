"""Reach: memory by experiment, with known answers."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates import plots
from keras_gates.capturing.retention import donors, fall


def latch(steps):
    """Keeps the sign of its first input for ever, with a forget gate of 0.5."""
    layer = layers.LSTM(1, name="r")
    model = sequential(layer, shape=(steps, 1))
    layer.set_weights(
        [
            np.array([[0.0, 0, 10, 0]]),
            np.array([[0.0, 0, 10, 0]]),
            np.array([10.0, 0, 0, 10]),
        ]
    )
    return model


def leaky(factors, steps):
    """Adds up its input, of which each unit keeps a factor at each step."""
    layer = layers.LSTM(
        len(factors),
        name="r",
        activation="linear",
        recurrent_initializer="zeros",
        unit_forget_bias=False,
    )
    model = sequential(layer, shape=(steps, 1))
    units = len(factors)
    kernel = np.zeros((1, 4 * units))
    kernel[:, 2 * units : 3 * units] = 1
    odds = np.log(np.array(factors) / (1 - np.array(factors)))
    is_open = np.full(units, 20.0)
    bias = np.concatenate([is_open, odds, np.zeros(units), is_open])
    layer.set_weights([kernel, np.zeros((units, 4 * units)), bias])
    return model


def test_a_latch_keeps_everything():
    steps = 20
    x = np.zeros((40, steps, 1), "float32")
    x[:, 0, 0] = np.random.default_rng(0).choice([-1.0, 1.0], 40)
    model = latch(steps)
    found = keras_gates.reach(model, x, batch_size=16)["r"]
    np.testing.assert_allclose(
        found["retention"].where(found["retention"].notnull(), 1), 1, atol=1e-5
    )
    assert np.isinf(found["reach"]).all() and np.isinf(found["reach_low"]).all()
    np.testing.assert_allclose(found["share"], 1, atol=1e-5)
    timescale = keras_gates.stats.timescale(keras_gates.capture(model, x))
    assert float(timescale["r/forget"][0]) == pytest.approx(1.44, abs=0.01)


@pytest.mark.parametrize("factor", [0.9, 0.95])
def test_a_leaky_integrator_reaches_as_far_as_its_gate_says(factor):
    steps = 120
    x = np.random.default_rng(1).normal(size=(200, steps, 1)).astype("float32")
    model = leaky([factor], steps)
    found = keras_gates.reach(model, x, time=[60], batch_size=200)["r"]
    expected = -1 / np.log(factor)
    assert found["reach_low"][0] <= expected <= found["reach_high"][0]
    assert float(found["reach"][0]) == pytest.approx(expected, rel=0.15)
    # Independent inputs: the part of the variance that comes from before the swap.
    share = factor ** (2 * (steps - 61))
    assert float(found["share"][0]) == pytest.approx(share, abs=0.02)


def test_the_share_of_a_leaky_integrator():
    steps, factor = 30, 0.98
    x = np.random.default_rng(1).normal(size=(300, steps, 1)).astype("float32")
    found = keras_gates.reach(leaky([factor], steps), x, time=[9, 19], batch_size=300)
    powers = factor ** (2 * np.arange(steps)[::-1])
    expected = [powers[:10].sum() / powers.sum(), powers[:20].sum() / powers.sum()]
    layer = found["r"]
    np.testing.assert_allclose(layer["share"], expected, rtol=0.2)
    assert (layer["share_low"] <= expected).all()
    assert (layer["share_high"] >= expected).all()


def test_backward_and_masked_layers():
    inner = layers.LSTM(3, name="lstm", return_sequences=True)
    model = sequential(
        layers.Masking(9.0), layers.Bidirectional(inner, name="b"), shape=(12, 1)
    )
    x = np.random.default_rng(1).normal(size=(30, 12, 1)).astype("float32")
    x[:10, 8:] = 9.0
    before = model.predict(x, verbose=0)
    found = keras_gates.reach(model, x, time=[4])
    forward, backward = (
        found[f"b/{name}_lstm/retention"][0].dropna("lag")
        for name in ("forward", "backward")
    )
    assert len(forward) == 8 and len(backward) == 5
    for curve in (forward, backward):
        assert float(curve[0]) == pytest.approx(1, abs=1e-5)
        assert float(curve[-1]) < 0.9
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_data_sets_are_read_again_and_again():
    model = leaky([0.9], 10)
    x = np.random.default_rng(1).normal(size=(20, 10, 1)).astype("float32")

    class Batches(keras.utils.PyDataset):
        num_batches = 2

        def __getitem__(self, index):
            return (x[10 * index : 10 * index + 10],)

    one = keras_gates.reach(model, Batches(), time=[4])["r"].to_dataset()
    other = keras_gates.reach(model, x, time=[4])["r"].to_dataset()
    for name in ("retention", "share"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_groups_choose_donors():
    model = leaky([0.9], 10)
    x = np.random.default_rng(1).normal(size=(20, 10, 1)).astype("float32")
    # The inputs to come undo those before: the state is not independent of them.
    x[:, 5:] = -x[:, :5][:, ::-1]
    with pytest.warns(UserWarning, match="The share of 'r' after step 4 is .*over 1"):
        keras_gates.reach(model, x, time=[4])
    groups = np.repeat(np.arange(10), 2)
    twins = np.repeat(x[::2], 2, axis=0)
    twins[1::2, :5] += 0.5
    found = keras_gates.reach(model, twins, time=[4], groups=groups)
    # Twins have the same inputs to come, so all that differs goes through the state.
    assert float(found["r/share"][0]) == pytest.approx(1, abs=1e-5)


def test_the_figure_shows_what_was_measured():
    steps = 20
    x = np.zeros((40, steps, 1), "float32")
    x[:, 0, 0] = np.random.default_rng(0).choice([-1.0, 1.0], 40)
    model = latch(steps)
    found = keras_gates.reach(model, x, time=[4, 9])["r"]
    figure = plots.reach(found, keras_gates.capture(model, x)["r"])
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[1].get_ydata(), np.ones(11), atol=1e-5)
    (at_least,) = (one for one in right.lines if one.get_marker() == "^")
    np.testing.assert_array_equal(at_least.get_xydata(), [[4, 15], [9, 10]])
    scales = right.collections[-1].get_offsets()[:, 1]
    np.testing.assert_allclose(scales, [1.4427], rtol=1e-3)
    with pytest.raises(ValueError, match="'r' has no retention"):
        plots.reach(keras_gates.capture(model, x)["r"])


@pytest.mark.once
def test_every_donor_is_another_sample_of_the_group():
    rng = np.random.default_rng(0)
    groups = np.array([0, 1, 0, 1, 2, 0])
    chosen = donors(groups, rng)
    assert (groups[chosen] == groups).all()
    assert np.flatnonzero(chosen == np.arange(6)).tolist() == [4]
    assert sorted(chosen) == list(range(6))


@pytest.mark.once
def test_the_fall_of_a_curve():
    assert fall(0.9 ** np.arange(30)) == pytest.approx(9.491, abs=1e-3)
    assert np.isinf(fall(np.array([1.0, 0.5, np.nan])))
    assert fall(np.array([1.0, 0.0])) == 1
    assert np.isnan(fall(np.full(3, np.nan)))


def test_bad_input_gets_a_sentence():
    model = latch(5)
    x = np.ones((4, 5, 1), "float32")
    with pytest.raises(ValueError, match=r"shape \(4,\) or \(4, 5\).*got \(3,\)"):
        keras_gates.reach(model, x, groups=[0, 1, 2])
    with pytest.raises(ValueError, match="no two samples are alike"):
        keras_gates.reach(model, x, groups=[0, 1, 2, 3])
    with pytest.raises(IndexError, match="`time` must be from 0 to 4; got 5"):
        keras_gates.reach(model, x, time=5)
    stateful = keras.Sequential(
        [keras.Input((5, 1), batch_size=2), layers.LSTM(1, name="r", stateful=True)]
    )
    with pytest.raises(ValueError, match="'r' cannot be measured: it is stateful"):
        keras_gates.reach(stateful, x, batch_size=2)
