"""What a study found: its runs, its differences with intervals, its printed table."""

import dataclasses
import io
import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates import stats
from keras_gates.training import Run

if TYPE_CHECKING:
    import pandas
    import xarray

PAGE_WIDTH = 80
"""Columns of a terminal that a printed study keeps to."""

_AUTOMATIC_NUMBER = re.compile(r"_\d+(?=_|$)")


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one architecture is from another, taken within pairs of equal seed.

    Attributes:
        a: The first architecture.
        b: The second one, which is subtracted.
        metric: What was compared.
        mean: Mean of `a - b` over the seeds, in the units of the metric.
        low: Lower end of the 95 % interval of that mean.
        high: Its upper end. All three are NaN if a run has no finite value.
        seeds: How many pairs.
    """

    a: str
    b: str
    metric: str
    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return f"{self.a} - {self.b}: not known, for a value is not finite"
        if self.low <= 0 <= self.high:
            verdict = "no difference shown"
        else:
            verdict = f"{self.a} is {'lower' if self.mean < 0 else 'higher'}"
        interval = _interval_text(self.low, self.high)
        return f"{self.a} - {self.b}: {self.mean:.3g} ({interval}): {verdict}"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Study:
    """What `compare` measured. Printing it shows a table.

    The intervals are those of Student's t distribution, at 95 %, over the seeds. They
    say what another seed might bring, on this data with this recipe, and not what other
    data would. Each stands on its own: among many, some miss by chance.

    Attributes:
        runs: A row for each architecture and seed, with the columns `architecture`,
            `seed`, `parameters`, `first_epoch_seconds` (compilation included),
            `epoch_seconds` (mean of the later epochs; NaN if there are none), every
            metric at the last epoch (`loss`, `val_loss`, ...) and `diverged` (a loss
            was NaN or infinite).
        history: Every metric, and `seconds`, with the dimensions `architecture`,
            `seed` and `epoch` (from 1 on). The seconds are those of training alone,
            validation not included.
    """

    runs: "pandas.DataFrame"
    history: "xarray.Dataset"

    def difference(self, a: str, b: str, metric: str = "val_loss") -> Difference:
        """Returns the mean difference `a - b` with its 95 % interval.

        Args:
            a: Name of an architecture.
            b: Name of the one to subtract.
            metric: A numeric column of `runs`, among them `epoch_seconds` and
                `parameters`.

        Returns:
            A `Difference`. Where its interval holds zero, no difference was shown.

        Raises:
            ValueError: There is no such architecture or metric, or only one seed.
        """
        values = self._values(metric)
        for argument, name in (("a", a), ("b", b)):
            _check_known(argument, name, "architectures", self._names())
        self._check_interval()
        pairs = values.sel(architecture=a) - values.sel(architecture=b)
        mean, low, high = (float(end) for end in stats.mean_interval(pairs, "seed"))
        return Difference(a, b, metric, mean, low, high, pairs.size)

    def summary(self, metric: str = "val_loss") -> "pandas.DataFrame":
        """Returns a row for each architecture, its means taken over the seeds.

        Args:
            metric: A numeric column of `runs`.

        Returns:
            A table indexed by architecture: `parameters`, `epoch_seconds`,
            `first_epoch_seconds`, then `mean`, `low` and `high` of the metric with its
            95 % interval (NaN if a run has no finite value), and `diverged`, a count.

        Raises:
            ValueError: There is no such metric, or only one seed.
        """
        values = self._values(metric)
        self._check_interval()
        return self._table(values)

    def __repr__(self) -> str:
        return f"<Study: {_title(self)}>"

    def __str__(self) -> str:
        return _render(self)

    def _names(self) -> list[str]:
        return self.history["architecture"].to_numpy().tolist()

    def _values(self, metric: str) -> "xarray.DataArray":
        """Returns a metric of the runs, `(architecture, seed)`, NaN if not finite."""
        labels = ["architecture", "seed"]
        known = [name for name in self.runs if name not in (*labels, "diverged")]
        _check_known("metric", metric, "metrics", known)
        values = self.runs.set_index(labels)[metric].astype(float).to_xarray()
        return values.where(np.isfinite(values))

    def _table(self, values: "xarray.DataArray") -> "pandas.DataFrame":
        """Returns the summary; one seed leaves `low` and `high` at NaN."""
        groups = self.runs.groupby("architecture", sort=False)
        costs = ["parameters", "epoch_seconds", "first_epoch_seconds"]
        table = groups[costs].mean().astype({"parameters": int})
        ends = stats.mean_interval(values, "seed")
        for name, end in zip(("mean", "low", "high"), ends, strict=True):
            table[name] = end.to_series()
        table["diverged"] = groups["diverged"].sum()
        return table

    def _check_interval(self) -> None:
        if self.history.sizes["seed"] < 2:
            raise ValueError(
                "An interval over seeds needs at least two seeds; this study has one. "
                "Call `compare` with `seeds=5`, say; `study.runs` holds the one run."
            )


def gather(runs: list[Run], batch_size: int) -> Study:
    """Gathers the runs into one table and one labelled data set."""
    import pandas
    import xarray

    histories = [
        {**history, "seconds": run.seconds}
        for run, history in zip(runs, _without_numbers(runs), strict=True)
    ]
    coordinates = {
        "architecture": list(dict.fromkeys(run.architecture for run in runs)),
        "seed": list(dict.fromkeys(run.seed for run in runs)),
        "epoch": np.arange(1, max(len(run.seconds) for run in runs) + 1),
    }
    shape = tuple(len(values) for values in coordinates.values())
    metrics = dict.fromkeys(itertools.chain.from_iterable(histories))
    variables = {name: np.full(shape, np.nan) for name in metrics}
    for run, history in zip(runs, histories, strict=True):
        place = (
            coordinates["architecture"].index(run.architecture),
            coordinates["seed"].index(run.seed),
        )
        for name, values in history.items():
            variables[name][place][: len(values)] = values
    table = [_row(run, history) for run, history in zip(runs, histories, strict=True)]
    frame = pandas.DataFrame(table)
    frame["diverged"] = frame.pop("diverged")
    return Study(
        runs=frame,
        history=xarray.Dataset(
            {
                name: (tuple(coordinates), values, _attributes(name))
                for name, values in variables.items()
            },
            coords=coordinates,
            attrs={"backend": keras.backend.backend(), "batch_size": batch_size},
        ),
    )


def _row(run: Run, history: dict[str, list[float]]) -> dict[str, Any]:
    """Returns a run as a row of `Study.runs`."""
    later = run.seconds[1:]
    losses = [history.get(name, []) for name in ("loss", "val_loss")]
    return {
        "architecture": run.architecture,
        "seed": run.seed,
        "parameters": run.parameters,
        "first_epoch_seconds": run.seconds[0],
        "epoch_seconds": float(np.mean(later)) if later else math.nan,
        **{name: history[name][-1] for name in history if name != "seconds"},
        "diverged": not all(np.isfinite(values).all() for values in losses),
    }


def _attributes(metric: str) -> dict[str, str]:
    """Returns what an axis of this variable should say."""
    if metric == "seconds":
        return {"long_name": "training time of an epoch", "units": "s"}
    part = "validation" if metric.startswith("val_") else "training"
    return {"long_name": f"{part} {metric.removeprefix('val_').replace('_', ' ')}"}


def _without_numbers(runs: list[Run]) -> list[dict[str, list[float]]]:
    """Returns the histories under names that are the same for every run.

    Keras counts the objects that it names itself, across models: the metric `AUC()` is
    "auc" in the first model that has one, "auc_1" in the second. A name that differs
    between runs in such numbers only is numbered anew within its run.
    """
    stems = [
        tuple(_AUTOMATIC_NUMBER.sub("", name) for name in run.history) for run in runs
    ]
    alike = {}
    for run, stem in zip(runs, stems, strict=True):
        alike.setdefault(stem, []).append(tuple(run.history))
    settled = {}
    for stem, names in alike.items():
        settled[stem] = []
        for part, versions in zip(stem, zip(*names, strict=True), strict=True):
            name = versions[0] if len(set(versions)) == 1 else part
            copies = itertools.count(1)
            while name in settled[stem]:
                name = f"{part}_{next(copies)}"
            settled[stem].append(name)
    return [
        dict(zip(settled[stem], run.history.values(), strict=True))
        for run, stem in zip(runs, stems, strict=True)
    ]


def _check_known(argument: str, name: Any, what: str, known: list[str]) -> None:
    if name not in known:
        raise ValueError(
            f"`{argument}` must be one of the {what} of this study, "
            f"{', '.join(map(repr, known))}; got {name!r}."
        )


def _render(study: Study) -> str:
    """Returns the study as plain text, 80 columns wide where its numbers allow."""
    from rich import box, console, measure, table

    metric = "val_loss"
    # ASCII alone, for logs and terminals whose encoding has no lines to draw.
    lines = box.Box("    \n    \n -- \n" + "    \n" * 5, ascii=True)
    grid = table.Table(box=lines, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    grid.add_column("architecture", overflow="fold", min_width=len("architecture"))
    for heading in (
        "parameters",
        "first\nepoch, s",
        "later\nepochs, s",
        metric,
        "95 % interval\nover seeds",
    ):
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in study._table(study._values(metric)).itertuples():
        grid.add_row(
            row.Index,
            f"{row.parameters:,}",
            _seconds_text(row.first_epoch_seconds),
            _seconds_text(row.epoch_seconds),
            f"{row.mean:.4g}",
            "-" if math.isnan(row.low) else _interval_text(row.low, row.high),
        )
    page = console.Console(
        file=io.StringIO(), width=200, color_system=None, markup=False, emoji=False
    )
    # Names are folded to make room. Numbers never are, should even 80 be too few.
    narrowest = measure.Measurement.get(page, page.options, grid).minimum
    page.print(grid, width=max(PAGE_WIDTH, narrowest))
    rows = [line.rstrip() for line in page.file.getvalue().splitlines()]
    return "\n".join([_title(study), "", *filter(None, rows), *_notes(study)])


def _title(study: Study) -> str:
    """Returns the size of the study in words."""
    return ", ".join(
        f"{size} {dim}{'' if size == 1 else 's'}"
        for dim, size in study.history.sizes.items()
    )


def _notes(study: Study) -> list[str]:
    """Returns the lines under the table: differences, and runs that diverged."""
    notes = []
    if study.history.sizes["seed"] == 1:
        notes += ["", "One seed: no interval, and no difference can be shown."]
    elif len(study._names()) > 1:
        notes += ["", "Differences in val_loss, paired by seed, with 95 % intervals:"]
        for pair in itertools.combinations(study._names(), 2):
            notes.append(f"  {study.difference(*pair)}")
    diverged = study.runs[study.runs["diverged"]]
    if len(diverged):
        notes += ["", "Diverged (a loss was NaN or infinite), and kept in the figures:"]
        for run in diverged.itertuples():
            notes.append(f"  {run.architecture}, seed {run.seed}")
    return notes


def _interval_text(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def _seconds_text(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:,.0f}"
