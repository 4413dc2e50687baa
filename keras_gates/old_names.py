"""Sentences for names that were changed before the first release.

They go with the release after it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable)


def renamed(**names: str) -> Callable[[Function], Function]:
    """Makes a function answer an argument's old name with the new one.

    Args:
        names: Old name to new name.

    Example:
        >>> @renamed(every="record_freq")
        ... def record(record_freq=1):
        ...     return record_freq
        >>> record(every=2)
        Traceback (most recent call last):
        TypeError: `record` has no argument `every`. It is called `record_freq`.
    """

    def decorate(function: Function) -> Function:
        name = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def checked(*args, **kwargs):
            for old in names.keys() & kwargs.keys():
                raise TypeError(
                    f"`{name}` has no argument `{old}`. It is called `{names[old]}`."
                )
            return function(*args, **kwargs)

        return cast(Function, checked)

    return decorate


def moved(module: str, **names: str) -> Callable[[str], Any]:
    """Returns a `__getattr__` that answers a function's old name with the new one.

    Args:
        module: The module that has it.
        names: Old name to new name.

    Example:
        >>> moved("keras_gates.stats", match="find_similar_spans")("match")
        Traceback (most recent call last):
        AttributeError: `keras_gates.stats.match` is called `find_similar_spans`.
    """

    def attribute(name: str) -> Any:
        if name in names:
            raise AttributeError(f"`{module}.{name}` is called `{names[name]}`.")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return attribute
