"""
GRU against LSTM
================

**Question:** is there a difference, and do the gates of the two show it?

Both learn the adding problem: the sum of two marked numbers among twenty. Both are
trained with the same seeds, on the same data in the same order, and with about the same
number of weights. The answer is an interval over seeds.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray

import keras_gates
from keras_gates import plots, stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own sequences: an .npz file with x (sample, time, feature) and y "
    "(sample,) or (sample, output), numbers to predict; the last fifth of the samples "
    "is for validation",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=4, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# A sample has twenty random numbers between 0 and 1, two of them marked. The target is
# the sum of these two. Always answering 1 has a mean squared error of 1/6.

x, y = tasks.adding(2000, sequence_length=20)
if options.data:
    with np.load(options.data) as arrays:
        if missing := {"x", "y"} - set(arrays):
            parser.error(
                f"--data: '{options.data}' must have the arrays x and y; "
                f"{' and '.join(sorted(missing))} not found. Write it with "
                "numpy.savez('data.npz', x=x, y=y)."
            )
        x, y = arrays["x"].astype("float32"), arrays["y"].astype("float32")
    if x.ndim != 3 or len(x) != len(y) or len(x) < 10:
        parser.error(
            "--data: x must have the shape (sample, time, feature) and y the same "
            f"number of samples, at least 10; got {x.shape} and {y.shape}."
        )
train, validation = tasks.chronological_split(x, y)
naive = float(np.mean((validation[1] - train[1].mean(axis=0)) ** 2))

# %%
# The study
# ---------
# After each run, the gates of its model are captured while the model still exists. The
# time scale is the number of steps for which the path through the cell keeps a value.

scales = []


def fast_adam():
    """Returns a new optimizer for each model."""
    return keras.optimizers.Adam(0.01)


def record_scale(name, seed, model):
    """Records the median time scale of the units of a trained model."""
    gates = keras_gates.capture(model, validation[0][:100])
    gate = "forget" if name == "LSTM" else "update"
    median = float(stats.timescale(gates)[name.lower()][gate].median())
    scales.append({"architecture": name, "seed": seed, "steps": median})


study = keras_gates.compare(
    ["LSTM", "GRU"],
    *train,
    validation_data=validation,
    recipe=keras_gates.Recipe(units=16, match="parameters", optimizer=fast_adam),
    seeds=options.seeds,
    epochs=options.epochs,
    on_run_end=record_scale,
)
print(study)
print(f"always answering the mean of the training part: {naive:.4f}")

# %%
# Learning curves, with intervals over the seeds:

curves = plots.study(study)

# %%
# The difference, seed by seed. If the interval does not include zero, it shows a
# difference:

difference = plots.differences(study)

# %%
# The answer
# ----------
# The loss shows which of the two is better on this task. The gates show whether the
# paths through the two cells keep values for different times. An ``update`` of 1 in a
# GRU keeps the old state, as a ``forget`` of 1 does in an LSTM, so the two can be
# compared. With Keras's initial biases, the time scale is about 3.2 steps for an LSTM
# and 1.4 for a GRU. A longer time scale was learned.

loss = study.difference("LSTM", "GRU")
print(f"Validation loss, {loss}.")
steps = pandas.DataFrame(scales).pivot(
    index="seed", columns="architecture", values="steps"
)
print(steps.round(1))
apart = xarray.DataArray(steps["LSTM"] - steps["GRU"], dims="seed")
mean, low, high = map(float, stats.mean_interval(apart, "seed"))
verdict = "no difference shown" if low <= 0 <= high else "a difference is shown"
print(
    f"Median time scale, LSTM - GRU: {mean:.1f} steps ({low:.1f} to {high:.1f}): "
    f"{verdict}."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    for name, axes in {"curves": curves, "difference": difference}.items():
        axes.figure.savefig(options.out / f"{name}.png", dpi=150)
