"""
Electricity: the day and the week
=================================

**Question:** which unit follows the weekend, and which gate carries the daily and the
weekly cycle in the forecast?

An LSTM reads the hourly electricity demand of England and Wales, and nothing else: no
clock and no calendar. At every hour it forecasts the demand at the same hour tomorrow,
so it must know whether tomorrow is a Saturday. The page first measures which units and
gates follow the calendar, and then clamps them to show which of them the forecast uses.
"""

import argparse
import contextlib
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
from matplotlib.figure import Figure
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
    help="your own hourly series: a text file with one number per line, without a "
    "header, from midnight of a Monday on, at least 12 weeks (2,016 lines)",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=40, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# Twelve weeks of the summer of 2000, from Monday, 5 June to Sunday, 27 August, in
# megawatts. The 4,032 half-hourly values of ``tasks.electricity_demand`` are averaged
# to 2,016 hourly ones. They come with the package pmdarima, after Taylor (2003,
# *Journal of the Operational Research Society* 54).

DAY, WEEK = 24, 7 * 24

if options.data:
    series = np.genfromtxt(options.data)
    if series.ndim != 1 or len(series) < 12 * WEEK or not np.isfinite(series).all():
        parser.error(
            f"--data: '{options.data}' must have one finite number per line, without a "
            f"header, at least {12 * WEEK:,} of them; got shape "
            f"{series.shape}, where {np.isnan(series).sum()} values are not numbers."
        )
    series = series[: len(series) // WEEK * WEEK]
else:
    series = tasks.electricity_demand().reshape(-1, 2).mean(axis=1)
print(f"{len(series):,} hours, {len(series) // WEEK} weeks, mean {series.mean():,.0f}")

# %%
# The last four weeks are the test part. Each of these weeks, from Monday to Sunday, is
# forecast from a stretch of two weeks that ends one day before the end of the week. The
# stretches for training begin twelve hours apart, and end before the test part begins.

LENGTH = 2 * WEEK
cut = len(series) - 4 * WEEK
mean, spread = series[:cut].mean(), series[:cut].std()
scaled = ((series - mean) / spread).astype("float32")[:, None]


def stretches(starts, delay=0):
    """Returns the two weeks from each start on, shifted by `delay` hours."""
    return np.stack([scaled[s + delay : s + delay + LENGTH] for s in starts])


training = np.arange(0, cut - LENGTH - DAY + 1, 12)
test = np.arange(cut - WEEK - DAY, len(series) - LENGTH, WEEK)
x, y = stretches(test), stretches(test, DAY)
truth = y[:, WEEK:, 0]

# %%
# Three forecasts that a practitioner would try first: the demand of today, the demand
# one week before the hour to forecast, and a linear model of the hours of the last
# week.

windows = np.lib.stride_tricks.sliding_window_view(scaled[:, 0], WEEK)
past = np.arange(cut - WEEK - DAY + 1)
linear = Ridge(0.1).fit(windows[past], scaled[past + WEEK - 1 + DAY, 0])
ends = test[:, None] + np.arange(WEEK, LENGTH) - WEEK + 1


def error(forecast):
    """Returns the root mean squared error of the test weeks, in the series' unit."""
    return spread * np.sqrt(np.mean((forecast - truth) ** 2))


rules = {
    "repeating today": error(x[:, WEEK:, 0]),
    "repeating the last week": error(stretches(test, DAY - WEEK)[:, WEEK:, 0]),
    "a linear model": error(linear.predict(windows[ends.ravel()]).reshape(truth.shape)),
}
for name, value in rules.items():
    print(f"error of {name}: {value:,.1f}")

# %%
# Train
# -----
# If the path through the cell is to keep a value for days, a forget gate must begin
# nearly open. So the biases are set such that the time scales of the units range from
# about one hour to a week (`Tallec and Ollivier, 2018
# <https://arxiv.org/abs/1804.11188>`_). With Keras's own bias, all units begin with
# about three hours. Training is free to change the time scales. The network predicts
# the difference between tomorrow and today.
#
# The forecasts of the first week of a stretch count neither in the loss nor in the
# errors: before the network has seen a weekend, it cannot know when the next one comes.
# The initial weights and the order of the stretches are random, so several networks are
# trained.


def hours_to_a_week(shape, dtype=None):
    """Returns an LSTM's bias: time scales from an hour to a week, log-spaced."""
    units = shape[0] // 4
    forget = np.linspace(0, np.log(WEEK), units)
    return np.concatenate([-forget, forget, np.zeros(2 * units)]).astype("float32")


def network(seed):
    """Returns an untrained network."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, 1))
    hidden = keras.layers.LSTM(
        16,
        return_sequences=True,
        bias_initializer=hours_to_a_week,
        unit_forget_bias=False,
        name="lstm",
    )(inputs)
    change = keras.layers.Dense(1)(keras.layers.Dropout(0.1)(hidden))
    return keras.Model(inputs, keras.layers.Add()([inputs, change]))


counts = np.ones((len(training), LENGTH), "float32")
counts[:, :WEEK] = 0
models = []
before = stats.timescale(keras_gates.capture(network(0), x))["lstm/forget"]
for seed in range(options.seeds):
    model = network(seed)
    updates = options.epochs * -(-len(training) // 16)
    rate = keras.optimizers.schedules.CosineDecay(0.02, updates)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    model.fit(
        stretches(training),
        stretches(training, DAY),
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


forecasts = [model.predict(x, verbose=0)[:, WEEK:, 0] for model in models]
errors = np.array([error(forecast) for forecast in forecasts])
print("errors of the networks:", *(f"{value:,.1f}" for value in errors))
print(f"their mean: {interval(errors, '{:,.1f}')}")
together = error(np.mean(forecasts, axis=0))
print(f"error of the mean of their forecasts: {together:,.1f}")

# %%
# Which unit follows the weekend?
# -------------------------------
# The network does not read the calendar, but its units can be compared with it. The
# label is whether *tomorrow* is a Saturday or a Sunday: on a Friday the demand does not
# show this yet, and on a Sunday it is misleading. An AUC of 1 means that a unit is
# always higher at such hours than at others, 0 that it is always lower, and 0.5 that it
# does not follow the label. The table is of the first network.

hour = test[:, None] + np.arange(LENGTH)
tomorrow = (hour + DAY) % WEEK >= 5 * DAY
captured = [keras_gates.capture(model, x) for model in models]
tables = [stats.find_units(gates, tomorrow) for gates in captured]
print(tables[0].head())
bests = [table.iloc[0] for table in tables]
gates, best = captured[0], bests[0]

# %%
# The best unit over the last stretch. The days before a Saturday or a Sunday are
# shaded.

follower = plots.trajectories(
    gates["lstm"],
    units=[best["unit"]],
    signal=best["signal"],
    sample=len(test) - 1,
    inputs=x[-1],
)
for axes in follower.axes:
    axes.fill_between(
        range(LENGTH),
        0,
        1,
        where=tomorrow[-1],
        transform=axes.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )
    axes.set_xticks(range(0, LENGTH, 2 * DAY))
follower.axes[-1].set_xlabel("hour of the stretch (0 is midnight)")

# %%
# Does the forecast need that unit?
# ---------------------------------
# The network need not use a unit that follows the weekend. So each unit of that signal
# is clamped to its mean, one at a time. The share of the weekly cycle in the forecast
# is the difference between its working days and its weekend, divided by the true
# difference. The share of the daily cycle is the slope of the regression of its mean
# working day on the true one. Both are 1 for a perfect forecast.

weekend = tomorrow[:, WEEK:]
clock = (hour[:, WEEK:] + DAY) % DAY


def seasons(model, change=None):
    """Returns the error of a forecast, and its shares of the daily and weekly cycle."""
    with keras_gates.edit(model, change) if change else contextlib.nullcontext():
        forecast = model.predict(x, verbose=0)[:, WEEK:, 0]
    days, weeks = [], []
    for demand in (forecast, truth):
        working = demand[~weekend], clock[~weekend]
        day = np.array([working[0][working[1] == now].mean() for now in range(DAY)])
        days.append(day - day.mean())
        weeks.append(demand[~weekend].mean() - demand[weekend].mean())
    slope = days[0] @ days[1] / (days[1] @ days[1])
    return {"error": error(forecast), "day": slope, "week": weeks[0] / weeks[1]}


def clamped(model, gates, signal, units=None):
    """Returns the same as `seasons`, with a signal clamped to the mean of each unit."""
    level = gates["lstm"][signal].mean(("sample", "time"))
    if units is not None:
        level = level[units]
    return seasons(model, {f"lstm/{signal}": edits.clamp(level, units=units)})


usual = seasons(models[0])
left = {
    unit: clamped(models[0], gates, best["signal"], [unit])["week"]
    for unit in range(gates["lstm"].sizes["unit"])
}
off = pandas.Series({unit: abs(value - 1) for unit, value in left.items()})
off = off.sort_values(ascending=False)
place = off.index.get_loc(best["unit"]) + 1
print(f"share of the weekly cycle, with one unit of {best['signal']} clamped:")
print(pandas.Series(left).loc[off.index].head().round(2).to_string())

# %%
# Which gate carries the cycles?
# ------------------------------
# Now all units of a gate are clamped to their means. On average, the gate then lets
# through the same amount as before, but it no longer changes from hour to hour. The
# intervals are 95 % Student's t intervals over the networks. They show how much the
# numbers vary by chance in training, not how much another summer would change them.

effects = {"as trained": [seasons(model) for model in models]}
for signal in ("input", "forget", "output"):
    effects[f"{signal} clamped"] = [
        clamped(model, gates, signal)
        for model, gates in zip(models, captured, strict=True)
    ]
effects = {name: pandas.DataFrame(rows) for name, rows in effects.items()}
table = {
    name: {
        "error": interval(rows["error"], "{:,.0f}"),
        "day": interval(rows["day"]),
        "week": interval(rows["week"]),
    }
    for name, rows in effects.items()
}
print(pandas.DataFrame(table).T.to_string())

figure = Figure(figsize=(7, 2.6), layout="constrained")
titles = {
    "error": "error",
    "day": "share of the daily cycle",
    "week": "share of the weekly cycle",
}
for axes, (of, title) in zip(
    figure.subplots(1, 3, sharey=True), titles.items(), strict=True
):
    colours = ("black", "#E69F00", "#0072B2", "#009E73")
    for row, (rows, colour) in enumerate(zip(effects.values(), colours, strict=True)):
        height = row + np.linspace(-0.15, 0.15, len(rows))
        axes.plot(rows[of], height, "o", color=colour, markersize=4, alpha=0.8)
        axes.plot([rows[of].mean()] * 2, [row - 0.3, row + 0.3], color=colour)
    axes.set_yticks(range(len(effects)), list(effects))
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    if of == "error":
        axes.axvline(rules["repeating the last week"], color="0.6", linestyle=":")
        title = "error (dotted: last week)"
    else:
        axes.axvline(1, color="0.6", linestyle=":")
        axes.set_xlim(right=max(1.1, axes.get_xlim()[1]))
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)

# %%
# Are there slow units?
# ---------------------
# The time scale of a unit is computed from its forget gate. It shows for how long the
# path through the cell keeps a value. It does not measure the memory of the network,
# which may use the recurrent weights as well.

after = stats.timescale(gates)["lstm/forget"]
bands = {
    "under 0.5 days": DAY / 2,
    "near a day (12 to 48 hours)": 2 * DAY,
    "between": WEEK / 2,
    "near a week (84 to 336 hours)": 2 * WEEK,
    "longer": np.inf,
}
units = pandas.DataFrame(
    {
        when: pandas.cut(hours, [0, *bands.values()], labels=list(bands)).value_counts()
        for when, hours in (("before training", before), ("after", after))
    }
)
print(units)
scales = plots.timescale(gates["lstm"])

# %%
# The answer
# ----------

name, rule = min(rules.items(), key=lambda item: item[1])
gain = np.asarray(errors) - rule
low = stats.mean_interval(xarray.DataArray(gain, dims="seed"), "seed")
print(
    f"The best rule is {name}, with an error of {rule:,.0f}. The network's error "
    f"differs from it by {interval(gain, '{:+,.0f}')}: "
    + (
        "the network is better."
        if float(low[2]) < 0
        else "the network is worse."
        if float(low[1]) > 0
        else f"better in {(gain < 0).sum()} of {len(gain)} networks, which is no clear "
        "difference."
    )
    + f" The mean of the forecasts of all networks has an error of {together:,.0f}."
)
load = roc_auc_score(tomorrow.ravel(), x.ravel())
follows = [max(row["auc"], 1 - row["auc"]) for row in bests]
print(
    f"In the first network, {best['signal']} of unit {best['unit']} shows whether "
    f"tomorrow is at the weekend with an AUC of {best['auc']:.2f} (p = "
    f"{best['p_value']:.3f}, corrected for all the units). The demand itself has an "
    f"AUC of {load:.2f}. Over the networks, the best unit has an AUC of "
    f"{interval(follows, most=1)}, regardless of direction."
)
print(
    f"With that unit clamped to its mean, the share of the weekly cycle in the "
    f"forecast is {left[best['unit']]:.2f} instead of {usual['week']:.2f}. By the "
    f"distance of this share from 1, the unit ranks {place} of {len(off)} units of "
    f"{best['signal']}."
)
if place > 1:
    print(
        f"With unit {off.index[0]} clamped, it is {left[off.index[0]]:.2f}: the unit "
        "that follows the weekend best is not the unit that the forecast uses most."
    )
for of, cycle in (("day", "daily"), ("week", "weekly")):
    shares = {name: rows[of].to_numpy() for name, rows in effects.items()}
    whole = shares.pop("as trained")
    gone = {name: np.abs(values - whole) for name, values in shares.items()}
    order = sorted(gone, key=lambda name: gone[name].mean(), reverse=True)
    same = (gone[order[0]] > gone[order[1]]).sum()
    print(
        f"The share of the {cycle} cycle in the forecast is {interval(whole)}; with "
        + ", ".join(f"{name} {interval(values)}" for name, values in shares.items())
        + f". Clamping the {order[0].split()[0]} gate changes it most, in {same} of "
        f"{len(whole)} networks more than clamping the {order[1].split()[0]} gate."
    )
near_day, near_week = units["after"].iloc[[1, 3]]
print(
    f"By their time scales of the path through the cell, {near_day} of {after.size} "
    f"units of the first network are near a day and {near_week} near a week; the "
    f"longest time scale is {float(after.max()):.0f} hours."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    follower.savefig(options.out / "weekend.png", dpi=150)
    figure.savefig(options.out / "season.png", dpi=150)
    scales.figure.savefig(options.out / "timescales.png", dpi=150)
