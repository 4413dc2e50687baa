"""What is read is joined or written in a thread, while the model runs the next."""

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
    """Returns what a function makes of batches, which it takes in a thread of its own.

    The batches are made in the thread of the caller: the first one when it is asked
    for, each other one while the one before it is consumed. If they fail, the function
    sees the error as if it had made them itself.

    Args:
        batches: The batches; closed at the end.
        consume: Takes an iterator over them.
    """
    handed: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    asked = threading.Semaphore(0)

    def taken():
        while True:
            asked.release()
            # In no variable, which would keep the batch while the next one is made.
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
        # It may end before it has taken everything, by an error.
        result.add_done_callback(lambda _: asked.release())
        # Nothing is made before it is asked for.
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
