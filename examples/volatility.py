"""
Prices under changing volatility
================================

**Question:** which unit follows the volatility regime, and does the forecast use it?

Where a price goes next, nobody can tell from these data; how far it will go, one can,
since calm and turbulent times last. A GRU reads daily returns and forecasts the
variance of the next one. It is never told of regimes.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import ops
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
    help="prices of yours: a text file with one a line, oldest first, without a "
    "header, at least 2,000 lines",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# Returns with two regimes (Hamilton, 1989, *Econometrica* 57): in calm times normal
# with a standard deviation of 0.6 %, in turbulent ones of 1.8 %. A day after a calm one
# is calm with probability 0.98, one after a turbulent one turbulent with probability
# 0.95. The price is 100 at first.


def regimes_and_prices(days=15000, seed=0):
    """Returns whether each day is turbulent, and the prices, one more than days."""
    generator = np.random.default_rng(seed)
    stays, chance = (0.98, 0.95), generator.random(days)
    turbulent = np.zeros(days, bool)
    for day in range(1, days):
        before = turbulent[day - 1]
        turbulent[day] = before if chance[day] < stays[int(before)] else not before
    returns = np.where(turbulent, 0.018, 0.006) * generator.normal(size=days)
    return turbulent, 100 * np.exp(np.concatenate([[0], np.cumsum(returns)]))


turbulent, prices = regimes_and_prices()
if options.data:
    prices = np.genfromtxt(options.data)
    if prices.ndim != 1 or len(prices) < 2000 or not (prices > 0).all():
        parser.error(
            f"--data: '{options.data}' must hold one price above 0 a line, without a "
            f"header, at least 2,000 of them; it was read as {prices.shape}, "
            f"{(~(prices > 0)).sum()} of them not positive numbers."
        )

# %%
# The true regime of prices from elsewhere is not known. For those a day counts as
# turbulent if the 21 days around it are among the wildest quarter.

returns = np.diff(np.log(prices))
if options.data:
    around = np.convolve(returns**2, np.ones(21) / 21, mode="same")
    turbulent = around > np.quantile(around, 0.75)
LENGTH = 100
cut = int(0.7 * len(returns)) // LENGTH * LENGTH
scaled = (returns / returns[:cut].std()).astype("float32")
usable = (len(scaled) - 1) // LENGTH * LENGTH
x = scaled[:usable].reshape(-1, LENGTH, 1)
y = scaled[1 : usable + 1].reshape(-1, LENGTH, 1)
regime = turbulent[:usable].reshape(-1, LENGTH)
train, test = slice(cut // LENGTH), slice(cut // LENGTH, None)

# %%
# Train
# -----
# The loss is the negative logarithm of a normal density, whose variance the network
# gives. The size of a return is an input of its own.


def surprise(truth, log_variance):
    """Returns the negative log density, but for a constant, of a normal return."""
    return 0.5 * (log_variance + truth**2 * ops.exp(-log_variance))


keras.utils.set_random_seed(0)
x = np.concatenate([x, np.abs(x)], axis=-1)
model = keras.Sequential(
    [
        keras.Input((None, 2)),
        keras.layers.GRU(8, return_sequences=True, name="gru"),
        keras.layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(0.01), surprise)
model.fit(x[train], y[train], epochs=options.epochs, batch_size=16, verbose=0)

# %%
# Two forecasts that need no network: the variance of all the training part, and the
# usual moving average with exponential weights, in which each day counts 0.94 of the
# next.

average = np.ones(usable)
for day in range(1, usable):
    average[day] = 0.94 * average[day - 1] + 0.06 * scaled[day - 1] ** 2
average = (0.94 * average + 0.06 * scaled[:usable] ** 2).reshape(y.shape)
log_variance = model.predict(x[test], verbose=0)
forecasts = {
    "network": log_variance,
    "moving average": np.log(average[test]),
    "constant": np.full_like(y[test], np.log(np.mean(scaled[:cut] ** 2))),
}
for name, forecast in forecasts.items():
    loss = np.mean(0.5 * (forecast + y[test] ** 2 * np.exp(-forecast)))
    print(f"loss of the {name}: {loss:.4f}")

# %%
# Which unit follows the regime?
# ------------------------------
# AUC: 1 for a unit that is always higher in turbulent times, 0 for one that is always
# lower.

gates = keras_gates.capture(model, x[test])
found = stats.find_units(gates, regime[test])
print(found.head())
best = found.iloc[0]

# %%
# The best unit over the returns, in the piece of the test part that changes its regime
# most often. Turbulent times are shaded:

changes = np.abs(np.diff(regime[test].astype(int))).sum(axis=1)
piece = int(changes.argmax())
carrier = plots.trajectories(
    gates["gru"],
    units=[best["unit"]],
    signal=best["signal"],
    sample=piece,
    values=x[test][piece, :, 0],
)
for axes in carrier.axes:
    axes.fill_between(
        range(LENGTH),
        0,
        1,
        where=regime[test][piece],
        transform=axes.get_xaxis_transform(),
        color="#D55E00",
        alpha=0.15,
        linewidth=0,
    )

# %%
# Does the forecast use it?
# -------------------------
# Each unit of that signal is clamped to its mean, one at a time. How well does the
# forecast still know the regime?

mean = gates["gru"][best["signal"]].mean(("sample", "time"))
known = roc_auc_score(regime[test].ravel(), log_variance.ravel())
without = {}
for unit in range(mean.size):
    change = edits.clamp(float(mean[unit]), units=[unit])
    with keras_gates.edit(model, {f"gru/{best['signal']}": change}):
        said = model.predict(x[test], verbose=0)
    loss = np.mean(0.5 * (said + y[test] ** 2 * np.exp(-said)))
    without[unit] = roc_auc_score(regime[test].ravel(), said.ravel()), loss
    print(f"without unit {unit}: AUC {without[unit][0]:.2f}, loss {loss:.4f}")
worst = min(without, key=without.get)

# %%
# The answer
# ----------

rest = {
    "the moving average": roc_auc_score(regime[test].ravel(), average[test].ravel()),
    "the size of the last return": roc_auc_score(
        regime[test].ravel(), x[test][..., 1].ravel()
    ),
    "the network's forecast": roc_auc_score(regime[test].ravel(), log_variance.ravel()),
}
print(
    f"{best['signal']} of unit {best['unit']} follows the regime, AUC "
    f"{best['auc']:.2f} (p = {best['p_value']:.3f}, corrected for all the units)."
)
for name, auc in rest.items():
    print(f"AUC of {name}: {auc:.2f}")

print(
    f"With that unit clamped to its mean, the forecast's AUC goes from {known:.2f} to "
    f"{without[best['unit']][0]:.2f}; of all units, unit {worst} costs most, down to "
    f"{without[worst][0]:.2f}. "
    + (
        "The unit that follows the regime is the one that carries it."
        if worst == best["unit"] and known - without[worst][0] > 0.05
        else "The unit that follows the regime best does not carry it alone."
    )
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    carrier.savefig(options.out / "carrier.png", dpi=150)
