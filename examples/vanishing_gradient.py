"""
The vanishing gradient
======================

**Question:** does learning reach back to the first step, and does a gate carry it?

A network learns from a step only if the gradient reaches it. A basic recurrent layer,
an LSTM and a GRU learn to add two marked numbers that are far apart. The size of the
gradient is drawn by the number of steps before the end, before and after training. Then
gates are clamped, to test whether the gradient depends on them.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_gates
from keras_gates import edits, plots, stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own sequences: an .npz file with x (sample, time, feature) and y "
    "(sample,) or (sample, output), numbers to predict, of at least 200 samples",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# A sample has forty random numbers between 0 and 1, one of them marked in each half.
# The target is the sum of these two. Always answering the mean has a mean squared error
# of 1/6.

x, y = tasks.adding(1500, sequence_length=40)
if options.data:
    with np.load(options.data) as arrays:
        if missing := {"x", "y"} - set(arrays):
            parser.error(
                f"--data: '{options.data}' must have the arrays x and y; "
                f"{' and '.join(sorted(missing))} not found. Write it with "
                "numpy.savez('data.npz', x=x, y=y)."
            )
        x, y = arrays["x"].astype("float32"), arrays["y"].astype("float32")
    if x.ndim != 3 or len(x) != len(y) or len(x) < 200:
        parser.error(
            "--data: x must have the shape (sample, time, feature) and y the same "
            f"number of samples, at least 200; got {x.shape} and {y.shape}."
        )
    y = y.reshape(len(y), -1)
probe, steps = x[:100], x.shape[1]

# %%
# Train
# -----
# The gradient is that of the output, not of the loss. Near the lowest loss, every
# gradient of the loss is small, so a network that has learned the task could not be
# compared with one that has not.


def flow(model):
    """Returns the size of the gradient of the output, by steps before the end."""
    found = keras_gates.gradients(model, probe, of=lambda outputs: outputs[:, 0])
    return stats.gradient_flow(found)["rnn"]


layers = {
    "SimpleRNN": keras.layers.SimpleRNN,
    "LSTM": keras.layers.LSTM,
    "GRU": keras.layers.GRU,
}
models, before, after = {}, {}, {}
for name, layer in layers.items():
    keras.utils.set_random_seed(0)
    models[name] = model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layer(16, name="rnn"),
            keras.layers.Dense(y.shape[1]),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before[name] = flow(model)
    model.fit(x, y, epochs=options.epochs, batch_size=50, verbose=0)
    after[name] = flow(model)
    print(f"{name}: error {model.evaluate(x, y, verbose=0):.4f}")
print(f"always answering the mean: {float(np.var(y)):.4f}")

# %%
# Before and after training
# -------------------------
# On a log axis, a straight line is a gradient that shrinks by the same factor at each
# step. Keras starts an LSTM's forget gate at sigmoid(1) = 0.73 and a GRU's update gate
# at 0.5; the recurrent weights of a SimpleRNN start as a rotation, which shrinks
# nothing by itself. So before training, the gradient vanishes fastest in the two
# networks with gates.

figure = Figure(figsize=(7, 3.2), layout="constrained")
untrained, trained = figure.subplots(1, 2, sharey=True)
plots.gradient_flow(before, ax=untrained).set_title(
    "before training", fontsize="medium"
)
plots.gradient_flow(after, ax=trained).set_title("after training", fontsize="medium")
untrained.set_ylabel("gradient of the output with\nrespect to the hidden state")
trained.set_ylabel("")
trained.get_legend().remove()
for axes in (untrained, trained):
    axes.spines[["top", "right"]].set_visible(False)

# %%
# Is it the gate?
# ---------------
# After training, does the gate that keeps the old state carry the gradient? In the
# trained network, this gate is clamped to its initial value, 0.73 or 0.5. For
# comparison, it is clamped to its own mean, unit by unit. The gradient still passes
# through everything that an edit does not change.

KEEP = {"LSTM": ("forget", 1 / (1 + np.exp(-1))), "GRU": ("update", 0.5)}
flows, errors = {}, {}
for name, (gate, start) in KEEP.items():
    model = models[name]
    mean = keras_gates.capture(model, probe)["rnn"][gate].mean(("sample", "time"))
    flows[name] = {"as trained": after[name]}
    errors[name] = {"as trained": model.evaluate(x, y, verbose=0)}
    for words, value in (("at its mean", mean), (f"at {start:.2f}", start)):
        with keras_gates.edit(model, {f"rnn/{gate}": edits.clamp(value)}):
            flows[name][f"{gate} {words}"] = flow(model)
            errors[name][words] = model.evaluate(x, y, verbose=0)
    print(name, {words: round(error, 4) for words, error in errors[name].items()})

clamped = Figure(figsize=(7, 3.2), layout="constrained")
for axes, name in zip(clamped.subplots(1, 2, sharey=True), KEEP, strict=True):
    plots.gradient_flow(flows[name], ax=axes).set_title(name, fontsize="medium")
    axes.set_ylabel("")
    axes.legend(fontsize="small", loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
clamped.axes[0].set_ylabel("gradient of the output with\nrespect to the hidden state")

# %%
# The answer
# ----------


def left(flow):
    """Returns the gradient at the first step, as a share of that at the last one."""
    return float(flow["gradient_flow"][-1] / flow["gradient_flow"][0])


for name in layers:
    print(
        f"{name}: the ratio of the gradient at the first of {steps} steps to that at "
        f"the last is {left(before[name]):.0e} before training and "
        f"{left(after[name]):.0e} after it."
    )
for name, (gate, start) in KEEP.items():
    back = left(flows[name][f"{gate} at {start:.2f}"])
    at_mean = left(flows[name][f"{gate} at its mean"])
    verdict = "carries" if back < 0.1 * left(after[name]) else "does not determine"
    print(
        f"{name}: with {gate} back at {start:.2f}, the ratio is {back:.0e}, with "
        f"{gate} at its mean {at_mean:.0e}: this gate {verdict} the gradient."
    )

# %%
# This shows whether *learning* reaches back, and not how long a network remembers: a
# state that is held by saturation has a gradient that vanishes
# (:doc:`/understand/what_gates_do`).
#
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "gradients.png", dpi=150)
    clamped.savefig(options.out / "clamped.png", dpi=150)
