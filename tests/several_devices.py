"""Captures and records a model that is spread over several devices of one machine.

Run by `test_devices.py` in a process of its own, as devices must be set up before the
backend starts. Compares with the same model on a single device.
"""

import contextlib
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import keras
import numpy as np
from keras import layers

import keras_gates


def two_cpus():
    """TensorFlow: a copy of the model on each of two logical devices."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()


@contextlib.contextmanager
def four_cpus():
    """JAX: each batch is spread over four devices of the host."""
    devices = keras.distribution.list_devices()
    assert len(devices) == 4
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices)
    )
    yield
    keras.distribution.set_distribution(None)


SCOPES = {"tensorflow": two_cpus, "jax": four_cpus}


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 3))
    lstm = layers.LSTM(4, return_sequences=True, name="lstm")
    hidden = layers.Bidirectional(lstm, name="both")(inputs)
    outputs = layers.Dense(1)(layers.GRU(3, name="gru")(hidden))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def see(x):
    """Captures, trains with a recorder, and predicts while instrumented."""
    model = make_model()
    gates = keras_gates.capture(model, x, batch_size=4)
    recorder = keras_gates.GateRecorder(x[:3])
    y = np.zeros((len(x), 1))
    model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=[recorder])
    with keras_gates.instrument(model):
        predicted = model.predict(x, verbose=0)
    return gates, recorder.traces, predicted


def main():
    x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("float32")
    with SCOPES[keras.backend.backend()]():
        spread = see(x)
    alone = see(x)
    for left, right in zip(spread, alone, strict=True):
        if isinstance(left, np.ndarray):
            np.testing.assert_allclose(left, right, atol=1e-6)
            continue
        for path in ("both/forward_lstm", "both/backward_lstm", "gru"):
            one, other = left[path].to_dataset(), right[path].to_dataset()
            assert set(one.variables) == set(other.variables)
            for name in one.variables:
                np.testing.assert_allclose(one[name], other[name], atol=1e-6)
    assert (keras_gates.verify(spread[0]) < 1e-5).all()


if __name__ == "__main__":
    main()
