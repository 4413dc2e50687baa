"""
Steering a counter
==================

**Question:** does the number in the cell decide when the word ends?

An LSTM learns words of a's followed by the same number of b's. Units of its cell move
in one direction with every a and back with every b. This is only a correlation, and
something else might decide. So, at the last a, the cell is changed by the increment of
k a's. If the cell is the counter, the network must expect k more b's.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_gates
from keras_gates import edits, stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own words to train on: a text file with one word per line, of the "
    "letters a and b, at least 10 words, some of them with n over 16",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=60, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The words have n from 1 to 20. The symbols are one-hot: the boundary of a word, a, and
# b. The task is to predict the next symbol at every step. After its end, a word is
# padded with zeros, which are masked.

BOUNDARY, A, B = range(3)


def encode(words):
    """Returns words, and the next symbol at each of their steps, `(x, y)`."""
    x = np.zeros((len(words), 1 + max(map(len, words)), 3), "float32")
    y = np.zeros_like(x)
    for row, word in enumerate(words):
        codes = [BOUNDARY, *(A if letter == "a" else B for letter in word), BOUNDARY]
        x[row, range(len(word) + 1), codes[:-1]] = 1
        y[row, range(len(word) + 1), codes[1:]] = 1
    return x, y


x, y = tasks.anbn(256, largest=20)
if options.data:
    words = options.data.read_text().split()
    wrong = [word for word in words if set(word) - set("ab")]
    if wrong or len(words) < 10:
        parser.error(
            f"--data: '{options.data}' must have at least 10 words, of the letters a "
            f"and b only; got {len(words)}, {len(wrong)} of them with other letters."
        )
    x, y = encode(words)

# %%
# Train
# -----

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None, 3)),
        keras.layers.Masking(),
        keras.layers.LSTM(6, return_sequences=True, name="lstm"),
        keras.layers.Dense(3, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.03), "categorical_crossentropy")
model.fit(x, y, epochs=options.epochs, batch_size=16, verbose=0)
model.optimizer.learning_rate.assign(0.006)
model.fit(x, y, epochs=2 * options.epochs // 3, batch_size=16, verbose=0)

# %%
# The increment of one a
# ----------------------
# For each n from 8 to 14, the words have n a's, followed by more b's than the network
# should ever expect. The increment of one a in the cell is the mean over the later a's.
# The unit of the cell that has the highest correlation with the count is found as well.

COUNTS, SHIFTS, MORE = range(8, 15), (-8, -4, -2, -1, 0, 1, 2, 4, 8), 40
cases = [(n, k) for n in COUNTS for k in SHIFTS if n + k > 0]
test, _ = encode(["a" * n + "b" * MORE for n, _ in cases])
gates = keras_gates.capture(model, test)
cell = gates["lstm/cell"].values

words, _ = encode(["a" * n + "b" * n for n in COUNTS])
count = np.cumsum(words[..., A] - words[..., B], axis=1)
read = keras_gates.capture(model, words)["lstm"].to_dataset()
found = stats.find_units(read[["cell"]], count)
print(found)
best = int(found.iloc[0]["unit"])


def steering(direction=None, units=slice(None)):
    """Returns the values to add to the cell in each case, `(sample, time, unit)`.

    The default direction is the increment of one a. Any other is scaled to its length.
    """
    added = np.zeros_like(cell)
    for row, (n, k) in enumerate(cases):
        increment = (cell[row, n] - cell[row, 2]) / (n - 2)
        if direction is not None:
            length = np.linalg.norm(increment)
            increment = direction / np.linalg.norm(direction) * length
        added[row, n, units] = k * increment[units]
    return added


# %%
# Steer
# -----
# The network expects the end after the first b at which the boundary is its most likely
# next symbol.


def expected(added):
    """Returns the number of b's after which the end is expected; NaN means never."""
    with keras_gates.edit(model, {"lstm/cell": edits.add(added)}):
        predicted = model.predict(test, verbose=0).argmax(-1)
    after = np.full(len(cases), np.nan)
    for row, (n, _) in enumerate(cases):
        ends = np.flatnonzero(predicted[row, n + 1 : n + 1 + MORE] == BOUNDARY)
        if len(ends):
            after[row] = ends[0] + 1
    return after


# %%
# There are three changes: of the whole cell; of the unit with the highest correlation
# only; and, for comparison, of the whole cell by a step of the same length in twenty
# random directions.

letters, shift = np.array(cases).T
generator = np.random.default_rng(0)
moved = {
    "the whole cell": [expected(steering()) - letters],
    f"unit {best} alone": [expected(steering(units=[best])) - letters],
    "random directions": [
        expected(steering(generator.normal(size=cell.shape[-1]))) - letters
        for _ in range(20)
    ],
}

# %%
# How many more or fewer b's the network expects, for each number of added a's. The line
# is the mean over words and directions, and the band contains 90 % of them. The dashed
# line is a perfect counter.

figure = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
axes.plot(SHIFTS, SHIFTS, "--", color="0.6", linewidth=0.9)
colours = ("#0072B2", "#D55E00", "#999999")
for (name, runs), colour in zip(moved.items(), colours, strict=True):
    at = [np.concatenate([run[shift == k] for run in runs]) for k in SHIFTS]
    low, middle, high = np.transpose(
        [[*np.nanquantile(move, [0.05, 0.95]), np.nanmean(move)] for move in at]
    )[[0, 2, 1]]
    axes.plot(SHIFTS, middle, "o-", markersize=4, color=colour, label=name)
    axes.fill_between(SHIFTS, low, high, color=colour, alpha=0.2, linewidth=0)
axes.set_xlabel("a's added to the cell at the last a")
axes.set_ylabel("change of the number of b's expected")
axes.set_xticks(SHIFTS)
axes.legend(fontsize="small")
axes.spines[["top", "right"]].set_visible(False)

# %%
# The answer
# ----------

steered = shift != 0
for name, runs in moved.items():
    right = np.mean([(run == shift)[steered].mean() for run in runs])
    print(
        f"{name}: the expected end moves by exactly k b's in {right:.0%} of the cases"
    )
whole, alone, random = (
    np.mean([(run == shift)[steered].mean() for run in runs]) for runs in moved.values()
)
if whole < 0.5 or whole < random + 0.2:
    print("The number in the cell does not decide when the word ends.")
elif alone > 0.8 * whole:
    print(f"The number in unit {best} of the cell decides when the word ends.")
else:
    print(
        "The number in the cell decides when the word ends, and several units share it."
    )

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "steered.png", dpi=150)
