"""What is taught of what an LSTM, a GRU and a basic RNN can learn."""

import numpy as np

from keras_gates.evidence import (
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
    holds,
    judged,
    longest_word,
    lower_error,
)

FORGOTTEN = "more than guessing", "no memory shown"


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
    return Finding(
        "Accuracy in % at telling which of two symbols came first, and how long before "
        "the end the first of them was. Guessing gives 25 %, and 50 % is what knowing "
        "only the second symbol gives: to remember is to be above that. Learning rates "
        "tuned for each. Where nothing remembers, twenty epochs are too few for all.",
        rows,
        f"{holds(basic[1:], *FORGOTTEN)}, for the basic RNN over more than ten steps.",
    )


def _remembered(low: float, high: float) -> str:
    if low > 50:
        return "remembers"
    return FORGOTTEN[0] if low > 25 else FORGOTTEN[1]


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
        "The LSTM's advantage: how much lower its validation loss is than the GRU's; "
        "and for a^n b^n, learned up to n = 30, up to which larger n every word "
        f"is right (mean over seeds: LSTM {reached[LSTM].mean():.0f}, GRU "
        f"{reached[GRU].mean():.0f}, of at most {LONGEST_WORD}).",
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
    fine = sum(row.verdict != "better" for row in rows)
    ends = scipy.stats.binomtest(fine, len(rows)).proportion_ci(method="exact")
    return Finding(
        "How much lower the LSTM's validation loss is than the GRU's, with as many "
        "units. A GRU is good enough where the LSTM was not shown to be better.",
        rows,
        f"Good enough on {fine} of {len(rows)} tasks: {100 * fine / len(rows):.0f} %, "
        f"and for tasks like these {100 * ends.low:.0f} to {100 * ends.high:.0f} % "
        "(Clopper and Pearson's interval). So few tasks cannot tell 80 % from much "
        "less or more; and with more seeds, more differences would show.",
    )
