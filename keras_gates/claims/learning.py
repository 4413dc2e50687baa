"""The claims about the tasks that an LSTM, a GRU and a basic RNN can learn."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from keras_gates.claims.claim_studies import (
    BASIC,
    COUNTING,
    GRU,
    LENGTHS,
    LONGEST_WORD,
    LSTM,
    ORDERS,
    TASKS,
    Bench,
    Finding,
    Measurement,
    holds,
    judged,
    longest_word,
    lower_error,
)

KINDS = BASIC, GRU, LSTM
REMEMBERS, FORGETS, UNCLEAR = "remembers", "does not remember", "unclear"

ENOUGH = (
    "How much lower the validation loss of the LSTM is than that of the GRU, with the "
    "same number of units. A GRU is good enough if the LSTM was not shown to be "
    "better. Tasks with a loss that is not finite are not counted."
)


def forgetting(bench: Bench) -> Finding:
    """Trains a basic RNN to remember a symbol over an increasing number of steps."""
    rows = []
    for length in LENGTHS:
        study = bench.study(ORDERS[length])
        ago = length - (length * 2) // 10
        accuracies = study.runs.set_index(["architecture", "seed"])["val_accuracy"]
        for name in KINDS:
            of = f"{name}: at least {ago} steps"
            rows.append(judged(of, 100 * accuracies[name], _remembered, (0, 100)))
    return Finding(
        "Accuracy, in %, at reporting two symbols in their order. Each row states how "
        "many steps before the end the first symbol came. A guess gives 25 %, and "
        "knowing only the second symbol 50 %: a network remembers if its interval is "
        "above 50 %. The learning rate is tuned for each architecture. A basic RNN "
        "that does not remember is evidence for the claim only if another network "
        "learned the task in the same number of epochs.",
        rows,
        _forgotten(rows),
    )


def _remembered(low: float, high: float) -> str:
    if low > 50:
        return REMEMBERS
    return FORGETS if high < 50 else UNCLEAR


def _forgotten(rows: list[Measurement]) -> str:
    """Judges the claim at each length of more than ten steps."""
    answers = []
    # A row for each architecture, the basic one first, length by length.
    for place in range(len(KINDS), len(rows), len(KINDS)):
        basic, *others = (row.verdict for row in rows[place : place + len(KINDS)])
        if basic == REMEMBERS:
            answers.append("refuted")
        elif basic == FORGETS and REMEMBERS in others:
            answers.append("holds")
        else:
            answers.append("undecided")
    counts = collections.Counter(answers)
    counted = "; ".join(f"{answer}: {number}" for answer, number in counts.items())
    return f"At the lengths of more than ten steps: {counted}."


def long_sequences(bench: Bench) -> Finding:
    """Compares both architectures on long sequences."""
    rows = [
        lower_error(name, bench.study(name))
        for name in ("sine, 500 points", "adding, 200 steps", ORDERS[200])
    ]
    words = bench.study(COUNTING)
    predictions: Any = words.predictions
    reached = {
        name: np.array(
            [longest_word(run) for run in predictions.sel(architecture=name)]
        )
        for name in (LSTM, GRU)
    }
    further = reached[LSTM] - reached[GRU]
    rows.append(judged("counting: difference of the largest n", further, _better))
    return Finding(
        "The advantage of the LSTM: how much lower its validation loss is than that of "
        "the GRU. For a^n b^n, trained with n up to 30, the advantage is the "
        "difference of the largest n up to which every word is continued correctly "
        f"(mean over seeds: LSTM {reached[LSTM].mean():.0f}, GRU "
        f"{reached[GRU].mean():.0f}; the words end at n = {LONGEST_WORD}).",
        rows,
        f"{holds(rows, 'better')}.",
    )


def _better(low: float, high: float) -> str:
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"


def enough(bench: Bench) -> Finding:
    """Counts the tasks on which a GRU was not shown to be worse than an LSTM."""
    import scipy.stats

    rows = [lower_error(name, bench.study(name)) for name in TASKS]
    known = [row for row in rows if row.verdict != "not known"]
    if not known:
        return Finding(ENOUGH, rows, "Not known: no task has finite losses.")
    fine = sum(row.verdict != "better" for row in known)
    ends = scipy.stats.binomtest(fine, len(known)).proportion_ci(method="exact")
    return Finding(
        ENOUGH,
        rows,
        f"Good enough on {fine} of {len(known)} tasks, {100 * fine / len(known):.0f} "
        f"%, and for tasks like these {100 * ends.low:.0f} to {100 * ends.high:.0f} % "
        "(Clopper and Pearson's interval). With so few tasks, 80 % cannot be "
        "distinguished from much lower or higher shares. With more seeds, more "
        "differences would be shown.",
    )
