"""
Text: quotation marks, indentation, position in the line
========================================================

**Question:** which units track where in the text the network is, and does it use them?

An LSTM reads Python's own help texts, character by character, and learns to foresee the
next one. To do that well it helps to know whether a quotation is open, whether the line
has begun yet, and how long the line is. Karpathy, Johnson and Li (`2015
<https://arxiv.org/abs/1506.02078>`_) found cells for such things by eye; here they are
found by measure.
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
    help="a text of yours in UTF-8, at least 50,000 characters, with lines, some of "
    "them indented, and with quotations in straight double quotation marks",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# The texts that Python's ``help`` shows of keywords and statements, which come with
# Python. The first nine tenths train.

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
# The network reads windows at random places; in one epoch, it reads the same number of
# characters as the training part has. The rest is read in one piece after the other,
# 250 characters each, and so every character has its place. ``y_test`` is what follows.

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
# What one would try first is a table of which character followed the last few ones. A
# longer context says more, if it was seen. So the table backs off: each context is
# mixed with the one that is a character shorter, the more so, the more different
# characters followed it (Witten and Bell, 1991, *IEEE Transactions on Information
# Theory* 37).


def bits_of_tables(longest):
    """Returns the bits a character of tables with up to some characters of context."""
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
    print(f"a table with {length} characters of context: {bits:.2f} bits a character")

# %%
# Train
# -----
# In a fast kernel, where there is one that is faster than Keras's.

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
print(f"the network: {bits:.2f} bits a character")
print(
    f"the best table, with {best_table} characters of context, needs "
    f"{tables[best_table]:.2f}: "
    + (
        "this network needs about the same number."
        if abs(gap) < 0.03
        else "the network is better."
        if gap < 0
        else "the network is worse, and a table would do."
    )
)

# %%
# Where are we?
# -------------
# What is known of every character: whether it stands between double quotation marks (or
# backticks, which some versions of Python have in their place) on one line; whether it
# belongs to the indentation of its line; and how far from the start of the line it is.


def marked(pattern):
    """Returns for each character whether a match of the pattern holds it."""
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
# For what is true or false the measure is the AUC: 1 for a unit that is always higher
# where it is true, 0 for one that is always lower, 0.5 for one that does not care. For
# the position it is the correlation. The character itself is no answer, and so the
# cell state is asked.

gates = keras_gates.capture(model, x_test)
best = {}
for name, label in labels.items():
    known = label[: x_test.size].reshape(x_test.shape)
    found = stats.find_units(gates["lstm"].to_dataset()[["cell"]], known)
    best[name] = found.iloc[0]
    print(f"\n{name}\n{found.head(3)}")

# %%
# The unit that tracks quotations best, on the piece with the most changes from inside
# to outside:

quotation = labels["quotation"][: x_test.size].reshape(x_test.shape)
piece = int(np.abs(np.diff(quotation.astype(int))).sum(axis=1).argmax())
tokens = [alphabet[code] for code in x_test[piece]]
quoting = plots.text(
    gates["lstm"], tokens, unit=best["quotation"]["unit"], signal="cell", sample=piece
)

# %%
# And the one that tracks the indentation, on the same piece:

indenting = plots.text(
    gates["lstm"], tokens, unit=best["indentation"]["unit"], signal="cell", sample=piece
)

# %%
# Does the network use them?
# --------------------------
# A unit that tracks quotations need not be how the network knows of them. The unit that
# tracks each label best is clamped to its mean, and so is every tenth other unit, to
# compare with. What does it cost, in bits a character, where the label is true and
# where it is not? For the position, it is the second and the first half of the lines.

known = {
    name: label[: x_test.size].reshape(x_test.shape) for name, label in labels.items()
}
known["position"] = known["position"] > np.median(known["position"])


def bits_by_character(model):
    """Returns the bits that each character of the test part costs."""
    said = model.predict(x_test, verbose=0)
    return -np.log2(np.take_along_axis(said, y_test[..., None], -1)[..., 0])


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
# Quotations and indentation have their places in a line, and so a unit that only
# counted the position would seem to follow them, too. Its correlation with the position
# tells.

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
    other = [cost[known[name]].mean() for one, cost in costs.items() if one != chosen]
    print(
        f"{name}: with unit {chosen} clamped, a character costs {inside:+.2f} bits "
        f"there and {outside:+.2f} elsewhere; with other units, {np.mean(other):+.2f} "
        "there."
    )
    print(
        "    The network uses it there."
        if inside > 2 * max(outside, np.mean(other), 0.005)
        else "    It tracks it, but is not used more there than elsewhere."
    )

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {"quotation": quoting, "indentation": indenting}.items():
        figure.savefig(options.out / f"{name}.png", dpi=150)
