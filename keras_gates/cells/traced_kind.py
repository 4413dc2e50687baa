"""The kind of a cell without a description, from the trace of its step."""

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

    Its signals are its activations, with the names of their operations; then `hidden`,
    which is its output; and its other states as `state_0`, `state_1` and so on, in the
    order of Keras. The activations that are sigmoids are gates.

    Args:
        cell: A cell that is built.

    Raises:
        Untraceable: If it cannot be traced, or contains no activation.
    """
    shape = (cell.get_build_config() or {}).get("input_shape")
    if shape is None:
        raise Untraceable("its `build` does not take the `input_shape` alone")
    shapes = state_shapes(cell, None)
    # This is so for the cells of `ConvLSTM1D`, whose states are images.
    if any(not isinstance(size, int) or size < 1 for one in shapes for size in one[1:]):
        raise Untraceable("the sizes of its states depend on those of its input")
    symbols = [
        keras.KerasTensor(size, dtype=cell.compute_dtype)
        for size in (tuple(shape), *shapes)
    ]
    traced = trace(cell, symbols[0], symbols[1:], {})
    names = tuple(traced.widths)
    if not names:
        raise Untraceable("it contains no activation, such as a sigmoid or a tanh")
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
    """Returns the names of the states of a traced cell, as in `Kind`."""
    names = [
        v.HIDDEN if place == traced.output else f"state_{place}"
        for place in range(number)
    ]
    return tuple(reversed(names))
