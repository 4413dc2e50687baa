"""A study as text: for a terminal, a log or Markdown."""

from __future__ import annotations

import io
import itertools
import math
from typing import TYPE_CHECKING, Protocol

from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.study.differences import Difference, interval_text
from keras_gates.study.rule import rule_of_thumb

if TYPE_CHECKING:
    import pandas
    import xarray

PAGE_WIDTH = 80
"""The number of columns of a printed study."""


class Printable(Protocol):
    """The part of a `Study` that is needed to print it."""

    @property
    def runs(self) -> pandas.DataFrame:
        """A row for each run."""

    @property
    def history(self) -> xarray.Dataset:
        """The metrics of each epoch."""

    @property
    def trials(self) -> pandas.DataFrame | None:
        """The runs that chose the learning rates."""

    def difference(self, first: str, second: str, metric: str) -> Difference:
        """Returns the difference of two architectures, taken within pairs."""


def render(
    study: Printable,
    summary: pandas.DataFrame,
    metric: str,
    markdown: bool = False,
) -> str:
    """Returns the study as plain text, 80 columns wide unless its numbers need more.

    Args:
        study: The study.
        summary: A row for each architecture, as `Study.summary` returns it.
        metric: The metric that is summarised.
        markdown: Whether to return a Markdown table.
    """
    from rich import box, console, measure, table

    # Only ASCII, for logs and terminals whose encoding has no box characters.
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
    for row in summary.itertuples():
        grid.add_row(
            row.Index,
            f"{row.parameters:,}",
            _seconds_text(row.first_epoch_seconds),
            _seconds_text(row.epoch_seconds),
            f"{row.mean:.4g}",
            "-" if math.isnan(row.low) else interval_text(row.low, row.high),
        )
    stream = io.StringIO()
    page = console.Console(
        file=stream, width=200, color_system=None, markup=False, emoji=False
    )
    # Long names are folded to save width. Numbers are not, even if they need more.
    narrowest = measure.Measurement.get(page, page.options, grid).minimum
    width = max(PAGE_WIDTH, narrowest)
    page.print(grid, width=page.width if markdown else width)
    rows = [line.rstrip() for line in stream.getvalue().splitlines()]
    notes = _notes(study, metric)
    if markdown:
        notes = _as_bullets(notes)
    return "\n".join([title(study), "", *filter(None, rows), *notes])


def title(study: Printable) -> str:
    """Returns the size of the study in words."""
    return ", ".join(
        f"{size} {dim}{'' if size == 1 else 's'}"
        for dim, size in study.history.sizes.items()
    )


def _notes(study: Printable, metric: str) -> list[str]:
    """Returns the lines under the table: differences, rates, runs that diverged."""
    notes = []
    if study.history.sizes["seed"] == 1:
        notes += ["", "One seed: no interval, and no difference can be shown."]
    elif len(_names(study)) > 1:
        notes += ["", f"Differences in {metric}, paired by seed, with 95 % intervals:"]
        for pair in itertools.combinations(_names(study), 2):
            difference = study.difference(*pair, metric)
            notes += [f"  {difference}", *_wanted_seeds(difference)]
        notes += _rule_and_measurement(study, metric)
    notes += _sizes(study)
    if study.trials is not None:
        rates = study.runs.groupby("architecture", sort=False)["learning_rate"].first()
        chosen = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
        notes += ["", f"Learning rates, chosen by validation loss: {chosen}."]
    diverged = study.runs[study.runs["diverged"]]
    if len(diverged):
        notes += ["", "Diverged (a loss was NaN or infinite), but included above:"]
        for run in diverged.itertuples():
            notes.append(f"  {run.architecture}, seed {run.seed}")
    return notes


def _as_bullets(notes: list[str]) -> list[str]:
    """Returns the notes with a bullet for each line that is indented."""
    lines, before = [], ""
    for note in notes:
        if note.startswith("    "):
            lines.append(note.removeprefix("  "))
        elif note.startswith("  "):
            lines += [] if before.startswith("  ") else [""]
            lines.append(note.replace("  ", "- ", 1))
        else:
            lines.append(note)
        before = note
    return lines


def _wanted_seeds(difference: Difference) -> list[str]:
    """Returns the number of seeds needed to show a difference that was not shown."""
    if difference.significant or not abs(difference.mean) > 0:  # Zero, or not known.
        return []
    seeds = difference.seeds_needed(difference.mean)
    size = f"{abs(difference.mean):.3g}"
    return [f"    About {seeds:,} seeds would show a difference of {size}."]


def _rule_and_measurement(study: Printable, metric: str) -> list[str]:
    """Compares the rule of thumb with the measurement, if the rule applies."""
    about = study.history.attrs
    names = LSTM.name, GRU.name
    if "timesteps" not in about or not set(names) <= set(_names(study)):
        return []
    advice = rule_of_thumb(
        timesteps=about["timesteps"],
        samples=about["samples"],
        priority="speed" if metric.endswith("seconds") else "accuracy",
    )
    difference = study.difference(*names, metric)
    better = difference.better
    if math.isnan(difference.mean):
        outcome = "the measurement is not known"
    elif better is None:
        outcome = "the measurement shows no difference"
    elif better == advice.architecture:
        outcome = "the measurement agrees"
    else:
        outcome = f"the measurement disagrees: {better} is better"
    return ["", f"Rule of thumb (folklore): {advice.architecture}; {outcome}."]


def _sizes(study: Printable) -> list[str]:
    """Returns the units of each architecture, and how much the parameters differ."""
    if "units" not in study.history.coords:
        return []
    units = study.history["units"].to_series()
    parameters = study.runs.groupby("architecture", sort=False)["parameters"].first()
    (first, wanted), *others = parameters.items()
    parts = [f"{first} {units[first]}"]
    for name, number in others:
        parts.append(f"{name} {units[name]} ({number / wanted - 1:+.1%} parameters)")
    return ["", f"Units: {', '.join(parts)}."]


def _seconds_text(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:,.0f}"


def _names(study: Printable) -> list[str]:
    return study.history["architecture"].to_numpy().tolist()
