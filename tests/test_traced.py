"""Layers inside functions that the backend compiles, or runs again, on its own.

Their statistics and captures are right, or a sentence says at once that they are not.
"""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from test_capture import sequential

import keras_gates

BACKEND = keras.backend.backend()
SENTENCE = "The recorder cannot count the gates of 'r'"


def compiled(function):
    """Compiles a function as a user of the backend would."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.compile(function, backend="eager")


class Inside(keras.Model):
    """A model whose recurrent layer runs inside a function."""

    def __init__(self, wrap=lambda function: function):
        super().__init__()
        self.r = layers.LSTM(4, name="r")
        self.head = layers.Dense(1)
        self.helper = wrap(lambda x: self.r(x))

    def call(self, x):
        return self.head(self.helper(x))

    def build(self, shape):
        self.r.build(shape)
        self.head.build((shape[0], 4))


def build(model, **options):
    model.build((None, 5, 2))
    values = np.random.default_rng(1)
    model.set_weights([values.normal(size=w.shape) for w in model.get_weights()])
    model.compile(keras.optimizers.SGD(0.0), "mse", **options)
    return model


@pytest.fixture
def data(rng):
    return rng.normal(size=(24, 5, 2)).astype("float32"), rng.normal(size=(24, 1))


def fit(model, data, *recorders, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(*data, callbacks=[*recorders], **options)


def expected(data):
    return keras_gates.capture(build(Inside()), data[0])["r"]


def assert_right(recorder, data, steps=1, rows=24):
    """Compares statistics with the gates of the same model without any wrapping."""
    statistics = recorder.statistics["r"]
    assert statistics["count"][:, 0, 0].values.tolist() == [rows * 5] * steps
    if rows == 24:
        means = expected(data)["forget"].mean(("sample", "time"))
        for step in range(steps):
            found = statistics["mean"].sel(gate="forget")[step]
            np.testing.assert_allclose(found, means, atol=2e-6)


def with_scope():
    with keras.RematScope(mode="full"):
        return Inside()


def on_layer():
    model = Inside()
    model.r.call = compiled(model.r.call)
    return model


def on_call():
    model = Inside()
    model.call = compiled(model.call)
    return model


def own_step():
    model = Inside()
    model.train_step = compiled(model.train_step)
    return model


MODELS = {
    "helper": lambda: Inside(compiled),
    "call": on_call,
    "layer": on_layer,
    "remat": lambda: Inside(keras.remat),
    "scope": with_scope,
}
if BACKEND == "tensorflow":
    MODELS["step"] = own_step
BY_A_SENTENCE = {"helper", "call", "layer", "remat"} if BACKEND == "jax" else set()


@pytest.mark.parametrize("before", [False, True], ids=["first", "after a fit"])
@pytest.mark.parametrize("where", MODELS)
def test_statistics_are_right_or_a_sentence_says_that_they_are_not(
    where, before, data
):
    model = build(MODELS[where]())
    if before:
        fit(model, data)
        model.predict(data[0], verbose=0)
    every = keras_gates.GateRecorder(samples_per_batch="all")
    few = keras_gates.GateRecorder(samples_per_batch=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, data, every, few, epochs=2)
        said = [str(w.message) for w in caught if SENTENCE in str(w.message)]
    if where in BY_A_SENTENCE:
        assert len(said) == 2  # Each recorder, once.
        for recorder in (every, few):
            assert (recorder.statistics["r/count"] == 0).all()
            assert recorder.statistics["r/mean"].isnull().all()
        return
    assert not said
    assert_right(every, data, steps=2)
    assert_right(few, data, steps=2, rows=6)
    # What was traced while a recorder looked on counts nothing afterwards.
    fit(model, data)
    model.predict(data[0], verbose=0)
    model.evaluate(*data, verbose=0)
    for recorder in (every, few):
        counted = recorder._watcher.read()["r"]
        assert counted["count"] == 0
