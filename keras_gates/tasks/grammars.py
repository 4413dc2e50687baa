"""Languages whose next symbol is known to a model that counts or remembers."""

from collections.abc import Iterator

import numpy as np

from keras_gates.checks import seed_of, whole_number
from keras_gates.old_names import renamed

REBER_SYMBOLS = "BTPSXVE"
"""The symbols of the Reber tasks, in the order of their codes."""

# From each state to its (symbol, next state); both kinds of words are made from it.
_REBER = {
    0: (("B", 1),),
    1: (("T", 2), ("P", 3)),
    2: (("S", 2), ("X", 4)),
    3: (("T", 3), ("V", 5)),
    4: (("X", 3), ("S", 6)),
    5: (("P", 4), ("V", 6)),
    6: (("E", 7),),
}
_REBER_END = 7


def anbn(
    samples: int = 1000, *, smallest: int = 1, largest: int = 30, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns words a^n b^n; the task is the next symbol at every step.

    After an `a`, it cannot be known whether another one follows. From the first `b` on,
    all symbols are determined: a model that counts knows when the word ends.

    Source: Gers and Schmidhuber (2001), LSTM recurrent networks learn simple context
    free and context sensitive languages, IEEE Transactions on Neural Networks 12(6).
    Weiss, Goldberg and Yahav (2018), On the practical computational power of finite
    precision RNNs for language recognition, https://arxiv.org/abs/1805.04908, show that
    an LSTM counts and a GRU does not.

    Args:
        samples: The number of words; their n are drawn uniformly.
        smallest: The smallest n.
        largest: The largest n; the same as `smallest` for words of one length.
        seed: Seed of the draw.

    Returns:
        `(x, y)`, both float32 of shape `(samples, 2 * largest + 1, 3)`, one-hot over
        the boundary of a word, `a` and `b`. A word begins with the boundary and its
        last target is the boundary. After the end, both are zero, which
        `keras.layers.Masking()` masks, and which adds nothing to a categorical
        cross-entropy.

    Raises:
        ValueError: A number is below 1, or `largest` below `smallest`.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.anbn(1, smallest=2, largest=2)
        >>> x[0].argmax(-1).tolist(), y[0].argmax(-1).tolist()
        ([0, 1, 1, 2, 2], [1, 1, 2, 2, 0])
    """
    samples = whole_number("samples", samples, at_least=1)
    smallest = whole_number("smallest", smallest, at_least=1)
    largest = whole_number("largest", largest, at_least=1)
    if largest < smallest:
        raise ValueError(
            f"`largest` must be at least `smallest`, {smallest}; got {largest}."
        )
    chosen = np.random.default_rng(seed_of("seed", seed)).integers(
        smallest, largest + 1, size=samples
    )
    words = [[0] + [1] * n + [2] * n + [0] for n in chosen.tolist()]
    return (
        _pad([word[:-1] for word in words], 2 * largest + 1, 3),
        _pad([word[1:] for word in words], 2 * largest + 1, 3),
    )


def embedded_reber(
    samples: int = 1000, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns words of the embedded Reber grammar, and the possible next symbols.

    A word begins with B and T or P, continues with a word of Reber's grammar, and ends
    with the same T or P and E. The task is to remember this T or P throughout a random
    word of any length.

    Source: Hochreiter and Schmidhuber (1997), Long short-term memory, Neural
    Computation 9(8), experiment 1; the grammar is that of Reber (1967).

    Args:
        samples: The number of words.
        seed: Seed of the words.

    Returns:
        `(x, y)`, both float32 of shape `(samples, time, 7)`, where `time` fits the
        longest word: `x` one-hot over B, T, P, S, X, V, E, `y` with a 1 for each symbol
        that may come next, for a binary cross-entropy. After the end of a word, both
        are zero, which `keras.layers.Masking()` masks. There is no target at the E of a
        word.

    Raises:
        ValueError: `samples` is below 1.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.embedded_reber(1)
        >>> "".join("BTPSXVE"[code] for code in x[0].argmax(-1))
        'BPBPVPXTTTTVVEP'
    """
    samples = whole_number("samples", samples, at_least=1)
    rng = np.random.default_rng(seed_of("seed", seed))
    words = [list(_embedded(rng))[:-1] for _ in range(samples)]
    longest = max(map(len, words))
    x = _pad([[symbol for symbol, _ in word] for word in words], longest, 7)
    y = np.zeros_like(x)
    for row, word in enumerate(words):
        for step, (_, followers) in enumerate(word):
            y[row, step, followers] = 1
    return x, y


@renamed(length="sequence_length")
def continual_reber(
    samples: int = 1000, *, sequence_length: int = 100, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns streams of embedded Reber words, one after the other without a break.

    At the end of each word, a model must forget what it had to remember until then. The
    forget gate was invented for this task.

    Source: Gers, Schmidhuber and Cummins (2000), Learning to forget: continual
    prediction with LSTM, Neural Computation 12(10).

    Args:
        samples: The number of streams.
        sequence_length: The number of symbols in a stream; the last word may be cut.
        seed: Seed of the words.

    Returns:
        `(x, y)`, both float32, of shape `(samples, sequence_length, 7)`, as for
        `embedded_reber`; an E is followed by a B.

    Raises:
        ValueError: A number is below 1.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.continual_reber(4, sequence_length=50)
        >>> x.shape, y.shape
        ((4, 50, 7), (4, 50, 7))
    """
    samples = whole_number("samples", samples, at_least=1)
    sequence_length = whole_number("sequence_length", sequence_length, at_least=1)
    rng = np.random.default_rng(seed_of("seed", seed))
    x = np.zeros((samples, sequence_length, 7), np.float32)
    y = np.zeros_like(x)
    for row in range(samples):
        step = 0
        while step < sequence_length:
            for symbol, followers in _embedded(rng):
                if step < sequence_length:
                    x[row, step, symbol] = y[row, step, followers] = 1
                    step += 1
    return x, y


def _embedded(rng: np.random.Generator) -> Iterator[tuple[int, list[int]]]:
    """Yields the codes of a word, each with those of the symbols that may follow."""
    code = REBER_SYMBOLS.index
    branch = code("TP"[rng.integers(2)])
    yield code("B"), [code("T"), code("P")]
    yield branch, [code("B")]
    state = 0
    while state != _REBER_END:
        symbol, state = _REBER[state][rng.integers(len(_REBER[state]))]
        # The symbol before the inner word follows it again: that is the task.
        followers = [code(after) for after, _ in _REBER.get(state, ())]
        yield code(symbol), followers or [branch]
    yield branch, [code("E")]
    yield code("E"), [code("B")]


def _pad(words: list[list[int]], length: int, classes: int) -> np.ndarray:
    """Returns one-hot words, padded with zeros at the end."""
    padded = np.zeros((len(words), length, classes), np.float32)
    for row, word in enumerate(words):
        padded[row, np.arange(len(word)), word] = 1
    return padded
