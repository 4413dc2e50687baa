"""What is shown is run: README, examples, the public names, the price of the import."""

import importlib.metadata
import pathlib
import re
import runpy
import subprocess
import sys

import keras
import mutations
import pytest
from keras import layers

import keras_gates

ROOT = pathlib.Path(__file__).parents[1]


def test_public_names_are_the_documented_ones():
    assert sorted(keras_gates.__all__) == [
        "GateGRU",
        "GateGRUCell",
        "GateLSTM",
        "GateLSTMCell",
        "GateRecorder",
        "Recipe",
        "capture",
        "compare",
        "instrument",
        "plots",
        "report",
        "restore",
        "rule_of_thumb",
        "stats",
        "tasks",
        "verify",
    ]
    assert keras_gates.__version__ == importlib.metadata.version("keras-gates")


def test_mutations_still_fit_the_code():
    """A mutation that fits nowhere would show nothing."""
    for file, old, new in mutations.MUTATIONS.values():
        text = (ROOT / "keras_gates" / file).read_text()
        assert text.count(old) == 1, old
        assert old != new


def test_readme_runs_from_top_to_bottom(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    model = keras.Sequential(
        [keras.Input((5, 2)), layers.LSTM(4, name="lstm"), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    x = rng.normal(size=(32, 5, 2)).astype("float32")
    y = rng.normal(size=(32, 1)).astype("float32")
    model.fit(x, y, verbose=0)
    model.save("model.keras")
    names = {"x": x, "y": y, "x_val": x, "y_val": y}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert "LSTM - GRU" in str(names["study"])
    written = {path.name for path in tmp_path.iterdir()}
    assert {"gates.png", "evolution.png", "report.html"} <= written
    assert (
        "no difference shown" in str(names["study"])
        or "is lower" in str(names["study"])
        or "is higher" in str(names["study"])
    )


@pytest.mark.parametrize(
    "name", ["gate_penalty", "production_habits", "watch_training"]
)
def test_examples_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    example["main"](epochs=2)
    assert capsys.readouterr().out


def test_gate_penalty_example_shows_what_it_says(capsys):
    runpy.run_path(str(ROOT / "examples" / "gate_penalty.py"))["main"](epochs=2)
    free, priced = re.findall(r"mean forget ([0-9.]+)", capsys.readouterr().out)
    assert float(priced) > float(free) + 0.02


def test_production_habits_example_keeps_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "production_habits.py"))["main"](epochs=8)
    printed = capsys.readouterr().out
    assert "the loaded file predicts the same: True" in printed
    model, naive = map(float, re.findall(r"([0-9.]+) degrees", printed))
    assert model < naive


def test_import_brings_in_nothing_heavy():
    """`import keras_gates` stays close to the price of `import keras`."""
    program = (
        "import sys, keras; before = set(sys.modules); import keras_gates;"
        "print(*sorted(n for n in set(sys.modules) - before if '.' not in n))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    new = set(result.stdout.split())
    assert not new & {
        "bokeh",
        "dask",
        "jinja2",
        "matplotlib",
        "pandas",
        "scipy",
        "sklearn",
        "xarray",
        "zarr",
    }


def test_no_private_names_of_keras_are_imported():
    for path in (ROOT / "keras_gates").glob("*.py"):
        assert "keras.src" not in path.read_text(), path.name
