"""What is taught about LSTM and GRU, each sentence held against a measurement.

Behind `keras-gates compare --claims`. A claim is measured by studies, whose finished
runs are kept, and judged by the ends of their intervals, not by a look at the means.
"""

import multiprocessing
import platform
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import psutil

import keras_gates
from keras_gates.data import checked_data
from keras_gates.evidence import (
    BASIC,
    BATCH_SIZE,
    COSTS,
    COUNTING,
    GRU,
    LENGTHS,
    LONGEST_WORD,
    LSTM,
    ORDERS,
    SIZES,
    TASKS,
    Bench,
    Finding,
    Row,
    judged,
    longest_word,
    lower_error,
    tally,
)
from keras_gates.problems import PROBLEMS, Problem
from keras_gates.recipe import LAYERS, builders_of
from keras_gates.training import Order, Settings, train

MEGABYTE = 2**20


class Claim(NamedTuple):
    """A sentence that is taught, and how to measure it."""

    words: str
    measure: Callable[["Bench"], Finding]


# Parameters.


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
    for task, make in PROBLEMS.items():
        problem = make()
        data = checked_data(*problem.train, problem.test)
        builders = builders_of([LSTM, GRU], problem.recipe, data)
        counts = {name: build().count_params() for name, build in builders.items()}
        rows.append(_more(f"model: {task}", counts))
    values = [row.value for row in rows]
    return Finding(
        "How many more parameters the LSTM has, in %, with as many units. No chance is "
        "in it. A layer with I inputs and H units has 4 H (I + H + 1) parameters as an "
        "LSTM and 3 H (I + H + 2) as a GRU, by Keras's defaults: never more than a "
        "third.",
        rows,
        f"{tally(rows)}: from {min(values):.0f} to {max(values):.0f} %.",
    )


def _more(of: str, counts: dict[str, int]) -> Row:
    percent = 100 * (counts[LSTM] / counts[GRU] - 1)
    verdict = "about 30 %" if 25 <= percent <= 35 else "less"
    return Row(of, percent, np.nan, np.nan, verdict)


# Speed and memory.


def speed(bench: Bench) -> Finding:
    """Times training and inference of both, with as many units and as many weights."""
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
        "How much less time the GRU takes, in % of the LSTM's, with as many units: an "
        "epoch of training without its compilation, and a batch of inference. Batches "
        f"of {BATCH_SIZE}, run in turns.",
        rows,
        f"Training: {tally(rows[::2])}. Inference: {tally(rows[1::2])}. It is a "
        "property of the kernels, and of the sizes, more than of the equations.",
    )


def _faster(low: float, high: float) -> str:
    if high < 0:
        return "slower"
    if low <= 0:
        return "no difference shown"
    if high < 25:
        return "faster, by less"
    return "faster, by more" if low > 30 else "compatible with 25 to 30 %"


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
        "How many MiB less the process of a GRU takes at most, with as many units, "
        "beyond what it held before the model was built. Each run in a new process; "
        "compilation and validation included.",
        rows,
        f"{tally(rows)}.",
    )


def _orders(problem: Problem, seeds: Iterable[int]) -> tuple[list[Order], Settings]:
    data = checked_data(*problem.train, problem.test)
    builders = builders_of([LSTM, GRU], problem.recipe, data)
    settings = Settings(data, problem.epochs, BATCH_SIZE)
    return [
        Order(name, seed, None, build)
        for seed in seeds
        for name, build in builders.items()
    ], settings


def _memory_taken(order: Order, settings: Settings) -> float:
    keras.ops.zeros(1)  # The backend itself has been started.
    before = psutil.Process().memory_info().rss
    return (train(order, settings).peak_memory - before) / MEGABYTE


def _less(low: float, high: float) -> str:
    if low > 0:
        return "less"
    return "more" if high < 0 else "no difference shown"


# Memory of the other kind.


def forgetting(bench: Bench) -> Finding:
    """Trains a basic RNN on one thing to remember, longer and longer ago."""
    rows = []
    for length in LENGTHS:
        study = bench.study(ORDERS[length])
        ago = length - (length * 2) // 10
        accuracies = study.runs.set_index(["architecture", "seed"])["val_accuracy"]
        for name in (BASIC, GRU, LSTM):
            of = f"{name}: at least {ago} steps"
            rows.append(judged(of, 100 * accuracies[name], _remembered))
    basic = [row for row in rows if row.of.startswith(BASIC)]
    longest = [row.of for row in basic if row.verdict == "remembers"][-1:]
    return Finding(
        "Accuracy in % at telling which of two symbols came first, and how long before "
        "the end the first of them was. Guessing gives 25 %, and 50 % is what knowing "
        "only the second symbol gives: to remember is to be above that. Learning rates "
        "tuned for each.",
        rows,
        f"The basic RNN over the five lengths: {tally(basic)}. The longest: "
        f"{longest[0].split(': ')[1] if longest else 'none'}.",
    )


def _remembered(low: float, high: float) -> str:
    if low > 50:
        return "remembers"
    return "more than guessing" if low > 25 else "no memory shown"


def long_sequences(bench: Bench) -> Finding:
    """Compares both where sequences are long."""
    rows = [
        lower_error(name, bench.study(name))
        for name in ("sine, 500 points", "adding, 200 steps", ORDERS[200])
    ]
    words = bench.study(COUNTING)
    reached = {
        name: np.array(
            [longest_word(run) for run in words.predictions.sel(architecture=name)]
        )
        for name in (LSTM, GRU)
    }
    further = reached[LSTM] - reached[GRU]
    rows.append(judged("counting, how much further n goes", further, _better))
    return Finding(
        "The LSTM's advantage: how much lower its validation loss is, in % of the "
        "GRU's; and for a^n b^n, learned up to n = 30, up to which larger n every word "
        f"is right (mean over seeds: LSTM {reached[LSTM].mean():.0f}, GRU "
        f"{reached[GRU].mean():.0f}, of at most {LONGEST_WORD}).",
        rows,
        f"{tally(rows)}.",
    )


def _better(low: float, high: float) -> str:
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"


# Altogether.


def enough(bench: Bench) -> Finding:
    """Counts the tasks on which a GRU was not shown to be worse than an LSTM."""
    import scipy.stats

    rows = [lower_error(name, bench.study(name)) for name in TASKS]
    fine = sum(row.verdict != "better" for row in rows)
    ends = scipy.stats.binomtest(fine, len(rows)).proportion_ci(method="exact")
    return Finding(
        "How much lower the LSTM's validation loss is, in % of the GRU's, with as many "
        "units. A GRU is good enough where the LSTM was not shown to be better.",
        rows,
        f"Good enough on {fine} of {len(rows)} tasks: {100 * fine / len(rows):.0f} %, "
        f"and for tasks like these {100 * ends.low:.0f} to {100 * ends.high:.0f} % "
        "(Clopper and Pearson's interval). So few tasks cannot tell 80 % from much "
        "less or more; and with more seeds, more differences would show.",
    )


CLAIMS = {
    "parameters": Claim("An LSTM has about 30 % more parameters.", parameters),
    "speed": Claim("A GRU trains 25 to 30 % faster.", speed),
    "memory": Claim("A GRU uses less memory.", memory),
    "forgetting": Claim("A basic RNN forgets after ten steps.", forgetting),
    "long": Claim("An LSTM is better on very long sequences.", long_sequences),
    "enough": Claim("A GRU is good enough in 80 % of cases.", enough),
}


def run(names: Iterable[str], out: Path, seeds: int, console) -> None:
    """Measures claims and writes what came of them, as Markdown and CSV.

    Args:
        names: Keys of `CLAIMS`.
        out: A folder. Runs that are kept in it are not trained again.
        seeds: Seeds of each study, at least 2.
        console: Where to tell how far it is.
    """
    import pandas

    if seeds < 2:
        raise ValueError(
            f"--seeds must be at least 2, for an interval over them; got {seeds}."
        )
    bench = Bench(out / "runs", seeds, console.print)
    found = {name: CLAIMS[name].measure(bench) for name in names}
    backend = keras.backend.backend()
    tables = {
        name: pandas.DataFrame(finding.rows).assign(claim=name, backend=backend)
        for name, finding in found.items()
    }
    page = _page(found, seeds)
    (out / f"claims-{backend}.md").write_text(page)
    pandas.concat(tables.values()).to_csv(out / f"claims-{backend}.csv", index=False)
    console.print(f"\n{page}\nWritten to {out}.")


def _page(found: dict[str, Finding], seeds: int) -> str:
    lines = [
        f"Backend {keras.backend.backend()}, Keras {keras.version()}, keras_gates "
        f"{keras_gates.__version__}, {platform.machine()} CPU with "
        f"{psutil.cpu_count()} cores, {seeds} seeds. Intervals are Student's, at 95 %, "
        "over the seeds."
    ]
    for name, finding in found.items():
        lines += ["", f'### "{CLAIMS[name].words}"', "", finding.measured, ""]
        lines += ["| | measured | 95 % interval | |", "|---|---:|---:|---|"]
        for row in finding.rows:
            interval = "-" if np.isnan(row.low) else f"{row.low:.3g} to {row.high:.3g}"
            lines.append(f"| {row.of} | {row.value:.3g} | {interval} | {row.verdict} |")
        lines += ["", f"**{finding.verdict}**"]
    return "\n".join(lines) + "\n"
