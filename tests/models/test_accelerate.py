"""Fast kernels in place of stock layers: the same model, within rounding."""

import keras
import numpy as np
import pytest
from keras import layers
from own_cells import MGUCell
from small_models import Scaled, sequential

import keras_gates
from keras_gates.layers import gate_mixins


@pytest.fixture
def fast_runs(monkeypatch):
    """The names of the layers that run in a fast kernel, or are compiled to."""
    names = []

    def counted(owner, *arguments):
        names.append(owner.name)
        return gate_mixins_run_fast(owner, *arguments)

    gate_mixins_run_fast = gate_mixins.run_fast
    monkeypatch.setattr(gate_mixins, "run_fast", counted)
    return names


def build():
    keras.utils.set_random_seed(3)
    stack = [
        layers.Masking(),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="l"), name="b"),
        Scaled(3, return_sequences=True, name="own"),
        layers.GRU(3, name="gru"),
        layers.Dense(1),
    ]
    model = sequential(*stack, shape=(5, 2))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


@pytest.fixture
def data(rng):
    x = rng.normal(size=(8, 5, 2)).astype("float32")
    x[1, 3:] = x[2] = 0
    return x, rng.normal(size=(8, 1))


def test_an_accelerated_model_computes_and_trains_the_same(data, fast_runs, tmp_path):
    model, twin = build(), build()
    before = model.predict(data[0], verbose=0)  # Compiled with the stock layers.
    for each in (model, twin):
        each.fit(*data, shuffle=False, verbose=0)
    optimizer = [np.array(v) for v in model.optimizer.variables]
    weights = twin.get_weights()
    done = keras_gates.accelerate(model)
    assert set(done.reasons) == {"b/forward_l", "b/backward_l", "own", "gru"}
    assert not any(done.reasons.values())
    assert str(done).splitlines()[-1] == "'gru': fast kernel"
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(model.optimizer.variables, optimizer, strict=True):
        np.testing.assert_array_equal(np.array(one), other)
    expected = twin.predict(data[0], verbose=0)
    assert not fast_runs
    np.testing.assert_allclose(model.predict(data[0], verbose=0), expected, atol=2e-6)
    assert set(fast_runs) == {"forward_l", "backward_l", "own", "gru"}
    for each in (model, twin):
        each.fit(*data, shuffle=False, epochs=2, verbose=0)
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6)
    model.save(tmp_path / "model.keras")
    with keras.saving.custom_object_scope({"Scaled": Scaled}):
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("gru")) is layers.GRU
    keras_gates.restore(model)
    assert type(model.get_layer("gru")) is layers.GRU
    assert "kernel" not in vars(model.get_layer("gru"))
    fast_runs.clear()
    stock = loaded.predict(data[0], verbose=0)
    np.testing.assert_array_equal(model.predict(data[0], verbose=0), stock)
    assert not fast_runs
    assert not np.array_equal(before, stock)


def test_blocks_may_overlap(data, fast_runs):
    model = build()
    gru = model.get_layer("gru")
    expected = model.predict(data[0], verbose=0)
    with keras_gates.instrument(model):
        with keras_gates.accelerate(model):
            gates = keras_gates.capture(model, data[0])
            assert gru.kernel == "fast" and "gru" in fast_runs
        assert isinstance(gru, keras_gates.GateGRU) and gru.kernel == "keras"
        fast_runs.clear()
        again = keras_gates.capture(model, data[0])
        np.testing.assert_array_equal(model.predict(data[0], verbose=0), expected)
        assert not fast_runs
    np.testing.assert_allclose(gates["gru/update"], again["gru/update"], atol=2e-6)
    assert type(gru) is layers.GRU


class OwnLoop(layers.LSTM):
    """A layer that does something before its loop."""

    def inner_loop(self, sequences, *args, **kwargs):
        return super().inner_loop(2 * sequences, *args, **kwargs)


def test_what_stays_as_it_was_is_named_with_the_reason(data):
    inputs = keras.Input((5, 2))
    stay = [
        layers.SimpleRNN(2, name="simple"),
        layers.RNN([layers.LSTMCell(2, name="one"), layers.GRUCell(2)], name="stack"),
        layers.RNN(MGUCell(2), name="mgu"),
        OwnLoop(2, name="loop"),
        layers.LSTM(2, activation="softmax", name="softmax"),
        layers.GRU(2, unroll=True, name="unrolled"),
        keras_gates.GateLSTM(2, name="gates"),
    ]
    outputs = [
        layer(inputs) for layer in [*stay, layers.RNN(layers.LSTMCell(2), name="rnn")]
    ]
    model = keras.Model(inputs, outputs)
    before = model.predict(data[0], verbose=0)
    with pytest.warns(UserWarning, match="stay as they were: 'simple', as on the back"):
        done = keras_gates.accelerate(model)
    words = {
        "simple": "SimpleRNN",
        "stack/one": "stack of cells",
        "mgu": "a `MGUCell`, is not one of Keras's own",
        "loop": "its class, `OwnLoop`, changes `inner_loop`",
        "softmax": "does not act on each value separately",
        "unrolled": "`unroll=True`",
        "gates": 'a `GateLSTM`: make it with `kernel="fast"`',
    }
    for path, reason in words.items():
        (found,) = [text for name, text in done.reasons.items() if path in name]
        assert reason in found, (path, found)
    assert [path for path, reason in done.reasons.items() if reason is None] == ["rnn"]
    after = model.predict(data[0], verbose=0)
    for one, other in zip(before[:-1], after[:-1], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(before[-1], after[-1], atol=2e-6)


def test_frames_run_fast(rng, fast_runs):
    frames = layers.TimeDistributed(layers.LSTM(2, name="l"), name="frames")
    model = sequential(frames, shape=(3, 4, 2))
    x = rng.normal(size=(2, 3, 4, 2)).astype("float32")
    before = model.predict(x, verbose=0)
    with keras_gates.accelerate(model):
        np.testing.assert_allclose(model.predict(x, verbose=0), before, atol=2e-6)
        assert "l" in fast_runs
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_a_model_without_recurrent_layers_is_refused():
    with pytest.raises(ValueError, match="has no recurrent layer"):
        keras_gates.accelerate(sequential(layers.Dense(1), shape=(2,)))


def test_a_layer_after_a_fast_one_knows_the_number_of_steps():
    """An unrolled layer must, when Keras compiles the model."""
    for cls in (layers.LSTM, layers.GRU):
        first = cls(3, return_sequences=True, name="first")
        model = sequential(first, layers.GRU(2, unroll=True), shape=(5, 2))
        x = np.ones((2, 5, 2), "float32")
        before = model.predict(x, verbose=0)
        with pytest.warns(UserWarning, match="unroll"):
            keras_gates.accelerate(model)
        np.testing.assert_allclose(model.predict(x, verbose=0), before, atol=2e-6)
