"""Measures the cost of the measures of a capture, in plain means of the same bytes.

    KERAS_BACKEND=torch python tests/benchmarks/measures.py [megabytes] [name ...]

The capture has an LSTM with six signals in float32, by default of 128 MB, and a GRU
with the same number of samples. Each measure is timed in turns with a plain mean of the
signals that it reads, `array.mean(dtype="float64")`, in processor seconds, which a busy
machine disturbs less. The table gives the ratio of the medians, and the smallest and
the largest ratio of a pair. The peak of allocated memory is given as a share of those
signals. Names choose functions; "masked" masks a part of the steps, "plots" times the
figures instead, and "recorder" times reading `recorder.statistics`.
"""

import os
import statistics
import sys
import time
import tracemalloc

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import xarray
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates import plots, stats
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM

STEPS, UNITS, TURNS, RECORDED = 200, 128, 7, 3000
DIMS = ("sample", "time", "unit")
LIMITS = {"match_units": 10, "summary": 10}
"""Limits in plain means; 6 for every other measure, and none for the searches."""

SEARCHES = ("find_units", "match")


def layer(kind, megabytes, masked):
    samples = max(round(megabytes * 1e6 / (4 * 6 * STEPS * UNITS)), 1)
    rng = np.random.default_rng(0)
    data = {}
    lengths = rng.integers(STEPS // 2, STEPS + 1, samples)
    for name in kind.signals:
        values = rng.random((samples, STEPS, UNITS), dtype="float32")
        if masked:
            values[np.arange(STEPS) >= lengths[:, None]] = np.nan
        data[name] = (DIMS, values)
    attributes = {"cell_type": kind.name, "layer": kind.name.lower()}
    return xarray.Dataset(data, attrs=attributes)


def measures(lstm, gru):
    """Yields names, calls, and the signals that each of them reads."""
    tree = xarray.DataTree.from_dict({"/lstm": lstm})
    gates = [lstm[name] for name in LSTM.gates]
    pair = [lstm["input"], lstm["forget"]]
    every = list(lstm.values())
    derived = lstm.assign_attrs(derivative_of="loss")
    labels = lstm["hidden"].values[..., 0] > 0.5
    yield "saturation", lambda: stats.saturation(lstm), gates
    yield "entropy", lambda: stats.entropy(lstm), gates
    yield "timescale", lambda: stats.timescale(lstm), [lstm["forget"]]
    yield "half_life", lambda: stats.half_life(lstm), [lstm["forget"]]
    yield "memory_horizon", lambda: stats.memory_horizon(lstm), pair
    yield "memory_horizon, GRU", lambda: stats.memory_horizon(gru), [gru["update"]]
    yield "gate_correlation", lambda: stats.gate_correlation(lstm), pair
    dead = [lstm[name] for name in ("hidden", "output", "input")]
    yield "dead_units", lambda: stats.dead_units(lstm), dead
    yield "gradient_flow", lambda: stats.gradient_flow(derived), [lstm["hidden"]]
    three = [*pair, gru["update"]]
    yield "match_units", lambda: stats.match_units(lstm, gru), three
    yield "summary", lambda: stats.summary(tree), every
    yield "diagnose", lambda: stats.diagnose(tree), every
    hidden = [lstm["hidden"]]

    def match():
        stats.find_similar_spans(tree, layer="lstm", units=range(8), span=(20, 30))

    yield "match", match, [lstm["hidden"][..., :8]]
    yield "find_units", lambda: stats.find_units(lstm[["hidden"]], labels), hidden


def figures(lstm, gru):
    """Yields the names of figures of a whole capture, and functions that draw them."""
    yield "gates", lambda: plots.heatmap(lstm)
    yield "pair", lambda: plots.compare_layers(lstm, gru)
    yield "saturation", lambda: plots.saturation(lstm)
    yield "timescales", lambda: plots.timescale(lstm)
    yield "horizon", lambda: plots.memory_horizon(lstm)
    yield "trajectories", lambda: plots.trajectories(lstm, units=[0, 1])
    derived = stats.gradient_flow(lstm.assign_attrs(derivative_of="loss"))
    yield "gradient_flow", lambda: plots.gradient_flow(derived)
    steps = xarray.concat([lstm["forget"][: len(lstm["sample"]) // 4]] * 4, "step")
    yield "evolution", lambda: plots.evolution(steps)


def seconds(call):
    """Returns the processor seconds of a call, in all of its threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def peak(call):
    """Returns the peak of bytes that a call allocates, including its result."""
    tracemalloc.start()
    call()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def compared(call, signals):
    """Returns pairs of seconds, of plain means and of a call."""
    arrays = [signal.values for signal in signals]

    def means():
        for array in arrays:
            array.mean(dtype="float64")

    means(), call()
    pairs = [(seconds(means), seconds(call)) for _ in range(TURNS)]
    return pairs


def recorded():
    """Returns the seconds of reading `statistics` for the first and the second time."""
    x = np.random.default_rng(0).normal(size=(RECORDED, 10, 1)).astype("float32")
    stack = [keras.Input((10, 1)), keras.layers.LSTM(8), keras.layers.Dense(1)]
    model = keras.Sequential(stack)
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(record_freq=1, samples_per_batch=1)
    y = np.zeros((RECORDED, 1))
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[recorder])
    return [seconds(lambda: recorder.statistics) for _ in range(2)]


def main(words):
    numbers = [float(word) for word in words if word.replace(".", "").isdigit()]
    megabytes = numbers[0] if numbers else 128
    console = Console(width=100)
    if "recorder" in words:
        first, second = recorded()
        console.print(
            f"statistics after {RECORDED:,} steps: {first:.3f} s, again {second:.4f} s"
        )
        return
    lstm, gru = (layer(kind, megabytes, "masked" in words) for kind in (LSTM, GRU))
    title = f"{lstm.nbytes / 1e6:.0f} MB, NumPy {np.__version__}"
    if "plots" in words:
        table = Table("figure", "s", "peak / capture", title=title)
        for name, call in figures(lstm, gru):
            call()
            table.add_row(
                name, f"{seconds(call):.2f}", f"{peak(call) / lstm.nbytes:.2f}"
            )
        console.print(table)
        return
    columns = "measure", "mean, s", "this, s", "ratio", "lowest", "highest", "limit"
    table = Table(*columns, "peak / input", title=title)
    for name, call, signals in measures(lstm, gru):
        chosen = [word for word in words if word in dir(stats)]
        if chosen and name.split(",")[0] not in chosen:
            continue
        pairs = compared(call, signals)
        mean, this = map(statistics.median, zip(*pairs, strict=True))
        ratios = [mine / plain for plain, mine in pairs]
        limit = "" if name in SEARCHES else f"{LIMITS.get(name, 6)}"
        share = peak(call) / sum(signal.nbytes for signal in signals)
        table.add_row(
            name,
            f"{mean:.3f}",
            f"{this:.3f}",
            *(f"{value:.1f}" for value in (this / mean, min(ratios), max(ratios))),
            limit,
            f"{share:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
