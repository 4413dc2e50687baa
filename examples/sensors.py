"""
Equipment sensors before a failure
==================================

**Question:** which unit warns of a failure, how many steps before, and does the alarm
need it?

Pumps run, wear and fail. A GRU reads four sensors and says, at every hour, whether the
pump will fail within the next 30. Its gates are asked who raised the alarm.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
from matplotlib.figure import Figure

import keras_gates
from keras_gates import edits, plots, stats

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="runs of yours: a CSV file with the columns run, failed (1 if the run ends "
    "with a failure, else 0) and one for each sensor, a row a step, in order; 40 runs "
    "or more, of 60 steps or more",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=15, help="default: %(default)s")
options = parser.parse_args()
WARNING = 30

# %%
# The data
# --------
# A run has 120 hours. In half of the runs wear begins somewhere in the last 60 hours
# but not in the last 35, and grows as an exponential that reaches 1 at the failure,
# which ends the run. The load goes up and down with the shift, at a phase of its own.
# Temperature and current follow the load and, later, the wear; vibration follows the
# wear; pressure follows the load and falls with the wear. Each has noise, so that no
# reading is proof.


def runs(number=400, hours=120, seed=0):
    """Returns sensors (run, hour, sensor), and whether each run ends with a failure."""
    generator = np.random.default_rng(seed)
    failed = np.arange(number) % 2 == 0
    onset = hours - generator.integers(35, 61, size=(number, 1))
    hour = np.arange(hours)
    since = np.maximum(hour - onset, 0) / (hours - 1 - onset)
    wear = np.expm1(3 * since) / np.expm1(3) * failed[:, None]
    phase = generator.random((number, 1))
    load = np.sin(2 * np.pi * (hour / 24 + phase))
    level = generator.normal(0, 0.3, size=(number, 1, 4))  # No pump is like another.
    sensors = np.stack(
        [load + 1.5 * wear, 0.6 * load + wear, 2 * wear, 0.8 * load - 1.5 * wear],
        axis=-1,
    )
    return sensors + level + generator.normal(0, 0.5, size=sensors.shape), failed


sensors, failed = runs()
names = ["temperature", "current", "vibration", "pressure"]
if options.data:
    table = pandas.read_csv(options.data)
    names = [name for name in table if name not in ("run", "failed")]
    if not {"run", "failed"} <= set(table) or not names:
        parser.error(
            f"--data: '{options.data}' must have the columns run and failed, and one "
            f"for each sensor; got {', '.join(map(str, table))}."
        )
    groups = [group for _, group in table.groupby("run", sort=False)]
    shortest = min(map(len, groups))
    if len(groups) < 40 or shortest < 60 or table.isna().any(axis=None):
        parser.error(
            "--data: must hold at least 40 runs of at least 60 steps, without gaps; "
            f"got {len(groups)} runs, the shortest of {shortest} steps, and "
            f"{int(table.isna().sum().sum())} empty cells."
        )
    # The last steps of each run, as many as the shortest one has.
    sensors = np.stack([group[names].to_numpy()[-shortest:] for group in groups])
    failed = np.array([group["failed"].iloc[-1] for group in groups]).astype(bool)

# %%
# The first half of the runs trains, a quarter sets the thresholds of the alarms below,
# and the last quarter judges them.

steps = sensors.shape[1]
due = failed[:, None] & (np.arange(steps) >= steps - WARNING)
first, second = len(sensors) // 2, 3 * len(sensors) // 4
mean, spread = sensors[:first].mean(axis=(0, 1)), sensors[:first].std(axis=(0, 1))
x = ((sensors - mean) / spread).astype("float32")
y = due[..., None].astype("float32")

# %%
# Train
# -----

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None, len(names))),
        keras.layers.GRU(12, return_sequences=True, name="gru"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
model.fit(x[:first], y[:first], epochs=options.epochs, batch_size=16, verbose=0)

# %%
# Which unit warns?
# -----------------
# The label is whether the failure is due within 30 steps. AUC: 1 for a unit that is
# always higher then, 0 for one that is always lower. The units are chosen on the
# quarter that sets the thresholds.

setting = keras_gates.capture(model, x[first:second])
found = stats.find_units(setting, due[first:second])
print(found.head())
best = found.iloc[0]
gate = found[found["signal"].isin(["update", "reset"])].iloc[0]

# %%
# How long before?
# ----------------
# An alarm is a value beyond all that the healthy runs of that quarter reach. Sensors,
# the network's own output, a unit and a gate are judged by the same rule, on the last
# quarter.


def warns(values, rising):
    """Returns how an alarm fares on runs (run, step) of which the last quarter judges.

    The median number of steps from the first alarm to the failure, the share of
    failures that had one, and the share of healthy runs that had a false one.
    """
    values = values if rising else -values
    healthy = values[first:second][~failed[first:second]]
    alarm = values[second:] > healthy.max()
    ends = failed[second:]
    ahead = steps - alarm[ends].argmax(axis=1)
    seen = alarm[ends].any(axis=1)
    return {
        "steps before": np.median(ahead[seen]) if seen.any() else np.nan,
        "failures foreseen": seen.mean(),
        "false alarms": alarm[~ends].any(axis=1).mean(),
    }


gates = keras_gates.capture(model, x)
output = model.predict(x, verbose=0)[..., 0]
table = {"the network's output": warns(output, True)}
for row in (best, gate):
    signal = gates["gru"][row["signal"]].sel(unit=row["unit"]).values
    name = f"{row['signal']} of unit {row['unit']}"
    table[name] = warns(signal, row["auc"] > 0.5)
for column, name in enumerate(names):
    reading = x[..., column]
    level = reading[due].mean() > reading[~due].mean()
    table[name] = warns(reading, level)
table = pandas.DataFrame(table).T
print(table.round(2))

# %%
# The unit that warns, in the first run of the last quarter that ends with a failure,
# below what the sensors said:

run = second + int(failed[second:].argmax())
warning = plots.trajectories(
    gates["gru"],
    units=[best["unit"]],
    signal=best["signal"],
    sample=run,
    values=x[run],
)

# %%
# And the gate, over all the runs of the last quarter: the median and the middle half of
# them.

values = gates["gru"][gate["signal"]].sel(unit=gate["unit"]).values[second:]
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.subplots()
hour = np.arange(-steps, 0)
for name, chosen, colour in (
    ("runs that fail", failed[second:], "#D55E00"),
    ("healthy runs", ~failed[second:], "#009E73"),
):
    low, middle, high = np.quantile(values[chosen], [0.25, 0.5, 0.75], axis=0)
    axes.plot(hour, middle, color=colour, label=name)
    axes.fill_between(hour, low, high, color=colour, alpha=0.25, linewidth=0)
axes.axvline(-WARNING, color="0.6", linewidth=0.8, zorder=0)
axes.set_xlabel("steps before the end of the run")
axes.set_ylabel(f"{gate['signal']} gate of unit {gate['unit']}")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# Does the alarm need it?
# -----------------------
# What a unit says early, the network need not use. So each unit is clamped to its mean
# over the healthy runs, one at a time, and the alarm of the network's own output is
# judged again, by a threshold of its own.

usual = gates["gru"]["hidden"].values[~failed].mean(axis=(0, 1))
without = {}
for unit, value in enumerate(usual):
    with keras_gates.edit(model, {"gru/hidden": edits.clamp(value, units=[unit])}):
        without[unit] = warns(model.predict(x, verbose=0)[..., 0], True)
without = pandas.DataFrame(without).T
without = without.sort_values(["failures foreseen", "steps before"])
print(without.round(2))
place = without.index.get_loc(best["unit"]) + 1

# %%
# The answer
# ----------

for name in table.index[1:3]:
    row = table.loc[name]
    print(
        f"{name} warns {row['steps before']:.0f} steps before the failure (median), in "
        f"{row['failures foreseen']:.0%} of them, with false alarms in "
        f"{row['false alarms']:.0%} of the healthy runs."
    )
whole, one = table.iloc[0], without.loc[best["unit"]]
print(
    f"The network's output foresees {whole['failures foreseen']:.0%} of the failures, "
    f"{whole['steps before']:.0f} steps before; with hidden of unit {best['unit']} "
    f"clamped, {one['failures foreseen']:.0%}, {one['steps before']:.0f} steps before: "
    f"number {place} of {len(without)} units in what the alarm loses."
)
if place > 1:
    worst = without.iloc[0]
    print(
        f"It loses most with unit {without.index[0]} clamped "
        f"({worst['failures foreseen']:.0%}, {worst['steps before']:.0f} steps "
        "before): the unit that warns best is not the one that the alarm needs most."
    )
sensor = table.loc[names].sort_values("failures foreseen").iloc[-1]
print(
    f"The best sensor, {sensor.name}: {sensor['steps before']:.0f} steps before, "
    f"{sensor['failures foreseen']:.0%} of the failures, {sensor['false alarms']:.0%} "
    "false alarms."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    warning.savefig(options.out / "warning.png", dpi=150)
    figure.savefig(options.out / "gate.png", dpi=150)
