"""
Electricity: a day, a week, a year
==================================

**Question:** which unit follows the weekend, and which gate carries the day and the
week in the forecast?

An LSTM reads the hourly consumption of a town, and nothing else: no clock and no
calendar. At every hour it forecasts the consumption of the same hour tomorrow, and so
it must know whether tomorrow is a Saturday. What its units and gates follow is measured
first; what they are used for, by clamping them.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
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
    help="hourly numbers of yours: a text file with one a line, without a header, the "
    "first one at midnight of a Monday, at least 40 weeks (6,720 lines)",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=24, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# Two years, from a formula. Each hour of the day has its share of the load, with a peak
# in the morning and a higher one in the evening; on Saturdays and Sundays the load is
# lower by a quarter and the morning peak is missing. A cosine over the year makes
# winter higher by a fifth than the mean. The weather moves it all by a few per cent, as
# an autoregressive process that fades in about two days, and white noise of 2 % lies
# on top.

DAY, WEEK, YEAR = 24, 7 * 24, 8766


def consumption(hours, seed=0):
    """Returns the load of a town, 1 on average, from a Monday in January on."""
    generator = np.random.default_rng(seed)
    hour = np.arange(hours)
    clock, weekend = hour % DAY, hour % WEEK >= 5 * DAY
    morning = np.exp(-((clock - 8) ** 2) / 8)
    evening = np.exp(-((clock - 19) ** 2) / 12)
    day = 0.75 + 0.35 * morning * ~weekend + 0.5 * evening
    year = 1 + 0.2 * np.cos(2 * np.pi * hour / YEAR)
    weather = np.zeros(hours)
    for now in range(1, hours):
        weather[now] = 0.98 * weather[now - 1] + 0.008 * generator.normal()
    noise = 0.02 * generator.normal(size=hours)
    return day * (1 - 0.25 * weekend) * year * (1 + weather + noise)


keras.utils.set_random_seed(0)
series = consumption(104 * WEEK)
if options.data:
    series = np.genfromtxt(options.data)
    if series.ndim != 1 or len(series) < 40 * WEEK or not np.isfinite(series).all():
        parser.error(
            f"--data: '{options.data}' must hold one finite number a line, without a "
            f"header, at least {40 * WEEK:,} of them; it was read as {series.shape}, "
            f"{np.isnan(series).sum()} of them not numbers."
        )

# %%
# Stretches of two weeks are cut, each two days after the one before. The first four
# fifths of the time train; the test part begins after the last hour of these.

LENGTH = 2 * WEEK
starts = np.arange(0, len(series) - LENGTH - DAY, 2 * DAY)
last = starts[int(0.8 * len(starts))]
mean, spread = series[: last + LENGTH].mean(), series[: last + LENGTH].std()
scaled = ((series - mean) / spread).astype("float32")[:, None]
x = np.stack([scaled[start : start + LENGTH] for start in starts])
y = np.stack([scaled[start + DAY : start + DAY + LENGTH] for start in starts])
training, test = starts <= last, starts >= last + LENGTH + DAY

# %%
# Train
# -----
# For the path through the cell to keep something for days, a forget gate must begin
# nearly open. So the bias of each unit is drawn such that its time scale lies between
# one hour and a week (`Tallec and Ollivier, 2018 <https://arxiv.org/abs/1804.11188>`_);
# with Keras's own, all units begin with three hours. What they make of it is up to
# them.


def hours_to_a_week(shape, dtype=None):
    """Returns an LSTM's bias: time scales from an hour to a week, log-spaced."""
    units = shape[0] // 4
    forget = np.linspace(0, np.log(WEEK), units)
    return np.concatenate([-forget, forget, np.zeros(2 * units)]).astype("float32")


model = keras.Sequential(
    [
        keras.Input((None, 1)),
        keras.layers.LSTM(
            24,
            return_sequences=True,
            bias_initializer=hours_to_a_week,
            unit_forget_bias=False,
            name="lstm",
        ),
        keras.layers.Dense(1),
    ]
)
before = stats.timescale(keras_gates.capture(model, x[test]))["lstm/forget"]

# %%
# The forecasts of the first week do not count, neither in the loss nor below: until the
# network has seen a weekend, it cannot know when the next one comes.

counts = np.ones(y.shape[:2], "float32")
counts[:, :WEEK] = 0
updates = options.epochs * -(-int(training.sum()) // 16)
rate = keras.optimizers.schedules.CosineDecay(0.01, updates)
model.compile(keras.optimizers.Adam(rate), "mse")
model.fit(
    x[training],
    y[training],
    sample_weight=counts[training],
    epochs=options.epochs,
    batch_size=16,
    verbose=0,
)


def error(forecast):
    """Root mean squared error behind the first week, in the units of the series."""
    return spread * np.sqrt(np.mean((forecast - y[test])[:, WEEK:] ** 2))


print(f"error of the network: {error(model.predict(x[test], verbose=0)):.4f}")
print(f"error of saying the same as today: {error(x[test]):.4f}")
print(f"error of saying the same as last week: {error(np.roll(y[test], WEEK, 1)):.4f}")

# %%
# Which unit follows the weekend?
# -------------------------------
# The calendar was not shown to the network, but it can be held against its units. The
# label is whether *tomorrow* is a Saturday or a Sunday: on a Friday the consumption
# does not tell yet, and on a Sunday it tells the wrong thing. An AUC of 1 would be a
# unit that is always higher at such hours than at others, 0 one that is always lower,
# 0.5 one that does not care.

gates = keras_gates.capture(model, x[test])
hour = starts[test][:, None] + np.arange(LENGTH)
tomorrow = (hour + DAY) % WEEK >= 5 * DAY
found = stats.find_units(gates, tomorrow)
print(found.head())
best = found.iloc[0]

# %%
# The best one over the first stretch of the test part. The hours before a Saturday or a
# Sunday are shaded.

follower = plots.trajectories(
    gates["lstm"],
    units=[best["unit"]],
    signal=best["signal"],
    values=x[test][0],
)
for axes in follower.axes:
    axes.fill_between(
        range(LENGTH),
        0,
        1,
        where=tomorrow[0],
        transform=axes.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )

# %%
# Does the forecast need that unit?
# ---------------------------------
# A unit that goes with the weekend may still not be the one by which the network knows.
# So each unit of that signal is clamped to its mean, one at a time. How much of the
# week is left in the forecast is the difference between its working days and its
# weekend, over the true difference; of the day, the slope of its mean working day on
# the true one. Both are 1 for the perfect forecast. The stretches of this test have
# their second week apart.

apart = x[test][::4]
truth = y[test][::4, WEEK:, 0]
weekend = tomorrow[::4, WEEK:]


def seasons(forecast):
    """Returns the error, and the shares of the day and the week, of each stretch."""
    said = forecast[:, WEEK:, 0]
    rows = []
    for one, true, off, start in zip(
        said, truth, weekend, hour[::4, WEEK], strict=True
    ):
        clock = (start + np.arange(len(one))) % DAY
        day = [
            np.array([which[~off & (clock == now)].mean() for now in range(DAY)])
            for which in (one, true)
        ]
        said_day, true_day = (which - which.mean() for which in day)
        week = [which[~off].mean() - which[off].mean() for which in (one, true)]
        rows.append(
            (
                spread * np.sqrt(np.mean((one - true) ** 2)),
                said_day @ true_day / (true_day @ true_day),
                week[0] / week[1],
            )
        )
    names = ["error", "day", "week"]
    return xarray.DataArray(rows, dims=("stretch", "of"), coords={"of": names})


def clamped(signal, units=None):
    """Returns the seasons with a signal clamped to the mean of each unit."""
    mean = gates["lstm"][signal].mean(("sample", "time"))
    if units is not None:
        mean = mean[units]
    with keras_gates.edit(model, {f"lstm/{signal}": edits.clamp(mean, units=units)}):
        return seasons(model.predict(apart, verbose=0))


usual = seasons(model.predict(apart, verbose=0))
lost = pandas.Series(
    {
        unit: float((usual - clamped(best["signal"], [unit])).sel(of="week").mean())
        for unit in range(gates["lstm"].sizes["unit"])
    }
).sort_values(ascending=False)
place = lost.index.get_loc(best["unit"]) + 1
print(f"share of the week lost without a unit of {best['signal']}:")
print(lost.head().round(2))

# %%
# Which gate carries the season?
# ------------------------------
# Now all units of a gate are clamped to their means, so that the gate lets through as
# much as before, on average, but at all hours alike. The intervals are Student's, of 95
# %, over stretches. (The weeks of two stretches that follow each other overlap in none
# of their hours, but the weather that moves them is shared.)

effects = {"as trained": usual}
for signal in ("input", "forget", "output"):
    effects[f"{signal} clamped"] = clamped(signal)
table = {
    name: {
        of: "{:.3f} ({:.3f} to {:.3f})".format(
            *map(float, stats.mean_interval(one.sel(of=of), "stretch"))
        )
        for of in ("error", "day", "week")
    }
    for name, one in effects.items()
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
    for row, (one, colour) in enumerate(zip(effects.values(), colours, strict=True)):
        mean, low, high = map(float, stats.mean_interval(one.sel(of=of), "stretch"))
        axes.errorbar(
            mean,
            row,
            xerr=[[mean - low], [high - mean]],
            fmt="o",
            color=colour,
            capsize=3,
        )
    axes.set_yticks(range(len(effects)), list(effects))
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
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
    "under half a day": DAY / 2,
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

load = roc_auc_score(tomorrow.ravel(), x[test].ravel())
print(
    f"{best['signal']} of unit {best['unit']} tells that tomorrow is a weekend with an "
    f"AUC of {best['auc']:.2f} (p = {best['p_value']:.3f}, corrected for all the "
    f"units); the consumption itself, with {load:.2f}."
)
print(
    f"Clamped to its mean, it costs {lost[best['unit']]:.0%} of the week in the "
    f"forecast: number {place} of {len(lost)} units of {best['signal']}."
)
if place > 1:
    print(
        f"Unit {lost.index[0]} costs most, {lost.iloc[0]:.0%}: what follows the "
        "weekend best is not what the forecast uses most."
    )
for of in ("day", "week"):
    left = {name: float(one.sel(of=of).mean()) for name, one in effects.items()}
    least = min(list(left)[1:], key=left.get)
    print(
        f"The {of}: {left['as trained']:.2f} of it is in the forecast, and with "
        + ", ".join(f"{name} {value:.2f}" for name, value in list(left.items())[1:])
        + f". It goes through the {least.split()[0]} gate most."
    )
near_day, near_week = units["after"].iloc[[1, 3]]
print(
    f"Of {after.size} units, {near_day} have a time scale of the path through the cell "
    f"near a day and {near_week} near a week; the slowest has {float(after.max()):.0f} "
    "hours."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    follower.savefig(options.out / "weekend.png", dpi=150)
    figure.savefig(options.out / "season.png", dpi=150)
    scales.figure.savefig(options.out / "timescales.png", dpi=150)
