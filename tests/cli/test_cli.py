"""The command line does the whole job, and says what is wrong when it cannot."""

import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pandas
import pytest
import xarray
from keras import layers

from keras_gates.cells import shared_equations
from keras_gates.cli import main
from keras_gates.cli.files import free_path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model trained with stock layers and saved, and its data."""
    folder = tmp_path_factory.mktemp("saved")
    rng = np.random.default_rng(0)
    tokens = keras.Input((None,), name="tokens")
    x = layers.Embedding(20, 4, mask_zero=True)(tokens)
    x = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True, name="lstm"), name="both"
    )(x)
    model = keras.Model(tokens, layers.Dense(1)(layers.GRU(3, name="gru")(x)))
    model.compile("adam", "mse")
    data = rng.integers(1, 20, size=(10, 7))
    data[:4, 5:] = 0
    model.fit(data, np.ones(10), verbose=0)
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", tokens=data)
    return folder


@pytest.fixture
def trained(saved, tmp_path):
    """A folder of the test's own with the model and the data."""
    return shutil.copytree(saved, tmp_path, dirs_exist_ok=True)


def inspect(folder, *extra, model="model.keras", data="data.npz"):
    return main.main(["inspect", str(folder / model), str(folder / data), *extra])


def test_inspect_needs_no_line_of_code(trained, capsys):
    out = trained / "report"
    assert inspect(trained, "--out", str(out), "--batch-size", "4") == 0
    printed = capsys.readouterr().out
    assert "Predictions before and after: identical to the bit" in printed
    assert "Findings\n- " in printed
    assert re.search("'gru' (still )?remembers its state after step", printed), printed
    assert sorted(path.name for path in out.iterdir()) == [
        "both.backward_lstm.png",
        "both.forward_lstm.png",
        "gates.zarr",
        "gru.png",
        "reach.csv",
        "report.html",
        "statistics.csv",
        "verify.csv",
    ]
    rows = (out / "verify.csv").read_text().splitlines()[1:]
    assert len(rows) == 3
    assert all(float(row.split(",")[1]) < 1e-5 for row in rows)
    gates = xarray.open_datatree(out / "gates.zarr", engine="zarr", consolidated=False)
    model = keras.saving.load_model(trained / "model.keras")
    hidden = gates["gru/hidden"].values
    last = model.layers[-1]
    outputs = model.predict(np.load(trained / "data.npz")["tokens"], verbose=0)
    mask = gates["gru/mask"].values
    ends = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    again = keras.ops.convert_to_numpy(last(hidden[np.arange(10), ends]))
    np.testing.assert_allclose(again, outputs, atol=1e-6)


@pytest.mark.once
def test_inspect_chooses_layers_and_default_folder(trained, capsys):
    assert inspect(trained, "--layers", "gru", "--sample", "3") == 0
    names = {path.name for path in (trained / "model-gates").iterdir()}
    assert names == {
        "gates.zarr",
        "gru.png",
        "reach.csv",
        "report.html",
        "statistics.csv",
        "verify.csv",
    }


@pytest.mark.once
def test_inspect_reads_npy_files_and_any_name(trained, tmp_path):
    data = np.load(trained / "data.npz")["tokens"]
    np.save(tmp_path / "a.npy", data)
    np.savez(tmp_path / "b.npz", anything=data)
    np.savez(tmp_path / "c.npz", x=data, y=np.ones(10))
    for name in ("a.npy", "b.npz", "c.npz"):
        out = str(tmp_path / name[0])
        assert inspect(trained, "--layers", "gru", "--out", out, data=name) == 0


@pytest.mark.once
def test_inspect_takes_layers_without_gates(tmp_path, rng, capsys):
    stack = [
        layers.SimpleRNN(3, return_sequences=True, name="rnn"),
        layers.GRU(2, name="gru"),
    ]
    np.save(tmp_path / "x.npy", rng.normal(size=(4, 6, 2)))
    for number, names in ((1, ["rnn"]), (2, ["rnn", "gru"])):
        keras.Sequential([keras.Input((6, 2)), *stack[:number]]).save(
            tmp_path / "m.keras"
        )
        out = tmp_path / f"{number}"
        arguments = {"model": "m.keras", "data": "x.npy"}
        assert inspect(tmp_path, "--out", str(out), **arguments) == 0
        assert {path.stem for path in out.glob("*.png")} == set(names)
        rows = (out / "verify.csv").read_text().splitlines()[1:]
        assert [row.split(",")[0] for row in rows] == names
        assert "A SimpleRNN has no gates." in (out / "report.html").read_text()
        assert "None" not in capsys.readouterr().out


@pytest.mark.once
def test_inspect_draws_every_frame(tmp_path, rng):
    wrapper = layers.TimeDistributed(layers.GRU(2, name="gru"), name="each")
    keras.Sequential([keras.Input((3, 4, 2)), wrapper]).save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", rng.normal(size=(2, 3, 4, 2)))
    assert (
        inspect(tmp_path, "--out", str(tmp_path / "o"), model="m.keras", data="x.npy")
        == 0
    )
    pictures = sorted(path.name for path in (tmp_path / "o").glob("*.png"))
    assert pictures == [f"each.gru.{frame}.png" for frame in range(3)]


def unverified(case):
    """A model with two layers, the first of which cannot be verified, and its input."""
    x = np.ones((2, 4, 2), "float32")
    activation = layers.LeakyReLU() if case == "activation" else "tanh"
    first = layers.LSTM(2, activation=activation, return_sequences=True, name="odd")
    masking = [layers.Masking()] if case == "masked" else []
    model = keras.Sequential(
        [keras.Input((4, 2)), *masking, first, layers.GRU(2, name="gru")]
    )
    if case == "diverged":
        first.set_weights([w * np.nan for w in first.get_weights()])
    return model, x * 0 if case == "masked" else x


ONCE = pytest.mark.once
UNVERIFIED = {
    "activation": "`hidden` of 'odd' could not be verified: its activation 'LeakyReLU'",
    "masked": "There is nothing to verify in 'odd': it has no unmasked step.",
    "diverged": "'odd' could not be verified: `input`, `forget`, .* is NaN or infinite",
    "wrong": "'odd' deviates by .*; rounding explains at most 1.0e-05",
}


# The words are of the command; `test_verify.py` has the cases on every backend.
@pytest.mark.parametrize(
    "case",
    ["wrong", *(pytest.param(n, marks=ONCE) for n in UNVERIFIED if n != "wrong")],
)
def test_inspect_ends_with_1_if_a_layer_was_not_verified(
    case, tmp_path, monkeypatch, capsys
):
    """And writes everything all the same, also of the other layer."""
    monkeypatch.chdir(tmp_path)
    model, x = unverified(case)
    model.save("m.keras")
    np.save("x.npy", x)
    if case == "wrong":
        monkeypatch.setattr(
            shared_equations, "before", lambda sequence, first: sequence
        )
    assert inspect(tmp_path, "--out", "out", model="m.keras", data="x.npy") == 1
    printed = capsys.readouterr().out
    assert re.search(f"- {UNVERIFIED[case]}", printed)
    assert "Predictions before and after: identical to the bit" in printed
    assert "Not verified: odd" in printed
    table = pandas.read_csv(tmp_path / "out" / "verify.csv", index_col="layer")
    assert not table["verified"]["odd"]
    assert table["verified"]["gru"] == (case == "activation")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names - {"reach.csv"} == {  # Where it could be measured.
        "gates.zarr",
        "gru.png",
        "odd.png",
        "report.html",
        "statistics.csv",
        "verify.csv",
    }


BAD = {
    "no model": ({"model": "none.keras"}, [], "There is no model file"),
    "no data": ({"data": "none.npz"}, [], "There is no data file"),
    "not a model": ({"model": "data.npz"}, [], "could not be loaded as a Keras model"),
    "not data": ({"data": "model.keras"}, [], "tokens|could not be read as NumPy"),
    "nothing": ({"data": "empty.npy"}, [], "must hold at least one sample"),
    "NaN": ({"data": "nan.npy"}, [], "holds NaN in 1 places, the first at index"),
    "objects": ({"data": "objects.npy"}, [], "or holds Python objects. Write arrays"),
    "cut off": ({"model": "cut.keras"}, [], "is not a .keras file, or is truncated"),
    "batch": ({}, ["--batch-size", "0"], "--batch-size must be at least 1; got 0"),
    "sample": ({}, ["--sample", "10"], "--sample must be between 0 and 9; got 10"),
    "layer": ({}, ["--layers", "nope"], "'nope' matches none of"),
    "module": ({}, ["--import", "no_such_module"], "no_such_module"),
}


@pytest.mark.once
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_get_a_sentence(case, trained, capsys):
    files, extra, sentence = BAD[case]
    x = np.load(trained / "data.npz")["tokens"].astype("float32")
    np.save(trained / "empty.npy", x[:0])
    np.save(trained / "objects.npy", np.array([x, "x"], dtype=object))
    x[3, 1] = np.nan
    np.save(trained / "nan.npy", x)
    (trained / "cut.keras").write_bytes(b"PK")
    assert inspect(trained, *extra, **files) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert any(part in error for part in sentence.split("|"))


@pytest.mark.once
def test_results_are_never_written_over(trained, capsys):
    assert inspect(trained) == 0
    assert inspect(trained) == 2
    assert "has files in it" in capsys.readouterr().err


@pytest.mark.once
def test_custom_objects_come_from_a_module(tmp_path, rng, monkeypatch):
    (tmp_path / "own_layers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('own')\n"
        "class Double(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
    )
    make = (
        "import keras, numpy as np, own_layers\n"
        "keras.Sequential([keras.Input((4, 2)), own_layers.Double(),"
        " keras.layers.GRU(2)]).save('m.keras')\n"
        "np.save('x.npy', np.ones((2, 4, 2)))\n"
    )
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    assert inspect(tmp_path, model="m.keras", data="x.npy") == 2
    words = ["--import", "own_layers"]
    try:
        assert inspect(tmp_path, *words, model="m.keras", data="x.npy") == 0
    finally:  # Workers of later tests would look for its module.
        keras.saving.get_custom_objects().pop("own>Double", None)


@pytest.mark.once
def test_kernels_says_what_runs_each_layer(trained, capsys):
    model, data = str(trained / "model.keras"), str(trained / "data.npz")
    for words in ([model], [model, data], [model, data, "--measure"]):
        assert main.main(["kernels", *words]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"Keras {keras.version()} on ")
        for path in ("'both/forward_lstm'", "'both/backward_lstm'", "'gru' (GRU): "):
            assert path in printed
        measured = "as measured here with inputs of shape (10, 7, " in printed
        assert measured == ("--measure" in words)


@pytest.mark.once
@pytest.mark.parametrize("task", ["sine", "digits"])
def test_demo_leaves_what_it_promises(task, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["demo", "--task", task, "--seeds", "2", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / f"keras-gates-demo-{task}"
    assert f"Open {out.name}/report.html in a browser" in printed
    found = printed[printed.index("\nFindings\n") :]
    assert found.count("\n- ") == 5
    assert re.search(r"Which is better\? .*2 seeds, LSTM - GRU in val_", found)
    assert re.search(r"remembered\? .* in the LSTM.* in the GRU", found)
    assert "LSTM - GRU" in printed and "truth" in printed
    names = {path.name for path in out.iterdir()}
    assert names == {
        "report.html",
        "untrained_pair.png",
        "lstm_gates.png",
        "gru_gates.png",
        "lstm_evolution.png",
        "gru_evolution.png",
        "lstm_reach.png",
        "gru_reach.png",
        "lstm_gates.zarr",
        "gru_gates.zarr",
        "predictions.png",
        "study.png",
        "study.csv",
    }
    assert all(path.stat().st_size > 5000 for path in out.glob("*.png"))
    assert free_path(out.relative_to(tmp_path)).name == f"{out.name}-2"


def test_help_names_the_commands(capsys):
    for words in (
        ["--help"],
        *([word, "--help"] for word in ("demo", "inspect", "kernels", "compare")),
    ):
        with pytest.raises(SystemExit):
            main.main(words)
    printed = capsys.readouterr().out
    for word in ("demo", "MODEL", "KERAS_BACKEND", "TASK", "--claims", "forgetting"):
        assert word in printed


def test_module_runs_as_the_command_does():
    result = subprocess.run(
        [sys.executable, "-m", "keras_gates", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == main.keras_gates.__version__
