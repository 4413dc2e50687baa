"""Equations that several kinds share, as pure functions of `keras.ops`.

Gates depend only on the input, the *previous* hidden state and the weights. So one
function serves a single step, where the tensors are `(batch, features)`, and a whole
sequence, where they are `(batch, time, features)` and every step is computed in one
matrix product. Only the cell state of an LSTM needs a loop, which is element-wise.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind, Tensor, Weights


def cast(value: Tensor, dtype: str) -> Tensor:
    """Casts a tensor or a variable, at no cost where it already has the type.

    At each step of a loop in Python, `ops.cast` takes as long as an addition.
    """
    if isinstance(value, keras.Variable):
        value = value.value
    same = keras.backend.standardize_dtype(value.dtype) == dtype
    return value if same else ops.cast(value, dtype)


def project(values: Tensor, kernel: Tensor) -> Tensor:
    """Multiplies by a kernel; of a list, each value by its block of the kernel."""
    if not isinstance(values, (list, tuple)):
        return ops.matmul(values, kernel)
    blocks = ops.split(kernel, len(values), axis=-1)
    products = [ops.matmul(*pair) for pair in zip(values, blocks, strict=True)]
    return ops.concatenate(products, axis=-1)


def weighted_inputs(inputs: Tensor, hidden: Tensor, weights: Weights) -> Tensor:
    """Computes `W x + U h + b`, with the blocks concatenated."""
    total = project(inputs, weights.kernel)
    total = total + project(hidden, weights.recurrent_kernel)
    return total if weights.bias is None else total + weights.bias


def weighted_sum(keep: Tensor, written: Tensor, first: Tensor) -> Tensor:
    """Runs `state[t] = keep[t] * state[t-1] + written[t]`.

    Args:
        keep: `(batch, time, units)`, the share of the state that is kept.
        written: `(batch, time, units)`, the values that are added to it.
        first: `(batch, units)`, the state before the first step.

    Returns:
        The state after each step, `(batch, time, units)`.
    """

    def step(state, now):
        share, add = ops.split(now, 2, axis=-1)
        state = share * state + add
        return state, state

    # Joined, as on TensorFlow, Keras scans several tensors only if time is static.
    both = ops.concatenate([keep, written], axis=-1)
    _, states = ops.scan(step, first, ops.swapaxes(both, 0, 1))
    return ops.swapaxes(states, 0, 1)


def hold(sequence: Tensor, first: Tensor, mask: Tensor) -> Tensor:
    """Replaces masked steps by the last unmasked one, whose state Keras carries on.

    Args:
        sequence: `(batch, time, units)`.
        first: `(batch, units)`, held until the first unmasked step.
        mask: `(batch, time)`, true where a step is unmasked.

    Returns:
        `(batch, time, units)`.
    """
    length = ops.shape(sequence)[1]
    steps = ops.arange(1, length + 1, dtype="int32")
    # The unmasked steps in order, then the masked ones: the n-th entry is the n-th
    # unmasked step. A running count of unmasked steps gives the n that each step holds.
    order = ops.argsort(ops.where(mask, steps, steps + length), axis=1)
    count = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    held = ops.take_along_axis(order, ops.maximum(count - 1, 0), axis=1)
    values = ops.take_along_axis(sequence, ops.expand_dims(held, -1), axis=1)
    return ops.where(ops.expand_dims(count > 0, -1), values, first[:, None, :])


def before(sequence: Tensor, first: Tensor) -> Tensor:
    """Shifts a sequence of states by one step: the state before each step.

    Args:
        sequence: `(batch, time, units)`, the state after each step.
        first: `(batch, units)`, the state before the first step.

    Returns:
        `(batch, time, units)`.
    """
    return ops.concatenate([first[:, None, :], sequence[:, :-1, :]], axis=1)


def complete(
    kind: Kind,
    blocks: dict[str, Tensor],
    hidden: Tensor,
    initial: dict[str, Tensor],
    mask: Tensor | None,
) -> dict[str, Tensor]:
    """Completes the blocks of a sequence to all of its signals.

    Args:
        kind: The kind of cell.
        blocks: Gates and candidate, `(batch, time, units)`.
        hidden: The hidden state after each step, held where masked.
        initial: The states before the first step, `(batch, units)`.
        mask: `(batch, time)`, true where a step is unmasked, or `None`.

    Returns:
        Every signal of the kind. At a masked step, states are held, and gates and
        candidate are zero, as no value that is computed there is used.
    """
    real = None if mask is None else ops.expand_dims(mask, -1)
    if real is not None:
        blocks = {
            name: ops.where(real, block, ops.zeros_like(block))
            for name, block in blocks.items()
        }
    return {**blocks, **kind.run(blocks, initial, real), v.HIDDEN: hidden}
