"""Which cells a recurrent layer has, and whose equations are known."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import keras

from keras_gates.cells.kind import Kind
from keras_gates.cells.registry import KINDS


class StockEquations:
    """Marks a class whose version of a stock method leaves the equations alone."""


def kind_of(cell) -> Kind | None:
    """Returns the kind of a cell whose equations are known, else `None`.

    A subclass of a stock cell counts if it leaves the stock equations alone.
    """
    for kind in KINDS.values():
        if isinstance(cell, kind.cell):
            changed = _changes(cell, kind.cell, _EQUATIONS | kind.methods)
            return None if changed else kind
    return None


def known_kind(cell) -> Kind:
    """Returns the kind of a cell.

    Raises:
        ValueError: If its equations are not known.
    """
    kind = kind_of(cell)
    if kind is None:
        raise ValueError(
            f"The equations of '{cell.name}' are not known: `{type(cell).__name__}` "
            "changes those of Keras's cell. Call it without `return_gates=True`."
        )
    return kind


_EQUATIONS = frozenset(
    {
        "__call__",
        "call",
        "get_dropout_mask",
        "get_recurrent_dropout_mask",
        "_create_dropout_mask",
    }
)
"""The methods of Keras's cells that hold equations, or what enters them."""


def cells_of(layer: keras.layers.RNN) -> list[tuple[str, Any]]:
    """Lists the cells of a recurrent layer, with their paths inside it.

    A layer around a single cell has one, at the path "". The cells of a stack have
    their names, behind the names of the stacks that a stack may hold in turn. A stack
    of the user's own, which calls its cells in its own way, counts as one cell.
    """

    def visit(cell, path):
        if not is_plain_stack(cell):
            return [(path, cell)]
        inner = [(f"{path}/{part.name}", part) for part in cell.cells]
        return [leaf for place, part in inner for leaf in visit(part, place)]

    return [(path.removeprefix("/"), cell) for path, cell in visit(layer.cell, "")]


def is_plain_stack(cell) -> bool:
    """Returns whether a cell is a stack that calls its cells in Keras's way."""
    stack = keras.layers.StackedRNNCells
    return isinstance(cell, stack) and not _changes(cell, stack, {"call", "__call__"})


def _changes(cell, stock: type, methods: Set[str]) -> bool:
    """Returns whether the class of a cell has its own version of a stock method."""
    added = set(type(cell).__mro__) - set(stock.__mro__)
    return any(
        methods & set(vars(cls)) for cls in added if StockEquations not in cls.__bases__
    )
