"""The cost of a training run: seconds of training and inference, and memory."""

from __future__ import annotations

import contextlib
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import psutil

from keras_gates.study.study_data import count, rows_of

MEMORY_INTERVAL, INFERENCE_REPEATS = 0.02, 7
"""Seconds between two measurements of memory, and the number of timed inferences."""


class Clock(keras.callbacks.Callback):
    """Shuffles before each epoch, and times its training part.

    The epoch number comes from `fit`. The hooks of a PyDataset cannot be counted
    instead: Keras also calls them while it builds a model.

    Args:
        batches: Has a method `shuffle(epoch)`.
    """

    def __init__(self, batches: Any):
        super().__init__()
        self._batches = batches
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the order of the samples, then starts the clock."""
        self._batches.shuffle(epoch)
        self._start = time.perf_counter()

    def on_test_begin(self, logs=None):
        """Stops the clock where training ends and validation begins."""
        # Steps are queued on a device; reading a value back waits for them.
        weights = self.model.trainable_variables
        if weights:
            smallest = min(weights, key=lambda weight: math.prod(weight.shape))
            keras.ops.convert_to_numpy(smallest)
        self.seconds.append(time.perf_counter() - self._start)


def inference_seconds(model: keras.Model, x: Any, batch_size: int) -> float:
    """Returns the seconds for a sequence, in a batch that is compiled already."""
    batch = rows_of(x, slice(batch_size))
    model.predict_on_batch(batch)
    times = []
    for _ in range(INFERENCE_REPEATS):
        start = time.perf_counter()
        model.predict_on_batch(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times) / count(batch)


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Watches the resident memory of this process; yields a function for its peak."""
    process, done = psutil.Process(), threading.Event()
    peak = process.memory_info().rss

    def watch():
        nonlocal peak
        while not done.wait(MEMORY_INTERVAL):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak
    finally:
        done.set()
        thread.join()
