"""
What gates do
=============

A capture shows the values of gates: between 0 and 1, at every time step, for every
unit. It does not show what they *do*. A unit that rises with every letter may not be
the one that counts, and a gate that keeps little does not mean that the layer forgets.
To find out what a gate does, change it and observe the effect.

This page changes gates, follows gradients, and measures memory. All values and figures
were computed by the code on this page. Code that only draws a figure is left out here;
it is in the Python file at the end of the page.

"""

# %%
# .. list-table:: Four questions, and the functions that answer them
#    :header-rows: 1
#    :widths: 38 62
#
#    * - question
#      - function
#    * - How long does the path through the cell keep a value?
#      - ``stats.timescale``, ``stats.half_life`` and ``stats.memory_horizon``, from the
#        gates. They do not include the path through the recurrent weights.
#    * - Does *learning* reach back to a time step?
#      - ``keras_gates.gradients`` and ``stats.gradient_flow``.
#    * - How long does the layer *remember*?
#      - ``keras_gates.reach``, which swaps states between samples. Only this measures
#        memory.
#    * - What is a gate, or a unit, used for?
#      - ``keras_gates.edit``, which changes it while the model runs;
#        ``keras_gates.importance`` does so for each unit in turn.
#
# A latch
# -------
#
# An LSTM with one unit is enough to show that the first three questions differ. Its
# input and output gates are open, its forget gate is 0.5 at every time step, and its
# candidate is ``tanh(10 x + 10 h)``.

import keras
import numpy as np

# sphinx_gallery_start_ignore
from matplotlib.figure import Figure

# sphinx_gallery_end_ignore
import keras_gates
from keras_gates import edits, plots, stats, tasks

STEPS = 30
lstm = keras.layers.LSTM(1, name="lstm")
latch = keras.Sequential([keras.Input((STEPS, 1)), lstm])
lstm.set_weights(
    [
        np.array([[0.0, 0.0, 10.0, 0.0]]),  # kernel: input, forget, candidate, output
        np.array([[0.0, 0.0, 10.0, 0.0]]),  # recurrent kernel
        np.array([10.0, 0.0, 0.0, 10.0]),  # bias
    ]
)

# %%
# The first input is 1 or -1, and all others are 0.

signs = np.random.default_rng(0).choice([-1.0, 1.0], 40)
x = np.zeros((len(signs), STEPS, 1), "float32")
x[:, 0, 0] = signs

gates = keras_gates.capture(latch, x)
found = keras_gates.gradients(latch, x, of=lambda outputs: outputs[:, 0])
memory = keras_gates.reach(latch, x, time=[0])

print(f"time scale: {float(stats.timescale(gates)['lstm/forget'][0]):.2f} steps")
print(f"reach:      {float(memory['lstm/reach'][0])} steps")
print("the sign at the end is that of the first input:", end=" ")
right = np.sign(latch.predict(x, verbose=0)[:, 0]) == signs
print(f"{right.mean():.0%} of the samples")

# %%
# According to the forget gate, 1/e of the cell state is left after 1.44 time steps. For
# the path through the cell, this is correct. Nevertheless, the layer keeps the sign
# forever: through the hidden state, the candidate writes it again at each time step.
# The gradient does not show this either. The figure compares how much of the first time
# step is left according to each of the three measures:

kept = gates["lstm/forget"].isel(sample=0, unit=0).values
flow = stats.gradient_flow(found, signal="cell")["lstm/gradient_flow"]
retention = memory["lstm/retention"].isel(time=0)


# sphinx_gallery_start_ignore
def new_axes(**options):
    """Returns Axes on a new figure as wide as the text."""
    axes = Figure(figsize=(7, 3.2), layout="constrained").subplots(**options)
    for panel in np.ravel(axes):
        panel.spines[["top", "right"]].set_visible(False)
    return axes


left = new_axes()
left.semilogy(retention, color="black", label="measured: retention of the state")
left.semilogy(
    np.cumprod([1, *kept[1:]]), color="#0072B2", label="product of the forget gates"
)
left.semilogy(
    flow / flow[0], "o", color="#D55E00", markersize=4, label="gradient of the output"
)
left.set(xlabel="time steps", ylabel="fraction that is left")
left.legend(fontsize="small")
left.figure.set_label("Three measures of how long the latch keeps its first input.")
# sphinx_gallery_end_ignore

# %%
# The gradient and the product of the forget gates fall by a factor of 0.5 at each time
# step; the memory does not fall. A unit that holds a value by saturation is
# *insensitive* to small changes, and so its gradient vanishes (Bengio, Simard and
# Frasconi, 1994). A gradient shows whether learning reaches back. Measuring memory
# takes an experiment: ``reach`` replaces the whole state of a sample by that of another
# sample, and measures for how long the difference lasts.
#
# Clamp a gate
# ------------
#
# If the forget gate is not the memory of the latch, closing it should do no harm.
# ``edits.clamp`` sets a signal to a value, right after it is computed and before it is
# used:

changes = {
    "forget gate clamped to 1": {"lstm/forget": edits.clamp(1.0)},
    "forget gate clamped to 0": {"lstm/forget": edits.clamp(0.0)},
    "candidate 0 at steps 10 to 19": {
        "lstm/candidate": edits.clamp(0.0, time=slice(10, 20))
    },
    "both states 0 at step 10": {
        f"lstm/{state}": edits.clamp(0.0, time=10) for state in ("cell", "hidden")
    },
}
hidden = {"as it is": gates["lstm/hidden"].values[..., 0]}
for name, change in changes.items():
    with keras_gates.edit(latch, change):
        hidden[name] = keras_gates.capture(latch, x)["lstm/hidden"].values[..., 0]
for name, values in hidden.items():
    right = np.sign(values[:, -1]) == signs
    print(f"{name:30} {right.mean():4.0%} of the signs are right at the end")

# sphinx_gallery_start_ignore
sample = int(np.argmax(signs))  # A sample that begins with 1.
held = new_axes()
styles = ["black", "#56B4E9", "#0072B2", "#E69F00", "#D55E00"]
for (name, values), colour in zip(hidden.items(), styles, strict=True):
    held.plot(values[sample], color=colour, label=name)
held.set(xlabel="time step", ylabel="hidden state", ylim=(-0.05, 1.05))
held.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
held.figure.set_label(
    "The hidden state of the latch, for one sample that begins with 1."
)
# sphinx_gallery_end_ignore

# %%
# With the forget gate at 0 throughout, nothing passes through the cell from one time
# step to the next, and every sign is still right. So the memory of this layer is not in
# its forget gate. Without candidates, the hidden state falls at the rate of the forget
# gate, but a remainder is left, from which the latch recovers. Only setting the states
# to 0 erases it.
#
# The vanishing gradient of three networks
# ----------------------------------------
#
# The adding problem asks for the sum of two marked numbers among forty, so a network
# must learn from time steps that are far back. How large is the gradient there?
# ``gradient_flow`` is the norm, over units, of the derivative of the output with
# respect to the hidden state, by time steps before the end.

numbers, sums = tasks.adding(1500, sequence_length=40)
layers = {
    "SimpleRNN": keras.layers.SimpleRNN,
    "LSTM": keras.layers.LSTM,
    "GRU": keras.layers.GRU,
}


def flow_of(model):
    """Returns the gradient flow of the output, over 100 sequences."""
    found = keras_gates.gradients(
        model, numbers[:100], of=lambda outputs: outputs[:, 0]
    )
    return stats.gradient_flow(found)["rnn"]


before, after, errors = {}, {}, {}
for name, layer in layers.items():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((40, 2)), layer(16, name="rnn"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before[name] = flow_of(model)
    model.fit(numbers, sums, epochs=20, batch_size=50, verbose=0)
    after[name] = flow_of(model)
    errors[name] = model.evaluate(numbers, sums, verbose=0)

# sphinx_gallery_start_ignore
untrained, trained = new_axes(ncols=2, sharey=True)
plots.gradient_flow(before, ax=untrained).set_title(
    "before training", fontsize="medium"
)
plots.gradient_flow(after, ax=trained).set_title("after training", fontsize="medium")
untrained.set_ylabel("gradient of the output with\nrespect to the hidden state")
trained.set_ylabel("")
trained.get_legend().remove()
trained.figure.set_label("Gradient flow of three networks, before and after training.")
# sphinx_gallery_end_ignore
for name in layers:
    first, last = (
        float(flows[name]["gradient_flow"][-1] / flows[name]["gradient_flow"][0])
        for flows in (before, after)
    )
    print(
        f"{name:9} first step over last step: {first:.0e} before, {last:.0e} after "
        f"training; error {errors[name]:.3f}"
    )

# %%
# Before training, each of the three gradients falls by about the same factor at each
# time step, and those of the two networks with gates fall fastest: Keras starts the
# forget gate at 0.73, and the update gate at 0.5. After training, the gradient of the
# LSTM and of the GRU hardly falls. So gates do not carry a gradient by themselves, but
# training can *open* them to let it pass. If a SimpleRNN has not learned the task, its
# gradient still vanishes. With another seed, it may learn the task, and then its line
# is flat as well. :doc:`/gallery/vanishing_gradient` examines whether the forget gate
# carries the gradient.
#
# A forecast without its gates
# ----------------------------
#
# An LSTM learns to forecast the next point of a noisy sum of two sine waves, from the
# 50 points before it.

series = tasks.sine_waves(4000)
windows, targets = tasks.sliding_windows(series, sequence_length=50)
train, test = tasks.chronological_split(windows, targets, gap=51)

keras.utils.set_random_seed(0)
forecaster = keras.Sequential(
    [keras.Input((50, 1)), keras.layers.LSTM(32, name="lstm"), keras.layers.Dense(1)]
)
forecaster.compile(keras.optimizers.Adam(0.005), "mse")
forecaster.fit(*train, epochs=6, batch_size=64, verbose=0)

# %%
# Then its forget gate is clamped: to 1, so that the cell adds up everything that it
# reads; to 0, so that nothing passes along the cell; and to the mean of each unit, so
# that it keeps the same fraction on average but no longer changes.

gates = keras_gates.capture(forecaster, test[0])
mean = gates["lstm/forget"].mean(("sample", "time"))
changes = {
    "forget clamped to 1": {"lstm/forget": edits.clamp(1.0)},
    "forget clamped to 0": {"lstm/forget": edits.clamp(0.0)},
    "forget clamped to its mean": {"lstm/forget": edits.clamp(mean)},
}
forecasts = {"as trained": forecaster.predict(test[0], verbose=0)[:, 0]}
for name, change in changes.items():
    with keras_gates.edit(forecaster, change):
        forecasts[name] = forecaster.predict(test[0], verbose=0)[:, 0]
for name, values in forecasts.items():
    error = np.mean((values - test[1][:, 0]) ** 2)
    print(f"{name:27} error {error:.3f}")
print(f"{'repeating the last point':27} error ", end="")
print(f"{np.mean((test[0][:, -1] - test[1]) ** 2):.3f}")

# sphinx_gallery_start_ignore
clamped = new_axes()
clamped.plot(test[1][:, 0], color="0.8", label="truth")
styles = [("black", "-"), ("#56B4E9", "-"), ("#0072B2", "-"), ("#D55E00", "--")]
for (name, values), (colour, line) in zip(forecasts.items(), styles, strict=True):
    clamped.plot(values, line, color=colour, label=name)
clamped.set(xlabel="test window", ylabel="forecast")
clamped.legend(
    fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
)
clamped.figure.set_label("Forecasts with the forget gate as trained, and clamped.")
# sphinx_gallery_end_ignore

# %%
# A forget gate of 0 or 1 throughout spoils the forecast. The mean of each unit does
# little harm in comparison: in this network, the *mean* of the gate matters most, and
# its changes matter less.
#
# A counter, steered
# ------------------
#
# An LSTM with six units learns words of a's and the same number of b's. Does it count
# in its cell? If so, adding the increment of one ``a`` to the cell must make it expect
# one more ``b``.

BOUNDARY, A, B = range(3)
words, following = tasks.anbn(128, largest=12)
keras.utils.set_random_seed(0)
counter = keras.Sequential(
    [
        keras.Input((None, 3)),
        keras.layers.Masking(),
        keras.layers.LSTM(6, return_sequences=True, name="lstm"),
        keras.layers.Dense(3, activation="softmax"),
    ]
)
counter.compile(keras.optimizers.Adam(0.03), "categorical_crossentropy")
counter.fit(words, following, epochs=60, batch_size=16, verbose=0)
counter.optimizer.learning_rate.assign(0.006)
counter.fit(words, following, epochs=40, batch_size=16, verbose=0)

# %%
# The word has eight a's. The increment of one ``a`` is the mean over the later ones. It
# is added k times, at the time step of the last ``a``.

LETTERS = 8
codes = [BOUNDARY, *[A] * LETTERS, *[B] * 2 * LETTERS]
word = np.eye(3, dtype="float32")[codes][None]
cell = keras_gates.capture(counter, word)["lstm/cell"].values[0]
increment = (cell[LETTERS] - cell[2]) / (LETTERS - 2)

expected = {}
for k in (-4, -2, 0, 2, 4):
    steer = edits.add(k * increment, time=LETTERS)
    with keras_gates.edit(counter, {"lstm/cell": steer}):
        read = counter.predict(word, verbose=0)[0, LETTERS + 1 :]
    expected[k] = read[:, BOUNDARY]
    end = int(np.argmax(read.argmax(-1) == BOUNDARY)) + 1
    print(f"k = {k:+d}: the end is expected after {end} b, correct: {LETTERS + k}")

# sphinx_gallery_start_ignore
steered = new_axes()
colours = ["#0072B2", "#56B4E9", "black", "#E69F00", "#D55E00"]
for (k, values), colour in zip(expected.items(), colours, strict=True):
    read = np.arange(1, len(values) + 1)
    label = "as it is" if k == 0 else f"{k:+d} a".replace("-", "\N{MINUS SIGN}")
    steered.plot(read, values, "o-", markersize=3, color=colour, label=label)
    steered.axvline(LETTERS + k, color=colour, linewidth=0.8, linestyle=":")
steered.set(
    xlabel=f"b's read, after {LETTERS} a's",
    ylabel="probability that the word ends",
    xlim=(0.5, 14.5),
)
steered.legend(
    title="added to the cell",
    title_fontsize="small",
    fontsize="small",
    loc="center left",
    bbox_to_anchor=(1, 0.5),
    frameon=False,
)
steered.figure.set_label(
    "The probability of the end, after the cell was changed by a number of a's. "
    "Dotted: where the word should end."
)
# sphinx_gallery_end_ignore

# %%
# The network uses the cell as a counter: a change of the cell by k a's moves the
# expected end by k. This is more than a correlation with the count.
# :doc:`/gallery/steering_a_counter` measures how far it goes.
#
# Reach and time scales
# ---------------------
#
# The forget gates of the network that forecasts describe the path through its cell. How
# long it remembers is measured with 200 test windows, by swapping its state after five
# different time steps. States are swapped between windows with a similar middle point,
# because a state of another part of the wave would not fit the later points.

sample = test[0][:: len(test[0]) // 200][:200]
middle = sample[:, 25, 0]
alike = np.digitize(middle, np.quantile(middle, [0.2, 0.4, 0.6, 0.8]))
memory = keras_gates.reach(
    forecaster, sample, groups=alike, time=[5, 10, 15, 20, 25], batch_size=100
)
gates = keras_gates.capture(forecaster, sample)
reached = plots.reach(memory["lstm"], gates["lstm"])

scales = stats.timescale(gates)["lstm/forget"]
print(f"longest time scale of the path through the cell: {float(scales.max()):.1f}")
print("measured reach:", memory["lstm/reach"].values.round(1))

# %%
# The layer remembers for longer than the time scale of any of its forget gates, because
# the recurrent weights carry the state as well. (The error bars are 95 % intervals over
# pairs of windows.)
#
# Summary
# -------
#
# - A **time scale**, a half-life and a memory horizon describe the gates: how long the
#   path through the cell keeps a value. They equal the memory only of a layer whose
#   recurrent weights do nothing.
# - **Gradient flow** shows whether learning reaches back. It can vanish while the
#   memory lasts forever, as in the latch.
# - **Reach** measures memory: how much is left of a change to the state.
# - An **edit** shows what a signal is used for. A correlation does not.
#
# :doc:`/howto/edits` shows how to use each of them.
#
# References
# ----------
#
# - Bengio, Simard and Frasconi (1994), Learning long-term dependencies with gradient
#   descent is difficult, IEEE Transactions on Neural Networks 5(2).
# - Chien and Honey (2021), Mapping the timescale organization of neural language
#   models, ICLR: the swap of states.
# - Weiss, Goldberg and Yahav (2018), On the practical computational power of finite
#   precision RNNs for language recognition, arXiv:1805.04908.
