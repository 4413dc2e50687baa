"""All kinds of cells, and what is known of a signal by its name alone."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

from keras_gates.cells import kinds
from keras_gates.cells.kind import Kind


def _find() -> dict[str, Kind]:
    """Imports every file of `kinds`, and returns what they define, by name."""
    found = []
    for file in pkgutil.iter_modules(kinds.__path__):
        module = importlib.import_module(f"{kinds.__name__}.{file.name}")
        found += [value for value in vars(module).values() if isinstance(value, Kind)]
    # Where several have a signal, the one with the most signals comes first.
    found.sort(key=lambda kind: (-len(kind.signals), kind.name))
    return {kind.name: kind for kind in found}


KINDS: dict[str, Kind] = _find()
"""The kinds of cells by name."""


def signals() -> tuple[str, ...]:
    """Returns every signal of any kind, each once."""
    return _each(kind.signals for kind in KINDS.values())


def gates() -> tuple[str, ...]:
    """Returns every gate of any kind, each once."""
    return _each(kind.gates for kind in KINDS.values())


def keeping() -> tuple[str, ...]:
    """Returns the gates whose value is the share of the old state that is kept."""
    return _each((kind.keep,) for kind in KINDS.values() if kind.keep)


def long_names() -> dict[str, str]:
    """Returns the words for each signal."""
    return _first_of_all("long_names")


def colours() -> dict[str, str]:
    """Returns the colour of each signal in figures."""
    return _first_of_all("colours")


def kind_with(names: Iterable[str]) -> Kind:
    """Returns the kind that has the most of some signals, the first one of several."""
    names = set(names)
    return max(KINDS.values(), key=lambda kind: len(names & set(kind.signals)))


def _each(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _first_of_all(field: str) -> dict[str, str]:
    joined: dict[str, str] = {}
    for kind in KINDS.values():
        joined = {**getattr(kind, field), **joined}
    return {name: joined[name] for name in signals()}
