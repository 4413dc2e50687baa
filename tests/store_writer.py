"""Appends to a store without end, and says after each step that it is complete.

Run by `test_store.py`, which kills it. Every value of a step is the number of the step.
"""

import sys
from pathlib import Path

import numpy as np
import xarray

from keras_gates.recording.step_series import Record
from keras_gates.stores.store import Store
from keras_gates.trees.tree import grow

SHAPES = {
    "traces": {"forget": ("sample", "time", "unit"), "mask": ("sample", "time")},
    "statistics": {"mean": ("gate", "unit"), "histogram": ("gate", "unit", "bin")},
}
SIZES = {"sample": 4, "time": 50, "unit": 16, "gate": 3, "bin": 20}


def tree(name, step):
    data = {
        variable: (dims, np.full([SIZES[dim] for dim in dims], step, "float32"))
        for variable, dims in SHAPES[name].items()
    }
    node = xarray.Dataset(data, attrs={"kind": "LSTM"})
    return grow({"a": node, "b": node}, {"layers": ["a", "b"]})


def main(path, begun):
    store = Store(path, {"keras_gates": "test"})
    records = [Record(name) for name in SHAPES]
    for record in records:
        record.write_to(store)
        record.cut(begun - 1)
    step = begun
    while True:
        for record in records:
            record.append(tree(record.name, step), step, step)
        step += 1
        print(step, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
