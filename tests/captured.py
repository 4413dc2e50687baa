"""Captured layers with made-up numbers, for tests of several folders."""

import math

import numpy as np
import xarray

from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM

DIMENSIONS = ("sample", "time", "unit")


SIGMOID_OF_ONE = 1 / (1 + math.exp(-1))


def layer(kind, seed=0, shape=(3, 5, 4), signals=None):
    """Returns a layer with different numbers in each signal and masked first steps."""
    generator = np.random.default_rng(seed)
    data = {}
    for name in signals or kind.signals:
        low = 0.01 if name in kind.gates else -1
        values = generator.uniform(low, 1, shape).astype("float32")
        values[0, :2] = np.nan
        data[name] = (DIMENSIONS, values)
    mask = np.ones(shape[:2], bool)
    mask[0, :2] = False
    data["mask"] = (DIMENSIONS[:2], mask)
    initial = {"initial_hidden": (("sample", "unit"), np.zeros(shape[::2]))}
    return xarray.Dataset(data, initial, {"cell_type": kind.name, "layer": "a layer"})


def tree():
    nodes = xarray.DataTree(xarray.Dataset(attrs={"model": "a model"}))
    nodes["encoder/lstm"] = xarray.DataTree(layer(LSTM, seed=1))
    nodes["gru"] = xarray.DataTree(layer(GRU, seed=2))
    return nodes


def unmasked(array, unit):
    """Returns the values of a unit in sequence."""
    found = []
    for sample in range(array.shape[0]):
        for time in range(array.shape[1]):
            if not math.isnan(array[sample, time, unit]):
                found.append(float(array[sample, time, unit]))
    return found
