"""Locks: what one process writes, no other one writes at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import filelock


def acquire(file: Path, busy: str) -> filelock.BaseFileLock:
    """Takes a lock that is held until it is released, or this process ends.

    Args:
        file: The file that stands for the lock.
        busy: What to say if another process holds it.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If the file cannot be written.
    """
    import filelock

    try:
        return filelock.FileLock(file, timeout=0).acquire().lock
    except filelock.Timeout:
        raise BlockingIOError(busy) from None
