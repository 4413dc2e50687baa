"""Measures the cost of measures and pages: seconds, ratios, and the size of a page.

    KERAS_BACKEND=torch python tests/benchmarks/meanings.py

Each measure is timed in turns with a plain NumPy mean of the same gigabyte, an LSTM of
128 units; the ratio is the median. The time of `find_units` and `match` depends on the
arguments: here, all signals and 1,000 shifts of the labels of 2 % of the samples, and
one unit over 20 steps.

The captures for a page have an LSTM and a GRU of 128 units each, over 200 steps, with
all signals: one of 64 samples, and one of 50 MB. A page counts as open when its
explorer is drawn, in headless Chromium. On a busy machine, processor seconds are more
reliable than elapsed seconds; for the browser, only elapsed seconds are known.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import xarray
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates.cells.registry import KINDS

STEPS, UNITS, TURNS = 200, 128, 5
GIGABYTE = 1_000_000_000
SAMPLE = STEPS * UNITS * 4 * sum(len(kind.signals) for kind in KINDS.values())
"""Bytes of a captured sample."""

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
]


def captured(samples):
    """Returns slow gates with noise, which pack badly, like real gates."""
    rng = np.random.default_rng(0)
    tree = xarray.DataTree(xarray.Dataset(attrs={"model": "benchmark"}))
    for kind in KINDS.values():
        data = {}
        for name in kind.signals:
            noise = rng.normal(size=(samples, STEPS, UNITS)).astype("float32")
            values = np.cumsum(noise, axis=1) / 8 + noise / 4
            gate = name in kind.gates
            values = 1 / (1 + np.exp(-values)) if gate else np.tanh(values)
            data[name] = (("sample", "time", "unit"), values)
        layer = xarray.Dataset(data, attrs={"cell_type": kind.name})
        tree[kind.name.lower()] = xarray.DataTree(layer)
    return tree


def seconds(call):
    """Returns the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_prices():
    """Prints the cost of measures, as multiples of a mean over the same bytes."""
    lstm = KINDS["LSTM"]
    samples = GIGABYTE // (STEPS * UNITS * 4 * len(lstm.signals))
    rng = np.random.default_rng(0)
    shape = (samples, STEPS, UNITS)
    data = {
        name: (("sample", "time", "unit"), rng.random(shape, dtype="float32"))
        for name in lstm.signals
    }
    layer = xarray.Dataset(data, attrs={"cell_type": "LSTM", "layer": "lstm"})
    near_a_half = layer * 0.01 + 0.495
    near_a_half.attrs = layer.attrs
    gru = xarray.Dataset({"update": layer["forget"]}, attrs={"cell_type": "GRU"})
    tree = xarray.DataTree.from_dict({"lstm": layer})
    few = layer.isel(sample=slice(samples // 50))
    labels = rng.random((few.sizes["sample"], STEPS)) > 0.5
    stats = keras_gates.stats
    calls = {
        "diagnose": lambda: stats.diagnose(layer),
        "diagnose, all gates near 0.5": lambda: stats.diagnose(near_a_half),
        "saturation": lambda: stats.saturation(layer),
        "entropy": lambda: stats.entropy(layer),
        "timescale": lambda: stats.timescale(layer),
        "half_life": lambda: stats.half_life(layer),
        "dead_units": lambda: stats.dead_units(layer),
        "gate_correlation": lambda: stats.gate_correlation(layer),
        "memory_horizon": lambda: stats.memory_horizon(layer),
        "match_units": lambda: stats.match_units(layer, gru),
        "summary": lambda: stats.summary(tree),
        "find_units, of 2 %": lambda: stats.find_units(few, labels),
        "match": lambda: stats.find_similar_spans(
            tree, layer="lstm", units=0, span=(0, 20)
        ),
    }

    def mean():
        return [values.mean() for values in arrays]

    table = Table("measure", "seconds", "means", title=f"{layer.nbytes / 1e9:.2f} GB")
    for name, call in calls.items():
        used = near_a_half if name.endswith("near 0.5") else layer
        arrays = [signal.values for signal in used.values()]
        pairs = [(seconds(mean), seconds(call)) for _ in range(3)]
        ratio = np.median([price / plain for plain, price in pairs])
        table.add_row(name, f"{min(p for _, p in pairs):.2f}", f"{ratio:.1f}")
    Console(width=100).print(table)


def report_price(samples, folder):
    """Returns the MB of the capture, elapsed and processor seconds, and the page."""
    tree = captured(samples)
    start = time.perf_counter(), time.process_time()
    path = keras_gates.report(tree, Path(folder, f"{samples}.html"))
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    return samples * SAMPLE / 1e6, *seconds, path


def opening_seconds(path):
    """Returns the median seconds until a page is open, in a browser already started."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium
        browser = chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        seconds = []
        for _ in range(TURNS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector("#explorer[aria-busy=false]")
            seconds.append(time.perf_counter() - start)
            page.close()
        browser.close()
    return float(np.median(seconds))


def report_prices():
    """Prints the cost of pages."""
    table = Table(
        "capture", "report", "... processor", "page", "opens in", title="report"
    )
    with tempfile.TemporaryDirectory() as folder:
        for samples in (64, round(50e6 / SAMPLE)):
            megabytes, wall, cpu, path = report_price(samples, folder)
            opening = (
                f"{opening_seconds(path):.2f} s" if shutil.which("chromium") else "-"
            )
            table.add_row(
                f"{samples} samples, {megabytes:.0f} MB",
                f"{wall:.1f} s",
                f"{cpu:.1f} s",
                f"{path.stat().st_size / 1e6:.1f} MB",
                opening,
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    measure_prices()
    report_prices()
