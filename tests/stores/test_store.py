"""A store holds every step that was complete, whatever happens to its writer."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import store_writer
import xarray
from keras import layers

import keras_gates
from keras_gates.recording.step_series import Record
from keras_gates.stores.store import Store

BACKEND = keras.backend.backend()
WRITER = pathlib.Path(__file__).parents[1] / "store_writer.py"


def build(name="m", units=4):
    keras.utils.set_random_seed(3)
    stack = [layers.LSTM(units, name="r"), layers.Dense(1)]
    model = keras.Sequential([keras.Input((5, 2)), *stack], name=name)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.fixture
def data(rng):
    return rng.normal(size=(12, 5, 2)).astype("float32"), rng.normal(size=(12, 1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.zarr"


def fit(model, data, callbacks, **options):
    options = {"shuffle": False, "verbose": 0, "epochs": 2, **options}
    return model.fit(*data, batch_size=4, callbacks=callbacks, **options)


def opened(path):
    """Opens a store as any user of xarray would."""
    return xarray.open_datatree(path, engine="zarr")


def assert_same(left, right):
    for name in right:
        for node in right[name].subtree:
            if "cell_type" in node.attrs:
                other = left[f"{name}{node.path}"].to_dataset().load()
                xarray.testing.assert_equal(other, node.to_dataset().load())


def records(recorder):
    return {"traces": recorder.traces, "statistics": recorder.statistics}


def test_a_store_holds_what_memory_would(data, path):
    in_memory = keras_gates.GateRecorder(data[0][:2], record_freq=2)
    fit(build(), data, [in_memory])
    in_store = keras_gates.GateRecorder(data[0][:2], record_freq=2, store=path)
    fit(build(), data, [in_store])
    assert_same(opened(path), records(in_memory))
    assert_same(opened(path), records(in_store))
    assert in_store.traces["r/forget"].dims == ("step", "sample", "time", "unit")


@pytest.mark.once
def test_the_tree_is_lazy_and_works_with_dask(data, path):
    recorder = keras_gates.GateRecorder(data[0][:2], store=path)
    fit(build(), data, [recorder])
    assert not recorder.traces["r/forget"].variable._in_memory
    tree = xarray.open_datatree(path, engine="zarr", chunks={})
    forget = tree["traces/r/forget"]
    assert type(forget.data).__module__.startswith("dask")
    np.testing.assert_allclose(
        keras_gates.stats.timescale(forget).compute(),
        keras_gates.stats.timescale(recorder.traces["r/forget"].load()),
        rtol=1e-6,
    )


@pytest.mark.once
def test_what_is_read_while_it_is_written_stays_true(data, path):
    """A reader's tree, opened in the middle of a training, is measured after it."""
    trees, measured = [], []

    class Reader(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            tree = opened(path)
            trees.append(tree)
            last = tree["traces/r"].to_dataset().isel(step=-1)
            measured.append(measures(last))

    def measures(moment):
        found = keras_gates.stats.find_units(moment, data[0][:2, :, 0] > 0)
        axes = keras_gates.plots.timescale(moment)
        return str(keras_gates.stats.diagnose(moment)), found, axes.lines[1].get_ydata()

    recorder = keras_gates.GateRecorder(data[0][:2], store=path)
    fit(build(), data, [recorder, Reader()], epochs=3)
    for epoch, (tree, then) in enumerate(zip(trees, measured, strict=True), start=1):
        assert tree["traces/r"].sizes["step"] == epoch + 1
        moment = recorder.traces["r"].to_dataset().isel(step=epoch)
        sentence, units, scales = measures(moment)
        assert then[0] == sentence and then[1].equals(units)
        np.testing.assert_array_equal(then[2], scales)
        axes = keras_gates.plots.ridges(tree["statistics/r"], gate="forget")
        assert len(axes.patches) == epoch


@pytest.mark.once
def test_names_and_attributes_survive(data, path):
    inputs = keras.Input((5, 2))
    hidden = layers.Bidirectional(layers.GRU(3, name="z"), name="b")(inputs)
    model = keras.Model(inputs, layers.Dense(1)(hidden))
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(data[0][:2], store=path)
    fit(model, data, [recorder])
    node = opened(path)["traces/b/backward_z"]
    assert node.attrs["direction"] == "backward" and "convention" in node.attrs
    gates = opened(path)["statistics/b/forward_z"].signal.values
    assert gates.tolist() == ["update", "reset", "candidate", "hidden"]
    assert (keras_gates.verify(recorder.traces.isel(step=-1)) < 1e-5).all()


@pytest.mark.once
def test_an_existing_store_is_not_overwritten_unless_asked(data, path):
    fit(build(), data, [keras_gates.GateRecorder(data[0][:2], store=path)])
    with pytest.raises(FileExistsError, match="`mode='a'`, or replace it with"):
        fit(build(), data, [keras_gates.GateRecorder(data[0][:2], store=path)])
    assert opened(path)["traces/r"].sizes["step"] == 3
    again = keras_gates.GateRecorder(data[0][:2], store=path, mode="w")
    fit(build(), data, [again], epochs=1)
    assert opened(path)["traces/r"].sizes["step"] == 2
    assert opened(path)["statistics/r"].sizes["step"] == 1


@pytest.mark.once
def test_repeated_fits_of_one_recorder_go_to_one_store(data, path):
    recorder = keras_gates.GateRecorder(data[0][:2], store=path)
    model = build()
    for _ in range(3):
        fit(model, data, [recorder], epochs=1)
    assert opened(path)["traces/r"].epoch.values.tolist() == [0, 1, 2, 3]
    assert opened(path)["statistics/r"].batch.values.tolist() == [3, 6, 9]


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Stands for a crash at some point of an epoch."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.at = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise Killed

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == self.at:
            raise Killed


def crash_and_go_on(data, path, folder, order, kill, **options):
    """Trains with a crash, then anew from the backup, as a script would do again."""
    for attempt in range(2):
        recorder = keras_gates.GateRecorder(
            data[0][:2], store=path, mode="a", samples_per_batch="all", **options
        )
        backup = keras.callbacks.BackupAndRestore(folder)
        callbacks = {"recorder": recorder, "backup": backup, "kill": kill}
        wanted = [callbacks[name] for name in order if attempt == 0 or name != "kill"]
        try:
            fit(build(), data, wanted, epochs=4)
        except Killed:
            recorder._step_recorder.records.close()  # As the end of a process would.
    return recorder


RECORDER, BACKUP, KILL = "recorder", "backup", "kill"
once = pytest.mark.once


@pytest.mark.parametrize(
    ("order", "kill"),
    [
        # The order of the callbacks is nothing of a backend.
        pytest.param((RECORDER, BACKUP, KILL), Kill(0), marks=once),
        ((RECORDER, BACKUP, KILL), Kill(2, 2)),
        pytest.param((RECORDER, KILL, BACKUP), Kill(2), marks=once),
        pytest.param((RECORDER, KILL, BACKUP), Kill(1, 0), marks=once),
        pytest.param((KILL, RECORDER, BACKUP), Kill(1), marks=once),
        pytest.param((BACKUP, RECORDER, KILL), Kill(2), marks=once),
    ],
)
def test_going_on_after_a_crash_leaves_no_gap_and_no_repeat(
    order, kill, data, path, tmp_path
):
    crash_and_go_on(data, path, tmp_path / "backup", order, kill, record_freq=2)
    whole = keras_gates.GateRecorder(
        data[0][:2], samples_per_batch="all", record_freq=2
    )
    fit(build(), data, [whole], epochs=4)
    found = opened(path)
    for name, record in records(whole).items():
        other, node = found[f"{name}/r"], record["r"]
        assert other.epoch.values.tolist() == node.epoch.values.tolist()
        assert other.batch.values.tolist() == node.batch.values.tolist()
        for variable in node.data_vars:
            np.testing.assert_allclose(other[variable], node[variable], atol=1e-5)


@pytest.mark.once
def test_a_gap_in_the_statistics_is_reported(data, path, tmp_path):
    order = ("backup", "kill", "recorder")
    with pytest.warns(UserWarning, match="Put the recorder before `BackupAndRestore`"):
        crash_and_go_on(data, path, tmp_path / "backup", order, Kill(1))
    # The probe can be run again.
    assert opened(path)["traces/r"].epoch.values.tolist() == [0, 1, 2, 3, 4]
    assert opened(path)["statistics/r"].epoch.values.tolist() == [1, 3, 4]


@pytest.mark.once
def test_finished_epochs_are_not_dropped_by_starting_over(data, path):
    fit(build(), data, [keras_gates.GateRecorder(data[0][:2], store=path)])
    again = keras_gates.GateRecorder(data[0][:2], store=path, mode="a")
    with pytest.raises(ValueError, match="holds 2 epochs, and training starts"):
        fit(build(), data, [again])
    assert opened(path)["traces/r"].sizes["step"] == 3


# Killed by the operating system.


def start_writer(path, *arguments):
    environment = {**os.environ, "KERAS_BACKEND": BACKEND}
    command = [sys.executable, WRITER, path, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def assert_complete(path, steps):
    """Checks that a store of `store_writer` holds so many steps, and only those."""
    tree = opened(path)
    for name, here in steps.items():
        expected = np.arange(here, dtype="float32")
        for node in (tree[f"{name}/a"], tree[f"{name}/b"]):
            np.testing.assert_array_equal(node.epoch, expected)
            for values in node.data_vars.values():
                shape = (here, *[1] * (values.ndim - 1))
                assert values.shape[0] == here
                assert (values.values == expected.reshape(shape)).all()


@pytest.mark.once
def test_killed_at_any_moment_the_complete_steps_are_there(path):
    """The writer says when a step is complete; it is killed at random moments."""
    moments = random.Random(0)
    begun = 0
    with start_writer(path) as writers:
        for _ in range(8):
            print(begun, file=writers.stdin, flush=True)
            number, said = (int(writers.stdout.readline()) for _ in range(2))
            end = time.monotonic() + moments.uniform(0.0, 0.4)  # It is writing now.
            while time.monotonic() < end:
                said = int(writers.stdout.readline())
            os.kill(number, signal.SIGKILL)
            last = iter(writers.stdout.readline, f"{store_writer.ENDED}\n")
            said = max([said, *map(int, last)])
            tree = opened(path)
            steps = {name: tree[f"{name}/a"].sizes["step"] for name in tree.children}
            # The statistics of a step are written after its trace.
            assert steps["statistics"] in (said, said + 1) and said > begun
            assert steps["traces"] in (steps["statistics"], steps["statistics"] + 1)
            assert_complete(path, steps)
            begun = steps["statistics"]
        writers.stdin.close()
    assert begun > 16  # Two steps for each writer, also on a busy machine.


class Cut(BaseException):
    pass


@pytest.mark.once
def test_cut_off_before_a_file_appears_the_steps_before_are_there(path, monkeypatch):
    """Every file comes into being by `os.replace`: every third is the last, once."""
    real = os.replace
    last, done = 0, False
    while not done:
        last += 3  # A step has a number of files that three does not divide.
        left = [last]

        def replace(source, target, left=left):
            if not left[0]:
                raise Cut
            left[0] -= 1
            return real(source, target)

        here = path.with_name(f"{last}.zarr")
        store = Store(here, {"keras_gates": "test"})
        records = {name: Record(name) for name in ("traces", "statistics")}
        written = {}
        monkeypatch.setattr(os, "replace", replace)
        try:
            for step in range(3):
                for name, record in records.items():
                    record.write_to(store)
                    record.append(store_writer.tree(name, step), step, step)
                    written[name] = step + 1
            done = True
        except Cut:
            pass
        monkeypatch.undo()
        assert_complete(here, written)
        store.close()
        # The next writer goes on from there.
        store = Store(here, {"keras_gates": "test"})
        for name, record in records.items():
            record.write_to(store)
            for step in range(len(record.steps), 4):
                record.append(store_writer.tree(name, step), step, step)
        assert_complete(here, {"traces": 4, "statistics": 4})
        store.close()
    assert last > 50


@pytest.mark.once
@pytest.mark.parametrize("room", [0.5, 0.61, 0.79])
def test_a_full_disk_leaves_the_complete_steps_and_the_training(
    room, data, path, monkeypatch
):
    real, writes, most = os.replace, [], float("inf")

    def replace(source, target):
        writes.append(target)
        if len(writes) > most:
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    elsewhere = keras_gates.GateRecorder(data[0][:2], store=path.with_name("w.zarr"))
    fit(build(), data, [elsewhere], epochs=6)
    most = room * len(writes)
    writes.clear()
    recorder = keras_gates.GateRecorder(data[0][:2], store=path)
    with pytest.warns(UserWarning, match="No space left on device.*Training continues"):
        history = fit(build(), data, [recorder], epochs=6)
    monkeypatch.undo()
    assert len(history.epoch) == 6
    whole = keras_gates.GateRecorder(data[0][:2])
    fit(build(), data, [whole], epochs=6)
    found = opened(path)
    for name, record in records(whole).items():
        steps = found[f"{name}/r"].sizes["step"]
        assert 1 < steps < 6
        node = record["r"].isel(step=slice(steps)).to_dataset()
        xarray.testing.assert_allclose(found[f"{name}/r"].to_dataset().load(), node)


@pytest.mark.once
def test_two_processes_do_not_write_one_store(data, path):
    with start_writer(path, 0) as writer:
        writer.stdout.readline()
        recorder = keras_gates.GateRecorder(data[0][:2], store=path, mode="w")
        with pytest.raises(
            BlockingIOError, match="recorder of this process, is writing"
        ):
            fit(build(), data, [recorder])
        writer.kill()
        writer.stdout.read()
    assert opened(path)["traces/a"].sizes["step"] > 0


# What bad input gets.


def refused(data, path, error, sentence, model=None, **options):
    model = model or build()
    before = model.get_weights()
    options = {"probe": data[0][:2], "mode": "a", **options}
    with pytest.raises(error, match=sentence):
        fit(model, data, [keras_gates.GateRecorder(store=path, **options)])
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.once
def test_what_is_no_store_is_refused_and_left_alone(data, path):
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    for mode in ("a", "w"):
        refused(data, path, ValueError, "is not a store that keras_gates", mode=mode)
    assert (path / "thesis.txt").read_text() == "mine"
    foreign = path.with_name("foreign.zarr")
    xarray.Dataset({"a": ("x", [1.0])}).to_zarr(foreign, consolidated=False)
    for mode in ("a", "w"):
        refused(data, foreign, ValueError, "is not a store that", mode=mode)
    assert xarray.open_zarr(foreign, consolidated=False)["a"].values == [1.0]
    file = path.with_name("file")
    file.write_text("mine")
    for mode in ("a", "w", "w-"):
        refused(data, file, ValueError, "is not a store that", mode=mode)
    assert file.read_text() == "mine"


@pytest.mark.once
def test_a_store_of_something_else_is_not_continued(data, path):
    fit(build(), data, [keras_gates.GateRecorder(data[0][:2], store=path)])
    others = {
        "its model": {"model": build(units=5)},
        "its probe": {"probe": data[0][2:4]},
        "its signals": {"signals": "forget"},
        "its record_freq": {"record_freq": 1},
        "its thresholds": {"lower": 0.2},
        "its rows": {"samples_per_batch": 2},
    }
    for what, options in others.items():
        refused(data, path, ValueError, f"cannot be continued: {what} is", **options)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["format"] = 99
    (path / "zarr.json").write_text(json.dumps(metadata))
    refused(data, path, ValueError, "cannot be continued: its format is 99")


@pytest.mark.once
def test_a_refused_run_leaves_the_store_as_it_was(data, path):
    broken = data[0][:2].copy()
    broken[0, 0, 0] = np.nan
    wrong = [{"probe": broken}, {"units": [7]}, {"max_bytes": 10}]
    for options in wrong:
        refused(data, path, ValueError, "probe|units", mode="w-", **options)
        assert not path.exists()
    fit(build(), data, [keras_gates.GateRecorder(data[0][:2], store=path)])
    for options in wrong:
        refused(data, path, ValueError, "probe|units", mode="w", **options)
        assert opened(path)["traces/r"].sizes["step"] == 3


@pytest.mark.once
def test_the_path_is_that_of_the_folder_at_the_time(data, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    recorder = keras_gates.GateRecorder(data[0][:2], store=path.name)
    (path.parent / "elsewhere").mkdir()
    monkeypatch.chdir(path.parent / "elsewhere")
    fit(build(), data, [recorder])
    assert recorder.traces["r"].sizes["step"] == opened(path)["traces/r"].sizes["step"]


@pytest.mark.once
def test_interrupted_before_its_first_step_it_resumes_its_own_store(data, path):
    recorder = keras_gates.GateRecorder(store=path)
    model = build()
    with pytest.raises(Killed):
        fit(model, data, [recorder, Kill(0, 1)])
    recorder.on_train_end()
    fit(model, data, [recorder])
    assert opened(path)["statistics/r"].sizes["step"] == 2


@pytest.mark.once
def test_names_in_a_store_cannot_reach_outside(data, path):
    fit(build(), data, [keras_gates.GateRecorder(data[0][:2], store=path)])
    metadata = json.loads((path / "zarr.json").read_text())
    nodes = metadata["consolidated_metadata"]["metadata"]
    nodes["../outside"] = nodes["traces/r/forget"]
    (path / "zarr.json").write_text(json.dumps(metadata))
    refused(data, path, ValueError, "is outside the store")


@pytest.mark.once
def test_a_place_that_cannot_be_written_is_refused(data, path):
    # Inside a file, where not even root can make a folder.
    path.write_text("mine")
    refused(data, path / "run.zarr", OSError, "cannot be written")
