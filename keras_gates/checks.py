"""Checks of arguments that several modules make."""

import operator
import os
from pathlib import Path
from typing import Any

LARGEST = 2**63 - 1
"""No array has more entries, on any machine."""


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
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"`{name}` must be a whole number{other}; got {value!r}. Use an int of at "
            f"least {at_least}{other}."
        ) from None
    if number < at_least:
        raise ValueError(
            f"`{name}` must be at least {at_least}; got {number}. Use {at_least} or "
            "more."
        )
    if number > at_most:
        raise ValueError(f"`{name}` must be at most {at_most}; got {number}.")
    return number


def position(name: str, value: int, size: int) -> int:
    """Returns `value` as an int, or says which positions `name` may be.

    Args:
        name: The name of the argument.
        value: What was given.
        size: How many there are.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"`{name}` must be a whole number; got {value!r}. Use an int from 0 to "
            f"{size - 1}."
        ) from None
    if not 0 <= number < size:
        raise IndexError(f"`{name}` must be from 0 to {size - 1}; got {number}.")
    return number


def positions(name: str, values, size: int, *, most: int | None = None) -> list[int]:
    """Returns one position or several as a list of ints.

    Args:
        name: The name of the argument.
        values: What was given.
        size: How many there are.
        most: How many may be chosen. Default: all.
    """
    several = values if hasattr(values, "__iter__") else [values]
    chosen = [position(name, value, size) for value in several]
    if not 0 < len(chosen) <= (most or size):
        raise ValueError(
            f"`{name}` must name from 1 to {most or size} of them; got {len(chosen)}."
        )
    return chosen


def names_of(argument: str, names) -> list[str]:
    """Returns one name or several as a list, or says what `argument` must be."""
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple, set)) or not all(
        isinstance(name, str) for name in names
    ):
        raise TypeError(
            f"`{argument}` must be a name or a list of names; got {names!r}."
        )
    if not names:
        raise ValueError(f"`{argument}` is empty; leave it out to get all.")
    return list(names)


def one_of(name: str, value, allowed: tuple):
    """Returns `value` if it is allowed, or says what `name` must be."""
    if value is not None and not isinstance(value, str) or value not in allowed:
        names = ", ".join(map(repr, allowed))
        raise ValueError(f"`{name}` must be one of {names}; got {value!r}.")
    return value


def real_number(name: str, value) -> float:
    """Returns `value` as a float, or says what `name` must be."""
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(f"`{name}` must be a number; got {value!r}.")
    return float(value)


def path_of(name: str, value) -> Path | None:
    """Returns `value` as an absolute path, or says what `name` must be."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"`{name}` must be a path; got {value!r}.")
    # Absolute now: the working folder may change before it is used.
    return Path(value).expanduser().absolute()


def kind_of(value: Any) -> str:
    """Returns what sort of thing this is, for an error."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
