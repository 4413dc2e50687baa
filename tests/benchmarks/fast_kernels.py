"""Measures the cost of a training step with `kernel="fast"`, as ratios in one run.

    KERAS_BACKEND=torch PYTHONPATH=tests python tests/benchmarks/fast_kernels.py

The step is compared with a training step of the stock layer, in turns; the ratio is the
median over the turns. With "every gate", the squares of all signals are in the loss of
the fast layer only. With "a mask", between half and all of the steps are unmasked.
Sizes are batch, steps, features, units. Arguments choose: LSTM GRU small medium long.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, ops
from prices import in_turns
from rich.console import Console
from rich.table import Table

import keras_gates

SIZES = {
    "small": (64, 50, 1, 32),
    "medium": (64, 200, 64, 128),
    "long": (32, 1000, 8, 64),
}
BATCHES = {"small": 20, "medium": 1, "long": 1}
PAIRS = 7
STOCK = {"LSTM": layers.LSTM, "GRU": layers.GRU}
FAST = {"LSTM": keras_gates.GateLSTM, "GRU": keras_gates.GateGRU}


class Penalty(layers.Layer):
    """Adds the squares of all signals to the loss, and returns the output."""

    def call(self, output, gates):
        """Returns the output."""
        total = sum(ops.mean(ops.square(signal)) for signal in gates.values())
        self.add_loss(1e-3 * total)
        return output


def trained(layer, size, masked, gates):
    """Returns a function that trains a model of one layer for an epoch."""
    batch, steps, features, _ = SIZES[size]
    rng = np.random.default_rng(0)
    samples = batch * BATCHES[size]
    x = rng.normal(size=(samples, steps, features)).astype("float32")
    y = rng.normal(size=(samples, 1)).astype("float32")
    inputs = keras.Input((steps, features))
    hidden = inputs
    if masked:
        lengths = rng.integers(steps // 2, steps + 1, samples)
        x[np.arange(steps) >= lengths[:, None]] = 0
        hidden = layers.Masking()(inputs)
    hidden = layer(hidden)
    if gates:
        hidden = Penalty()(*hidden)
    model = keras.Model(inputs, layers.Dense(1)(hidden))
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    return lambda: model.fit(x, y, batch_size=batch, epochs=1, verbose=0, shuffle=False)


def main():
    kinds = [name for name in STOCK if name in sys.argv] or list(STOCK)
    sizes = [name for name in SIZES if name in sys.argv] or list(SIZES)
    title = f"{keras.backend.backend()}, Keras {keras.version()}"
    table = Table("kind", "size", "what", "stock, s", "fast, s", "ratio", title=title)
    for kind in kinds:
        for size in sizes:
            units = SIZES[size][-1]
            for what, masked, gates in (
                ("every gate in the loss", False, True),
                ("no gate", False, False),
                ("no gate, a mask", True, False),
            ):
                stock = trained(STOCK[kind](units), size, masked, False)
                fast = FAST[kind](units, kernel="fast", return_gates=gates)
                fast = trained(fast, size, masked, gates)
                first, second, ratio = in_turns(stock, fast, PAIRS)
                cells = f"{first:.3f}", f"{second:.3f}", f"{ratio:.2f}"
                table.add_row(kind, size, what, *cells)
                print(kind, size, what, *cells, flush=True)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
