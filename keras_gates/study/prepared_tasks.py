"""Tasks prepared for a study: the data, already split, and a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from keras_gates import tasks
from keras_gates.study.recipe import Recipe

InputsAndTargets = tuple[np.ndarray, np.ndarray]


class PreparedTask(NamedTuple):
    """A task with everything that `compare` needs.

    Attributes:
        title: The task, in a line.
        train: Inputs and targets to learn from.
        test: Inputs and targets to validate with. If learning rates are tuned, they
            are also chosen on these.
        split: A sentence about the split into the two parts.
        epochs: The number of epochs to train.
        recipe: The recipe of the models.
        metric: The column of a study to compare.
    """

    title: str
    train: InputsAndTargets
    test: InputsAndTargets
    split: str
    epochs: int
    recipe: Recipe = Recipe()
    metric: str = "val_loss"


def sine(points: int = 5000, window: int = 50, epochs: int = 5) -> PreparedTask:
    """The next point of a noisy sum of two sine waves, from the points before it."""
    x, y = tasks.sliding_windows(tasks.sine_waves(points), window)
    train, test = tasks.chronological_split(x, y, train_size=0.8, gap=window + 1)
    return PreparedTask(
        f"Forecast sin(0.02 t) + sin(0.005 t) + noise from windows of {window} points",
        train,
        test,
        "The first 80 % in time order are for training, the last 20 % for validation. "
        "A random split would leak, because neighbouring windows share all points but "
        "one.",
        epochs,
    )


def digits() -> PreparedTask:
    """The digit that an image shows, read row by row."""
    x, y = tasks.digits_by_row()
    cut = int(0.8 * len(x))
    return PreparedTask(
        "Read 1,797 handwritten digits, 8 rows of 8 pixels, row by row",
        (x[:cut], y[:cut]),
        (x[cut:], y[cut:]),
        "80 % of the images are for training, 20 % for validation. They are in random "
        "order; no two overlap.",
        epochs=20,
        metric="val_accuracy",
    )


def adding(length: int = 50, epochs: int = 20) -> PreparedTask:
    """The sum of two marked numbers among many."""
    return PreparedTask(
        f"Add two marked numbers among {length}; always answering 1 has an error of "
        "1/6",
        tasks.adding(4000, sequence_length=length),
        tasks.adding(500, sequence_length=length, seed=1),
        "Drawn independently: 4,000 sequences for training, 500 for validation.",
        epochs,
    )


def temporal_order(length: int = 50) -> PreparedTask:
    """Two symbols, in the order in which they came."""
    return PreparedTask(
        f"Report the order of two symbols among {length}; a guess is right in 25 % of "
        "the cases",
        tasks.temporal_order(2000, sequence_length=length),
        tasks.temporal_order(500, sequence_length=length, seed=1),
        "Drawn independently: 2,000 sequences for training, 500 for validation.",
        epochs=20,
        metric="val_accuracy",
    )


def copy() -> PreparedTask:
    """Ten symbols, repeated after a delay."""
    return PreparedTask(
        "Repeat ten symbols after ten steps",
        tasks.copy_memory(2000, delay=10),
        tasks.copy_memory(500, delay=10, seed=1),
        "Drawn independently: 2,000 sequences for training, 500 for validation.",
        epochs=20,
    )


def anbn(most: int = 60) -> PreparedTask:
    """Words a^n b^n, validated with longer words than those for training."""
    longer = [tasks.anbn(1, smallest=n, largest=n) for n in range(1, most + 1)]
    x, y = map(_stacked, zip(*longer, strict=True))
    return PreparedTask(
        "Predict the next symbol of words a^n b^n, which requires counting",
        tasks.anbn(1000),
        (x, y),
        "Words with n up to 30 are for training, and one word of each n up to "
        f"{most} for validation.",
        epochs=100,
        recipe=Recipe(
            units=10,
            stem=keras.layers.Masking,
            head=_softmax_of_three,
            loss="categorical_crossentropy",
        ),
    )


def reber() -> PreparedTask:
    """The symbols that may come next in a word of the embedded Reber grammar."""
    return PreparedTask(
        "Predict which symbols may follow each symbol of an embedded Reber word",
        tasks.embedded_reber(1000),
        tasks.embedded_reber(300, seed=1),
        "Drawn independently: 1,000 words for training, 300 for validation. Short "
        "words are in both parts.",
        epochs=20,
        recipe=Recipe(
            stem=keras.layers.Masking,
            head=_sigmoid_of_seven,
            loss="binary_crossentropy",
        ),
    )


def characters() -> PreparedTask:
    """The next character of a real text."""
    text = tasks.python_documentation()
    alphabet, cut = "".join(sorted(set(text))), int(0.8 * len(text))
    return PreparedTask(
        "Predict the next character of Python's documentation",
        tasks.characters(2000, text=text[:cut], alphabet=alphabet),
        tasks.characters(500, text=text[cut:], alphabet=alphabet, seed=1),
        "Windows of the first 80 % of the text are for training, and windows of the "
        "rest for validation.",
        epochs=5,
        recipe=Recipe(units=64),
    )


PREPARED: dict[str, Callable[[], PreparedTask]] = {
    "sine": sine,
    "digits": digits,
    "adding": adding,
    "temporal-order": temporal_order,
    "copy": copy,
    "anbn": anbn,
    "reber": reber,
    "characters": characters,
}


def _softmax_of_three() -> keras.layers.Layer:
    return keras.layers.Dense(3, activation="softmax")


def _sigmoid_of_seven() -> keras.layers.Layer:
    return keras.layers.Dense(7, activation="sigmoid")


def _stacked(words: tuple[np.ndarray, ...]) -> np.ndarray:
    """Returns words of shape (1, time, symbol) in one array, padded with zeros."""
    time = max(word.shape[1] for word in words)
    padded = np.zeros((len(words), time, words[0].shape[2]), words[0].dtype)
    for row, word in enumerate(words):
        padded[row, : word.shape[1]] = word[0]
    return padded
