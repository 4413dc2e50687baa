"""Where a store cannot be, nothing is touched, and it is said before training."""

import copy
import os
import pathlib
import pickle
import re
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import store_writer
import xarray
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates.recording.step_series import Record
from keras_gates.recording.storage import Records
from keras_gates.stores import file_names, paths
from keras_gates.stores.store import Store

once = pytest.mark.once
TENSORFLOW = keras.backend.backend() == "tensorflow"
ATTRIBUTES = {"keras_gates": "test", "format": 2}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.zarr"


def write(path, mode="a", steps=2, attributes=ATTRIBUTES):
    """Writes steps behind those that are there."""
    store = Store(path, attributes, mode)
    try:
        for name in store_writer.SHAPES:
            record = Record(name)
            record.write_to(store)
            for _ in range(steps):
                step = len(record.steps)
                record.append(store_writer.tree(name, step), step, step)
    finally:
        store.close()


def steps(path):
    return xarray.open_datatree(path, engine="zarr")[
        "statistics/a"
    ].step.values.tolist()


def listing(folder):
    """Returns what is in a folder, with times and contents, links not followed."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            file = pathlib.Path(root, name)
            if file.suffix != ".lock":
                status = file.lstat()
                found[str(file)] = status.st_ino, status.st_mtime_ns
    return found


def refused(path, error, sentence, mode="a"):
    """Checks that a store is refused, and nothing but a lock file touched."""
    before = listing(path.parent) if path.parent.is_dir() else {}
    with pytest.raises(error, match=sentence):
        write(path, mode)
    after = listing(path.parent) if path.parent.is_dir() else {}
    assert after == before


@once
@pytest.mark.parametrize("mode", ["w-", "a", "w"])
def test_killed_while_it_is_made_a_store_is_never_refused_after(mode, tmp_path):
    killer = pathlib.Path(__file__).parents[1] / "store_killer.py"
    arguments = [tmp_path / "here", mode, "41", "3"]
    done = subprocess.run(
        [sys.executable, killer, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 100


@once
def test_an_incomplete_store_of_an_older_version_is_replaced(path):
    path.mkdir()
    (path / f"zarr.{'0' * 32}.partial").write_text("{")
    write(path)
    assert steps(path) == [0, 1] and not list(path.glob("*.partial"))
    half = path.with_name("half.zarr")
    half.mkdir()
    group = '{"attributes": {"keras_gates": "0"}, "zarr_format": 3}'
    (half / "zarr.json").write_text(group)
    write(half)
    assert steps(half) == [0, 1]


@once
@pytest.mark.parametrize(
    "file", ["notes.txt", "traces/a/notes.txt", "traces/a/forget/c/notes", "mine/x"]
)
def test_replacing_a_store_spares_what_is_not_ours(file, path):
    write(path)
    (path / file).parent.mkdir(exist_ok=True)
    (path / file).write_text("mine")
    refused(path, ValueError, "which no recorder of keras_gates wrote", "w")
    assert (path / file).read_text() == "mine" and steps(path) == [0, 1]
    write(path)  # It may be continued.
    assert steps(path) == [0, 1, 2, 3]


@once
def test_another_group_in_a_store_is_not_ours(path):
    write(path)
    xarray.Dataset({"a": ("x", [1.0])}).to_zarr(path, group="mine", consolidated=False)
    refused(path, ValueError, "'mine'", "w")


@once
def test_a_file_in_the_place_of_a_group_is_not_removed(path):
    Store(path, ATTRIBUTES).close()
    (path / "traces").mkdir()
    (path / "traces" / "thesis.txt").write_text("mine")
    for mode in ("a", "w"):
        refused(path, ValueError, "'traces/thesis.txt'", mode)


@once
def test_replacing_leaves_nothing_of_the_old_steps(path):
    write(path, steps=5)
    write(path, "w", steps=1, attributes={**ATTRIBUTES, "other": 1})
    assert steps(path) == [0]
    assert not list((path / "traces/a/forget/c").glob("[1-9]"))


@once
@pytest.mark.parametrize("mode", ["w-", "a", "w"])
def test_a_link_is_refused(mode, path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere)
    path.symlink_to(elsewhere)
    refused(path, ValueError, "must not be a link.*elsewhere", mode)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    refused(path, ValueError, "must not be a link.*nowhere", mode)
    path.unlink()
    path.symlink_to(path)
    refused(path, OSError, "cannot be written", mode)


@once
@pytest.mark.parametrize("what", ["traces", "traces/a/forget", "traces/a/forget/c/0"])
@pytest.mark.parametrize("mode", ["a", "w"])
def test_a_link_in_a_store_is_refused(what, mode, path, tmp_path):
    write(path)
    (path / what).rename(tmp_path / "moved")
    (path / what).symlink_to(tmp_path / "moved")
    refused(path, ValueError, f"holds a link, '{what}'", mode)


@once
def test_a_linked_parent_is_the_same_place(path, tmp_path, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    write(link / "run.zarr")
    assert steps(path) == [0, 1]
    store = Store(path, ATTRIBUTES)
    monkeypatch.chdir(tmp_path)
    others = [link / "run.zarr", pathlib.Path("run.zarr"), tmp_path / "x/../run.zarr"]
    for other in others:
        with pytest.raises(BlockingIOError, match="Another process, or another"):
            Store(other, ATTRIBUTES)
    store.close()


@once
def test_a_file_next_to_the_store_is_not_written_through_a_link(path, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in (".run.zarr.lock", ".run.zarr.zarr.json"):
        (tmp_path / name).symlink_to(mine)
    refused(path, OSError, "not a plain file")
    (tmp_path / ".run.zarr.lock").unlink()
    write(path)
    assert mine.read_text() == "mine" and steps(path) == [0, 1]


def moved(path, how):
    records = Records(path, "a", None)
    records.open(lambda: ATTRIBUTES)
    for step in range(2):
        records.append("traces", store_writer.tree("traces", step), (step, step))
    how()
    return records


HOW = {
    "moved": lambda path: path.rename(path.with_name("elsewhere")),
    "removed": lambda path: path.rename(path.parent.parent / "gone"),
    "another in its place": lambda path: (
        path.rename(path.with_name("elsewhere")),
        write(path, steps=1),
    ),
    "linked": lambda path: (
        path.rename(path.with_name("elsewhere")),
        path.symlink_to(path.with_name("elsewhere")),
    ),
}


@once
@pytest.mark.parametrize("case", ["moved", "another in its place", "linked"])
def test_a_store_that_is_moved_is_written_no_more(case, path, recwarn):
    records = Records(path, "a", None)
    records.open(lambda: ATTRIBUTES)
    for step in range(2):
        records.append("traces", store_writer.tree("traces", step), (step, step))
    lock = path.with_name(".run.zarr.lock")
    if case == "another in its place":
        lock.unlink()  # It comes from another machine.
    HOW[case](path)
    before = listing(path.parent)
    with pytest.warns(UserWarning, match="moved or removed.*Training continues"):
        records.append("traces", store_writer.tree("traces", 2), (2, 2))
    for step in range(3, 5):  # Once is enough.
        records.append("traces", store_writer.tree("traces", step), (step, step))
    assert listing(path.parent) == before
    elsewhere = xarray.open_datatree(path.with_name("elsewhere"), engine="zarr")
    assert elsewhere["traces/a"].sizes["step"] == 2
    if case == "moved":
        with pytest.raises(FileNotFoundError, match="no longer exists"):
            records.traces.tree()
        with pytest.raises(FileNotFoundError, match="which this recorder opened"):
            records.open(lambda: ATTRIBUTES)


@once
def test_a_forked_process_does_not_write(path):
    store = Store(path, ATTRIBUTES)
    store._opened._process += 1  # As in a copy of the process.
    record = Record("traces")
    record.write_to(store)
    with pytest.raises(OSError, match="a copy of the process"):
        record.append(store_writer.tree("traces", 0), 0, 0)
    store.close()


ODD = {
    "of a file": ("file://a/run.zarr", ValueError, "must be an absolute path in a URL"),
    "root": ("/", ValueError, "folder of its own"),
    "NUL": ("a\0b", ValueError, "a NUL character"),
    "long": ("x" * 300, ValueError, "names of at most 255 bytes"),
    "deep": ("/".join(["x" * 200] * 19), OSError, "File name too long"),
    "number": (3, TypeError, "`store` must be a path"),
    "in a file": ("file/run.zarr", OSError, "cannot be written"),
    "in a store": ("mine.zarr/a/run.zarr", ValueError, "inside another Zarr store"),
    "dangling link": ("dangling", (ValueError, OSError), "link"),
    "in a dangling link": ("dangling/run.zarr", OSError, "cannot be written"),
}


def surroundings(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    xarray.Dataset({"a": ("x", [1.0])}).to_zarr(
        tmp_path / "mine.zarr", consolidated=False
    )


@pytest.fixture
def model():
    stack = [layers.LSTM(2, name="r"), layers.Dense(1)]
    model = sequential(*stack, shape=(5, 2))
    model.compile("sgd", "mse")
    return model


@once
@pytest.mark.parametrize("case", ODD)
def test_odd_places_are_refused_before_the_model_runs(
    case, model, tmp_path, monkeypatch
):
    value, error, sentence = ODD[case]
    surroundings(tmp_path)
    monkeypatch.chdir(tmp_path)
    before, x, y = listing(tmp_path), np.zeros((4, 5, 2)), np.zeros((4, 1))

    def run(*_):
        raise AssertionError("The model ran.")

    with monkeypatch.context() as patch:
        patch.setattr("keras_gates.capturing.program.Program.run", run)
        with pytest.raises(error, match=sentence):
            keras_gates.capture(model, x, store=value)
    weights = model.get_weights()
    for mode in ("w-", "a", "w"):
        with pytest.raises(error, match=sentence):
            recorder = keras_gates.GateRecorder(x[:1], store=value, mode=mode)
            model.fit(x, y, callbacks=[recorder], verbose=0)
    for left, right in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert listing(tmp_path) == before


@once
@pytest.mark.parametrize("what", ["pipe", "socket", "device"])
def test_what_is_no_folder_is_refused(what, tmp_path, monkeypatch):
    path = tmp_path / "odd"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("odd")
    else:
        path = pathlib.Path("/dev/null")
    for mode in ("w-", "a", "w"):
        with pytest.raises(ValueError, match="is not a store that keras_gates wrote"):
            Store(path, ATTRIBUTES, mode)
    with pytest.raises(FileExistsError, match="exists already"):
        paths.new_path(path)


@once
@pytest.mark.parametrize("name", ["run.zarr/", "über läufe", "日本", "a b", "nan"])
def test_unusual_names_of_stores_are_taken(name, tmp_path):
    write(str(tmp_path) + "/" + name)
    assert steps(tmp_path / name) == [0, 1]


@once
@pytest.mark.parametrize("mode", ["w-", "a", "w"])
def test_a_full_disk_raises_before_training(mode, model, path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    if mode != "w-":
        write(path, attributes={**ATTRIBUTES, "x": 1}, steps=0)
    before = listing(path.parent)
    x, y = np.zeros((4, 5, 2)), np.zeros((4, 1))
    weights = model.get_weights()
    monkeypatch.setattr(os, "fsync", full)
    recorder = keras_gates.GateRecorder(x[:1], store=path, mode=mode)
    with pytest.raises(OSError, match="cannot be written .No space left"):
        model.fit(x, y, callbacks=[recorder], verbose=0)
    for left, right in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    monkeypatch.undo()
    assert {k for k in listing(path.parent)} == set(before)
    recorder = keras_gates.GateRecorder(x[:1], store=path, mode=mode)
    model.fit(x, y, callbacks=[recorder], verbose=0)
    assert recorder.traces["r"].step.values.tolist() == [0, 1]


@once
def test_a_disk_that_is_full_at_the_first_step_raises_before_training(
    model, path, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    x, y = np.zeros((4, 5, 2)), np.zeros((4, 1))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", full)
        recorder = keras_gates.GateRecorder(x[:1], store=path)
        with pytest.raises(OSError, match="cannot be written .No space left"):
            model.fit(x, y, callbacks=[recorder], verbose=0)
    # The same call works as soon as there is room.
    recorder = keras_gates.GateRecorder(x[:1], store=path)
    model.fit(x, y, callbacks=[recorder], verbose=0)
    assert recorder.statistics["r"].step.values.tolist() == [1]


@once
@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can become somebody else.")
@pytest.mark.parametrize("where", [".", "traces", "traces/a/forget/c"])
def test_a_folder_that_cannot_be_written_is_refused(where, path):
    write(path)
    for folder in [path.parent, *path.parents]:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
    path.parent.chmod(0o777)
    for file in path.parent.rglob("*"):
        file.chmod(0o777)
    (path / where).chmod(0o555)
    os.seteuid(65534)
    try:
        for mode in ("a", "w"):
            with pytest.raises(PermissionError, match="cannot be written"):
                write(path, mode)
    finally:
        os.seteuid(0)
    assert steps(path) == [0, 1]


# Captures that were killed.

CAPTURE = """
import sys, time
from pathlib import Path
import numpy as np
import store_writer
from keras_gates.stores.writing import write_trees
def trees():
    yield store_writer.tree("traces", 0)
    print("there", flush=True)
    time.sleep(60)
write_trees(Path(sys.argv[1]), trees(), "w-")
"""


def capturing(path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", CAPTURE, path],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout.readline() == "there\n"
    return process


@once
def test_the_next_capture_removes_what_killed_ones_left(model, tmp_path):
    dead = capturing(tmp_path / "dead.zarr")
    living = capturing(tmp_path / "living.zarr")
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    dead.stdout.close()
    mine = tmp_path / ".mine-abcdefgh.unfinished"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    assert len(list(tmp_path.iterdir())) == 3
    keras_gates.capture(model, np.zeros((2, 5, 2)), store=tmp_path / "run.zarr")
    left = sorted(file.name for file in tmp_path.iterdir())
    assert len(left) == 3 and left[0].startswith(".living.zarr-") and mine.exists()
    with pytest.raises(BlockingIOError, match="Another capture is writing the store"):
        keras_gates.capture(model, np.zeros((2, 5, 2)), store=tmp_path / "living.zarr")
    living.kill()
    living.wait()
    living.stdout.close()


@once
def test_what_workers_wrote_after_the_end_is_removed_when_it_is_old(model, tmp_path):
    old, new = (tmp_path / f".{name}-abcdefgh.unfinished" for name in ("old", "new"))
    for folder in (old, new):
        (folder / "store/r").mkdir(parents=True)
    os.utime(old, (0, 0))
    keras_gates.capture(model, np.zeros((2, 5, 2)), store=tmp_path / "run.zarr")
    assert {file.name for file in tmp_path.iterdir()} == {new.name, "run.zarr"}


# Names of layers.


def test_layers_whose_names_are_one_file_name_have_two(tmp_path):
    inputs = keras.Input((3, 1))
    x = layers.LSTM(2, name="LSTM", return_sequences=True)(inputs)
    x = layers.LSTM(2, name="lstm", return_sequences=True)(x)
    x = layers.LSTM(2, name="x" * 300, return_sequences=True)(x)
    # TensorFlow takes no name with such characters.
    odd, key = ("a>b", "a%3Eb") if TENSORFLOW else ("a\0:b", "a%00%3Ab")
    x = layers.LSTM(2, name=odd, return_sequences=True)(x)
    x = layers.LSTM(2, name="con")(x)
    model = keras.Model(inputs, x)
    plain = keras_gates.capture(model, np.ones((2, 3, 1)))
    stored = keras_gates.capture(model, np.ones((2, 3, 1)), store=tmp_path / "a.zarr")
    assert list(stored.children) == list(plain.children)
    assert stored.attrs == plain.attrs
    for name, node in plain.children.items():
        xarray.testing.assert_equal(node.to_dataset(), stored[name].to_dataset())
    keys = list(xarray.open_datatree(tmp_path / "a.zarr", engine="zarr").children)
    assert {"LSTM", "lstm~2", key, "%63on"} < set(keys)
    assert len({key.casefold() for key in keys}) == 5


@once
def test_ordinary_names_are_their_own_keys():
    for path in ("lstm", "encoder/bidirectional/forward_lstm", "lstm@2", "BiLSTM 1-b"):
        assert file_names.keys({path: []}) == {path: path}


@once
def test_no_two_paths_have_one_key():
    parts = ["a", "A", "a~2", "a.", "a%2E", ".", "..", "é", "e\u0301", "zarr.json"]
    parts += ["NUL", "nul.txt", "x" * 201, "x" * 202, "x" * 200, "forget", "Forget"]
    paths = [*parts, *(f"{one}/{two}" for one in parts for two in parts)]
    named = file_names.keys({path: ["forget"] for path in paths})
    folded = {file_names._fold(key) for key in named.values()}
    assert len(folded) == len(paths)
    for key in named.values():
        for part in key.split("/"):
            assert len(part.encode()) < 240 and not re.search(
                r'[\0-\x1f<>:"\\|?*]', part
            )
            assert part not in ("", ".", "..") and part[-1] not in ". "
        above, _, last = key.rpartition("/")
        assert not above or file_names._fold(last) != "forget"


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch refuses such a name itself."
)
@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_layer_whose_name_means_another_place_is_refused(name, tmp_path):
    model = sequential(layers.LSTM(2, name=name), shape=(5, 2))
    for store in (None, tmp_path / "run.zarr"):
        with pytest.raises(ValueError, match="Rename the layer"):
            keras_gates.capture(model, np.zeros((2, 5, 2)), store=store)
    assert not list(tmp_path.iterdir())


# Reading.


@once
def test_a_record_is_built_once_until_the_next_step(monkeypatch):
    record = Record("statistics")
    built = []
    real = Record._build
    monkeypatch.setattr(Record, "_build", lambda self: built.append(1) or real(self))
    for step in range(300):
        record.append(store_writer.tree("statistics", step), step, step)
    assert not built
    first, second = record.tree(), record.tree()
    assert len(built) == 1
    assert np.shares_memory(first["a/mean"].values, second["a/mean"].values)
    record.append(store_writer.tree("statistics", 300), 300, 300)
    again = record.tree()
    assert len(built) == 2
    assert again["a"].sizes["step"] == 301 and first["a"].sizes["step"] == 300
    for step, values in enumerate(again["a/mean"].values):
        assert (values == step).all()
    assert again["a"].step.values.tolist() == again["a"].epoch.values.tolist()
    xarray.testing.assert_identical(again["a"].isel(step=slice(300)), first["a"])


@once
def test_what_is_changed_in_a_result_is_not_changed_in_the_record():
    record = Record("statistics")
    for step in range(3):
        record.append(store_writer.tree("statistics", step), step, step)
    tree = record.tree()
    with pytest.raises(ValueError, match="read-only"):
        tree["a/mean"].values[:] = -1.0
    with pytest.raises(ValueError, match="read-only"):
        tree["a"].epoch.values[:] = -1
    tree["a"].coords["step"].attrs["long_name"] = "changed"
    tree["a/mean"].attrs["long_name"] = "changed"
    tree["a"].attrs["cell_type"] = "changed"
    tree["a"] = tree["a"].to_dataset().assign(mean=-tree["a/mean"], more=1)
    again = record.tree()
    assert (again["a/mean"].isel(step=2) == 2).all()
    assert "more" not in again["a"]
    assert again["a"].step.attrs["long_name"] != "changed"
    assert again["a/mean"].attrs.get("long_name") != "changed"
    assert again["a"].attrs["cell_type"] == "LSTM"
    copied = again.copy(deep=True)
    copied["a/mean"].values[:] = -1.0


@once
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_of_a_record_goes_its_own_way(copied):
    record = Record("statistics")
    for step in range(5):
        record.append(store_writer.tree("statistics", step), step, step)
    before = record.tree()
    other = copied(record)
    xarray.testing.assert_identical(other.tree(), before)
    other.append(store_writer.tree("statistics", 7), 7, 7)
    record.append(store_writer.tree("statistics", 9), 9, 9)
    assert (other.tree()["a/mean"][-1] == 7).all()
    assert (record.tree()["a/mean"][-1] == 9).all()
    xarray.testing.assert_identical(before, record.tree().isel(step=slice(5)))


@once
def test_a_reader_sees_complete_steps_while_a_writer_appends(path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writer = pathlib.Path(__file__).parents[1] / "store_writer.py"
    with subprocess.Popen(
        [sys.executable, writer, path, "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        process.stdout.readline()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            tree = xarray.open_datatree(path, engine="zarr")["traces/a"].to_dataset()
            assert (tree["forget"].mean(("sample", "time", "unit")) == tree.step).all()
        process.kill()
        process.stdout.read()
