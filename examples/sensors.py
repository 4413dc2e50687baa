"""
A machine before it switches
============================

**Question:** which unit warns that the machine is about to switch, how many steps
ahead, and does the alarm need it?

A ventilation unit runs fast, runs slowly or rests, on a schedule. A GRU reads the
vibration that a sensor measures on it, without a clock, and predicts at every step
whether the machine will switch within the next hour. To be right, it must count steps.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
from matplotlib.figure import Figure
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
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
    help="your own record: a CSV file with the column event (1 at the steps of the "
    "event to predict, else 0) and one column for each sensor, one row per step, in "
    "order, without gaps; at least 2,000 rows, with 20 events in the first 60 %%",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=25, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
options = parser.parse_args()
WARNING = 6

# %%
# The data
# --------
# The magnitude of the vibration of a heating, ventilation and air-conditioning unit in
# a building, every ten minutes for thirty days in March and April 2023: 4,310 values of
# ``tasks.ventilation``. They were provided by the company Soundsensing, and come with
# the package skchange. Ten values are missing; each is replaced by the value before it.
# The network reads the logarithm, because the vibration at rest is a hundredth of that
# at full speed. A switch is a change between rest, low speed and high speed.

if options.data:
    table = pandas.read_csv(options.data)
    names = [name for name in table if name != "event"]
    if "event" not in table or not names:
        parser.error(
            f"--data: '{options.data}' must have the column event and one column for "
            f"each sensor; got the columns {', '.join(map(str, table))}."
        )
    early = int((table["event"][: int(0.6 * len(table))] == 1).sum())
    if len(table) < 2000 or early < 20 or table.isna().any(axis=None):
        parser.error(
            "--data: must have at least 2,000 steps without gaps, and 20 events in the "
            f"first 60 %; got {len(table):,} steps, {early} such events and "
            f"{int(table.isna().sum().sum())} empty cells."
        )
    sensors = table[names].to_numpy(float)
    switch = table["event"].to_numpy() == 1
else:
    times, vibration = tasks.ventilation(0)
    step = ((times - times[0]) / np.timedelta64(10, "m")).round().astype(int)
    latest = np.searchsorted(step, np.arange(step[-1] + 1), side="right") - 1
    sensors = np.log(vibration[latest].astype(float))[:, None]
    level = np.digitize(vibration[latest], [0.03, 0.25])
    switch = np.diff(level, prepend=level[0]) != 0

# %%
# The label is whether a switch comes within the next six steps, which are an hour. The
# first 60 % of the steps are for training.

steps = len(sensors)
cut = int(0.6 * steps)
coming = np.convolve(switch, np.ones(WARNING))[WARNING:] > 0
due = np.zeros(steps, bool)
due[: len(coming)] = coming[:steps]
usable = steps - WARNING  # The labels of the last steps are not known.
mean, spread = sensors[:cut].mean(axis=0), sensors[:cut].std(axis=0)
x = ((sensors - mean) / spread).astype("float32")
print(
    f"{steps:,} steps, {switch.sum()} switches, {switch[cut:].sum()} of them in the "
    "test part"
)

# %%
# Three forecasts that a practitioner would try first: a linear model of the last value;
# the clock, which is how often a switch followed at the same time of day; and boosted
# trees, which read the last value and, as a feature made for this purpose, the time
# since the last switch. The clock is for this machine only. Its schedule moved by an
# hour in universal time when summer time began on 26 March.

here = np.arange(steps)
since = here - np.maximum.accumulate(np.where(switch, here, 0))
features = np.column_stack([x, since])
test = slice(cut, usable)
trees = HistGradientBoostingClassifier(random_state=0)
trees.fit(features[: cut - WARNING], due[: cut - WARNING])
linear = LogisticRegression().fit(x[: cut - WARNING], due[: cut - WARNING])
rules = {
    "a linear model of the last value": linear.predict_proba(x)[:, 1],
    "trees with the time since the switch": trees.predict_proba(features)[:, 1],
}
if not options.data:
    day = 24 * 6
    clock = [due[now : cut - WARNING : day].mean() for now in range(day)]
    rules["the clock"] = np.asarray(clock)[here % day]

# %%
# Train
# -----
# The networks train on stretches of two days, which begin three hours apart. The
# predictions on the first day of a stretch do not count, because the network has not
# seen a switch of each kind yet. The initial weights and the order of the stretches are
# random, so several networks are trained.

LENGTH, BEFORE = 288, 144
starts = np.arange(0, cut - WARNING - LENGTH + 1, 18)
x_train = np.stack([x[start : start + LENGTH] for start in starts])
y_train = np.stack([due[start : start + LENGTH, None] for start in starts])
counts = np.ones((len(starts), LENGTH), "float32")
counts[:, :BEFORE] = 0
models = []
for seed in range(options.seeds):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((None, x.shape[1])),
            keras.layers.GRU(12, return_sequences=True, name="gru"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    updates = options.epochs * -(-len(starts) // 16)
    rate = keras.optimizers.schedules.CosineDecay(0.02, updates)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "binary_crossentropy")
    model.fit(
        x_train,
        y_train.astype("float32"),
        sample_weight=counts,
        epochs=options.epochs,
        batch_size=16,
        verbose=0,
    )
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


def alarms(model, start=0):
    """Returns the output of a network from a step on, for one sequence."""
    return model.predict(x[None, start:], verbose=0)[0, :, 0]


# %%
# Which unit warns?
# -----------------
# An AUC of 1 means that a unit is always higher before a switch, and 0 that it is
# always lower. The units are chosen on the training part and evaluated on the test
# part. The table is of the first network.

captured = [keras_gates.capture(model, x[None])["gru"] for model in models]
learned = slice(BEFORE, cut - WARNING)
tables = [
    stats.find_units(gates.isel(time=learned), due[None, learned]) for gates in captured
]
print(tables[0].head())
bests = [table.iloc[0] for table in tables]
gates, best = captured[0], bests[0]
print(f"In the first network, {best['signal']} of unit {best['unit']} warns best.")

# %%
# How many steps ahead?
# ---------------------
# An alarm is a value beyond a threshold that 1 % of the other steps of the training
# part exceed. All alarms are evaluated in the same way, on the test part: by the share
# of switches with an alarm in the six steps before, the median number of steps from the
# first of these alarms to the switch, and the share of other steps with a false alarm.

happens = np.flatnonzero(switch)
happens = happens[(happens >= cut + WARNING) & (happens < usable)]


def warns(values, rising=True):
    """Returns the results of an alarm on the test part."""
    values = values if rising else -values
    alarm = values > np.quantile(values[learned][~due[learned]], 0.99)
    ahead = alarm[happens[:, None] - np.arange(WARNING, 0, -1)]
    seen = ahead.any(axis=1)
    first = WARNING - ahead.argmax(axis=1)
    return {
        "AUC": roc_auc_score(due[test], values[test]),
        "switches predicted": seen.mean(),
        "steps ahead": np.median(first[seen]) if seen.any() else np.nan,
        "false alarms": alarm[test][~due[test]].mean(),
    }


def values_of(gates, row):
    """Returns the values of a unit of a signal, at every step."""
    return gates[row["signal"]].sel(unit=row["unit"]).values[0]


def over_seeds(column):
    """Returns the interval of a column, unless a network predicts no switch."""
    if column.isna().any():
        return "not in all networks"
    return interval(column, most=np.inf if column.name == "steps ahead" else 1)


network = pandas.DataFrame([warns(alarms(model)) for model in models])
unit = pandas.DataFrame(
    [
        warns(values_of(gates, row), row["auc"] > 0.5)
        for gates, row in zip(captured, bests, strict=True)
    ]
)
table = {
    "the network's output": {name: over_seeds(network[name]) for name in network},
    "its best unit": {name: over_seeds(unit[name]) for name in unit},
}
judged = {name: warns(values) for name, values in rules.items()}
for name, row in judged.items():
    table[name] = {
        key: "none" if np.isnan(value) else f"{value:.2f}" for key, value in row.items()
    }
print(pandas.DataFrame(table).T.to_string())

# %%
# The best unit over two days of the test part, with the hour before each switch shaded:

shown = slice(cut + 144, cut + 144 + LENGTH)
warning = plots.trajectories(
    gates.isel(time=shown),
    units=[best["unit"]],
    signal=best["signal"],
    inputs=x[shown],
)
for axes in warning.axes:
    axes.fill_between(
        range(LENGTH),
        0,
        1,
        where=due[shown],
        transform=axes.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )
    axes.set_xticks(range(0, LENGTH + 1, 36), range(0, LENGTH // 6 + 1, 6))
warning.axes[-1].set_xlabel("hours")

# %%
# The same unit before all the switches of the test part: the median and the middle half
# of them. The middle 90 % of its values at all other steps are between the dotted
# lines.

values = values_of(gates, best)
back = np.arange(-24, 1)
aligned = np.stack([values[now + back] for now in happens])
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.subplots()
low, middle, high = np.quantile(aligned, [0.25, 0.5, 0.75], axis=0)
axes.plot(back, middle, color="#D55E00", label="before a switch")
axes.fill_between(back, low, high, color="#D55E00", alpha=0.25, linewidth=0)
for edge in np.quantile(values[test][~due[test]], [0.05, 0.95]):
    axes.axhline(edge, color="0.4", linestyle=":", linewidth=1)
axes.axvline(-WARNING, color="0.6", linewidth=0.8, zorder=0)
axes.set_xlabel("steps from the switch")
axes.set_ylabel(f"{best['signal']} of unit {best['unit']}")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# Does the alarm need it?
# -----------------------
# The network need not use a unit that warns early. So the hidden state of each unit is
# clamped to its mean, one at a time, and the AUC of the network's own output is
# measured again on the test part. The network also reads the day before it.


def without_units(model, gates):
    """Returns the AUC of the network with each unit clamped."""
    mean = gates["hidden"].mean(("sample", "time")).values
    left = {}
    for unit, value in enumerate(mean):
        with keras_gates.edit(model, {"gru/hidden": edits.clamp(value, units=[unit])}):
            output = alarms(model, cut - BEFORE)[BEFORE:-WARNING]
        left[unit] = roc_auc_score(due[test], output)
    return pandas.Series(left).sort_values()


clamped = [
    without_units(model, gates) for model, gates in zip(models, captured, strict=True)
]
print("AUC of the first network with one unit clamped:")
print(clamped[0].head().round(2).to_string())
places = [
    aucs.index.get_loc(row["unit"]) + 1
    for aucs, row in zip(clamped, bests, strict=True)
]

# %%
# The answer
# ----------

name = max(judged, key=lambda rule: judged[rule]["AUC"])
_, low, high = stats.mean_interval(
    xarray.DataArray(network["AUC"] - judged[name]["AUC"], dims="seed"), "seed"
)
print(
    f"The best rule is {name}, AUC {judged[name]['AUC']:.3f}; the AUC of the network "
    f"is {interval(network['AUC'], '{:.3f}', 1)}: "
    + (
        "the network is better."
        if float(low) > 0
        else "the network is worse, and is not needed to predict when this machine "
        "switches."
        if float(high) < 0
        else "no clear difference."
    )
)
for alarm, row in (
    (f"{best['signal']} of unit {best['unit']} of the first network", unit.iloc[0]),
    ("The output of that network", network.iloc[0]),
):
    ahead = f", {row['steps ahead']:.0f} steps ahead (median)"
    print(
        f"{alarm} predicts {row['switches predicted']:.0%} of {len(happens)} switches"
        + (ahead if row["switches predicted"] > 0 else "")
        + f", with false alarms at {row['false alarms']:.1%} of the other steps."
    )
left = [aucs[row["unit"]] for aucs, row in zip(clamped, bests, strict=True)]
print(
    f"With the best unit clamped, the AUC of the networks is {interval(left, most=1)} "
    f"instead of {interval(network['AUC'], most=1)}. By this AUC, the rank of the unit "
    f"in each network is {', '.join(map(str, places))} of {len(clamped[0])}. "
    + (
        "The unit that warns best is the one that the alarm needs most."
        if max(places) == 1
        else "The unit that warns best is not always the one that the alarm needs most."
    )
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    warning.savefig(options.out / "warning.png", dpi=150)
    figure.savefig(options.out / "switch.png", dpi=150)
