"""Detection of random numbers that the code of a cell draws."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras

from keras_gates.cells.held_layers import held_layers

_lock = threading.RLock()


class Drawn(Exception):
    """Raised instead of returning a random number."""


def _generators(cell) -> list[Any]:
    layers = [cell, *held_layers(cell, recursive=True)]
    return [
        held
        for layer in layers
        for held in vars(layer).values()
        if isinstance(held, keras.random.SeedGenerator)
    ]


@contextlib.contextmanager
def noticed(cell) -> Iterator[list[Any]]:
    """Yields a list of the cell's generators from which numbers are drawn."""
    drawn: list[Any] = []

    def next_of(generator):
        def draw(*args, **kwargs):
            drawn.append(generator)
            return type(generator).next(generator, *args, **kwargs)

        return draw

    with _replaced(cell, next_of):
        yield drawn


@contextlib.contextmanager
def refused(cell) -> Iterator[None]:
    """Makes a cell raise `Drawn` where it would draw a random number."""

    def next_of(generator):
        def draw(*args, **kwargs):
            raise Drawn("it draws random numbers")

        return draw

    with _replaced(cell, next_of):
        yield


@contextlib.contextmanager
def _replaced(cell, next_of) -> Iterator[None]:
    with _lock:
        generators = _generators(cell)
        for generator in generators:
            vars(generator)["next"] = next_of(generator)
        try:
            yield
        finally:
            for generator in generators:
                vars(generator).pop("next", None)
