"""Files of the command line: what it reads, and where it writes."""

import itertools
import zipfile
from pathlib import Path

import numpy as np


def read_arrays(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Returns the array of a .npy file, or all arrays of a .npz file by their names."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no data file '{path}'.")
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"'{path}' could not be read as NumPy data: it is not a .npy or .npz file, "
            "was cut off, or holds Python objects. Write arrays of numbers with "
            "`numpy.savez('data.npz', x=x)`."
        ) from error


def new_folder(path: Path) -> Path:
    """Makes a folder for results, which must be new or empty."""
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise FileExistsError(
            f"--out must be a new or empty folder; '{path}' has files in it. Choose "
            "another, or empty it."
        )
    return path


def free_path(path: Path) -> Path:
    """Returns the path itself, or numbered, so that nothing stands there."""
    taken = itertools.takewhile(
        Path.exists,
        itertools.chain([path], (Path(f"{path}-{n}") for n in itertools.count(2))),
    )
    count = sum(1 for _ in taken)
    return path if not count else Path(f"{path}-{count + 1}")
