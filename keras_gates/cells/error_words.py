"""The message of an error in a user's code, without the text that Keras adds."""

from __future__ import annotations

import re

_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.S)


def words_of(error: BaseException) -> str:
    r"""Returns the type of an error and the first line of its message.

    Example:
        >>> words_of(TypeError("Exception encountered.\n\n\x1b[1mNo.\x1b[0m\n\nMore"))
        'TypeError: No'
        >>> words_of(TypeError("Not loaded.\n\nException encountered: No way back."))
        'TypeError: No way back'
    """
    # While Keras loads a model, each part of it wraps the error of the part inside.
    message = str(error).rpartition("Exception encountered:")[2]
    bold = _BOLD.search(message)
    message = bold.group(1) if bold else message
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = re.sub(r"\x1b\[\d*m", "", lines[0]).rstrip(".: ") if lines else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
