"""The cells of a recurrent layer, and the kinds of those with known equations."""

from __future__ import annotations

import weakref
from collections.abc import Set
from typing import Any

import keras

from keras_gates.cells.kind import Kind
from keras_gates.cells.registry import KINDS, STOCK
from keras_gates.cells.traced_kind import traced_kind
from keras_gates.cells.tracing import Untraceable


class StockEquations:
    """Marks a class whose version of a stock method leaves the equations alone."""


_traced: weakref.WeakKeyDictionary[Any, tuple[type, Kind | str]] = (
    weakref.WeakKeyDictionary()
)
"""For each traced cell, its class when traced, and its kind or why it has none."""


def kind_of(cell) -> Kind | None:
    """Returns the kind of a cell: registered, of Keras, or traced; else `None`.

    A subclass has the kind of its base class if it does not change the equations.
    """
    return _described(cell) or _found_by_tracing(cell)


def why_unknown(cell) -> str:
    """Returns why a cell that has no kind cannot be traced."""
    if not isinstance(cell, keras.layers.Layer):
        return "it is not a Keras layer"
    if not cell.built:
        return "it is not built"
    _found_by_tracing(cell)
    return str(_traced[cell][1])


def _described(cell) -> Kind | None:
    for cls in type(cell).__mro__:
        for kind in KINDS.values():
            if kind.cell is cls:
                changed = _changes(cell, cls, _EQUATIONS | kind.methods)
                return None if changed else kind
    return None


def _found_by_tracing(cell) -> Kind | None:
    if not isinstance(cell, keras.layers.Layer) or not cell.built:
        return None
    known = _traced.get(cell)
    if known is None or known[0] is not type(cell):
        found: Kind | str
        try:
            found = traced_kind(cell)
        except Untraceable as reason:
            found = str(reason)
        _traced[cell] = known = (type(cell), found)
    return known[1] if isinstance(known[1], Kind) else None


def known_kind(cell) -> Kind:
    """Returns the kind of a cell of Keras.

    Raises:
        ValueError: If its equations are not known.
    """
    kind = _described(cell)
    if kind is None or kind.name not in STOCK:
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

    A single cell has the path "". A cell of a stack has its name as its path, after
    the names of the stacks that hold it if stacks are nested. A stack of the user's
    own, which calls its cells in its own way, counts as one cell.
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


def has_kernel(layer: keras.layers.RNN) -> bool:
    """Returns whether Keras may run a kernel instead of the cell of a layer."""
    has_own = type(layer).inner_loop is not keras.layers.RNN.inner_loop
    return has_own and getattr(layer, "use_cudnn", False) is not False


def output_width(cell) -> int:
    """Returns the number of values of the output of a cell, as in Keras's layers."""
    size = getattr(cell, "output_size", None)
    return keras.tree.flatten(cell.state_size if size is None else size)[0]
