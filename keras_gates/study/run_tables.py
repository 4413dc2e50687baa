"""The runs of a study, gathered into tables and labelled arrays."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates.study.result import Study
from keras_gates.study.study_data import Data, count
from keras_gates.study.training import Run

if TYPE_CHECKING:
    import pandas
    import xarray

_AUTOMATIC_NUMBER = re.compile(r"_\d+(?=_|$)")


def attributes(data: Data, batch_size: int) -> dict[str, Any]:
    """Returns the attributes of the history of a study."""
    known = {
        "backend": keras.backend.backend(),
        "batch_size": batch_size,
        "samples": count(data.x),
    }
    if isinstance(data.x, np.ndarray) and data.x.ndim > 1:
        known["timesteps"] = data.x.shape[1]
    return known


def gather(
    runs: list[Run], trials: list[Run], units: dict[str, int], about: dict[str, Any]
) -> Study:
    """Gathers the runs into one table and one labelled data set.

    Args:
        runs: All runs of the study.
        trials: The runs that chose the learning rates.
        units: The units of each architecture, if it came from a recipe.
        about: The attributes of the history.
    """
    import xarray

    histories = _histories(runs)
    coordinates: dict[str, Any] = {
        "architecture": list(dict.fromkeys(run.architecture for run in runs)),
        "seed": list(dict.fromkeys(run.seed for run in runs)),
        "epoch": np.arange(1, max(len(run.seconds) for run in runs) + 1),
    }
    shape = tuple(len(values) for values in coordinates.values())
    metrics = dict.fromkeys(itertools.chain.from_iterable(histories))
    variables = {name: np.full(shape, np.nan) for name in metrics}
    for run, of_run in zip(runs, histories, strict=True):
        place = (
            coordinates["architecture"].index(run.architecture),
            coordinates["seed"].index(run.seed),
        )
        for name, values in of_run.items():
            variables[name][place][: len(values)] = values
    updates = runs[0].updates * coordinates["epoch"]
    history = xarray.Dataset(
        {
            name: (tuple(coordinates), values, _attributes(name))
            for name, values in variables.items()
        },
        coords={
            **coordinates,
            "updates": ("epoch", updates, {"long_name": "updates"}),
        },
        attrs=about,
    )
    if units:
        of_each = [units[name] for name in coordinates["architecture"]]
        history = history.assign_coords(units=("architecture", of_each))
    history["elapsed"] = history["seconds"].cumsum("epoch")
    history["elapsed"].attrs = _attributes("elapsed")
    return Study(
        runs=_table(runs, histories),
        history=history,
        trials=_table(trials, _histories(trials)) if trials else None,
        predictions=_predictions(runs, coordinates),
        gates={
            (run.architecture, run.seed): run.gates
            for run in runs
            if run.gates is not None
        },
    )


def _histories(runs: list[Run]) -> list[dict[str, list[float]]]:
    return [
        {**history, "seconds": run.seconds}
        for run, history in zip(runs, _without_numbers(runs), strict=True)
    ]


def _table(runs: list[Run], histories: list[dict]) -> pandas.DataFrame:
    """Returns a row for each run."""
    import pandas

    rows = [_row(run, history) for run, history in zip(runs, histories, strict=True)]
    frame = pandas.DataFrame(rows)
    frame["diverged"] = frame.pop("diverged")
    return frame


def _row(run: Run, history: dict[str, list[float]]) -> dict[str, Any]:
    """Returns a run as a row of `Study.runs`."""
    later = run.seconds[1:]
    losses = [history.get(name, []) for name in ("loss", "val_loss")]
    validation = np.array(history["val_loss"])
    finite = np.isfinite(validation)
    best = np.argmin(np.where(finite, validation, np.inf)) + 1
    return {
        "architecture": run.architecture,
        "seed": run.seed,
        "learning_rate": run.learning_rate,
        "parameters": run.parameters,
        "first_epoch_seconds": run.seconds[0],
        "epoch_seconds": float(np.mean(later)) if later else math.nan,
        "inference_seconds": run.inference_seconds,
        "peak_memory": run.peak_memory,
        "best_epoch": int(best) if finite.any() else math.nan,
        **{name: history[name][-1] for name in history if name != "seconds"},
        "diverged": not all(np.isfinite(values).all() for values in losses),
    }


def _predictions(runs: list[Run], coordinates: dict) -> xarray.DataArray | None:
    import xarray

    if any(run.predictions is None for run in runs):
        return None
    architectures, seeds = coordinates["architecture"], coordinates["seed"]
    by_run: dict[tuple, Any] = {
        (run.architecture, run.seed): run.predictions for run in runs
    }
    values = np.stack(
        [np.stack([by_run[name, seed] for seed in seeds]) for name in architectures]
    )
    others = [f"output_{axis}" for axis in range(values.ndim - 3)]
    return xarray.DataArray(
        values,
        dims=("architecture", "seed", "sample", *others),
        coords={"architecture": architectures, "seed": seeds},
        name="predictions",
    )


_SECONDS = {"seconds": "training time of an epoch", "elapsed": "training time so far"}


def _attributes(metric: str) -> dict[str, str]:
    """Returns the label and the unit of an axis for this variable."""
    if metric in _SECONDS:
        return {"long_name": _SECONDS[metric], "units": "s"}
    part = "validation" if metric.startswith("val_") else "training"
    return {"long_name": f"{part} {metric.removeprefix('val_').replace('_', ' ')}"}


def _without_numbers(runs: list[Run]) -> list[dict[str, list[float]]]:
    """Returns the histories under names that are the same for every run.

    Keras numbers the objects that it names, across models: the metric `AUC()` is "auc"
    in the first model that has one, and "auc_1" in the second. Names that differ
    between runs only in such numbers are renumbered within each run.
    """
    stems = [
        tuple(_AUTOMATIC_NUMBER.sub("", name) for name in run.history) for run in runs
    ]
    alike: dict[tuple, list[tuple]] = {}
    for run, stem in zip(runs, stems, strict=True):
        alike.setdefault(stem, []).append(tuple(run.history))
    settled: dict[tuple, list[str]] = {}
    for stem, names in alike.items():
        settled[stem] = []
        for part, versions in zip(stem, zip(*names, strict=True), strict=True):
            name = versions[0] if len(set(versions)) == 1 else part
            copies = itertools.count(1)
            while name in settled[stem]:
                name = f"{part}_{next(copies)}"
            settled[stem].append(name)
    return [
        dict(zip(settled[stem], run.history.values(), strict=True))
        for run, stem in zip(runs, stems, strict=True)
    ]
