"""The work of a worker process in a capture: it loads the model and writes parts."""

from __future__ import annotations

import dataclasses
import functools
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.capturing import kernel_choice
from keras_gates.capturing.reader import Reader
from keras_gates.models import input_batches, sending
from keras_gates.stores import growing
from keras_gates.stores.writing import same_lengths


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that the parts of a capture have in common, except the model.

    Attributes:
        token: The name of the job.
        name: The name of the model.
        options: The other arguments of the `Reader`.
        first: The first batch, which is already in the store.
        place: The store.
        keys: As `Growing.keys` returns them.
        lengths: The number of time steps of each layer.
        layers: For each layer, the attributes of its data.
        fast: The layers that run in a fast kernel.
    """

    token: str
    name: str
    options: dict[str, Any]
    first: Any
    place: Path | str
    keys: dict[str, str]
    lengths: dict[str, int]
    layers: dict[str, dict]
    fast: list[str]


class Known:
    """A data set of batches that have been checked; more may be added.

    Args:
        batches: The first ones.
        number: The result of `len`, by which a kernel is chosen.
    """

    def __init__(self, batches: list, number: int = 1):
        self._batches, self._number = list(batches), number

    def __len__(self):
        return self._number  # Without a length, the data might count as endless.

    def __iter__(self) -> Iterator[tuple]:
        while self._batches:
            yield (self._batches.pop(0),)

    def add(self, batch) -> None:
        """Adds a batch after the others."""
        self._batches.append(batch)


_here = threading.local()
"""The last worker of each thread: a model is loaded and compiled once."""


def write_part(packed: np.ndarray, job: Job, start: int, part: list):
    """Writes a part of a capture into its store.

    Args:
        packed: The model, as `sending.pack` packed it.
        job: The job.
        start: The position in the store at which the part begins.
        part: Its batches.

    Returns:
        `start`, and the deviation of this process from the one that sent the model.
    """
    worker, _here.worker = getattr(_here, "worker", None), None
    try:
        if worker is None or worker.job.token != job.token:
            worker = None  # Frees its memory first.
            worker = Worker(packed, job)
        deviation = worker.write(start, part)
    except Exception as error:
        # The cause would be sent back with the error, and may not be picklable.
        error.__cause__ = error.__context__ = None
        raise
    # A worker that failed is not used again.
    _here.worker = worker
    return start, deviation


class Worker:
    """A model in a worker process.

    Args:
        packed: The model, as `sending.pack` packed it.
        job: The job.
    """

    def __init__(self, packed: np.ndarray, job: Job):
        self.job = job
        growing.load_codecs()
        self._sent = sending.unpack(job.name, packed)
        self._arrays: dict[str, Any] = {}
        self._batches = Known([])
        self._deviation: float | None = None
        with self._sent.in_force():
            self._reader = Reader(self._sent.load(), fast=job.fast, **job.options)
            _require_same(job, self._reader.descriptions())
        # The batches are read one after the other, as in a single process.
        self._read = self._reader.read(self._batches)

    def write(self, start: int, part: list) -> float:
        """Writes the batches of a part, and returns the deviation of this process."""
        with self._sent.in_force():
            for batch in part:
                tree = self._tree_of(batch)
                same_lengths(self.job.lengths, tree)
                size = input_batches.number_of_samples(batch)
                array_at = functools.partial(self._array, length=start + size)
                growing.write_region(array_at, tree, self.job.keys, v.SAMPLE, start)
                start += size
            if self._deviation is None:
                # After a part, so that a dependence on earlier batches shows, too.
                self._deviation = self._compare()
        return self._deviation

    def _tree_of(self, batch):
        self._batches.add(batch)
        with warnings.catch_warnings():
            # The process that sent the model has given this warning.
            warnings.filterwarnings("ignore", message="The layers .* did not run")
            return self._reader.tree([next(self._read)])

    def _array(self, key: str, length: int):
        """Returns an array of the store that has at least a given length."""
        if key not in self._arrays or self._arrays[key].shape[0] < length:
            try:
                self._arrays[key] = growing.open_array(self.job.place, key)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    "A worker process cannot find the unfinished store "
                    f"'{self.job.place}'. With `n_jobs`, `store` must be a place that "
                    "every worker can reach: not the memory of one process, and with "
                    "several machines not a disk of one of them."
                ) from error
        return self._arrays[key]

    def _compare(self) -> float:
        """Returns the deviation of the first batch from the values in the store.

        Raises:
            RuntimeError: If rounding does not explain it.
        """
        deviation = 0.0
        tree = self._tree_of(self.job.first)
        allowed = max(
            kernel_choice.rounding(layer["compute_dtype"])
            for layer in self.job.layers.values()
        )
        for key, values in growing.growing_arrays(tree, "", self.job.keys, v.SAMPLE):
            there = self._array(key, len(values))[: len(values)]
            deviates = kernel_choice.deviation(there, values)
            if deviates > allowed:
                raise RuntimeError(
                    f"A worker process computes other values than this process: its "
                    f"'{key}' of the first batch deviates by {deviates:.1e}. Either "
                    f"the results of '{self.job.name}' depend on earlier batches, on "
                    "random numbers or on settings of this process, or the model "
                    "changes when it is saved and loaded. Leave `n_jobs` out."
                )
            deviation = max(deviation, deviates)
        return deviation


def _require_same(job: Job, found: dict[str, dict]) -> None:
    """Refuses a model whose layers differ from those of the model that was sent."""
    for path in job.layers | found:
        wanted, here = job.layers.get(path, {}), found.get(path, {})
        for name in wanted | here:
            if wanted.get(name) != here.get(name):
                raise RuntimeError(
                    "`n_jobs` needs a model that does not change when it is saved and "
                    f"loaded. In '{job.name}', the `{name}` of '{path}' was "
                    f"{wanted.get(name)!r} before, and is {here.get(name)!r} "
                    "afterwards. Leave `n_jobs` out."
                )
