"""
A penalty on a gate
===================

**Question:** can a penalty make a network forget less, and at what cost?

``return_gates=True`` returns the gates as tensors, so they can be part of a loss. Here,
the mean of 1 - forget is added to the loss: it is a penalty on erasing.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

import keras_gates
from keras_gates import stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own series: a text file with one number per line, without a header, at "
    "least 500 lines",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=5, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The task is to forecast the next point of two sine waves with noise, from the 30
# points before it.

series = tasks.sine_waves(2000)
if options.data:
    series = np.genfromtxt(options.data, dtype="float32")
    if series.ndim != 1 or len(series) < 500 or not np.isfinite(series).all():
        parser.error(
            f"--data: '{options.data}' must have one finite number per line, without a "
            "header, at least 500 of them; got shape "
            f"{series.shape}, where {np.isnan(series).sum()} values are not numbers."
        )
    training = series[: int(0.8 * len(series))]
    series = (series - training.mean()) / training.std()
x, y = tasks.sliding_windows(series, sequence_length=30)
(x, y), (x_test, y_test) = tasks.chronological_split(x, y, gap=31)

# %%
# The model
# ---------
# The gate layer is Keras's LSTM, with the same weights and the same output, but it
# returns its gates as well.


class Patient(keras.Model):
    """Forecasts the next point, with a penalty on what its forget gate erases."""

    def __init__(self, price):
        super().__init__()
        self.price = price
        self.recurrent = keras_gates.GateLSTM(16, return_gates=True, name="lstm")
        self.head = keras.layers.Dense(1)

    def call(self, x):
        output, gates = self.recurrent(x)
        self.add_loss(self.price * ops.mean(1.0 - gates["forget"]))
        return self.head(output)


# %%
# Train without and with the penalty
# ----------------------------------

forget, scales, errors = {}, {}, {}
for price in (0.0, 1.0):
    keras.utils.set_random_seed(0)
    model = Patient(price)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(x, y, epochs=options.epochs, batch_size=32, verbose=0)
    gates = keras_gates.capture(model, x_test)
    forget[price] = gates["lstm/forget"].values
    scales[price] = float(stats.timescale(gates)["lstm/forget"].median())
    errors[price] = float(np.mean((model.predict(x_test, verbose=0) - y_test) ** 2))
    print(
        f"price {price:g}: mean forget {forget[price].mean():.3f}, median time scale "
        f"{scales[price]:.1f} steps, test error {errors[price]:.4f}"
    )
print(f"repeating the last point: {np.mean((x_test[:, -1] - y_test) ** 2):.4f}")

# %%
# The values of the forget gate over all test windows, steps and units:

figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
for price, colour in ((0.0, "#999999"), (1.0, "#0072B2")):
    label = "with the penalty" if price else "without a penalty"
    style = {
        "bins": 50,
        "range": (0, 1),
        "density": True,
        "histtype": "step",
        "log": True,
    }
    axes.hist(forget[price].ravel(), color=colour, linewidth=1.5, label=label, **style)
axes.set_xlim(0, 1)
axes.set_xlabel("forget gate (1 keeps the old state)")
axes.set_ylabel("density")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# The answer
# ----------

print(
    "With the penalty, the mean of the forget gate changes from "
    f"{forget[0.0].mean():.2f} to {forget[1.0].mean():.2f}, and the median time scale "
    f"of the path through the cell from {scales[0.0]:.1f} to {scales[1.0]:.1f} steps. "
    f"The test error is multiplied by {errors[1.0] / errors[0.0]:.2f}."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "forget.png", dpi=150)
