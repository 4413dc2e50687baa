"""The samples, time steps or units that a number, a list or a slice chooses."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from keras_gates.checks import array_of, type_of


def chosen_places(argument: str, chosen: Any, size: int) -> list[int]:
    """Returns the chosen places among a known number of places.

    Args:
        argument: The name of the argument.
        chosen: A number, a list of numbers, or a slice.
        size: The number of places.
    """
    return places_from(argument, chosen, size)[0]


def places_from(
    argument: str, chosen: Any, size: int | None
) -> tuple[list, int | None]:
    """Returns the chosen places, and the place from which on all are chosen."""
    if isinstance(chosen, slice):
        places, last = _of_slice(argument, chosen, size)
    else:
        places, last = _of_numbers(argument, chosen, size), None
    if not places and last is None:
        raise ValueError(
            f"`{argument}` must choose at least one; got {chosen!r}, which chooses "
            f"none{_of(size)}."
        )
    return places, last


def _of_slice(argument, chosen: slice, size) -> tuple[list[int], int | None]:
    try:
        bounds = [
            None if bound is None else operator.index(bound)
            for bound in (chosen.start, chosen.stop, chosen.step)
        ]
    except TypeError:
        raise TypeError(
            f"`{argument}` must be a slice of whole numbers; got {chosen!r}."
        ) from None
    start, stop, step = bounds
    if size is not None:
        return list(range(size)[slice(*bounds)]), None
    if any(bound is not None and bound < 0 for bound in bounds):
        raise _not_from_the_end(argument, chosen)
    if stop is not None:
        return list(range(start or 0, stop, step or 1)), None
    if step not in (None, 1):
        raise ValueError(
            f"`{argument}` must be a slice with an end, as the total number is not "
            f"known; got {chosen!r}."
        )
    return [], start or 0


def _of_numbers(argument, chosen, size) -> list[int]:
    array = array_of(argument, chosen)
    if array.dtype == bool and array.ndim == 1 and len(array) in (size, None):
        array = np.flatnonzero(array)
    if array.size == 0:
        return []
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise TypeError(
            f"`{argument}` must be a whole number, a list of whole numbers or a slice; "
            f"got {type_of(chosen)} of {array.dtype}, {array.ndim} dimensions."
        )
    numbers = [int(number) for number in array.ravel()]
    for number in numbers:
        if size is None and number < 0:
            raise _not_from_the_end(argument, number)
        if size is not None and not -size <= number < size:
            raise IndexError(
                f"`{argument}` must be from 0 to {size - 1}; got {number}."
            )
    return [number % size if size is not None else number for number in numbers]


def _not_from_the_end(argument, chosen) -> ValueError:
    return ValueError(
        f"`{argument}` cannot be counted from the end, as the total number is not "
        f"known before the model runs; got {chosen!r}. Count from 0."
    )


def _of(size: int | None) -> str:
    return "" if size is None else f" of {size}"
