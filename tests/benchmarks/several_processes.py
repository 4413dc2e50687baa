"""Measures how much faster two processes write a capture than one, on two cores.

    KERAS_BACKEND=torch python tests/benchmarks/several_processes.py [batches] [turns]

A model of two layers runs on one thread in each process. One process and two processes
take turns; the median of the ratios of each pair is printed. The workers are started,
and compile a model, before the first turn: `joblib` keeps them for some minutes. The
stores are compared after each turn.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

# Libraries read these when they are loaded, here and in the workers.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    TF_NUM_INTRAOP_THREADS="1",
    TF_NUM_INTEROP_THREADS="1",
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    NPROC="1",
)
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console

import keras_gates

BATCH, STEPS, FEATURES, UNITS = 32, 200, 16, 64


def build():
    return keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            keras.layers.LSTM(UNITS, return_sequences=True, name="lstm"),
            keras.layers.GRU(UNITS, name="gru"),
            keras.layers.Dense(1),
        ]
    )


def seconds(model, x, store, n_jobs):
    start = time.perf_counter()
    keras_gates.capture(model, x, batch_size=BATCH, store=store, n_jobs=n_jobs)
    return time.perf_counter() - start


def files(store):
    found = [file for file in sorted(store.rglob("*")) if file.is_file()]
    return [(file.relative_to(store), file.read_bytes()) for file in found]


def main(batches, turns):
    console = Console(width=100)
    model = build()
    samples = batches * BATCH
    x = np.random.default_rng(0).normal(size=(samples, STEPS, FEATURES))
    x = x.astype("float32")
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n_jobs in (1, 2):
            seconds(model, x[: 4 * BATCH], folder / f"warm{n_jobs}", n_jobs)
        for turn in range(turns):
            stores = [folder / "one", folder / "two"]
            order = (1, 2) if turn % 2 == 0 else (2, 1)
            took = {n: seconds(model, x, stores[n - 1], n) for n in order}
            ratios.append(took[1] / took[2])
            same = files(stores[0]) == files(stores[1])
            console.print(
                f"one process {took[1]:.1f} s, two {took[2]:.1f} s: "
                f"{ratios[-1]:.2f} times as fast; the same files: {same}"
            )
            for store in stores:
                shutil.rmtree(store)
    console.print(
        f"{keras.backend.backend()}, {batches} batches of {BATCH}: two processes are "
        f"{statistics.median(ratios):.2f} times as fast as one (from "
        f"{min(ratios):.2f} to {max(ratios):.2f}, {turns} turns)"
    )


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(128, 7)[len(given) :])
