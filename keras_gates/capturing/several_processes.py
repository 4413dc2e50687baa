"""A capture whose batches are shared among processes, which write one store.

This process reads the data, runs the first batch and lays out the store. Then it hands
out the batches, in parts that fill whole chunks of the store, so that no two processes
write the same file. The work of each process is in `part_worker`.
"""

from __future__ import annotations

import contextlib
import math
import threading
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from keras_gates import vocabulary as v
from keras_gates.capturing import kernel_choice
from keras_gates.capturing.part_worker import Job, Known, write_part
from keras_gates.capturing.reader import Reader
from keras_gates.checks import whole_number
from keras_gates.layers.layer_edits import edited_layers
from keras_gates.models import input_batches, sending
from keras_gates.models.find_layers import walk
from keras_gates.models.variable_copies import finish_building
from keras_gates.stores import growing
from keras_gates.stores.growing import Growing
from keras_gates.stores.opening import open_tree
from keras_gates.stores.writing import new_store, same_lengths

if TYPE_CHECKING:
    import xarray

DEATHS = 3
"""The number of deaths of a worker after which a capture gives up."""
DIED = ("TerminatedWorkerError", "KilledWorker")
"""The errors of joblib and Dask for a death; the first is in no public module."""
AHEAD = 64
"""The number of chunks that are reserved after the last part."""


def number_of_jobs(n_jobs: Any) -> int:
    """Returns the requested number of processes, -1 for one on each core."""
    number = whole_number("n_jobs", n_jobs, at_least=-1, or_else="-1 for every core")
    if number == 0:
        raise ValueError(
            "`n_jobs` must be a number of processes, or -1 for every core; got 0."
        )
    return number


def require_parts(model: keras.Model, n_jobs: int, training: bool, store) -> None:
    """Refuses a capture that several processes cannot do in the same way as one.

    Args:
        model: The model.
        n_jobs: The requested number of processes.
        training: Whether the model runs in training mode.
        store: The place of the store, or `None`.
    """
    if n_jobs == 1:
        return
    if store is None:
        raise ValueError(
            f"`n_jobs={n_jobs}` needs a `store`, in which each process writes its "
            "part. Give the path of a new one, or leave `n_jobs` out."
        )
    if training:
        raise ValueError(
            f"`n_jobs={n_jobs}` cannot be used with `training=True`: dropout draws one "
            "sequence of random numbers, from batch to batch. Leave one of them out."
        )
    layers = [(path, layer) for path, layer in walk(model)]
    if edited_layers([layer for _, layer in layers]):
        raise ValueError(
            f"`n_jobs={n_jobs}` cannot be used while '{model.name}' is edited: an edit "
            "applies in this process only. Leave `n_jobs` out, or capture outside of "
            "the `keras_gates.edit` block."
        )
    stateful = [path for path, layer in layers if getattr(layer, "stateful", False)]
    if stateful:
        raise ValueError(
            f"`n_jobs={n_jobs}` cannot be used with stateful layers, whose states are "
            f"passed from batch to batch; '{stateful[0]}' is stateful. Leave `n_jobs` "
            "out."
        )


def write_in_parts(
    reader: Reader,
    x: Any,
    place: Path | str,
    *,
    mode: str,
    batch_size: int,
    n_jobs: int,
    verbose: int,
) -> xarray.DataTree:
    """Writes a capture into a store, in several processes.

    Args:
        reader: The reader of this process.
        x: As for `capture`.
        place: The place of the store.
        mode: As for `capture`.
        batch_size: As for `capture`.
        n_jobs: The number of processes.
        verbose: As for `capture`.

    Returns:
        A lazy tree that reads from the store.
    """
    growing.load_codecs()
    model = reader.model
    total = input_batches.number_of_batches(x, batch_size)
    progress = keras.utils.Progbar(total, verbose=verbose, unit_name="batch")
    batches = input_batches.iterate(x, model, batch_size, "x")
    with contextlib.closing(batches), new_store(place, mode) as store:
        first = next(batches)
        finish_building(model, first)
        packed = sending.pack(model)
        # The kernel is chosen as in a capture without the other processes.
        number = kernel_choice.FEWEST_BATCHES if total is None else total
        (signals,) = reader.read(Known([first], number))
        tree = reader.tree([signals])
        store.append("", tree, v.SAMPLE)
        progress.add(1)
        job = Job(
            token=uuid.uuid4().hex,
            name=model.name,
            options={
                "layers": [node.path for node in reader.nodes],
                "signals": sorted(reader.chosen),
            },
            first=first,
            place=store.place,
            keys=store.keys(""),
            lengths=same_lengths(None, tree),
            layers=reader.descriptions(),
            fast=reader.fast,
        )
        so_far = input_batches.SoFar(total, "x")
        parts = Parts(store, batches, input_batches.number_of_samples(first), so_far)
        deviation = _conduct(packed, job, parts, n_jobs, progress)
        if parts.end > input_batches.number_of_samples(first):
            store.cut("", v.SAMPLE, parts.end)
    if deviation:
        warnings.warn(
            "The worker processes round differently from this process: the first batch "
            f"of '{model.name}' deviates by up to {deviation:.1e}. They run with "
            "another number of threads, or on another processor. The store holds their "
            "values for all other batches. With one thread for each process "
            "(OMP_NUM_THREADS=1), the values do not depend on `n_jobs`.",
            stacklevel=3,
        )
    return open_tree(place)


class Parts:
    """The batches after the first one, in parts that end where chunks end.

    Args:
        store: The store, with the first batch in it.
        batches: The other batches.
        begin: The number of samples of the first batch.
        so_far: Counts the batches.

    Attributes:
        unwritten: The batches of each part that is not known to be written, by the
            position in the store at which it begins.
        end: The number of samples that have been read so far.
    """

    def __init__(
        self,
        store: Growing,
        batches: Iterator,
        begin: int,
        so_far: input_batches.SoFar,
    ):
        self.unwritten: dict[int, list] = {}
        self.end = begin
        self._store, self._batches, self._so_far = store, batches, so_far
        self._stride = math.lcm(*store.chunk_lengths("", v.SAMPLE))
        self._room = 0
        # joblib requests the next part in another thread.
        self._lock = threading.Lock()

    def left(self) -> Iterator[tuple[int, list]]:
        """Yields the parts that are not written, and then new ones."""
        yield from list(self.unwritten.items())
        while part := self._next():
            yield part

    def _next(self) -> tuple[int, list] | None:
        with self._lock:
            start, part = self.end, []
            for batch in self._batches:
                self._add(batch)
                part.append(batch)
                if self.end % self._stride == 0:
                    break
            if not part:
                return None
            if self.end > self._room:
                self._room = self.end + AHEAD * self._stride
                self._store.reserve("", v.SAMPLE, self._room)
            self.unwritten[start] = part
            return start, part

    def _add(self, batch) -> None:
        size = input_batches.number_of_samples(batch)
        chunk, last = self.end // self._stride, (self.end + size - 1) // self._stride
        if chunk != last:
            raise ValueError(
                "With `n_jobs`, every batch of `x` but the last must have the same "
                f"number of samples as the first one, {self._stride}; a batch of "
                f"{size} begins at sample {self.end}. Make all batches equally large, "
                "or leave `n_jobs` out."
            )
        self.end += size
        self._so_far.add(batch)


def _conduct(packed, job: Job, parts: Parts, n_jobs: int, progress) -> float:
    """Lets workers write all parts, and returns their deviation from this process."""
    import joblib

    deviation, written, deaths = 0.0, 1, 0
    while True:
        workers = joblib.Parallel(
            n_jobs=n_jobs,
            return_as="generator_unordered",
            batch_size=1,
            # PyTorch requires writable data.
            mmap_mode="c",
        )
        work = joblib.delayed(write_part)
        tasks = (work(packed, job, start, part) for start, part in parts.left())
        try:
            # Closing it stops the workers, even if this process is interrupted.
            with contextlib.closing(workers(tasks)) as ended:
                for start, deviates in ended:
                    number = len(parts.unwritten.pop(start))
                    written += number
                    progress.add(number)
                    deviation = max(deviation, deviates)
        except Exception as error:
            if type(error).__name__ not in DIED:
                raise
            deaths += 1
            if deaths == DEATHS:
                raise RuntimeError(
                    f"A worker process died {deaths} times, perhaps from lack of "
                    f"memory, after {written} batches were written. Fewer `n_jobs`, or "
                    "a smaller `batch_size`, need less memory."
                ) from error
            continue
        if not parts.unwritten:
            return deviation
