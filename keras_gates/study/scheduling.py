"""Carries out the runs of a study, here or elsewhere, and shows the progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from keras_gates.study.run_folder import StudyFolder
from keras_gates.study.training import TUNING_SEED, Order, Run, Settings, train


def conduct(
    orders: Iterable[Order],
    settings: Settings,
    *,
    n_jobs: int | None,
    ledger: StudyFolder | None,
    progress: Progress,
) -> list[Run]:
    """Carries out the runs that are not finished yet, and returns all in their order.

    Args:
        orders: The runs to train. They start in this order, so architectures that
            alternate here also alternate on the machine.
        settings: The settings that all runs share.
        n_jobs: The number of runs at the same time, as joblib takes it.
        ledger: Saves each run as it ends, and holds those that were finished before.
        progress: Is updated with each run that ended.

    Raises:
        RuntimeError: If a worker died.
    """
    import joblib

    orders = list(orders)
    runs: dict[int, Run] = {}
    for place, order in enumerate(orders):
        found = ledger.read(order) if ledger else None
        if found is not None:
            runs[place] = found
            progress.ended(found, before=True)
    left = [place for place in range(len(orders)) if place not in runs]
    workers = joblib.Parallel(
        n_jobs=n_jobs,
        return_as="generator_unordered",
        # Runs are long, so each is a batch of its own. PyTorch needs writable data.
        batch_size=1,
        mmap_mode="c",
    )
    work = joblib.delayed(_numbered)
    ended = workers(work(place, orders[place], settings) for place in left)
    with _deaths_in_words(ledger, progress):
        for place, run in ended:
            if ledger:
                ledger.write(orders[place], run)
            runs[place] = run
            progress.ended(run)
    return [runs[place] for place in range(len(orders))]


def _numbered(place: int, order: Order, settings: Settings) -> tuple[int, Run]:
    return place, train(order, settings)


@contextlib.contextmanager
def _deaths_in_words(ledger: StudyFolder | None, progress: Progress) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # An error of Dask, which is not imported here.
        killed = type(error).__name__ == "KilledWorker"
        if not (killed or isinstance(error, BrokenProcessPool)):
            raise
        kept = (
            "They are kept: call `compare` again with the same `directory` to resume."
            if ledger
            else "They are lost; with `directory=...` they would have been kept."
        )
        raise RuntimeError(
            "A worker process died, possibly because it ran out of memory, when "
            f"{progress.done} of {progress.total} runs had ended. {kept} A smaller "
            "`n_jobs` needs less memory."
        ) from error


class Progress:
    """Shows finished runs: a live table on a terminal, plain lines in a log.

    Args:
        names: The architectures.
        total: The number of all runs.
        shown: Whether to show anything.
    """

    def __init__(self, names: Iterable[str], total: int, shown: bool):
        from rich.console import Console

        self.total, self.done = total, 0
        self._runs: dict[str, list[Run]] = {name: [] for name in names}
        self._console = Console(markup=False, highlight=False, soft_wrap=True)
        self._shown = shown
        self._live: Any = None

    def __enter__(self) -> Progress:
        if self._shown and self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
            self._live.update(self._table(), refresh=True)
        return self

    def __exit__(self, *_):
        if self._live is not None:
            self._live.stop()

    def ended(self, run: Run, before: bool = False) -> None:
        """Counts and shows a run that ended, now or in an earlier call."""
        self.done += 1
        self._runs[run.architecture].append(run)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif self._shown:
            took = "finished before" if before else f"{sum(run.seconds):.3g} s"
            loss = run.history.get("val_loss", [np.nan])[-1]
            what = "tuning" if run.seed == TUNING_SEED else f"seed {run.seed}"
            self._console.print(
                f"{self.done} of {self.total} runs: {run.architecture}, {what}, "
                f"learning rate {run.learning_rate:.3g}: val_loss {loss:.4g}, {took}"
            )

    def _table(self):
        from rich.table import Table
        from rich.text import Text

        title = f"{self.done} of {self.total} runs"
        table = Table("architecture", title=title, title_justify="left")
        for heading in ("runs", "last val_loss", "mean val_loss", "training, s"):
            table.add_column(heading, justify="right")
        for name, runs in self._runs.items():
            losses = [
                run.history.get("val_loss", [np.nan])[-1]
                for run in runs
                if run.seed != TUNING_SEED
            ]
            seconds = sum(sum(run.seconds) for run in runs)
            ends = (losses[-1], np.mean(losses)) if losses else ()
            cells = [f"{value:.4g}" for value in ends] or ["", ""]
            # A name may look like markup.
            table.add_row(Text(name), str(len(runs)), *cells, f"{seconds:.3g}")
        return table
