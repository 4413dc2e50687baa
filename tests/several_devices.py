"""Captures and records a model that is spread over several devices of one machine.

`test_devices.py` runs it in a separate process, because devices must be set up before
the backend starts. The results are compared with the same model on a single device.
"""

import contextlib
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import keras
import numpy as np
from keras import layers

import keras_gates

PATHS = ("both/forward_lstm", "both/backward_lstm", "gru")


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
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def see(x):
    """Captures, trains with two recorders, and predicts while instrumented."""
    model = make_model()
    gates = keras_gates.capture(model, x, batch_size=4)
    every = keras_gates.GateRecorder(x[:3], samples_per_batch="all")
    few = keras_gates.GateRecorder(samples_per_batch=4)
    y = np.ones((len(x), 1))
    options = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[every, few], **options)
    with keras_gates.instrument(model):
        predicted = model.predict(x, verbose=0)
    return gates, every.traces, every.statistics, few.statistics, predicted


def in_two_processes(x):
    """PyTorch: a process for each half of each batch, as Keras documents it."""
    import torch.multiprocessing

    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(process, (x, results), nprocs=2)
        return [(results[rank][0], results[rank][1]) for rank in range(2)]


def process(rank, x, results):
    import torch.distributed

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29571")
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = make_model()
    spread = torch.nn.parallel.DistributedDataParallel(model)
    results[rank] = train_in_loop(model, spread, x, slice(4 * rank, 4 * rank + 4))
    torch.distributed.destroy_process_group()


def train_in_loop(model, called, x, rows):
    """Trains on some rows of every batch of eight, with a PyTorch training loop."""
    import torch

    recorders = [
        keras_gates.GateRecorder(samples_per_batch=number) for number in ("all", 4)
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hooks = keras.callbacks.CallbackList(recorders, model=model)
    hooks.on_train_begin()
    for epoch in range(2):
        hooks.on_epoch_begin(epoch)
        for start in range(0, len(x), 8):
            batch = torch.as_tensor(x[start : start + 8][rows])
            with recorders[0].watch(), recorders[1].watch():
                loss = ((called(batch) - 1) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        hooks.on_epoch_end(epoch)
    hooks.on_train_end()
    return [statistics_of(recorder.statistics) for recorder in recorders]


def statistics_of(tree):
    return {path: tree[path].to_dataset().load() for path in PATHS}


def assert_same(left, right):
    assert set(left.variables) == set(right.variables)
    for name in left.variables:
        if left[name].dtype == object:
            np.testing.assert_array_equal(left[name], right[name])
        else:
            np.testing.assert_allclose(left[name], right[name], atol=2e-6)


def main():
    x = np.random.default_rng(0).normal(size=(16, 5, 3)).astype("float32")
    if keras.backend.backend() == "torch":
        model = make_model()
        alone = train_in_loop(model, model, x, slice(None))
        for rank in in_two_processes(x):
            for spread, single in zip(rank, alone, strict=True):
                for path in PATHS:
                    assert_same(spread[path], single[path])
        counts = [statistics["gru"]["count"].values for statistics in alone]
        assert (counts[0] == 16 * 5).all() and (counts[1] == 2 * 4 * 5).all()
        return
    with SCOPES[keras.backend.backend()]():
        spread = see(x)
    alone = see(x)
    for left, right in zip(spread, alone, strict=True):
        if isinstance(left, np.ndarray):
            np.testing.assert_allclose(left, right, atol=1e-6)
            continue
        for path in PATHS:
            assert_same(left[path].to_dataset(), right[path].to_dataset())
    assert (keras_gates.verify(spread[0]) < 1e-5).all()
    assert (spread[2]["gru/count"] == 16 * 5).all()
    assert (spread[3]["gru/count"] == 2 * 4 * 5).all()


if __name__ == "__main__":
    main()
