"""
GRU against LSTM
================

**Question:** is there a difference, and do the gates of the two show it?

Both learn the adding problem: the sum of two marked numbers among twenty. Each is
trained with the same seeds, on the same data in the same order, and with as many
weights. The answer is an interval over seeds.
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
    help="sequences of yours: an .npz file with x (sample, time, feature) and y "
    "(sample,) or (sample, output), numbers to predict; the last fifth of the samples "
    "validates",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=4, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# A sample has twenty random numbers between 0 and 1, and marks at two of them. The
# target is the sum of the two. Who always answers 1 has a mean squared error of 1/6.

x, y = tasks.adding(2000, sequence_length=20)
if options.data:
    with np.load(options.data) as arrays:
        if missing := {"x", "y"} - set(arrays):
            parser.error(
                f"--data: '{options.data}' must hold the arrays x and y; "
                f"{' and '.join(sorted(missing))} not found. Write it with "
                "numpy.savez('data.npz', x=x, y=y)."
            )
        x, y = arrays["x"].astype("float32"), arrays["y"].astype("float32")
    if x.ndim != 3 or len(x) != len(y) or len(x) < 10:
        parser.error(
            "--data: x must have the shape (sample, time, feature) and y as many "
            f"samples, at least 10; got {x.shape} and {y.shape}."
        )
train, validation = tasks.chronological_split(x, y)
naive = float(np.mean((validation[1] - train[1].mean(axis=0)) ** 2))

# %%
# The study
# ---------
# After each run the gates of its model are captured, as long as the model is there. The
# time scale says for how many steps the path through the cell keeps a value.

scales = []


def fast_adam():
    """Returns a new optimizer for each model."""
    return keras.optimizers.Adam(0.01)


def look(name, seed, model):
    """Notes the median time scale of a trained model's units."""
    gates = keras_gates.capture(model, validation[0][:100])
    kept = "forget" if name == "LSTM" else "update"
    median = float(stats.timescale(gates)[name.lower()][kept].median())
    scales.append({"architecture": name, "seed": seed, "steps": median})


study = keras_gates.compare(
    ["LSTM", "GRU"],
    *train,
    validation_data=validation,
    recipe=keras_gates.Recipe(units=16, match="parameters", optimizer=fast_adam),
    seeds=options.seeds,
    epochs=options.epochs,
    on_run_end=look,
)
print(study)
print(f"answering the mean of the training part: {naive:.4f}")

# %%
# Learning curves, with intervals over the seeds:

curves = plots.study(study)

# %%
# And the difference, seed by seed. Where the bar does not touch zero, it is shown:

difference = plots.differences(study)

# %%
# The answer
# ----------
# The loss says which of the two is better on this task; the gates, whether they keep in
# different ways along the path through the cell. A GRU's ``update`` of 1 keeps the old
# state, as an LSTM's
# ``forget`` does, so that the two can be held side by side. With Keras's initial biases
# the time scale is about 3.2 steps for an LSTM and 1.4 for a GRU: what is above that
# was learned.

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
