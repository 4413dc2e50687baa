"""The gated recurrent unit, of Keras's `GRU` and `GRUCell`.

Source: Cho et al. (2014), arXiv:1406.1078. The order of the blocks and the sense of the
update gate are Keras's: an `update` of 1 keeps the old state.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Change, Coupling, Kind, Meaning, Weights, unchanged
from keras_gates.cells.shared_equations import Tensor, project

GATES = (v.UPDATE, v.RESET)
BLOCKS = (v.UPDATE, v.RESET, v.CANDIDATE)


def compute(
    inputs: Tensor, hidden: Tensor, weights: Weights, change: Change = unchanged
) -> dict[str, Tensor]:
    """Computes the gates and the candidate.

    Args:
        inputs: `(batch, features)` or `(batch, time, features)`. A list of three such
            tensors gives each block its own input, as dropout does.
        hidden: The hidden state *before* each step, `(batch, units)` or
            `(batch, time, units)`, or a list of three.
        weights: The weights of the cell.
        change: The function that each of them passes through, gates first.

    Returns:
        `update`, `reset` and `candidate`, each shaped like `hidden`.
    """
    from_inputs = project(inputs, weights.kernel)
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
    update = change(v.UPDATE, update)
    reset = gate(reset + (ops.matmul(hidden[1], kernels[1]) + biases[1]))
    reset = change(v.RESET, reset)
    if weights.reset_after:
        recurrent = reset * (ops.matmul(hidden[2], kernels[2]) + biases[2])
    else:
        recurrent = ops.matmul(reset * hidden[2], kernels[2])
    candidate = change(v.CANDIDATE, weights.activation(candidate + recurrent))
    return {v.UPDATE: update, v.RESET: reset, v.CANDIDATE: candidate}


def sums(inputs: Tensor, hidden: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Computes the pre-activations of the signals that `compute` returns."""
    entered = []

    def noted(function):
        def apply(values):
            entered.append(values)
            return function(values)

        return apply

    of_gates = noted(weights.recurrent_activation)
    weights = weights._replace(
        activation=noted(weights.activation), recurrent_activation=of_gates
    )
    compute(inputs, hidden, weights)
    return dict(zip(BLOCKS, entered, strict=True))


def step(now, states, activation, change: Change = unchanged) -> dict:
    """Computes the state after a step. The activation acts inside the candidate."""
    keep = now[v.UPDATE]
    hidden = keep * states[v.HIDDEN] + (1 - keep) * now[v.CANDIDATE]
    return {v.HIDDEN: change(v.HIDDEN, hidden)}


def describe(cell: Any) -> dict[str, Any]:
    """Returns the attributes of a cell that are needed to interpret its gates."""
    return {
        "reset_after": cell.reset_after,
        "convention": (
            "hidden = update * previous hidden + (1 - update) * candidate; "
            f"an update of {v.KEEP_CONVENTION}"
        ),
    }


GRU = Kind(
    name="GRU",
    layer=keras.layers.GRU,
    cell=keras.layers.GRUCell,
    blocks=BLOCKS,
    gates=GATES,
    states=(v.HIDDEN,),
    keep=v.UPDATE,
    coupled=Coupling(v.RESET, v.UPDATE, opposed=False),
    long_names={
        v.UPDATE: f"update gate ({v.KEEP_CONVENTION})",
        v.RESET: "reset gate",
        v.CANDIDATE: "candidate",
        v.HIDDEN: "hidden state",
    },
    colour="#D55E00",
    colours={
        v.UPDATE: "#56B4E9",
        v.RESET: "#CC79A7",
        v.CANDIDATE: "#009E73",
        v.HIDDEN: "#000000",
    },
    meanings={
        v.UPDATE: Meaning(
            open="this layer hardly ever takes in anything new",
            closed="hardly anything of the old state is kept as it is",
        ),
        v.RESET: Meaning(
            open="the candidate nearly always sees the old state",
            closed="the candidate hardly ever sees the old state",
        ),
    },
    convention=f"{v.UPDATE}: {v.KEEP_CONVENTION}",
    lacking={v.CELL: "A GRU has no cell state: its hidden state is its memory."},
    compute=compute,
    sums=sums,
    step=step,
    describe=describe,
)
