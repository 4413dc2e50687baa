"""Functions that a backend records once, and then runs without their Python code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


class Recorded:
    """Runs the program that a backend recorded for a function.

    It is recorded once for all arguments of the same shapes and types. The backends'
    own handling of arguments in structures takes longer than a small program.

    Args:
        function: Takes and returns tensors in structures of lists, tuples and dicts.
        convert: Makes a tensor of an array.
        record: Takes a function from a list of tensors to a list of tensors, and such a
            list. Returns the recorded function.
    """

    def __init__(self, function: Callable, convert: Callable, record: Callable):
        self._function = function
        self._convert = convert
        self._record = record
        self._programs: dict[tuple, tuple[Callable, list]] = {}

    def __call__(self, *arguments):
        """Runs the function."""
        tensors = [self._convert(leaf) for leaf in _leaves(arguments)]
        key = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        if key not in self._programs:
            self._programs[key] = self._new(arguments, tensors)
        program, structure = self._programs[key]
        found = program(tensors)
        return _in_structure(structure[0], iter(found))

    def _new(self, arguments: tuple, tensors: list) -> tuple[Callable, list]:
        structure: list = [None]  # Of the function's result, known after its run.

        def run(tensors: list) -> list:
            outputs = self._function(*_in_structure(arguments, iter(tensors)))
            found = [*_leaves(outputs)]
            structure[0] = _in_structure(outputs, iter(range(len(found))))
            return found

        return self._record(run, tensors), structure


def _leaves(structure) -> Iterator:
    """Yields what a structure holds, without `None`."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from _leaves(structure[key])
    elif isinstance(structure, (list, tuple)):
        for part in structure:
            yield from _leaves(part)
    elif structure is not None:
        yield structure


def _in_structure(structure, leaves: Iterator) -> Any:
    """Puts leaves into a structure, except where it holds `None`."""
    if isinstance(structure, dict):
        placed = {
            name: _in_structure(structure[name], leaves) for name in sorted(structure)
        }
        return {name: placed[name] for name in structure}
    if isinstance(structure, (list, tuple)):
        parts = [_in_structure(part, leaves) for part in structure]
        return tuple(parts) if isinstance(structure, tuple) else parts
    return None if structure is None else next(leaves)
