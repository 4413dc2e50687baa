"""Runs the page about Jupyter as a notebook, and checks the outputs of its cells."""

import os
import pathlib
import re

import keras
import pytest

if "REQUIRE_TOOLS" not in os.environ:
    for package in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(package)

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "howto" / "jupyter.md"


def shown_by(cell):
    """Returns the outputs of a cell by MIME type, the last one of each type."""
    return {
        kind: data
        for output in cell.outputs
        for kind, data in output.get("data", {}).items()
    }


@pytest.mark.once
def test_the_cells_of_the_jupyter_page_show_what_it_says(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setitem(os.environ, "PYTHONPATH", str(ROOT))
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setitem(os.environ, "IPYTHONDIR", str(tmp_path / "ipython"))
    cells = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    made = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(made, timeout=300, resources=resources).execute()
    _, tree, found, figures, frame, whole, training = map(shown_by, made.cells)
    assert tree["text/html"].startswith('<img alt="the signals of lstm"')
    assert re.match("- .*'lstm'", found["text/plain"])
    # One figure is shown with `display`, and one is the last line.
    assert [list(output.data) for output in made.cells[3].outputs] == [
        ["text/plain", "image/png"]
    ] * 2 and figures
    assert 'src="report.html"' in frame["text/html"]
    assert (tmp_path / "report.html").is_file()
    assert "&lt;script" in whole["text/html"]
    assert "image/png" in training  # Only that of the last epoch.
    assert sum("image/png" in o.get("data", {}) for o in made.cells[6].outputs) == 1
