"""Whatever is wrong with a command, it ends in one sentence and exit status 2."""

import json
import os
import pathlib
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from keras_gates import checks
from keras_gates.cli import files, inspect_command, main
from keras_gates.cli.errors import sentence


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Files of every sort, good and bad, which no test may change."""
    folder = tmp_path_factory.mktemp("bad")
    x = np.random.default_rng(0).normal(size=(4, 5, 2)).astype("float32")
    here = os.getcwd()
    os.chdir(folder)
    try:
        write_models()
        write_data(x)
        pathlib.Path("breaks.py").write_text("1 / 0")
        pathlib.Path("leaves.py").write_text("raise SystemExit(0)")
        pathlib.Path("file").write_text("")
        os.mkdir("folder")
        os.mkdir("full")
        pathlib.Path("full/mine").write_text("")
    finally:
        os.chdir(here)
    return folder


def sequential(*stack, shape=(5, 2)):
    return keras.Sequential([keras.Input(shape), *stack])


def write_models():
    sequential(layers.LSTM(3, name="lstm"), layers.Dense(1)).save("m.keras")
    sequential(layers.Dense(1)).save("dense.keras")
    a, b = keras.Input((5, 2), name="a"), keras.Input((5, 2), name="b")
    keras.Model([a, b], layers.GRU(2)(layers.Add()([a, b]))).save("two.keras")
    with zipfile.ZipFile("m.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = parts["config.json"].decode()
    old = config.replace('"keras.', '"keras.src.engine.')
    for name, changed in {
        "no_config": {"config.json": None},
        "no_weights": {"model.weights.h5": None},
        "unknown": {"config.json": config.replace('"LSTM"', '"Mystery"')},
        "shapes": {"config.json": config.replace('"units": 3', '"units": 7')},
        "config_cut": {"config.json": config[:200]},
        "config_list": {"config.json": "[]"},
        "config_number": {"config.json": "3"},
        "layer": {
            "config.json": json.dumps(
                keras.saving.serialize_keras_object(layers.LSTM(3))
            )
        },
        "weights_bad": {"model.weights.h5": "nothing"},
        "keras2": {"metadata.json": '{"keras_version": "2.15.0"}', "config.json": old},
    }.items():
        with zipfile.ZipFile(f"{name}.keras", "w") as archive:
            for part, content in {**parts, **changed}.items():
                if content is not None:
                    archive.writestr(part, content)
    whole = pathlib.Path("m.keras").read_bytes()
    pathlib.Path("cut.keras").write_bytes(whole[: len(whole) // 2])
    for place in (20, 40, 60, 80):
        flipped = bytearray(whole)
        flipped[len(whole) * place // 100] ^= 0xFF
        pathlib.Path(f"flipped{place}.keras").write_bytes(flipped)
    pathlib.Path("empty.keras").write_bytes(b"")
    pathlib.Path("text.h5").write_text("no model")
    pathlib.Path("m.pkl").write_text("no model")
    with h5py.File("keras2.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Gone", "config": {}})


def write_data(x):
    np.save("x.npy", x)
    np.savez("ab.npz", a=x, b=x[:2])
    np.savez("a.npz", a=x)
    for name, array in {
        "text": np.array(["a", "b"]),
        "bytes": np.array([b"a", b"b"]),
        "complex": x + 1j,
        "records": np.zeros(4, dtype=[("field", "f4")]),
        "dates": np.array(["2020-01-01"], "datetime64[D]"),
        "scalar": np.float32(3),
        "empty": x[:0],
        "nan": np.where(x == x.max(), np.nan, x),
        "shape": x[..., :1],
        "rank": x[0],
        "objects": np.array([x, "x"], dtype=object),
    }.items():
        np.save(f"{name}.npy", array, allow_pickle=True)
    whole = pathlib.Path("x.npy").read_bytes()
    pathlib.Path("cut.npy").write_bytes(whole[:100])
    pathlib.Path("nothing.npy").write_bytes(b"")
    pathlib.Path("csv.npy").write_text("1,2,3\n")
    pathlib.Path("huge.npy").write_bytes(whole.replace(b"(4, 5, 2)", b"(4**9999)"))
    with zipfile.ZipFile("foreign.npz", "w") as archive:
        archive.writestr("x", b"no array")
    with zipfile.ZipFile("no_arrays.npz", "w"):
        pass
    np.savez_compressed("member.npz", x=x)
    flipped = bytearray(pathlib.Path("member.npz").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    pathlib.Path("member.npz").write_bytes(flipped)
    y = np.ones((4, 1))
    good = {"x": x, "y": y, "x_val": x, "y_val": y}
    np.savez("good.npz", **good)
    for name, changed in {
        "y_scalar": {"y": np.float32(1)},
        "x_text": {"x": np.array(["a"] * 4)},
        "x_complex": {"x": x + 1j},
        "x_nan": {"x": np.full_like(x, np.nan)},
        "y_short": {"y": y[:2]},
        "y_empty": {"y": y[:0]},
        "y_records": {"y": np.zeros(4, dtype=[("field", "f4")])},
    }.items():
        np.savez(f"{name}.npz", **{**good, **changed})


LONG = "n" * 300
LOADED = "could not be loaded as a Keras model"
READ = "could not be read as NumPy data"
MODELS = {
    "none.keras": "There is no model file 'none.keras'",
    "folder": "'folder' is a folder. Name a file in it",
    "file/m.keras": "There is no model file",
    "/dev/null": "There is no model file '/dev/null'",
    "dense.keras": "has no LSTM, GRU or SimpleRNN layer",
    "layer.keras": "must hold a model; it holds",
    "cut.keras": "is not a .keras file, or is truncated",
    "empty.keras": "is not a .keras file, or is truncated",
    "keras2.keras": "was saved by Keras 2.15.0, and this is Keras 3",
    "keras2.h5": "was saved by Keras 2.15.0, and this is Keras 3",
    "unknown.keras": f"{LOADED}: .*--import",
    LONG: "File name too long: 'nnn",
    **dict.fromkeys(
        [f"flipped{place}.keras" for place in (20, 40, 60, 80)]
        + [
            f"{name}.keras"
            for name in ("no_config", "no_weights", "shapes", "config_cut")
        ]
        + [f"{name}.keras" for name in ("config_list", "config_number", "weights_bad")]
        + ["text.h5", "m.pkl", "x.npy"],
        LOADED,
    ),
}
DATA = {
    "none.npy": "There is no data file",
    "folder": "'folder' is a folder. Name a file in it",
    "/dev/null": "There is no data file",
    "text.npy": "must hold numbers; the array 'text.npy' holds text",
    "bytes.npy": "holds text",
    "complex.npy": "holds complex numbers",
    "records.npy": "holds records",
    "dates.npy": "holds dates",
    "scalar.npy": "is a single number",
    "empty.npy": "must hold at least one sample",
    "nan.npy": "holds NaN in 1 places",
    "shape.npy": r"must have the shape \(sample, 5, 2\)",
    "rank.npy": r"must have the shape \(sample, 5, 2\)",
    "ab.npz": "must hold an array for each input of the model",
    "no_arrays.npz": r"it holds \[\]",
    "foreign.npz": "its member 'x' is not an array",
    LONG: "File name too long: 'nnn",
    **dict.fromkeys(
        ["objects.npy", "cut.npy", "nothing.npy", "csv.npy", "huge.npy"]
        + ["member.npz", "m.keras"],
        READ + "|an array for each input|is not an array",
    ),
}
IMPORTS = {
    "no_such_module": "No module named 'no_such_module'",
    ".x": "importing '.x' failed: TypeError",
    "..": "importing '..' failed",
    "": "importing '' failed: ValueError",
    "breaks": "importing 'breaks' failed: ZeroDivisionError: division by zero",
    "leaves": "importing 'leaves' failed: SystemExit",
    "folder/breaks.py": "importing 'folder/breaks.py' failed",
}
OUTS = {
    "file": "--out must be a folder; 'file' is a file",
    "file/below": "--out must be a folder; '.*file' is a file",
    "full": "--out must be a new or empty folder.*; 'full' has (other )?files in it",
    "": "--out: '' is not a path",
    "a\0b": "is not a path",
    LONG: "File name too long: 'nnn",
    "/dev/null/below": "--out must be a folder; '/dev/null' is a file",
}
NUMBERS = {
    ("--sample", "-1"): "--sample must be between 0 and 3; got -1",
    ("--sample", "4"): "--sample must be between 0 and 3; got 4",
    ("--sample", "9" * 30): "--sample must be between 0 and 3; got 999",
    ("--sample", "nan"): "--sample: invalid int value: 'nan'",
    ("--batch-size", "0"): "--batch-size must be at least 1; got 0",
    ("--batch-size", "-1"): "--batch-size must be at least 1; got -1",
    ("--batch-size", "9" * 30): "--batch-size must be at most",
    ("--batch-size", "1e3"): "--batch-size: invalid int value: '1e3'",
    ("--layers", "no*"): "--layers must name recurrent layers .* 'no\\*' matches none",
    ("--layers", "dense"): "'dense' matches none of 'lstm'",
    ("--layers", ""): "'' matches none of 'lstm'",
    ("--unknown", "1"): "unrecognized arguments: --unknown",
}
INSPECT = [
    *((["inspect", model, "x.npy"], words) for model, words in MODELS.items()),
    *((["inspect", "m.keras", data], words) for data, words in DATA.items()),
    (["inspect", "two.keras", "a.npz"], "must hold an array for each input"),
    (["inspect", "two.keras", "ab.npz"], "the same number of samples"),
    (["inspect", "two.keras", "x.npy"], "must hold 2 arrays, for the inputs"),
    (["inspect", "", "x.npy"], "MODEL: '' is not a path"),
    (["inspect", "m.keras", "\0"], "DATA: .* is not a path"),
    (["inspect", "m.keras"], "the following arguments are required: DATA"),
    (["kernels"], "the following arguments are required: MODEL"),
    (["kernels", "missing.keras"], "There is no model file 'missing.keras'"),
    (["kernels", "dense.keras"], "has no recurrent layer whose kernel could be"),
    (["kernels", "m.keras", "missing.npy"], "missing.npy"),
    (["kernels", "two.keras", "a.npz"], "must hold an array for each input"),
    (["kernels", "m.keras", "--import", "leaves"], "importing 'leaves' failed"),
    *(
        (["inspect", "m.keras", "x.npy", *option], words)
        for option, words in [
            *((("--import", name), words) for name, words in IMPORTS.items()),
            *((("--out", path), words) for path, words in OUTS.items()),
            *NUMBERS.items(),
        ]
    ),
]
COMPARE = [
    ([], "required: COMMAND"),
    (["prove"], "invalid choice: 'prove'"),
    (["compare", ""], "There is no task ''"),
    (["compare", "nope"], "There is no task 'nope'. Choose one of"),
    (["compare", "x.npy"], "There is no task 'x.npy'"),
    (["compare", "none.npz"], "There is no data file 'none.npz'"),
    (["compare", "a.npz"], "must hold the arrays x, y, x_val, y_val; it lacks x, y"),
    (["compare", "member.npz"], READ),
    (["compare", "y_scalar.npz"], "the array 'y' is a single number"),
    (["compare", "x_text.npz"], "the array 'x' holds text"),
    (["compare", "x_complex.npz"], "the array 'x' holds complex numbers"),
    (["compare", "y_records.npz"], "the array 'y' holds records"),
    (["compare", "y_empty.npz"], "must hold at least one sample; the array 'y'"),
    (["compare", "x_nan.npz"], "`x` must hold finite numbers"),
    (["compare", "y_short.npz"], "samples"),
    *(
        (["compare", "good.npz", *options], words)
        for options, words in [
            (["--seeds", "0"], "--seeds must be at least 1; got 0"),
            (["--seeds", "-3"], "--seeds must be at least 1; got -3"),
            (["--seeds", "999999999"], "--seeds must be at most 10000"),
            (["--seeds", "nan"], "--seeds: invalid int value: 'nan'"),
            (["--epochs", "0"], "--epochs must be at least 1; got 0"),
            (["--epochs", "inf"], "--epochs: invalid int value: 'inf'"),
            (["--units", "0"], "--units must be at least 1; got 0"),
            (["--units", "99999999999"], "--units must be at most"),
            (["--layers", "0"], "--layers must be at least 1; got 0"),
            (["--layers", "99999999"], "--layers must be at most 100"),
            (["--batch-size", "0"], "--batch-size must be at least 1; got 0"),
            (["--jobs", "0"], "--jobs must be from 1 to 1024, or -1"),
            (["--jobs", "-2"], "--jobs must be from 1 to 1024, or -1"),
            (["--jobs", "99999999"], "--jobs must be from 1 to 1024, or -1"),
            (["--learning-rates", "nan"], "must be finite and above 0; got nan"),
            (["--learning-rates", "0.1", "nan"], "must be finite and above 0; got nan"),
            (["--learning-rates", "1e999"], "must be finite and above 0; got inf"),
            (["--learning-rates", "-1"], "must be finite and above 0; got -1"),
            (["--learning-rates", "0.1", "0.1"], "--learning-rates must hold at least"),
            (["--learning-rates", "x"], "--learning-rates: invalid float value: 'x'"),
            (["--architectures", "GRU", "GRU"], "--architectures must name each"),
            (["--architectures", "RNN"], "--architectures: invalid choice: 'RNN'"),
            *(
                (["--out", path], words.replace("new or", ".*"))
                for path, words in OUTS.items()
            ),
        ]
    ),
    (["compare", "sine", "--claims", "speed"], "--claims has its own tasks"),
    (["compare", "--claims", "speed", "--seeds", "1"], "--seeds must be at least 2"),
    (["compare", "--claims", "speed", "--out", "file"], "--out must be a folder"),
    (["demo", "--seeds", "0"], "--seeds must be at least 1; got 0"),
    (["demo", "--epochs", "0"], "--epochs must be at least 1; got 0"),
    (["demo", "--task", "chess"], "--task: invalid choice: 'chess'"),
    *((["demo", "--out", path], words) for path, words in OUTS.items()),
]


def fails(words, capsys):
    """Runs a command that must fail, and returns the one line that it prints."""
    capsys.readouterr()
    try:
        status = main.main(words)
    except SystemExit as error:  # As argparse does.
        status = error.code
    printed = capsys.readouterr().err
    assert status == 2, printed
    line = printed.removesuffix("\n")
    assert "\n" not in line and "Traceback" not in line and "unexpected" not in line
    assert line.startswith("keras-gates") and len(line) < 1200
    return line


@pytest.fixture
def there(source, monkeypatch):
    """The folder of the files; whatever a test leaves in it is a fault."""
    monkeypatch.chdir(source)
    before = {*source.rglob("*")}
    yield source
    after = {path for path in source.rglob("*") if "__pycache__" not in path.parts}
    assert after <= before


@pytest.mark.once
@pytest.mark.parametrize("words, expected", INSPECT, ids=lambda w: str(w)[:60])
def test_a_bad_inspection_ends_in_a_sentence(words, expected, there, capsys):
    line = fails(words, capsys)
    assert re.search(expected, line), line


@pytest.mark.once
@pytest.mark.parametrize("words, expected", COMPARE, ids=lambda w: str(w)[:60])
def test_a_bad_study_ends_in_a_sentence(words, expected, there, capsys):
    line = fails(words, capsys)
    assert re.search(expected, line), line


class Breaks(layers.Layer):
    """A layer that fails when it runs, with more to say than one line."""

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)

    def call(self, x):
        raise RuntimeError("no such\ndevice")


def test_errors_of_the_backend_are_a_sentence_and_nothing_is_left(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with keras.saving.custom_object_scope({"Breaks": Breaks}):
        sequential(Breaks(), layers.GRU(2)).save("m.keras")
        np.save("x.npy", np.ones((2, 5, 2)))
        line = fails(["inspect", "m.keras", "x.npy", "--out", "a/b"], capsys)
    assert "The model could not be run on 'x.npy': RuntimeError: " in line
    assert "no such device" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.keras", "x.npy"]


def test_a_fault_of_the_program_is_not_hidden(there, monkeypatch, capsys):
    """It names its place, and --debug shows the whole way to it."""

    def faulty(*arguments, **options):
        return None + 1

    monkeypatch.setattr(inspect_command, "checks_of", faulty)
    words = ["inspect", "m.keras", "x.npy"]
    assert main.main(words) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "unexpected error: TypeError: uns" in printed
    assert "test_bad_commands.py, line" in printed and "--debug" in printed
    assert main.main([*words, "--debug"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_interrupted_command_ends_quietly(there, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect_command, "checks_of", interrupted)
    assert main.main(["inspect", "m.keras", "x.npy"]) == 130
    assert capsys.readouterr().err == "keras-gates: interrupted.\n"


@pytest.mark.once
def test_arguments_of_functions_become_options():
    def message(text):
        try:
            raise ValueError(text)
        except ValueError as error:
            return error

    # Only errors of the package are sentences for its users.
    printed = sentence(message("`batch_size` is bad."), {"batch_size": 0})
    assert printed.startswith("unexpected error: ValueError: `batch_size` is bad.")
    for call, expected in [
        (lambda: checks.whole_number("batch_size", 0, at_least=1), "--batch-size must"),
        (lambda: checks.whole_number("n_jobs", 0, at_least=1), "--jobs must"),
        (lambda: checks.whole_number("other", 0, at_least=1), "`other` must"),
    ]:
        with pytest.raises(ValueError) as caught:
            call()
        assert sentence(caught.value, {"batch_size": 0}).startswith(expected)


@pytest.mark.once
def test_an_error_of_the_file_system_names_the_file():
    error = PermissionError(13, "Permission denied", "/data/run")
    assert sentence(error, {}) == "Permission denied: '/data/run'."


PATHS = [
    "a/b",
    "a.b",
    "A.B",
    "a.b-2",
    "ä",
    "a\u0308",
    "..",
    ".hidden",
    "q?*:",
    "q___",
    "n" * 300,
    "n" * 299,
    "line\nbreak",
    "con/",
    "report.html",
]


@pytest.mark.once
def test_every_layer_has_a_file_name_of_its_own(tmp_path):
    names = files.file_names(PATHS, ".png")
    folded = {name.casefold() for name in names}
    assert len(folded) == len(PATHS)
    for name in names:
        (tmp_path / name).write_text("")
        assert "/" not in name and not name.startswith(".") and len(name) < 200
    assert len(list(tmp_path.iterdir())) == len(PATHS)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch refuses names with a dot."
)
def test_figures_of_two_layers_do_not_overwrite_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inner = keras.Sequential([layers.GRU(2, return_sequences=True, name="b")], name="a")
    sequential(inner, layers.LSTM(2, name="a.b")).save("m.keras")
    np.save("x.npy", np.ones((2, 5, 2)))
    assert main.main(["inspect", "m.keras", "x.npy", "--out", "out"]) == 0
    pictures = [path.read_bytes() for path in sorted(pathlib.Path("out").glob("*.png"))]
    assert len(pictures) == 2 and pictures[0] != pictures[1]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.once
def test_results_that_failed_leave_the_folder_as_it_was(failure, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in ("empty", "new/below"):
        with pytest.raises(failure), files.results(tmp_path / place) as out:
            (out / "store").mkdir()
            (out / "store" / "chunk").write_text("")
            (out / "figure.png").write_text("")
            raise failure
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
