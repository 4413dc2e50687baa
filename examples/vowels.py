"""
Who is speaking? Utterances of different lengths
================================================

**Question:** after how many frames does the network know who is speaking, and what do
its gates do with padding that is not masked?

Nine men say the same two vowels, and an LSTM recognises the speaker. Utterances differ
in length, so the shorter ones are padded with zeros. One network skips the zeros with a
``Masking`` layer. Another network, with the same initial weights, reads them.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas
import xarray
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import keras_gates
from keras_gates import stats, tasks

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument(
    "--data",
    type=Path,
    metavar="FILE",
    help="your own sequences: an .npz file with x_train and x_test (sample, time, "
    "feature), padded with zeros at the end, and y_train and y_test (sample,), their "
    "classes as integers from 0; at least 20 samples in each part",
)
parser.add_argument("--out", type=Path, metavar="FOLDER", help="save the figures there")
parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
parser.add_argument("--seeds", type=int, default=10, help="default: %(default)s")
options = parser.parse_args()

# %%
# The data
# --------
# "Japanese Vowels" of the UCI Machine Learning Repository, by Kudo, Toyama and Shimbo
# (1999, *Pattern Recognition Letters* 20): 640 utterances of /ae/ by nine men, 270 to
# train and 370 to test. There is a frame of 12 cepstrum coefficients every 6.4
# milliseconds, and an utterance has 7 to 29 frames. They come with the package sktime,
# and ``tasks.japanese_vowels`` loads them.

if options.data:
    with np.load(options.data) as arrays:
        wanted = ("x_train", "y_train", "x_test", "y_test")
        if missing := set(wanted) - set(arrays):
            parser.error(
                f"--data: '{options.data}' must have the arrays {', '.join(wanted)}; "
                f"{' and '.join(sorted(missing))} not found."
            )
        x_train, y_train, x_test, y_test = (arrays[name] for name in wanted)
    if not all(
        x.ndim == 3 and y.shape == (len(x),) and len(x) >= 20
        for x, y in ((x_train, y_train), (x_test, y_test))
    ):
        parser.error(
            "--data: x must have the shape (sample, time, feature) and y (sample,), "
            f"with at least 20 samples; got {x_train.shape}, {y_train.shape}, "
            f"{x_test.shape} and {y_test.shape}."
        )
else:
    (x_train, y_train), (x_test, y_test) = tasks.japanese_vowels()
frames = x_train.shape[1]


def unpadded(x):
    """Returns which frames belong to the utterance, and not to the padding."""
    return (x != 0).any(axis=-1)


known = x_train[unpadded(x_train)]
mean, spread = known.mean(axis=0), known.std(axis=0)


def scale(x):
    """Returns standardised frames, with the padding still zero."""
    return np.where(unpadded(x)[..., None], (x - mean) / spread, 0).astype("float32")


lengths = unpadded(x_test).sum(axis=1)
print(
    f"{len(x_train)} and {len(x_test)} utterances, {lengths.min()} to {lengths.max()} "
    f"frames; {1 - unpadded(x_test).mean():.0%} of the test part is padding"
)

# %%
# Two predictions that need no network: a linear model of the mean frame, and one of the
# length of the utterance alone. The second shows how much the padding gives away.


def mean_frame(x, most):
    """Returns the mean of the first `most` frames of each utterance, unpadded."""
    spoken = unpadded(x)[:, :most, None]
    return (x[:, :most] * spoken).sum(axis=1) / spoken.sum(axis=1)


def linear(train, test):
    """Returns the accuracy of a linear model on the test part."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(train, y_train).score(test, y_test)


by_mean = np.array(
    [
        linear(mean_frame(x_train, most), mean_frame(x_test, most))
        for most in range(1, frames + 1)
    ]
)
by_length = linear(unpadded(x_train).sum(axis=1)[:, None], lengths[:, None])
print(f"accuracy of a linear model of the mean frame: {by_mean[-1]:.3f}")
print(f"accuracy by the length alone: {by_length:.3f}")

# %%
# Train
# -----
# Networks with and without a mask are trained in pairs. Both networks of a pair have
# the same initial weights and the same order of the utterances. These are random, and
# differ from pair to pair.


def trained(masked, seed):
    """Returns a trained network, with or without a mask."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((None, x_train.shape[2])),
            *([keras.layers.Masking()] if masked else []),
            keras.layers.LSTM(24, name="lstm"),
            keras.layers.Dense(int(y_train.max()) + 1, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    if keras.backend.backend() != "tensorflow":  # Keras's kernel is fast there.
        keras_gates.accelerate(model)
    model.fit(scale(x_train), y_train, epochs=options.epochs, batch_size=32, verbose=0)
    return model


networks = {
    "masked": [trained(True, seed) for seed in range(options.seeds)],
    "unmasked": [trained(False, seed) for seed in range(options.seeds)],
}


def interval(values, form="{:.3f}", most=np.inf):
    """Returns the mean over the seeds and its 95 % Student's t interval, as text.

    For a share, `most` is 1, and the interval is limited to values from 0 to 1.
    """
    seeds = xarray.DataArray(np.asarray(values, float), dims="seed")
    least = 0 if np.isfinite(most) else -np.inf
    ends = [float(value) for value in stats.mean_interval(seeds, "seed")]
    return "{} ({} to {})".format(*map(form.format, np.clip(ends, least, most)))


# %%
# After how many frames does the network know?
# --------------------------------------------
# The last layer is applied to the hidden state of every frame, although it was trained
# on the last one only. For each number of frames, a separate linear model is fitted to
# their mean. After the end of an utterance, a masked network keeps its state; an
# unmasked network reads the padding.

captured = {
    name: [keras_gates.capture(model, scale(x_test))["lstm"] for model in models]
    for name, models in networks.items()
}


def accuracies(model, gates):
    """Returns the accuracy after each frame, and at the end of each utterance."""
    weights, bias = model.layers[-1].get_weights()
    hidden = gates["hidden"].values
    right = (hidden @ weights + bias).argmax(axis=-1) == y_test[:, None]
    at_end = right[np.arange(len(right)), lengths - 1]
    if np.isnan(hidden).any():  # Masked steps have no values: the state is kept.
        right = np.where(unpadded(x_test), right, at_end[:, None])
    return right.mean(axis=0), at_end.mean()


after, at_end = {}, {}
for name, models in networks.items():
    results = [
        accuracies(model, gates)
        for model, gates in zip(models, captured[name], strict=True)
    ]
    after[name] = np.array([accuracy for accuracy, _ in results])
    at_end[name] = np.array([end for _, end in results])
    print(
        f"accuracy, {name}: {interval(after[name][:, -1], most=1)}; at the last frame "
        f"of the utterance {interval(at_end[name], most=1)}"
    )
figure = Figure(figsize=(7, 3.4), layout="constrained")
axes = figure.subplots()
seen = np.arange(1, frames + 1)
for name, colour in (("masked", "#0072B2"), ("unmasked", "#D55E00")):
    axes.plot(seen, after[name].mean(axis=0), color=colour, label=f"LSTM, {name}")
    axes.fill_between(
        seen, *np.quantile(after[name], [0, 1], axis=0), color=colour, alpha=0.2
    )
axes.plot(seen, by_mean, color="black", linestyle=":", label="linear, mean frame")
axes.axvspan(lengths.min(), lengths.max(), color="0.95", zorder=0)
axes.set_xlabel("frames read (grey: where utterances end)")
axes.set_ylabel("accuracy")
axes.set_ylim(0, 1.02)
axes.legend(fontsize="small", loc="lower right")
axes.spines[["top", "right"]].set_visible(False)

# %%
# What do the gates do with the padding?
# --------------------------------------
# A network that must remember the speaker through the zeros can learn to do so, with an
# open forget gate and a closed input gate. The gates of the unmasked networks, around
# the end of each utterance:

reach = np.arange(-6, 11)
ends = (lengths - 1)[:, None] + reach
inside = (ends >= 0) & (ends < frames)
figure_gates = Figure(figsize=(7, 3), layout="constrained")
gate_axes = figure_gates.subplots()
rows = {}
for signal, colour in (
    ("input", "#E69F00"),
    ("forget", "#0072B2"),
    ("output", "#009E73"),
):
    lines, moves = [], []
    for gates in captured["unmasked"]:
        values = gates[signal].values.mean(axis=-1)
        picked = np.take_along_axis(values, np.clip(ends, 0, frames - 1), axis=1)
        lines.append(np.nanmean(np.where(inside, picked, np.nan), axis=0))
        padded = np.flatnonzero(lengths < frames)
        last, first = (values[padded, lengths[padded] + at] for at in (-1, 0))
        moves.append((values[unpadded(x_test)].mean(), last.mean(), first.mean()))
    lines, moves = np.array(lines), np.array(moves)
    rows[signal] = moves
    gate_axes.plot(reach, lines.T, color=colour, linewidth=0.6, alpha=0.6)
    gate_axes.plot(reach, lines.mean(axis=0), color=colour, label=f"{signal} gate")
gate_axes.axvline(0.5, color="0.6", linewidth=0.8)
gate_axes.set_xlabel("frames after the end of the utterance (padding from the line on)")
gate_axes.set_ylabel("mean over units")
gate_axes.legend(fontsize="small")
gate_axes.spines[["top", "right"]].set_visible(False)
print(
    pandas.DataFrame(
        {
            signal: {
                "in the utterance": interval(moves[:, 0], "{:.2f}", 1),
                "last frame": interval(moves[:, 1], "{:.2f}", 1),
                "first padded frame": interval(moves[:, 2], "{:.2f}", 1),
            }
            for signal, moves in rows.items()
        }
    ).T.to_string()
)

# %%
# The answer
# ----------


def verdict(difference, better, worse):
    """Returns the conclusion from an interval over the seeds."""
    _, low, high = stats.mean_interval(
        xarray.DataArray(difference, dims="seed"), "seed"
    )
    return better if low > 0 else worse if high < 0 else "no clear difference"


best = after["masked"].mean(axis=0)
enough = int(np.argmax(best >= 0.9 * best[-1])) + 1
linear_enough = int(np.argmax(by_mean >= 0.9 * by_mean[-1])) + 1
print(
    "The accuracy of the masked network on the test part is "
    f"{interval(after['masked'][:, -1], most=1)}, that of a linear model of the mean "
    f"frame {by_mean[-1]:.3f}: "
    + verdict(
        after["masked"][:, -1] - by_mean[-1],
        "the network is better",
        "the network is worse",
    )
    + "."
)
print(
    f"The network has 90 % of its accuracy after {enough} frames, {6.4 * enough:.0f} "
    f"milliseconds; the linear model after {linear_enough} frames."
    if not options.data
    else f"The network has 90 % of its accuracy after {enough} steps; the linear model "
    f"after {linear_enough} steps."
)
gap = after["unmasked"][:, -1] - after["masked"][:, -1]
print(
    f"Without a mask the accuracy differs by {interval(gap, '{:+.3f}')}: "
    + verdict(gap, "higher than with a mask", "lower than with a mask")
    + ". The length alone, which the padding shows, has an accuracy of "
    f"{by_length:.3f}; always answering the most frequent speaker has "
    f"{np.bincount(y_test).max() / len(y_test):.3f}."
)
lost = after["unmasked"][:, -1] - at_end["unmasked"]
print(
    "From the last frame of the utterance to the end of the padding, the accuracy of "
    f"the unmasked networks changes by {interval(lost, '{:+.3f}')}."
)
SMALL = 0.03
for signal, moves in rows.items():
    change = moves[:, 2] - moves[:, 1]
    _, *ends = stats.mean_interval(xarray.DataArray(change, dims="seed"), "seed")
    small = max(map(abs, map(float, ends))) < SMALL
    print(
        f"From the last frame to the first padded frame, the {signal} gate changes by "
        f"{interval(change, '{:+.3f}')}: "
        + (
            f"the whole interval is within {SMALL} of 0, so it hardly changes"
            if small
            else verdict(change, "it opens", "it closes")
        )
        + "."
    )

# %%
# With ``--out`` the figures are saved.

if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "frames.png", dpi=150)
    figure_gates.savefig(options.out / "padding.png", dpi=150)
