"""
Gates explained
===============

A recurrent network reads a sequence step by step and carries a state along. Its gates
decide, at every step and for every unit, how much of that state is kept, how much is
written and how much is shown. This page builds the idea up from a network that has no
gates. Each statement stands beside a picture or a number that was made on this page, by
the code above it.
"""

# %%
# A gradient that vanishes
# ------------------------
#
# A basic recurrent layer has one rule for its state::
#
#     h[t] = tanh(x[t] W + h[t-1] U + b)
#
# At every step the whole state passes through a matrix and a squashing function. What
# was read early has passed through them many times.
#
# How much of it is left can be measured. We take a sequence, push the input of one
# single step a little, and look how far the *last* output moves. That is the gradient
# of the last output by the input of that step, in size. Training works with this
# gradient: where it is zero, nothing is learned about that step.

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_gates
from keras_gates import plots, stats, tasks
from keras_gates.trees.appearance import colour_of

STEPS, UNITS, PUSH = 60, 16, 0.1
keras.utils.set_random_seed(0)
noise = np.random.default_rng(0).normal(size=(STEPS, 1)).astype("float32")


def influence(layer, x):
    """Returns how far the last output moves for a push at each step."""
    model = keras.Sequential([keras.Input(x.shape), layer])
    pushed = x + PUSH * np.eye(len(x))[:, :, None]  # sample t is pushed at step t
    outputs = model(np.concatenate([pushed, x[None]]).astype("float32"))
    outputs = keras.ops.convert_to_numpy(outputs)
    return np.linalg.norm(outputs[:-1] - outputs[-1], axis=-1) / PUSH


def long_memory(shape, dtype=None):
    """An LSTM's bias at the start: each unit keeps for 100 steps, and writes little."""
    bias = np.zeros((4, UNITS))  # input, forget, candidate, output
    bias[0], bias[1] = -np.log(100 - 1), np.log(100 - 1)
    return keras.ops.convert_to_tensor(bias.reshape(shape), dtype)


layers = {
    "basic RNN": keras.layers.SimpleRNN(UNITS),
    "GRU, as Keras starts it": keras.layers.GRU(UNITS),
    "LSTM, as Keras starts it": keras.layers.LSTM(UNITS),
    "LSTM, started to keep": keras.layers.LSTM(
        UNITS, bias_initializer=long_memory, unit_forget_bias=False
    ),
}
influences = {name: influence(layer, noise) for name, layer in layers.items()}

vanishing, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
styles = [("0.4", "-"), ("#D55E00", "-"), ("#0072B2", "--"), ("#0072B2", "-")]
for (name, values), (colour, line) in zip(influences.items(), styles, strict=True):
    back = np.arange(len(values))[::-1]
    axes.semilogy(back, np.maximum(values, 1e-6), line, color=colour, label=name)
axes.set(
    xlabel="how many steps before the end the input was pushed",
    ylabel="move of the last output",
    ylim=(1e-6, 3),
)
axes.spines[["top", "right"]].set_visible(False)
vanishing.legend(fontsize="small", loc="outside upper center", ncols=2, frameon=False)

for name, values in influences.items():
    print(f"{name:26} 40 steps back: {values[-41]:.1e}")

# %%
# On the basic RNN's line, a push 40 steps back moves the end about a thousand times
# less than a push at the end. Two things may surprise:
#
# - The line of an LSTM and of a GRU falls too, as Keras starts them, and that of the
#   GRU fastest of all. (Below a millionth, where the line ends, the differences are
#   roundings.)
# - The same LSTM with another *bias* does not. Its line is flat.
#
# So gates are no memory by themselves. They make how long the path through the cell
# keeps a value a number that can be set, and therefore learned. The rest of the page
# shows how. (A gradient says whether *learning* reaches back, and is no measure of
# memory: :doc:`/understand/what_gates_do` shows a network that remembers for ever while
# its gradient vanishes.)
#
# What a gate is
# --------------
#
# A gate is a number from 0 to 1 that multiplies. At 0 it is shut and nothing passes, at
# 1 it is open and all passes. It is computed afresh at each step from the input and the
# old state, by a sigmoid, so that it is smooth and can be trained.
#
# To see what gates do, we build an LSTM with one unit and set its weights by hand.
# Beside a *value*, the input has three marks: *write*, *erase* and *show*. Each opens
# or shuts one gate, and nothing else does.

VALUE, WRITE, ERASE, SHOW = range(4)
INPUT, FORGET, CANDIDATE, OUTPUT = range(4)  # The order of the columns in Keras.

lstm = keras.layers.LSTM(1, name="lstm")
by_hand = keras.Sequential([keras.Input((None, 4)), lstm])
kernel, bias = np.zeros((4, 4)), np.zeros(4)
kernel[WRITE, INPUT], bias[INPUT] = 20, -10  # Shut, until there is a mark.
kernel[ERASE, FORGET], bias[FORGET] = -20, 10  # Open, until there is a mark.
kernel[SHOW, OUTPUT], bias[OUTPUT] = 20, -10
kernel[VALUE, CANDIDATE] = 1
lstm.set_weights([kernel, np.zeros((1, 4)), bias])

# %%
# The value is noise. At step 10 we ask to write it down, at steps 30 to 34 to show what
# is there, at 45 to erase it.

x = np.zeros((1, 60, 4), "float32")
x[0, :, VALUE] = noise[:, 0]
x[0, 10, [VALUE, WRITE]] = 1
x[0, 30:35, SHOW] = 1
x[0, 45, ERASE] = 1

gates = keras_gates.capture(by_hand, x)


def lines(rows):
    """Draws lines one below the other: of each its label, colour and values."""
    figure, panels = plt.subplots(
        len(rows), sharex=True, figsize=(7, 0.9 * len(rows)), layout="constrained"
    )
    for axes, (label, colour, values) in zip(panels, rows, strict=True):
        axes.plot(values, color=colour, drawstyle="steps-mid")
        axes.set_ylabel(label, rotation=0, ha="right", va="center")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(y=0.15)
        if values.min() >= 0 and values.max() <= 1:  # A gate.
            axes.set_ylim(-0.15, 1.15)
    axes.set_xlabel("time (step)")
    return figure


def signals(layer):
    """Returns such rows for all signals of a layer of one unit."""
    return [
        (name, colour_of(name), layer[name].values[0, :, 0])
        for name in layer.to_dataset().data_vars
    ]


written = lines([("value", "0.4", x[0, :, VALUE]), *signals(gates["lstm"])])

# %%
# The LSTM, step by step
# ----------------------
#
# Read the picture from above. All of it was captured from Keras's own layer.
#
# **Candidate.** What *could* be written: here tanh of the value. It moves all the time.
#
# **Input gate.** How much of the candidate *is* written. It opens once, at step 10. The
# rest of the noise never gets in.
#
# **Forget gate.** How much of the old cell state is *kept*. In spite of its name, 1
# keeps and 0 forgets. It stays open until step 45.
#
# **Cell state.** What is kept of it, and what is written. After step 10
# nothing is added and all is kept, so it stands still until it is erased.
#
# **Output gate.** How much of the cell state is shown to the next layer, and to the
# gates of the next step. It opens from 30 to 34. That is the **hidden state**: the
# value was there before and after, but nobody saw it.
#
# With ``f``, ``i``, ``g`` and ``o`` for forget, input, candidate and output::
#
#     c[t] = f[t] c[t-1] + i[t] g[t]
#     h[t] = o[t] tanh(c[t])
#
# The cell keeps what was written, but for a trace: a sigmoid is never quite 0 or 1.

cell = gates["lstm/cell"].isel(sample=0, unit=0)
print(f"cell at step 10: {float(cell[10]):.4f}, at step 44: {float(cell[44]):.4f}")

# %%
# ``verify`` computes the states anew from the gates, by the two equations above, and
# returns the largest deviation from what Keras computed. Typically that is below 1e-6:
# rounding. Gates of another step, or under another name, would deviate by far more.

print(keras_gates.verify(gates))

# %%
# Why a sum keeps better than a product
# -------------------------------------
#
# On its way from one step to the next the cell is not squashed, and passes through no
# matrix. It is multiplied by one number, the forget gate, and something is *added*.
# After n steps the share that is left is the product of n forget gates, and so is the
# gradient along this way. The number of steps after which 1/e is left is the **time
# scale** of the path through the cell, ``-1 / mean(ln f)``. The hidden state, which the
# gates and the candidate read at the next step, is another path, and may keep more.
#
# Keras starts the forget gate's bias at 1. With no other weights the gate is
# sigmoid(1):

start = keras.Sequential(
    [
        keras.Input((None, 1)),
        keras.layers.LSTM(
            UNITS,
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            name="lstm",
        ),
    ]
)
gates = keras_gates.capture(start, noise[None])
print(f"forget gate: {float(gates['lstm/forget'].mean()):.4f}")
print(f"time scale:  {float(stats.timescale(gates)['lstm/forget'].mean()):.2f} steps")
print(f"half-life:   {float(stats.half_life(gates)['lstm/forget'].mean()):.2f} steps")

# %%
# Three steps: this is why the dashed line in the first figure falls. A gate of ``f``
# keeps for about ``1 / (1 - f)`` steps, so with a bias of ``ln(T - 1)`` it keeps for T.
# Tallec and Ollivier (2018) draw T at random between 1 and the length of the sequences,
# so that each unit begins with a time scale of its own. We spread it evenly over the
# units instead. (The picture shows time scales, which are half a step less.)

wanted = np.linspace(2, 60, UNITS)
kernel, recurrent, bias = start.layers[0].get_weights()
bias[UNITS : 2 * UNITS] = np.log(wanted - 1)
start.layers[0].set_weights([kernel, recurrent, bias])
gates = keras_gates.capture(start, noise[None])

forget = gates["lstm/forget"].mean(("sample", "time")).values
print("T:         ", wanted[::5].round(1))
print("1 / (1-f): ", (1 / (1 - forget))[::5].round(1))

kept = plots.timescale(gates["lstm"])

# %%
# The GRU: two gates, one state
# -----------------------------
#
# A GRU has no separate cell. Its hidden state is the state, and it is always shown.
# One gate does the work of two::
#
#     h[t] = z[t] h[t-1] + (1 - z[t]) g[t]
#
# The **update gate** ``z`` is the share of the old state that is kept. What is written
# is the rest, 1 - ``z``. In Keras, as in PyTorch, an update of **1 keeps**; many texts
# have it the other way round, so look twice.
#
# By hand again: *write* shuts the update gate. To erase, a GRU must write a zero over
# what is there.

gru = keras.layers.GRU(1, name="gru")
by_hand = keras.Sequential([keras.Input((None, 4)), gru])
UPDATE, RESET, CANDIDATE = range(3)  # The order of the columns in Keras.
kernel, bias = np.zeros((4, 3)), np.zeros((2, 3))
kernel[[WRITE, ERASE], UPDATE], bias[0, UPDATE] = -20, 10
kernel[VALUE, CANDIDATE] = 1
gru.set_weights([kernel, np.zeros((1, 3)), bias])

x[0, 45, VALUE] = 0
gates = keras_gates.capture(by_hand, x)
overwritten = lines([("value", "0.4", x[0, :, VALUE]), *signals(gates["gru"])])

# %%
# The hidden state is written at step 10 and shown from then on, whether we ask for it
# at step 30 or not: there is no output gate.
#
# The **reset gate** says how much of the old state the *candidate* sees. What is kept
# does not depend on it. Let the candidate look at the old state, too, and compare, ten
# steps after the writing, a reset gate that is shut with one that is open:

recurrent = np.zeros((1, 3))
recurrent[0, CANDIDATE] = 1
for push in (-10, 10):
    bias[0, RESET] = push
    gru.set_weights([kernel, recurrent, bias])
    now = keras_gates.capture(by_hand, x)["gru"].to_dataset().isel(time=20).squeeze()
    names = ("reset", "candidate", "hidden")
    print(", ".join(f"{name} {float(now[name]):.2f}" for name in names))

# %%
# On a real series
# ----------------
#
# Now a noisy sum of two sine waves, and two networks that are to forecast its next
# point. First nothing is trained, and both simply read.

series = tasks.sine_waves(3000)
windows, targets = tasks.sliding_windows(series, sequence_length=50)
(windows, targets), _ = tasks.chronological_split(windows, targets, gap=51)
stretch = series[None, 2500:2900, None]


def forecaster(layer):
    model = keras.Sequential([keras.Input((None, 1)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.005), "mse")
    return model


keras.utils.set_random_seed(0)
lstm_model = forecaster(keras.layers.LSTM(UNITS, name="lstm"))
gru_model = forecaster(keras.layers.GRU(UNITS, name="gru"))

untrained_lstm = keras_gates.capture(lstm_model, stretch)["lstm"]
untrained_gru = keras_gates.capture(gru_model, stretch)["gru"]
before = plots.compare_layers(untrained_lstm, untrained_gru)

# %%
# Beside the forget gate stands the update gate: both are the share of the old state
# that is kept. Beside the input gate stands 1 - update: the share of the candidate that
# is written. The output gate and the reset gate have no counterpart, nor has the cell.
#
# Before training the gates sway a little around the value that they start from, 0.73 in
# the forget gate and a half elsewhere, and every unit does much the same. Candidate and
# states follow the slow wave all the same: a random network is an echo already.

for model in (lstm_model, gru_model):
    history = model.fit(windows, targets, epochs=8, batch_size=64, verbose=0).history
    print(model.layers[0].name, "error:", round(history["loss"][-1], 4))

lstm = keras_gates.capture(lstm_model, stretch)["lstm"]
gru = keras_gates.capture(gru_model, stretch)["gru"]
after = plots.compare_layers(lstm, gru)

# %%
# After training (the noise alone has an error of 0.01) the GRU's units have parted:
# some update gates keep nearly all, some little, and some follow the wave. The LSTM's
# forget gates stay near their start: it can do this task without moving them. How far
# they went:

for name, trained, untrained in (
    ("forget", lstm, untrained_lstm),
    ("update", gru, untrained_gru),
):
    moved = abs(trained[name] - untrained[name]).mean()
    print(f"{name}: moved by {float(moved):.3f} on average")

# %%
# Forget beside update
# --------------------
#
# Do the two networks keep alike? ``correspondence`` compares the distributions: 0 would
# mean that the two gates take the same values equally often.

between = stats.match_units(lstm, gru)
print(between["distance"].to_series().round(3).to_string())

# %%
# An LSTM sets what it keeps and what it writes one by one. In a GRU the two add up to
# 1, always. How close does the LSTM come to that rule by itself? At a correlation of 1
# of ``input`` and 1 - ``forget``, a unit writes exactly when it erases.

correlation = stats.gate_correlation(lstm)["gate_correlation"]
print("smallest, median, largest:", np.quantile(correlation, [0, 0.5, 1]).round(2))

# %%
# Some units come close, and some do the opposite. The figures are far from 0 because
# all gates follow the one slow wave.
#
# What training changes
# ---------------------
#
# Where a task asks for decisions, the gates move. This LSTM learns to tell handwritten
# digits, which it reads row by row, while a recorder looks on, which
# changes nothing in the model.

images, digits = tasks.digits_by_row()
reader = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.LSTM(32, name="lstm"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
reader.compile(
    keras.optimizers.Adam(0.01),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
recorder = keras_gates.GateRecorder(probe=images[-64:], samples_per_batch="all")
history = reader.fit(
    images[:1500],
    digits[:1500],
    validation_data=(images[1500:], digits[1500:]),
    epochs=15,
    verbose=0,
    callbacks=[recorder],
).history
print(f"right on new images: {100 * history['val_accuracy'][-1]:.0f} %")

evolved = plots.evolution(recorder.traces["lstm/forget"])

# %%
# The line is the median of the forget gate, on the same 64 images before training and
# after each epoch. The bands hold the middle half and nine tenths of all values: they
# widen, as gates begin to differ from step to step and from unit to unit.
#
# The same as a distribution, and as it was in the training batches themselves:

ridges = plots.ridges(recorder.statistics["lstm"], gate="forget")

# %%
# What saturation says
# --------------------
#
# Karpathy, Johnson and Li (2015) ask how often a gate is *saturated*: shut, below 0.1,
# or open, above 0.9. Each unit becomes a dot: to the right, if it is shut most of the
# time, upwards, if it is open most of the time. A unit in the upper left corner of the
# forget gate carries its state along nearly untouched. One on the diagonal line is
# always at an end, like a switch. One at the origin always blends.

gates = keras_gates.capture(reader, images[1500:])
switches = plots.saturation(gates["lstm"])

# %%
# In numbers, the share of all steps and units:

shares = stats.saturation(gates["lstm"].to_dataset()).mean("unit")
print(shares.to_dataframe().round(2).to_string())

# %%
# Gates far from both ends are no fault. A gate in the middle keeps a share, and that
# is all that a slow wave asked for.
#
# An LSTM counts, a GRU cannot
# ----------------------------
#
# The cell is a sum, and a sum can count. Set by hand, the gates stay open and the
# candidate is +1 for each *a* and -1 for each *b*. After as many *b* as *a* the cell is
# back at zero. A GRU's state is a weighted mean of what it was and a candidate between
# -1 and 1. So it can never leave that range, and counts by ever smaller steps. Weiss,
# Goldberg and Yahav (2018) show that this is a difference in kind.

COUNT = 30
letters = np.array([1.0] * COUNT + [-1.0] * 2 * COUNT, "float32")[None, :, None]

lstm = keras.layers.LSTM(1, name="lstm")
gru = keras.layers.GRU(1, name="gru")
counting = keras.Model(
    read := keras.Input((None, 1)), {"lstm": lstm(read), "gru": gru(read)}
)
always_open = np.array([20.0, 20, 0, 20])
lstm.set_weights([np.array([[0, 0, 10.0, 0]]), np.zeros((1, 4)), always_open])
keep = np.array([[np.log(0.95 / 0.05), 0, 0], [0, 0, 0]])  # An update gate of 0.95.
gru.set_weights([np.array([[0, 0, 10.0]]), np.zeros((1, 3)), keep])
gates = keras_gates.capture(counting, letters)
cell = gates["lstm/cell"].values[0, :, 0]
hidden = gates["gru/hidden"].values[0, :, 0]

counted, panels = plt.subplots(2, sharex=True, figsize=(7, 3.6), layout="constrained")
kinds = (("LSTM: cell", cell, "#0072B2"), ("GRU: hidden", hidden, "#D55E00"))
for axes, (name, values, colour) in zip(panels, kinds, strict=True):
    axes.plot(np.arange(1, len(values) + 1), values, color=colour)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.axvline(2 * COUNT, color="0.7", linewidth=0.8, linestyle="--")
    axes.set_ylabel(name)
    axes.spines[["top", "right"]].set_visible(False)
panels[1].set_xlabel(f"letters read: {COUNT} a, then b; dashed: as many b as a")

for name, values in (("LSTM", cell), ("GRU", hidden)):
    back = COUNT + np.argmax(values[COUNT:] <= 1e-6) + 1
    print(f"{name}: at most {values.max():.2f}, back at zero after {back} letters")

# %%
# The LSTM is back at zero exactly where it should be, and its cell has stood at the
# number itself. The GRU, whose last steps up were tiny, comes back far too early.
#
# Where to go from here
# ---------------------
#
# - What gates do, by experiment: :doc:`/understand/what_gates_do`.
# - Your own model: :doc:`/first_steps`.
# - What a symptom means: :doc:`/howto/diagnosis`.
# - Every definition: :doc:`/conventions`.
#
# References
# ----------
#
# - Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for
#   statistical machine translation, arXiv:1406.1078: the GRU.
# - Hochreiter and Schmidhuber (1997), Long short-term memory, Neural Computation 9(8);
#   with the forget gate of Gers, Schmidhuber and Cummins (2000), Learning to forget,
#   Neural Computation 12(10).
# - Karpathy, Johnson and Li (2015), Visualizing and understanding recurrent networks,
#   arXiv:1506.02078.
# - Tallec and Ollivier (2018), Can recurrent neural networks warp time?,
#   arXiv:1804.11188.
# - Weiss, Goldberg and Yahav (2018), On the practical computational power of finite
#   precision RNNs for language recognition, arXiv:1805.04908.
