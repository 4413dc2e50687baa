"""
Heart beats with an arrhythmia
==============================

**Question:** which units react to a premature beat, and does the forecast use them?

An LSTM reads an electrocardiogram and forecasts the next point. Most beats look alike
and come when they should. Now and then one comes too early, from another place of the
heart, and has another shape.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

import keras_gates
from keras_gates import edits, plots, stats

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="a recording of yours: a CSV file with the columns signal, in steps of about "
    "1/32 second, and premature (1 during a premature beat, else 0); at least 8,000 "
    "rows",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# Each beat is a sum of five bumps, the waves P, Q, R, S and T, after the idea of
# McSharry and others (2003, *IEEE Transactions on Biomedical Engineering* 50): a
# Gaussian of its own height, width and place for each. Beats follow each other after
# 0.8 seconds, more or less. One in twelve is premature: it comes after 60 % of that
# time, has no P wave and a wide R wave, and the next beat waits to make up for it. A
# second has 32 steps.

RATE = 32
WAVES = {  # Seconds from the R wave, height, width in seconds.
    "normal": [(-0.18, 0.15, 0.03), (-0.05, -0.12, 0.02), (0.0, 1.0, 0.025)]
    + [(0.05, -0.2, 0.02), (0.25, 0.3, 0.05)],
    "premature": [(0.0, 0.9, 0.07), (0.14, -0.35, 0.05), (0.32, -0.25, 0.06)],
}


def recording(seconds=1200, seed=0):
    """Returns an electrocardiogram, and whether each step is of a premature beat."""
    generator = np.random.default_rng(seed)
    time = np.arange(seconds * RATE) / RATE
    signal = 0.03 * generator.normal(size=time.size)
    premature = np.zeros(time.size, bool)
    beat, early = 0.5, False
    while beat < seconds:
        for delay, height, width in WAVES["premature" if early else "normal"]:
            signal += height * np.exp(-(((time - beat - delay) / width) ** 2) / 2)
        if early:
            premature |= (time > beat - 0.15) & (time < beat + 0.45)
        usual = 0.8 * (1 + 0.05 * generator.normal())
        was_early, early = early, not early and generator.random() < 1 / 12
        beat += usual * (0.6 if early else 1.4 if was_early else 1)
    return signal, premature


signal, premature = recording()
if options.data:
    table = pandas.read_csv(options.data)
    if missing := {"signal", "premature"} - set(table):
        parser.error(
            f"--data: '{options.data}' must have the columns signal and premature; "
            f"{' and '.join(sorted(missing))} not found."
        )
    signal = table["signal"].to_numpy(float)
    premature = table["premature"].to_numpy(bool)
    if len(table) < 8000 or not np.isfinite(signal).all():
        parser.error(
            f"--data: must have at least 8,000 rows without gaps; got {len(table):,}, "
            f"{np.isnan(signal).sum()} of them without a number."
        )

# %%
# The recording is cut into pieces of eight seconds; the last fifth of them is the test
# part.

LENGTH = 8 * RATE
cut = int(0.8 * len(signal)) // LENGTH
scaled = ((signal - signal.mean()) / signal.std()).astype("float32")
pieces = (len(signal) - 1) // LENGTH
x = scaled[: pieces * LENGTH].reshape(pieces, LENGTH, 1)
y = scaled[1 : pieces * LENGTH + 1].reshape(pieces, LENGTH, 1)
label = premature[: pieces * LENGTH].reshape(pieces, LENGTH)

# %%
# Train
# -----

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None, 1)),
        keras.layers.LSTM(16, return_sequences=True, name="lstm"),
        keras.layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "mse")
model.fit(x[:cut], y[:cut], epochs=options.epochs, batch_size=8, verbose=0)
forecast = model.predict(x[cut:], verbose=0)
print(f"error of the network: {np.mean((forecast - y[cut:]) ** 2):.3f}")
print(f"error of repeating the last point: {np.mean((x[cut:] - y[cut:]) ** 2):.3f}")

# %%
# Which units react?
# ------------------
# The label is whether a step belongs to a premature beat. AUC: 1 for a unit that is
# always higher during such a beat, 0 for one that is always lower, 0.5 for one that
# does not react.

gates = keras_gates.capture(model, x[cut:])
found = stats.find_units(gates, label[cut:])
print(found.head(8))
best = found.iloc[0]

# %%
# The three units of that signal which react most, on the first piece with a premature
# beat, which is shaded:

same = found[found["signal"] == best["signal"]]
piece = int(label[cut:].any(axis=1).argmax())
reaction = plots.trajectories(
    gates["lstm"],
    units=same["unit"].head(3).tolist(),
    signal=best["signal"],
    sample=piece,
    values=x[cut + piece, :, 0],
)
for axes in reaction.axes:
    axes.fill_between(
        range(LENGTH),
        0,
        1,
        where=label[cut + piece],
        transform=axes.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )

# %%
# The best one, beat by beat: the premature beats of the test part laid over each other.
# The grey band holds nine tenths of its values at all other steps.

before, after = RATE // 2, RATE
values = gates["lstm"][best["signal"]].sel(unit=best["unit"]).values
low, high = np.quantile(values[~label[cut:]], [0.05, 0.95])
starts = np.argwhere(np.diff(label[cut:].astype(int), axis=1) == 1) + [0, 1]
fits = (starts[:, 1] >= before) & (starts[:, 1] <= LENGTH - after)
beats = np.stack(
    [values[row, step - before : step + after] for row, step in starts[fits]]
)
milliseconds = np.arange(-before, after) * 1000 / RATE
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.subplots()
axes.axhspan(low, high, color="0.9", label="nine tenths of all other steps")
axes.plot(milliseconds, beats.T, color="#0072B2", linewidth=0.6, alpha=0.4)
axes.plot(milliseconds, np.median(beats, axis=0), color="#0072B2", label="median")
axes.axvline(0, color="0.6", linewidth=0.8)
axes.set_xlabel("milliseconds since a premature beat began")
axes.set_ylabel(f"{best['signal']} of unit {best['unit']}")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# Does the forecast use it?
# -------------------------
# Each unit of that signal is clamped to its mean, one at a time. If the one that reacts
# is there for premature beats, the error must grow there, and more than elsewhere.


def errors(said):
    """Returns the mean squared error in premature beats, and at all other steps."""
    squared = (said - y[cut:])[..., 0] ** 2
    return squared[label[cut:]].mean(), squared[~label[cut:]].mean()


usual = np.array(errors(forecast))
mean = gates["lstm"][best["signal"]].mean(("sample", "time"))
grown = {}
for unit in range(mean.size):
    change = edits.clamp(float(mean[unit]), units=[unit])
    with keras_gates.edit(model, {f"lstm/{best['signal']}": change}):
        grown[unit] = np.array(errors(model.predict(x[cut:], verbose=0))) / usual
grown = pandas.DataFrame(grown, ["premature", "other"]).T
print(grown.sort_values("premature", ascending=False).head().round(2))
place = int((grown["premature"] > grown["premature"][best["unit"]]).sum()) + 1

# %%
# The answer
# ----------

outside = (beats[:, before:] < low) | (beats[:, before:] > high)
reacts = outside.any(axis=1)
print(
    f"{best['signal']} of unit {best['unit']} reacts most, AUC {best['auc']:.2f} "
    f"(p = {best['p_value']:.3f}, corrected for all the units); the signal itself has "
    f"{roc_auc_score(label[cut:].ravel(), x[cut:].ravel()):.2f}."
)
print(
    f"It leaves its usual band in {reacts.sum()} of {len(beats)} premature beats, "
    f"{1000 / RATE * np.median(outside[reacts].argmax(axis=1)):.0f} milliseconds "
    "(median) after they began."
)

one = grown.loc[best["unit"]]
print(
    "With it clamped to its mean the error in premature beats is "
    f"{one['premature']:.1f} times what it was, number {place} of {len(grown)} units, "
    f"and {one['other']:.1f} times elsewhere."
)
print(
    "So the forecast of these beats uses it more than that of others."
    if one["premature"] > max(1.1, 1.1 * one["other"])
    else "So it reacts to these beats, but is not there for them alone."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    reaction.savefig(options.out / "reaction.png", dpi=150)
    figure.savefig(options.out / "beats.png", dpi=150)
