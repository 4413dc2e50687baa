"""A kind of cell is one file: each of them is coherent, and the rest names none."""

import ast
import inspect
import pathlib
import re

import keras
import numpy as np
import pytest
from battery import ACTIVATIONS, TOLERANCE, distinct_weights, numpy
from keras import ops
from matplotlib.colors import is_color_like

import keras_gates
from keras_gates.cells import pairing, registry
from keras_gates.cells.kind import Weights

KINDS = registry.KINDS
EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
ONCE = pytest.mark.once

PACKAGE = pathlib.Path(inspect.getfile(keras_gates)).parent


@ONCE
@EACH
def test_every_signal_has_its_words_and_its_colour(kind):
    assert set(kind.long_names) == set(kind.colours) == set(kind.signals)
    assert len(set(kind.signals)) == len(kind.signals)
    assert all(kind.long_names.values())
    assert all(map(is_color_like, [*kind.colours.values(), kind.colour]))


@ONCE
@EACH
def test_gates_are_blocks_and_meanings_are_those_of_gates(kind):
    gates = set(kind.gates)
    assert gates <= set(kind.blocks)
    assert {kind.keep, kind.write, kind.show} - {None} <= gates
    assert set(kind.meanings) == gates
    assert all(meaning.open and meaning.closed for meaning in kind.meanings.values())
    if kind.coupled is not None:
        first, second, _ = kind.coupled
        assert first != second and {first, second} <= gates
    if kind.convention is not None:
        assert kind.keep in kind.convention
    assert not set(kind.lacking) & set(kind.signals)


@ONCE
def test_a_name_has_one_sense():
    """A gate of one kind is a gate of every kind that has it, and keeps in all."""
    for kind in KINDS.values():
        assert set(kind.gates) == set(registry.gates()) & set(kind.signals)
        keeping = {other.keep for other in KINDS.values()}
        assert keeping & set(kind.signals) == {kind.keep} - {None}
        for other in KINDS.values():
            for name in set(kind.signals) & set(other.signals):
                assert kind.long_names[name] == other.long_names[name]
                assert kind.colours[name] == other.colours[name]
                assert (name in kind.states) == (name in other.states)


@ONCE
def test_what_others_have_is_shown_or_explained():
    """No place of the page beside another kind is empty without a word."""
    for left in KINDS.values():
        for right in KINDS.values():
            rows = pairing.rows(left, right)
            for side, kind, other in ((0, left, right), (1, right, left)):
                places = [row[side] for row in rows]
                shown = {p.signal for p in places if isinstance(p, pairing.Place)}
                assert shown == set(kind.signals)
                said = [words for words in places if isinstance(words, str)]
                assert all(kind.name in words for words in said)
                lacks = bool(kind.gates) < bool(other.gates)
                assert f"{kind.name} has no gates." in " ".join(said) or not lacks


@pytest.fixture(scope="module")
def steps():
    """A step of each kind: what Keras's cell computes, and what the kind does."""
    return {name: one_step(kind) for name, kind in KINDS.items()}


def one_step(kind):
    rng = np.random.default_rng(7)
    cell = kind.cell(4, seed=1)
    x, *states = (
        ops.convert_to_tensor(rng.normal(size=(5, size)), "float32")
        for size in (3, *keras.tree.flatten(cell.state_size))
    )
    cell.build(x.shape)
    distinct_weights(cell, 3)
    weights = Weights(
        *map(ops.convert_to_tensor, cell.get_weights()),
        cell.activation,
        getattr(cell, "recurrent_activation", None),
        getattr(cell, "reset_after", True),
    )
    # Keras carries the hidden state first; a kind names it last.
    before = dict(zip(kind.states, reversed(numpy(states)), strict=True))
    after = reversed(numpy(cell(x, states)[1]))
    return {
        "before": before,
        "after": dict(zip(kind.states, after, strict=True)),
        "blocks": numpy(kind.compute(x, states[0], weights)),
    }


@EACH
def test_compute_gives_the_blocks_and_nothing_else(kind, steps):
    blocks = steps[kind.name]["blocks"]
    assert tuple(blocks) == kind.blocks
    for name, values in blocks.items():
        assert values.shape == (5, 4)
        assert name not in kind.gates or ((values > 0) & (values < 1)).all()


@EACH
def test_step_takes_the_step_of_keras(kind, steps):
    one = steps[kind.name]
    if kind.step is None:
        # Then there is nothing that it could follow from.
        assert not kind.blocks
        return
    derived = kind.step(one["blocks"], one["before"], ACTIVATIONS["tanh"])
    assert set(derived) == set(kind.states)
    for name, value in derived.items():
        np.testing.assert_allclose(value, one["after"][name], atol=2e-6, err_msg=name)
    without = kind.step(one["blocks"], one["before"], None)
    assert (set(without) < set(kind.states)) == kind.uses_activation


@EACH
def test_a_unit_that_keeps_all_and_writes_nothing_stays_as_it_is(kind, steps):
    """So `keep` and `write` are what the measures take them for."""
    if kind.keep is None:
        assert kind.write is None
        return
    one = steps[kind.name]
    blocks = {**one["blocks"], kind.keep: np.ones((5, 4))}
    if kind.write is not None:
        blocks[kind.write] = np.zeros((5, 4))
    kept = kind.step(blocks, one["before"], ACTIVATIONS["tanh"])[kind.states[0]]
    np.testing.assert_array_equal(kept, one["before"][kind.states[0]])
    # And one that keeps nothing and writes all has the candidate.
    blocks[kind.keep] = np.zeros((5, 4))
    if kind.write is not None:
        blocks[kind.write] = np.ones((5, 4))
    written = kind.step(blocks, one["before"], ACTIVATIONS["tanh"])[kind.states[0]]
    np.testing.assert_array_equal(written, blocks["candidate"])


@EACH
def test_a_whole_sequence_has_the_states_of_its_steps(kind, steps):
    """`run`, which is fast, does what `step` does."""
    one = steps[kind.name]
    others = kind.states[:-1]
    blocks = {name: np.stack([b, b[::-1]], 1) for name, b in one["blocks"].items()}
    real = np.ones((5, 2, 1), bool)
    real[2, 1] = False
    blocks = {name: np.where(real, block, 0) for name, block in blocks.items()}
    tensors = keras.tree.map_structure(
        ops.convert_to_tensor, (blocks, one["before"], real)
    )
    whole = numpy(kind.run(*tensors))
    assert set(whole) == set(others)
    state = one["before"]
    for time in range(2):
        now = {name: block[:, time] for name, block in blocks.items()}
        new = kind.step(now, state, ACTIVATIONS["tanh"]) if others else state
        state = {
            name: np.where(real[:, time], new[name], state[name]) for name in state
        }
        for name in others:
            np.testing.assert_allclose(
                whole[name][:, time], state[name], atol=TOLERANCE["float32"]
            )


BY_PURPOSE = {
    "__init__.py": "lists the public layers, which are named for their kinds",
    "backend": "a kernel that returns every signal is for one kind of cell",
    "layers/gate_layers.py": "the public layers and cells, with their documentation",
    "claims": "measures sentences that are taught about the LSTM and the GRU",
    "cli/demo_command.py": "the demonstration trains the two",
    "cli/main.py": "the help of `demo` and `compare`, whose default are the two",
    "plots/heatmaps.py": "`pair` draws an LSTM beside a GRU",
    "stats/gate_pairs.py": "`match_units` compares an LSTM with a GRU",
    "study/rule.py": "the rule of thumb chooses between the two",
    "study/text_table.py": "a study prints the rule of thumb beside its result",
}
"""Parts of the package that name kinds of cells, each with its reason."""

EXAMPLE = re.compile(r"such as|Use a dict")
"""Words before an example of code in an error, which has some name in it."""

NAMED = re.compile("|".join(KINDS))


@ONCE
def test_no_other_part_of_the_package_asks_for_a_kind_by_its_name():
    found = {}
    for path in sorted(PACKAGE.rglob("*")):
        place = path.relative_to(PACKAGE)
        if path.suffix not in (".py", ".js", ".html", ".css") or "cells" in place.parts:
            continue
        text = path.read_text()
        words = names_in(text) if path.suffix == ".py" else without_comments(text)
        named = sorted({w for w in words if NAMED.search(w) and not EXAMPLE.search(w)})
        if named:
            found[place.as_posix()] = named
    allowed = {
        place: reason
        for place in found
        for part, reason in BY_PURPOSE.items()
        if place == part or place.startswith(f"{part}/")
    }
    assert {place: found[place] for place in found if place not in allowed} == {}
    # And no reason outlives what it was given for.
    used = {place.split("/")[0] for place in found} | set(found)
    assert set(BY_PURPOSE) <= used


def names_in(source):
    """Yields the identifiers and the strings of code, and leaves its words out."""
    tree = ast.parse(source)
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    # The parts of an error are one sentence.
    pieces = {
        id(piece): node
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for piece in node.values
    }
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            whole = pieces.get(id(node))
            yield ast.unparse(whole) if whole else node.value
        for field in ("id", "attr", "arg", "name"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


def without_comments(source):
    """Yields the lines of a script or a template, without its comments."""
    source = re.sub(r"/\*.*?\*/|<!--.*?-->|(?<!:)//[^\n]*", "", source, flags=re.S)
    return source.splitlines()


@ONCE
def test_a_name_in_the_code_would_be_found():
    """The search that the test above relies on."""
    names = set(names_in('"""LSTM."""\nx = kind == "LSTM"  # GRU\nLSTMCell.f(GRU=1)\n'))
    assert {"LSTM", "LSTMCell", "GRU"} <= names
    assert "LSTM." not in names
    assert without_comments('a("LSTM"); // GRU') == ['a("LSTM"); ']
