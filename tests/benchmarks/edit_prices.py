"""Measures the cost of edits and gradients, as ratios in one run.

    KERAS_BACKEND=jax python tests/benchmarks/edit_prices.py

Edits are compared with `predict` of the same LSTM with `use_cudnn=False`, gradients
with a training step. Batches of 64, 200 steps, 16 inputs, 64 units, 2 batches. On a
busy machine, ratios vary by 10 %.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from prices import in_turns
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates import edits
from keras_gates.capturing import own_losses
from keras_gates.capturing.clamped_runs import ClampedRuns
from keras_gates.capturing.deriving import GradientReader
from keras_gates.models.edit_plans import planned

BATCH, STEPS, FEATURES, UNITS, BATCHES = 64, 200, 16, 64, 2


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

    def predict_often():
        for _ in range(UNITS):
            model.predict(x[:BATCH], batch_size=BATCH, verbose=0)

    runs = ClampedRuns(
        model,
        planned(model, {"lstm/hidden": edits.clamp(0.0)}),
        {"lstm/hidden": np.zeros(UNITS)},
        own_losses.number_of_each(model, None),
    )
    first_batch = [{"x": x[:BATCH], "y": y[:BATCH]}]
    progress = keras.utils.Progbar(None, verbose=0)

    def clamp_each_unit():
        clamps = [("lstm/hidden", (unit,)) for unit in range(UNITS)]
        runs.changes(clamps, first_batch, progress)

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
        f"{UNITS} single edits, 1.3 (PyTorch 0.5)": (predict_often, clamp_each_unit),
    }
    table = Table("measured, and limit of the ratio", "base, s", "this, s", "ratio")
    for name, (base, other) in pairs.items():
        times = in_turns(base, other, 3)
        table.add_row(name, *(f"{value:.2f}" for value in times))
    print(f"{keras.backend.backend()}, Keras {keras.version()}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
