"""Checks of arguments: one for each kind, used by every public function.

Each takes the name of the argument and what was given, returns it in one form, and
raises a TypeError for a wrong type, a ValueError for a wrong value. True and False are
not numbers, and neither are strings that look like one.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

LARGEST = 2**63 - 1
"""No array has more entries, on any machine."""

LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes: what file systems take."""


Names: TypeAlias = str | Iterable[str] | None
"""One name, several, or all."""

Place: TypeAlias = str | os.PathLike[str] | None
"""A path or a URL."""

Positions: TypeAlias = int | slice | Iterable[int] | None
"""One position, a range, several, or all."""


def whole_number(
    name: str, value: Any, *, at_least: int, at_most: int = LARGEST, or_else: str = ""
) -> int:
    """Returns `value` as an int, or says what `name` must be.

    Args:
        name: The name of the argument.
        value: What was given.
        at_least: The smallest number that is allowed.
        at_most: The largest.
        or_else: What else is allowed; the caller has looked for it.
    """
    other = f" or {or_else}" if or_else else ""
    try:
        number = _index(value)
    except TypeError:
        raise TypeError(
            f"`{name}` must be a whole number{other}; got {_shown(value)}. Use an int "
            f"of at least {at_least}{other}."
        ) from None
    if number < at_least:
        raise ValueError(
            f"`{name}` must be at least {at_least}; got {number}. Use {at_least} or "
            "more."
        )
    if number > at_most:
        raise ValueError(f"`{name}` must be at most {at_most}; got {number}.")
    return number


def number_or(name: str, value: Any, word: str, *, at_least: int) -> int | str:
    """Returns a whole number, or the one word that is allowed in its place."""
    if isinstance(value, str) and value == word:
        return word
    return whole_number(name, value, at_least=at_least, or_else=repr(word))


def seed_of(name: str, value: Any) -> int:
    """Returns a seed as an int: one that every random generator takes."""
    return whole_number(name, value, at_least=0, at_most=2**32 - 1)


def position(name: str, value: Any, size: int) -> int:
    """Returns `value` as an int, or says which positions `name` may be.

    Args:
        name: The name of the argument.
        value: What was given.
        size: How many there are.
    """
    try:
        number = _index(value)
    except TypeError:
        raise TypeError(
            f"`{name}` must be a whole number; got {_shown(value)}. Use an int from 0 "
            f"to {size - 1}."
        ) from None
    if not 0 <= number < size:
        raise IndexError(f"`{name}` must be from 0 to {size - 1}; got {number}.")
    return number


def real_number(
    name: str,
    value: Any,
    *,
    at_least: float = -math.inf,
    infinite: bool = False,
    or_else: str = "",
) -> float:
    """Returns `value` as a float, or says what `name` must be.

    Args:
        name: The name of the argument.
        value: What was given.
        at_least: The smallest number that is allowed.
        infinite: Whether it may be infinite.
        or_else: What else is allowed; the caller has looked for it.
    """
    wanted = "be a number" if infinite else "be a finite number"
    wanted += f" of {at_least:g} or more" if at_least > -math.inf else ""
    wanted += f", or {or_else}" if or_else else ""
    return _number(
        name,
        value,
        wanted,
        lambda number: at_least <= number and (infinite or math.isfinite(number)),
    )


def share_of(name: str, value: Any) -> float:
    """Returns a share between 0 and 1, both left out, as a float."""
    wanted = "lie between 0 and 1, both left out, such as 0.8 for 80 %"
    return _number(name, value, wanted, lambda number: 0 < number < 1)


def threshold(name: str, value: Any) -> float:
    """Returns a threshold from 0 to 1 as a float."""
    wanted = "be a threshold, a number from 0 to 1"
    return _number(name, value, wanted, lambda number: 0 <= number <= 1)


def thresholds(**pair: Any) -> tuple[float, float]:
    """Returns two thresholds from 0 to 1, given by name, the lower one first."""
    low, high = (threshold(name, value) for name, value in pair.items())
    if not low < high:
        first, second = pair
        raise ValueError(
            f"`{first}` and `{second}` must be thresholds with 0 <= {first} < {second} "
            f"<= 1; got {first}={low!r} and {second}={high!r}."
        )
    return low, high


def flag(name: str, value: Any) -> bool:
    """Returns `value`, which must be True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False; got {_shown(value)}.")
    return bool(value)


def one_of(name: str, value: Any, allowed: Collection) -> Any:
    """Returns `value` if it is allowed, or says what `name` must be."""
    simple = value is None or isinstance(value, str | int | np.integer)
    if not simple or value not in tuple(allowed):
        names = ", ".join(map(repr, allowed)) or "none, for there are none"
        error = ValueError if simple else TypeError
        raise error(f"`{name}` must be one of {names}; got {_shown(value)}.")
    return value


def names_of(argument: str, names: Any) -> list[str]:
    """Returns one name or several as a list, or says what `argument` must be."""
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple, set)) or not all(
        isinstance(name, str) for name in names
    ):
        raise TypeError(
            f"`{argument}` must be a name or a list of names; got {_shown(names)}."
        )
    if not names:
        raise ValueError(f"`{argument}` is empty; leave it out to get all.")
    return list(names)


def function_of(name: str, value: Any, what: str) -> Any:
    """Returns a function or `None`, or says what `name` must be.

    Args:
        name: The name of the argument.
        value: What was given.
        what: What the function does, for the error, such as "of (name, seed)".
    """
    import keras

    # A layer and a model can be called, but with tensors.
    if isinstance(value, keras.layers.Layer) or not (value is None or callable(value)):
        raise TypeError(
            f"`{name}` must be a function {what}, or None; got {type_of(value)}."
        )
    return value


def path_of(name: str, value: Any) -> Path | None:
    """Returns `value` as an absolute path, or says what `name` must be."""
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise TypeError(
            f"`{name}` must be a path, a str or a pathlib.Path; got {_shown(value)}."
        )
    if not text or "\0" in text:
        what = "has a NUL character in it" if text else "is empty"
        raise ValueError(f"`{name}` must be a path; {text!r} {what}.")
    try:
        # Absolute now: the working folder may change before it is used.
        path = Path(text).expanduser().absolute()
        longest = max(len(os.fsencode(part)) for part in path.parts)
    except (RuntimeError, UnicodeError) as error:  # An unknown user; a lone surrogate.
        raise ValueError(f"`{name}` must be a path; got {text!r}: {error}") from None
    if longest > LONGEST_NAME or len(os.fsencode(path)) > LONGEST_PATH:
        raise ValueError(
            f"`{name}` must be a path that file systems take, with names of at most "
            f"{LONGEST_NAME} bytes; got {_shown(text)}, which has a name of {longest} "
            f"bytes and {len(os.fsencode(path))} bytes altogether."
        )
    return path


def folder_of(name: str, value: Any) -> Path | None:
    """Returns a path at which there is a folder or nothing."""
    path = path_of(name, value)
    if path is not None:
        there = next(one for one in (path, *path.parents) if os.path.lexists(one))
        if not there.is_dir():
            raise NotADirectoryError(
                f"`{name}` must be a folder, or a path where there is nothing yet; "
                f"'{there}' is no folder. Choose another path."
            )
    return path


def array_of(name: str, value: Any) -> np.ndarray:
    """Returns an array of whatever type, or says that `value` cannot be one."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"`{name}` must be an array, or a list that makes one; got "
            f"{type_of(value)}: {error}"
        ) from None


def real_numbers(name: str, value: Any) -> np.ndarray:
    """Returns an array of real numbers, or of truth values; NaN may be among them."""
    array = array_of(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"`{name}` must hold real numbers; got {type_of(value)} of {array.dtype}."
        )
    return array


def either(names: Iterable[str], last: str = "or") -> str:
    """Lists names as a sentence does.

    Example:
        >>> either(["LSTM", "GRU", "SimpleRNN"])
        'LSTM, GRU or SimpleRNN'
    """
    *first, final = names
    return f" {last} ".join([", ".join(first), final] if first else [final])


def type_of(value: Any) -> str:
    """Returns what sort of thing this is, for an error."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _index(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("True and False are not numbers.")
    return operator.index(value)


def _number(name: str, value: Any, wanted: str, fits: Callable[[float], bool]) -> float:
    """Returns a number that fits as a float, or says what is wanted."""
    try:
        number = float(value) if _is_real(value) else None
    except OverflowError:
        number = math.inf
    if number is None or not fits(number):
        error = TypeError if number is None else ValueError
        raise error(f"`{name}` must {wanted}; got {_shown(value)}.")
    return number


def _is_real(value: Any) -> bool:
    if isinstance(value, numbers.Real):
        return not isinstance(value, bool)
    return getattr(value, "ndim", None) == 0 and np.asarray(value).dtype.kind in "iuf"


def _shown(value: Any) -> str:
    """Returns what was given, for an error: in one short line, or what it is."""
    text = repr(value)
    return text if len(text) <= 100 and "\n" not in text else type_of(value)
