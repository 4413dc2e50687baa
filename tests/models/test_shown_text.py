"""A notebook shows what is made to be printed as `print` does."""

import keras
import pytest
from keras import layers
from small_models import sequential

import keras_gates

pytestmark = pytest.mark.once


def shown(thing):
    """Returns what a notebook shows of an object in a cell's last line."""
    return thing._repr_html_()


def test_a_notebook_shows_the_sentences_and_not_the_fields():
    advice = keras_gates.rule_of_thumb(timesteps=20, samples=100)
    assert shown(advice).startswith("<pre>GRU, according to the rule of thumb:\n")
    figures = {name: 0.0 for name in ("mean", "low", "high", "p_value", "std")}
    difference = keras_gates.Difference(
        "LSTM<4>", "GRU", "loss", seeds=2, prob_a_better=0.5, pairs=(), **figures
    )
    assert "LSTM&lt;4&gt; - GRU: 0" in shown(difference)
    assert "no difference shown" in shown(difference)
    model = sequential(layers.LSTM(2, name="lstm"), shape=(3, 2))
    assert shown(keras_gates.kernels(model)["lstm"]).startswith("<pre>&#x27;lstm&#x27;")
    accelerated = keras_gates.accelerate(model)
    assert shown(accelerated) == "<pre>&#x27;lstm&#x27;: fast kernel</pre>"


def test_a_notebook_shows_the_table_of_a_study():
    def build():
        model = keras.Sequential([keras.Input((3, 1)), layers.GRU(1), layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    x = keras.ops.convert_to_numpy(keras.random.normal((8, 3, 1)))
    data = {"validation_data": (x, x[:, 0]), "seeds": 2, "epochs": 1}
    study = keras_gates.compare({"A": build, "B": build}, x, x[:, 0], **data)
    assert "A - B: " in str(study)
    assert "A - B: " in shown(study)


def test_a_recorder_without_alarms_says_so():
    """Nothing at all would look as if the cell had not run."""
    assert str(keras_gates.GateRecorder().alarms) == "- No alarms."
