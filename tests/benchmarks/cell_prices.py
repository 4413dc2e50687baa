"""Measures the cost of capturing cells that are not Keras's, as ratios in one run.

    KERAS_BACKEND=torch PYTHONPATH=tests python tests/benchmarks/cell_prices.py

Each cell is compared with `predict` of the same layer, `keras.layers.RNN(cell)`, which
runs Keras's generic loop once. Keras's own cells are measured in the same loop. Sizes:
batches of 64, 200 steps, 64 inputs, 128 units, 2 batches. On a busy machine, ratios
vary by 10 %.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, ops
from own_cells import CELLS, MGUCell
from prices import in_turns
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates.capturing.reader import Reader

BATCH, STEPS, FEATURES, UNITS, BATCHES = 64, 200, 64, 128, 2


def _of_mgu(cell, inputs, states):
    (hidden,) = states
    forget = ops.sigmoid(
        ops.matmul(ops.concatenate([inputs, hidden], -1), cell.of_gate)
    )
    seen = ops.concatenate([inputs, forget * hidden], -1)
    return {"keep": 1 - forget, "candidate": ops.tanh(ops.matmul(seen, cell.of_new))}


def _step_of_mgu(signals, states):
    return signals["keep"] * states[0] + (1 - signals["keep"]) * signals["candidate"]


class Registered(MGUCell):
    """An MGU cell of its own class, to be registered."""

    def call(self, inputs, states):
        """Takes one step."""
        return super().call(inputs, states)


def main():
    keras_gates.register_cell(
        Registered, signals=_of_mgu, step=_step_of_mgu, gates="keep", keep="keep"
    )
    cells = {
        "LSTM (Keras's)": layers.LSTMCell(UNITS),
        "GRU (Keras's)": layers.GRUCell(UNITS),
        "MGU, registered": Registered(UNITS),
        **{f"{name}, traced": make(UNITS) for name, (make, _) in CELLS.items()},
    }
    table = Table("cell", "predict, s", "capture, s", "ratio")
    x = np.random.default_rng(0).normal(size=(BATCH * BATCHES, STEPS, FEATURES))
    x = x.astype("float32")
    for name, cell in cells.items():
        model = keras.Sequential(
            [keras.Input((STEPS, FEATURES)), layers.RNN(cell, return_sequences=True)]
        )
        reader = Reader(model)

        def predict(model=model):
            model.predict(x, batch_size=BATCH, verbose=0)

        def capture(reader=reader):
            reader.read_all(x, batch_size=BATCH)

        base, other, ratio = in_turns(predict, capture, 3)
        table.add_row(name, f"{base:.3f}", f"{other:.3f}", f"{ratio:.2f}")
    print(f"{keras.backend.backend()}, Keras {keras.version()}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
