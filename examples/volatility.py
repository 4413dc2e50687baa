"""
Prices under changing volatility
================================

**Question:** which unit follows the turbulent times, and does the forecast use it?

The direction of the next price change is hard to forecast. Its size is less hard,
because calm and turbulent times last. A GRU reads the daily returns of the S&P 500 and
forecasts the variance of the next return. It never reads a label of calm or turbulent
times.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
from arch import arch_model
from keras import ops
from matplotlib.figure import Figure
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
    help="your own prices: a text file with one price per line, oldest first, without "
    "a header, at least 2,000 lines",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=4, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The Standard & Poor's 500 at the close of 5,031 trading days, from 4 January 1999 to
# 31 December 2018. The prices come with the package arch, and ``tasks.stock_index``
# loads them. The first 70 % of the returns, to the end of 2012, are for training, and
# the rest is the test part.

if options.data:
    prices = np.genfromtxt(options.data)
    if prices.ndim != 1 or len(prices) < 2000 or not (prices > 0).all():
        parser.error(
            f"--data: '{options.data}' must have one price above 0 per line, without a "
            f"header, at least 2,000 of them; got shape {prices.shape}, with "
            f"{(~(prices > 0)).sum()} values that are not positive numbers."
        )
    days = np.arange(len(prices))
else:
    days, prices = tasks.stock_index("sp500")
returns = np.diff(np.log(prices))
days = days[1:]
cut = int(0.7 * len(returns))
scaled = (returns / returns[:cut].std()).astype("float32")
print(f"{len(returns):,} returns, {len(returns) - cut:,} of them from {days[cut]} on")

# %%
# There are no labels of turbulent days. Here, a day is turbulent if the mean squared
# return of the 21 days around it is in the highest quarter of the test part. Ten of
# these days are in the future, so the label contains more than any forecast can know.

around = np.convolve(returns**2, np.ones(21) / 21, mode="same")[cut:]
turbulent = around > np.quantile(around, 0.75)

# %%
# Forecasts that a practitioner would try first
# ---------------------------------------------
# The variance of all the training part; the moving average with exponential weights, in
# which each day has 0.94 of the weight of the next; and two models whose parameters are
# fitted to the training part: GARCH, and the model of Glosten, Jagannathan and Runkle
# (1993), in which a loss raises the variance more than a gain does. Every forecast of a
# day uses the days before it.


def loss(variance):
    """Returns the negative log density of each test day's return, up to a constant.

    The density is normal, with the forecast of the variance.
    """
    return 0.5 * (np.log(variance) + scaled[cut:] ** 2 / variance)


average = np.ones(len(scaled))
for day in range(1, len(scaled)):
    average[day] = 0.94 * average[day - 1] + 0.06 * scaled[day - 1] ** 2
rules = {
    "the training part's variance": np.full(len(scaled) - cut, scaled[:cut].var()),
    "the moving average": average[cut:],
}
for name, asymmetric in (("GARCH", 0), ("GJR-GARCH", 1)):
    model = arch_model(
        scaled.astype(float), mean="Zero", vol="GARCH", o=asymmetric, rescale=False
    )
    fitted = model.fit(last_obs=cut, disp="off")
    ahead = fitted.forecast(start=cut - 1, horizon=1, reindex=False)
    rules[name] = ahead.variance.to_numpy()[:-1, 0]
for name, variance in rules.items():
    print(f"loss of {name}: {loss(variance).mean():.4f}")

# %%
# Train
# -----
# The network reads a return and its absolute value, and predicts the logarithm of the
# variance of the next return. The loss is the same as above. The network trains on
# stretches of 100 days, which begin 25 days apart. The test part is one sequence, with
# the 100 days before it. The initial weights and the order of the stretches are random,
# so several networks are trained.

LENGTH = 100
x = np.stack([scaled, np.abs(scaled)], axis=-1)
starts = np.arange(0, cut - LENGTH, 25)
x_train = np.stack([x[start : start + LENGTH] for start in starts])
y_train = np.stack([scaled[s + 1 : s + LENGTH + 1, None] for s in starts])
x_test = x[None, cut - LENGTH : -1]


def surprise(truth, log_variance):
    """Returns the negative log density of a normal return, up to a constant."""
    return 0.5 * (log_variance + truth**2 * ops.exp(-log_variance))


def forecast(model):
    """Returns the variance of each test day."""
    return np.exp(model.predict(x_test, verbose=0)[0, LENGTH - 1 :, 0])


models = []
for seed in range(options.seeds):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((None, 2)),
            keras.layers.GRU(8, return_sequences=True, name="gru"),
            keras.layers.Dense(1),
        ]
    )
    updates = options.epochs * -(-len(starts) // 16)
    rate = keras.optimizers.schedules.CosineDecay(0.01, updates)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), surprise)
    model.fit(x_train, y_train, epochs=options.epochs, batch_size=16, verbose=0)
    models.append(model)


def interval(values, form="{:.2f}", most=np.inf):
    """Returns the mean of the values and its 95 % Student's t interval, as text.

    For a share, `most` is 1, and the interval is limited to values from 0 to 1.
    """
    values = xarray.DataArray(np.asarray(values, float), dims="seed")
    least = 0 if np.isfinite(most) else -np.inf
    ends = [float(value) for value in stats.mean_interval(values, "seed")]
    return "{} ({} to {})".format(*map(form.format, np.clip(ends, least, most)))


forecasts = [forecast(model) for model in models]
losses = np.array([loss(variance) for variance in forecasts])
print(f"loss of the network: {interval(losses.mean(axis=1), '{:.4f}')}")

# %%
# Which unit follows the turbulent times?
# ---------------------------------------
# An AUC of 1 means that a unit is always higher in turbulent times, and 0 that it is
# always lower. Each day is compared with the state from which it is forecast. The table
# is of the first network.

captured = [
    keras_gates.capture(model, x_test)["gru"].isel(time=slice(LENGTH - 1, None))
    for model in models
]
tables = [stats.find_units(gates, turbulent[None]) for gates in captured]
print(tables[0].head())
bests = [table.iloc[0] for table in tables]
gates, best = captured[0], bests[0]

# %%
# The best unit over the whole test part, below the returns. Turbulent times are shaded:

carrier = plots.trajectories(
    gates,
    units=[best["unit"]],
    signal=best["signal"],
    inputs=100 * returns[cut:],
)
years = [
    place
    for place in range(1, len(turbulent))
    if str(days[cut + place])[:4] != str(days[cut + place - 1])[:4]
]
for axes in carrier.axes:
    axes.fill_between(
        range(len(turbulent)),
        0,
        1,
        where=turbulent,
        transform=axes.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )
    if not options.data:
        axes.set_xticks(years, [str(days[cut + place])[:4] for place in years])
carrier.axes[0].set_ylabel("return, %")
carrier.axes[-1].set_xlabel("day" if options.data else "year")

# %%
# Does the forecast use it?
# -------------------------
# Each unit of that signal is clamped to its mean, one at a time, in every network.


def without_units(model, gates, signal):
    """Returns the AUC and the loss of the forecast with each unit clamped."""
    mean = gates[signal].mean(("sample", "time"))
    rows = {}
    for unit in range(mean.size):
        change = edits.clamp(float(mean[unit]), units=[unit])
        with keras_gates.edit(model, {f"gru/{signal}": change}):
            variance = forecast(model)
        rows[unit] = {
            "AUC": roc_auc_score(turbulent, variance),
            "loss": loss(variance).mean(),
        }
    return pandas.DataFrame(rows).T


clamped = [
    without_units(model, gates, best["signal"])
    for model, gates, best in zip(models, captured, bests, strict=True)
]
print(clamped[0].sort_values("loss", ascending=False).round(4).to_string())
grown = [
    table["loss"] - usual.mean() for table, usual in zip(clamped, losses, strict=True)
]
places = [
    int((growth > growth[best["unit"]]).sum()) + 1
    for growth, best in zip(grown, bests, strict=True)
]

# %%
# The growth of the loss with each unit clamped, in each network. The unit that follows
# the turbulent times best is marked.

figure = Figure(figsize=(7, 2.8), layout="constrained")
axes = figure.subplots()
for seed, (growth, chosen) in enumerate(zip(grown, bests, strict=True)):
    order = growth.sort_values(ascending=False)
    here = np.arange(len(order)) + seed * (len(order) + 2)
    axes.bar(here, order, color="0.75")
    mark = order.index.get_loc(chosen["unit"])
    axes.bar(
        here[mark],
        order.iloc[mark],
        color="#D55E00",
        label="follows the turbulent times best" if seed == 0 else None,
    )
axes.set_xticks(
    [seed * (len(order) + 2) + (len(order) - 1) / 2 for seed in range(len(grown))],
    [f"network {seed}: {chosen['signal']}" for seed, chosen in enumerate(bests)],
)
axes.set_xlabel("units of each network, sorted")
axes.set_ylabel("loss added by clamping")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# The answer
# ----------

name = min(rules, key=lambda rule: loss(rules[rule]).mean())
gain = losses - loss(rules[name])
seeds = interval(gain.mean(axis=1), "{:+.4f}")
months = gain.mean(axis=0)[: gain.shape[1] // 21 * 21].reshape(-1, 21).mean(axis=1)
_, low, high = stats.mean_interval(xarray.DataArray(months, dims="month"), "month")
print(
    f"The best rule is {name}. The network's loss minus that of the rule is {seeds} "
    f"over the networks, and {interval(months, '{:+.4f}')} over months of 21 days, "
    "which show how far another time could change it: "
    + (
        "the network is better."
        if float(high) < 0
        else "the network is worse."
        if float(low) > 0
        else "no clear difference."
    )
)
aucs = [roc_auc_score(turbulent, variance) for variance in forecasts]
follows = [max(row["auc"], 1 - row["auc"]) for row in bests]
print(
    f"{best['signal']} of unit {best['unit']} of the first network follows the "
    f"turbulent times, AUC {best['auc']:.2f} (p = {best['p_value']:.3f}, corrected "
    "for all the units)."
)
print(
    "AUC of the best unit of each network, regardless of direction: "
    f"{interval(follows, most=1)}"
)
print(f"AUC of the network's forecast: {interval(aucs, most=1)}")
for rule in ("the moving average", name):
    print(f"AUC of {rule}: {roc_auc_score(turbulent, rules[rule]):.2f}")
cost = [growth[best["unit"]] for growth, best in zip(grown, bests, strict=True)]
left = [table["AUC"][best["unit"]] for table, best in zip(clamped, bests, strict=True)]
print(
    "With the best unit of each network clamped to its mean, the loss grows by "
    f"{interval(cost, '{:.3f}')} and the forecast's AUC becomes "
    f"{interval(left, most=1)}. By the loss, the rank of the unit in each network is "
    f"{', '.join(map(str, places))} of {len(grown[0])}: "
    + (
        "the unit that follows the turbulent times is the one that the forecast needs "
        "most."
        if max(places) == 1
        else "the unit that follows the turbulent times best is not always the one "
        "that the forecast needs most."
    )
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    carrier.savefig(options.out / "carrier.png", dpi=150)
    figure.savefig(options.out / "clamped.png", dpi=150)
