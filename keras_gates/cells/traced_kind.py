"""The kind of a cell that nobody described, from the trace of its step."""

from __future__ import annotations

import math

import keras

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind
from keras_gates.cells.kind_attributes import own_kind
from keras_gates.cells.named_states import state_shapes
from keras_gates.cells.tracing import SIGMOIDS, Traced, Untraceable, trace


def traced_kind(cell) -> Kind:
    """Returns the kind of a cell whose step is traced.

    Its signals are its activations under the names of their operations, then `hidden`,
    which is its output, and its other states as `state_0`, `state_1` and so on, in the
    order of Keras. Of the activations, the sigmoids are gates.

    Args:
        cell: A cell that is built.

    Raises:
        Untraceable: If it cannot be traced, or there is no activation in it.
    """
    shape = (cell.get_build_config() or {}).get("input_shape")
    if shape is None:
        raise Untraceable("its `build` does not take the `input_shape` alone")
    shapes = state_shapes(cell, None)
    if any(size < 0 for size in keras.tree.flatten(cell.state_size)):
        # As that of Keras's `ConvLSTM1D`, whose states are pictures.
        raise Untraceable(f"its `state_size` is {cell.state_size}, no number of values")
    symbols = [
        keras.KerasTensor(size, dtype=cell.compute_dtype)
        for size in (tuple(shape), *shapes)
    ]
    traced = trace(cell, symbols[0], symbols[1:], {})
    names = tuple(traced.widths)
    if not names:
        raise Untraceable("there is no activation in it, such as a sigmoid or a tanh")
    states = states_of(traced, len(shapes))
    last = {
        n: math.prod(shape[1:])
        for n, shape in zip(reversed(states), shapes, strict=True)
    }
    widths = {**traced.widths, **last}
    return own_kind(
        type(cell).__name__,
        blocks=names if traced.output is not None else (*names, v.HIDDEN),
        states=states,
        gates=tuple(name for name in names if name.startswith(SIGMOIDS)),
        traced=True,
        widths={n: width for n, width in widths.items() if width != traced.width},
    )


def states_of(traced: Traced, number: int) -> tuple[str, ...]:
    """Returns the names of the states of a traced cell, as `Kind` has them."""
    names = [
        v.HIDDEN if place == traced.output else f"state_{place}"
        for place in range(number)
    ]
    return tuple(reversed(names))
