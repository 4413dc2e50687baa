"""Breaks the package in known ways, and names the tests that detect it.

    KERAS_BACKEND=torch python tests/mutations.py
    KERAS_BACKEND=torch python tests/mutations.py update "a whole name"

Each mutation is a mistake that is easily made when gates are computed. It is made in a
copy of the repository; the script fails if a mutation passes the tests. Arguments
choose the mutations whose name, or the path of whose module, contains one of them.

First the tests run on the unbroken copy. If a test fails there, the script stops, since
such a test cannot detect a mutation.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]

TESTS = {
    "backend": ["layers/test_fast_layers"],
    "cells": [
        "cells",
        "layers/test_layers",
        "models/test_models",
        "capturing/test_verify",
        "stats",
    ],
    "layers": [
        "cells/test_traced_cells",
        "layers/test_fast_layers",
        "layers/test_layers",
        "models/test_models",
        "recording/test_statistics",
    ],
    "capturing": [
        "capturing/test_capture",
        "capturing/test_importance",
        "capturing/test_kernel_choice",
        "layers/test_layers",
        "models/test_models",
    ],
    "recording": ["recording/test_statistics", "models/test_models"],
    "stats": ["stats"],
    "trees": ["trees", "stats", "plots"],
    "plots": ["plots"],
}
"""The tests that run for a mutation in a folder of the package."""

ENOUGH = 3
"""A run ends after this number of failed tests."""

MUTATIONS = {
    "PyTorch, LSTM: the output gate forgotten on the way back": (
        "through.mul_(chunk[:, :, 3])",
        "through.mul_(1)",
    ),
    "PyTorch, LSTM: the cell of the same step on the way back": (
        "slopes[:, :, 1].mul_(cells[now])",
        "slopes[:, :, 1].mul_(cells[start + 1 : end + 1])",
    ),
    "PyTorch, LSTM: what is forgotten comes back": (
        "d_cell.mul_(keep[t])",
        "d_cell.mul_(1.0)",
    ),
    "PyTorch, GRU: update taken for 1 - update": (
        "torch.lerp(candidates[t], hs[t], keeps[t], out=hs[t + 1])",
        "torch.lerp(hs[t], candidates[t], keeps[t], out=hs[t + 1])",
    ),
    "PyTorch, GRU: the state of the same step on the way back": (
        "slopes[:, :, 0].mul_(hiddens[now] - chunk[:, :, 2])",
        "slopes[:, :, 0].mul_(hiddens[start + 1 : end + 1] - chunk[:, :, 2])",
    ),
    "JAX, LSTM: the cell of the same step on the way back": (
        "cell_before = steps.before(cells, first_cell, t)",
        "cell_before = steps.at(cells, t)",
    ),
    "JAX, LSTM: what is forgotten comes back": (
        "through * f, d_cell)\n        return d_hidden, d_cell,",
        "through, d_cell)\n        return d_hidden, d_cell,",
    ),
    "JAX, LSTM: the hidden state goes on at masked steps": (
        "hidden = steps.where(real, o * activation(cell), hidden)",
        "hidden = o * activation(cell)",
    ),
    "JAX, GRU: the sign of the update gate's gradient": (
        "(before - candidate), of_z, t)\n        d_z = through(",
        "(candidate - before), of_z, t)\n        d_z = through(",
    ),
    "JAX, GRU: the gradient changes at masked steps": (
        "kept = d_hidden * steps.where(real, z, 1)",
        "kept = d_hidden * z",
    ),
    "TensorFlow, LSTM: the cell of the same step on the way back": (
        "before, cell = cells.read(t), cells.read(t + 1)",
        "before = cell = cells.read(t + 1)",
    ),
    "TensorFlow, LSTM: what is forgotten comes back": (
        "through * f, d_cell)\n            return (d_hidden, d_cell,",
        "through, d_cell)\n            return (d_hidden, d_cell,",
    ),
    "TensorFlow, GRU: update taken for 1 - update": (
        "candidate + z * (hidden - candidate), hidden)\n        kept =",
        "hidden + z * (candidate - hidden), hidden)\n        kept =",
    ),
    "TensorFlow, GRU: the gradient of the reset gate itself": (
        "d_r = steps.plus(d_reset * past, of_r, t)\n            d_r = steps.gradient",
        "d_r = d_reset * past\n            d_r = steps.gradient",
    ),
    "TensorFlow, GRU: the state of the same step on the way back": (
        "before, past = hiddens.read(t), pasts.read(t)",
        "before, past = hiddens.read(t + 1), pasts.read(t)",
    ),
    "fast kernels compared with themselves": (
        "kernel_choice.deviations(exact[1], fast[1])",
        "kernel_choice.deviations(fast[1], fast[1])",
    ),
    "a stateful layer reads the first batch twice": (
        "            copies.rewind(before)\n",
        "",
    ),
    "a joined batch lies one row too far": (
        "held[self._samples : end] = array",
        "held[self._samples : end] = np.roll(array, 1, 0)",
    ),
    "clamps compared with the first of them": (
        "return numbers[:, 1:] - numbers[:, :1]",
        "return numbers[:, 1:] - numbers[:, 1:2]",
    ),
    "first-order changes without the values": (
        "by_unit[key] = value * slopes - products",
        "by_unit[key] = value * slopes",
    ),
    "signals of all steps from the states after them": (
        "ops.reshape(shared_equations.before(state, first), (-1, *shape))",
        "ops.reshape(state, (-1, *shape))",
    ),
    "all steps at once of cells that mix samples": (
        "return kind is not None and (not kind.runs_in_loop or cell in _by_rows)",
        "return kind is not None",
    ),
    "the first states of a fast kernel in Keras's order": (
        "dict(zip(kind.states, reversed(states), strict=True))\n        emit_signals",
        "dict(zip(kind.states, states, strict=True))\n        emit_signals",
    ),
    "a gate that replaces registered as one that keeps": (
        "    if not held:\n        erased",
        "    if False:\n        erased",
    ),
    "traced signals in the wrong order": (
        "    found.sort(key=lambda one: one[0])",
        "    found.sort(key=lambda one: -one[0])",
    ),
    "a traced backward layer read forward": (
        "        sequences = ops.flip(sequences, axis=1)\n        mask = None if mask"
        " is None else ops.flip(mask, axis=1)\n    if not keras.tree",
        "        pass\n    if not keras.tree",
    ),
    "labels taken for positions": (
        "    return dim in data.coords and data.coords[dim].dims == (dim,)",
        "    return False",
    ),
    "input and forget gate swapped": (
        "BLOCKS = (v.INPUT, v.FORGET, v.CANDIDATE, v.OUTPUT)",
        "BLOCKS = (v.FORGET, v.INPUT, v.CANDIDATE, v.OUTPUT)",
    ),
    "update and reset gate swapped": (
        "{v.UPDATE: update, v.RESET: reset,",
        "{v.UPDATE: reset, v.RESET: update,",
    ),
    "update taken for 1 - update": (
        "{v.UPDATE: update,",
        "{v.UPDATE: 1 - update,",
    ),
    "h[t] taken for h[t-1]": (
        "    return ops.concatenate([first[:, None, :], sequence[:, :-1, :]], axis=1)",
        "    return sequence",
    ),
    "bias of the LSTM dropped": (
        "return total if weights.bias is None else total + weights.bias",
        "return total",
    ),
    "recurrent bias of the GRU dropped": (
        "bias, recurrent_bias = bias[0], bias[1]",
        "bias, recurrent_bias = bias[0], None",
    ),
    "reset gate on the wrong side of the product": (
        "    if weights.reset_after:\n        recurrent",
        "    if not weights.reset_after:\n        recurrent",
    ),
    "mask ignored: the state is not held": (
        "    return ops.where(ops.expand_dims(count > 0, -1), values, "
        "first[:, None, :])",
        "    return sequence",
    ),
    "mask ignored: the cell forgets on": (
        "        forget = ops.where(real, forget, ops.ones_like(forget))",
        "        pass",
    ),
    "padded steps counted": (
        'signal = ops.where(ops.expand_dims(mask, -1), signal, float("nan"))',
        "pass",
    ),
    "initial state forgotten": (
        "equations.before(hidden, first[0])",
        "equations.before(hidden, ops.zeros_like(first[0]))",
    ),
    "dropout forgotten": (
        "if training and 0.0 < cell.dropout < 1.0:",
        "if False:",
    ),
    "recurrent dropout forgotten": (
        "if training and 0.0 < cell.recurrent_dropout < 1.0:",
        "if False:",
    ),
    "backward layer left in its own order": (
        "if emission.go_backwards else tensor",
        "if False else tensor",
    ),
    "output of every step taken for the state, also where it is zeroed": (
        "        if mask is not None:\n            hidden = ",
        "        if False:\n            hidden = ",
    ),
    "wrong cell of a stack": (
        "        sequences = hidden\n",
        "        pass\n",
    ),
    "padded steps counted in training": (
        "    real = None if mask is None else ops.reshape(mask, (-1, time, 1))",
        "    real = None",
    ),
    "closed and open swapped": (
        "how_often(gates < plan.lower)",
        "how_often(gates > plan.upper)",
    ),
    "spread between batches forgotten": (
        'before["squares"] + squares + spread',
        'before["squares"] + squares',
    ),
    "spread between devices forgotten": (
        "(m - mean) ** 2",
        "0 * (m - mean)",
    ),
    "histogram of the wrong unit": (
        'ops.arange(columns, dtype="int32") * plan.bins',
        'ops.flip(ops.arange(columns, dtype="int32")) * plan.bins',
    ),
    "first rows in place of spread ones": (
        'ops.arange(number, dtype="int32") * batch // number',
        'ops.arange(number, dtype="int32")',
    ),
    "dropout of other rows": (
        "name: lambda step, stock=stock: pick(stock(step))",
        "name: lambda step, stock=stock: pick(stock(step)[::-1])",
    ),
    "steps counted into the next": (
        "            backend.reset(self.model, variables, start)",
        "            pass",
    ),
    "fused kernels swallow the gates": (
        "        if collect.active() or any(map(are_changed, directions)):\n"
        "            raise NotImplementedError\n"
        "        return getattr(beneath(GateBidirectional",
        "        return getattr(beneath(GateBidirectional",
    ),
    "what is written taken for what is kept": (
        "(_counts(lstm, v.INPUT), update[:, ::-1])",
        "(_counts(lstm, v.INPUT), update)",
    ),
    "the wrong units matched": (
        "matched[rows] = columns",
        "matched[columns] = rows",
    ),
    "labels one step late": (
        "    labels = np.where(real, known[0][0], 0)",
        "    labels = np.where(real, np.roll(known[0][0], 1, -1), 0)",
    ),
    "p-values of one unit, not of the best of all": (
        "best = np.fmax(best, np.abs(permuted))",
        "best = np.abs(permuted)",
    ),
    "masked steps counted in a search": (
        "    return given, real & ~np.isnan(given)",
        "    return given, ~np.isnan(given)",
    ),
    "places one step late": (
        "        if all(sample != i or abs(start - t) >= length for i, t in taken):\n"
        "            taken.append((sample, start))",
        "        if all(sample != i or abs(start - t) >= length for i, t in taken):\n"
        "            taken.append((sample, start + 1))",
    ),
    "closed taken for open in the diagnosis": (
        "np.less(values, low, out=beyond)",
        "np.greater(values, low, out=beyond)",
    ),
    "masked steps counted in the diagnosis": (
        "    return {name: values[real] for name, values in few.items()}",
        "    return {name: np.nan_to_num(values) for name, values in few.items()}",
    ),
    "left drawn as right": (
        'values.sel(side="left"), values.sel(side="right")',
        'values.sel(side="right"), values.sel(side="left")',
    ),
    "labels of samples with other masks": (
        "        for g in groups:\n            chosen[:, g]",
        "        for g in [np.arange(len(real))]:\n            chosen[:, g]",
    ),
    "the memory of a GRU that writes what it keeps": (
        "1 - keep[some] if write is None",
        "keep[some] if write is None",
    ),
    "each letter in the colour of the next": (
        "    return list(map(str, tokens)), steps",
        "    return list(map(str, tokens)), np.roll(steps, -1)",
    ),
    "the input gate of the LSTM taken for the one that keeps": (
        "keep=v.FORGET,",
        "keep=v.INPUT,",
    ),
    "the output gate of the LSTM taken for the one that writes": (
        "write=v.INPUT,",
        "write=v.OUTPUT,",
    ),
    "the input gate of the LSTM taken for the one that shows": (
        "show=v.OUTPUT,",
        "show=v.INPUT,",
    ),
    "the reset gate of the GRU taken for the one that keeps": (
        "keep=v.UPDATE,",
        "keep=v.RESET,",
    ),
    "input gate coupled with forget, not with 1 - forget": (
        "Coupling(v.INPUT, v.FORGET, opposed=True)",
        "Coupling(v.INPUT, v.FORGET, opposed=False)",
    ),
    "reset gate coupled with 1 - update, not with update": (
        "Coupling(v.RESET, v.UPDATE, opposed=False)",
        "Coupling(v.RESET, v.UPDATE, opposed=True)",
    ),
    "the step of a GRU keeps what it should write": (
        "keep * states[v.HIDDEN] + (1 - keep) * now[v.CANDIDATE]",
        "(1 - keep) * states[v.HIDDEN] + keep * now[v.CANDIDATE]",
    ),
    "the step of an LSTM shows its cell without the activation": (
        "now[v.OUTPUT] * activation(cell)",
        "now[v.OUTPUT] * cell",
    ),
}


def places_of(old):
    """Returns the relative path of a module for each occurrence of a text in it."""
    return [
        path.relative_to(ROOT)
        for path in sorted((ROOT / "keras_gates").rglob("*.py"))
        for _ in range(path.read_text().count(old))
    ]


def tests_of(place):
    """Returns the tests of a module's folder, as paths of files and folders."""
    names = TESTS[place.parts[1]]
    return [f"tests/{name}.py" if "/" in name else f"tests/{name}" for name in names]


def chosen(words):
    """Returns the mutations of these names, each with its module."""
    found = {}
    for name, (old, new) in MUTATIONS.items():
        places = places_of(old)
        if len(places) != 1:
            sys.exit(f"'{name}' fits {len(places)} places of the package, not one.")
        if _of_another_backend(places[0]):
            continue
        if not words or any(word in name or word in str(places[0]) for word in words):
            found[name] = places[0], old, new
    if not found:
        sys.exit(f"No mutation matches {words}. There are: {', '.join(MUTATIONS)}.")
    return found


def _of_another_backend(place):
    """Returns whether a module runs only on another backend."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    own = place.stem.split("_")[0]
    return own in {"tensorflow", "jax", "torch"} - {backend}


def run(copy, tests, *options):
    """Runs tests in a copy; returns the result of each, the exit code and output."""
    # `python -m pytest` puts the copy before the installed package.
    words = [sys.executable, "-m", "pytest", "-n", "auto", "--dist", "worksteal"]
    result = subprocess.run(
        [*words, "--no-header", "--tb=no", "-rpfE", *options, *tests],
        cwd=copy,
        env={**os.environ, "COLUMNS": "400", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    lines = re.findall(r"^(PASSED|FAILED|ERROR) (.+)$", result.stdout, re.M)
    return lines, result.returncode, result.stdout + result.stderr


def passing(copy, tests):
    """Returns the tests that pass on the unbroken code, if all of them do."""
    lines, code, output = run(copy, tests)
    failed = [text for word, text in lines if word != "PASSED"]
    if code:
        sys.exit(
            "The tests must pass on the unbroken code before anything is broken; these "
            f"fail: {'; '.join(failed) or output[-2000:]}"
        )
    return {text for word, text in lines if word == "PASSED"}


def main():
    mutations = chosen(sys.argv[1:])
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "copy")
        ignored = shutil.ignore_patterns(".*", "docs", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        places = [place for place, _, _ in mutations.values()]
        tests = dict.fromkeys(test for place in places for test in tests_of(place))
        passed = passing(copy, tests)
        print(f"Unbroken: {len(passed)} tests pass.", flush=True)
        for name, (place, old, new) in mutations.items():
            path = copy / place
            text = path.read_text()
            path.write_text(text.replace(old, new))
            lines, _, _ = run(copy, tests_of(place), f"--maxfail={ENOUGH}")
            path.write_text(text)
            # A line has the name of a test, and then its error.
            broken = [text for word, text in lines if word != "PASSED"]
            noticed = [
                test
                for test in sorted(passed)
                if any(line == test or line.startswith(f"{test} - ") for line in broken)
            ]
            if noticed:
                more = " or more" if len(noticed) >= ENOUGH else ""
                print(f"{name}: {len(noticed)}{more} tests: {', '.join(noticed)}")
            else:
                missed.append(name)
                print(f"{name}: NOT CAUGHT")
            sys.stdout.flush()
    if missed:
        sys.exit(f"No test detected: {', '.join(missed)}.")


if __name__ == "__main__":
    main()
