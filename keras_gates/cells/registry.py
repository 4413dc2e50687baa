"""All kinds of cells, and the properties of a signal that its name determines."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_gates.cells import kinds
from keras_gates.cells.kind import Kind
from keras_gates.cells.kind_attributes import described, kind_of_attributes


def _find() -> dict[str, Kind]:
    """Imports every file of `kinds`, and returns the kinds defined there, by name."""
    found = []
    for file in pkgutil.iter_modules(kinds.__path__):
        module = importlib.import_module(f"{kinds.__name__}.{file.name}")
        found += [value for value in vars(module).values() if isinstance(value, Kind)]
    # Where several have a signal, the one with the most signals comes first.
    found.sort(key=lambda kind: (-len(kind.signals), kind.name))
    return {kind.name: kind for kind in found}


STOCK: dict[str, Kind] = _find()
"""The kinds of Keras's own cells, by name."""

KINDS: dict[str, Kind] = dict(STOCK)
"""The kinds of Keras's own cells and of those that users registered, by name."""

_others: dict[str, Kind] = {}
"""Kinds that are not registered here, by their description.

These are the kinds of traced cells, and of data from other processes.
"""


def kind_from(attributes: Mapping[Any, Any]) -> Kind | None:
    """Returns the kind of a layer from the attributes of its data, else `None`."""
    known = KINDS.get(str(attributes.get("cell_type")))
    if known is not None and known.name in STOCK:
        return known
    found = kind_of_attributes(attributes)
    if found is None:
        return known
    if known is not None and described(known) == described(found):
        return known
    return remember(found)


def remember(kind: Kind) -> Kind:
    """Makes the signals of a kind known by name; returns the first kind equal to it."""
    return _others.setdefault(repr(described(kind)), kind)


def chosen(choose: Callable[[Kind], Iterable[str]]) -> tuple[str, ...]:
    """Returns the signals that a function chooses from all kinds, each once."""
    return _each(tuple(choose(kind)) for kind in _all())


def signals() -> tuple[str, ...]:
    """Returns the signals of all kinds, each once."""
    return _each(kind.signals for kind in _all())


def gates() -> tuple[str, ...]:
    """Returns the gates of all kinds, each once."""
    return _each(kind.gates for kind in _all())


def long_names() -> dict[str, str]:
    """Returns the long name of each signal."""
    return _first_of_all("long_names")


def colours() -> dict[str, str]:
    """Returns the colour of each signal in figures."""
    return _first_of_all("colours")


def kind_with(names: Iterable[str]) -> Kind:
    """Returns the kind that has the most of the given signals, the first if several."""
    names = set(names)
    return max(_all(), key=lambda kind: len(names & set(kind.signals)))


def _all() -> list[Kind]:
    return [*KINDS.values(), *_others.values()]


def _each(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _first_of_all(field: str) -> dict[str, str]:
    joined: dict[str, str] = {}
    for kind in _all():
        joined = {**getattr(kind, field), **joined}
    return {name: joined[name] for name in signals()}
