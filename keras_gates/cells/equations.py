"""The equations of an LSTM and a GRU, as pure functions of `keras.ops`.

Gates depend only on the input, the *previous* hidden state and the weights. So one
function serves a single step, where the tensors are `(batch, features)`, and a whole
sequence, where they are `(batch, time, features)` and every step is computed in one
matrix product. Only the cell state of an LSTM needs a loop, and an element-wise one.

Sources: Hochreiter and Schmidhuber (1997) and Gers, Schmidhuber and Cummins (2000)
for the LSTM; Cho et al. (2014, arXiv:1406.1078) for the GRU. The order of the blocks
and the sense of the update gate are Keras's.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_gates import vocabulary as v

Tensor = Any


class Weights(NamedTuple):
    """What a cell needs to compute its gates.

    Attributes:
        kernel: `(features, blocks * units)`.
        recurrent_kernel: `(units, blocks * units)`.
        bias: `(blocks * units,)`; `(2, blocks * units)` for a GRU with
            `reset_after=True`; or `None`.
        activation: The function of the candidate (and of an LSTM's cell state).
        recurrent_activation: The function of the gates.
        reset_after: For a GRU, whether the reset gate acts after the matrix product.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None
    activation: Any
    recurrent_activation: Any
    reset_after: bool = True


def lstm_blocks(inputs: Tensor, hidden: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Computes the gates and the candidate of an LSTM.

    Args:
        inputs: `(batch, features)` or `(batch, time, features)`. A list of four such
            tensors gives each block its own input, as dropout does.
        hidden: The hidden state *before* each step, `(batch, units)` or
            `(batch, time, units)`, or a list of four.
        weights: The weights of the cell.

    Returns:
        `input`, `forget`, `candidate` and `output`, each shaped like `hidden`.
    """
    total = _project(inputs, weights.kernel)
    total = total + _project(hidden, weights.recurrent_kernel)
    if weights.bias is not None:
        total = total + weights.bias
    blocks = dict(zip(v.LSTM.blocks, ops.split(total, 4, axis=-1), strict=True))
    for gate in v.LSTM.gates:
        blocks[gate] = weights.recurrent_activation(blocks[gate])
    blocks[v.CANDIDATE] = weights.activation(blocks[v.CANDIDATE])
    return blocks


def gru_blocks(inputs: Tensor, hidden: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Computes the gates and the candidate of a GRU.

    An `update` of 1 keeps the old state: `h = update * h + (1 - update) * candidate`.

    Args:
        inputs: `(batch, features)` or `(batch, time, features)`. A list of three such
            tensors gives each block its own input, as dropout does.
        hidden: The hidden state *before* each step, `(batch, units)` or
            `(batch, time, units)`, or a list of three.
        weights: The weights of the cell.

    Returns:
        `update`, `reset` and `candidate`, each shaped like `hidden`.
    """
    from_inputs = _project(inputs, weights.kernel)
    recurrent_bias = None
    if weights.bias is not None:
        bias = weights.bias
        if weights.reset_after:
            bias, recurrent_bias = bias[0], bias[1]
        from_inputs = from_inputs + bias
    update, reset, candidate = ops.split(from_inputs, 3, axis=-1)

    hidden = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden] * 3
    kernels = ops.split(weights.recurrent_kernel, 3, axis=-1)
    biases = [0.0] * 3 if recurrent_bias is None else ops.split(recurrent_bias, 3)
    gate = weights.recurrent_activation
    update = gate(update + (ops.matmul(hidden[0], kernels[0]) + biases[0]))
    reset = gate(reset + (ops.matmul(hidden[1], kernels[1]) + biases[1]))
    if weights.reset_after:
        recurrent = reset * (ops.matmul(hidden[2], kernels[2]) + biases[2])
    else:
        recurrent = ops.matmul(reset * hidden[2], kernels[2])
    candidate = weights.activation(candidate + recurrent)
    return {v.UPDATE: update, v.RESET: reset, v.CANDIDATE: candidate}


BLOCKS = {v.LSTM.name: lstm_blocks, v.GRU.name: gru_blocks}
"""The function that computes the blocks, for each kind of cell."""


def cell_states(forget: Tensor, written: Tensor, first: Tensor) -> Tensor:
    """Runs `cell[t] = forget[t] * cell[t-1] + written[t]`.

    Args:
        forget: `(batch, time, units)`.
        written: `(batch, time, units)`, the product of `input` and `candidate`.
        first: `(batch, units)`, the cell state before the first step.

    Returns:
        The cell state after each step, `(batch, time, units)`.
    """

    def step(cell, now):
        keep, add = ops.split(now, 2, axis=-1)
        cell = keep * cell + add
        return cell, cell

    # In one tensor: on TensorFlow, Keras scans several only if the time is static.
    both = ops.concatenate([forget, written], axis=-1)
    _, cells = ops.scan(step, first, ops.swapaxes(both, 0, 1))
    return ops.swapaxes(cells, 0, 1)


def hold(sequence: Tensor, first: Tensor, mask: Tensor) -> Tensor:
    """Replaces masked steps by the last real one: the state that Keras carries on.

    Args:
        sequence: `(batch, time, units)`.
        first: `(batch, units)`, held until the first real step.
        mask: `(batch, time)`, true where a step is real.

    Returns:
        `(batch, time, units)`.
    """
    length = ops.shape(sequence)[1]
    steps = ops.arange(1, length + 1, dtype="int32")
    # The real steps in order, then the masked ones: the n-th entry is the n-th real
    # step, and a running count of real steps tells which n each step holds.
    order = ops.argsort(ops.where(mask, steps, steps + length), axis=1)
    count = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    held = ops.take_along_axis(order, ops.maximum(count - 1, 0), axis=1)
    values = ops.take_along_axis(sequence, ops.expand_dims(held, -1), axis=1)
    return ops.where(ops.expand_dims(count > 0, -1), values, first[:, None, :])


def before(sequence: Tensor, first: Tensor) -> Tensor:
    """Shifts a sequence of states by one step: what each step started from.

    Args:
        sequence: `(batch, time, units)`, the state after each step.
        first: `(batch, units)`, the state before the first step.

    Returns:
        `(batch, time, units)`.
    """
    return ops.concatenate([first[:, None, :], sequence[:, :-1, :]], axis=1)


def replay(
    kind: v.Kind,
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
        mask: `(batch, time)`, true where a step is real, or `None`.

    Returns:
        Every signal of the kind. At a masked step, states are held, and gates and
        candidate are zero, as nothing was computed that counts.
    """
    real = None if mask is None else ops.expand_dims(mask, -1)
    if real is not None:
        blocks = {
            name: ops.where(real, block, ops.zeros_like(block))
            for name, block in blocks.items()
        }
    signals = dict(blocks)
    if v.CELL in kind.states:
        forget = blocks[v.FORGET]
        if real is not None:
            forget = ops.where(real, forget, ops.ones_like(forget))
        written = blocks[v.INPUT] * blocks[v.CANDIDATE]
        signals[v.CELL] = cell_states(forget, written, initial[v.CELL])
    signals[v.HIDDEN] = hidden
    return signals


def _project(values: Tensor, kernel: Tensor) -> Tensor:
    """Multiplies by a kernel; a list of values meets its blocks one by one."""
    if not isinstance(values, (list, tuple)):
        return ops.matmul(values, kernel)
    blocks = ops.split(kernel, len(values), axis=-1)
    products = [ops.matmul(*pair) for pair in zip(values, blocks, strict=True)]
    return ops.concatenate(products, axis=-1)
