"""Masked steps become NaN, and time gets the order of the input."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_gates import vocabulary as v
from keras_gates.layers.collect import Emission

Tensor = Any


def with_masked_steps(emission: Emission, chosen: set[str]) -> dict[str, Tensor]:
    """Returns the signals that a layer emitted, in the form of a capture.

    Args:
        emission: The signals of one call, in the order in which the layer read.
        chosen: The names of the signals that are wanted.

    Returns:
        These signals in float32, `(batch, ..., time, units)`, in the order of the
        input, NaN at masked steps; the states before the first step; and `mask`, if
        there is one.
    """

    def in_order(tensor, axis):
        return ops.flip(tensor, axis=axis) if emission.go_backwards else tensor

    arrays = {}
    mask = emission.mask
    for name, signal in emission.signals.items():
        if name in chosen:
            signal = ops.cast(signal, "float32")
            if mask is not None:
                signal = ops.where(ops.expand_dims(mask, -1), signal, float("nan"))
            arrays[name] = in_order(signal, -2)
    for name, state in emission.initial.items():
        arrays[v.initial(name)] = ops.cast(state, "float32")
    if mask is not None:
        arrays[v.MASK] = in_order(mask, -1)
    return arrays
