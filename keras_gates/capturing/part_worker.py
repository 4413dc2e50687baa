"""What a worker process does in a capture: it loads the model, and writes parts."""

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

ROUNDING = {"float16": 2e-2, "bfloat16": 1e-1}
"""How far roundings may take the signals of a layer that computes in half precision."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What all parts of a capture have in common, besides the model.

    Attributes:
        token: The name of the job.
        name: The name of the model.
        options: What else a `Reader` is made with.
        first: The first batch, which is in the store already.
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
    """A data set of batches that were checked already; more may be added.

    Args:
        batches: The first ones.
        number: What `len` returns, by which a kernel is chosen.
    """

    def __init__(self, batches: list, number: int = 1):
        self._batches, self._number = list(batches), number

    def __len__(self):
        return self._number  # Nobody shall wonder whether there is an end.

    def __iter__(self) -> Iterator[tuple]:
        while self._batches:
            yield (self._batches.pop(0),)

    def add(self, batch) -> None:
        """Adds a batch behind the others."""
        self._batches.append(batch)


_here = threading.local()
"""The last worker of each thread: a model is loaded and compiled once."""


def write_part(packed: np.ndarray, job: Job, start: int, part: list):
    """Writes a part of a capture in its store.

    Args:
        packed: The model, as `sending.pack` packed it.
        job: The job.
        start: Where in the store the part begins.
        part: Its batches.

    Returns:
        `start`, and how far this process deviates from the one that sent the model.
    """
    worker, _here.worker = getattr(_here, "worker", None), None
    try:
        if worker is None or worker.job.token != job.token:
            worker = None  # Its memory is needed.
            worker = Worker(packed, job)
        deviation = worker.write(start, part)
    except Exception as error:
        # Some would send back what the error follows from, which may refuse to be sent.
        error.__cause__ = error.__context__ = None
        raise
    # One that failed is not asked again.
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
        # Batch after batch, as one process would do it.
        self._read = self._reader.read(self._batches)

    def write(self, start: int, part: list) -> float:
        """Writes the batches of a part; returns how far the numbers deviate."""
        with self._sent.in_force():
            for batch in part:
                tree = self._tree_of(batch)
                same_lengths(self.job.lengths, tree)
                size = input_batches.number_of_samples(batch)
                array_at = functools.partial(self._array, length=start + size)
                growing.write_region(array_at, tree, self.job.keys, v.SAMPLE, start)
                start += size
            if self._deviation is None:
                # Behind a part: what depends on the batches before shows too.
                self._deviation = self._compare()
        return self._deviation

    def _tree_of(self, batch):
        self._batches.add(batch)
        with warnings.catch_warnings():
            # The process that sent the model has said it.
            warnings.filterwarnings("ignore", message="The layers .* did not run")
            return self._reader.tree([next(self._read)])

    def _array(self, key: str, length: int):
        """Returns an array of the store, at least of a length."""
        if key not in self._arrays or self._arrays[key].shape[0] < length:
            try:
                self._arrays[key] = growing.open_array(self.job.place, key)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"A worker process does not find the store '{self.job.place}', "
                    "which is unfinished yet. With `n_jobs`, `store` must be a place "
                    "that every worker reaches: not the memory of one process, nor a "
                    "disk of one machine where there are several."
                ) from error
        return self._arrays[key]

    def _compare(self) -> float:
        """Returns how far the first batch deviates from what is in the store.

        Raises:
            RuntimeError: If it is too far for roundings.
        """
        deviation = 0.0
        tree = self._tree_of(self.job.first)
        allowed = max(
            ROUNDING.get(layer["compute_dtype"], kernel_choice.LARGEST_DEVIATION)
            for layer in self.job.layers.values()
        )
        for key, values in growing.growing_arrays(tree, "", self.job.keys, v.SAMPLE):
            there = self._array(key, len(values))[: len(values)]
            deviates = kernel_choice.deviation(there, values)
            if deviates > allowed:
                raise RuntimeError(
                    f"A worker process computes something else than this one: its "
                    f"'{key}' of the first batch deviates by {deviates:.1e}. Either "
                    f"what '{self.job.name}' computes depends on the batches before, "
                    "on random numbers or on settings of this process, or it is not "
                    "the same when it was saved and loaded. Leave `n_jobs` out."
                )
            deviation = max(deviation, deviates)
        return deviation


def _require_same(job: Job, found: dict[str, dict]) -> None:
    """Refuses a model whose layers are others than they were when it was sent."""
    for path in job.layers | found:
        wanted, here = job.layers.get(path, {}), found.get(path, {})
        for name in wanted | here:
            if wanted.get(name) != here.get(name):
                raise RuntimeError(
                    "`n_jobs` needs a model that is the same when it was saved and "
                    f"loaded. Of '{path}' in '{job.name}', `{name}` is "
                    f"{here.get(name)!r} then; it was {wanted.get(name)!r}. Leave "
                    "`n_jobs` out."
                )
