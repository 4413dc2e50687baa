"""Checks the README, the examples, the public names and the cost of the import."""

import importlib.metadata
import operator
import pathlib
import re
import runpy
import subprocess
import sys

import mutations
import numpy as np
import pytest

import keras_gates

ROOT = pathlib.Path(__file__).parents[1]


def test_public_names_are_the_documented_ones():
    assert sorted(keras_gates.__all__) == [
        "Alarm",
        "Difference",
        "GateGRU",
        "GateGRUCell",
        "GateLSTM",
        "GateLSTMCell",
        "GateRecorder",
        "Kernels",
        "LayerKernel",
        "Recipe",
        "RuleOfThumb",
        "Stream",
        "Study",
        "__version__",
        "accelerate",
        "capture",
        "compare",
        "edit",
        "edits",
        "gradients",
        "importance",
        "instrument",
        "kernels",
        "plots",
        "reach",
        "register_cell",
        "report",
        "restore",
        "rule_of_thumb",
        "stats",
        "stream",
        "tasks",
        "verify",
    ]
    assert keras_gates.__version__ == importlib.metadata.version("keras-gates")
    for module in (
        keras_gates,
        keras_gates.edits,
        keras_gates.plots,
        keras_gates.stats,
        keras_gates.tasks,
    ):
        assert dir(module) == sorted(module.__all__)  # Without internal names.


def test_types_are_shipped():
    assert (ROOT / "keras_gates" / "py.typed").is_file()


@pytest.mark.once
def test_mutations_still_fit_the_code():
    """Fails if a mutation does not match the code, because it would test nothing."""
    for old, new in mutations.MUTATIONS.values():
        (place,) = mutations.places_of(old)
        for path in mutations.tests_of(place):
            assert (ROOT / path).exists(), path
        assert old != new


def test_readme_runs_as_written_and_prints_what_it_shows(capsys):
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.S)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == shown


@pytest.mark.once
def test_the_answers_in_the_readme_exist():
    rows = re.findall(r"^\| .*\? \| (.*) \|$", (ROOT / "README.md").read_text(), re.M)
    calls = [name for row in rows for name in re.findall(r"([a-z_.A-Z]+)\(", row)]
    assert len(rows) == 9 and len(calls) > 9
    for name in calls:
        assert operator.attrgetter(name)(keras_gates), name


@pytest.mark.once
def test_the_citation_has_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {keras_gates.__version__}\n" in citation


def run_example(name, monkeypatch, *arguments):
    """Runs an example like a command, and returns its variables."""
    path = ROOT / "examples" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    return runpy.run_path(str(path), run_name="__main__")


@pytest.mark.once
def test_gate_penalty_example_shows_what_it_says(tmp_path, monkeypatch):
    names = run_example(
        "gate_penalty", monkeypatch, "--epochs", 2, "--out", tmp_path / "figures"
    )
    forget = names["forget"]
    assert forget[1.0].mean() > forget[0.0].mean() + 0.02
    assert (tmp_path / "figures" / "forget.png").is_file()


@pytest.mark.once
def test_production_habits_example_keeps_them(tmp_path, monkeypatch, capsys):
    run_example("production_habits", monkeypatch, "--epochs", 8, "--out", tmp_path)
    printed = capsys.readouterr().out
    assert "the loaded file predicts the same: True" in printed
    model, naive = map(float, re.findall(r"([0-9.]+) degrees", printed))
    assert model < naive
    assert {"forecast.keras", "forecasts.png", "scales.png", "bands.png"} == {
        path.name for path in tmp_path.iterdir()
    }


@pytest.mark.once
def test_watch_training_example_writes_nothing_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_example("watch_training", monkeypatch, "--epochs", 2)
    assert len(names["history"]["gru/saturation"]) == 2
    assert "Stopped after 2 epochs" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


RECORDINGS = {
    "alarm": "electrocardiogram",
    "electricity": "electricity_demand",
    "heart_beats": "electrocardiogram",
    "sensors": "ventilation",
    "volatility": "stock_index",
    "vowels": "japanese_vowels",
}


@pytest.mark.once
@pytest.mark.parametrize("name", RECORDINGS)
def test_an_example_of_a_real_recording_says_what_is_in_it(name):
    """Checks for its source, a first attempt, and an interval over networks."""
    text = (ROOT / "examples" / f"{name}.py").read_text()
    assert f"tasks.{RECORDINGS[name]}(" in text
    words = " ".join(re.findall(r"^# (.*)$", text, re.M) + text.split('"""')[1:2])
    assert f"``tasks.{RECORDINGS[name]}``" in words
    assert re.search("come with the package|package skchange", words)
    assert re.search("that a practitioner would try first|need no network", words)
    assert "mean_interval" in text and '"--seeds"' in text


@pytest.mark.once
def test_vowels_example_compares_a_mask_with_none(tmp_path, monkeypatch, capsys):
    names = run_example(
        "vowels", monkeypatch, "--epochs", 1, "--seeds", 2, "--out", tmp_path
    )
    printed = capsys.readouterr().out
    assert "270 and 370 utterances, 7 to 29 frames" in printed
    assert names["by_mean"][-1] > 0.9 > 0.5 > names["by_length"]
    assert names["after"]["masked"].shape == names["after"]["unmasked"].shape == (2, 29)
    # With a mask, the padding after an utterance changes nothing.
    ends = names["at_end"]
    np.testing.assert_allclose(names["after"]["masked"][:, -1], ends["masked"])
    assert {"frames.png", "padding.png"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.once
def test_alarm_example_watches_a_stream(tmp_path, monkeypatch, capsys):
    data, rng = tmp_path / "sensor.csv", np.random.default_rng(0)
    abnormal = np.arange(5000) % 90 >= 70
    signal = np.sin(np.arange(5000) / 3) + rng.normal(size=5000) * (0.1 + abnormal)
    rows = np.column_stack([signal, abnormal])
    np.savetxt(data, rows, delimiter=",", header="signal,abnormal", comments="")
    names = run_example(
        "alarm",
        monkeypatch,
        "--data",
        data,
        "--epochs",
        1,
        "--seeds",
        2,
        "--out",
        tmp_path / "figures",
    )
    printed = capsys.readouterr().out
    assert "5,000 steps; 11 anomalies" in printed
    assert float(re.search(r"differ by at most (\S+)", printed)[1]) < 1e-5
    # Anomalies vary more than normal data, so every method that knows the latter works.
    assert (names["delays"]["the rolling z-score"] < names["AFTER"]).mean() > 0.9
    assert (names["delays"]["the network's error"] < names["AFTER"]).mean() > 0.9
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {"delays.png", "stream.png"}


@pytest.mark.once
def test_example_takes_a_series_of_the_user(tmp_path, monkeypatch):
    data = tmp_path / "series.csv"
    np.savetxt(data, 7 + np.sin(np.arange(600) / 5))
    names = run_example("gate_penalty", monkeypatch, "--epochs", 1, "--data", data)
    assert len(names["x"]) < 600
    assert abs(names["training"].mean() - 7) < 0.1


@pytest.mark.once
def test_example_says_what_is_wrong_with_the_data(tmp_path, monkeypatch, capsys):
    data = tmp_path / "series.csv"
    data.write_text("load\n" + "1.0\n" * 600)
    with pytest.raises(SystemExit):
        run_example("gate_penalty", monkeypatch, "--data", data)
    message = " ".join(capsys.readouterr().err.split())
    assert "must have one finite number per line, without a header" in message


@pytest.mark.once
@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem
)
def test_example_is_a_page_of_the_gallery(path):
    """Checks for a single question at the top, and for options of input and output."""
    text = path.read_text()
    title, line = text.split("\n")[1:3]
    assert len(line) == len(title) and set(line) == {"="}
    assert text.count("**Question:**") == 1
    assert "# The answer\n" in text
    assert "--data" in text and "--out" in text


def test_import_brings_in_nothing_heavy():
    """Checks that `import keras_gates` loads few modules beyond `import keras`."""
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
    for path in (ROOT / "keras_gates").rglob("*.py"):
        lines = re.findall(r"(?:from|import) keras\.src.*", path.read_text())
        assert not lines, path.name
