"""
Handwritten digits, row by row
==============================

**Question:** which rows of the image are left in the cell state, and which matter?

An LSTM reads an image of a digit from top to bottom, one row per step, and classifies
the digit at the end. The gates show exactly what is left of each row by then. An
experiment shows whether the row matters.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_gates
from keras_gates import plots, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own images: an .npz file with x (sample, row, column), from 0 for paper "
    "to 1 for ink, and y (sample,), their classes as integers from 0",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The 1,797 images of 8 by 8 pixels that come with scikit-learn.

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
            "--data: x must have the shape (sample, row, column), and y a whole number "
            f"for each sample; got {x.shape}, and {y.dtype} of shape {y.shape}."
        )
(x, y), (x_test, y_test) = tasks.stratified_split(x, y)
rows = x.shape[1]

# %%
# Train
# -----

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input(x.shape[1:]),
        keras.layers.LSTM(32, name="lstm"),
        keras.layers.Dense(int(y.max()) + 1, activation="softmax"),
    ]
)
model.compile(
    keras.optimizers.Adam(0.005),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(x, y, epochs=options.epochs, batch_size=32, verbose=0)
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
most_frequent = np.bincount(y_test).max() / len(y_test)
print(f"accuracy: {accuracy:.3f}; always the most frequent class: {most_frequent:.3f}")

# %%
# The gates on one image
# ----------------------

gates = keras_gates.capture(model, x_test)
heat = plots.heatmap(gates["lstm"])

# %%
# What is left of a row
# ---------------------
# The final cell state is a sum over the rows. The term of row ``j`` is what it wrote,
# ``i[j] g[j]``, times all the later forget gates. The share of a row is the absolute
# value of its term, as a fraction of the sum over all rows.

lstm = gates["lstm"].to_dataset()
written = lstm["input"] * lstm["candidate"]
# The product of the forget gates of all later rows, 1 for the last row.
kept = lstm["forget"].isel(time=slice(None, None, -1)).cumprod("time")
kept = kept.isel(time=slice(None, None, -1)).shift(time=-1, fill_value=1)
left = written * kept
print(
    "the terms add up to the final cell state, to within "
    f"{float(abs(left.sum('time') - lstm['cell'].isel(time=-1)).max()):.0e}"
)
share = abs(left).sum("unit") / abs(left).sum(("unit", "time"))
share = share.mean("sample").values

# %%
# Does it matter?
# ---------------
# In the experiment, one row of every test image is replaced by the mean of this row
# over the training images, and the network reads the images again. A row may matter
# for more than what is left of it, because it also affects the gates at later rows.

lost = np.empty(rows)
for row in range(rows):
    blank = x_test.copy()
    blank[:, row] = x[:, row].mean(axis=0)
    lost[row] = accuracy - model.evaluate(blank, y_test, verbose=0)[1]

# %%
# The mean image, the share of each row that is left in the cell state, and the accuracy
# that is lost without the row:

figure = Figure(figsize=(7, 3), layout="constrained")
image, bars, drop = figure.subplots(1, 3, sharey=True)
image.imshow(x_test.mean(axis=0), cmap="Greys", aspect="auto")
image.set_title("mean image", fontsize="medium")
image.set_xlabel("column")
image.set_ylabel("row, read from the top")
bars.barh(range(rows), 100 * share, color="#999999")
bars.set_title("left in the cell state", fontsize="medium")
bars.set_xlabel("share (%)")
drop.barh(range(rows), 100 * lost, color="#D55E00")
drop.set_title("accuracy lost without it", fontsize="medium")
drop.set_xlabel("percentage points")
for axes in (bars, drop):
    axes.spines[["top", "right"]].set_visible(False)

# %%
# The answer
# ----------

half = int(np.searchsorted(np.cumsum(share[::-1]), 0.5)) + 1
print(
    f"Half of the final cell state comes from the last {half} of {rows} rows. Row "
    f"{share.argmax()} has the largest share ({share.max():.0%}), row {share.argmin()} "
    f"the smallest ({share.min():.0%})."
)
print(
    f"The accuracy falls most without row {lost.argmax()}, by {100 * lost.max():.0f} "
    "percentage points. Over the rows, the correlation of the share that is left with "
    f"the accuracy that is lost is {np.corrcoef(share, lost)[0, 1]:+.2f}."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    heat.savefig(options.out / "gates.png", dpi=150)
    figure.savefig(options.out / "rows.png", dpi=150)
