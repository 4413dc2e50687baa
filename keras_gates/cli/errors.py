"""Errors become sentences: what the command line prints in place of a traceback."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
LENGTH = 400
"""The number of characters shown of another library's message."""

OPTIONS = {"n_jobs": "--jobs", "directory": "--out"}
"""Options whose names differ from those of the arguments of functions."""


def sentence(error: Exception, options: dict) -> str:
    """Returns one line that states what went wrong.

    Args:
        error: The error: one of this package, which explains itself, or any other,
            which is shown with the line that raised it.
        options: The options of the command, whose names replace those of arguments.
    """
    if isinstance(error, OSError) and error.strerror:
        place = f": {_short(repr(str(error.filename)), 120)}" if error.filename else ""
        return f"{error.strerror}{place}."
    if is_ours(error):
        return _with_options(_one_line(error), options)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"unexpected error: {brief(error)} (in {last.filename}, line {last.lineno}). "
        "--debug shows the traceback."
    )


def is_ours(error: BaseException) -> bool:
    """Returns whether this package raised an error, so that it explains itself."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    # An error that Python raises in a line of this package is a bug in the package.
    inside = PACKAGE in Path(frames[-1].filename).parents
    return inside and (frames[-1].line or "").startswith("raise")


def brief(error: BaseException) -> str:
    """Returns the type and the beginning of the message of an error, in one line."""
    return _short(f"{type(error).__name__}: {_one_line(error)}".strip(": "), LENGTH)


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Explains the errors of other libraries with a sentence before their message.

    Args:
        what: The sentence, which states what failed.

    Raises:
        ValueError: In place of any error that another library raised.
    """
    try:
        yield
    except Exception as error:
        if is_ours(error):
            raise
        raise ValueError(f"{what}: {brief(error)}") from error


def _one_line(error: BaseException) -> str:
    plain = re.sub(r"\x1b\[[\d;]*m", "", str(error))  # Keras colours its messages.
    return " ".join(plain.split())


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _with_options(text: str, options: dict) -> str:
    """Replaces the arguments of functions in a message by the options."""
    flags = {name: f"--{name.replace('_', '-')}" for name in options} | OPTIONS

    def flag(found: re.Match) -> str:
        name, value = found.groups()
        if name not in flags:
            return found[0]
        words = re.sub(r"[][',]", "", value or "").strip("= ")
        return f"{flags[name]} {words}".strip()

    return re.sub(r"`(\w+)(=[^`]*)?`", flag, text)
