"""
What to watch next, when taste shifts
=====================================

**Question:** which gate makes room when a person's taste shifts?

A network reads the items that a person has watched, and predicts the next one. Half of
the people change their taste on the way: a child grows up, or somebody else takes the
remote control. The earlier items are then misleading, and should be erased.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
from matplotlib.figure import Figure

import keras_gates
from keras_gates import edits, plots

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own sessions: a CSV file with the columns session, genre and taste, one "
    "row for each item watched, in order; taste is the known taste of the person at "
    "that time, and a change of it is a shift; at least 200 sessions, all of the same "
    "length",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The data are from a generator: no package was found with a real recording in which the
# shifts are known. So the page shows the behaviour of the gates of such a network, and
# not the behaviour of people. Each of 1,500 people watches 40 items of eight genres.
# Seven times out of ten, the item is of the favourite genre, otherwise of a random one
# of the eight. In half of the sessions, the favourite changes once, at a random step
# from 10 to 30.


def sessions(people=1500, steps=40, genres=8, seed=0):
    """Returns the genre and the favourite at each step, both (session, step)."""
    generator = np.random.default_rng(seed)
    first = generator.integers(genres, size=people)
    second = (first + generator.integers(1, genres, size=people)) % genres
    shift = generator.integers(10, 31, size=people)
    shift[generator.random(people) < 0.5] = steps  # No shift.
    favourite = np.where(
        np.arange(steps) < shift[:, None], first[:, None], second[:, None]
    )
    chance = generator.integers(genres, size=(people, steps))
    loyal = generator.random((people, steps)) < 0.7
    return np.where(loyal, favourite, chance), favourite


genre, taste = sessions()
if options.data:
    table = pandas.read_csv(options.data)
    if missing := {"session", "genre", "taste"} - set(table):
        parser.error(
            f"--data: '{options.data}' must have the columns session, genre and taste; "
            f"{', '.join(sorted(missing))} not found."
        )
    lengths = table.groupby("session").size()
    if len(lengths) < 200 or lengths.nunique() > 1:
        parser.error(
            "--data: must have at least 200 sessions, all of the same length; got "
            f"{len(lengths)} sessions of {lengths.min()} to {lengths.max()} rows."
        )
    table = table.sort_values("session", kind="stable")
    genre, taste = (
        pandas.factorize(table[name])[0].reshape(len(lengths), -1)
        for name in ("genre", "taste")
    )
genres = int(genre.max()) + 1
cut = int(0.7 * len(genre))
x, y = genre[:, :-1], genre[:, 1:]

# %%
# Train
# -----

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None,)),
        keras.layers.Embedding(genres, 8),
        keras.layers.LSTM(16, return_sequences=True, name="lstm"),
        keras.layers.Dense(genres, activation="softmax"),
    ]
)
model.compile(
    keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
)
model.fit(x[:cut], y[:cut], epochs=options.epochs, batch_size=32, verbose=0)

# %%
# Two rules need no network: the last genre, and the most frequent genre so far, which
# is the better rule as long as taste does not shift.

x_test, y_test, taste_test = x[cut:], y[cut:], taste[cut:, :-1]
counts = np.cumsum(np.eye(genres)[x_test], axis=1)
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
most_frequent = np.mean(counts.argmax(-1) == y_test)
print(f"accuracy of the network: {accuracy:.3f}")
print(f"accuracy of the last genre: {np.mean(x_test == y_test):.3f}")
print(f"accuracy of the most frequent genre: {most_frequent:.3f}")

# %%
# What a gate does to the cell state
# ----------------------------------
# A cell state ``c`` becomes ``f c + i g``. So the amount held, ``|c|``, decreases by
# ``(1 - f) |c|``, which the forget gate erases, and changes by ``i g sign(c)``, which
# the input gate lets in. This is positive if the candidate has the same sign as the
# cell state, and negative if it has the opposite sign and so overwrites the cell state.

lstm = keras_gates.capture(model, x_test)["lstm"].to_dataset()
held = lstm["cell"].shift(time=1)
change = xarray.Dataset(
    {
        "held": abs(held),
        "erased": -(1 - lstm["forget"]) * abs(held),
        "let in": lstm["input"] * lstm["candidate"] * np.sign(held),
    }
).mean("unit")

# %%
# Around a shift
# --------------
# The sessions with a shift are aligned and averaged. Step 0 is the first step with the
# new taste.

BEFORE, AFTER = 8, 9
shifts = np.diff(taste_test, axis=1) != 0
first = shifts.argmax(axis=1) + 1
fits = (first > BEFORE) & (first <= x_test.shape[1] - AFTER)
chosen = np.flatnonzero(shifts.any(axis=1) & fits)
if not len(chosen):
    parser.error(
        "--data: must have a shift of taste in the last 30 % of the sessions, more "
        "than 8 steps from both ends of the session; found none."
    )
lag = np.arange(-BEFORE, AFTER)
around = change.isel(
    sample=xarray.DataArray(chosen, dims="session"),
    time=xarray.DataArray(first[chosen, None] + lag, dims=("session", "lag")),
).mean("session")
usual = around.isel(lag=slice(BEFORE)).mean("lag")

# The colours of the forget and the input gate are those of all figures of keras_gates.
colours = {"held": "black", "erased": "#0072B2", "let in": "#E69F00"}
legend = {
    "held": "held in the cell state",
    "erased": "erased by the forget gate",
    "let in": "let in by the input gate",
}
figure = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
for name, colour in colours.items():
    axes.plot(lag, around[name], "o-", markersize=3, color=colour, label=legend[name])
axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
axes.set_xlabel("steps since taste shifted")
axes.set_ylabel("mean over the units")
axes.set_title(f"{len(chosen)} sessions with a shift", fontsize="medium")
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# Does the network need the gate?
# -------------------------------
# The amounts that are erased and let in describe the cell. To show the effect of each
# gate on the *answer*, the gate is clamped to the mean of each unit, so that it no
# longer reacts. The table has the share of right answers in the eight steps before the
# shift, and in the five steps after the step of the shift:

signals = keras_gates.capture(model, x_test)["lstm"]
right = {}
for gate in (None, "forget", "input"):
    if gate is None:
        answers = model.predict(x_test, verbose=0)
    else:
        mean = signals[gate].mean(("sample", "time"))
        with keras_gates.edit(model, {f"lstm/{gate}": edits.clamp(mean)}):
            answers = model.predict(x_test, verbose=0)
    hits = answers.argmax(-1) == y_test
    correct = hits[chosen[:, None], first[chosen, None] + lag]
    right[gate or "as trained"] = {
        "before": correct[:, :BEFORE].mean(),
        "after": correct[:, BEFORE + 1 : BEFORE + 6].mean(),
    }
print(pandas.DataFrame(right).T.round(3))

# %%
# The first of these sessions, signal by signal:

heat = plots.heatmap(lstm, sample=int(chosen[0]))
print(f"sample {chosen[0]}: taste shifts at step {first[chosen[0]]}")

# %%
# The answer
# ----------
# The three steps from the shift on are compared with the eight steps before it.

three = around.isel(lag=slice(BEFORE, BEFORE + 3)).mean("lag")
more = {name: float(three[name] - usual[name]) for name in ("erased", "let in")}
verdict = (
    "more is erased"
    if more["erased"] < more["let in"]
    else "it is overwritten, rather than erased more"
)
print(
    f"The amount held goes from {float(usual['held']):.2f} to a minimum of "
    f"{float(around['held'].isel(lag=slice(BEFORE, None)).min()):.2f}: {verdict}."
)
print(
    f"Change per step before the shift: {float(usual['erased']):+.2f} erased and "
    f"{float(usual['let in']):+.2f} let in. In the three steps from the shift on: "
    f"{float(three['erased']):+.2f} and {float(three['let in']):+.2f}."
)

for gate in ("forget", "input"):
    print(
        f"With {gate} clamped to its mean, {right[gate]['after']:.1%} of the answers "
        f"are right after the shift, instead of {right['as trained']['after']:.1%}."
    )
costs = {
    gate: right["as trained"]["after"] - right[gate]["after"]
    for gate in ("forget", "input")
}
print(
    f"So the {max(costs, key=costs.get)} gate needs to react to the shift."
    if max(costs.values()) > 0.03
    else "So neither gate needs to react to the shift: the candidate does it."
)

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "shift.png", dpi=150)
    heat.savefig(options.out / "session.png", dpi=150)
