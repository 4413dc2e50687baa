"""The basic recurrent network, of Keras's `SimpleRNN` and `SimpleRNNCell`.

It has a hidden state and no gates: `hidden = activation(W x + U hidden + b)`.

Source: Elman (1990), Finding structure in time, Cognitive Science 14(2).
"""

from __future__ import annotations

import keras

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind

SIMPLE_RNN = Kind(
    name="SimpleRNN",
    layer=keras.layers.SimpleRNN,
    cell=keras.layers.SimpleRNNCell,
    states=(v.HIDDEN,),
    long_names={v.HIDDEN: "hidden state"},
    colour="#000000",
    colours={v.HIDDEN: "#000000"},
    lacking={
        v.CELL: "A SimpleRNN has no cell state: its hidden state is its memory.",
        v.CANDIDATE: "A SimpleRNN has no candidate: it computes its hidden state.",
    },
)
