"""A capture is in memory once, and not twice."""

import tracemalloc

import numpy as np
import pytest

from keras_gates.trees.tree import to_dataset


@pytest.mark.once
def test_batches_are_joined_signal_by_signal():
    names = ("input", "forget", "candidate", "output", "cell", "hidden")
    attributes = {"kind": "LSTM", "layer": "lstm", "units": 32}
    tracemalloc.start()
    try:
        batches = [
            {name: np.full((16, 50, 32), n, "float32") for name in names}
            for n in range(8)
        ]
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        layer = to_dataset(batches, attributes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * before
    assert layer["cell"].shape == (128, 50, 32)
    np.testing.assert_array_equal(layer["hidden"][::16, 0, 0], np.arange(8))
