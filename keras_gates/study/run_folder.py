"""The folder of a study: a run is in it from its end on, whatever happens next."""

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
"""Since 2, each run says which study it belongs to."""

# What Keras numbers or draws anew for every object, and what says nothing of it.
_CHANGING = re.compile(r'_\d+(?=["/])|0x[0-9a-f]+|"shared_object_id": \d+')


class StudyFolder:
    """Keeps the finished runs of one study in a folder.

    Args:
        path: The folder, which is made if it is not there.
        description: What the study is. A folder of another one is refused.

    Raises:
        ValueError: If there is something else in the folder, or another study.
        BlockingIOError: If another process writes this study.
    """

    def __init__(self, path: Path, description: dict[str, Any]):
        self._path = path
        busy = (
            f"Another process writes the study '{path}'. Wait for it, or choose "
            "another `directory`."
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
        """Lets other processes write."""
        self._lock.release()

    def read(self, order: Order) -> Run | None:
        """Returns a run that was finished before, or `None`.

        Raises:
            ValueError: If it is damaged, or of another study.
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
        """Keeps a run; it is there as a whole or not at all."""
        # Beside its place, so that the last step is one renaming.
        unfinished = Path(tempfile.mkdtemp(dir=self._path, prefix=".unfinished-"))
        try:
            # What is in files of its own: that it is there, and its shape.
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
        """Returns where a run is kept: readable, and different for different runs."""
        name = json.dumps([order.architecture, order.seed, order.learning_rate])
        readable = re.sub(r"\W+", "-", f"{order.architecture[:40]}-{order.seed}")
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return self._path / f"{readable}-{digest}"

    def _begin(self, description: dict[str, Any]) -> None:
        about = self._path / STUDY
        found = _described(about) if about.exists() else None
        # Hidden are the lock, and what is left where a writer was killed.
        shown = {path.name for path in self._path.iterdir() if path.name[0] != "."}
        if shown <= {STUDY}:  # No run was finished yet: nothing can be mixed.
            unfinished = about.with_name(f".{STUDY}")
            unfinished.write_text(json.dumps(description, indent=1))
            os.replace(unfinished, about)
            return
        if found is None:
            raise ValueError(
                f"`directory` must be new, empty or that of a study; '{self._path}' "
                "has other files in it. Choose another."
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
    """Reads the description of a study, and refuses what is none."""
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
    """Names the file of a run that cannot be read, and the way out."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"`directory` holds a run that cannot be used: '{file}' is damaged, or not "
            f"what it should be: {error}. Remove '{file.parent}', and this run is "
            "trained again."
        ) from error


def _checked(fields: Any, order: Order, study: str) -> Run:
    """Returns what a file says of a run, if that is what was ordered."""
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
        raise ValueError("a number in it is none")
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
            return f"{name} are {', '.join(old)}, and now they are {', '.join(new)}"
        return f"{name[:-1]} {key!r} is another one"
    if name == "data":
        return "data are others"
    return f"{name} is {old!r}, and now it is {new!r}"


def description_of(
    models: dict[str, keras.Model], data: Data, options: dict[str, Any]
) -> dict[str, Any]:
    """Describes a study, so that another one can be distinguished from it.

    Args:
        models: An untrained model of each architecture.
        data: The data, of which a digest is taken.
        options: What else a run depends on.
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
    # A subclassed model may have no configuration; then its weights must do.
    for part in (model.get_config, model.get_compile_config):
        with contextlib.suppress(Exception):
            parts.append(part())
    text = _CHANGING.sub("", json.dumps(parts, default=str, sort_keys=True))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
