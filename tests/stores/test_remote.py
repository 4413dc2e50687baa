"""A store at a URL shows when it is complete, and nobody's files are overwritten."""

import fsspec
import joblib
import numpy as np
import pytest
import xarray
from fsspec.implementations.local import LocalFileSystem
from keras import layers
from small_models import build, fit, sequential

import keras_gates
from keras_gates.stores.remote import RemoteStore, new_url

once = pytest.mark.once
X = np.random.default_rng(0).normal(size=(10, 5, 2)).astype("float32")
URL = "memory://bucket/run.zarr"


@pytest.fixture
def memory():
    """The file system in memory, empty before and after."""
    files = fsspec.filesystem("memory")
    files.rm("/", recursive=True)
    yield files
    files.rm("/", recursive=True)


@pytest.fixture
def model():
    return sequential(layers.LSTM(3, name="r"), layers.Dense(1), shape=(5, 2))


@pytest.fixture
def nothing_runs(monkeypatch):
    def run(*_):
        raise AssertionError("The model ran.")

    monkeypatch.setattr("keras_gates.capturing.program.Program.run", run)


def test_a_store_at_a_url_holds_what_memory_would(model, memory):
    plain = keras_gates.capture(model, X, batch_size=4)
    stored = keras_gates.capture(model, X, batch_size=4, store=URL)
    opened = xarray.open_datatree(URL, engine="zarr")
    for tree in (stored, opened):
        assert not tree["r"].to_dataset().variables["forget"]._in_memory
        xarray.testing.assert_equal(
            tree["r"].to_dataset().load(), plain["r"].to_dataset()
        )
    assert (keras_gates.verify(stored) < 1e-5).all()
    assert not [name for name in memory.find("/") if "unfinished" in name]
    derived = keras_gates.gradients(
        model, X, of=lambda outputs: outputs[:, 0], store="memory://bucket/other"
    )
    assert derived["r/forget"].shape == (10, 5, 3)


class Elsewhere(LocalFileSystem):
    """Stands for object storage that every process reaches: it makes folders itself."""

    protocol = "elsewhere"

    def __init__(self, **options):
        super().__init__(auto_mkdir=True, **options)


fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)


class Same(layers.Layer):
    """Lets a worker that loads it import this module."""

    def call(self, inputs):
        return inputs


@once
def test_several_processes_write_a_store_at_a_url(tmp_path):
    model = sequential(Same(), layers.LSTM(3, name="r"), shape=(5, 2))
    found = []
    for n_jobs in (1, 2):
        store = f"elsewhere://{tmp_path}/{n_jobs}.zarr"
        keras_gates.capture(model, X, batch_size=4, store=store, n_jobs=n_jobs)
        folder = tmp_path / f"{n_jobs}.zarr"
        inside = [file for file in folder.rglob("*") if file.is_file()]
        found.append({file.relative_to(folder): file.read_bytes() for file in inside})
    assert found[0] == found[1] and len(found[0]) > 20


@once
def test_a_url_where_something_is_is_refused(model, memory, nothing_runs):
    memory.pipe_file("/bucket/run.zarr/zarr.json", b"{}")
    for url in (URL, URL + "/"):
        with pytest.raises(FileExistsError, match="'memory://bucket/run.zarr' exists"):
            keras_gates.capture(model, X, store=url)
    with pytest.raises(FileExistsError, match="the remains of a killed capture"):
        keras_gates.capture(model, X, store="memory://bucket")
    with pytest.raises(ValueError, match="must not be inside another Zarr store"):
        keras_gates.capture(model, X, store=f"{URL}/a/b")
    assert memory.find("/") == ["/bucket/run.zarr/zarr.json"]


ODD = {
    "unknown": ("nonsense://a/b", ValueError, "Protocol not known: nonsense"),
    "one slash": ("s3:/bucket/run", ValueError, "as a str, with two slashes"),
    "no name": ("memory://", ValueError, "`store` must be a URL with the name"),
}


@once
@pytest.mark.parametrize("case", ODD)
def test_odd_urls_are_refused_before_the_model_runs(case, model, memory, nothing_runs):
    url, error, sentence = ODD[case]
    with pytest.raises(error, match=sentence):
        keras_gates.capture(model, X, store=url)
    assert not memory.find("/")


@once
def test_a_url_that_cannot_be_written_raises_before(
    model, memory, nothing_runs, monkeypatch
):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(memory), "pipe_file", refuse)
    with pytest.raises(
        OSError, match="cannot be written .PermissionError.*another URL"
    ):
        keras_gates.capture(model, X, store=URL)


def tree(model):
    return keras_gates.capture(model, X)


@once
def test_a_writer_that_was_killed_leaves_nothing_that_opens(model, memory):
    store = RemoteStore(URL)
    for _ in range(2):
        store.append("", tree(model), "sample")
        with pytest.raises(FileNotFoundError):
            xarray.open_datatree(URL, engine="zarr")
    with pytest.raises(FileExistsError, match="of a killed capture"):
        new_url(URL)
    store.show()
    assert xarray.open_datatree(URL, engine="zarr")["r/forget"].shape == (20, 5, 3)


@once
def test_a_capture_that_fails_leaves_nothing(model, memory):
    wrong = X.copy()
    wrong[9, 0, 0] = np.nan
    for n_jobs in (1, 2):
        with (
            joblib.parallel_config("sequential"),
            pytest.raises(ValueError, match="`x` holds NaN"),
        ):
            keras_gates.capture(model, wrong, batch_size=4, store=URL, n_jobs=n_jobs)
        assert not memory.find("/")


@once
def test_two_writers_at_one_url_do_not_mix(model, memory):
    first, second = RemoteStore(URL), RemoteStore(URL)
    second.append("", tree(model), "sample")
    for write in (lambda: first.append("", tree(model), "sample"), first.show):
        with pytest.raises(
            BlockingIOError, match="another process began a store there"
        ):
            write()
    first.remove()  # It removes nothing of the other one.
    second.show()
    assert xarray.open_datatree(URL, engine="zarr")["r/forget"].shape == (10, 5, 3)


@once
def test_parts_at_a_url_are_the_same(model, memory):
    def files():
        found = memory.find("/bucket/run.zarr")
        return {name: memory.cat_file(name) for name in found}

    keras_gates.capture(model, X, batch_size=4, store=URL)
    one = files()
    memory.rm("/bucket", recursive=True)
    with joblib.parallel_config("sequential"):
        keras_gates.capture(model, X, batch_size=4, store=URL, n_jobs=2)
    assert one == files()


@once
def test_the_url_of_a_file_is_a_path(model, tmp_path):
    keras_gates.capture(model, X, store=f"local://{tmp_path}/other.zarr")
    assert (tmp_path / "other.zarr/zarr.json").is_file()
    found = keras_gates.capture(model, X, store=f"file://{tmp_path}/run.zarr")
    assert found.encoding["source"] == str(tmp_path / "run.zarr")
    recorder = keras_gates.GateRecorder(X[:1], store=f"file://{tmp_path}/record")
    fit(build(), (X, np.zeros((10, 1))), [recorder])
    assert (tmp_path / "record/zarr.json").is_file()


@once
@pytest.mark.parametrize(
    "url", ["s3://bucket/run.zarr", "memory://run", "simplecache::s3://bucket/run"]
)
def test_a_recorder_takes_no_url_of_elsewhere(url):
    with pytest.raises(ValueError, match="got the URL '.*which only a file system"):
        keras_gates.GateRecorder(X[:1], store=url)
