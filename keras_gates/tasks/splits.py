"""Splits of samples into a training part and a test part."""

import numpy as np
from numpy.typing import ArrayLike

from keras_gates.checks import array_of, seed_of, share_of, whole_number
from keras_gates.old_names import renamed
from keras_gates.tasks.extra_packages import extra

Pairs = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@renamed(fraction="train_size")
def chronological_split(
    x: ArrayLike, y: ArrayLike, *, train_size: float = 0.8, gap: int = 0
) -> Pairs:
    """Splits samples in time order: the first for training, the last for testing.

    Windows from `sliding_windows` overlap, so the last training windows and the first
    test windows share points. `gap=sequence_length + horizon - 1` is the smallest gap
    that prevents this: no point of a test window is then in a training window or is the
    target of one.

    Args:
        x: Samples in time order, of shape `(sample, ...)`.
        y: Their targets, of shape `(sample, ...)`.
        train_size: Fraction of the samples for training, between 0 and 1, rounded to a
            whole sample.
        gap: The number of samples to omit after the training part. They are taken from
            the test part.

    Returns:
        `((x_train, y_train), (x_test, y_test))`, views of `x` and `y`.

    Raises:
        ValueError: `x` and `y` differ in length, `train_size` is not between 0 and 1,
            `gap` is negative, or a part has no sample.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.sliding_windows(tasks.sine_waves(1000), 50)
        >>> train, test = tasks.chronological_split(x, y, gap=50)
        >>> len(train[0]), len(test[0])
        (760, 140)
    """
    x, y = array_of("x", x), array_of("y", y)
    gap = whole_number("gap", gap, at_least=0)
    _check_pair(x, y)
    train_size = share_of("train_size", train_size)
    train_end = round(train_size * len(x))
    test_start = train_end + gap
    if train_end == 0 or test_start >= len(x):
        raise ValueError(
            f"`train_size={train_size}` and `gap={gap}` leave {train_end} samples for "
            f"training and {max(len(x) - test_start, 0)} for testing, out of {len(x)}; "
            "each part needs at least one. Use more samples, another `train_size` or a "
            "smaller `gap`."
        )
    return (x[:train_end], y[:train_end]), (x[test_start:], y[test_start:])


@renamed(fraction="train_size")
def stratified_split(
    x: ArrayLike, y: ArrayLike, *, train_size: float = 0.8, seed: int = 0
) -> Pairs:
    """Splits samples at random, with the same fraction of each class in both parts.

    Use it for samples that do not follow each other; windows of a series need
    `chronological_split`. It calls scikit-learn's `train_test_split`.

    Args:
        x: Samples, of shape `(sample, ...)`.
        y: Their classes, of shape `(sample,)`.
        train_size: Fraction of the samples for training, between 0 and 1.
        seed: Seed of the draw.

    Returns:
        `((x_train, y_train), (x_test, y_test))`.

    Raises:
        ValueError: `x` and `y` differ in length, `y` has another shape, `train_size` is
            not between 0 and 1, or a class has too few samples for both parts.
        ImportError: `scikit-learn` is not installed.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.digits_by_row()
        >>> (x_train, y_train), (x_test, y_test) = tasks.stratified_split(x, y)
        >>> len(x_train), len(x_test)
        (1437, 360)
    """
    train_test_split = extra("sklearn.model_selection", "train_test_split")
    x, y = array_of("x", x), array_of("y", y)
    seed = seed_of("seed", seed)
    _check_pair(x, y)
    train_size = share_of("train_size", train_size)
    if y.ndim != 1:
        raise ValueError(
            f"`y` must hold a class for each sample, of shape (sample,); got {y.shape}."
            " Use `y.argmax(axis=-1)` for one-hot classes."
        )
    try:
        x_train, x_test, y_train, y_test = train_test_split(
            x, y, train_size=train_size, stratify=y, random_state=seed
        )
    except ValueError as error:
        raise ValueError(
            f"`x` and `y` cannot be split by class: {error} Use more samples, or "
            "another `train_size`."
        ) from error
    return (x_train, y_train), (x_test, y_test)


def _check_pair(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(
            "`x` and `y` must be arrays with one row for each sample; got shapes "
            f"{x.shape} and {y.shape}. Cut both to the same samples first."
        )
