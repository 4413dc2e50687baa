"""Batches are consumed in a thread, in order, and an error ends both sides."""

import threading
import warnings
import weakref

import numpy as np
import pytest

from keras_gates.capturing.overlapping import consumed

pytestmark = pytest.mark.once


def test_in_order_and_overlapping():
    """A batch is made while the one before it is consumed."""
    made, seen = threading.Event(), []

    def batches():
        yield 0
        made.set()
        yield 1
        yield 2

    def consume(read):
        for number in read:
            if number == 0:
                assert made.wait(30)
            seen.append((number, threading.current_thread()))
        return "result"

    assert consumed(batches(), consume) == "result"
    assert [number for number, _ in seen] == [0, 1, 2]
    assert threading.current_thread() not in [thread for _, thread in seen]


def test_no_batch_is_kept_longer_than_needed():
    """Beside the batch that is consumed, there is the next one, and no other."""
    alive, most = weakref.WeakSet(), []

    def batches():
        for number in range(6):
            batch = np.full(2, number)
            alive.add(holder := Holder(batch))
            yield holder
            del holder, batch

    def consume(read):
        for _ in read:
            most.append(len(alive))

    consumed(batches(), consume)
    assert max(most) <= 2


class Holder:
    """An array, to which there may be weak references."""

    def __init__(self, array):
        self.array = array


def test_consumer_sees_the_error_of_a_batch():
    seen = []

    def batches():
        yield 0
        raise KeyboardInterrupt("in a batch")

    def consume(read):
        try:
            list(read)
        except KeyboardInterrupt as error:
            seen.append(error)
            raise

    with pytest.raises(KeyboardInterrupt, match="in a batch") as caught:
        consumed(batches(), consume)
    assert seen == [caught.value]


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_error_of_the_consumer_ends_the_batches(taken):
    made, closed = [], []

    def batches():
        try:
            for number in range(100):
                made.append(number)
                yield number
        finally:
            closed.append(True)

    def consume(read):
        for _ in range(taken):
            next(read)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        consumed(batches(), consume)
    assert not made or closed
    assert len(made) <= (taken + 1 if taken else 0)


def test_a_consumer_may_leave_batches():
    assert consumed((n for n in range(9)), next) == 0


def test_warnings_of_the_consumer_arrive():
    def consume(read):
        warnings.warn("beside", stacklevel=2)
        return list(read)

    with pytest.warns(UserWarning, match="beside"):
        assert consumed((n for n in range(2)), consume) == [0, 1]
