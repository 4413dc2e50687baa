"""Checks of arguments: one for each kind, used by every public function.

Each takes the name of the argument and the value that was given, and returns the value
in one form. It raises a TypeError for a wrong type and a ValueError for a wrong value.
True and False are not numbers, and neither are strings that look like a number.
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
"""The limits of file systems, in bytes."""


Names: TypeAlias = str | Iterable[str] | None
"""One name, several, or all."""

Place: TypeAlias = str | os.PathLike[str] | None
"""A path or a URL."""

Positions: TypeAlias = int | slice | Iterable[int] | None
"""One position, a range, several, or all."""


def whole_number(
    name: str, value: Any, *, at_least: int, at_most: int = LARGEST, or_else: str = ""
) -> int:
    """Returns `value` as an int, or raises an error that states what `name` must be.

    Args:
        name: The name of the argument.
        value: The value that was given.
        at_least: The smallest number that is allowed.
        at_most: The largest number that is allowed.
        or_else: Another value that is allowed; the caller has checked for it.
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
    """Returns a whole number, or the word that is allowed in its place."""
    if isinstance(value, str) and value == word:
        return word
    return whole_number(name, value, at_least=at_least, or_else=repr(word))


def seed_of(name: str, value: Any) -> int:
    """Returns a seed as an int, in the range that every random generator accepts."""
    return whole_number(name, value, at_least=0, at_most=2**32 - 1)


def position(name: str, value: Any, size: int) -> int:
    """Returns a position as an int, or raises an error that states the allowed range.

    Args:
        name: The name of the argument.
        value: The value that was given.
        size: The number of positions.
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
    """Returns `value` as a float, or raises an error that states what `name` must be.

    Args:
        name: The name of the argument.
        value: The value that was given.
        at_least: The smallest number that is allowed.
        infinite: Whether it may be infinite.
        or_else: Another value that is allowed; the caller has checked for it.
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
    """Returns a share between 0 and 1, both excluded, as a float."""
    wanted = "lie between 0 and 1, both excluded, such as 0.8 for 80 %"
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
    """Returns `value` if it is allowed, or raises an error that lists what is."""
    simple = value is None or isinstance(value, str | int | np.integer)
    if not simple or value not in tuple(allowed):
        names = ", ".join(map(repr, allowed)) or "none, as there are none"
        error = ValueError if simple else TypeError
        raise error(f"`{name}` must be one of {names}; got {_shown(value)}.")
    return value


def names_of(argument: str, names: Any) -> list[str]:
    """Returns one name or several as a list, or raises an error."""
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
    """Returns a function or `None`, or raises an error.

    Args:
        name: The name of the argument.
        value: The value that was given.
        what: A description of the function for the error, such as "of (name, seed)".
    """
    import keras

    # Layers and models can be called too, but only with tensors.
    if isinstance(value, keras.layers.Layer) or not (value is None or callable(value)):
        raise TypeError(
            f"`{name}` must be a function {what}, or None; got {type_of(value)}."
        )
    return value


def path_of(name: str, value: Any) -> Path | None:
    """Returns `value` as an absolute path, or raises an error."""
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise TypeError(
            f"`{name}` must be a path, a str or a pathlib.Path; got {_shown(value)}."
        )
    if not text or "\0" in text:
        what = "contains a NUL character" if text else "is empty"
        raise ValueError(f"`{name}` must be a path; {text!r} {what}.")
    try:
        # Absolute now: the working folder may change before it is used.
        path = Path(text).expanduser().absolute()
        longest = max(len(os.fsencode(part)) for part in path.parts)
    except (RuntimeError, UnicodeError) as error:  # An unknown user; a lone surrogate.
        raise ValueError(f"`{name}` must be a path; got {text!r}: {error}") from None
    if longest > LONGEST_NAME or len(os.fsencode(path)) > LONGEST_PATH:
        raise ValueError(
            f"`{name}` must be a path that file systems accept, with names of at most "
            f"{LONGEST_NAME} bytes; got {_shown(text)}, which has a name of {longest} "
            f"bytes and {len(os.fsencode(path))} bytes in all."
        )
    return path


def folder_of(name: str, value: Any) -> Path | None:
    """Returns the path of a folder, which need not exist yet."""
    path = path_of(name, value)
    if path is not None:
        there = next(one for one in (path, *path.parents) if os.path.lexists(one))
        if not there.is_dir():
            raise NotADirectoryError(
                f"`{name}` must be a folder, or a path that does not exist yet; "
                f"'{there}' is not a folder. Choose another path."
            )
    return path


def array_of(name: str, value: Any) -> np.ndarray:
    """Returns an array of any type, or raises an error if `value` cannot be one."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"`{name}` must be an array, or a list that can be made into one; got "
            f"{type_of(value)}: {error}"
        ) from None


def real_numbers(name: str, value: Any) -> np.ndarray:
    """Returns an array of real numbers or truth values, which may contain NaN."""
    array = array_of(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"`{name}` must hold real numbers; got {type_of(value)} of {array.dtype}."
        )
    return array


def either(names: Iterable[str], last: str = "or") -> str:
    """Lists names as in a sentence.

    Example:
        >>> either(["LSTM", "GRU", "SimpleRNN"])
        'LSTM, GRU or SimpleRNN'
    """
    *first, final = names
    return f" {last} ".join([", ".join(first), final] if first else [final])


def type_of(value: Any) -> str:
    """Returns the type of a value with its article, for an error."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _index(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("True and False are not numbers.")
    return operator.index(value)


def _number(name: str, value: Any, wanted: str, fits: Callable[[float], bool]) -> float:
    """Returns a number that fits as a float, or raises an error."""
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
    """Returns a value for an error: in one short line, or else its type."""
    text = repr(value)
    return text if len(text) <= 100 and "\n" not in text else type_of(value)
