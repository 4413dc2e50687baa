"""Views of a layer or a cell, which run its stock code with other options.

A layer is shared by all threads that use its model. So no attribute of it is set for a
run. The run gets a view instead, a second object with the same weights.
"""

from __future__ import annotations

from typing import Any

from keras_gates.cells.known_cells import is_plain_stack


def view(layer, **changes) -> Any:
    """Makes a view of a layer: the same weights, parts and class, other options.

    No code of Keras runs for it: a view is not tracked, not saved and not named.

    Args:
        layer: A layer or a cell.
        changes: The attributes in which the view differs from it.
    """
    twin = object.__new__(type(layer))
    # PyTorch keeps layers inside a layer in a separate dict, which it searches last.
    vars(twin).update(vars(layer), **changes)
    return twin


def view_of_cell(cell, pick=None) -> Any:
    """Makes a view of a cell that has dropout masks of its own.

    Keras keeps the masks of a run on the cell, where a run in another thread finds
    and resets them. On a view, they belong to the run.

    Args:
        cell: A cell, or a stack of cells. A user's own cell without dropout is
            returned as it is.
        pick: A function that is applied to the masks of the cell, so that some rows of
            a batch keep the dropout that they had.
    """
    if is_plain_stack(cell):
        return view(cell, cells=[view_of_cell(part, pick) for part in cell.cells])
    drawn = [getattr(cell, name, None) for name in MASKS]
    if None in drawn:
        return cell
    if pick is None:
        return view(cell)
    # The masks are drawn before the loop and kept: a cell that has a mask does not use
    # the step with which it is called.
    return view(
        cell,
        **{
            name: lambda step, stock=stock: pick(stock(step))
            for name, stock in zip(MASKS, drawn, strict=True)
        },
    )


MASKS = "get_dropout_mask", "get_recurrent_dropout_mask"
"""The methods of Keras's cells that draw dropout masks."""


def beneath(gate_class: type, layer) -> Any:
    """Returns what `super()` returns in a method of a gate class.

    Another thread may restore a layer while this one runs it. The layer is then
    already a stock layer.
    """
    try:
        return super(gate_class, layer)
    except TypeError:
        return layer
