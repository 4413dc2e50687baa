"""
Text: quotation marks, indentation, position in the line
========================================================

**Question:** which units track the place in the text, and does the network use them?

An LSTM reads Python's own help texts, character by character, and learns to predict the
next one. For this it helps to know whether a quotation is open, whether the line is
still in its indentation, and how long the line is. Karpathy, Johnson and Li (`2015
<https://arxiv.org/abs/1506.02078>`_) found cells for such features by visual
inspection. Here, a measure finds them.
"""

import argparse
import re
from collections import Counter, defaultdict
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
    help="your own text in UTF-8, at least 50,000 characters in lines, some of them "
    "indented, with quotations in straight double quotation marks",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The texts that Python's ``help`` shows for keywords and statements, which come with
# Python. The first nine tenths are for training.

LENGTH = 50
if options.data:
    text = options.data.read_text(encoding="utf-8")
    if len(text) < 50_000 or '"' not in text or "\n" not in text:
        parser.error(
            f"--data: '{options.data}' must have at least 50,000 characters, lines and "
            f"double quotation marks; it has {len(text):,} characters, "
            f"{text.count(chr(10)):,} lines and {text.count(chr(34)):,} marks."
        )
else:
    text = tasks.python_documentation()
alphabet = "".join(sorted(set(text)))
cut = int(0.9 * len(text))
print(f"{len(text):,} characters, {len(alphabet)} different ones")

# %%
# In training, the network reads windows at random places; in one epoch, it reads the
# same number of characters as the training part has. The rest is cut into consecutive
# pieces of 250 characters, so every character keeps its place in the text. ``y_test``
# has the next characters.

x, y = tasks.characters(
    options.epochs * (cut // LENGTH),
    sequence_length=LENGTH,
    text=text[:cut],
    alphabet=alphabet,
)
PIECE = 250
rest = text[cut:]
windows = (len(rest) - 1) // PIECE
codes = np.array([alphabet.index(character) for character in rest])
x_test = codes[: PIECE * windows].reshape(windows, PIECE)
y_test = codes[1 : PIECE * windows + 1].reshape(windows, PIECE)

# %%
# A table of the text
# -------------------
# A practitioner would first try a table that counts which character followed the last
# few characters. A longer context is more informative, if it was seen before. So the
# table backs off: each context is mixed with the context that is one character shorter.
# The weight of the shorter context grows with the number of different characters that
# followed the longer one (Witten and Bell, 1991, *IEEE Transactions on Information
# Theory* 37).


def bits_of_tables(longest):
    """Returns the bits per character of the tables, by characters of context."""
    counts = [defaultdict(Counter) for _ in range(longest + 1)]
    for place in range(cut):
        for length in range(min(place, longest) + 1):
            counts[length][text[place - length : place]][text[place]] += 1
    bits = np.zeros((longest + 1, x_test.size))
    for number in range(x_test.size):
        place = cut + 1 + number
        chance = 1 / len(alphabet)
        for length in range(longest + 1):
            seen = counts[length].get(text[place - length : place])
            if seen:
                total = seen.total() + len(seen)
                chance = (seen[text[place]] + len(seen) * chance) / total
            bits[length, number] = -np.log2(chance)
    return bits.mean(axis=1)


tables = bits_of_tables(6)
for length, bits in enumerate(tables):
    print(f"a table with {length} characters of context: {bits:.2f} bits per character")

# %%
# Train
# -----
# The network trains in a fast kernel, if there is one that is faster than Keras's.

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None,)),
        keras.layers.Embedding(len(alphabet), 32),
        keras.layers.LSTM(128, return_sequences=True, name="lstm"),
        keras.layers.Dense(len(alphabet), activation="softmax"),
    ]
)
updates = -(-len(x) // 32)
rate = keras.optimizers.schedules.CosineDecay(
    0.002,
    19 * updates // 20,
    alpha=0.01,
    warmup_target=0.02,
    warmup_steps=updates // 20,
)
model.compile(
    keras.optimizers.Adam(rate, clipnorm=1.0), "sparse_categorical_crossentropy"
)
if keras.backend.backend() != "tensorflow":
    keras_gates.accelerate(model)
model.fit(x, y, batch_size=32, verbose=0)
bits = model.evaluate(x_test, y_test, verbose=0) / np.log(2)
best_table = int(tables.argmin())
gap = bits - tables[best_table]
print(f"the network: {bits:.2f} bits per character")
print(
    f"the best table, with {best_table} characters of context, needs "
    f"{tables[best_table]:.2f}: "
    + (
        "this network needs about the same number."
        if abs(gap) < 0.03
        else "the network is better."
        if gap < 0
        else "the network is worse, and a table is sufficient."
    )
)

# %%
# The place in the text
# ---------------------
# There are three labels for every character: whether it is between double quotation
# marks (or backticks, which some versions of Python use instead) on one line; whether
# it belongs to the indentation of its line; and its distance from the start of the
# line.


def marked(pattern):
    """Returns, for each character, whether it is in a match of the pattern."""
    inside = np.zeros(len(rest), bool)
    for match in re.finditer(pattern, rest, flags=re.MULTILINE):
        inside[match.start() : match.end()] = True
    return inside


newline = np.array([character == "\n" for character in rest])
place = np.arange(len(rest))
line_start = np.maximum.accumulate(np.where(np.roll(newline, 1), place, 0))
labels = {
    "quotation": marked(r'"[^"\n]+"|``[^`\n]+``'),
    "indentation": marked(r"^[ \t]+"),
    "position": (place - line_start).astype(float),
}

# %%
# Which units track it?
# ---------------------
# For a label that is true or false, the measure is the AUC: 1 for a unit that is always
# higher where the label is true, 0 for a unit that is always lower, and 0.5 for a unit
# that does not react. For the position, it is the correlation. The current character
# does not determine the labels, so the search is in the cell state, which can remember
# them.

gates = keras_gates.capture(model, x_test)
best = {}
for name, label in labels.items():
    known = label[: x_test.size].reshape(x_test.shape)
    found = stats.find_units(gates["lstm"].to_dataset()[["cell"]], known)
    best[name] = found.iloc[0]
    print(f"\n{name}\n{found.head(3)}")

# %%
# The unit that tracks quotations best, on the piece where quotations begin and end most
# often:

quotation = labels["quotation"][: x_test.size].reshape(x_test.shape)
piece = int(np.abs(np.diff(quotation.astype(int))).sum(axis=1).argmax())
tokens = [alphabet[code] for code in x_test[piece]]
quoting = plots.text(
    gates["lstm"], tokens, unit=best["quotation"]["unit"], signal="cell", sample=piece
)

# %%
# The unit that tracks the indentation best, on the same piece:

indenting = plots.text(
    gates["lstm"], tokens, unit=best["indentation"]["unit"], signal="cell", sample=piece
)

# %%
# Does the network use them?
# --------------------------
# The network need not use a unit that tracks quotations. So the best unit for each
# label is clamped to its mean. For comparison, so is every tenth unit, one at a time.
# The cost is the increase in bits per character, where the label is true and where it
# is false. For the position, these are the characters whose distance from the start of
# the line is above the median, and the others.

known = {
    name: label[: x_test.size].reshape(x_test.shape) for name, label in labels.items()
}
known["position"] = known["position"] > np.median(known["position"])


def bits_by_character(model):
    """Returns the bits that each character of the test part costs."""
    chances = model.predict(x_test, verbose=0)
    return -np.log2(np.take_along_axis(chances, y_test[..., None], -1)[..., 0])


usual = bits_by_character(model)
mean = gates["lstm/cell"].mean(("sample", "time"))
costs = {}
for unit in {int(unit["unit"]) for unit in best.values()} | {*range(0, mean.size, 10)}:
    change = edits.clamp(float(mean[unit]), units=[unit])
    with keras_gates.edit(model, {"lstm/cell": change}):
        costs[unit] = bits_by_character(model) - usual

# %%
# The answer
# ----------
# Quotations and indentation have typical places in a line. So a unit that only counts
# the position would seem to follow them as well. Its correlation with the position
# shows whether it does so.

position = labels["position"][: x_test.size]
for name, unit in best.items():
    measure = "auc" if "auc" in unit else "correlation"
    print(
        f"{name}: unit {unit['unit']} of the cell state, {measure} {unit[measure]:.2f} "
        f"(p = {unit['p_value']:.3f}, corrected for all the units)"
    )
    if name != "position":
        cell = gates["lstm/cell"].sel(unit=unit["unit"]).values.ravel()
        correlation = np.corrcoef(cell, position)[0, 1]
        print(f"    its correlation with the position: {correlation:+.2f}")

for name, unit in best.items():
    chosen = int(unit["unit"])
    inside, outside = (
        costs[chosen][which].mean() for which in (known[name], ~known[name])
    )
    other = [cost[known[name]].mean() for key, cost in costs.items() if key != chosen]
    print(
        f"{name}: with unit {chosen} clamped, the cost of a character changes by "
        f"{inside:+.2f} bits there and {outside:+.2f} elsewhere; with other units "
        f"clamped, by {np.mean(other):+.2f} there."
    )
    print(
        "    The network uses the unit there."
        if inside > 2 * max(outside, np.mean(other), 0.005)
        else "    The unit tracks the label, but is not clearly used more there."
    )

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {"quotation": quoting, "indentation": indenting}.items():
        figure.savefig(options.out / f"{name}.png", dpi=150)
