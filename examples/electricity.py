"""
Electricity: the day and the week
=================================

**Question:** which unit follows the weekend, and which gate carries the day and the
week in the forecast?

An LSTM reads the hourly electricity demand of England and Wales, and nothing else: no
clock and no calendar. At every hour it forecasts the demand of the same hour tomorrow,
and so it must know whether tomorrow is a Saturday. What its units and gates follow is
measured first; what they are used for, by clamping them.
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
    help="hourly numbers of yours: a text file with one a line, without a header, the "
    "first one at midnight of a Monday, at least 12 weeks (2,016 lines)",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=40, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# Twelve weeks of the summer of 2000, from Monday, 5 June to Sunday, 27 August, in
# megawatts. The 4,032 half hours of ``tasks.electricity_demand`` become 2,016 hours.
# They come with the package pmdarima, after Taylor (2003, *Journal of the Operational
# Research Society* 54).

DAY, WEEK = 24, 7 * 24

if options.data:
    series = np.genfromtxt(options.data)
    if series.ndim != 1 or len(series) < 12 * WEEK or not np.isfinite(series).all():
        parser.error(
            f"--data: '{options.data}' must have one finite number per line, without a "
            f"header, at least {12 * WEEK:,} of them; got shape "
            f"{series.shape}, with {np.isnan(series).sum()} values that are not numbers."
        )
    series = series[: len(series) // WEEK * WEEK]
else:
    series = tasks.electricity_demand().reshape(-1, 2).mean(axis=1)
print(f"{len(series):,} hours, {len(series) // WEEK} weeks, mean {series.mean():,.0f}")

# %%
# The last four weeks are the test part: each one, from Monday to Sunday, is forecast
# from the stretch of two weeks that ends a day before its end. The stretches to train
# on begin twelve hours apart, and end before the test part begins.

LENGTH = 2 * WEEK
cut = len(series) - 4 * WEEK
mean, spread = series[:cut].mean(), series[:cut].std()
scaled = ((series - mean) / spread).astype("float32")[:, None]


def stretches(starts, delay=0):
    """Returns two weeks from each start on, so many hours later."""
    return np.stack([scaled[s + delay : s + delay + LENGTH] for s in starts])


training = np.arange(0, cut - LENGTH - DAY + 1, 12)
test = np.arange(cut - WEEK - DAY, len(series) - LENGTH, WEEK)
x, y = stretches(test), stretches(test, DAY)
truth = y[:, WEEK:, 0]

# %%
# Three forecasts that a practitioner makes first: the same as today, the same as a week
# before, and a linear model of the last week's hours.

windows = np.lib.stride_tricks.sliding_window_view(scaled[:, 0], WEEK)
past = np.arange(cut - WEEK - DAY + 1)
linear = Ridge(0.1).fit(windows[past], scaled[past + WEEK - 1 + DAY, 0])
ends = test[:, None] + np.arange(WEEK, LENGTH) - WEEK + 1


def error(forecast):
    """Returns the root mean squared error of the test weeks, in the series' unit."""
    return spread * np.sqrt(np.mean((forecast - truth) ** 2))


rules = {
    "today": error(x[:, WEEK:, 0]),
    "a week before": error(stretches(test, DAY - WEEK)[:, WEEK:, 0]),
    "a linear model": error(linear.predict(windows[ends.ravel()]).reshape(truth.shape)),
}
for name, value in rules.items():
    print(f"error of {name}: {value:,.1f}")

# %%
# Train
# -----
# For the path through the cell to keep something for days, a forget gate must begin
# nearly open. So the bias of each unit is drawn such that its time scale lies between
# one hour and a week (`Tallec and Ollivier, 2018 <https://arxiv.org/abs/1804.11188>`_);
# with Keras's own, all units begin with three hours. What they make of it is up to
# them. The network says how tomorrow differs from today.
#
# The forecasts of the first week of a stretch do not count, neither in the loss nor in
# the errors: until the network has seen a weekend, it cannot know when the next one
# comes. The first weights and the order of the stretches are chance, so several
# networks are trained.


def hours_to_a_week(shape, dtype=None):
    """Returns an LSTM's bias: time scales from an hour to a week, log-spaced."""
    units = shape[0] // 4
    forget = np.linspace(0, np.log(WEEK), units)
    return np.concatenate([-forget, forget, np.zeros(2 * units)]).astype("float32")


def network(seed):
    """Returns a network, not trained yet."""
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

    A share is between 0 and 1, so `most` is 1 for it, and limits its interval.
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
# The calendar was not shown to the network, but it can be compared with its units. The
# label is whether *tomorrow* is a Saturday or a Sunday: on a Friday the demand does not
# say so yet, and on a Sunday it says the wrong thing. An AUC of 1 would be a unit that
# is always higher at such hours than at others, 0 one that is always lower, 0.5 one
# that does not follow. The first network is shown here, and the best unit of each.

hour = test[:, None] + np.arange(LENGTH)
tomorrow = (hour + DAY) % WEEK >= 5 * DAY
captured = [keras_gates.capture(model, x) for model in models]
tables = [stats.find_units(gates, tomorrow) for gates in captured]
print(tables[0].head())
bests = [table.iloc[0] for table in tables]
gates, best = captured[0], bests[0]

# %%
# The best one over the last stretch. The hours before a Saturday or a Sunday are
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
follower.axes[-1].set_xlabel("hour of the stretch, which begins at midnight")

# %%
# Does the forecast need that unit?
# ---------------------------------
# A unit that goes with the weekend may still not be the one by which the network knows.
# So each unit of that signal is clamped to its mean, one at a time. How much of the
# week is left in the forecast is the difference between its working days and its
# weekend, over the true difference; of the day, the slope of its mean working day on
# the true one. Both are 1 for the perfect forecast.

said_weekend = tomorrow[:, WEEK:]
clock = (hour[:, WEEK:] + DAY) % DAY


def seasons(model, change=None):
    """Returns the error, and the shares of the day and the week, of a forecast."""
    with keras_gates.edit(model, change) if change else contextlib.nullcontext():
        said = model.predict(x, verbose=0)[:, WEEK:, 0]
    days, weeks = [], []
    for which in (said, truth):
        working = which[~said_weekend], clock[~said_weekend]
        day = np.array([working[0][working[1] == now].mean() for now in range(DAY)])
        days.append(day - day.mean())
        weeks.append(which[~said_weekend].mean() - which[said_weekend].mean())
    slope = days[0] @ days[1] / (days[1] @ days[1])
    return {"error": error(said), "day": slope, "week": weeks[0] / weeks[1]}


def clamped(model, gates, signal, units=None):
    """Returns the seasons with a signal clamped to the mean of each unit."""
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
print(f"share of the week in the forecast, without a unit of {best['signal']}:")
print(pandas.Series(left).loc[off.index].head().round(2).to_string())

# %%
# Which gate carries the season?
# ------------------------------
# Now all units of a gate are clamped to their means, so that the gate lets through as
# much as before, on average, but at all hours alike. The intervals are Student's, of 95
# %, over the networks: they say how far chance in the training moves the numbers, not
# how another summer would.

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
    "day": "share of the day",
    "week": "share of the week",
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
        axes.axvline(rules["a week before"], color="0.6", linestyle=":")
        title = "error (dotted: a week before)"
    else:
        axes.axvline(1, color="0.6", linestyle=":")
        axes.set_xlim(right=max(1.1, axes.get_xlim()[1]))
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)

# %%
# Are there slow units?
# ---------------------
# The time scale of a unit, by the mean of its forget gate, is for how long the path
# through the cell keeps a value. It is no measure of what the network remembers, which
# may go through the recurrent weights as well.

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
    f"The best of the rules is {name}, {rule:,.0f}. The network's error differs from "
    f"it by {interval(gain, '{:+,.0f}')}: "
    + (
        "the network is better."
        if float(low[2]) < 0
        else "the network is worse."
        if float(low[1]) > 0
        else f"better in {(gain < 0).sum()} of {len(gain)} networks, so not surely."
    )
    + f" The mean of the forecasts of all networks has {together:,.0f}."
)
load = roc_auc_score(tomorrow.ravel(), x.ravel())
follows = [max(one["auc"], 1 - one["auc"]) for one in bests]
print(
    f"{best['signal']} of unit {best['unit']} of the first network follows that "
    f"tomorrow is a weekend with an AUC of {best['auc']:.2f} (p = "
    f"{best['p_value']:.3f}, corrected for all the units); the demand itself has "
    f"{load:.2f}. The best unit of each network has "
    f"{interval(follows, most=1)}, its direction aside."
)
print(
    f"With that unit clamped to its mean, {left[best['unit']]:.2f} of the week is in "
    f"the forecast, where it was {usual['week']:.2f}: number {place} of {len(off)} "
    f"units of {best['signal']} by how far this is from 1."
)
if place > 1:
    print(
        f"Without unit {off.index[0]} it is {left[off.index[0]]:.2f}: what follows the "
        "weekend best is not what the forecast uses most."
    )
for of in ("day", "week"):
    shares = {name: rows[of].to_numpy() for name, rows in effects.items()}
    whole = shares.pop("as trained")
    gone = {name: np.abs(values - whole) for name, values in shares.items()}
    order = sorted(gone, key=lambda name: gone[name].mean(), reverse=True)
    same = (gone[order[0]] > gone[order[1]]).sum()
    print(
        f"The {of}: {interval(whole)} of it is in the forecast, and with "
        + ", ".join(f"{name} {interval(values)}" for name, values in shares.items())
        + f". Clamping the {order[0].split()[0]} gate moves it most, in {same} of "
        f"{len(whole)} networks more than clamping the {order[1].split()[0]} gate."
    )
near_day, near_week = units["after"].iloc[[1, 3]]
print(
    f"Of {after.size} units of the first network, {near_day} have a time scale of the "
    f"path through the cell near a day and {near_week} near a week; the slowest has "
    f"{float(after.max()):.0f} hours."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    follower.savefig(options.out / "weekend.png", dpi=150)
    figure.savefig(options.out / "season.png", dpi=150)
    scales.figure.savefig(options.out / "timescales.png", dpi=150)
