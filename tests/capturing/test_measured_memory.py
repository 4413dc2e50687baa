"""Sentences about memory come from an experiment, where there is one."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_gates
from keras_gates import stats
from keras_gates.study.builders import builders_of
from keras_gates.study.prepared_tasks import PREPARED
from keras_gates.study.study_data import checked_data


@pytest.fixture(scope="module")
def latch():
    """An LSTM that keeps the sign of its first input, with a forget gate of 0.5."""
    lstm = layers.LSTM(1, name="lstm")
    model = keras.Sequential([keras.Input((30, 1)), lstm])
    lstm.set_weights(
        [
            np.array([[0.0, 0.0, 10.0, 0.0]]),
            np.array([[0.0, 0.0, 10.0, 0.0]]),
            np.array([10.0, 0.0, 0.0, 10.0]),
        ]
    )
    x = np.zeros((30, 30, 1), "float32")
    x[:, 0, 0] = np.random.default_rng(0).choice([-1.0, 1.0], 30)
    return model, x


def test_a_latch_is_not_reported_to_forget(latch):
    model, x = latch
    gates = keras_gates.capture(model, x)
    alone = str(stats.diagnose(gates))
    assert "is 1.44 steps, and the sequences have 30: the gates alone keep" in alone
    assert "`keras_gates.reach` measures whether the recurrent weights do" in alone
    measured = keras_gates.reach(model, x, time=[4, 12])
    first, *others = stats.diagnose(gates, measured).findings
    assert first.message == (
        "'lstm' still remembers its state after step 4 when the sequence ends, 25 "
        "steps later; measured by swapping states."
    )
    assert not any("longest time scale" in one.message for one in others)
    of_layer = stats.diagnose(gates["lstm"].to_dataset(), measured["lstm"].to_dataset())
    assert of_layer.findings[0].message == first.message


def test_a_leak_is_measured(latch):
    lstm = layers.LSTM(1, name="lstm")
    model = keras.Sequential([keras.Input((60, 1)), lstm])
    logit = np.log(0.9 / 0.1)
    lstm.set_weights(
        [
            np.array([[0.0, 0.0, 0.1, 0.0]]),
            np.zeros((1, 4)),
            np.array([10.0, logit, 0.0, 10.0]),
        ]
    )
    x = np.random.default_rng(0).normal(size=(300, 60, 1)).astype("float32")
    measured = keras_gates.reach(model, x, time=[25])
    first, *_ = stats.diagnose(keras_gates.capture(model, x), measured).findings
    assert first.message.startswith("'lstm' remembers its state after step 25 for ")
    assert first.value == pytest.approx(-1 / np.log(0.9), abs=1.0)


@pytest.mark.once
def test_a_trained_network_is_measured():
    """The LSTM of the demonstration, whose gates say less than its memory is."""
    task = PREPARED["sine"]()
    keras.utils.set_random_seed(0)
    data = checked_data(*task.train, task.test)
    model = builders_of(["LSTM"], task.recipe, data)["LSTM"]()
    model.fit(*task.train, epochs=2, batch_size=64, verbose=0)
    x = task.test[0][:150]
    gates = keras_gates.capture(model, x)
    alone = str(stats.diagnose(gates))
    for word in ("remember", "forgot", "faded", "memory"):
        assert word not in alone.replace("`keras_gates.reach` measures", "")
    measured = keras_gates.reach(model, x)
    first, *others = stats.diagnose(gates, measured).findings
    low, high = (measured[f"lstm/reach_{end}"].max() for end in ("low", "high"))
    assert low <= first.value <= high
    assert "remembers its state after step" in first.message
    assert not any("longest time scale" in one.message for one in others)
    longest = float(stats.timescale(gates)["lstm/forget"].max())
    assert first.value > longest


def test_what_is_no_reach_gets_a_sentence(latch):
    model, x = latch
    gates = keras_gates.capture(model, x)
    with pytest.raises(
        ValueError, match="`reach` must be what .*; it holds no `reach`"
    ):
        stats.diagnose(gates, gates)
    with pytest.raises(TypeError, match="`reach` must be what `keras_gates.reach` ret"):
        stats.diagnose(gates, 0.1)
