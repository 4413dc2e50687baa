"""Tasks made ready for a study: data split as they should be, and a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from keras_gates import tasks
from keras_gates.study.recipe import Recipe

InputsAndTargets = tuple[np.ndarray, np.ndarray]


class PreparedTask(NamedTuple):
    """A task with all that `compare` needs.

    Attributes:
        title: What is learned, in a line.
        train: Inputs and targets to learn from.
        test: Inputs and targets to validate with. If learning rates are tuned, they
            are chosen on these, too.
        split: How the two parts were split.
        epochs: How long to train.
        recipe: What is built around the recurrent layers.
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
    """The next point of a noisy sum of two sine waves, from those before it."""
    x, y = tasks.sliding_windows(tasks.sine_waves(points), window)
    train, test = tasks.chronological_split(x, y, train_size=0.8, gap=window + 1)
    return PreparedTask(
        f"Forecast sin(0.02 t) + sin(0.005 t) + noise from windows of {window} points",
        train,
        test,
        "The first 80 % in time order train, the last 20 % validate. A random split "
        "would leak: neighbouring windows share all but one of their points.",
        epochs,
    )


def digits() -> PreparedTask:
    """Which digit an image shows, reading it row by row."""
    x, y = tasks.digits_by_row()
    cut = int(0.8 * len(x))
    return PreparedTask(
        "Read 1,797 handwritten digits, 8 rows of 8 pixels, row by row",
        (x[:cut], y[:cut]),
        (x[cut:], y[cut:]),
        "80 % of the images train, 20 % validate, in random order: no two overlap.",
        epochs=20,
        metric="val_accuracy",
    )


def adding(length: int = 50, epochs: int = 20) -> PreparedTask:
    """The sum of two marked numbers among many."""
    return PreparedTask(
        f"Add two marked numbers among {length}; answering 1 has an error of 1/6",
        tasks.adding(4000, sequence_length=length),
        tasks.adding(500, sequence_length=length, seed=1),
        "Drawn anew: 4,000 sequences train, 500 validate.",
        epochs,
    )


def temporal_order(length: int = 50) -> PreparedTask:
    """Which of two symbols came first."""
    return PreparedTask(
        f"Report the order of two symbols among {length}; guessing is right in 25 %",
        tasks.temporal_order(2000, sequence_length=length),
        tasks.temporal_order(500, sequence_length=length, seed=1),
        "Drawn anew: 2,000 sequences train, 500 validate.",
        epochs=20,
        metric="val_accuracy",
    )


def copy() -> PreparedTask:
    """Ten symbols, repeated after a delay."""
    return PreparedTask(
        "Repeat ten symbols after ten steps",
        tasks.copy_memory(2000, delay=10),
        tasks.copy_memory(500, delay=10, seed=1),
        "Drawn anew: 2,000 sequences train, 500 validate.",
        epochs=20,
    )


def anbn(most: int = 60) -> PreparedTask:
    """Words a^n b^n, judged by longer ones than were learned."""
    longer = [tasks.anbn(1, smallest=n, largest=n) for n in range(1, most + 1)]
    x, y = map(_stacked, zip(*longer, strict=True))
    return PreparedTask(
        "Count: the next symbol of words a^n b^n",
        tasks.anbn(1000),
        (x, y),
        f"Words with n up to 30 train; one of each n up to {most} validates.",
        epochs=100,
        recipe=Recipe(
            units=10,
            stem=keras.layers.Masking,
            head=_softmax_of_three,
            loss="categorical_crossentropy",
        ),
    )


def reber() -> PreparedTask:
    """What may follow in a word of the embedded Reber grammar."""
    return PreparedTask(
        "Say what may follow each symbol of an embedded Reber word",
        tasks.embedded_reber(1000),
        tasks.embedded_reber(300, seed=1),
        "Drawn anew: 1,000 words train, 300 validate. Short words are in both.",
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
        "The next character of Python's documentation",
        tasks.characters(2000, text=text[:cut], alphabet=alphabet),
        tasks.characters(500, text=text[cut:], alphabet=alphabet, seed=1),
        "Windows over the first 80 % of the text train, over the rest validate.",
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
    """Returns words of shape (1, time, symbol) in one array, zeros behind their end."""
    time = max(word.shape[1] for word in words)
    padded = np.zeros((len(words), time, words[0].shape[2]), words[0].dtype)
    for row, word in enumerate(words):
        padded[row, : word.shape[1]] = word[0]
    return padded
