"""Several processes write the store that one process writes, or refuse to."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

import fsspec
import joblib
import keras
import numcodecs
import numpy as np
import pytest
import small_models
from keras import layers, ops
from own_cells import MGUCell

import keras_gates
from keras_gates.capturing import several_processes
from keras_gates.cells import registry
from keras_gates.models import sending

once = pytest.mark.once
X = np.random.default_rng(0).normal(size=(22, 5, 2)).astype("float32")


def files(store):
    """Returns what is in each file of a store, chunks as they were before zstd.

    What zstd makes of the same numbers depends on its version, and a process has that
    of TensorFlow where TensorFlow was loaded before Zarr.
    """
    found = [file for file in store.rglob("*") if file.is_file()]
    return {
        str(file.relative_to(store)): file.read_bytes()
        if file.suffix == ".json"
        else bytes(numcodecs.Zstd().decode(file.read_bytes()))
        for file in found
    }


def assert_same(model, x, tmp_path, **options):
    """Checks that a capture in parts is that of one process, to the byte."""
    options = {"batch_size": 4, **options}
    one = x() if callable(x) else x
    keras_gates.capture(model, one, store=tmp_path / "one", **options)
    two = x() if callable(x) else x
    found = keras_gates.capture(model, two, store=tmp_path / "two", n_jobs=2, **options)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert {path.name for path in tmp_path.iterdir()} >= {"one", "two"}
    assert not list(tmp_path.glob(".*.unfinished"))
    return found


@pytest.fixture
def here():
    """Runs the parts one after the other in this process, on models of their own."""
    with joblib.parallel_config("sequential"):
        yield


def sequential(*stack, shape=(5, 2)):
    return small_models.sequential(*stack, shape=shape)


def text_model():
    inputs = keras.Input((6,), dtype="int32")
    embedded = layers.Embedding(9, 3, mask_zero=True, name="words")(inputs)
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both")
    last = layers.GRU(3, name="gru")(both(embedded))
    return keras.Model(inputs, layers.Dense(1)(last), name="text")


def test_two_processes_write_the_bytes_of_one(rng, tmp_path):
    tokens = rng.integers(0, 3, size=(22, 6))
    gates = assert_same(text_model(), tokens, tmp_path)
    assert gates["gru/update"].shape == (22, 6, 3)
    assert (keras_gates.verify(gates) < 1e-5).all()


@once
def test_a_script_with_classes_of_its_own_writes_the_same_files(tmp_path):
    script = pathlib.Path(__file__).parents[1] / "parted_script.py"
    command = [sys.executable, "-W", "error::UserWarning", script, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# A worker dies


class Deadly(layers.Layer):
    """Notes each call of another process, and kills that process once."""

    def __init__(self, home, notes, dies_at, **kwargs):
        super().__init__(**kwargs)
        self.home, self.notes, self.dies_at = home, notes, dies_at
        self.calls = 0

    def call(self, inputs):
        # PyTorch has no numbers where only shapes are asked for.
        counts = str(getattr(inputs, "device", "meta")) != "meta"
        if counts and os.getpid() != self.home:
            notes, self.calls = pathlib.Path(self.notes), self.calls + 1
            with notes.open("a") as file:
                file.write("x")
            dead = notes.with_suffix(".dead")
            if self.calls >= self.dies_at and not dead.exists():
                dead.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return inputs

    def get_config(self):
        own = {"home": self.home, "notes": self.notes, "dies_at": self.dies_at}
        return {**super().get_config(), **own}


def deadly(tmp_path, dies_at, home=None):
    notes = str(tmp_path / "notes")
    model = sequential(
        Deadly(os.getpid() if home is None else home, notes, dies_at), layers.LSTM(3)
    )
    model.run_eagerly = True  # So that each batch calls the layer.
    return model


@once
def test_a_killed_worker_loses_nothing_that_was_written(tmp_path):
    model = deadly(tmp_path, dies_at=12)
    x = np.concatenate([X] * 10)
    assert_same(model, x, tmp_path)
    assert (tmp_path / "notes.dead").exists()
    # 54 parts, a check of each worker, and what was not finished when one died.
    calls = len((tmp_path / "notes").read_text())
    assert 54 < calls < 54 + 4 + 8


@once
def test_workers_that_die_again_and_again_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(several_processes, "DEATHS", 1)
    with pytest.raises(RuntimeError, match="process died 1 times, .*Fewer `n_jobs`"):
        keras_gates.capture(
            deadly(tmp_path, 1), X, store=tmp_path / "run", n_jobs=2, batch_size=4
        )
    assert {path.name for path in tmp_path.iterdir()} == {"notes", "notes.dead"}


@once
def test_the_machines_of_a_cluster_write_the_same(tmp_path):
    distributed = pytest.importorskip("distributed")
    model = sequential(layers.LSTM(3), layers.Dense(1))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        assert_same(model, X, tmp_path)


# Whatever the data and the model are


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_all_run_in_the_same_kernel(known, here, tmp_path):
    batches = 11 if known else 7

    def data():
        x = X[: 2 * batches]
        return x if known else (x[n : n + 2] for n in range(0, len(x), 2))

    model = sequential(layers.LSTM(3, return_sequences=True, name="lstm"))
    gates = assert_same(model, data, tmp_path, batch_size=2)
    assert gates["lstm"].attrs["kernel"] == "fast"
    few = keras_gates.capture(
        model, X[:14], store=tmp_path / "few", n_jobs=2, batch_size=2
    )
    assert few["lstm"].attrs["kernel"] == "keras"


def generator():
    for start in range(0, 22, 4):
        yield X[start : start + 4]


class Data(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], np.zeros(4)


def two_inputs():
    a, b = keras.Input((5, 2), name="a"), keras.Input((5, 2), name="b")
    hidden = layers.GRU(3, name="gru")(layers.Add()([a, b]))
    return keras.Model({"a": a, "b": b}, hidden)


def of_own_cell():
    return sequential(layers.RNN(MGUCell(3), name="mgu"))


def in_frames():
    inner = layers.TimeDistributed(layers.LSTM(2, name="inner"), name="frames")
    return sequential(inner, shape=(3, 5, 2))


def half():
    return sequential(layers.LSTM(3, dtype="mixed_float16"))


CASES = {
    "a generator": (lambda: sequential(layers.LSTM(3)), generator, {}),
    "a data set": (lambda: sequential(layers.LSTM(3)), Data, {}),
    "a dict": (two_inputs, {"a": X, "b": -X}, {}),
    "single samples": (lambda: sequential(layers.LSTM(3)), X, {"batch_size": 1}),
    "one batch": (lambda: sequential(layers.LSTM(3)), X, {"batch_size": 32}),
    "a traced cell": (of_own_cell, X, {}),
    "frames": (in_frames, np.stack([X, -X, 2 * X], axis=1), {}),
    "half precision": (half, X, {}),
    "one signal": (lambda: sequential(layers.LSTM(3)), X, {"signals": "forget"}),
    "a layer": (
        lambda: sequential(layers.LSTM(3, return_sequences=True), layers.GRU(2)),
        X,
        {"layers": "gru*"},
    ),
    "a subclass": (lambda: sequential(small_models.Scaled(3)), X, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_parts_make_the_same_store_from_any_data(case, here, tmp_path):
    build, x, options = CASES[case]
    assert_same(build(), x, tmp_path, **options)


def test_a_model_in_fast_kernels_runs_in_them_elsewhere(here, tmp_path):
    model = sequential(layers.LSTM(3, name="lstm"), layers.Dense(1))
    keras_gates.accelerate(model)
    assert sending.unpack("m", sending.pack(model)).fast == ["lstm"]
    assert_same(model, X, tmp_path)


OWN = {
    "signals": lambda cell, inputs, states: {
        "keep": ops.sigmoid(ops.matmul(inputs, cell.of_gate[: inputs.shape[-1]])),
        "new": ops.tanh(states[0]),
    },
    "step": lambda signals, states: signals["keep"] * states[0],
}


class OwnCell(MGUCell):
    def call(self, inputs, states):
        signals = OWN["signals"](self, inputs, states)
        hidden = OWN["step"](signals, states)
        return hidden, [hidden]


@once
def test_a_registered_cell_is_known_elsewhere_while_it_is_needed(here, tmp_path):
    keras_gates.register_cell(OwnCell, **OWN, gates="keep", keep="keep")
    model = sequential(layers.RNN(OwnCell(3), name="own"))
    gates = assert_same(model, X, tmp_path)
    assert set(gates["own"].data_vars) == {"keep", "new", "hidden"}
    packed = sending.pack(model)
    kind = registry.KINDS.pop("Own")  # As it is in another process.
    known = dict(registry.KINDS)
    sent = dataclasses.replace(sending.unpack("m", packed), home="elsewhere")
    with sent.in_force():
        assert registry.KINDS["Own"].signals == kind.signals
        sent.load()
    assert known == registry.KINDS


# What several processes would do in another way is refused


def refused(error, sentence, model, tmp_path, x=X, **options):
    options = {"store": tmp_path / "run", "n_jobs": 2, "batch_size": 4, **options}
    before = set(tmp_path.iterdir())
    with pytest.raises(error, match=sentence):
        keras_gates.capture(model, x, **options)
    assert set(tmp_path.iterdir()) == before


@pytest.fixture
def nothing_runs(monkeypatch):
    def run(*_):
        raise AssertionError("The model ran.")

    monkeypatch.setattr("keras_gates.capturing.program.Program.run", run)


class NoConfig(layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


BEFORE = {
    "no store": ({"store": None}, ValueError, "`n_jobs=2` needs a `store`"),
    "training": ({"training": True}, ValueError, "cannot be used with `training=True`"),
    "none": ({"n_jobs": 0}, ValueError, "-1 for every core; got 0"),
    "fewer": ({"n_jobs": -2}, ValueError, "`n_jobs` must be at least -1"),
    "no number": ({"n_jobs": 2.0}, TypeError, "`n_jobs` must be a whole number or -1"),
}


@once
@pytest.mark.parametrize("case", BEFORE)
def test_what_cannot_be_parted_is_refused_before_it_runs(case, nothing_runs, tmp_path):
    options, error, sentence = BEFORE[case]
    refused(error, sentence, sequential(layers.LSTM(3)), tmp_path, **options)


@once
def test_models_that_cannot_be_parted_are_refused_before_they_run(
    nothing_runs, tmp_path
):
    inputs = keras.Input(batch_shape=(4, 5, 2))
    model = keras.Model(inputs, layers.LSTM(3, stateful=True, name="s")(inputs))
    refused(ValueError, "passed from batch to batch; 's' is stateful", model, tmp_path)
    model = sequential(layers.LSTM(3, name="lstm"))
    with keras_gates.edit(model, {"lstm/forget": keras_gates.edits.scale(0.5)}):
        refused(ValueError, "cannot be used while '.*' is edited", model, tmp_path)
    model = sequential(NoConfig(lambda x: x), layers.LSTM(3))
    refused(ValueError, "can be saved and sent.*'.*' cannot", model, tmp_path)


class Forgetful(layers.Layer):
    """Does not say that it has an argument."""

    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        return inputs * self.scale

    def get_config(self):
        return layers.Layer.get_config(self)


class Failing(Forgetful):
    @classmethod
    def from_config(cls, config):
        raise RuntimeError("no way back")


class Unsaved(Forgetful):
    """Has a weight that is not saved."""

    def build(self, _):
        self.weight = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * self.weight

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


class Counting(Forgetful):
    """Does something else in each batch."""

    def build(self, _):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.count.assign(self.count + 1)
        return inputs * self.count


class Noise(Forgetful):
    """Draws random numbers, also in inference."""

    def build(self, _):
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, inputs):
        return inputs + keras.random.normal(inputs.shape[1:], seed=self.seeds)


class Swapped(layers.LSTM):
    """Comes back with another activation."""

    def get_config(self):
        return {**super().get_config(), "activation": "relu"}


DIFFERENT = {
    "an argument": (Forgetful(2.0), RuntimeError, "computes other values than this"),
    "an error": (Failing(), ValueError, "cannot be \\(RuntimeError: no way back"),
    "a weight": (Unsaved(), RuntimeError, "weights of '.*' differ"),
    "an activation": (
        Swapped(3, return_sequences=True, name="s"),
        RuntimeError,
        "`activation` of 's' was 'tanh' before, and is 'relu' afterwards",
    ),
    "a count": (Counting(), RuntimeError, "depend on earlier batches"),
    "noise": (Noise(), RuntimeError, "on random numbers"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_a_worker_that_would_compute_something_else_is_refused(case, here, tmp_path):
    layer, error, sentence = DIFFERENT[case]
    model = sequential(layer, layers.LSTM(3))
    if case == "a weight":
        layer.weight.assign(2.0)
    refused(error, sentence, model, tmp_path)


@once
def test_another_rounding_is_taken_with_a_warning(here, tmp_path, monkeypatch):
    model = sequential(layers.LSTM(3))
    monkeypatch.setattr(
        "keras_gates.capturing.kernel_choice.deviation", lambda *_: 1e-7
    )
    with pytest.warns(
        UserWarning, match="round differently .* deviates by up to 1.0e-07"
    ):
        keras_gates.capture(model, X, store=tmp_path / "run", n_jobs=2, batch_size=4)


@once
def test_another_backend_in_a_worker_is_refused():
    sent = sending.unpack("m", sending.pack(sequential(layers.LSTM(3))))
    sent = dataclasses.replace(sent, backend="other")
    with (
        pytest.raises(RuntimeError, match="Set KERAS_BACKEND=other in the environment"),
        sent.in_force(),
    ):
        pass


@once
def test_settings_of_keras_hold_in_a_worker_while_it_works():
    model = sequential(layers.LSTM(3))
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        packed = sending.pack(model)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    sent = dataclasses.replace(sending.unpack("m", packed), home="elsewhere")
    with sent.in_force():
        assert keras.config.floatx() == "float64"
        assert keras.config.dtype_policy().name == "mixed_float16"
    assert keras.config.floatx() == "float32"
    assert keras.config.dtype_policy().name == "float32"


class Uneven:
    def __init__(self, *sizes):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def __iter__(self):
        return iter([X[:size] for size in self.sizes])


@once
def test_data_that_cannot_be_parted_leave_nothing(here, tmp_path):
    model = sequential(layers.LSTM(3))
    wrong = X.copy()
    wrong[9, 0, 0] = np.nan
    refused(ValueError, "`x` holds NaN in 1 places", model, tmp_path, wrong)
    for sizes in ((4, 3, 4), (4, 5), (4, 4, 2, 4)):
        sentence = "every batch of `x` but the last must have the same number"
        refused(ValueError, sentence, model, tmp_path, Uneven(*sizes))
    assert_same(model, Uneven(4, 2, 2, 4, 3), tmp_path)
    model = sequential(layers.LSTM(3), shape=(None, 2))

    def lengths():
        yield from (X[:4], X[:4, :3])

    refused(ValueError, "the same number of time steps", model, tmp_path, lengths())
    refused(ValueError, "`x` is empty", model, tmp_path, iter(()))


@once
def test_a_store_that_workers_do_not_reach_is_refused(tmp_path):
    model = sequential(layers.LSTM(3))
    sentence = "cannot find the unfinished store 'memory://here/run'"
    refused(FileNotFoundError, sentence, model, tmp_path, store="memory://here/run")
    assert not fsspec.filesystem("memory").find("/here")
