"""The states of a cell: their shapes, and their values by position or by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def state_shapes(cell, batch: int | None) -> list[tuple[Any, ...]]:
    """Returns the shapes of the states of a cell, in the order of Keras."""
    sizes = cell.state_size
    sizes = sizes if isinstance(sizes, (list, tuple)) else [sizes]
    return [(batch, *([size] if isinstance(size, int) else size)) for size in sizes]


class NamedStates(tuple):
    """A tuple of states that can also be indexed by name.

    Args:
        names: The names, in the order of Keras.
        values: The states, in the same order.

    Example:
        >>> states = NamedStates(("hidden", "cell"), (1.0, 2.0))
        >>> states["cell"], states[1]
        (2.0, 2.0)
    """

    names: tuple[str, ...]

    def __new__(cls, names: Iterable[str], values: Iterable[Any]):
        """Returns a new tuple."""
        made = super().__new__(cls, values)
        made.names = tuple(names)
        return made

    def __getitem__(self, key: Any) -> Any:
        """Returns a state by its position or its name."""
        if isinstance(key, str):
            if key not in self.names:
                raise KeyError(f"There is no state {key!r}, only {self.names}.")
            key = self.names.index(key)
        return super().__getitem__(key)
