"""Measures the cost of gates on one backend, for a page of the documentation.

    KERAS_BACKEND=torch PYTHONPATH=tests python tests/benchmarks/costs.py --write

Everything is compared with the stock layer of the same model, in turns; a ratio is the
median over the pairs, followed by the quartiles. The sizes are those of `fast_kernels`.
With `--write`, the table is written to `docs/costs`, where entries that were not
measured again are kept. Arguments choose: LSTM GRU small medium long training capture
fit. It takes about 15 minutes on a machine that does nothing else.
"""

import functools
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from fast_kernels import FAST, PAIRS, SIZES, STOCK, trained
from prices import pairs_in_turns

import keras_gates
from keras_gates.capturing.reader import Reader

PAGES = Path(__file__).parents[2] / "docs" / "costs"
READ_BATCHES = 32
FITTED = {"small": 200, "medium": 20, "long": 4}


def trainings(kind, size):
    """Yields a description, the two calls to compare, and the bytes of a result."""
    units = SIZES[size][-1]

    def stock(**options):
        return trained(STOCK[kind](units), size, **options)

    def gate(gates, kernel, **options):
        layer = FAST[kind](units, kernel=kernel, return_gates=gates)
        return trained(layer, size, gates=gates, **options)

    alone = stock(masked=False, gates=False)
    yield "every gate in the loss", alone, gate(True, "fast", masked=False), 0
    yield '... with `kernel="keras"`', alone, gate(True, "keras", masked=False), 0
    yield "no gate", alone, gate(False, "fast", masked=False), 0
    masked = stock(masked=True, gates=False)
    yield "no gate, a mask", masked, gate(False, "fast", masked=True), 0


def recordings(kind, size):
    """Yields the same for calls without gates in the loss."""
    batch, steps, features, units = SIZES[size]
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [keras.Input((steps, features)), STOCK[kind](units), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    rows = batch * max(READ_BATCHES, FITTED[size])
    x = rng.normal(size=(rows, steps, features)).astype("float32")
    few = x[: batch * READ_BATCHES]
    reader = Reader(model)
    signals = 6 if kind == "LSTM" else 4
    yield (
        "`capture`, all signals",
        lambda: model.predict(few, batch_size=batch, verbose=0),
        lambda: reader.read_all(few, batch_size=batch),
        4 * signals * units * few.shape[0] * steps,
    )
    some, y = x[: batch * FITTED[size]], rng.normal(size=(batch * FITTED[size], 1))

    def fit(callbacks):
        return lambda: model.fit(
            some, y, batch_size=batch, verbose=0, shuffle=False, callbacks=callbacks
        )

    recorded = fit([keras_gates.GateRecorder()])
    yield "`fit` with a `GateRecorder()`", fit([]), recorded, 0


def use(size):
    """Uses and frees memory of a size in bytes.

    A virtual machine may have to get memory from its host when it uses this memory for
    the first time in a while. That can take longer than the capture itself.
    """
    np.ones(size, "int8")


def table(rows):
    """Returns the table of the page."""
    columns = list(dict.fromkeys(column for _, column in rows))
    lines = [
        "| compared with the stock layer | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for what in dict.fromkeys(what for what, _ in rows):
        cells = [rows.get((what, column), "") for column in columns]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(rows):
    """Writes the part of the page about this backend."""
    PAGES.mkdir(exist_ok=True)
    page = PAGES / f"costs-{keras.backend.backend()}.md"
    done = f"Keras {keras.version()}, {os.cpu_count()} cores."
    page.write_text(f"{table(rows)}\n\n{done}\n")


def written():
    """Returns the entries in the part of the page about this backend."""
    page = PAGES / f"costs-{keras.backend.backend()}.md"
    if not page.exists():
        return {}
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    (_, *columns), *others = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines
    )
    return {
        (what, column): cell
        for what, *cells in others
        for column, cell in zip(columns, cells, strict=True)
    }


def chosen(what):
    """Returns whether the arguments of the command line choose a row."""
    parts = {"training", "capture", "fit"}
    own = next((word for word in ("capture", "fit") if word in what), "training")
    return not parts & set(sys.argv) or own in sys.argv


def main():
    kinds = [name for name in STOCK if name in sys.argv] or list(STOCK)
    sizes = [name for name in SIZES if name in sys.argv] or list(SIZES)
    rows = written() if "--write" in sys.argv else {}
    for kind in kinds:
        for size in sizes:
            for made in (trainings, recordings):
                for what, first, second, result in made(kind, size):
                    if not chosen(what):
                        continue
                    before = functools.partial(use, result)
                    pairs = pairs_in_turns(first, second, PAIRS, before)
                    low, middle, high = statistics.quantiles(b / a for a, b in pairs)
                    found = f"{middle:.2f} ({low:.2f} to {high:.2f})"
                    rows[what, f"{kind}, {size}"] = found
                    base = statistics.median(a for a, _ in pairs)
                    print(kind, size, what, f"{base:.3f} s", found, flush=True)
                    if "--write" in sys.argv:
                        write(rows)
    print(table(rows))


if __name__ == "__main__":
    main()
