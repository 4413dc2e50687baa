"""The basic recurrent network, of Keras's `SimpleRNN` and `SimpleRNNCell`.

It has a hidden state and no gates: `hidden = activation(W x + U hidden + b)`.

Source: Elman (1990), Finding structure in time, Cognitive Science 14(2).
"""

from __future__ import annotations

import keras

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind, Weights
from keras_gates.cells.shared_equations import Tensor, weighted_inputs


def sums(inputs: Tensor, hidden: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Computes the pre-activation of the hidden state."""
    return {v.HIDDEN: weighted_inputs(inputs, hidden, weights)}


SIMPLE_RNN = Kind(
    name="SimpleRNN",
    layer=keras.layers.SimpleRNN,
    cell=keras.layers.SimpleRNNCell,
    states=(v.HIDDEN,),
    long_names={v.HIDDEN: "hidden state"},
    sums=sums,
    colour="#000000",
    colours={v.HIDDEN: "#000000"},
    lacking={
        v.CELL: "A SimpleRNN has no cell state: its hidden state is its memory.",
        v.CANDIDATE: "A SimpleRNN has no candidate: it computes its hidden state.",
    },
)
