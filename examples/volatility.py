"""
Prices under changing volatility
================================

**Question:** which unit follows the turbulent times, and does the forecast use it?

Where a price goes next is hard to forecast; how far it will go is less so, since calm
and turbulent times last. A GRU reads the daily returns of the S&P 500 and forecasts the
variance of the next one. It never sees a label of calm or turbulent times.
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
    help="prices of yours: a text file with one a line, oldest first, without a "
    "header, at least 2,000 lines",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=4, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The Standard & Poor's 500 at the close of 5,031 trading days, from 4 January 1999 to
# 31 December 2018, by ``tasks.stock_index``; they come with the package arch. The first
# 70 % of the returns train, to the end of 2012, and the rest tests.

if options.data:
    prices = np.genfromtxt(options.data)
    if prices.ndim != 1 or len(prices) < 2000 or not (prices > 0).all():
        parser.error(
            f"--data: '{options.data}' must hold one price above 0 a line, without a "
            f"header, at least 2,000 of them; it was read as {prices.shape}, "
            f"{(~(prices > 0)).sum()} of them not positive numbers."
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
# What is a turbulent day? Nobody labels them. Here it is one of the wildest quarter of
# the test part, by the mean squared return of the 21 days around it. Ten of these days
# are still to come, so the label knows more than any forecast can.

around = np.convolve(returns**2, np.ones(21) / 21, mode="same")[cut:]
turbulent = around > np.quantile(around, 0.75)

# %%
# Forecasts that a practitioner makes first
# -----------------------------------------
# The variance of all the training part; the moving average with exponential weights, in
# which each day counts 0.94 of the next; and two models whose parameters are fitted to
# the training part: GARCH, and that of Glosten, Jagannathan and Runkle (1993), in which
# a loss raises the variance more than a gain does. Every forecast of a day knows the
# days before it.


def loss(variance):
    """Returns the negative log density of each test day's return, but for a constant.

    The return is normal, with the forecast of the variance.
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
# The network reads a return and its size, and gives the logarithm of the variance of
# the next; the loss is the one above. It trains on stretches of 100 days, each 25 days
# after the one before. The test part is one sequence, with the 100 days before it. The
# first weights and the order of the stretches are chance, so several networks are
# trained.

LENGTH = 100
x = np.stack([scaled, np.abs(scaled)], axis=-1)
starts = np.arange(0, cut - LENGTH, 25)
x_train = np.stack([x[start : start + LENGTH] for start in starts])
y_train = np.stack([scaled[s + 1 : s + LENGTH + 1, None] for s in starts])
x_test = x[None, cut - LENGTH : -1]


def surprise(truth, log_variance):
    """Returns the negative log density, but for a constant, of a normal return."""
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

    A share is between 0 and 1, so `most` is 1 for it, and limits its interval.
    """
    values = xarray.DataArray(np.asarray(values, float), dims="seed")
    least = 0 if np.isfinite(most) else -np.inf
    shown = [float(value) for value in stats.mean_interval(values, "seed")]
    return "{} ({} to {})".format(*map(form.format, np.clip(shown, least, most)))


forecasts = [forecast(model) for model in models]
losses = np.array([loss(variance) for variance in forecasts])
print(f"loss of the network: {interval(losses.mean(axis=1), '{:.4f}')}")

# %%
# Which unit follows the turbulent times?
# ---------------------------------------
# AUC: 1 for a unit that is always higher in turbulent times, 0 for one that is always
# lower. The state that counts is the one behind the forecast of the day. The table is
# of the first network.

captured = [
    keras_gates.capture(model, x_test)["gru"].isel(time=slice(LENGTH - 1, None))
    for model in models
]
tables = [stats.find_units(gates, turbulent[None]) for gates in captured]
print(tables[0].head())
bests = [table.iloc[0] for table in tables]
gates, best = captured[0], bests[0]

# %%
# The best unit over the returns of the whole test part. Turbulent times are shaded:

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
grown = [one["loss"] - own.mean() for one, own in zip(clamped, losses, strict=True)]
places = [
    int((one > one[best["unit"]]).sum()) + 1
    for one, best in zip(grown, bests, strict=True)
]

# %%
# How much the loss grows with each unit clamped, in each network; the one that follows
# the turbulent times best is marked.

figure = Figure(figsize=(7, 2.8), layout="constrained")
axes = figure.subplots()
for seed, (one, chosen) in enumerate(zip(grown, bests, strict=True)):
    order = one.sort_values(ascending=False)
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
    f"The best of the rules is {name}. The network's loss differs from its by {seeds} "
    f"over the networks, and by {interval(months, '{:+.4f}')} over the months of 21 "
    "days, which is what another time could change: "
    + (
        "the network is better."
        if float(high) < 0
        else "the network is worse."
        if float(low) > 0
        else "the two cannot be told apart."
    )
)
aucs = [roc_auc_score(turbulent, variance) for variance in forecasts]
follows = [max(one["auc"], 1 - one["auc"]) for one in bests]
print(
    f"{best['signal']} of unit {best['unit']} of the first network follows the "
    f"turbulent times, AUC {best['auc']:.2f} (p = {best['p_value']:.3f}, corrected "
    "for all the units)."
)
print(
    "AUC of the best unit of each network, its direction aside: "
    f"{interval(follows, most=1)}"
)
print(f"AUC of the network's forecast: {interval(aucs, most=1)}")
for rule in ("the moving average", name):
    print(f"AUC of {rule}: {roc_auc_score(turbulent, rules[rule]):.2f}")
cost = [one[best["unit"]] for one, best in zip(grown, bests, strict=True)]
known = [one["AUC"][best["unit"]] for one, best in zip(clamped, bests, strict=True)]
print(
    f"With that unit clamped to its mean, the loss grows by {interval(cost, '{:.3f}')} "
    f"and the forecast's AUC becomes {interval(known, most=1)}. By the loss it "
    f"is number {', '.join(map(str, places))} of {len(grown[0])} units: "
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
