"""The long short-term memory, of Keras's `LSTM` and `LSTMCell`.

Sources: Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000) for the
forget gate. The order of the blocks is Keras's.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Change, Coupling, Kind, Meaning, Weights, unchanged
from keras_gates.cells.shared_equations import Tensor, weighted_inputs, weighted_sum

GATES = (v.INPUT, v.FORGET, v.OUTPUT)
BLOCKS = (v.INPUT, v.FORGET, v.CANDIDATE, v.OUTPUT)


def compute(
    inputs: Tensor, hidden: Tensor, weights: Weights, change: Change = unchanged
) -> dict[str, Tensor]:
    """Computes the gates and the candidate.

    Args:
        inputs: `(batch, features)` or `(batch, time, features)`. A list of four such
            tensors gives each block its own input, as dropout does.
        hidden: The hidden state *before* each step, `(batch, units)` or
            `(batch, time, units)`, or a list of four.
        weights: The weights of the cell.
        change: The function that each of them passes through.

    Returns:
        `input`, `forget`, `candidate` and `output`, each shaped like `hidden`.
    """
    blocks = sums(inputs, hidden, weights)
    for gate in GATES:
        blocks[gate] = weights.recurrent_activation(blocks[gate])
    blocks[v.CANDIDATE] = weights.activation(blocks[v.CANDIDATE])
    return {name: change(name, block) for name, block in blocks.items()}


def sums(inputs: Tensor, hidden: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Computes the pre-activations of the signals that `compute` returns."""
    total = weighted_inputs(inputs, hidden, weights)
    return dict(zip(BLOCKS, ops.split(total, 4, axis=-1), strict=True))


def run(blocks: dict, initial: dict, real: Tensor | None) -> dict[str, Tensor]:
    """Computes the cell state, the only signal that needs a loop over time."""
    forget = blocks[v.FORGET]
    if real is not None:
        forget = ops.where(real, forget, ops.ones_like(forget))
    written = blocks[v.INPUT] * blocks[v.CANDIDATE]
    return {v.CELL: weighted_sum(forget, written, initial[v.CELL])}


def step(now, states, activation, change: Change = unchanged) -> dict:
    """Computes the states after a step; `hidden` needs the activation."""
    written = now[v.INPUT] * now[v.CANDIDATE]
    cell = change(v.CELL, now[v.FORGET] * states[v.CELL] + written)
    if activation is None:
        return {v.CELL: cell}
    hidden = change(v.HIDDEN, now[v.OUTPUT] * activation(cell))
    return {v.CELL: cell, v.HIDDEN: hidden}


LSTM = Kind(
    name="LSTM",
    article="an",
    layer=keras.layers.LSTM,
    cell=keras.layers.LSTMCell,
    blocks=BLOCKS,
    gates=GATES,
    states=(v.CELL, v.HIDDEN),
    keep=v.FORGET,
    write=v.INPUT,
    show=v.OUTPUT,
    coupled=Coupling(v.INPUT, v.FORGET, opposed=True),
    long_names={
        v.INPUT: "input gate",
        v.FORGET: f"forget gate ({v.KEEP_CONVENTION})",
        v.CANDIDATE: "candidate",
        v.OUTPUT: "output gate",
        v.CELL: "cell state",
        v.HIDDEN: "hidden state",
    },
    colour="#0072B2",
    colours={
        v.INPUT: "#E69F00",
        v.FORGET: "#0072B2",
        v.CANDIDATE: "#009E73",
        v.OUTPUT: "#D55E00",
        v.CELL: "#999999",
        v.HIDDEN: "#000000",
    },
    meanings={
        v.INPUT: Meaning(
            open="this layer writes at nearly every step",
            closed="this layer hardly ever writes",
        ),
        v.FORGET: Meaning(
            open="this layer hardly ever erases",
            closed="the cell state hardly keeps anything",
        ),
        v.OUTPUT: Meaning(
            open="this layer shows its memory at nearly every step",
            closed="this layer hardly ever shows its memory",
        ),
    },
    compute=compute,
    sums=sums,
    run=run,
    step=step,
    uses_activation=True,
    methods=frozenset({"_compute_carry_and_output", "_compute_carry_and_output_fused"}),
)
