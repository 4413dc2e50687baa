"""Joins or writes a batch in a thread, while the model runs the next batch."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")
_END = object()


def consumed(batches: Generator, consume: Callable[[Iterator], Result]) -> Result:
    """Runs a function that consumes batches in another thread, and returns its result.

    The batches are made in the thread of the caller: the first one when the function
    requests it, and each later one while the function consumes the previous one. If
    making a batch fails, the function gets the error, as if it had made the batch.

    Args:
        batches: The batches; closed at the end.
        consume: Takes an iterator over them.
    """
    handed: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    asked = threading.Semaphore(0)

    def taken():
        while True:
            asked.release()
            # Deleted below: a variable would keep the batch while the next is made.
            batch, error = handed.get()
            if error is not None:
                raise error
            if batch is _END:
                return
            yield batch
            del batch

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, "keras_gates") as pool:
        result = pool.submit(context.run, consume, taken())
        # The function may end with an error before it has consumed all batches.
        result.add_done_callback(lambda _: asked.release())
        # No batch is made before the function requests it.
        asked.acquire()
        asked.release()
        try:
            while not result.done():
                batch = next(batches, _END)
                asked.acquire()
                handed.put((batch, None))
                if batch is _END:
                    break
                del batch
        except BaseException as error:
            handed.put((None, error))
            raise
        finally:
            batches.close()
        return result.result()
