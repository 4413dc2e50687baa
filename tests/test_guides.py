"""Runs every block of the documentation, and checks the outputs on the page.

The blocks of a page run in order, in one namespace and an empty folder:

- `python` is run. If its first line is a comment with the name of a file, it is
  written to that file.
- `bash` is run command by command: `keras-gates` in this process, a script in a
  separate process. Commands that would install or open something are only checked.
- `text` is the output of the block before it, line by line. Numbers and spaces may
  differ, as they do between backends. A line `...` stands for any lines.

A block inside an HTML comment is not shown to readers, but it is also run. It prepares
or checks a page.

A section with the title TensorFlow, JAX or PyTorch is for that backend only. The pages
in `ON_EVERY_BACKEND` run on every backend, and the others once.
"""

import argparse
import importlib.metadata
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
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PAGES = [
    page
    for page in sorted([*DOCS.glob("*.md"), *(DOCS / "howto").glob("*.md")])
    if BLOCK.search(page.read_text())
]
MODULES = (keras_gates.edits, keras_gates.plots, keras_gates.stats, keras_gates.tasks)
BACKENDS = {"TensorFlow": "tensorflow", "JAX": "jax", "PyTorch": "torch"}


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
    """Runs a Python block, or writes it to the file that its first line names."""
    file = re.match(r"# (\w+\.py)\n", code)
    if file:
        pathlib.Path(file[1]).write_text(code)
    else:
        exec(compile(code, "page", "exec"), names)


def command(line):
    """Runs one command of a bash block."""
    words = shlex.split(line)
    if words[:3] == ["keras-gates", "compare", "--claims"]:
        return  # This takes minutes; test_claims.py runs it with less data.
    if words[0].startswith("KERAS_BACKEND="):
        return  # This takes minutes, and is not a command of the package.
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
        raise AssertionError(f"this command is not known, so it cannot be run: {line}")


def installed(package):
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def missing(page):
    """Returns the packages that readers of a page should install and that are missing.

    Packages outside the extra `test`, which are large or need an older pandas, may be
    missing; with `REQUIRE_TOOLS`, none may.
    """
    if "REQUIRE_TOOLS" in os.environ:
        return []
    lines = re.findall(r"^pip install (.+)$", page.read_text(), re.M)
    wanted = [word for line in lines for word in shlex.split(line)]
    return [name for name in wanted if name[0] != "." and not installed(name)]


def check_installs(words):
    """Asserts that `pip install` names extras of the package, or their packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert words[1] == "install", words
    for wanted in words[2:]:
        own = re.fullmatch(r"\.\[([\w,]+)\]", wanted)
        if own:
            assert set(own[1].split(",")) <= set(extras), wanted
        else:
            known = {
                re.match(r"[\w.-]+", need)[0]
                for needs in extras.values()
                for need in needs
            }
            assert wanted in known, wanted


def form(text):
    """Returns the lines of a text without parts that may differ between runs."""
    lines = re.sub(r"-?\d[\d.,e+-]*", "#", text).splitlines()
    return ["".join(line.split()) + "\n" for line in lines if line.strip()]


def shows(block, printed):
    """Returns whether a block of a page is the same as the printed text."""
    lines = [
        "(?:.*\n)*" if line == "...\n" else re.escape(line) for line in form(block)
    ]
    return re.fullmatch("".join(lines), "".join(form(printed))) is not None


def before(page):
    """Prepares the model that a page assumes the reader to have."""
    if name_of(page) == "index.md":
        keras.Sequential([keras.Input((5, 2)), layers.LSTM(4, name="lstm")]).save(
            "model.keras"
        )
        return {"x": keras.ops.convert_to_numpy(keras.random.normal((3, 5, 2)))}
    return {}


ON_EVERY_BACKEND = [
    "first_steps.md",
    "howto/training.md",
    "howto/custom_loop.md",
    "howto/devices.md",
]
"""Pages that differ by backend, or that show the main steps on each.

The functions on the other pages are tested on every backend by their own tests.
"""


def marked(page):
    """Returns a page with its marks. The result of a study is shown for TensorFlow."""
    elsewhere = keras.backend.backend() != "tensorflow"
    skip = pytest.mark.skipif(elsewhere, reason="The page shows a run on TensorFlow.")
    name = name_of(page)
    if name == "howto/choosing.md":
        marks = [skip]
    else:
        marks = [] if name in ON_EVERY_BACKEND else [pytest.mark.once]
        if lacking := missing(page):
            marks.append(pytest.mark.skip(reason=f"It needs {', '.join(lacking)}."))
    return pytest.param(page, marks=marks, id=name)


@pytest.mark.parametrize("page", list(map(marked, PAGES)))
def test_page_does_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "PYTHONPATH", str(ROOT))
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", keras.backend.backend())
    # In a new session, Keras numbers layers without a name from the start.
    keras.utils.clear_session()
    names = {"__name__": "page"} | before(page)
    blocks = blocks_of(page)
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
            raise AssertionError(f"there is no rule to run a block of {language!r}")
        printed = capsys.readouterr().out


@pytest.mark.once
def test_a_page_shows_each_line_that_is_printed():
    printed = "a  0.25\n\nb -1e-7, c\nd\n"
    assert shows("a 3.5\nb 2, c\nd\n", printed)
    assert shows("a 1\n...\nd\n", printed) and shows("...\n", printed)
    assert not shows("a 1\nd\n", printed)  # A line is missing.
    assert not shows("a 1\nb 2, c\n", printed)  # The last line is missing.
    assert not shows("b 2, c\na 1\nd\n", printed)  # The order differs.
    assert not shows("a 1\nb 2, c\nd\ne\n", printed)  # A line was not printed.


def listed_in_reference():
    """Returns the full names of all objects in the reference."""
    names, module = set(), ""
    for line in (DOCS / "reference.md").read_text().splitlines():
        named = re.match(r"\.\. (?:auto|current)module:: (\S+)", line)
        entry = re.fullmatch(r"   (\w+)", line)
        if named:
            module = named[1]
        elif entry:
            names.add(f"{module}.{entry[1]}")
    return names


@pytest.mark.once
def test_reference_has_a_page_of_every_public_name():
    public = set()
    for module in (keras_gates, *MODULES):
        public |= {f"{module.__name__}.{name}" for name in module.__all__}
    modules = {module.__name__ for module in MODULES}
    assert listed_in_reference() == public - modules - {"keras_gates.__version__"}


@pytest.mark.once
def test_the_page_of_the_command_line_has_every_option():
    """Checks the default and the choices, in the section of each command."""
    page = (DOCS / "command_line.md").read_text()
    common, *sections = re.split(r"^## ", page, flags=re.M)
    shown = {section.partition("\n")[0]: section for section in sections}
    (commands,) = [
        action.choices for action in main._parser()._actions if action.choices
    ]
    assert set(shown) == set(commands)
    for name, command in commands.items():
        words = set(re.findall(r"[^\s`|,;:()\[\]]+", common + shown[name]))
        wanted = set()
        for action in command._actions:
            wanted |= {*action.option_strings, *map(str, action.choices or ())}
            if isinstance(action.default, list):
                wanted |= {*map(str, action.default)}
            elif action.default not in (None, False, argparse.SUPPRESS):
                wanted.add(str(action.default))
        assert wanted <= words, (name, wanted - words)
        made_up = {word for word in words if re.match("--[a-z]", word)} - wanted
        assert made_up == {"--version"}, name
