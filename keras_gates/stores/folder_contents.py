"""The content of a store's folder: whether it is ours, and whether it is writable."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from keras_gates.stores.paths import METADATA, cannot_write

_PARTIAL = re.compile(r"[^/]*\.[0-9a-f]{32}\.partial")
_CHUNK = re.compile(r"(.+)/c(?:/\d+)*")
_BLOCK = 2**20


def survey(path: Path, keys: Collection[str], groups: Collection[str]) -> list[str]:
    """Lists foreign content of a store, and refuses content that must not be in one.

    Args:
        path: The folder.
        keys: The keys of the groups and arrays that the store shows.
        groups: The groups that a writer may leave incomplete, shown or not.

    Returns:
        The paths that are not ours, relative to the folder.

    Raises:
        ValueError: If there is a link.
        PermissionError: If a folder in it cannot be written.
    """
    hidden = [group for group in groups if group not in keys]
    keys = {key[:end] for key in keys for end in _ends(key)}
    begin, foreign = len(str(path)) + 1, []
    for entry in _inside(str(path)):
        name = entry.path[begin:].replace(os.sep, "/")
        if entry.is_symlink():
            raise ValueError(
                f"The store '{path}' holds a link, '{name}', and writing through it "
                "would change files elsewhere. Replace the link by the folder itself, "
                "or choose another path."
            )
        folder = entry.is_dir(follow_symlinks=False)
        if folder:
            _require_writable(path, entry.path)
        if not _ours(name, folder, keys, hidden):
            foreign.append(name)
    return foreign


def _ends(key: str) -> list[int]:
    """Returns the positions at which the names in a key end."""
    return [at for at, character in enumerate(f"{key}/") if character == "/"]


def _inside(folder: str) -> Iterator[os.DirEntry]:
    """Yields everything in a folder, and below it, links as they are."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _inside(entry.path)


def _require_writable(path: Path, folder: str) -> None:
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise cannot_write(path, PermissionError(errno.EACCES, os.strerror(13)))


def _ours(name: str, folder: bool, keys: Collection[str], hidden: list[str]) -> bool:
    """Returns whether Zarr writes a file or folder of this name for these keys."""
    if any(name == group or name.startswith(f"{group}/") for group in hidden):
        key = True  # Begun, but not shown, so its keys are not known.
    else:
        found = _CHUNK.fullmatch(name)
        key = name in keys or (found is not None and found[1] in keys)
    if folder:
        return key
    above, _, last = name.rpartition("/")
    if last == METADATA or _PARTIAL.fullmatch(last):
        return not above or _ours(above, True, keys, hidden)
    return bool(key and _CHUNK.fullmatch(name))


def remove(path: Path, groups: Collection[str]) -> None:
    """Removes groups that are ours according to `survey`."""
    for group in groups:
        shutil.rmtree(path / group, ignore_errors=False)
    for leftover in os.listdir(path):
        if _PARTIAL.fullmatch(leftover):
            (path / leftover).unlink()


class Opened:
    """The folder of a store that is being written, even if it is renamed."""

    def __init__(self):
        self._path: Path | None = None
        self._made: os.stat_result | None = None
        self._release: Callable[[], Any] = lambda: None

    def make(self, path: Path, room: int) -> None:
        """Makes the folder if it does not exist, and checks that it has room.

        Raises:
            OSError: If it cannot be made, or there is no room.
        """
        new = not path.exists()
        try:
            path.mkdir(exist_ok=True)
            try:
                try_room(path, room)
            except OSError:
                if new:
                    path.rmdir()
                raise
            self._path, self._made = path, os.stat(path)
            if hasattr(os, "O_DIRECTORY"):
                # As long as it is open, no other folder gets its inode number.
                number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                self._release = weakref.finalize(self, os.close, number)
        except OSError as error:
            raise cannot_write(path, error) from None
        self._process = os.getpid()

    def close(self) -> None:
        """Releases the folder."""
        self._release()

    def check(self) -> None:
        """Checks that the folder that was opened is still at its path.

        Raises:
            OSError: If it is not, or this is another process.
        """
        if os.getpid() != self._process:
            reason = "this is a copy of the process that writes it"
            raise OSError(errno.EBUSY, reason, str(self._path))
        with contextlib.suppress(OSError):
            if (
                self._path is not None
                and self._made is not None
                and os.path.samestat(os.lstat(self._path), self._made)
            ):
                return
        reason = "it was moved or removed while it was being written"
        raise OSError(errno.ESTALE, reason, str(self._path))


def new_file(path: Path):
    """Opens a new binary file with an unpredictable name."""
    # With "x", an existing file is an error, and a link is never followed.
    return open(path / f"zarr.{uuid.uuid4().hex}.partial", "xb")


def try_room(path: Path, size: int) -> None:
    """Writes and removes a file, to check before training whether there is room."""
    block = os.urandom(_BLOCK)
    file = new_file(path)
    try:
        with file:
            for begin in range(0, max(size, 1), _BLOCK):
                file.write(block[: size - begin])
            file.flush()
            os.fsync(file.fileno())
    finally:
        os.unlink(file.name)
