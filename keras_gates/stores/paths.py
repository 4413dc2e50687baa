"""The allowed paths of a store, which are checked before any file is touched."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path

from keras_gates.checks import path_of

METADATA = "zarr.json"
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
FILE, _DRIVE = ("file://", "local://"), re.compile(r"/[a-z]:", re.IGNORECASE)


def url_of(value) -> str | None:
    """Returns the URL of a store, or `None` if a path was given."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    return text if isinstance(text, str) and _URL.match(text) else None


def local_path(value, argument: str = "store") -> Path | None:
    """Returns the absolute path of a store, or raises an error.

    Raises:
        TypeError: If it is not a path.
        ValueError: If it is a URL, other than the URL of a file.
    """
    url = url_of(value)
    if url is None:
        return path_of(argument, value)
    if not url.startswith(FILE):
        raise ValueError(
            f"`{argument}` must be a path on this machine; got the URL '{url}'. A "
            "growing record needs files to be renamed, which only a file system "
            "supports. Write it to a local folder, and copy the folder when it is "
            "complete."
        )
    path = url.partition("://")[2]
    if not path.startswith("/"):
        raise ValueError(
            f"`{argument}` must be an absolute path in a URL of a file; got '{url}'. "
            "Write 'file:///' before it, or give the path alone."
        )
    return path_of(argument, path[1:] if _DRIVE.match(path) else path)


def settle(path: Path) -> Path:
    """Returns the resolved path of a store, or raises an error if it is not possible.

    Links to the folders above it are followed, so that each place has only one path.
    The store itself must not be a link.

    Raises:
        ValueError: If the path is a link, or is inside another Zarr store.
        OSError: If the file system does not accept such a path.
    """
    path = path.resolve() if path.name in ("", "..") else path
    if not path.name:
        raise ValueError(
            f"`store` must be a folder of its own; got '{path}'. Give the path of a "
            "new folder."
        )
    try:
        # The files in the store have long names too.
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path / ("x" * 200) / ("x" * 200))
    except NotADirectoryError:
        pass  # A file is at the path, which its reader reports; or is one above it.
    except OSError as error:
        raise cannot_write(path, error) from None
    if path.is_symlink():
        raise ValueError(
            f"`store` must not be a link; '{path}' is a link to '{os.readlink(path)}'. "
            "Give the path to which it leads, or choose another path."
        )
    for folder in path.parents:
        if folder.is_symlink() and not folder.exists():
            reason = f"'{folder}' is a broken link"
            raise cannot_write(path, FileNotFoundError(errno.ENOENT, reason))
    try:
        path = path.parent.resolve() / path.name
    except (OSError, RuntimeError) as error:  # A circle of links.
        raise cannot_write(path, error) from None
    for folder in path.parents:
        with contextlib.suppress(OSError):
            if (folder / METADATA).is_file():
                raise ValueError(
                    f"`store` must not be inside another Zarr store; '{path}' is in "
                    f"'{folder}'. Choose a path outside it."
                )
    return path


def new_path(value) -> Path | None:
    """Returns a path at which a new store can be written, or raises an error.

    Raises:
        FileExistsError: If the path already exists.
        ValueError: As in `local_path` and `settle`.
        OSError: As in `settle`.
    """
    path = local_path(value)
    if path is None:
        return None
    if os.path.lexists(path) and path.name:
        what = "is a link" if path.is_symlink() else "exists already"
        raise FileExistsError(
            f"`store` must be a new path; '{path}' {what}. Remove it, or choose "
            "another path."
        )
    return settle(path)


def cannot_write(path: Path, error: Exception) -> OSError:
    """Returns the error for a place that cannot be written."""
    number = getattr(error, "errno", None) or errno.EIO
    reason = getattr(error, "strerror", None) or str(error)
    kind = type(error) if isinstance(error, OSError) else OSError
    return kind(
        number,
        f"The store cannot be written ({reason}). Choose another path",
        str(path),
    )


def no_store(path: Path) -> ValueError:
    """Returns the error for a path at which there is something else."""
    return ValueError(
        f"'{path}' is not a store that keras_gates wrote. Choose a path that does not "
        "exist yet."
    )
