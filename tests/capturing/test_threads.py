"""One model may be used in several threads at once, and nobody sees the others."""

import contextlib
import functools
import os
import threading
import time

import keras
import numpy as np
import pytest
from battery import distinct_weights
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates.capturing.reader import Reader
from keras_gates.models.find_layers import walk
from keras_gates.trees.tree_walk import recurrent

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


def values_of(model, seeds=True):
    """The values of all variables; Keras itself moves the seeds when it predicts."""
    return [
        keras.ops.convert_to_numpy(variable).copy()
        for variable in (model.variables if seeds else model.weights)
    ]


@contextlib.contextmanager
def unchanged(model, seeds=True):
    attributes, values = attributes_of(model), values_of(model, seeds)
    yield
    assert attributes_of(model) == attributes
    for value, before in zip(values_of(model, seeds), values, strict=True):
        np.testing.assert_array_equal(value, before)


def assert_same(result, expected):
    if isinstance(expected, np.ndarray):
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE)
        return
    for node in recurrent(expected):
        for name, value in node.data_vars.items():
            got = result[node.path][name].values
            np.testing.assert_allclose(got, value, rtol=0, atol=TOLERANCE)


def at_once(*tasks, rounds=ROUNDS, until=lambda: True):
    """Runs each task again and again in a thread of its own, and raises what failed."""
    failures, counts = [], [0] * len(tasks)
    ready = threading.Barrier(len(tasks))

    def work(number, task):
        try:
            ready.wait()
            while counts[number] < rounds or not until():
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


def capturing(model, x, batch_size=32, **options):
    """Captures as `capture` does, with a function that is compiled now and then."""
    kept = []

    def read():
        if len(kept) % max(4, ROUNDS // 8) == 0:
            kept.append(Reader(model, **options))
        else:
            kept.append(kept[-1])
        return kept[-1].read_all(x, batch_size=batch_size)

    return expecting(read)


def calling(model, x):
    return expecting(lambda: keras.ops.convert_to_numpy(model(x, training=False)))


def describing(model, path):
    """Copies and saves a model, which must give the stock layers that it has."""
    classes = [type(layer) for _, layer in walk(model)]

    def task():
        model.save(path)
        for copy in (keras.models.clone_model(model), keras.models.load_model(path)):
            assert [type(layer) for _, layer in walk(copy)] == classes

    return task


def test_captures_of_one_model_at_once(model, x):
    tasks = [
        capturing(model, x, batch_size=4),
        capturing(model, x, layers="gru", training=True),
        capturing(model, x, layers="both", signals="hidden", training=True),
        instrumenting(model),
    ]
    with unchanged(model):
        at_once(*tasks)


def test_captures_during_everything_else_that_does_not_train(model, x, tmp_path):
    tasks = [
        capturing(model, x, batch_size=4),
        instrumenting(model),
        expecting(lambda: model.predict(x, verbose=0)),
    ]
    if not JAX:
        # On JAX, `predict` takes the variables from the model while it runs, and
        # another user of Keras's own finds none.
        tasks += [calling(model, x), describing(model, tmp_path / "model.keras")]
    with unchanged(model, seeds=False):
        at_once(*tasks)


@pytest.mark.skipif(not JAX, reason="elsewhere beside `predict`, above")
def test_calls_and_copies_during_captures_on_jax(model, x, tmp_path):
    tasks = [
        capturing(model, x),
        instrumenting(model),
        calling(model, x),
        describing(model, tmp_path / "model.keras"),
    ]
    with unchanged(model, seeds=False):
        at_once(*tasks)


def train(model, x, beside=()):
    """Trains a copy of a model with a recorder, beside tasks in other threads."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile(keras.optimizers.SGD(0.01), "mse")
    recorder = keras_gates.GateRecorder(x[:3], samples_per_batch=4)
    y = np.ones((len(x), 2), "float32")
    options = {
        "epochs": max(2, ROUNDS // 3),
        "batch_size": 4,
        "shuffle": False,
        "verbose": 0,
    }
    ended = threading.Event()

    def fit():
        try:
            copy.fit(x, y, callbacks=[recorder], **options)
        finally:
            ended.set()

    copy.predict(x, verbose=0)
    before = attributes_of(copy)
    others = [make(copy, x) for make in beside]
    at_once(fit, *others, rounds=1, until=ended.is_set)
    assert attributes_of(copy).keys() == before.keys()
    for path, (cls, _, *rest) in attributes_of(copy).items():
        assert (cls, rest) == (before[path][0], list(before[path][2:]))
    return values_of(copy, seeds=False), recorder


def predicting_in_shape(model, x):
    def task():
        predicted = model.predict(x, verbose=0)
        assert predicted.shape == (len(x), 2) and np.isfinite(predicted).all()

    return task


def capturing_truly(model, x):
    reader = Reader(model)

    def task():
        gates = reader.read_all(x)
        assert (keras_gates.verify(gates) < 1e-5).all()

    return task


@pytest.mark.skipif(JAX, reason="Keras takes the variables from a model that trains")
def test_training_with_a_recorder_during_captures_and_predictions(x):
    # Without recurrent dropout, whose masks `fit` and `predict` share in Keras itself.
    model = sequential(layers.GRU(4, name="gru"), layers.Dense(2), shape=(5, 3))
    beside = capturing_truly, predicting_in_shape, lambda model, x: instrumenting(model)
    alone, observed = train(model, x)
    weights, heard = train(model, x, beside)
    for value, expected in zip(weights, alone, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert_same(heard.traces, observed.traces)
    assert_same(heard.statistics, observed.statistics)


@pytest.mark.skipif(not JAX, reason="elsewhere a model that trains has its variables")
def test_a_capture_during_training_on_jax_gets_a_sentence(model, x, monkeypatch):
    from keras_gates.backend import jax as seam

    monkeypatch.setattr(seam, "PATIENCE", 0.1)
    model.compile("sgd", "mse")
    caught = []

    class Meanwhile(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if not caught:
                with pytest.raises(
                    RuntimeError, match="is training or running at this moment"
                ):
                    keras_gates.capture(self._model, x, layers="gru")
                caught.append(batch)

    y = np.ones((8, 2))
    model.fit(x, y, batch_size=2, callbacks=[Meanwhile()], verbose=0)
    assert caught


def test_a_layer_that_returns_its_gates_runs_in_several_threads(x):
    inputs = keras.Input((5, 3))
    output, gates = keras_gates.GateLSTM(4, return_gates=True, name="r")(inputs)
    model = keras.Model(inputs, [output, gates["forget"]])

    def run(x):
        return expecting(lambda: keras.ops.convert_to_numpy(model(x)[1]))

    with unchanged(model):
        at_once(run(x), run(x[:3]), capturing(model, x))


def test_training_between_the_batches_of_a_capture_stays_and_is_not_seen(model, x):
    model.compile("sgd", "mse")
    plain = keras_gates.capture(model, x, batch_size=4, training=True)
    trained = []

    def batches():
        yield x[:4]
        model.train_on_batch(x, np.ones((8, 2)))
        trained.extend(values_of(model))
        yield x[4:]

    assert_same(keras_gates.capture(model, batches(), training=True), plain)
    for value, expected in zip(values_of(model), trained, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_losses_that_layers_add_are_left(x):
    model = sequential(
        layers.ActivityRegularization(l2=0.1), layers.LSTM(2, name="r"), shape=(5, 3)
    )
    before = len(model.losses)
    keras_gates.capture(model, x, training=True)
    assert len(model.losses) == before


def test_layers_that_are_built_by_their_first_run_have_their_own_weights(x):
    class Late(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.r = layers.Dense(3), layers.LSTM(2, name="r")
            self.r.build((None, 5, 3))
            self.built = True

        def call(self, x):
            return self.r(self.first(x))

    model = Late()
    gates = keras_gates.capture(model, x)
    assert model.first.built
    assert_same(keras_gates.capture(model, x), gates)


@pytest.mark.once
def test_layers_of_one_class_of_the_users_get_one_gate_class():
    class Own(layers.LSTM):
        pass

    models = [sequential(Own(2), shape=(5, 3)) for _ in range(4)]
    found = []

    def work(model):
        with keras_gates.instrument(model):
            found.append(type(model.layers[0]))

    at_once(*(functools.partial(work, model) for model in models), rounds=1)
    assert len(set(found)) == 1


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, *os.sys.argv[1:]]))
