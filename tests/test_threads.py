"""One model may be used in several threads at once, and nobody sees the others."""

import os
import threading
import time

import keras
import numpy as np
import pytest
from battery import distinct_weights
from keras import layers
from test_capture import sequential

import keras_gates
from keras_gates.nodes import walk
from keras_gates.tree import recurrent

ROUNDS = int(os.environ.get("KERAS_GATES_ROUNDS", "6"))
"""How often each thread does what it does; raise it for a long run."""
JAX = keras.backend.backend() == "jax"
TOLERANCE = 1e-6 if JAX else 0


@pytest.fixture
def model():
    both = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True, name="lstm"), name="both"
    )
    model = sequential(
        layers.Masking(),
        both,
        layers.GRU(4, return_sequences=True, dropout=0.3, seed=1, name="gru"),
        layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], name="rnn"),
        layers.Dropout(0.2, seed=2),
        layers.Dense(2, name="out"),
        shape=(5, 3),
    )
    distinct_weights(model, 0)
    return model


@pytest.fixture
def x(rng):
    x = rng.normal(size=(8, 5, 3)).astype("float32")
    x[0, 3:] = 0
    return x


def attributes_of(model):
    """What the objects of a model are, apart from the values of its variables."""
    found = {}
    for path, layer in [("", model), *walk(model)]:
        found[path] = type(layer), sorted(vars(layer))
        if isinstance(layer, layers.RNN):
            options = ("return_sequences", "zero_output_for_mask", "go_backwards")
            found[path] += tuple(getattr(layer, name) for name in options)
    return found


def values_of(model):
    return [keras.ops.convert_to_numpy(v).copy() for v in model.variables]


def assert_same(result, expected):
    if isinstance(expected, np.ndarray):
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE)
        return
    for node in recurrent(expected):
        for name, value in node.data_vars.items():
            got = result[node.path][name].values
            np.testing.assert_allclose(got, value, rtol=0, atol=TOLERANCE)


def at_once(*tasks, rounds=ROUNDS, until=None):
    """Runs each task again and again in a thread of its own, and raises what failed."""
    failures, counts = [], [0] * len(tasks)
    ready = threading.Barrier(len(tasks))

    def work(number, task):
        try:
            ready.wait()
            while counts[number] < rounds or (until is not None and not until()):
                task()
                counts[number] += 1
        except BaseException as failure:
            failures.append(failure)

    threads = [
        threading.Thread(target=work, args=pair, daemon=True)
        for pair in enumerate(tasks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts)


def expecting(function):
    """Returns a task that compares what a function returns with what it returned."""
    expected = function()

    def task():
        assert_same(function(), expected)

    return task


def instrumenting(model):
    def task():
        with keras_gates.instrument(model):
            assert isinstance(model.get_layer("gru"), keras_gates.GateGRU)
            time.sleep(0.001)
            assert isinstance(model.get_layer("gru"), keras_gates.GateGRU)

    return task


def captures(model, x):
    return [
        expecting(lambda: keras_gates.capture(model, x, batch_size=4)),
        expecting(lambda: keras_gates.capture(model, x, layers="gru", training=True)),
        expecting(
            lambda: keras_gates.capture(model, x, layers="both", signals="hidden")
        ),
    ]


def test_captures_predictions_and_instruments_at_once(model, x):
    predict = [] if JAX else [expecting(lambda: model.predict(x, verbose=0))]
    tasks = [
        *captures(model, x),
        *predict,
        # On JAX, `predict` gives the variables away while it runs; a call does not.
        expecting(lambda: keras.ops.convert_to_numpy(model(x, training=False))),
        instrumenting(model),
    ]
    attributes, values = attributes_of(model), values_of(model)
    at_once(*tasks)
    assert attributes_of(model) == attributes
    for value, before in zip(values_of(model), values, strict=True):
        np.testing.assert_array_equal(value, before)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, *os.sys.argv[1:]]))
