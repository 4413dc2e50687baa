"""Writes a store in processes that each die at one operation of the file system.

`test_places.py` runs it. After each death, there must be a store of complete steps, or
nothing, and the next writer must be able to continue it or to replace it.
"""

import os
import shutil
import sys
from pathlib import Path

# Imported here, so that forked processes have these modules.
import filelock  # noqa: F401
import numpy as np
import xarray
import xarray.backends.zarr
import zarr  # noqa: F401

from keras_gates.recording.step_series import Record
from keras_gates.stores.store import GROUPS, Store
from keras_gates.trees.tree import grow

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link"}
DIED = 77
left = None


def die_in_time(event, arguments):
    """Ends the process before an operation that would change the file system."""
    global left
    if left is None:
        return
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in CHANGES:
        left -= 1
        if left < 0:
            os._exit(DIED)


def in_child(function, *arguments):
    """Runs a function in a separate process, and returns its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        function(*arguments)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)
    os._exit(0)


def tree(step):
    node = xarray.Dataset(
        {"x": (("unit",), np.full(2, step))}, attrs={"cell_type": "LSTM"}
    )
    return grow({"a": node}, {"layers": ["a"]})


def write(path, mode, steps, dies=None):
    global left
    left = dies
    store = Store(path, {"keras_gates": "test", "format": 2}, mode)
    records = [Record(name) for name in GROUPS]
    for record in records:
        record.write_to(store)
    for step in range(min(len(record.steps) for record in records), steps):
        for record in records:
            if len(record.steps) == step:
                record.append(tree(step), step, step)
    store.close()
    left = None


def check(path, most):
    """Checks that there is nothing, or a store of complete steps."""
    if not (path / "zarr.json").exists():
        assert not path.exists() or not any(path.glob("[!z]*"))
        return
    tree = xarray.open_datatree(path, engine="zarr")
    for record in tree.children.values():
        for node in record.children.values():
            steps = node["step"].values
            assert len(steps) <= most
            for variable in node.data_vars.values():
                expected = steps.reshape(-1, *[1] * (variable.ndim - 1))
                np.testing.assert_array_equal(variable, expected + 0 * variable)


def check_and_continue(path, copy):
    """Checks what a process left, and that it can be replaced and continued."""
    check(path, 2)
    if path.exists():
        shutil.copytree(path, copy)
    write(copy, "w", 1)
    check(copy, 1)
    write(path, "a", 3)
    check(path, 3)
    assert not list(path.glob("*.partial"))


def main(folder, mode, stride, offset):
    sys.addaudithook(die_in_time)
    path = folder / "run.zarr"
    operation, status = offset, DIED
    while status == DIED:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if mode == "w":
            assert in_child(write, path, "a", 2) == 0
        status = in_child(write, path, mode, 2, operation)
        assert status in (0, DIED), status
        copy = folder / "copy.zarr"
        assert in_child(check_and_continue, path, copy) == 0, operation
        operation += stride
    print(operation, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
