"""Views of a layer or a cell, which run its stock code with other options.

A layer is shared by all threads that use its model. So nothing is set on it for the
time of a run: the run gets a view, a second object with the same weights.
"""

from __future__ import annotations

from typing import Any

from keras_gates.cells.structure import is_plain_stack


def view(layer, **changes) -> Any:
    """Makes a view of a layer: the same weights, parts and class, other options.

    Nothing of Keras's is run for it: a view is not tracked, not saved and not named.

    Args:
        layer: A layer or a cell.
        changes: The attributes in which the view differs from it.
    """
    twin = object.__new__(type(layer))
    # PyTorch keeps layers inside a layer in a dict of its own, and looks there last.
    vars(twin).update(vars(layer), **changes)
    return twin


def view_of_cell(cell, pick=None) -> Any:
    """Makes a view of a cell that has dropout masks of its own.

    Keras keeps the masks of a run on the cell, where a run in another thread finds
    and resets them. On a view, they belong to the run.

    Args:
        cell: A cell, or a stack of cells. One of the user's own that has no dropout
            is returned as it is.
        pick: Applied to the masks of the cell, so that some rows of a batch get the
            dropout that they were given.
    """
    if is_plain_stack(cell):
        return view(cell, cells=[view_of_cell(part, pick) for part in cell.cells])
    drawn = [getattr(cell, name, None) for name in _MASKS]
    if None in drawn:
        return cell
    if pick is None:
        return view(cell)
    # The masks are drawn before the loop and kept: a cell that has one does not look
    # at the step it is called with.
    return view(
        cell,
        **{
            name: lambda step, stock=stock: pick(stock(step))
            for name, stock in zip(_MASKS, drawn, strict=True)
        },
    )


_MASKS = "get_dropout_mask", "get_recurrent_dropout_mask"


def beneath(gate_class: type, layer) -> Any:
    """Returns what `super()` is in a method of a gate class.

    Another thread may turn a layer back while this one runs it. Then the layer is
    its own stock layer already.
    """
    try:
        return super(gate_class, layer)
    except TypeError:
        return layer
