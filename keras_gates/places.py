"""Where a store may be: what is checked before anything is touched, and kept after."""

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from keras_gates.checks import path_of

METADATA = "zarr.json"
UNFINISHED, LOCK = ".unfinished", ".lock"
AGE = 3600
"""Seconds after which an empty hidden folder belongs to nobody."""
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_PARTIAL = re.compile(r"[^/]*\.[0-9a-f]{32}\.partial")
_CHUNK = re.compile(r"(.+)/c(?:/\d+)*")
_HIDDEN = re.compile(r"\..+-[a-z0-9_]{8}(\.unfinished)?")
_BLOCK = 2**20


def local_path(value, argument: str = "store") -> Path | None:
    """Returns the absolute path of a store, or says what the argument must be.

    Raises:
        TypeError: If it is no path.
        ValueError: If it is a URL.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if isinstance(text, str) and _URL.match(text):
        raise ValueError(
            f"`{argument}` must be a path on this machine; got the URL '{text}'. A "
            "store is written by renaming files, which only a file system can. Write "
            "it to a local folder, and copy the folder when it is complete."
        )
    return path_of(argument, value)


def settle(path: Path) -> Path:
    """Returns the one true path of a store, or says why no store can be there.

    Whatever is a link on the way to it is followed, so that two names of one place
    become one. A store itself must not be a link.

    Raises:
        ValueError: If there is a link, or a Zarr store around the path.
        OSError: If the file system takes no such path.
    """
    path = path.resolve() if path.name in ("", "..") else path
    if not path.name:
        raise ValueError(
            f"`store` must be a folder of its own; got '{path}'. Give the path of a "
            "new folder."
        )
    try:
        # What is written there has names, too.
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path / ("x" * 200) / ("x" * 200))
    except NotADirectoryError:
        pass  # A file is at the path, which its reader tells; or is one above it.
    except ValueError:
        raise ValueError(
            f"`store` must be a path; {str(path)!r} holds a character that no path can "
            "have. Choose another."
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from None
    if path.is_symlink():
        raise ValueError(
            f"`store` must not be a link; '{path}' is a link to '{os.readlink(path)}'. "
            "Give the path that it leads to, or choose another."
        )
    for folder in path.parents:
        if folder.is_symlink() and not folder.exists():
            reason = f"'{folder}' is a link that leads nowhere"
            raise cannot_write(path, FileNotFoundError(errno.ENOENT, reason))
    try:
        path = path.parent.resolve() / path.name
    except (OSError, RuntimeError) as error:  # A circle of links.
        raise cannot_write(path, error) from None
    for folder in path.parents:
        with contextlib.suppress(OSError):
            if (folder / METADATA).is_file():
                raise ValueError(
                    f"`store` must not lie inside of another Zarr store; '{path}' "
                    f"lies in '{folder}'. Choose a path outside of it."
                )
    return path


def new_path(value) -> Path | None:
    """Returns a path at which a new store can be written, or says why not.

    Raises:
        FileExistsError: If there is something at the path already.
        ValueError: As of `local_path` and `settle`.
        OSError: As of `settle`.
    """
    path = local_path(value)
    if path is None:
        return None
    try:
        exists = os.path.lexists(path)
    except ValueError:  # Which `settle` explains.
        exists = False
    if exists and path.name:
        what = "is a link" if path.is_symlink() else "exists already"
        raise FileExistsError(
            f"`store` must be a new path; '{path}' {what}. Remove it, or choose "
            "another."
        )
    return settle(path)


def cannot_write(path: Path, error: Exception) -> OSError:
    """Makes the error about a place where nothing can be written."""
    number = getattr(error, "errno", None) or errno.EIO
    reason = getattr(error, "strerror", None) or str(error)
    kind = type(error) if isinstance(error, OSError) else OSError
    return kind(
        number,
        f"The store cannot be written ({reason}). Choose another path",
        str(path),
    )


def no_store(path: Path) -> ValueError:
    """Makes the error about a path at which there is something else."""
    return ValueError(
        f"'{path}' is not a store that keras_gates wrote. Choose a path where there is "
        "nothing yet."
    )


def lock(path: Path):
    """Keeps other processes from writing, as long as this one lives.

    Raises:
        BlockingIOError: If another process writes.
        OSError: If nothing can be written there.
    """
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the store, which holds data only.
        file = path.with_name(f".{path.name}.lock")
        _refuse_odd(file)
        return filelock.FileLock(file, timeout=0).acquire().lock
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another process writes the store '{path}', or another recorder of this "
            "one. Wait for it, or choose another path; after a `fit` that was "
            "interrupted, call the recorder's `on_train_end()`."
        ) from None
    except (OSError, NotImplementedError) as error:
        raise cannot_write(path, error) from None


def _refuse_odd(file: Path) -> None:
    """Refuses to open a link, or a pipe, in the place of a file of ours."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(file).st_mode):
            raise OSError(errno.EINVAL, f"'{file}' is in the way: it is no plain file")


def survey(path: Path, keys: Collection[str], groups: Collection[str]) -> list[str]:
    """Lists what is in a store, and refuses what must not be in one.

    Args:
        path: The folder.
        keys: What the store shows: the keys of its groups and arrays.
        groups: The groups that a writer may leave half written, shown or not.

    Returns:
        What is not ours, relative to the folder.

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
                "would change what lies elsewhere. Put the folder itself in its place, "
                "or choose another path."
            )
        folder = entry.is_dir(follow_symlinks=False)
        if folder:
            _require_writable(path, entry.path)
        if not _ours(name, folder, keys, hidden):
            foreign.append(name)
    return foreign


def _ends(key: str) -> list[int]:
    """Returns where the names in a key end."""
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
    """Says whether a file or folder is one that Zarr writes for these keys."""
    if any(name == group or name.startswith(f"{group}/") for group in hidden):
        key = True  # Begun, and not shown: its keys are known to nobody.
    else:
        found = _CHUNK.fullmatch(name)
        key = name in keys or (found and found[1] in keys)
    if folder:
        return bool(key)
    above, _, last = name.rpartition("/")
    if last == METADATA or _PARTIAL.fullmatch(last):
        return not above or _ours(above, True, keys, hidden)
    return bool(key and _CHUNK.fullmatch(name))


def remove(path: Path, groups: Collection[str]) -> None:
    """Removes groups, of which `survey` found that they are ours."""
    for group in groups:
        shutil.rmtree(path / group, ignore_errors=False)
    for leftover in os.listdir(path):
        if _PARTIAL.fullmatch(leftover):
            (path / leftover).unlink()


class Opened:
    """The folder of a store that is written, whatever its name is by now."""

    def __init__(self):
        self._path: Path | None = None
        self._made: os.stat_result | None = None
        self._release: Callable[[], Any] = lambda: None

    def make(self, path: Path, room: int) -> None:
        """Makes the folder if it is not there, and finds out whether it has room.

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
                # As long as it is open, no other folder gets its number.
                number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                self._release = weakref.finalize(self, os.close, number)
        except OSError as error:
            raise cannot_write(path, error) from None
        self._process = os.getpid()

    def close(self) -> None:
        """Lets go of the folder."""
        self._release()

    def check(self) -> None:
        """Checks that what is at the path is still the folder that was opened.

        Raises:
            OSError: If it is not, or this is another process.
        """
        if os.getpid() != self._process:
            reason = "this is a copy of the process that writes it"
            raise OSError(errno.EBUSY, reason, str(self._path))
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(self._path), self._made):
                return
        reason = "it was moved, or removed, while it was written"
        raise OSError(errno.ESTALE, reason, str(self._path))


def new_file(path: Path):
    """Opens a file for bytes whose name nobody can know before."""
    # By "x" it is made here, or it is an error: a link is never followed.
    return open(path / f"zarr.{uuid.uuid4().hex}.partial", "xb")


def try_room(path: Path, size: int) -> None:
    """Writes and removes a file, to find out before training whether there is room."""
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


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Makes a hidden folder beside a path, and removes it in the end.

    What killed processes left of such folders is removed first.

    Raises:
        BlockingIOError: If another process has one for the same path.
        OSError: If nothing can be written there.
    """
    import filelock

    prefix = f".{path.name[:100]}-"
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if any(name.startswith(prefix) for name in _sweep(path.parent)):
                raise BlockingIOError(
                    f"Another capture writes the store '{path}'. Wait for it, or "
                    "choose another path."
                )
            while True:
                made = tempfile.TemporaryDirectory(
                    dir=path.parent, prefix=prefix, suffix=UNFINISHED
                )
                folder = Path(stack.enter_context(made))
                held = filelock.FileLock(folder / LOCK, timeout=0)
                with contextlib.suppress(filelock.Timeout, FileNotFoundError):
                    stack.callback(held.acquire().lock.release)
                    # Unless another process swept it away before it was locked.
                    if folder.exists():
                        break
        except BlockingIOError:
            raise
        except (OSError, NotImplementedError) as error:
            raise cannot_write(path, error) from None
        yield folder


def _sweep(parent: Path) -> list[str]:
    """Removes the hidden folders of dead processes, and returns those of living ones.

    A living process holds the lock that lies in its folder.
    """
    import filelock

    living = []
    for entry in list(os.scandir(parent)):
        if not (_HIDDEN.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)):
            continue
        with contextlib.suppress(OSError, NotImplementedError):  # Gone by now.
            inside = set(os.listdir(entry.path))
            file = Path(entry.path, LOCK if LOCK in inside else ".store.lock")
            if not inside:
                if time.time() - entry.stat().st_mtime > AGE:
                    os.rmdir(entry.path)
            elif file.name in inside and inside <= {LOCK, ".store.lock", "store"}:
                _refuse_odd(file)
                try:
                    with filelock.FileLock(file, timeout=0):
                        shutil.rmtree(Path(entry.path, "store"), ignore_errors=True)
                except filelock.Timeout:
                    living.append(entry.name)
                else:
                    shutil.rmtree(entry.path)
    return living
