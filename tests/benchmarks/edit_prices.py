"""What edits and gradients cost, as ratios measured in one run.

    KERAS_BACKEND=jax python tests/benchmarks/edit_prices.py

Edits are compared with `predict` of the same LSTM with `use_cudnn=False`, gradients
with a training step. Batches of 64, 200 steps, 16 inputs, 64 units, 2 batches. On a
busy machine ratios scatter by a tenth.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib

import keras
import numpy as np
from keras import layers
from prices import in_turns
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates import edits
from keras_gates.capturing.deriving import GradientReader

BATCH, STEPS, FEATURES, UNITS, BATCHES = 64, 200, 16, 64, 2
SINGLE_EDITS = 8 if keras.backend.backend() == "torch" else 64


def main():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * BATCHES, STEPS, FEATURES)).astype("float32")
    y = rng.normal(size=(BATCH * BATCHES, 1)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            layers.LSTM(UNITS, use_cudnn=False, name="lstm"),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    gates = keras_gates.capture(model, x, batch_size=BATCH)
    signals = [f"lstm/{name}" for name in gates["lstm"].data_vars]

    def predict():
        model.predict(x, batch_size=BATCH, verbose=0)

    def predict_edited(changes):
        def run():
            with keras_gates.edit(model, changes):
                predict()

        return run

    def single(number):
        for unit in range(SINGLE_EDITS):
            edited = contextlib.nullcontext()
            if number:
                one = {"lstm/hidden": edits.clamp(0.0, units=unit)}
                edited = keras_gates.edit(model, one)
            with edited:
                model.predict(x[:BATCH], batch_size=BATCH, verbose=0)

    def train():
        model.fit(x, y, batch_size=BATCH, verbose=0)

    reader = GradientReader(model, y, None, layers=None, signals=None)

    def derive():
        for _ in reader.read(x, batch_size=BATCH):
            pass

    everywhere = {key: edits.add(0.01, time=slice(0, STEPS)) for key in signals}
    pairs = {
        "one edited signal, 1.15": (
            predict,
            predict_edited({"lstm/forget": edits.clamp(1.0, units=3)}),
        ),
        "one for some steps, 1.15": (
            predict,
            predict_edited({"lstm/forget": edits.clamp(1.0, time=slice(5, 9))}),
        ),
        "all signals, 2.0": (predict, predict_edited(everywhere)),
        "a swap, 1.3": (
            predict,
            predict_edited({"lstm/cell": edits.swap(gates["lstm/cell"])}),
        ),
        "gradients, 2.0 training steps": (train, derive),
        f"{SINGLE_EDITS} single edits, 1.3 (PyTorch 0.5)": (
            lambda: single(0),
            lambda: single(1),
        ),
    }
    table = Table("what, and what it may cost", "base, s", "this, s", "ratio")
    for name, (base, other) in pairs.items():
        times = in_turns(base, other, 3)
        table.add_row(name, *(f"{value:.2f}" for value in times))
    print(f"{keras.backend.backend()}, Keras {keras.version()}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
