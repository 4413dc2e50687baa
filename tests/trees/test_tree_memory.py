"""Batches are joined as they come, in memory once, and not twice."""

import tracemalloc

import numpy as np
import pytest

from keras_gates.trees.joining import join

NAMES = ("input", "forget", "candidate", "output", "cell", "hidden")


@pytest.mark.once
@pytest.mark.parametrize("number", [32, None], ids=["known", "unknown"])
@pytest.mark.parametrize("last", [16, 5], ids=["full", "short"])
def test_each_batch_is_written_where_it_lies(number, last):
    batches = (
        {"lstm": {name: np.full((rows, 50, 32), n, "float32") for name in NAMES}}
        for n, rows in enumerate([16] * 31 + [last])
    )
    tracemalloc.start()
    try:
        layer = join(batches, number)["lstm"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert list(layer) == list(NAMES)
    # Since NumPy 2.5, an array that is resized in place is reported twice meanwhile.
    sizes = [array.nbytes for array in layer.values()]
    twice = max(sizes) if np.lib.NumpyVersion(np.__version__) >= "2.5.0" else 0
    assert peak < 1.15 * sum(sizes) + twice
    for array in layer.values():
        assert array.shape == (31 * 16 + last, 50, 32)
        np.testing.assert_array_equal(array[::16, -1, -1], np.arange(32))


@pytest.mark.once
@pytest.mark.parametrize("lengths", [(3, 5, 4), (5, 3, 5), (4, 4, 6)])
@pytest.mark.parametrize("masked", [False, True])
def test_shorter_batches_end_in_masked_steps(lengths, masked):
    batches = []
    for n, length in enumerate(lengths):
        arrays = {
            "cell": np.full((2, length, 3), n, "float32"),
            "initial_cell": np.full((2, 3), n, "float32"),
        }
        if masked:
            arrays["mask"] = np.arange(length) > np.zeros((2, 1))
        batches.append({"lstm": arrays})
    found = join(batches, 3)["lstm"]
    for n, length in enumerate(lengths):
        rows = slice(2 * n, 2 * n + 2)
        steps = np.arange(max(lengths)) < length
        np.testing.assert_array_equal(
            found["cell"][rows],
            np.broadcast_to(np.where(steps, n, np.nan)[:, None], (2, max(lengths), 3)),
        )
        unmasked = steps & (np.arange(len(steps)) > 0) if masked else steps
        np.testing.assert_array_equal(
            found["mask"][rows], np.broadcast_to(unmasked, (2, max(lengths)))
        )
        np.testing.assert_array_equal(found["initial_cell"][rows], np.full((2, 3), n))


@pytest.mark.once
def test_one_batch_is_not_copied():
    array = np.ones((2, 3, 4), "float32")
    assert join([{"lstm": {"cell": array}}], None)["lstm"]["cell"] is array


@pytest.mark.once
def test_what_does_not_fit_into_memory_is_refused_early():
    batches = iter([{"lstm": {"cell": np.ones((2, 3, 4), "float32")}}] * 3)
    with pytest.raises(MemoryError, match="Give `store`, or name fewer `layers`"):
        join(batches, 10**14)
    assert len(list(batches)) == 1
