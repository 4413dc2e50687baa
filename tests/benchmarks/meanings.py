"""What it costs to see what gates mean: seconds, and the size of a page.

    KERAS_BACKEND=torch python tests/benchmarks/meanings.py

The captures have an LSTM and a GRU of 128 units each, over 200 steps, all signals:
of 64 samples, and of as many as make 50 MB. A page is open when its explorer is drawn,
in headless Chromium. On a busy machine the seconds of the processor tell more than
those of the clock; for the browser there are only the latter.
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
from keras_gates.vocabulary import GATES, KINDS

STEPS, UNITS, TURNS = 200, 128, 5
SAMPLE = STEPS * UNITS * 4 * sum(len(kind.signals) for kind in KINDS.values())
"""Bytes of a captured sample."""

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
]


def captured(samples):
    """Gates that move slowly, with noise: what packs badly, as real ones do."""
    rng = np.random.default_rng(0)
    tree = xarray.DataTree(xarray.Dataset(attrs={"model": "benchmark"}))
    for kind in KINDS.values():
        data = {}
        for name in kind.signals:
            noise = rng.normal(size=(samples, STEPS, UNITS)).astype("float32")
            values = np.cumsum(noise, axis=1) / 8 + noise / 4
            values = 1 / (1 + np.exp(-values)) if name in GATES else np.tanh(values)
            data[name] = (("sample", "time", "unit"), values)
        layer = xarray.Dataset(data, attrs={"kind": kind.name})
        tree[kind.name.lower()] = xarray.DataTree(layer)
    return tree


def report_price(samples, folder):
    """Returns the capture's MB, seconds of clock and processor, and the page's path."""
    tree = captured(samples)
    start = time.perf_counter(), time.process_time()
    path = keras_gates.report(tree, Path(folder, f"{samples}.html"))
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    return samples * SAMPLE / 1e6, *seconds, path


def opening_seconds(path):
    """Returns the median seconds until a page is open, in a browser that runs."""
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
    """Prints what pages cost."""
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
    report_prices()
