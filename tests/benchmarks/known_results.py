"""Checks that the studies of the package reproduce known results.

    KERAS_BACKEND=jax python tests/benchmarks/known_results.py

It takes about twenty minutes on two cores. Each part prints whether its expected
results were found. The exit status is 1 if one of them was not.

- Counting: networks of ten units learn a^n b^n up to n = 30. An LSTM continues far
  longer words, because a cell counts; a GRU does not (Weiss, Goldberg and Yahav, 2018).
- Adding, 100 steps: LSTM and GRU reach an error far below that of a constant, 1/6, and
  a basic RNN does not (Arjovsky, Shah and Bengio, 2016, for the RNN).
- Comparing an architecture with itself, with different seeds in the two arms, shows a
  difference in about 5 of 100 studies, and no more.
- With zero weights and Keras's default bias, forget = sigmoid(1).
"""

import argparse
import math
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_gates
from keras_gates import tasks
from keras_gates.claims.claim_studies import LONGEST_WORD, longest_word
from keras_gates.study import prepared_tasks


def counting():
    """Checks up to which n words a^n b^n are continued, and whether a cell counts."""
    problem = prepared_tasks.anbn(LONGEST_WORD)
    counts = {}

    def measure(name, seed, model):
        if name == "LSTM":
            counts[seed] = best_correlation(model)

    study = keras_gates.compare(
        ["LSTM", "GRU"],
        *problem.train,
        validation_data=problem.test,
        recipe=problem.recipe,
        epochs=100,
        learning_rates=[3e-2, 1e-2],  # The larger rate generalises to longer words.
        batch_size=32,
        keep_predictions=True,
        on_run_end=measure,
        verbose=1,
    )
    reached = {
        name: [longest_word(run) for run in study.predictions.sel(architecture=name)]
        for name in ("LSTM", "GRU")
    }
    print(f"n reached: {reached}")
    print(f"best correlation of a cell: {sorted(counts.values())}")
    return {
        "LSTM: n of at least 60 for every seed": min(reached["LSTM"]) >= 60,
        "GRU: n of at most 40 for every seed": max(reached["GRU"]) <= 40,
        "a cell counts, |correlation| >= 0.99": min(counts.values()) >= 0.99,
    }


def best_correlation(model, n=60):
    """Returns the best correlation of a cell with the number of a's minus b's."""
    x, _ = tasks.anbn(1, smallest=n, largest=n)
    cell = keras_gates.capture(model, x)["lstm/cell"].isel(sample=0).values
    running = np.cumsum(x[0, :, 1] - x[0, :, 2])
    best = max(abs(np.corrcoef(running, unit)[0, 1]) for unit in cell.T)
    return round(float(best), 4)


def adding():
    """Compares three architectures on the adding problem, 100 steps long."""
    study = keras_gates.compare(
        ["LSTM", "GRU", "SimpleRNN"],
        *tasks.adding(10000, sequence_length=100),
        validation_data=tasks.adding(1000, sequence_length=100, seed=1),
        recipe=keras_gates.Recipe(units=64),
        seeds=3,
        epochs=20,
        batch_size=64,
        learning_rates=[1e-2, 3e-3, 1e-3],
        verbose=1,
    )
    print(study)
    worst = study.runs.groupby("architecture")["val_loss"].max()
    best = study.runs.groupby("architecture")["val_loss"].min()
    return {
        "LSTM below a tenth of 1/6 for every seed": worst["LSTM"] < 1 / 60,
        "GRU below a tenth of 1/6 for every seed": worst["GRU"] < 1 / 60,
        "SimpleRNN above nine tenths of 1/6 for every seed": best["SimpleRNN"] > 0.15,
    }


def against_itself(studies=100, seeds=5):
    """Counts the studies that correctly show no difference."""
    x, y = tasks.adding(64, sequence_length=4)
    validation_data = tasks.adding(64, sequence_length=4, seed=1)
    runs = keras_gates.compare(
        {"GRU": small_gru},
        x,
        y,
        validation_data=validation_data,
        seeds=2 * studies * seeds,
        epochs=2,
    ).runs
    # Each study takes ten runs of the same architecture, five for each arm.
    arms = runs["val_loss"].to_numpy().reshape(studies, 2, seeds)
    none = 0
    for arm in arms:
        none += not study_of(arm).difference("one", "other").significant
    print(f"{none} of {studies} studies show no difference")
    return {"no difference shown in 90 to 99 of 100": 90 <= none <= 99}


def small_gru():
    """Returns an eager model, since compiling takes longer than training."""
    model = keras.Sequential([keras.layers.GRU(2, unroll=True), keras.layers.Dense(1)])
    model.compile("adam", "mse", run_eagerly=True)
    return model


def study_of(arms):
    """Returns a study in which the same architecture has two names."""
    import pandas
    import xarray

    labels = {"architecture": ["one", "other"], "seed": np.arange(arms.shape[1])}
    history = xarray.Dataset(coords={**labels, "epoch": [1]})
    runs = xarray.DataArray(arms, labels).to_series().rename("val_loss").reset_index()
    return keras_gates.study.Study(runs=pandas.DataFrame(runs), history=history)


def zero_weights():
    """Checks the forget gate of an LSTM whose weights are zero."""
    layer = keras.layers.LSTM(
        3, kernel_initializer="zeros", recurrent_initializer="zeros"
    )
    model = keras.Sequential([keras.Input((5, 2)), layer])
    forget = keras_gates.capture(model, np.ones((2, 5, 2), "float32"))["lstm/forget"]
    expected = 1 / (1 + math.exp(-1))
    print(f"forget: {float(forget.min()):.7f} to {float(forget.max()):.7f}")
    return {"forget = 0.7310586": bool((abs(forget - expected) < 5e-8).all())}


PARTS = {
    "zero": zero_weights,
    "counting": counting,
    "itself": against_itself,
    "adding": adding,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    print(f"Backend {keras.backend.backend()}, Keras {keras.version()}")
    outcomes = {}
    for name in chosen:
        print(f"\n== {name}", flush=True)
        found = PARTS[name]()
        outcomes |= found
        for expected, holds in found.items():
            print(f"{'yes' if holds else 'NO '}  {expected}", flush=True)
    return 0 if all(outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
