"""A user's script with its own classes, which captures in several processes.

`test_several_processes.py` runs it. Two processes must write the same files as a single
process, to the byte.
"""

import pathlib
import sys

import keras
import numpy as np
from keras import layers, ops

import keras_gates


@keras.saving.register_keras_serializable("mine")
def half_tanh(values):
    return ops.tanh(values) / 2


@keras.saving.register_keras_serializable("mine")
class OwnCell(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, shape):
        size = (shape[-1] + self.units, 2 * self.units)
        self.kernel = self.add_weight(shape=size, name="kernel")

    def call(self, inputs, states):
        hidden = {"hidden": states[0]}
        new = step(signals(self, inputs, hidden), hidden)
        return new, [new]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def signals(cell, inputs, states):
    seen = ops.concatenate([inputs, states["hidden"]], -1)
    keep, new = ops.split(ops.matmul(seen, cell.kernel), 2, axis=-1)
    return {"keep": ops.sigmoid(keep), "candidate": ops.tanh(new)}


def step(now, states):
    return now["keep"] * states["hidden"] + (1 - now["keep"]) * now["candidate"]


class Twice(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


class Net(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.twice = units, Twice()
        self.own = layers.RNN(OwnCell(units), return_sequences=True, name="own")
        self.lstm = layers.LSTM(units, activation=half_tanh, name="lstm")

    def call(self, inputs):
        return self.lstm(self.own(self.twice(inputs)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def files(store):
    found = [file for file in store.rglob("*") if file.is_file()]
    return {file.relative_to(store): file.read_bytes() for file in found}


def main(folder):
    keras_gates.register_cell(
        OwnCell, signals=signals, step=step, gates="keep", keep="keep"
    )
    model = Net(3)
    # This loss cannot be saved, and is not needed.
    model.compile("adam", loss=lambda truth, found: ops.mean(truth - found))
    x = np.random.default_rng(0).normal(size=(22, 5, 2)).astype("float32")
    two = keras_gates.capture(model, x, batch_size=4, store=folder / "two", n_jobs=2)
    keras_gates.capture(model, x, batch_size=4, store=folder / "one")
    if files(folder / "one") != files(folder / "two"):
        sys.exit("The stores differ.")
    if not (keras_gates.verify(two) < 1e-5).all():
        sys.exit("The states do not follow from the gates.")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
