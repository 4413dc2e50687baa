"""A study as text: for a terminal, a log or Markdown."""

import io
import itertools
import math
from typing import TYPE_CHECKING

from keras_gates.differences import interval_text

if TYPE_CHECKING:
    from keras_gates.study import Study

PAGE_WIDTH = 80
"""Columns of a terminal that a printed study keeps to."""


def render(study: "Study", metric: str = "val_loss", markdown: bool = False) -> str:
    """Returns the study as plain text, 80 columns wide where its numbers allow."""
    from rich import box, console, measure, table

    # ASCII alone, for logs and terminals whose encoding has no lines to draw.
    lines = box.Box("    \n    \n -- \n" + "    \n" * 5, ascii=True)
    grid = table.Table(box=lines, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    if markdown:
        grid = table.Table(box=box.MARKDOWN)
    grid.add_column("architecture", overflow="fold", min_width=len("architecture"))
    for heading in (
        "parameters",
        "first\nepoch, s",
        "later\nepochs, s",
        metric,
        "95 % interval\nover seeds",
    ):
        if markdown:
            heading = heading.replace("\n", " ")
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in study._table(study._values(metric)).itertuples():
        grid.add_row(
            row.Index,
            f"{row.parameters:,}",
            _seconds_text(row.first_epoch_seconds),
            _seconds_text(row.epoch_seconds),
            f"{row.mean:.4g}",
            "-" if math.isnan(row.low) else interval_text(row.low, row.high),
        )
    page = console.Console(
        file=io.StringIO(), width=200, color_system=None, markup=False, emoji=False
    )
    # Names are folded to make room. Numbers never are, should even 80 be too few.
    narrowest = measure.Measurement.get(page, page.options, grid).minimum
    width = max(PAGE_WIDTH, narrowest)
    page.print(grid, width=page.width if markdown else width)
    rows = [line.rstrip() for line in page.file.getvalue().splitlines()]
    return "\n".join([title(study), "", *filter(None, rows), *_notes(study, metric)])


def title(study: "Study") -> str:
    """Returns the size of the study in words."""
    return ", ".join(
        f"{size} {dim}{'' if size == 1 else 's'}"
        for dim, size in study.history.sizes.items()
    )


def _notes(study: "Study", metric: str) -> list[str]:
    """Returns the lines under the table: differences, rates, runs that diverged."""
    notes = []
    if study.history.sizes["seed"] == 1:
        notes += ["", "One seed: no interval, and no difference can be shown."]
    elif len(study._names()) > 1:
        notes += ["", f"Differences in {metric}, paired by seed, with 95 % intervals:"]
        for pair in itertools.combinations(study._names(), 2):
            notes.append(f"  {study.difference(*pair, metric)}")
    if study.trials is not None:
        rates = study.runs.groupby("architecture", sort=False)["learning_rate"].first()
        chosen = ", ".join(f"{rate:g} for {name}" for name, rate in rates.items())
        notes += ["", f"Learning rates, chosen by validation loss: {chosen}."]
    diverged = study.runs[study.runs["diverged"]]
    if len(diverged):
        notes += ["", "Diverged (a loss was NaN or infinite), and kept in the figures:"]
        for run in diverged.itertuples():
            notes.append(f"  {run.architecture}, seed {run.seed}")
    return notes


def _seconds_text(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:,.0f}"
