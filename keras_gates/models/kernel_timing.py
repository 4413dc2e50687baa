"""The speedup of a layer with another kernel, measured on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter as clock
from typing import Any

import keras
import numpy as np

from keras_gates.models.kernel_trials import Change
from keras_gates.models.layer_copies import arrays_like, randomness_kept

SECONDS, FEWEST = 0.3, 3
"""The time for which two layers run in turns, and the smallest number of runs."""


def speedups(before: Change, after: Change, shape: tuple) -> dict[str, float]:
    """Measures how many times as fast a changed layer is.

    The layers run in turns, in models of their own, and the ratio of their medians is
    returned.

    Args:
        before: Makes the layer as it is.
        after: Makes the changed layer.
        shape: The shape of the layer's input.

    Returns:
        A dict with the ratio for "inference" and "training".
    """
    with randomness_kept():
        models = [_Timed(change, shape) for change in (before, after)]
        return {
            "inference": _ratio([one.predict for one in models]),
            "training": _ratio([one.train for one in models]),
        }


class _Timed:
    """A model of one layer, and a batch for it."""

    def __init__(self, change: Change, shape: tuple):
        x, mask = arrays_like(shape, change.masked)
        steps = keras.Input(batch_shape=x.shape, name="x")
        layer = change.make()
        if mask is None:
            output = layer(steps)
            self._model = keras.Model(steps, output, name="timed")
            self._batch: Any = x
        else:
            shown = keras.Input(batch_shape=mask.shape, dtype="bool", name="mask")
            output = layer(steps, mask=shown)
            self._model = keras.Model([steps, shown], output, name="timed")
            self._batch = [x, mask]
        self._model.compile(keras.optimizers.SGD(0.0, name="timed"), "mse")
        self._targets = np.zeros(output.shape, "float32")

    def predict(self) -> None:
        self._model.predict_on_batch(self._batch)

    def train(self) -> None:
        self._model.train_on_batch(self._batch, self._targets)


def _ratio(functions: list[Callable[[], Any]]) -> float:
    for function in functions:  # Compiles.
        function()
    seconds: tuple[list[float], list[float]] = ([], [])
    total = 0.0
    while len(seconds[0]) < FEWEST or total < SECONDS:
        for function, spent in zip(functions, seconds, strict=True):
            start = clock()
            function()
            spent.append(clock() - start)
            total += spent[-1]
    return statistics.median(seconds[0]) / statistics.median(seconds[1])
