"""Tasks that test memory, with known errors of a perfect model and of a guess."""

import numpy as np

from keras_gates.checks import seed_of, whole_number
from keras_gates.old_names import renamed

BLANK, GO, TO_COPY, WORD = 8, 9, 8, 10
"""`copy_memory`: two symbols, the number of others, and the number that are copied."""


@renamed(length="sequence_length")
def adding(
    samples: int = 1000, *, sequence_length: int = 100, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the adding problem: the sum of two marked numbers among many.

    A model that always answers 1, the mean, has a squared error of 1/6, the variance of
    a sum of two uniform numbers. A model with a smaller error has remembered something.

    Source: Hochreiter and Schmidhuber (1997), Long short-term memory, Neural
    Computation 9(8), experiment 4; with uniform numbers in 0 to 1 and a fixed length,
    as in Arjovsky, Shah and Bengio (2016), Unitary evolution recurrent neural networks.

    Args:
        samples: The number of samples.
        sequence_length: The number of time steps, at least 2.
        seed: Seed of the numbers and marks.

    Returns:
        `(x, y)`, both float32: `x` of shape `(samples, sequence_length, 2)`, with a
        number between 0 and 1 and its mark, which is 1 at one step of each half and 0
        elsewhere; `y` of shape `(samples, 1)`, the sum of the two marked numbers.

    Raises:
        ValueError: `samples` is below 1 or `sequence_length` below 2.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.adding(3, sequence_length=10)
        >>> bool(((x[..., 0] * x[..., 1]).sum(axis=1) == y[:, 0]).all())
        True
    """
    samples = whole_number("samples", samples, at_least=1)
    sequence_length = whole_number("sequence_length", sequence_length, at_least=2)
    rng = np.random.default_rng(seed_of("seed", seed))
    numbers = rng.random((samples, sequence_length), dtype=np.float32)
    marks = np.zeros_like(numbers)
    rows = np.arange(samples)
    half = sequence_length // 2
    marks[rows, rng.integers(half, size=samples)] = 1
    marks[rows, rng.integers(half, sequence_length, size=samples)] = 1
    return np.stack([numbers, marks], -1), (numbers * marks).sum(1, keepdims=True)


@renamed(length="sequence_length")
def temporal_order(
    samples: int = 1000, *, sequence_length: int = 100, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the temporal order problem: which symbol was first, and which was second.

    Two steps, one in the second tenth of the sequence and one in the sixth, contain X
    or Y. All others contain distractors, between a start and an end symbol. A guess is
    correct in a quarter of the cases.

    Source: Hochreiter and Schmidhuber (1997), Long short-term memory, Neural
    Computation 9(8), experiment 6a, where the length is 100 to 110.

    Args:
        samples: The number of samples.
        sequence_length: The number of time steps, at least 10.
        seed: Seed of the symbols and their positions.

    Returns:
        `(x, y)`: `x` float32, of shape `(samples, sequence_length, 8)`, one-hot over a,
        b, c, d, X, Y, start and end; `y` int64, of shape `(samples,)`: 0 for X X, 1 for
        X Y, 2 for Y X, 3 for Y Y.

    Raises:
        ValueError: `samples` is below 1 or `sequence_length` below 10.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.temporal_order(5, sequence_length=20)
        >>> x.shape, x[:, :, 4:6].sum(axis=(1, 2)).tolist()
        ((5, 20, 8), [2.0, 2.0, 2.0, 2.0, 2.0])
    """
    samples = whole_number("samples", samples, at_least=1)
    sequence_length = whole_number("sequence_length", sequence_length, at_least=10)
    rng = np.random.default_rng(seed_of("seed", seed))
    symbols = rng.integers(4, size=(samples, sequence_length))
    symbols[:, 0], symbols[:, -1] = 6, 7
    which = rng.integers(2, size=(samples, 2))
    rows = np.arange(samples)
    for column, tenth in enumerate((1, 5)):
        window = sequence_length * tenth // 10, sequence_length * (tenth + 1) // 10
        symbols[rows, rng.integers(*window, size=samples)] = 4 + which[:, column]
    return _one_hot(symbols, 8), 2 * which[:, 0] + which[:, 1]


def copy_memory(
    samples: int = 1000, *, delay: int = 50, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the copy problem: ten symbols, to be repeated after a delay.

    A model that predicts every blank but guesses the symbols has a cross-entropy of
    `10 ln(8) / (delay + 20)` per step.

    Source: Hochreiter and Schmidhuber (1997) in the form of Arjovsky, Shah and Bengio
    (2016), Unitary evolution recurrent neural networks.

    Args:
        samples: The number of samples.
        delay: Steps between the last symbol and the first of the copy; the last of
            these steps is the signal to begin. At least 1.
        seed: Seed of the symbols.

    Returns:
        `(x, y)`: `x` float32 of shape `(samples, delay + 20, 10)`, one-hot: symbols 0
        to 7, 8 for blank and 9 for the signal; `y` int64 of shape
        `(samples, delay + 20)`: blank, and at the last ten steps the symbols.

    Raises:
        ValueError: A number is below 1.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.copy_memory(2, delay=5)
        >>> bool((x[:, :10].argmax(-1) == y[:, -10:]).all())
        True
    """
    samples = whole_number("samples", samples, at_least=1)
    delay = whole_number("delay", delay, at_least=1)
    word = np.random.default_rng(seed_of("seed", seed)).integers(
        TO_COPY, size=(samples, WORD)
    )
    shown = np.full((samples, delay + 2 * WORD), BLANK)
    wanted = shown.copy()
    shown[:, :WORD] = wanted[:, -WORD:] = word
    shown[:, -WORD - 1] = GO
    return _one_hot(shown, 10), wanted


def _one_hot(symbols: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[symbols]
