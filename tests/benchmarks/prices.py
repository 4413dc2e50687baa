"""Measures the cost of the package, as ratios in one run.

    KERAS_BACKEND=tensorflow python tests/benchmarks/prices.py

The calls of each pair are timed in turns, so that a machine that slows down slows both;
the ratio is the median over the turns. The sizes are: small, batches of 64, 50 steps,
1 input, 32 units; large, 64, 200, 64 and 128. All signals are captured. An epoch has
400 small batches or 40 large batches. On a busy machine, ratios vary by 10 %.
"""

import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates.capturing.reader import Reader

SIZES = {
    "small": (64, 50, 1, 32),
    "large": (64, 200, 64, 128),
}
PREDICTED_BATCHES = 8
FITTED_BATCHES = {"small": 400, "large": 40}


def pairs_in_turns(first, second, turns, before=lambda: None):
    """Returns the seconds of both calls, for each turn.

    Args:
        first: A function.
        second: Another function.
        turns: How often each function is called.
        before: A function that is called before each of them, and not timed.
    """
    first(), second()  # Compilation is not timed.
    pairs = []
    for turn in range(turns):
        times = {}
        for name, call in [("a", first), ("b", second)][:: 1 if turn % 2 else -1]:
            before()
            start = time.perf_counter()
            call()
            times[name] = time.perf_counter() - start
        pairs.append((times["a"], times["b"]))
    return pairs


def in_turns(first, second, turns):
    """Returns the median seconds of each function, and the median ratio of the two."""
    pairs = pairs_in_turns(first, second, turns)
    ratio = statistics.median(b / a for a, b in pairs)
    return (*map(statistics.median, zip(*pairs, strict=True)), ratio)


def model(layer, size):
    _, steps, features, units = size
    made = keras.Sequential(
        [keras.Input((steps, features)), layer(units), keras.layers.Dense(1)]
    )
    made.compile("adam", "mse")
    return made


def prices(name):
    size = SIZES[name]
    batch, steps, features, _ = size
    rng = np.random.default_rng(0)
    samples = batch * FITTED_BATCHES[name]
    x = rng.normal(size=(samples, steps, features)).astype("float32")
    y = rng.normal(size=(len(x), 1)).astype("float32")
    few = x[: batch * PREDICTED_BATCHES]
    stock, gate = model(keras.layers.LSTM, size), model(keras_gates.GateLSTM, size)

    def predict(some):
        return lambda: some.predict(few, batch_size=batch, verbose=0)

    yield "predict: GateLSTM / LSTM", in_turns(predict(stock), predict(gate), 9)

    reader = Reader(stock)

    def capture():
        reader.read_all(few, batch_size=batch)

    yield "capture / predict, both compiled", in_turns(predict(stock), capture, 9)

    def new_predict():
        model(keras.layers.LSTM, size).predict(few, batch_size=batch, verbose=0)

    def new_capture():
        keras_gates.capture(model(keras.layers.LSTM, size), few, batch_size=batch)

    yield "capture / predict, first call", in_turns(new_predict, new_capture, 3)

    def fit(callbacks):
        def call():
            stock.fit(x, y, batch_size=batch, epochs=1, verbose=0, callbacks=callbacks)

        return call

    statistics = keras_gates.GateRecorder()
    yield "fit with statistics / without", in_turns(fit([]), fit([statistics]), 7)
    every = keras_gates.GateRecorder(samples_per_batch="all")
    yield "... all rows of every batch", in_turns(fit([]), fit([every]), 3)
    probe = keras_gates.GateRecorder(probe=x[:16], samples_per_batch=0)
    yield "... a probe after each epoch", in_turns(fit([]), fit([probe]), 3)


def import_price():
    def load(name):
        return lambda: subprocess.run(
            [sys.executable, "-c", f"import {name}"], check=True
        )

    return "import keras_gates / import keras", in_turns(
        load("keras"), load("keras_gates"), 5
    )


def main():
    table = Table(
        "size",
        "what",
        "first, s",
        "second, s",
        "ratio",
        title=f"{keras.backend.backend()}, Keras {keras.version()}",
    )

    def row(size, what, result):
        base, other, ratio = result
        table.add_row(size, what, f"{base:.3f}", f"{other:.3f}", f"{ratio:.2f}")

    for name in SIZES:
        for what, result in prices(name):
            row(name, what, result)
    row("", *import_price())
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
