"""
An LSTM and a GRU on a sine wave
================================

**Question:** which gate follows the wave, and does the forecast need it?

An LSTM and a GRU learn to forecast the next point of a noisy series from the 50 points
before it. Then each reads a long stretch of the series as one sequence, and the gates
of both are drawn side by side.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_gates
from keras_gates import edits, plots, stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own series: a text file with one number per line, without a header, at "
    "least 5,000 lines",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=12, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The series is the sum of two slow sine waves, ``sin(0.02 t) + sin(0.005 t)``, and
# Gaussian noise with a standard deviation of 0.1. The windows are split in time order,
# with a gap, so that no point of the test part is in the training part.

keras.utils.set_random_seed(0)
series = tasks.sine_waves(5000)
if options.data:
    series = np.genfromtxt(options.data, dtype="float32")
    if series.ndim != 1 or len(series) < 5000 or not np.isfinite(series).all():
        parser.error(
            f"--data: '{options.data}' must have one finite number per line, without a "
            "header, at least 5,000 of them; got shape "
            f"{series.shape}, where {np.isnan(series).sum()} values are not numbers."
        )
    series = (series - series[:4000].mean()) / series[:4000].std()
x, y = tasks.sliding_windows(series, sequence_length=50)
(x, y), (x_test, y_test) = tasks.chronological_split(x, y, gap=51)

# %%
# Train and capture
# -----------------
# Both models are trained on windows. Afterwards they read a stretch of 600 points, none
# of them from the training part: a recurrent layer reads sequences of any length.

stretch = series[None, 4100:4700, None]
layers, models, errors = {}, {}, {}
for name, layer in (("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)):
    model = keras.Sequential(
        [keras.Input((None, 1)), layer(16, name=name), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(0.005), "mse")
    model.fit(x, y, epochs=options.epochs, batch_size=64, verbose=0)
    models[name] = model
    errors[name] = error = model.evaluate(x_test, y_test, verbose=0)
    gates = keras_gates.capture(model, stretch)
    layers[name] = gates[name]
    print(
        f"{name}: test error {error:.4f}; the states, computed from the gates, deviate "
        f"by at most {keras_gates.verify(gates)[name]:.0e}"
    )
print(f"repeating the last point: {np.mean((x_test[:, -1] - y_test) ** 2):.4f}")

# %%
# The gates side by side
# ----------------------
# Signals with the same role are in one row: ``forget`` is next to ``update``. In Keras,
# both *keep* the old state at 1. A unit that follows the wave changes its colour from
# left to right; a unit that does not follow it keeps its colour.

pair = plots.compare_layers(layers["lstm"], layers["gru"])

# %%
# Which gate follows the wave?
# ----------------------------
# Two numbers describe the position on a wave: its value and its slope. The mean of the
# 25 points around each step approximates the wave without its noise. Every unit of
# every gate is compared with both.

smooth = np.convolve(series, np.ones(25) / 25, mode="same")
wave = {"value": smooth[None, 4100:4700], "slope": np.gradient(smooth)[None, 4100:4700]}
best = {}
for name, layer in layers.items():
    for aspect, labels in wave.items():
        found = stats.find_units(layer, labels)
        gate = found[~found["signal"].isin(["candidate", "cell", "hidden"])].iloc[0]
        best[name, aspect] = gate
        print(
            f"{name}: the {aspect} is followed best by {gate['signal']} of unit "
            f"{gate['unit']}, correlation {gate['correlation']:+.2f}"
        )

# %%
# A gate that follows the wave need not move far: a correlation near 1 may be due to
# small movements. Among the units of the GRU whose gate follows the value closely (r²
# over 0.9, or else the best unit), the figure shows the unit that moves most, below the
# input of the network:

signal = best["gru", "value"]["signal"]
found = stats.find_units(layers["gru"].to_dataset()[[signal]], wave["value"])
close = found[found["correlation"] ** 2 > 0.9]["unit"].tolist() or [found["unit"][0]]
swings = layers["gru"][signal].sel(unit=close).std(("sample", "time"))
follower = plots.trajectories(
    layers["gru"],
    signal=signal,
    units=[close[int(swings.values.argmax())]],
    inputs=stretch[0],
)

# %%
# Does the forecast need it?
# --------------------------
# A gate that follows the wave is used only if its movements matter. So the whole gate
# is clamped to the mean of each of its units.

without = {}
for name, model in models.items():
    signal = best[name, "value"]["signal"]
    mean = keras_gates.capture(model, x_test)[name][signal].mean(("sample", "time"))
    with keras_gates.edit(model, {f"{name}/{signal}": edits.clamp(mean)}):
        without[name] = model.evaluate(x_test, y_test, verbose=0)

# %%
# The answer
# ----------

for name in layers:
    value, slope = best[name, "value"], best[name, "slope"]
    print(
        f"{name}: the value is followed by {value['signal']} "
        f"(r² = {value['correlation'] ** 2:.2f}), the slope by {slope['signal']} "
        f"(r² = {slope['correlation'] ** 2:.2f}). With {value['signal']} clamped to "
        f"its mean, the error is {without[name]:.4f} instead of {errors[name]:.4f}."
    )

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {"pair": pair, "follower": follower}.items():
        figure.savefig(options.out / f"{name}.png", dpi=150)
