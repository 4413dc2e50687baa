"""The records of one recorder, in memory or in a store."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from keras_gates.backend import backend
from keras_gates.recording.step_series import Record, Step
from keras_gates.stores.paths import cannot_write
from keras_gates.stores.store import Store

if TYPE_CHECKING:
    import xarray


class Records:
    """The records of one recorder, in memory or in a store.

    Args:
        path: Path of a store, or `None` for memory.
        mode: "w-", "w" or "a", as for the recorder.
        max_bytes: The largest size of the traces in bytes, or `None`.
    """

    def __init__(self, path: Path | None, mode: str, max_bytes: float | None):
        self.statistics = Record("statistics")
        self.traces = Record("traces")
        self.gradients = Record("gradients")
        self._path = path
        self._mode = mode
        self._max_bytes = max_bytes
        self._store: Store | None = None
        self._resumes = self._was_opened = False

    def __getstate__(self):
        """Copies and pickles the records, without the open store."""
        records = {record.name: record.closed() for record in self._all()}
        return {**vars(self), **records, "_store": None}

    def open(self, describe: Callable[[], dict], room: int = 0) -> None:
        """Opens the store, if there is one, at the start of a `fit`.

        Args:
            describe: Returns the description of the store, which must match to continue
                one.
            room: The number of bytes of a step for which there must be space.
        """
        self._resumes = False
        if self._path is None or self._store is not None or not backend.writes():
            return
        begun = self._was_opened or bool(self._steps())
        if begun and not self._path.exists():
            raise FileNotFoundError(
                f"The store '{self._path}', which this recorder opened, no longer "
                "exists: it was moved or removed. Move it back, or make a new "
                "`GateRecorder`."
            )
        self._store = Store(self._path, describe(), "a" if begun else self._mode, room)
        for record in self._all():
            record.write_to(self._store)
        # A store of another recorder is resumed; the recorder's own is only extended.
        self._resumes = not begun and bool(self._steps())
        self._was_opened = True

    def close(self) -> None:
        """Closes the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def begin(self, epoch: int) -> tuple[int, int]:
        """Resumes the records at the first epoch of a `fit`.

        Args:
            epoch: The number of that epoch, as Keras counts.

        Returns:
            The offset of the epochs of this `fit`, and the number of batches so far.
        """
        last = max((step.epoch for step in self._steps()), default=0)
        if self._resumes:
            self._resume(epoch, last)
        # If `fit` is called again and starts from epoch 0, the numbering continues.
        offset = 0 if self._resumes else max(0, last - epoch)
        return offset, max((step.batch for step in self._steps()), default=0)

    def append(
        self,
        name: str,
        tree: xarray.DataTree,
        moment: tuple[int, int],
        before: bool = False,
    ) -> int:
        """Adds a step to a record.

        Args:
            name: "statistics", "traces" or "gradients".
            tree: The recorded tree.
            moment: The epoch, and the number of batches so far.
            before: Whether the step is before training.

        Returns:
            The label of the step.

        Raises:
            OSError: If the store cannot be written, before training.
        """
        record: Record = getattr(self, name)
        number = self._number(record, moment, before)
        if self._path is not None and self._store is None:
            # Another process writes the store, or it could not be written before.
            record.steps.append(Step(*moment, number))
            return number
        try:
            record.append(tree, *moment, number)
        except OSError as error:
            self.close()
            if before and self._path is not None:
                raise cannot_write(self._path, error) from None
            record.steps.append(Step(*moment, number))
            warnings.warn(
                f"The store '{self._path}' can no longer be written "
                f"({error.strerror}). Training continues. The store holds the steps "
                f"before epoch {moment[0]}, batch {moment[1]}, and no later ones.",
                stacklevel=2,
            )
        return number

    def _number(self, record: Record, moment: tuple[int, int], before: bool) -> int:
        """Returns the label of a new step, the same in all records at one moment."""
        first = -1 if before else 0
        last = max((step.number for step in self._steps()), default=first)
        others = [step for step in self._steps() if step not in record.steps[-1:]]
        return last if Step(*moment, last) in others else last + 1

    def check_size(
        self, step_bytes: int, epochs: int, record_freq, params: dict
    ) -> None:
        """Reports the size of the traces, and refuses to exceed the limit.

        Args:
            step_bytes: The bytes of the traces of one step.
            epochs: The number of epochs to come.
            record_freq: "epoch", or the number of batches between steps.
            params: The `params` that Keras passes to callbacks.
        """
        per_epoch = 1
        if record_freq != "epoch":
            per_epoch = math.ceil((params.get("steps") or 1) / record_freq)
        steps = max(1, len(self.traces.steps)) + epochs * per_epoch
        total = steps * step_bytes
        where = "memory" if self._path is None else f"'{self._path}'"
        message = (
            f"The traces of {steps} steps will take {_bytes(total)} in {where} after "
            f"{epochs} more epochs"
        )
        if self._max_bytes is not None and total > self._max_bytes:
            raise ValueError(
                f"{message}, and `max_bytes` is {_bytes(self._max_bytes)}. Choose "
                "fewer `layers`, `signals` or `units`, a larger `record_freq` or a "
                "smaller `probe`, or raise `max_bytes`."
            )
        if params.get("verbose") and self._path is not None:
            from rich.console import Console

            Console(soft_wrap=True).print(f"GateRecorder: {message}.", highlight=False)

    def _all(self) -> list[Record]:
        return [self.statistics, self.traces, self.gradients]

    def _steps(self) -> list[Step]:
        return [step for record in self._all() for step in record.steps]

    def _resume(self, epoch: int, last: int) -> None:
        """Resumes a store at the epoch at which training begins."""
        if last > epoch + 1:
            raise ValueError(
                f"The store '{self._path}' holds {last} epochs, and training starts "
                f"again after epoch {epoch}. Restore the model first "
                f"(`keras.callbacks.BackupAndRestore`, or `initial_epoch={last}`), or "
                "choose another path."
            )
        for record in self._all():
            record.cut(epoch)
        ends = max((step.epoch for step in self.statistics.steps), default=0)
        if ends < epoch and (ends or not self.traces.steps):
            warnings.warn(
                f"The statistics in '{self._path}' end at epoch {ends}, and training "
                f"resumes after {epoch}. Put the recorder before `BackupAndRestore` in "
                "the list of callbacks, so that it comes first at the end of an epoch.",
                stacklevel=2,
            )


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} PB"
