"""The files that the command line reads, and the folders it writes into."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

NUMBERS = "biuf"
"""The kinds of NumPy dtypes that a model reads: booleans and real numbers."""

_KINDS = {
    "c": "complex numbers",
    "O": "Python objects",
    "S": "text",
    "U": "text",
    "V": "records",
    "M": "dates",
    "m": "durations",
}


def read_arrays(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Returns the array of a .npy file, or all arrays of a .npz file by their names."""
    require_file(path, "data")
    with path.open("rb") as stream:
        try:
            loaded = np.load(stream, allow_pickle=False)
            loaded = loaded if isinstance(loaded, np.ndarray) else dict(loaded)
        # A damaged archive raises errors of zipfile, zlib, NumPy and Python.
        except Exception as error:
            raise ValueError(
                f"'{path}' could not be read as NumPy data: it is not a .npy or .npz "
                "file, is truncated or damaged, or holds Python objects. Write arrays "
                "of numbers with `numpy.savez('data.npz', x=x)`."
            ) from error
    if isinstance(loaded, dict):
        for name, member in loaded.items():
            if not isinstance(member, np.ndarray):
                raise ValueError(
                    f"'{path}' could not be read as NumPy data: its member {name!r} is "
                    "not an array. Write it with `numpy.savez('data.npz', x=x)`."
                )
    return loaded


def require_numbers(path: Path, name: str, array: np.ndarray, kinds=NUMBERS) -> None:
    """Refuses an array that no model can read.

    Args:
        path: The file that holds it.
        name: The name of the array, for errors.
        array: The array.
        kinds: The kinds of dtypes that are allowed.
    """
    if array.dtype.kind not in kinds:
        raise ValueError(
            f"'{path}' must hold numbers; the array {name!r} holds "
            f"{_KINDS.get(array.dtype.kind, array.dtype)}. Convert it to an array of "
            "real numbers first."
        )
    if not array.ndim:
        raise ValueError(
            f"'{path}' must hold arrays whose first axis counts the samples; the array "
            f"{name!r} is a single number."
        )
    if not len(array):
        raise ValueError(
            f"'{path}' must hold at least one sample; the array {name!r} has the shape "
            f"{array.shape}."
        )


def require_file(path: Path, what: str) -> None:
    """Refuses a path at which there is no file.

    Args:
        path: The path.
        what: The content of the file, "model" or "data".
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"The {what} must be a file; '{path}' is a folder. Name a file in it."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no {what} file {str(path)!r}.")


def require_folder(path: Path) -> None:
    """Refuses a path at which no folder can be created, before any work starts."""
    if "\0" in str(path):
        raise ValueError(f"--out must be a path; {str(path)!r} holds a NUL character.")
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise FileExistsError(f"--out must be a folder; '{existing}' is a file.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(
            f"--out must be a folder that can be written; '{existing}' cannot. Choose "
            "another folder."
        )


def new_folder(path: Path) -> Path:
    """Creates a folder for results, which must be new or empty."""
    require_folder(path)
    if path.exists() and any(path.iterdir()):
        raise FileExistsError(
            f"--out must be a new or empty folder; '{path}' has files in it. Choose "
            "another folder, or empty it."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def results(path: Path) -> Iterator[Path]:
    """Creates a new or empty folder for results; a failure leaves nothing in it."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    new_folder(path)
    try:
        yield path
    except BaseException:
        # The folder was empty: all files in it are unfinished results of this run.
        for left in path.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()
        raise


def file_names(paths: Iterable[str], ending: str) -> list[str]:
    """Returns a different file name for each path of a layer.

    The names also differ on file systems that ignore the case of letters.

    Args:
        paths: Paths such as "encoder/lstm".
        ending: The end of each name, such as ".png".

    Example:
        >>> file_names(["a/b", "a.b", "A.b", "r#2", ".."], ".png")
        ['a.b.png', 'a.b-2.png', 'A.b-3.png', 'r#2.png', '_.png']
    """
    taken, names = set(), []
    for path in paths:
        # Some file systems refuse these characters, and leading dots hide a file.
        name = re.sub(r'[\x00-\x1f<>:"\\|?*]|^\.+|[. ]+$', "_", path.replace("/", "."))
        name = name.encode("utf-8", "replace")[:150].decode("utf-8", "ignore") or "_"
        for number in itertools.count(1):
            chosen = f"{name}-{number}" if number > 1 else name
            key = unicodedata.normalize("NFC", chosen).casefold()
            if key not in taken:
                break
        taken.add(key)
        names.append(f"{chosen}{ending}")
    return names


def free_path(path: Path) -> Path:
    """Returns the path, with a number if it exists already."""
    taken = itertools.takewhile(
        Path.exists,
        itertools.chain([path], (Path(f"{path}-{n}") for n in itertools.count(2))),
    )
    count = sum(1 for _ in taken)
    return path if not count else Path(f"{path}-{count + 1}")
