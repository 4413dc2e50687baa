"""Error messages for names that do not exist: the existing names, and the new name.

Some names were changed before the first release. Their messages will be removed in the
release after it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable)


def renamed(**names: str) -> Callable[[Function], Function]:
    """Makes a function raise an error for an unknown argument that lists its own.

    Args:
        names: Old name to new name, for arguments that were renamed.

    Example:
        >>> @renamed(every="record_freq")
        ... def record(record_freq=1):
        ...     return record_freq
        >>> record(every=2)
        Traceback (most recent call last):
        TypeError: `record` has no argument `every`. It is called `record_freq`.
        >>> record(often=2)
        Traceback (most recent call last):
        TypeError: `record` has no argument `often`. Its arguments are `record_freq`.
        >>> record(1, 2)
        Traceback (most recent call last):
        TypeError: `record` takes `record_freq` by position; got 2 arguments.
    """

    def decorate(function: Function) -> Function:
        name = function.__qualname__.removesuffix(".__init__")
        parameters = inspect.signature(function).parameters
        known = [one for one in parameters if one != "self"]
        kinds = {one: parameters[one].kind for one in known}
        by_name = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD
        placed = [one for one, kind in kinds.items() if kind not in by_name]
        unlimited = inspect.Parameter.VAR_POSITIONAL in kinds.values()
        # What a function passes on, it checks itself.
        passes_on = inspect.Parameter.VAR_KEYWORD in kinds.values()

        @functools.wraps(function)
        def checked(*args, **kwargs):
            for given in kwargs.keys() & names if passes_on else kwargs.keys() - known:
                answer = f"Its arguments are {', '.join(f'`{one}`' for one in known)}."
                if given in names:
                    answer = f"It is called `{names[given]}`."
                raise TypeError(f"`{name}` has no argument `{given}`. {answer}")
            number = len(args) - ("self" in parameters)
            if number > len(placed) and not unlimited:
                listed = ", ".join(f"`{one}`" for one in placed) or "nothing"
                raise TypeError(
                    f"`{name}` takes {listed} by position; got {number} arguments."
                )
            return function(*args, **kwargs)

        return cast(Function, checked)

    return decorate


def moved(module: str, public: Sequence[str], **names: str) -> Callable[[str], Any]:
    """Returns a `__getattr__` that raises an error for an unknown name.

    The error lists the names that exist.

    Args:
        module: The name of the module.
        public: Its public names.
        names: Old name to new name, for functions that were renamed.

    Example:
        >>> answer = moved("stats", ["find_similar_spans"], match="find_similar_spans")
        >>> answer("match")
        Traceback (most recent call last):
        AttributeError: `stats.match` is called `find_similar_spans`.
        >>> answer("spans")
        Traceback (most recent call last):
        AttributeError: 'stats' has no 'spans'. It has: find_similar_spans.
    """

    def attribute(name: str) -> Any:
        if name in names:
            raise AttributeError(f"`{module}.{name}` is called `{names[name]}`.")
        raise AttributeError(
            f"'{module}' has no '{name}'. It has: {', '.join(public)}."
        )

    return attribute
