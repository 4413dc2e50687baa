"""Measures the memory of a network that adds, where the result of `reach` is known.

    KERAS_BACKEND=jax python tests/benchmarks/reach_of_adding.py

An LSTM learns the adding problem of 50 steps. States are swapped between samples that
have seen the same number of marks. The script prints the share of the variance of the
output that passes through the state, with its interval, and the share of an exact adder
on the same samples. It also prints the reach, which must be infinite, since at most
37 steps are observed. By the time scales of the forget gates, memory would last three
steps.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_gates
from keras_gates import stats, tasks
from keras_gates.capturing.retention import donors

LENGTH, STEPS, UNITS = 50, [12, 24, 37], 32


def of_exact_adder(x, marks):
    """Returns the share if the state is the sum of the marked numbers so far."""
    rng = np.random.default_rng(0)
    sums = np.cumsum(x[..., 0] * x[..., 1], axis=1)
    shares = []
    for step in STEPS:
        drawn = [donors(marks[:, step], rng) for _ in range(20)]
        moved = [np.sum((sums[other, step] - sums[:, step]) ** 2) for other in drawn]
        apart = [np.sum((sums[other, -1] - sums[:, -1]) ** 2) for other in drawn]
        shares.append(np.sum(moved) / np.sum(apart))
    return np.array(shares)


def main():
    keras.utils.set_random_seed(0)
    x, y = tasks.adding(10_000, sequence_length=LENGTH)
    model = keras.Sequential(
        [
            keras.Input((LENGTH, 2)),
            keras.layers.LSTM(UNITS, name="lstm"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.005), "mse")
    model.fit(x, y, epochs=40, batch_size=50, verbose=0)
    x, y = tasks.adding(600, sequence_length=LENGTH, seed=1)
    print(f"error: {model.evaluate(x, y, verbose=0):.5f} (a constant: 0.1667)")
    marks = np.cumsum(x[..., 1], axis=1)
    found = keras_gates.reach(model, x, groups=marks, time=STEPS)["lstm"]
    low, high = (found[f"share_{end}"].values.round(2) for end in ("low", "high"))
    print("share:", found["share"].values.round(2), "from", low, "to", high)
    print("of an exact adder:", of_exact_adder(x, marks).round(2))
    print("reach:", found["reach"].values.round(1))
    print("lags seen:", found["retention"].notnull().sum("lag").values - 1)
    scales = stats.timescale(keras_gates.capture(model, x, signals="forget"))
    print("median time scale:", float(scales["lstm/forget"].median().round(1)))


if __name__ == "__main__":
    main()
