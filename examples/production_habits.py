"""
A forecast with good habits for production
==========================================

**Question:** how long does the network remember, and is it better than no model?

The steps from the data to the saved file:

- Split in time order, before anything is fitted.
- Standardise with the mean and the standard deviation of the training part only.
- Stop early and restore the best weights; lower the learning rate on a plateau.
- Evaluate on a test part that decided nothing, against a forecast without a model.
- Save in the .keras format, load the file, and check that it is the same model.

The gates are recorded during training, and the memory is measured at the end.
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np
from sklearn.preprocessing import StandardScaler

import keras_gates
from keras_gates import plots, stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own series: a text file with one number per line, without a header, at "
    "least 1,000 lines",
)
parser.add_argument(
    "--out", type=Path, metavar="FOLDER", help="save the figures and the model there"
)
parser.add_argument(
    "--epochs", type=int, default=30, help="maximum; default: %(default)s"
)
options = parser.parse_args()
WINDOW = 50

# %%
# The data
# --------
# The series is read as a temperature in degrees: two waves around 20, with noise of
# half a degree. Three fifths are for training, one fifth decides when to stop, and one
# fifth is the test part. The series is split before it is cut into windows, so that no
# window is in two parts.

keras.utils.set_random_seed(0)
series = 20 + 5 * tasks.sine_waves(5000)
if options.data:
    series = np.genfromtxt(options.data, dtype="float32")
    if series.ndim != 1 or len(series) < 1000 or not np.isfinite(series).all():
        parser.error(
            f"--data: '{options.data}' must have one finite number per line, without a "
            "header, at least 1,000 of them; got shape "
            f"{series.shape}, where {np.isnan(series).sum()} values are not numbers."
        )
parts = np.split(series[:, None], [3 * len(series) // 5, 4 * len(series) // 5])
scaler = StandardScaler().fit(parts[0])
train, validation, test = (
    tasks.sliding_windows(scaler.transform(part), WINDOW) for part in parts
)

# %%
# Train
# -----

model = keras.Sequential(
    [
        keras.Input((WINDOW, 1)),
        keras.layers.GRU(16, name="gru"),
        keras.layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "mse")
recorder = keras_gates.GateRecorder(probe=test[0][::100])
history = model.fit(
    *train,
    epochs=options.epochs,
    batch_size=64,
    validation_data=validation,
    callbacks=[
        keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2),
        keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
        recorder,
    ],
    verbose=0,
).history
losses = history["val_loss"]
print(f"epochs: {len(losses)}, best epoch: {1 + int(np.argmin(losses))}")
print(f"learning rate at the end: {history['learning_rate'][-1]:.2g}")

# %%
# Save, load, and check
# ---------------------
# A recorded model is saved as the original model, so Keras alone can load it.

with tempfile.TemporaryDirectory() as folder:
    path = (options.out or Path(folder)) / "forecast.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    loaded = keras.saving.load_model(path)
predicted = loaded.predict(test[0], verbose=0)
same = np.array_equal(predicted, model.predict(test[0], verbose=0))
print(f"the loaded file predicts the same: {same}")

# %%
# Evaluate
# --------
# The errors are in the unit of the series, on the last fifth.


def error(forecast):
    """Returns the root mean squared error in degrees."""
    return np.sqrt(np.mean((forecast - test[1]) ** 2)) * scaler.scale_[0]


print(f"error of the model: {error(predicted):.2f} degrees")
print(f"error of repeating the last point: {error(test[0][:, -1]):.2f} degrees")
stretch = slice(0, 200)
forecasts = plots.predictions(
    scaler.inverse_transform(test[1][stretch]),
    {"GRU": scaler.inverse_transform(predicted[stretch])},
)

# %%
# The gates, and the memory
# -------------------------
# The first figure below shows for how long the path through the state keeps a value, by
# unit, compared with the length of a window. The second figure shows the update gate
# during training; an ``update`` of 1 keeps the old state. The memory of the network is
# measured separately, by swapping states between windows.

gates = keras_gates.capture(loaded, test[0][::100])
scales = plots.timescale(gates["gru"])

# %%
# A state is replaced by that of a window with a similar point at that step, because
# another state would not fit the points that follow.

swapped = WINDOW // 4
windows = test[0][:: -(-len(test[0]) // 200)]
point = windows[:, swapped, 0]
alike = np.digitize(point, np.quantile(point, [0.2, 0.4, 0.6, 0.8]))
memory = keras_gates.reach(loaded, windows, time=[swapped], groups=alike)

# %%

bands = plots.evolution(recorder.traces["gru/update"])

# %%
# The answer
# ----------

path = stats.timescale(recorder.traces["gru"])["update"].median("unit").values
longest = float(stats.timescale(gates)["gru/update"].max())
print(
    "In training, the median time scale of the path through the state changed from "
    f"{path[0]:.1f} to {path[-1]:.1f} steps. The longest time scale of a unit of the "
    f"saved model is {longest:.0f} steps."
)
remembered = float(memory["gru/reach"][0])
at_least = "at least " if np.isinf(remembered) else ""
print(
    f"By measurement, the network remembers its state after step {swapped} for "
    f"{at_least}{min(remembered, WINDOW - 1 - swapped):.1f} steps."
)
print(
    f"Its error is {error(predicted) / error(test[0][:, -1]):.2f} times that of "
    "repeating the last point."
)

# %%
# With ``--out`` the figures are saved in the folder of the model.

if options.out:
    for name, axes in {
        "forecasts": forecasts,
        "scales": scales,
        "bands": bands,
    }.items():
        axes.figure.savefig(options.out / f"{name}.png", dpi=150)
