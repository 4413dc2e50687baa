"""The folder of a study, in which every finished run is saved at once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_gates.stores import locks
from keras_gates.study.study_data import Data
from keras_gates.study.training import Order, Run
from keras_gates.vocabulary import VERSION

STUDY, RUN, PREDICTIONS, GATES = "study.json", "run.json", "predictions.npy", "gates"
FORMAT = 2
"""Since format 2, each run names the study it belongs to."""

# Numbers that Keras gives to every new object, and addresses in memory: they differ
# between equal models.
_CHANGING = re.compile(r'_\d+(?=["/])|0x[0-9a-f]+|"shared_object_id": \d+')


class StudyFolder:
    """Keeps the finished runs of one study in a folder.

    Args:
        path: The folder, which is created if it does not exist.
        description: The description of the study. A folder of another study is refused.

    Raises:
        ValueError: If the folder contains other files, or another study.
        BlockingIOError: If another process is writing to this study.
    """

    def __init__(self, path: Path, description: dict[str, Any]):
        self._path = path
        busy = (
            f"Another process is writing to the study '{path}'. Wait for it to end, or "
            "choose another `directory`."
        )
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = locks.acquire(path / ".lock", busy)
        except BlockingIOError:
            raise
        except OSError as error:
            raise type(error)(
                error.errno,
                f"`directory` cannot be written ({error.strerror}). Choose another "
                "path",
                str(path),
            ) from None
        try:
            description = json.loads(json.dumps(description))
            text = json.dumps(description, sort_keys=True)
            self._study = hashlib.sha256(text.encode()).hexdigest()[:16]
            self._begin(description)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Releases the lock, so that other processes can write."""
        self._lock.release()

    def read(self, order: Order) -> Run | None:
        """Returns a run that was finished before, or `None`.

        Raises:
            ValueError: If the run is damaged, or belongs to another study.
        """
        import xarray

        folder = self._folder(order)
        if not folder.exists():
            return None
        with _damage_in_words(folder / RUN):
            run = _checked(json.loads((folder / RUN).read_text()), order, self._study)
        if run.predictions is not None:
            with _damage_in_words(folder / PREDICTIONS):
                predictions = np.load(folder / PREDICTIONS)
                if list(predictions.shape) != run.predictions:
                    raise ValueError(f"its shape is not {run.predictions}")
            run = run._replace(predictions=predictions)
        if run.gates is not None:
            with _damage_in_words(folder / GATES):
                gates = xarray.open_datatree(
                    folder / GATES, engine="zarr", consolidated=False
                )
            run = run._replace(gates=gates)
        return run

    def write(self, order: Order, run: Run) -> None:
        """Saves a run; the folder contains all of it or nothing."""
        # In the same folder, so that the last step is a single renaming.
        unfinished = Path(tempfile.mkdtemp(dir=self._path, prefix=".unfinished-"))
        try:
            # Predictions and gates have their own files; here are a shape and a flag.
            fields = run._asdict() | {
                "predictions": run.predictions is not None
                and list(np.shape(run.predictions)),
                "gates": run.gates is not None,
                "study": self._study,
            }
            (unfinished / RUN).write_text(json.dumps(fields, indent=1))
            if run.predictions is not None:
                np.save(unfinished / PREDICTIONS, run.predictions)
            if run.gates is not None:
                run.gates.to_zarr(unfinished / GATES, consolidated=False)
            os.rename(unfinished, self._folder(order))
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def _folder(self, order: Order) -> Path:
        """Returns the folder of a run, whose name is readable and unique."""
        name = json.dumps([order.architecture, order.seed, order.learning_rate])
        readable = re.sub(r"\W+", "-", f"{order.architecture[:40]}-{order.seed}")
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return self._path / f"{readable}-{digest}"

    def _begin(self, description: dict[str, Any]) -> None:
        about = self._path / STUDY
        found = _described(about) if about.exists() else None
        # Hidden files are the lock, and the remains of a process that was killed.
        visible = {path.name for path in self._path.iterdir() if path.name[0] != "."}
        if visible <= {STUDY}:  # No run was finished yet: nothing can be mixed.
            unfinished = about.with_name(f".{STUDY}")
            unfinished.write_text(json.dumps(description, indent=1))
            os.replace(unfinished, about)
            return
        if found is None:
            raise ValueError(
                f"`directory` must be new, empty or that of a study; '{self._path}' "
                "has other files in it. Choose another folder."
            )
        names = [*description, *(name for name in found if name not in description)]
        other = [name for name in names if found.get(name) != description.get(name)]
        if other:
            raise ValueError(
                f"The study in '{self._path}' cannot be continued: its "
                f"{_in_words(other[0], found, description)}. Choose another "
                "`directory`, so that the runs of two studies do not mix."
            )
        for unfinished in self._path.glob(".unfinished-*"):
            shutil.rmtree(unfinished, ignore_errors=True)


def _described(about: Path) -> dict[str, Any]:
    """Reads the description of a study, and refuses any other file."""
    try:
        found = json.loads(about.read_text())
        if not {"format", "architectures"} <= set(found):
            raise ValueError("it does not describe a study")
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise ValueError(
            f"`directory` must be new, empty or that of a study; '{about}' is not the "
            f"description of a study, or it is damaged: {error}. Choose another "
            "`directory`."
        ) from None
    return found


@contextlib.contextmanager
def _damage_in_words(file: Path) -> Iterator[None]:
    """Names the file of a run that cannot be read, and what to do."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"`directory` holds a run that cannot be used: '{file}' is damaged or does "
            f"not belong there: {error}. Remove '{file.parent}', and this run is "
            "trained again."
        ) from error


def _checked(fields: Any, order: Order, study: str) -> Run:
    """Returns the run of a file, if it is the run that was ordered."""
    wanted = {*Run._fields, "study"}
    if not isinstance(fields, dict) or set(fields) != wanted:
        raise ValueError(f"it must hold {', '.join(sorted(wanted))}, and nothing else")
    if fields.pop("study") != study:
        raise ValueError("it belongs to another study")
    run = Run(**fields)
    ordered = order.learning_rate in (None, run.learning_rate)
    if (run.architecture, run.seed) != (order.architecture, order.seed) or not ordered:
        raise ValueError(f"it is not the run of {order}")
    whole = (run.parameters, run.updates, run.peak_memory)
    series = [run.seconds, *run.history.values()]
    numbers = [run.learning_rate, run.inference_seconds, *itertools.chain(*series)]
    if not all(type(number) is int for number in whole) or not all(
        type(number) in (int, float) for number in numbers
    ):
        raise ValueError("one of its numbers is not a number")
    if not run.seconds or {len(values) for values in series} != {len(run.seconds)}:
        raise ValueError("it must hold a number for each epoch")
    if "val_loss" not in run.history:
        raise ValueError("it has no val_loss")
    return run._replace(predictions=run.predictions or None, gates=run.gates or None)


def _in_words(name: str, found: dict, wanted: dict) -> str:
    old, new = found.get(name), wanted.get(name)
    if isinstance(old, dict) and isinstance(new, dict):
        key = next(key for key in [*old, *new] if old.get(key) != new.get(key))
        if key not in old or key not in new:
            return f"{name} were {', '.join(old)}, and are now {', '.join(new)}"
        return f"{name[:-1]} {key!r} has changed"
    if name == "data":
        return "data have changed"
    return f"{name} was {old!r}, and is now {new!r}"


def description_of(
    models: dict[str, keras.Model], data: Data, options: dict[str, Any]
) -> dict[str, Any]:
    """Returns the description of a study, by which studies are distinguished.

    Args:
        models: An untrained model of each architecture.
        data: The data, of which a digest is taken.
        options: The other settings on which a run depends.
    """
    return {
        "format": FORMAT,
        "keras_gates": VERSION,
        "keras": keras.version(),
        "backend": keras.backend.backend(),
        "floatx": keras.config.floatx(),
        "data": _digest(data),
        **options,
        "architectures": {name: _fingerprint(model) for name, model in models.items()},
    }


def _digest(data: Data) -> str:
    """Returns a digest of every shape, type and value."""
    digest = hashlib.sha256()
    for part in data:
        for path, leaf in keras.tree.flatten_with_path(part):
            digest.update(repr((path, leaf.shape, leaf.dtype.str)).encode())
            digest.update(np.ascontiguousarray(leaf).view(np.uint8).data)
    return digest.hexdigest()


def _fingerprint(model: keras.Model) -> str:
    """Returns a digest of a model's configuration and how it was compiled."""
    parts = [[variable.path, variable.shape] for variable in model.weights]
    # A subclassed model may have no configuration; then only its weights count.
    for part in (model.get_config, model.get_compile_config):
        with contextlib.suppress(Exception):
            parts.append(part())
    text = _CHANGING.sub("", json.dumps(parts, default=str, sort_keys=True))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
