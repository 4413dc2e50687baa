"""Where a store may be, which is checked before anything is touched."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from keras_gates.checks import path_of
from keras_gates.stores import locks

METADATA = "zarr.json"
UNFINISHED, LOCK = ".unfinished", ".lock"
AGE = 3600
"""Seconds after which an empty hidden folder belongs to nobody."""
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_HIDDEN = re.compile(r"\..+-[a-z0-9_]{8}(\.unfinished)?")


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
    if os.path.lexists(path) and path.name:
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the store, which holds data only.
        file = path.with_name(f".{path.name}.lock")
        _refuse_odd(file)
        return locks.acquire(
            file,
            f"Another process writes the store '{path}', or another recorder of this "
            "one. Wait for it, or choose another path; after a `fit` that was "
            "interrupted, call the recorder's `on_train_end()`.",
        )
    except BlockingIOError:
        raise
    except (OSError, NotImplementedError) as error:
        raise cannot_write(path, error) from None


def _refuse_odd(file: Path) -> None:
    """Refuses to open a link, or a pipe, in the place of a file of ours."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(file).st_mode):
            raise OSError(errno.EINVAL, f"'{file}' is in the way: it is no plain file")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Makes a hidden folder beside a path, and removes it in the end.

    What killed processes left of such folders is removed first.

    Raises:
        BlockingIOError: If another process has one for the same path.
        OSError: If nothing can be written there.
    """
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
                with contextlib.suppress(BlockingIOError, FileNotFoundError):
                    stack.callback(locks.acquire(folder / LOCK, "").release)
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
                    with locks.acquire(file, ""):
                        shutil.rmtree(Path(entry.path, "store"), ignore_errors=True)
                except BlockingIOError:
                    living.append(entry.name)
                else:
                    shutil.rmtree(entry.path)
    return living
