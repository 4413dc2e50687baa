"""Real data without downloads: images and text that come with other packages."""

import numpy as np

from keras_gates.checks import seed_of, whole_number
from keras_gates.old_names import renamed
from keras_gates.tasks.extra_packages import extra

PIXEL_LEVELS = 16
"""A pixel of scikit-learn's digits counts the inked dots of its 4 by 4 block."""


def digits_by_row(*, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns real handwritten digits, each an image that is read row by row.

    The 1,797 images of 8 by 8 pixels come with scikit-learn; they are the test set of
    the UCI "Optical Recognition of Handwritten Digits". Thirteen people wrote them, and
    the images do not state who wrote which: a test part drawn from them contains new
    images, but not new writers.

    Args:
        seed: Seed of the order of the images.

    Returns:
        `(x, y)`: `x` a float32 array of shape `(1797, 8, 8)`, that is (sample, row from
        the top, column from the left), from 0 for paper to 1 for ink; `y` an int64
        array of shape `(1797,)`, the digits 0 to 9.

    Raises:
        ImportError: `scikit-learn` is not installed.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.digits_by_row()
        >>> x.shape, y.shape
        ((1797, 8, 8), (1797,))
    """
    digits = extra("sklearn.datasets", "load_digits")()
    order = np.random.default_rng(seed_of("seed", seed)).permutation(len(digits.target))
    x = (digits.images[order] / PIXEL_LEVELS).astype(np.float32)
    return x, digits.target[order].astype(np.int64)


def python_documentation() -> str:
    """Returns a real text of some 700,000 characters: the topics of Python's `help`.

    It comes with Python (`pydoc_data.topics`) and differs a little between versions.

    Example:
        >>> "sequence" in python_documentation()
        True
    """
    from pydoc_data import topics

    return "\n\n".join(topics.topics[name] for name in sorted(topics.topics))


@renamed(length="sequence_length")
def characters(
    samples: int = 1000,
    *,
    sequence_length: int = 60,
    text: str | None = None,
    alphabet: str | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows over a text; the task is the next character at every step.

    Args:
        samples: The number of windows. They start at random positions, and may overlap:
            for a validation part, split the text first, and use the same alphabet for
            both parts.
        sequence_length: The number of characters in a window.
        text: The text; by default `python_documentation()`.
        alphabet: The characters in the order of their codes; by default
            `"".join(sorted(set(text)))`.
        seed: Seed of the positions.

    Returns:
        `(x, y)`, both int32, of shape `(samples, sequence_length)`: the codes of the
        characters, for an `Embedding`, and those of the characters that follow.

    Raises:
        ValueError: The text is not longer than a window or has a character that is not
            in the alphabet, or a number is below 1.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.characters(2, sequence_length=3, text="abcd")
        >>> ["".join("abcd"[code] for code in codes) for codes in (x[0], y[0])]
        ['abc', 'bcd']
    """
    samples = whole_number("samples", samples, at_least=1)
    sequence_length = whole_number("sequence_length", sequence_length, at_least=1)
    if text is None:
        text = python_documentation()
    if not isinstance(text, str):
        raise TypeError(
            f"`text` must be a str; got {type(text).__name__}. Read a file with "
            "`pathlib.Path(name).read_text()`."
        )
    if len(text) <= sequence_length:
        raise ValueError(
            "`text` must be longer than `sequence_length`, which is "
            f"{sequence_length}; it has {len(text)} characters. Use a longer text or a "
            "smaller `sequence_length`."
        )
    alphabet = "".join(sorted(set(text))) if alphabet is None else alphabet
    if not isinstance(alphabet, str) or len(set(alphabet)) < len(alphabet):
        error = ValueError if isinstance(alphabet, str) else TypeError
        raise error(
            "`alphabet` must be a str with every character once; got "
            f"{alphabet!r}. Use `''.join(sorted(set(text)))`."
        )
    code = {character: place for place, character in enumerate(alphabet)}
    if unknown := sorted(set(text) - set(code)):
        raise ValueError(
            f"`alphabet` must hold every character of the text; {unknown[0]!r} is not "
            "in it. Take it from the whole text: `''.join(sorted(set(text)))`."
        )
    codes = np.array([code[character] for character in text])
    starts = np.random.default_rng(seed_of("seed", seed)).integers(
        len(text) - sequence_length, size=samples
    )
    windows = codes[starts[:, None] + np.arange(sequence_length + 1)].astype(np.int32)
    return windows[:, :-1], windows[:, 1:]
