"""
Counting: a^n b^n
=================

**Question:** does a cell count, and does the network use the count?

A word is a number of a's, followed by the same number of b's. From the first b on, a
network that has counted the a's can predict when the word ends. An LSTM can count, with
a cell state that moves in one direction with every a and back with every b. A GRU's
state is a weighted mean of candidates between -1 and 1, so it cannot count without
limit (`Weiss, Goldberg and Yahav, 2018 <https://arxiv.org/abs/1805.04908>`_).
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_gates
from keras_gates import edits, plots, stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own words to train on: a text file with one word per line, of the "
    "letters a and b, at least 10 words",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=60, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The words have n from 1 to 12. The symbols are one-hot: the boundary of a word, a, and
# b. The task is to predict the next symbol at every step. After its end, a word is
# padded with zeros, which are masked.

BOUNDARY, A, B = range(3)


def encode(words):
    """Returns words of a's and b's in the form of `tasks.anbn`, `(x, y)`."""
    x = np.zeros((len(words), 1 + max(map(len, words)), 3), "float32")
    y = np.zeros_like(x)
    for row, word in enumerate(words):
        codes = [BOUNDARY, *(A if letter == "a" else B for letter in word), BOUNDARY]
        x[row, range(len(word) + 1), codes[:-1]] = 1
        y[row, range(len(word) + 1), codes[1:]] = 1
    return x, y


x, y = tasks.anbn(256, largest=12)
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
# Both networks have six units and the same seed.

models = {}
for name, layer in (("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)):
    keras.utils.set_random_seed(0)
    models[name] = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.Masking(),
            layer(6, return_sequences=True, name=name),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    models[name].compile(keras.optimizers.Adam(0.03), "categorical_crossentropy")
    models[name].fit(x, y, epochs=options.epochs, batch_size=16, verbose=0)

# %%
# How far do they count?
# ----------------------
# The words have every n up to 30, so most of them are longer than the training words. A
# word counts as continued correctly if, from the first b on, every symbol is predicted:
# the other b's, and then the boundary.

LONGEST = 30
x_test, y_test = encode(["a" * n + "b" * n for n in range(1, LONGEST + 1)])
determined = x_test[..., B] == 1


def longest(model):
    """Returns the largest n up to which every word is continued correctly."""
    predicted = model.predict(x_test, verbose=0).argmax(-1)
    right = ((predicted == y_test.argmax(-1)) | ~determined).all(axis=1)
    return int(np.argmin(right)) if not right.all() else LONGEST


reached = {}
for name, model in models.items():
    reached[name] = longest(model)
    print(f"{name}: every word is continued correctly up to n = {reached[name]}")

# %%
# Does a cell count?
# ------------------
# The true count at each step, the number of a's minus the number of b's, is compared
# with every unit of every signal, over all the words. Masked steps are left out.

count = np.cumsum(x_test[..., A] - x_test[..., B], axis=1)
state = {"lstm": "cell", "gru": "hidden"}
layers, best = {}, {}
for name, model in models.items():
    layers[name] = keras_gates.capture(model, x_test)[name]
    found = stats.find_units(layers[name], count)
    best[name] = found[found["signal"] == state[name]].iloc[0]
    print(
        f"{name}: the best counter is unit {best[name]['unit']} of {state[name]}, "
        f"correlation {best[name]['correlation']:+.4f}"
    )

# %%
# The figures show the best counter of each network on the longest word, n = 30, below
# the true count. In the training words, the count is at most 12.

figures = {}
for name, layer in layers.items():
    figures[name] = plots.trajectories(
        layer,
        units=[best[name]["unit"]],
        signal=state[name],
        sample=LONGEST - 1,
        inputs=count[-1],
    )
lstm_counts, gru_counts = figures.values()

# %%
# Does the network use it?
# ------------------------
# The network need not use a unit that rises and falls with the count. So this unit is
# clamped to its mean over the words, and the network reads the words again.
# :doc:`steering_a_counter` adds a's to the cell instead.

clamped = {}
for name, model in models.items():
    unit, signal = int(best[name]["unit"]), state[name]
    mean = float(layers[name][signal].sel(unit=unit).mean())
    change = edits.clamp(mean, units=[unit])
    with keras_gates.edit(model, {f"{name}/{signal}": change}):
        clamped[name] = longest(model)

# %%
# The answer
# ----------

for name in models:
    correlation = abs(best[name]["correlation"])
    verdict = "follows" if correlation > 0.99 else "does not quite follow"
    print(
        f"{name}: its best unit {verdict} the count (|correlation| {correlation:.3f}). "
        "After training on words up to n = 12, the model continues words correctly up "
        f"to n = {reached[name]}; with that unit clamped to its mean, up to n = "
        f"{clamped[name]}."
    )

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {"lstm": lstm_counts, "gru": gru_counts}.items():
        figure.savefig(options.out / f"{name}_counts.png", dpi=150)
