"""The result of a study: its runs, its differences with intervals, and its table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import stats
from keras_gates.checks import one_of, real_number
from keras_gates.models.shown_text import ShownAsText
from keras_gates.study.differences import Difference, higher_is_better, paired
from keras_gates.study.text_table import render, title

if TYPE_CHECKING:
    import pandas
    import xarray


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Study(ShownAsText):
    """The result of `compare`. Printing it shows a table.

    The intervals are those of Student's t distribution, at 95 %, over the seeds. They
    describe the variation between seeds, on these data with this recipe, and not the
    variation between data sets. Each interval is computed separately: among many, some
    miss the true value by chance.

    Attributes:
        runs: A row for each architecture and seed, with the columns `architecture`,
            `seed`, `learning_rate`, `parameters`, `first_epoch_seconds` (compilation
            included), `epoch_seconds` (mean of the later epochs; NaN if there are
            none), `inference_seconds` (of one sequence in a batch, after compilation),
            `peak_memory` (the peak memory of the process during the run, in bytes),
            `best_epoch` (of the lowest `val_loss`), every metric at the last epoch
            (`loss`, `val_loss`, ...) and `diverged` (a loss was NaN or infinite).
        history: Every metric, and `seconds`, with the dimensions `architecture`,
            `seed` and `epoch` (from 1 on). The seconds are those of training alone,
            validation not included; `elapsed` adds them up. The coordinate `updates`
            counts batches; `units` holds the units of each architecture of a recipe.
        trials: The runs that chose the learning rates, as in `runs`, or `None`.
        predictions: The predictions for the validation inputs, `(architecture, seed,
            sample, ...)`, if they were requested.
        gates: Maps `(architecture, seed)` to the records of its `GateRecorder`.
    """

    runs: pandas.DataFrame
    history: xarray.Dataset
    trials: pandas.DataFrame | None = None
    predictions: xarray.DataArray | None = None
    gates: dict[tuple[str, int], xarray.DataTree] = dataclasses.field(
        default_factory=dict
    )

    def difference(
        self, a: str, b: str, metric: str = "val_loss", *, mode: str = "auto"
    ) -> Difference:
        """Returns the mean difference `a - b` with its 95 % interval.

        Args:
            a: Name of an architecture.
            b: Name of the architecture to subtract.
            metric: A numeric column of `runs`, such as `val_loss`, `epoch_seconds` or
                `parameters`.
            mode: "min" if lower is better, "max" if higher is, "auto" to decide by the
                name of the metric, as Keras's callbacks do.

        Returns:
            A `Difference`. If its interval contains zero, no difference was shown.

        Raises:
            ValueError: There is no such architecture, metric or mode, or only one seed.
        """
        one_of("mode", mode, ("auto", "min", "max"))
        values = self._values(metric)
        for argument, name in (("a", a), ("b", b)):
            _check_known(argument, name, "architectures", self._names())
        self._check_interval()
        higher = higher_is_better(metric) if mode == "auto" else mode == "max"
        return paired(a, b, metric, values, higher)

    def time_to(self, target: float, metric: str = "val_loss") -> pandas.DataFrame:
        """Returns how long each run took to reach a target.

        Args:
            target: A value of the metric: to be reached from above, or from below if
                higher is better.
            metric: A variable of `history`.

        Returns:
            A table indexed by architecture and seed with the columns `epochs`,
            `updates` and `seconds` (of training), NaN where it was not reached.

        Raises:
            ValueError: There is no such metric.
        """
        import pandas

        target = real_number("target", target, infinite=True)
        known = [str(name) for name in self.history.data_vars]
        _check_known("metric", metric, "metrics", known)
        values = self.history[metric]
        higher = higher_is_better(metric)
        reached = values >= target if higher else values <= target
        first = reached.argmax("epoch")
        table = {
            "epochs": self.history["epoch"][first],
            "updates": self.history["updates"][first],
            "seconds": self.history["elapsed"].isel(epoch=first),
        }
        found = reached.any("epoch")
        columns = [
            column.drop_vars(("epoch", "updates"), errors="ignore")
            .where(found)
            .to_series()
            .rename(name)
            for name, column in table.items()
        ]
        return pandas.concat(columns, axis=1)

    def to_string(self, metric: str = "val_loss") -> str:
        """Returns the table as text, for a terminal or a log.

        Args:
            metric: A numeric column of `runs`.

        Raises:
            ValueError: There is no such metric.
        """
        return render(self, self._table(self._values(metric)), metric)

    def to_markdown(self, metric: str = "val_loss") -> str:
        """Returns the table as Markdown, for a README or an issue.

        Args:
            metric: A numeric column of `runs`.

        Raises:
            ValueError: There is no such metric.
        """
        return render(self, self._table(self._values(metric)), metric, markdown=True)

    def summary(self, metric: str = "val_loss") -> pandas.DataFrame:
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
        return f"<Study: {title(self)}>"

    def __str__(self) -> str:
        return self.to_string()

    def _names(self) -> list[str]:
        return self.history["architecture"].to_numpy().tolist()

    def _values(self, metric: str) -> xarray.DataArray:
        """Returns a metric of the runs, `(architecture, seed)`, NaN if not finite."""
        labels = ["architecture", "seed"]
        known = [name for name in self.runs if name not in (*labels, "diverged")]
        _check_known("metric", metric, "metrics", known)
        values = self.runs.set_index(labels)[metric].astype(float).to_xarray()
        return values.where(np.isfinite(values))

    def _table(self, values: xarray.DataArray) -> pandas.DataFrame:
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
                "Call `compare` with more, such as `seeds=5`; `study.runs` holds its "
                "runs."
            )


def _check_known(argument: str, name: Any, what: str, known: list[str]) -> None:
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"`{argument}` must be one of the {what} of this study, "
            f"{', '.join(map(repr, known))}; got {name!r}."
        )
