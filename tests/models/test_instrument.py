"""Instrumenting changes what a layer can tell, and nothing else."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import Scaled, sequential

import keras_gates


@pytest.fixture
def model():
    wrapped = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")
    model = sequential(
        wrapped,
        layers.GRU(3, return_sequences=True, name="gru"),
        Scaled(3, return_sequences=True),
        layers.RNN([layers.LSTMCell(2), layers.GRUCell(2)]),
        layers.Dense(1),
        shape=(5, 2),
    )
    return model


@pytest.fixture
def data(rng):
    return rng.normal(size=(8, 5, 2)).astype("float32"), rng.normal(size=(8, 1))


def test_same_objects_weights_and_predictions(model, data):
    before = model.predict(data[0], verbose=0)
    objects = [id(layer) for layer in model.layers]
    with keras_gates.instrument(model) as same:
        assert same is model
        assert [id(layer) for layer in model.layers] == objects
        assert isinstance(model.get_layer("gru"), keras_gates.GateGRU)
        assert isinstance(model.layers[2], keras_gates.GateLSTM)
        assert isinstance(model.layers[2], Scaled)
        forward = model.get_layer("both").forward_layer
        assert isinstance(forward, keras_gates.GateLSTM)
        np.testing.assert_array_equal(model.predict(data[0], verbose=0), before)
    assert type(model.layers[2]) is Scaled
    assert type(model.get_layer("both").forward_layer) is layers.LSTM
    np.testing.assert_array_equal(model.predict(data[0], verbose=0), before)


def test_training_continues_with_the_same_optimizer_state(model, data):
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for each, instrumented in ((model, True), (twin, False)):
        each.compile(keras.optimizers.Adam(0.01), "mse")
        each.fit(*data, epochs=2, shuffle=False, verbose=0)
        if instrumented:
            with keras_gates.instrument(each):
                each.fit(*data, epochs=2, shuffle=False, verbose=0)
        else:
            each.fit(*data, epochs=2, shuffle=False, verbose=0)
    for left, right in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_restore_without_a_with_block(model):
    classes = [type(layer) for layer in model.layers]
    keras_gates.instrument(model)
    assert keras_gates.restore(model) is model
    assert [type(layer) for layer in model.layers] == classes
    keras_gates.restore(model)


def test_inner_block_leaves_the_outer_one_alone(model):
    with keras_gates.instrument(model):
        with keras_gates.instrument(model):
            pass
        assert isinstance(model.get_layer("gru"), keras_gates.GateGRU)
    assert type(model.get_layer("gru")) is layers.GRU


def test_gate_layers_of_the_user_are_not_restored_away():
    model = sequential(keras_gates.GateLSTM(3), shape=(5, 2))
    with keras_gates.instrument(model):
        pass
    assert type(keras_gates.restore(model).layers[0]) is keras_gates.GateLSTM


def test_weights_saved_while_instrumented_load_into_the_plain_model(model, tmp_path):
    with keras_gates.instrument(model):
        model.save_weights(tmp_path / "a.weights.h5")
    plain = keras.models.clone_model(model)
    plain.load_weights(tmp_path / "a.weights.h5")
    for left, right in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_an_error_inside_the_block_restores(model):
    with pytest.raises(RuntimeError), keras_gates.instrument(model):
        raise RuntimeError
    assert type(model.get_layer("gru")) is layers.GRU


def test_of_two_overlapping_blocks_the_last_one_turns_back(model):
    first, second = keras_gates.instrument(model), keras_gates.instrument(model)
    with first:
        second.__enter__()
    assert isinstance(model.get_layer("gru"), keras_gates.GateGRU)
    second.__exit__()
    assert type(model.get_layer("gru")) is layers.GRU


def test_one_restore_ends_every_call_of_instrument_that_was_forgotten(model):
    keras_gates.instrument(model)
    keras_gates.instrument(model)
    keras_gates.restore(model)
    assert type(model.get_layer("gru")) is layers.GRU


def test_restore_leaves_a_layer_that_a_run_needs(model, data):
    class Restoring(layers.Layer):
        """Does what another thread might do at that moment."""

        def call(self, x):
            keras_gates.restore(model)
            return x

    inputs = keras.Input((5, 2))
    whole = keras.Model(inputs, model(Restoring()(inputs)))
    assert f"/{model.name}/gru" in keras_gates.capture(whole, data[0]).groups
    assert type(model.get_layer("gru")) is layers.GRU
