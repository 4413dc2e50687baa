"""
Gates explained
===============

A recurrent network reads a sequence one time step after the other and carries a state
along. At every time step and for every unit, its gates decide how much of that state is
kept, how much is written and how much is shown. This page explains gates step by step,
starting from a network without any. All figures and values were computed by the code on
this page. Code that only draws a figure is left out here; it is in the Python file at
the end of the page.

:doc:`The second part </understand/gates_in_training>` is about gates that are learned.
"""

# %%
# A gradient that vanishes
# ------------------------
#
# A basic recurrent layer computes its state by one rule::
#
#     h[t] = tanh(x[t] W + h[t-1] U + b)
#
# ``x[t]`` is the input at time step ``t``, a vector of features, and ``h[t]`` is the
# state, a vector with one value for each unit. The layer learns three arrays: the
# *kernel* ``W`` weighs the input, the *recurrent kernel* ``U`` weighs the state of the
# time step before, and ``b`` is the *bias*. In Keras they are ``layer.get_weights()``.
#
# So at every time step the whole state passes through a matrix and a squashing
# function, and an early input passes through them many times.
#
# How much of the early input is left can be measured. We change the input of a single
# time step slightly, and measure how far the *last* output moves: the size of the
# gradient of the last output with respect to that input. Training uses this gradient.
# If it is zero, nothing is learned about that time step.

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_gates
from keras_gates import plots, stats

STEPS, UNITS, PUSH = 60, 16, 0.1
keras.utils.set_random_seed(0)
noise = np.random.default_rng(0).normal(size=(STEPS, 1)).astype("float32")


def influence(layer, x):
    """Returns how far a push at each time step moves the last output."""
    model = keras.Sequential([keras.Input(x.shape), layer])
    pushed = x + PUSH * np.eye(len(x))[:, :, None]  # sample t is pushed at time step t
    outputs = model(np.concatenate([pushed, x[None]]).astype("float32"))
    outputs = keras.ops.convert_to_numpy(outputs)
    return np.linalg.norm(outputs[:-1] - outputs[-1], axis=-1) / PUSH


def long_memory(shape, dtype=None):
    """Returns an LSTM's bias: each unit keeps for 100 time steps, and writes little."""
    bias = np.zeros((4, UNITS))  # input, forget, candidate, output
    bias[0], bias[1] = -np.log(100 - 1), np.log(100 - 1)
    return keras.ops.convert_to_tensor(bias.reshape(shape), dtype)


layers = {
    "basic RNN": keras.layers.SimpleRNN(UNITS),
    "GRU, Keras's initial weights": keras.layers.GRU(UNITS),
    "LSTM, Keras's initial weights": keras.layers.LSTM(UNITS),
    "LSTM, a bias that keeps": keras.layers.LSTM(
        UNITS, bias_initializer=long_memory, unit_forget_bias=False
    ),
}
influences = {name: influence(layer, noise) for name, layer in layers.items()}
for name, values in influences.items():
    print(f"{name:30} 40 time steps back: {values[-41]:.1e}")

# sphinx_gallery_start_ignore
vanishing, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
styles = [("0.4", "-"), ("#D55E00", "-"), ("#0072B2", "--"), ("#0072B2", "-")]
for (name, values), (colour, line) in zip(influences.items(), styles, strict=True):
    back = np.arange(len(values))[::-1]
    axes.semilogy(back, np.maximum(values, 1e-6), line, color=colour, label=name)
axes.set(
    xlabel="time steps from the changed input to the end",
    ylabel="change of the last output",
    ylim=(1e-6, 3),
)
axes.spines[["top", "right"]].set_visible(False)
vanishing.legend(fontsize="small", loc="outside upper center", ncols=2, frameon=False)
vanishing.set_label(
    "How far the last output of four untrained layers moves when one input is changed. "
    "Values below 1e-6 are drawn at 1e-6."
)
# sphinx_gallery_end_ignore

# %%
# In the basic RNN, a change 40 time steps back moves the end about a thousand times
# less than a change at the end. Two results may be surprising:
#
# - The line of an LSTM and of a GRU with Keras's initial weights falls too, and that of
#   the GRU fastest of all. (Below a millionth, where the line ends, the differences are
#   rounding.)
# - The line of the same LSTM with another *bias* is flat.
#
# So gates alone are not a memory. The path through the cell keeps a value for a certain
# time, and gates make this time a number that can be set, and therefore learned. The
# rest of the page shows how. (A gradient shows whether *learning* reaches back, and is
# not a measure of memory: :doc:`/understand/what_gates_do` has a network that remembers
# forever while its gradient vanishes.)
#
# What a gate is
# --------------
#
# A gate is a value between 0 and 1 that scales another value: at 0 (closed) nothing
# passes, at 1 (open) everything does. At each time step it is computed from the input
# and the old state, with separate weights, by a sigmoid ``σ``, which is smooth, so that
# the gate can be trained::
#
#     gate[t] = σ(x[t] W + h[t-1] U + b)
#
# .. figure:: /images/lstm-cell.png
#    :alt: An LSTM cell. The forget gate multiplies the cell state. The input gate
#       multiplies the candidate, which is added to it. The output gate multiplies tanh
#       of the cell state, which gives the hidden state.
#
#    The cell of an LSTM at one time step. × and + act on each unit. The three gates and
#    the candidate each have their own ``W``, ``U`` and ``b``.
#
# The candidate is the value that may be written. It is computed like a gate, with tanh
# instead of the sigmoid, so it is between -1 and 1.
#
# To see what the gates do, we build an LSTM with one unit and set its weights manually.
# In addition to a *value*, the input has three marks, *write*, *erase* and *show*. Each
# opens or closes one gate.

VALUE, WRITE, ERASE, SHOW = range(4)
INPUT, FORGET, CANDIDATE, OUTPUT = range(4)  # The order of the columns in Keras.

lstm = keras.layers.LSTM(1, name="lstm")
model = keras.Sequential([keras.Input((None, 4)), lstm])
W, U, b = np.zeros((4, 4)), np.zeros((1, 4)), np.zeros(4)
W[WRITE, INPUT], b[INPUT] = 20, -10  # Closed unless there is a mark.
W[ERASE, FORGET], b[FORGET] = -20, 10  # Open unless there is a mark.
W[SHOW, OUTPUT], b[OUTPUT] = 20, -10  # Closed unless there is a mark.
W[VALUE, CANDIDATE] = 1
lstm.set_weights([W, U, b])

# %%
# The value is noise. The mark at time step 10 asks the LSTM to write it, the marks at
# 30 to 34 to show what it holds, and the mark at 45 to erase it.

x = np.zeros((1, 60, 4), "float32")
x[0, :, VALUE] = noise[:, 0]
x[0, 10, [VALUE, WRITE]] = 1
x[0, 30:35, SHOW] = 1
x[0, 45, ERASE] = 1

gates = keras_gates.capture(model, x)

# sphinx_gallery_start_ignore
COLOURS = {
    "input": "#E69F00",
    "forget": "#0072B2",
    "update": "#0072B2",
    "reset": "#CC79A7",
    "candidate": "#009E73",
    "output": "#D55E00",
    "cell": "#999999",
    "hidden": "#000000",
}


def lines(value, layer, caption):
    """Draws the input value, and below it each signal of a layer with one unit."""
    signals = {name: values[0, :, 0] for name, values in layer.data_vars.items()}
    rows = {"value": value} | {name: line.values for name, line in signals.items()}
    figure, panels = plt.subplots(
        len(rows), sharex=True, figsize=(7, 0.9 * len(rows)), layout="constrained"
    )
    for axes, (name, values) in zip(panels, rows.items(), strict=True):
        axes.plot(values, color=COLOURS.get(name, "0.4"), drawstyle="steps-mid")
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(y=0.15)
        if values.min() >= 0 and values.max() <= 1:  # A gate.
            axes.set_ylim(-0.15, 1.15)
    axes.set_xlabel("time step")
    figure.set_label(caption)
    return figure


written = lines(
    x[0, :, VALUE],
    gates["lstm"],
    "The input value of the LSTM, and its six signals, captured from Keras's layer.",
)
# sphinx_gallery_end_ignore

# %%
# The LSTM, signal by signal
# --------------------------
#
# The figure shows, from top to bottom:
#
# **Input gate.** How much of the candidate *is* written. It opens once, at time step
# 10. The rest of the noise is not written.
#
# **Forget gate.** How much of the old cell state is *kept*. In spite of its name, 1
# keeps and 0 forgets. It stays open until time step 45.
#
# **Candidate.** What *could* be written: here tanh of the value. It changes all the
# time.
#
# **Output gate.** How much of the cell state is shown to the next layer, and to the
# gates of the next time step. It opens from 30 to 34.
#
# **Cell state.** The part of it that is kept, plus what is written. After time step 10
# nothing is added and all is kept, so it stays constant until it is erased.
#
# **Hidden state.** What is shown. The value was in the cell before and after, but it is
# visible only while the output gate is open.
#
# With ``f``, ``i``, ``g`` and ``o`` for forget, input, candidate and output::
#
#     c[t] = f[t] c[t-1] + i[t] g[t]
#     h[t] = o[t] tanh(c[t])
#
# The cell keeps what was written, except for a trace: a sigmoid is never exactly 0 or
# 1.

cell = gates["lstm/cell"].isel(sample=0, unit=0)
print(f"cell at time step 10: {float(cell[10]):.4f}, at 44: {float(cell[44]):.4f}")

# %%
# ``verify`` computes the states again from the gates, by the two equations above, and
# returns the largest deviation from what Keras computed. Typically it is below 1e-6,
# which is rounding. Gates of another time step would deviate by far more.

print(keras_gates.verify(gates))

# %%
# Why a sum keeps better than a product
# -------------------------------------
#
# From one time step to the next, the cell state is not squashed and passes through no
# matrix. It is multiplied by one number, the forget gate, and something is *added*.
# After n time steps the fraction that is left is the product of n forget gates, and so
# is the gradient along this path. The number of time steps after which 1/e is left is
# the **time scale** of the path through the cell, ``-1 / mean(ln f)``. The hidden
# state, which the gates and the candidate read at the next time step, is another path,
# and may keep more.
#
# Keras initialises the bias of the forget gate to 1. If all other weights are 0, the
# gate is sigmoid(1):

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
scale = float(stats.timescale(gates)["lstm/forget"].mean())
half_life = float(stats.half_life(gates)["lstm/forget"].mean())
print(f"forget gate: {float(gates['lstm/forget'].mean()):.4f}")
print(f"time scale:  {scale:.2f} time steps")
print(f"half-life:   {half_life:.2f} time steps")

# %%
# The time scale is three time steps: this is why the dashed line in the first figure
# falls. A gate of ``f`` keeps for about ``1 / (1 - f)`` time steps, so with a bias of
# ``ln(T - 1)`` it keeps for ``T``. Tallec and Ollivier (2018) draw ``T`` at random
# between 1 and the length of the sequences, so that each unit starts with a time scale
# of its own. Here it is spread evenly over the units instead.

wanted = np.linspace(2, 60, UNITS)
kernel, recurrent, bias = start.layers[0].get_weights()
bias[UNITS : 2 * UNITS] = np.log(wanted - 1)
start.layers[0].set_weights([kernel, recurrent, bias])
gates = keras_gates.capture(start, noise[None])

forget = gates["lstm/forget"].mean(("sample", "time")).values
print("T:         ", wanted[::5].round(1))
print("1 / (1-f): ", (1 / (1 - forget))[::5].round(1))

kept = plots.timescale(gates["lstm"])
# sphinx_gallery_start_ignore
kept.figure.set_label(
    "The time scale of each unit with these biases. It is about half a time step "
    "shorter than 1 / (1 - f)."
)
# sphinx_gallery_end_ignore

# %%
# The GRU: two gates, one state
# -----------------------------
#
# A GRU has no separate cell state. Its hidden state is its only state, and is always
# shown. One gate does the work of two::
#
#     h[t] = z[t] h[t-1] + (1 - z[t]) g[t]
#
# .. figure:: /images/gru-cell.png
#    :alt: A GRU cell. An update gate z multiplies the hidden state, 1 - z multiplies
#       the candidate, and a reset gate acts on the input of the candidate from the
#       hidden state.
#
#    The cell of a GRU at one time step.
#
# The **update gate** ``z`` is the fraction of the old state that is kept. The rest, 1 -
# ``z``, is the fraction of the candidate that is written. In Keras, as in PyTorch, an
# update of **1 keeps**; many texts define it the other way round.
#
# We set the weights manually again: *write* closes the update gate. To erase, a GRU
# must write a zero over its state.

gru = keras.layers.GRU(1, name="gru")
model = keras.Sequential([keras.Input((None, 4)), gru])
UPDATE, RESET, CANDIDATE = range(3)  # The order of the columns in Keras.
W, U, b = np.zeros((4, 3)), np.zeros((1, 3)), np.zeros((2, 3))
W[[WRITE, ERASE], UPDATE], b[0, UPDATE] = -20, 10
W[VALUE, CANDIDATE] = 1
gru.set_weights([W, U, b])

x[0, 45, VALUE] = 0
gates = keras_gates.capture(model, x)
# sphinx_gallery_start_ignore
overwritten = lines(
    x[0, :, VALUE],
    gates["gru"],
    "The input value of the GRU, and its four signals.",
)
# sphinx_gallery_end_ignore

# %%
# The hidden state is written at time step 10 and shown from then on, with or without
# the mark at time step 30: there is no output gate.
#
# The **reset gate** controls how much of the old state the *candidate* reads. The
# fraction that is kept does not depend on it. We let the candidate read the old state,
# and compare a closed reset gate with an open one, ten time steps after the writing:

U[0, CANDIDATE] = 1
for reset_bias in (-10, 10):
    b[0, RESET] = reset_bias
    gru.set_weights([W, U, b])
    step = keras_gates.capture(model, x)["gru"].to_dataset().isel(time=20).squeeze()
    names = ("reset", "candidate", "hidden")
    print(", ".join(f"{name} {float(step[name]):.2f}" for name in names))

# %%
# An LSTM can count, a GRU cannot
# -------------------------------
#
# The cell state is a sum, and a sum can count. With weights that we set manually, the
# gates stay open and the candidate is +1 for each *a* and -1 for each *b*. After the
# same number of *a* and *b* the cell state is back at zero.
#
# The state of a GRU is a weighted mean of the old state and a candidate between -1 and
# 1. So it never leaves that range, and each further *a* changes it by less. Weiss,
# Goldberg and Yahav (2018) show that this is a difference in kind; the GRU below, with
# one fixed update gate of 0.95, only illustrates it.

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

for name, values in (("LSTM", cell), ("GRU", hidden)):
    back = COUNT + np.argmax(values[COUNT:] <= 1e-6) + 1
    print(f"{name}: at most {values.max():.2f}, back at zero after {back} letters")

# sphinx_gallery_start_ignore
counted, panels = plt.subplots(2, sharex=True, figsize=(7, 3.6), layout="constrained")
kinds = (("LSTM: cell", cell, "#0072B2"), ("GRU: hidden", hidden, "#D55E00"))
for axes, (name, values, colour) in zip(panels, kinds, strict=True):
    axes.plot(np.arange(1, len(values) + 1), values, color=colour)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.axvline(2 * COUNT, color="0.7", linewidth=0.8, linestyle="--")
    axes.set_ylabel(name)
    axes.spines[["top", "right"]].set_visible(False)
panels[1].set_xlabel("letters read")
counted.set_label(
    f"{COUNT} letters a, then letters b. At the dashed line, their numbers are equal."
)
# sphinx_gallery_end_ignore

# %%
# The cell state of the LSTM is the count itself, and returns to zero at exactly the
# right time step. The GRU, whose last upward steps were tiny, returns to zero far too
# early.
#
# Next steps
# ----------
#
# - Gates in trained networks: :doc:`/understand/gates_in_training`.
# - What gates do, by experiment: :doc:`/understand/what_gates_do`.
# - Your own model: :doc:`/first_steps`.
# - All equations: :doc:`/data_model`.
#
# References
# ----------
#
# - Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for
#   statistical machine translation, arXiv:1406.1078: the GRU.
# - Hochreiter and Schmidhuber (1997), Long short-term memory, Neural Computation 9(8);
#   with the forget gate of Gers, Schmidhuber and Cummins (2000), Learning to forget,
#   Neural Computation 12(10).
# - Tallec and Ollivier (2018), Can recurrent neural networks warp time?,
#   arXiv:1804.11188.
# - Weiss, Goldberg and Yahav (2018), On the practical computational power of finite
#   precision RNNs for language recognition, arXiv:1805.04908.
