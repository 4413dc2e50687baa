"""Every block of the documentation is run, and prints what the page says it prints.

In the order of the page, in one namespace and an empty folder:

- `python` is run. If its first line is a comment with the name of a file, it is
  written to that file.
- `bash` is run command by command: `keras-gates` in this process, a script in one of
  its own. What would install or open something is only checked.
- `text` is what the block before it printed, line by line. Numbers and spaces may
  differ, as they do from backend to backend. A line `...` stands for any lines.

A section that is called TensorFlow, JAX or PyTorch is for that backend alone. Of the
pages, those in `ON_EVERY_BACKEND` run on each, and the others once.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import keras
import pytest
from keras import layers

import keras_gates
from keras_gates.cli import main

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    DOCS / "first_steps.md",
    DOCS / "coming_from.md",
    DOCS / "conventions.md",
    DOCS / "claims.md",
    DOCS / "costs.md",
    DOCS / "index.md",
    *sorted((DOCS / "howto").glob("*.md")),
]
NO_BLOCKS = {"howto/index.md"}
BACKENDS = {"TensorFlow": "tensorflow", "JAX": "jax", "PyTorch": "torch"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def name_of(page):
    return str(page.relative_to(DOCS))


def blocks_of(page):
    """Returns (language, code) of each block that is for this backend."""
    found = []
    for section in re.split(r"^## ", page.read_text(), flags=re.M):
        title = section.partition("\n")[0].strip()
        if BACKENDS.get(title, keras.backend.backend()) == keras.backend.backend():
            found += BLOCK.findall(section)
    return found


def run(code, names):
    """Runs a Python block, or keeps it as the file that its first line names."""
    file = re.match(r"# (\w+\.py)\n", code)
    if file:
        pathlib.Path(file[1]).write_text(code)
    else:
        exec(compile(code, "page", "exec"), names)


def command(line):
    """Runs one command of a bash block."""
    words = shlex.split(line)
    if words[:3] == ["keras-gates", "compare", "--claims"]:
        return  # Takes minutes: test_claims.py runs it on less.
    if words[0].startswith("KERAS_BACKEND="):
        return  # Takes minutes; and it is no command of the package.
    if words[0] == "keras-gates":
        assert main.main(words[1:]) == 0, line
    elif words[0] in ("python", "torchrun"):
        module = ["-m", "torch.distributed.run"] if words[0] == "torchrun" else []
        result = subprocess.run(
            [sys.executable, *module, *words[1:]], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        print(result.stdout)
    elif words[0] == "pip":
        check_installs(words)
    elif words[0] == "tensorboard":
        assert any(pathlib.Path(words[2]).rglob("*tfevents*")), line
    else:
        raise AssertionError(f"nobody knows whether this works: {line}")


def check_installs(words):
    """Asserts that `pip install` names extras that there are, or what they hold."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert words[1] == "install", words
    for wanted in words[2:]:
        own = re.fullmatch(r"\.\[([\w,]+)\]", wanted)
        if own:
            assert set(own[1].split(",")) <= set(extras), wanted
        else:
            known = {
                re.split(r"\W", need)[0] for needs in extras.values() for need in needs
            }
            assert wanted in known, wanted


def form(text):
    """Returns the lines of a text without what may differ from run to run."""
    lines = re.sub(r"-?\d[\d.,e+-]*", "#", text).splitlines()
    return ["".join(line.split()) + "\n" for line in lines if line.strip()]


def shows(block, printed):
    """Returns whether a block of a page is what was printed."""
    lines = [
        "(?:.*\n)*" if line == "...\n" else re.escape(line) for line in form(block)
    ]
    return re.fullmatch("".join(lines), "".join(form(printed))) is not None


def before(page):
    """Makes what a page takes for granted: it is about a model that the reader has."""
    if name_of(page) == "conventions.md":
        keras.Sequential([keras.Input((5, 2)), keras_gates.GateLSTM(4)]).save(
            "model.keras"
        )
    if name_of(page) == "index.md":
        keras.Sequential([keras.Input((5, 2)), layers.LSTM(4, name="lstm")]).save(
            "model.keras"
        )
        return {"x": keras.ops.convert_to_numpy(keras.random.normal((3, 5, 2)))}
    return {}


ON_EVERY_BACKEND = ["first_steps.md", "howto/training.md", "howto/devices.md"]
"""Pages that differ by backend, or that show the whole way on each.

What the others call is tested on every backend beside the function itself.
"""


def marked(page):
    """What a study finds depends on the backend: its page shows it on TensorFlow."""
    elsewhere = keras.backend.backend() != "tensorflow"
    skip = pytest.mark.skipif(elsewhere, reason="The page shows a run on TensorFlow.")
    name = name_of(page)
    if name == "howto/choosing.md":
        marks = [skip]
    else:
        marks = [] if name in ON_EVERY_BACKEND else [pytest.mark.once]
    return pytest.param(page, marks=marks, id=name)


@pytest.mark.parametrize("page", list(map(marked, PAGES)))
def test_page_does_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "PYTHONPATH", str(ROOT))
    names = {"__name__": "page"} | before(page)
    blocks = blocks_of(page)
    assert blocks or name_of(page) in NO_BLOCKS
    printed = ""
    for language, block in blocks:
        capsys.readouterr()
        if language == "python":
            run(block, names)
        elif language == "bash":
            for line in block.replace("\\\n", "").splitlines():
                command(line)
        elif language == "text":
            assert shows(block, printed), f"printed:\n{printed}"
            continue
        else:
            raise AssertionError(f"a block of {language!r} is not run by anything")
        printed = capsys.readouterr().out


@pytest.mark.once
def test_a_page_shows_each_line_that_is_printed():
    printed = "a  0.25\n\nb -1e-7, c\nd\n"
    assert shows("a 3.5\nb 2, c\nd\n", printed)
    assert shows("a 1\n...\nd\n", printed) and shows("...\n", printed)
    assert not shows("a 1\nd\n", printed)  # A line is left out,
    assert not shows("a 1\nb 2, c\n", printed)  # also at the end,
    assert not shows("b 2, c\na 1\nd\n", printed)  # or in another place,
    assert not shows("a 1\nb 2, c\nd\ne\n", printed)  # or made up.


@pytest.mark.once
def test_reference_lists_every_public_name():
    reference = (DOCS / "reference.md").read_text()
    listed = set(re.findall(r":: keras_gates\.(\w+)$", reference, re.M))
    assert set(keras_gates.__all__) - {"__version__"} <= listed
