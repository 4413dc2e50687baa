"""
Watch a gate while a model trains
=================================

**Question:** when does a gate stop changing?

A recorder adds statistics of every gate in training to the logs, where any callback
after it in the list can read them. Here, training stops when the gates of a GRU no
longer become more saturated. The model is an ordinary Keras model, which contains
nothing of keras_gates.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_gates
from keras_gates import plots, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own sequences: an .npz file with x (sample, time, feature) and y "
    "(sample,), their classes as integers from 0",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument(
    "--epochs", type=int, default=100, help="maximum; default: %(default)s"
)
options = parser.parse_args()

# %%
# The data
# --------
# Handwritten digits, read row by row. The probe is the input on which the recorder
# captures the gates after each epoch: 64 images that are not used for training.

keras.utils.set_random_seed(0)
x, y = tasks.digits_by_row()
if options.data:
    with np.load(options.data) as arrays:
        if missing := {"x", "y"} - set(arrays):
            parser.error(
                f"--data: '{options.data}' must have the arrays x and y; "
                f"{' and '.join(sorted(missing))} not found. Write it with "
                "numpy.savez('data.npz', x=x, y=y)."
            )
        x, y = arrays["x"].astype("float32"), arrays["y"]
    if x.ndim != 3 or y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        parser.error(
            "--data: x must have the shape (sample, time, feature), and y a whole "
            f"number for each sample; got {x.shape}, and {y.dtype} of shape {y.shape}."
        )
(x, y), (x_test, y_test) = tasks.stratified_split(x, y)
probe = x_test[:64]

# %%
# Train
# -----
# ``gru/saturation`` is the share of the gates' values that are nearly 0 or nearly 1.
# When it has not risen by half a percentage point for three epochs, training stops.

model = keras.Sequential(
    [
        keras.Input(x.shape[1:]),
        keras.layers.GRU(32, name="gru"),
        keras.layers.Dense(int(y.max()) + 1, activation="softmax"),
    ]
)
model.compile(
    keras.optimizers.Adam(0.003),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
recorder = keras_gates.GateRecorder(probe=probe, log_metrics="all")
stop = keras.callbacks.EarlyStopping(
    "gru/saturation", mode="max", min_delta=0.005, patience=3
)
history = model.fit(
    x, y, epochs=options.epochs, verbose=0, callbacks=[recorder, stop]
).history
for name in ("accuracy", "gru/update/mean", "gru/saturation"):
    print(
        f"{name}: {history[name][0]:.3f} after one epoch, "
        f"{history[name][-1]:.3f} after {len(history[name])}"
    )

# %%
# The gate on the probe, epoch by epoch
# -------------------------------------
# The update gate of the probe, before training and after each epoch: the median and
# bands of all its values. An ``update`` of 1 keeps the old state.

bands = plots.evolution(recorder.traces["gru/update"])

# %%
# The gate in the training batches
# --------------------------------
# The histogram of the update gate in the training batches themselves, epoch by epoch:

ridges = plots.ridges(recorder.statistics["gru"], gate="update")

# %%
# The answer
# ----------

update = recorder.traces["gru/update"]
moved = abs(update.diff("step")).mean(("sample", "time", "unit")).values
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
print(
    f"Stopped after {len(history['loss'])} epochs. In the first epoch, a value of the "
    f"update gate moved by {moved[0]:.3f} on average; in the last epoch, by "
    f"{moved[-1]:.3f}."
)
print(f"Accuracy on images that were not used for training: {accuracy:.1%}.")

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    bands.figure.savefig(options.out / "evolution.png", dpi=150)
    ridges.figure.savefig(options.out / "ridges.png", dpi=150)
