"""Unfinished stores: hidden folders, and the remains of those of killed processes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from keras_gates.stores import locks
from keras_gates.stores.paths import cannot_write

UNFINISHED, LOCK = ".unfinished", ".lock"
REPLACED = "replaced"
"""The name of a store that is replaced by another one."""
AGE = 3600
"""The seconds after which a hidden folder without a lock counts as abandoned."""
_OURS = {LOCK, ".store.lock", "store", REPLACED}
_HIDDEN = re.compile(r"\..+-[a-z0-9_]{8}(\.unfinished)?")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Makes a hidden folder next to a path, and removes it in the end.

    Folders that killed processes have left are removed first.

    Raises:
        BlockingIOError: If another process has such a folder for the same path.
        OSError: If the place cannot be written.
    """
    prefix = f".{path.name[:100]}-"
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if any(name.startswith(prefix) for name in _sweep(path.parent)):
                raise BlockingIOError(
                    f"Another capture is writing the store '{path}'. Wait for it, or "
                    "choose another path."
                )
            while True:
                made = tempfile.TemporaryDirectory(
                    dir=path.parent,
                    prefix=prefix,
                    suffix=UNFINISHED,
                    # A worker that has not stopped yet may still write there.
                    ignore_cleanup_errors=True,
                )
                folder = Path(stack.enter_context(made))
                with contextlib.suppress(BlockingIOError, FileNotFoundError):
                    stack.callback(locks.acquire(folder / LOCK, "").release)
                    # Another process may have removed it before it was locked.
                    if folder.exists():
                        break
        except BlockingIOError:
            raise
        except (OSError, NotImplementedError) as error:
            raise cannot_write(path, error) from None
        yield folder


def _sweep(parent: Path) -> list[str]:
    """Removes the hidden folders of dead processes, and returns those of living ones.

    A living process holds the lock in its folder.
    """
    living = []
    for entry in list(os.scandir(parent)):
        if not (_HIDDEN.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)):
            continue
        with contextlib.suppress(OSError, NotImplementedError):  # It may be gone.
            inside = set(os.listdir(entry.path))
            file = Path(entry.path, LOCK if LOCK in inside else ".store.lock")
            if not inside or (inside == {"store"} and entry.name.endswith(UNFINISHED)):
                # The second case is a folder that a worker wrote after the capture.
                if time.time() - entry.stat().st_mtime > AGE:
                    shutil.rmtree(entry.path)
            elif file.name in inside and inside <= _OURS:
                locks.refuse_odd(file)
                try:
                    with locks.acquire(file, ""):
                        for name in ("store", REPLACED):
                            shutil.rmtree(Path(entry.path, name), ignore_errors=True)
                except BlockingIOError:
                    living.append(entry.name)
                else:
                    shutil.rmtree(entry.path)
    return living
