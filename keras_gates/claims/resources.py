"""The claims about the cost of an LSTM and a GRU: parameters, time and memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
import psutil

from keras_gates.claims.claim_studies import (
    BATCH_SIZE,
    COSTS,
    GRU,
    LSTM,
    SIZES,
    Bench,
    Finding,
    Measurement,
    holds,
    judged,
    tally,
)
from keras_gates.study.builders import LAYERS, builders_of
from keras_gates.study.prepared_tasks import PREPARED, PreparedTask
from keras_gates.study.study_data import checked_data
from keras_gates.study.training import Order, Settings, train

MEGABYTE = 2**20
AS_TAUGHT = "faster, as taught"


def parameters(bench: Bench) -> Finding:
    """Counts the parameters of layers and of whole models."""
    rows = []
    for inputs, units in ((1, 8), (1, 32), (64, 64), (128, 128), (300, 512)):
        counts = {}
        for name in (LSTM, GRU):
            layer = LAYERS[name](units)
            layer.build((None, None, inputs))
            counts[name] = layer.count_params()
        rows.append(_more(f"layer: {inputs} inputs, {units} units", counts))
    for task, make in PREPARED.items():
        problem = make()
        data = checked_data(*problem.train, problem.test)
        builders = builders_of([LSTM, GRU], problem.recipe, data)
        counts = {name: build().count_params() for name, build in builders.items()}
        rows.append(_more(f"model: {task}", counts))
    values = [row.value for row in rows]
    return Finding(
        "How many more parameters the LSTM has than the GRU, in %, with the same "
        "number of units. These numbers are exact. With Keras's defaults, a layer with "
        "I inputs and H units has 4 H (I + H + 1) parameters as an LSTM and 3 H (I + H "
        "+ 2) as a GRU: always less than a third more.",
        rows,
        f"{holds(rows, 'about 30 %')}; from {min(values):.0f} to {max(values):.0f} %.",
    )


def _more(of: str, counts: dict[str, int]) -> Measurement:
    percent = 100 * (counts[LSTM] / counts[GRU] - 1)
    verdict = "about 30 %" if 25 <= percent <= 35 else "less"
    return Measurement(of, percent, np.nan, np.nan, verdict)


def speed(bench: Bench) -> Finding:
    """Times the training and the inference of both architectures."""
    rows = []
    for name in COSTS:
        study = bench.study(name)
        for words, column in (
            ("training", "epoch_seconds"),
            ("inference", "inference_seconds"),
        ):
            runs = study.runs.set_index(["architecture", "seed"])[column]
            saved = 100 * (1 - runs[GRU] / runs[LSTM])
            rows.append(judged(name.replace("cost", words), saved, _faster))
    return Finding(
        "How much less time the GRU takes, in % of the time of the LSTM, with the same "
        "number of units: for an epoch of training without compilation, and for a "
        f"batch of inference. A batch has {BATCH_SIZE} samples. The runs of both "
        "alternate.",
        rows,
        f"{holds(rows[::2], AS_TAUGHT)}. Inference: {tally(rows[1::2])}.",
    )


def _faster(low: float, high: float) -> str:
    if high < 0:
        return "slower"
    if low <= 0:
        return "no difference shown"
    if high < 25:
        return "faster, by less"
    if low > 30:
        return "faster, by more"
    # The bounds allow for some noise, but a noisy measurement must not confirm a claim.
    return AS_TAUGHT if low >= 20 and high <= 35 else "faster, unclear by how much"


def memory(bench: Bench) -> Finding:
    """Measures the memory that a process takes to build and train a model."""
    rows = []
    for size, make in list(SIZES.items())[1:]:
        bench.show(f"memory, each run in a new process: {size}")
        orders, settings = _orders(make(), range(bench.seeds))
        new_processes = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
        )
        with new_processes as pool:
            taken = list(pool.map(_memory_taken, orders, [settings] * len(orders)))
        by_name = {
            name: np.array(
                [
                    megabytes
                    for order, megabytes in zip(orders, taken, strict=True)
                    if order.architecture == name
                ]
            )
            for name in (LSTM, GRU)
        }
        rows.append(judged(size, by_name[LSTM] - by_name[GRU], _less))
    return Finding(
        "How much lower the peak memory of a process is with a GRU than with an LSTM, "
        "in MiB, with the same number of units. The memory that the process held "
        "before the model was built is subtracted. Each run has a new process. "
        "Compilation and validation are included.",
        rows,
        f"{holds(rows, 'less')}.",
    )


def _orders(
    problem: PreparedTask, seeds: Iterable[int]
) -> tuple[list[Order], Settings]:
    data = checked_data(*problem.train, problem.test)
    builders = builders_of([LSTM, GRU], problem.recipe, data)
    settings = Settings(data, problem.epochs, BATCH_SIZE)
    return [
        Order(name, seed, None, build)
        for seed in seeds
        for name, build in builders.items()
    ], settings


def _memory_taken(order: Order, settings: Settings) -> float:
    keras.ops.zeros(1)  # Starts the backend, whose memory is not counted.
    before = psutil.Process().memory_info().rss
    return (train(order, settings).peak_memory - before) / MEGABYTE


def _less(low: float, high: float) -> str:
    if low > 0:
        return "less"
    return "more" if high < 0 else "no difference shown"
