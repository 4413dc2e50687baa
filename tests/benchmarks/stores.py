"""Measures the cost of writing to a store: the speed, compared with Zarr, and memory.

    KERAS_BACKEND=jax python tests/benchmarks/stores.py [steps]

Speed: traces of 16 samples, 200 steps, 128 units and six signals, 10 MB at a time, are
written in turns with the store of the recorder and with `zarr.Array.append`. Memory: a
recorder with a probe and statistics records a step after every batch, by default for
10,000 steps.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import xarray
import zarr
from rich.console import Console

import keras_gates
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.recording.step_series import Record
from keras_gates.stores.store import Store
from keras_gates.trees.tree import grow

TURNS, STEPS = 5, 5


def by_store(folder, arrays):
    dims = ("sample", "time", "unit")
    data = {name: (dims, values) for name, values in arrays.items()}
    tree = grow(
        {"a": xarray.Dataset(data, attrs={"cell_type": "LSTM"})}, {"layers": ["a"]}
    )
    record = Record("traces")
    record.write_to(Store(folder, {"keras_gates": ""}))
    start = time.perf_counter()
    for step in range(STEPS):
        record.append(tree, step, step)
    return time.perf_counter() - start


def by_zarr(folder, arrays):
    group = zarr.create_group(folder)
    start = time.perf_counter()
    for name, values in arrays.items():
        group.create_array(
            name,
            shape=(0, *values.shape),
            chunks=(1, *values.shape),
            dtype=values.dtype,
        )
    for _ in range(STEPS):
        for name, values in arrays.items():
            group[name].append(values[None])
    return time.perf_counter() - start


def speed(folder):
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.uniform(size=(16, 200, 128)).astype("float32")
        for name in LSTM.signals
    }
    ratios = []
    for turn in range(TURNS):
        store = by_store(folder / f"store{turn}", arrays)
        plain = by_zarr(folder / f"zarr{turn}", arrays)
        ratios.append(plain / store)
    return statistics.median(ratios)


def resident() -> float:
    """Returns the megabytes of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Memory(keras.callbacks.Callback):
    async_safe = True

    def __init__(self, first):
        super().__init__()
        self.first, self.before = first, None

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.first:
            self.before = resident()


def growth(folder, steps):
    x = np.random.default_rng(0).normal(size=(steps, 10, 1)).astype("float32")
    stack = [keras.Input((10, 1)), keras.layers.LSTM(8), keras.layers.Dense(1)]
    model = keras.Sequential(stack)
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(x[:4], record_freq=1, store=folder / "run.zarr")
    memory = Memory(steps // 10)
    y = np.zeros((steps, 1))
    callbacks = [memory, recorder]
    model.fit(x, y, batch_size=1, epochs=1, verbose=0, callbacks=callbacks)
    return resident() - memory.before


def main(steps):
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        ratio = speed(Path(folder))
        console.print(f"speed of the store / of Zarr alone: {ratio:.2f}")
        grown = growth(Path(folder), steps)
        after = steps // 10
        console.print(f"change in memory from step {after} to {steps}: {grown:+.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
