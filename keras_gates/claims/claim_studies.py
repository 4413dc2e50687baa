"""The studies by which claims are measured, and the form of a measurement."""

from __future__ import annotations

import collections
import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_gates import stats
from keras_gates.study.comparing import compare
from keras_gates.study.prepared_tasks import (
    PREPARED,
    PreparedTask,
    adding,
    anbn,
    sine,
    temporal_order,
)
from keras_gates.study.recipe import Recipe
from keras_gates.study.result import Study

LSTM, GRU, BASIC = "LSTM", "GRU", "SimpleRNN"
BATCH_SIZE = 64
LENGTHS = (12, 25, 50, 100, 200)
LONGEST_WORD = 200


class Question(NamedTuple):
    """A study that a claim needs.

    Attributes:
        make: Returns the task.
        architectures: Names of architectures.
        rates: Learning rates to try for each, or `None` for the optimizer's own.
        predict: Whether to keep the predictions for the test part.
    """

    make: Callable[[], PreparedTask]
    architectures: tuple[str, ...] = (LSTM, GRU)
    rates: tuple[float, ...] | None = (1e-2, 3e-3)
    predict: bool = False


def noise(batches: int, steps: int, features: int, units: int) -> PreparedTask:
    """Returns random numbers as data, since the cost does not depend on the values."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH_SIZE * batches, steps, features)).astype(np.float32)
    y = rng.normal(size=(len(x), 1)).astype(np.float32)
    return PreparedTask(
        "Random numbers",
        (x, y),
        (x[:BATCH_SIZE], y[:BATCH_SIZE]),
        "Only the cost is measured.",
        epochs=9,
        recipe=Recipe(units=units),
    )


SIZES = {
    "50 steps, 1 input, 32 units": functools.partial(noise, 40, 50, 1, 32),
    "100 steps, 32 inputs, 64 units": functools.partial(noise, 20, 100, 32, 64),
    "200 steps, 64 inputs, 128 units": functools.partial(noise, 10, 200, 64, 128),
}


COSTS = {f"cost: {size}": Question(make, rates=None) for size, make in SIZES.items()}
ORDERS = {length: f"temporal order of {length} symbols" for length in LENGTHS}
COUNTING = "counting"
TASKS = [
    *(name for name in PREPARED if name not in ("anbn", "temporal-order")),
    COUNTING,
    ORDERS[50],
]
"""A study for each task of `keras-gates compare`."""

QUESTIONS = {
    **COSTS,
    **{name: Question(make) for name, make in PREPARED.items() if name in TASKS},
    **{
        name: Question(functools.partial(temporal_order, length), (BASIC, GRU, LSTM))
        for length, name in ORDERS.items()
    },
    COUNTING: Question(
        functools.partial(anbn, LONGEST_WORD), rates=(3e-2, 1e-2), predict=True
    ),
    "sine, 500 points": Question(functools.partial(sine, 5000, 500)),
    "adding, 200 steps": Question(functools.partial(adding, 200)),
}


class Measurement(NamedTuple):
    """One measurement: a value with its 95 % interval, and its verdict.

    Attributes:
        of: The task or the size on which it was measured.
        value: The mean over the seeds.
        low: Lower end of its interval; NaN if the value is not random.
        high: Upper end.
        verdict: The verdict on the claim.
    """

    of: str
    value: float
    low: float
    high: float
    verdict: str


class Finding(NamedTuple):
    """The result for one claim.

    Attributes:
        measured: A description of the measured quantity and its unit.
        rows: The measurements.
        verdict: The verdict of all of them.
    """

    measured: str
    rows: list[Measurement]
    verdict: str


class Bench:
    """Runs the studies that claims need, each only once.

    Args:
        folder: The folder of finished runs, from which an interrupted study resumes.
        seeds: The number of seeds of each study.
        show: Is called with the name of each study before it starts.
    """

    def __init__(self, folder: Path, seeds: int, show: Callable[[str], None]):
        self.folder, self.seeds, self.show = folder, seeds, show
        self.study = functools.cache(self._study)

    def _study(self, name: str) -> Study:
        """Returns the study of one of `QUESTIONS`."""
        question = QUESTIONS[name]
        self.show(f"{name}: {', '.join(question.architectures)}")
        problem = question.make()
        return compare(
            question.architectures,
            *problem.train,
            validation_data=problem.test,
            recipe=problem.recipe,
            seeds=self.seeds,
            epochs=problem.epochs,
            batch_size=BATCH_SIZE,
            learning_rates=question.rates,
            keep_predictions=question.predict,
            directory=self.folder / re.sub(r"\W+", "-", name),
            verbose=1,
        )


def judged(
    of: str,
    values: Any,
    judge: Callable[[float, float], str],
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Measurement:
    """Returns the mean of values, one for each seed, with its interval and verdict.

    Args:
        of: The task or the size on which they were measured.
        values: The value of each seed.
        judge: Returns the verdict for the ends of an interval.
        bounds: The smallest and the largest possible value. The interval is cut there,
            which does not change how often it contains the true mean.
    """
    import xarray

    seeds = xarray.DataArray(np.asarray(values, float), dims="seed")
    mean, *ends = (float(end) for end in stats.mean_interval(seeds, "seed"))
    low, high = np.clip(ends, *bounds).tolist()
    verdict = "not known" if math.isnan(mean) else judge(low, high)
    return Measurement(of, mean, low, high, verdict)


def tally(rows: list[Measurement]) -> str:
    """Returns how often each verdict was reached, in words."""
    counts = collections.Counter(row.verdict for row in rows)
    return "; ".join(f"{verdict}: {number}" for verdict, number in counts.items())


def holds(rows: list[Measurement], *wanted: str) -> str:
    """Returns in words in how many rows a claim held, with a count of the verdicts."""
    held = sum(row.verdict in wanted for row in rows)
    if held in (0, len(rows)):
        answer = "Holds here" if held else "Not shown here"
    else:
        answer = f"Holds in {held} of {len(rows)}"
    return f"{answer} ({tally(rows)})"


def lower_error(name: str, study: Study) -> Measurement:
    """Compares the validation losses of the LSTM and the GRU, within pairs."""
    difference = study.difference(GRU, LSTM)
    means = study.summary()["mean"]
    of = f"{name}: LSTM {means[LSTM]:.3g}, GRU {means[GRU]:.3g}"
    verdict = {LSTM: "better", GRU: "worse", None: "no difference shown"}
    known = not math.isnan(difference.mean)
    return Measurement(
        of,
        difference.mean,
        difference.low,
        difference.high,
        verdict[difference.better] if known else "not known",
    )


def longest_word(scores: np.ndarray) -> int:
    """Returns the largest n up to which a model continues every a^n b^n correctly.

    Args:
        scores: The predictions for the test part of `prepared_tasks.anbn`, of shape
            `(word, time, 3)`: for each word, starting with n = 1, and each step, the
            scores of the boundary, `a` and `b`.
    """
    predicted = np.asarray(scores).argmax(-1)
    for n in range(1, len(predicted) + 1):
        # The first b determines the rest: n - 1 more of them, then the boundary.
        if predicted[n - 1, n + 1 : 2 * n + 1].tolist() != [2] * (n - 1) + [0]:
            return n - 1
    return len(predicted)
