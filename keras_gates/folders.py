"""Folders for the results of a command."""

import itertools
from pathlib import Path


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
