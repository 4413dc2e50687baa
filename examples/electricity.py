"""
Electricity: a day, a week, a year
==================================

**Question:** which unit follows the weekend, and does the network keep time with slow
gates, about a day or a week long?

An LSTM reads the hourly consumption of a town, and nothing else: no clock and no
calendar. At every hour it forecasts the consumption of the same hour tomorrow, and so
it must know whether tomorrow is a Saturday.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
from sklearn.metrics import roc_auc_score

import keras_gates
from keras_gates import plots, stats

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
# an autoregressive process that forgets in about two days, and white noise of 2 % lies
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
# To remember for days, a unit must begin with a forget gate that is nearly open. So the
# bias of each unit is drawn such that its time scale lies between one hour and a week
# (`Tallec and Ollivier, 2018 <https://arxiv.org/abs/1804.11188>`_); with Keras's own,
# all units begin with three hours. What they make of it is up to them.


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
# Are there slow units?
# ---------------------
# The time scale of a unit is how long it holds what it has, by the mean of its forget
# gate.

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
scales = plots.timescales(gates["lstm"])

# %%
# The answer
# ----------

load = roc_auc_score(tomorrow.ravel(), x[test].ravel())
print(
    f"{best['signal']} of unit {best['unit']} tells that tomorrow is a weekend with an "
    f"AUC of {best['auc']:.2f} (p = {best['p']:.3f}, corrected for all the units); "
    f"the consumption itself, with {load:.2f}."
)
near_day, near_week = units["after"].iloc[[1, 3]]
print(
    f"Of {after.size} units, {near_day} have a time scale near a day and {near_week} "
    f"near a week; the slowest has {float(after.max()):.0f} hours."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    follower.savefig(options.out / "weekend.png", dpi=150)
    scales.figure.savefig(options.out / "timescales.png", dpi=150)
