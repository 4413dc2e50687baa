"""Locks, which keep two processes from writing the same store at the same time."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from keras_gates.stores.paths import cannot_write

if TYPE_CHECKING:
    import filelock


def acquire(file: Path, busy: str) -> filelock.BaseFileLock:
    """Takes a lock that is held until it is released, or this process ends.

    Args:
        file: The file of the lock.
        busy: The error message if another process holds it.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If the file cannot be written.
    """
    import filelock

    try:
        return filelock.FileLock(file, timeout=0).acquire().lock
    except filelock.Timeout:
        raise BlockingIOError(busy) from None


def lock_store(path: Path) -> filelock.BaseFileLock:
    """Keeps other processes from writing a store until the lock is released.

    Raises:
        BlockingIOError: If another process writes.
        OSError: If nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Next to the store, which holds data only.
        file = path.with_name(f".{path.name}.lock")
        refuse_odd(file)
        return acquire(
            file,
            f"Another process, or another recorder of this process, is writing the "
            f"store '{path}'. Wait for it, or choose another path. After a `fit` that "
            "was interrupted, call the recorder's `on_train_end()`.",
        )
    except BlockingIOError:
        raise
    except (OSError, NotImplementedError) as error:
        raise cannot_write(path, error) from None


def refuse_odd(file: Path) -> None:
    """Refuses to open a link or a pipe in place of one of our files."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(file).st_mode):
            raise OSError(
                errno.EINVAL, f"'{file}' is in the way: it is not a plain file"
            )
