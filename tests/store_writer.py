"""Appends to a store without end, and prints the number of each complete step.

`test_store.py` runs and kills it. Every value of a step is the number of the step. If
no first step is given, one is read from each line of the input. Then a separate process
writes for each line: first its process number is printed, and at its end `ENDED`.
"""

import os
import sys
from pathlib import Path

import numpy as np
import xarray

from keras_gates.recording.step_series import Record
from keras_gates.stores.store import Store
from keras_gates.trees.tree import grow

SHAPES = {
    "traces": {"forget": ("sample", "time", "unit"), "mask": ("sample", "time")},
    "statistics": {"mean": ("signal", "unit"), "histogram": ("signal", "unit", "bin")},
}
ENDED = "ended"
SIZES = {"sample": 4, "time": 50, "unit": 16, "signal": 3, "bin": 20}


def tree(name, step):
    data = {
        variable: (dims, np.full([SIZES[dim] for dim in dims], step, "float32"))
        for variable, dims in SHAPES[name].items()
    }
    node = xarray.Dataset(data, attrs={"cell_type": "LSTM"})
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


def one_after_the_other(path):
    """Forks a writer for each line, which has no need to import anything."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            print(os.getpid(), flush=True)
            main(path, int(line))
        os.waitpid(child, 0)
        print(ENDED, flush=True)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    if len(sys.argv) > 2:
        main(path, int(sys.argv[2]))
    else:
        one_after_the_other(path)
