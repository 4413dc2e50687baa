"""Measures the time of one step of a stream, in milliseconds.

    KERAS_BACKEND=torch python tests/benchmarks/streaming.py

The model is an LSTM with 64 units and a `Dense` layer, on one sample with 8 features.
The stream is compared with `predict` on a window of 50 steps, the usual way without a
stream. The first steps, which compile, are left out.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import keras
import numpy as np
from keras import layers
from rich.console import Console
from rich.table import Table

import keras_gates

UNITS, FEATURES, WINDOW, WARM, STEPS, SLOW_STEPS = 64, 8, 50, 50, 2000, 50


def milliseconds(function, steps):
    """Returns the time of each call, without the first calls."""
    taken = []
    for step in range(WARM + steps):
        begin = time.perf_counter()
        function(step)
        taken.append(time.perf_counter() - begin)
    return 1000 * np.array(taken[WARM:])


def main():
    """Prints a table."""
    model = keras.Sequential(
        [keras.Input((None, FEATURES)), layers.LSTM(UNITS), layers.Dense(1)]
    )
    x = np.random.default_rng(0).normal(size=(1, WARM + STEPS, FEATURES))
    x = x.astype("float32")
    plain, open_stream = keras_gates.stream(model), keras_gates.stream(model)
    open_stream(x[:, 0])
    open_stream.gates  # noqa: B018  From here on, each step computes the gates.
    window = x[:, :WINDOW]
    rows = {
        "stream": milliseconds(lambda t: plain(x[:, t]), STEPS),
        "stream, with its gates computed": milliseconds(
            lambda t: open_stream(x[:, t]), STEPS
        ),
        f"predict on a window of {WINDOW}": milliseconds(
            lambda t: model.predict(window, verbose=0), SLOW_STEPS
        ),
    }
    title = f"One step of LSTM({UNITS}) on {keras.backend.backend()}, in ms"
    table = Table("", "median", "99th percentile", "largest", title=title)
    for name, taken in rows.items():
        numbers = np.median(taken), np.percentile(taken, 99), taken.max()
        table.add_row(name, *(f"{number:.2f}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()
