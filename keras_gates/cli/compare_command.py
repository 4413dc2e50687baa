"""The command `keras-gates compare`: a study without a line of code."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from rich.console import Console

import keras_gates
from keras_gates import plots
from keras_gates.checks import whole_number
from keras_gates.claims import catalogue
from keras_gates.cli.errors import explained
from keras_gates.cli.files import read_arrays, require_folder, require_numbers
from keras_gates.plots import canvas
from keras_gates.study.builders import MOST_UNITS
from keras_gates.study.prepared_tasks import PREPARED, PreparedTask
from keras_gates.study.recipe import Recipe
from keras_gates.study.result import Study

PARTS = ("x", "y", "x_val", "y_val")
RUNS = "runs"
"""The folder of the finished runs, inside the folder of the results."""

MOST_SEEDS, MOST_LAYERS, MOST_JOBS = 10_000, 100, 1024
"""Larger numbers are typing errors, and would fill the memory before they fail."""


def run(options) -> int:
    """Runs the command.

    Args:
        options: The options of `keras-gates compare`.

    Returns:
        0.
    """
    console = Console(markup=False, highlight=False, soft_wrap=True)
    whole_number("seeds", options.seeds, at_least=1, at_most=MOST_SEEDS)
    if options.claims is not None:
        if options.data is not None:
            raise ValueError(f"--claims has its own tasks; leave {options.data!r} out.")
        out = options.out or Path("keras-gates-claims")
        _require_ours(out)
        catalogue.run(
            options.claims or list(catalogue.CLAIMS), out, options.seeds, console
        )
        return 0
    if len(set(options.architectures)) < len(options.architectures):
        raise ValueError("--architectures must name each architecture only once.")
    whole_number("layers", options.layers, at_least=1, at_most=MOST_LAYERS)
    if options.jobs != -1 and not 1 <= options.jobs <= MOST_JOBS:
        raise ValueError(
            f"--jobs must be from 1 to {MOST_JOBS}, or -1 for one job on each core; "
            f"got {options.jobs}."
        )
    if options.units is not None:
        whole_number("units", options.units, at_least=1, at_most=MOST_UNITS)
    for rate in options.learning_rates:
        if not 0 < rate < math.inf:
            raise ValueError(
                f"--learning-rates must be finite and above 0; got {rate:g}."
            )
    data = "sine" if options.data is None else options.data
    problem = _problem(data)
    out = options.out or Path(f"keras-gates-{Path(data).stem}")
    _require_ours(out)
    console.print(f"{problem.title}\n{problem.split}")
    if options.learning_rates:
        console.print("The learning rates are also chosen on the validation part.")
    console.print()
    with explained(f"The study of '{data}' failed"):
        study = keras_gates.compare(
            options.architectures,
            *problem.train,
            validation_data=problem.test,
            recipe=dataclasses.replace(
                problem.recipe,
                units=problem.recipe.units if options.units is None else options.units,
                layers=options.layers,
                match=options.match,
            ),
            seeds=options.seeds,
            epochs=problem.epochs if options.epochs is None else options.epochs,
            batch_size=options.batch_size,
            learning_rates=options.learning_rates or None,
            n_jobs=options.jobs,
            directory=out / RUNS,
            verbose=1,
        )
    (out / "study.md").write_text(study.to_markdown(problem.metric) + "\n")
    study.runs.to_csv(out / "runs.csv", index=False)
    study.history.to_dataframe().to_csv(out / "history.csv")
    _draw(study, problem.metric).savefig(out / "study.png", dpi=150)
    console.print(f"\n{study.to_string(problem.metric)}")
    console.print(f"\nWritten to {out}:")
    for path in sorted(out.iterdir()):
        console.print(f"  {path.name}")
    return 0


def _problem(data: str) -> PreparedTask:
    """Returns the task of a name, or a task with the data of a file."""
    if data in PREPARED:
        return PREPARED[data]()
    path = Path(data)
    if path.suffix != ".npz":
        raise ValueError(
            f"There is no task {data!r}. Choose one of {', '.join(PREPARED)}, or give "
            "a file written by `numpy.savez('data.npz', x=x, y=y, x_val=x_val, "
            "y_val=y_val)`."
        )
    arrays = read_arrays(path)
    if isinstance(arrays, np.ndarray):
        raise ValueError(
            f"'{path}' must be a .npz file with the arrays {', '.join(PARTS)}; it is a "
            ".npy file."
        )
    missing = [name for name in PARTS if name not in arrays]
    if missing:
        raise ValueError(
            f"'{path}' must hold the arrays {', '.join(PARTS)}; it lacks "
            f"{', '.join(missing)}. For x_val and y_val, take the later part of a "
            "series (keras_gates.tasks.chronological_split), or the same fraction of "
            "each class (stratified_split)."
        )
    for name in PARTS:
        require_numbers(path, name, arrays[name])
    x, y, x_val, y_val = (arrays[name] for name in PARTS)
    return PreparedTask(
        f"The data of {path}",
        (x, y),
        (x_val, y_val),
        f"{len(x):,} sequences train, {len(x_val):,} validate, as the file has them.",
        epochs=20,
        recipe=Recipe(),
    )


def _require_ours(path: Path) -> None:
    """Refuses a folder for results, unless it is new, empty or that of a study."""
    require_folder(path)
    if path.exists() and any(path.iterdir()) and not (path / RUNS).is_dir():
        raise FileExistsError(
            f"--out must be a new or empty folder, or that of a study to resume; "
            f"'{path}' has other files in it. Choose another folder."
        )


def _draw(study: Study, metric: str):
    """Draws the curves per epoch and per second, and the differences."""
    comparable = all(study.history.sizes[name] > 1 for name in ("architecture", "seed"))
    heights = [3.2, 3.2, 1.8] if comparable else [3.2, 3.2]
    figure = canvas.new_figure(sum(heights))
    axes = figure.subplots(len(heights), height_ratios=heights)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    plots.study(study, metric=metric, ax=axes[0])
    plots.study(study, metric=metric, x="elapsed", ax=axes[1])
    if comparable:
        plots.differences(study, metric=metric, ax=axes[2])
    return figure
