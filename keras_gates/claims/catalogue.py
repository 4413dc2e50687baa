"""The common claims about LSTM and GRU, each compared with a measurement.

`keras-gates compare --claims` runs them. A claim is measured by studies, whose finished
runs are kept, and judged by the ends of their intervals, not by the means. A
measurement that is too imprecise is evidence neither for a claim nor against it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import psutil

from keras_gates import vocabulary as v
from keras_gates.claims.claim_studies import Bench, Finding
from keras_gates.claims.learning import enough, forgetting, long_sequences
from keras_gates.claims.resources import memory, parameters, speed


class Claim(NamedTuple):
    """A claim in the words of the lesson, and the function that measures it."""

    words: str
    measure: Callable[[Bench], Finding]


CLAIMS = {
    "parameters": Claim("An LSTM has about 30 % more parameters.", parameters),
    "speed": Claim("A GRU trains 25 to 30 % faster.", speed),
    "memory": Claim("A GRU uses less memory.", memory),
    "forgetting": Claim("A basic RNN forgets after ten steps.", forgetting),
    "long": Claim("An LSTM is better on very long sequences.", long_sequences),
    "enough": Claim("A GRU is good enough in 80 % of cases.", enough),
}


def run(names: Iterable[str], out: Path, seeds: int, console) -> None:
    """Measures claims and writes the results, as Markdown and CSV.

    Args:
        names: Keys of `CLAIMS`.
        out: A folder. Studies that are kept in it are not trained again; memory is
            measured again each time.
        seeds: The number of seeds of each study, at least 2.
        console: The console that shows the progress.
    """
    import pandas

    if seeds < 2:
        raise ValueError(
            f"--seeds must be at least 2, for an interval over the seeds; got {seeds}."
        )
    out.mkdir(parents=True, exist_ok=True)
    backend = keras.backend.backend()
    bench = Bench(out / "runs" / backend, seeds, console.print)
    found = {name: CLAIMS[name].measure(bench) for name in names}
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
        f"{v.VERSION}, {platform.machine()} CPU with "
        f"{psutil.cpu_count()} cores, {seeds} seeds. The intervals are Student's 95 % "
        "intervals over the seeds."
    ]
    for name, finding in found.items():
        lines += ["", f'### "{CLAIMS[name].words}"', "", finding.measured, ""]
        lines += ["| | measured | 95 % interval | |", "|---|---:|---:|---|"]
        for row in finding.rows:
            interval = "-" if np.isnan(row.low) else f"{row.low:.3g} to {row.high:.3g}"
            lines.append(f"| {row.of} | {row.value:.3g} | {interval} | {row.verdict} |")
        lines += ["", f"**{finding.verdict}**"]
    return "\n".join(lines) + "\n"
