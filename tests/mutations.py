"""Breaks the package in known ways, and shows which test notices.

    KERAS_BACKEND=torch python tests/mutations.py
    KERAS_BACKEND=torch python tests/mutations.py measures  # files whose names hold it

Each mutation is a mistake that people make who compute gates by hand. It is made in a
copy of the repository; the script fails if a mutation passes the tests.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
TESTS = [
    f"tests/test_{name}.py"
    for name in (
        "stats",
        "units",
        "finding",
        "labels",
        "diagnosis",
        "pictures",
        "layers",
        "models",
        "statistics",
    )
]

MUTATIONS = {
    "labels taken for positions": (
        "labels.py",
        "    return dim in data.coords and data.coords[dim].dims == (dim,)",
        "    return False",
    ),
    "input and forget gate swapped": (
        "vocabulary.py",
        "blocks=(INPUT, FORGET, CANDIDATE, OUTPUT)",
        "blocks=(FORGET, INPUT, CANDIDATE, OUTPUT)",
    ),
    "update and reset gate swapped": (
        "equations.py",
        "{v.UPDATE: update, v.RESET: reset,",
        "{v.UPDATE: reset, v.RESET: update,",
    ),
    "update taken for 1 - update": (
        "equations.py",
        "{v.UPDATE: update,",
        "{v.UPDATE: 1 - update,",
    ),
    "h[t] taken for h[t-1]": (
        "equations.py",
        "    return ops.concatenate([first[:, None, :], sequence[:, :-1, :]], axis=1)",
        "    return sequence",
    ),
    "bias of the LSTM dropped": (
        "equations.py",
        "        total = total + weights.bias",
        "        pass",
    ),
    "recurrent bias of the GRU dropped": (
        "equations.py",
        "bias, recurrent_bias = bias[0], bias[1]",
        "bias, recurrent_bias = bias[0], None",
    ),
    "reset gate on the wrong side of the product": (
        "equations.py",
        "    if weights.reset_after:\n        recurrent",
        "    if not weights.reset_after:\n        recurrent",
    ),
    "mask ignored: the state is not held": (
        "equations.py",
        "    return ops.where(ops.expand_dims(count > 0, -1), values, "
        "first[:, None, :])",
        "    return sequence",
    ),
    "mask ignored: the cell forgets on": (
        "equations.py",
        "            forget = ops.where(real, forget, ops.ones_like(forget))",
        "            pass",
    ),
    "padded steps counted": (
        "capture.py",
        'signal = ops.where(ops.expand_dims(mask, -1), signal, float("nan"))',
        "pass",
    ),
    "initial state forgotten": (
        "replay.py",
        "equations.before(hidden, first[0])",
        "equations.before(hidden, ops.zeros_like(first[0]))",
    ),
    "dropout forgotten": (
        "replay.py",
        "if training and 0.0 < cell.dropout < 1.0:",
        "if False:",
    ),
    "recurrent dropout forgotten": (
        "replay.py",
        "if training and 0.0 < cell.recurrent_dropout < 1.0:",
        "if False:",
    ),
    "backward layer left in its own order": (
        "capture.py",
        "if emission.go_backwards else tensor",
        "if False else tensor",
    ),
    "output of every step taken for the state, also where it is zeroed": (
        "replay.py",
        "        if mask is not None:\n            hidden = ",
        "        if False:\n            hidden = ",
    ),
    "wrong cell of a stack": (
        "replay.py",
        "        sequences = hidden\n",
        "        pass\n",
    ),
    "padded steps counted in training": (
        "accumulate.py",
        "    real = None if mask is None else ops.reshape(mask, (-1, time, 1))",
        "    real = None",
    ),
    "shut and open swapped": (
        "accumulate.py",
        "how_often(gates < plan.low)",
        "how_often(gates > plan.high)",
    ),
    "spread between batches forgotten": (
        "accumulate.py",
        'before["squares"] + squares + spread',
        'before["squares"] + squares',
    ),
    "spread between devices forgotten": (
        "accumulate.py",
        "(m - mean) ** 2",
        "0 * (m - mean)",
    ),
    "histogram of the wrong unit": (
        "accumulate.py",
        'ops.arange(columns, dtype="int32") * plan.bins',
        'ops.flip(ops.arange(columns, dtype="int32")) * plan.bins',
    ),
    "first rows in place of spread ones": (
        "replay.py",
        'ops.arange(number, dtype="int32") * batch // number',
        'ops.arange(number, dtype="int32")',
    ),
    "dropout of other rows": (
        "views.py",
        "name: lambda step, stock=stock: pick(stock(step))",
        "name: lambda step, stock=stock: pick(stock(step)[::-1])",
    ),
    "steps counted into the next": (
        "watch.py",
        "            backend.reset(self.model, variables, start)",
        "            pass",
    ),
    "fused GRU kernel swallows the gates": (
        "wrappers.py",
        "        if collect.active():\n            raise NotImplementedError\n"
        "        return beneath(GateBidirectional, self)._call_fused_gru",
        "        return beneath(GateBidirectional, self)._call_fused_gru",
    ),
    "fused LSTM kernel swallows the gates": (
        "wrappers.py",
        "        if collect.active():\n            raise NotImplementedError\n"
        "        return beneath(GateBidirectional, self)._call_fused_lstm",
        "        return beneath(GateBidirectional, self)._call_fused_lstm",
    ),
    "what is written taken for what is kept": (
        "correspondence.py",
        "(_counts(lstm, v.INPUT), update[:, ::-1])",
        "(_counts(lstm, v.INPUT), update)",
    ),
    "the wrong units matched": (
        "correspondence.py",
        "matched[rows] = columns",
        "matched[columns] = rows",
    ),
    "labels one step late": (
        "finding.py",
        "    labels = np.where(real, known[0][0], 0)",
        "    labels = np.where(real, np.roll(known[0][0], 1, -1), 0)",
    ),
    "p-values of one unit, not of the best of all": (
        "finding.py",
        "best = np.fmax(best, np.abs(permuted))",
        "best = np.abs(permuted)",
    ),
    "masked steps counted in a search": (
        "finding.py",
        "    return given, real & ~np.isnan(given)",
        "    return given, ~np.isnan(given)",
    ),
    "places one step late": (
        "matching.py",
        "        if all(sample != i or abs(start - t) >= length for i, t in taken):\n"
        "            taken.append((sample, start))",
        "        if all(sample != i or abs(start - t) >= length for i, t in taken):\n"
        "            taken.append((sample, start + 1))",
    ),
    "shut taken for open in the diagnosis": (
        "tally.py",
        "np.less(values, low, out=beyond)",
        "np.greater(values, low, out=beyond)",
    ),
    "masked steps counted in the diagnosis": (
        "tally.py",
        "    return {name: values[real] for name, values in few.items()}",
        "    return {name: np.nan_to_num(values) for name, values in few.items()}",
    ),
    "left drawn as right": (
        "dots.py",
        'values.sel(side="left"),\n            values.sel(side="right"),',
        'values.sel(side="right"),\n            values.sel(side="left"),',
    ),
    "labels of samples with other masks": (
        "finding.py",
        "        for g in groups:\n            chosen[:, g]",
        "        for g in [np.arange(len(real))]:\n            chosen[:, g]",
    ),
    "the memory of a GRU that writes what it keeps": (
        "units.py",
        "keep, write = layer[v.UPDATE], 1 - layer[v.UPDATE]",
        "keep, write = layer[v.UPDATE], layer[v.UPDATE]",
    ),
    "each letter in the colour of the next": (
        "tokens.py",
        "    return list(map(str, tokens)), steps",
        "    return list(map(str, tokens)), np.roll(steps, -1)",
    ),
}


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    missed = []
    for name, (file, old, new) in MUTATIONS.items():
        if wanted not in file:
            continue
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder, "copy")
            ignored = shutil.ignore_patterns(".*", "docs")
            shutil.copytree(ROOT, copy, ignore=ignored)
            path = copy / "keras_gates" / file
            text = path.read_text()
            if text.count(old) != 1:
                sys.exit(f"'{name}' fits {text.count(old)} places in {file}, not one.")
            path.write_text(text.replace(old, new))
            # `python -m pytest` puts the copy before the installed package.
            words = [sys.executable, "-m", "pytest", "-x", "--no-header", *TESTS]
            result = subprocess.run(words, cwd=copy, capture_output=True, text=True)
        caught = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", result.stdout, re.M)
        print(f"{name}: {caught[0] if caught else 'NOT CAUGHT'}", flush=True)
        if not caught:
            missed.append(name)
    if missed:
        sys.exit(f"No test noticed: {', '.join(missed)}.")


if __name__ == "__main__":
    main()
