"""The command `keras-gates compare`: a study without a line of code."""

import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console

import keras_gates
from keras_gates import canvas, claims, plots
from keras_gates.files import read_arrays
from keras_gates.problems import PROBLEMS, Problem
from keras_gates.recipe import Recipe
from keras_gates.study import Study
from keras_gates.tables import render

PARTS = ("x", "y", "x_val", "y_val")
RUNS = "runs"
"""Where in the folder of the results the finished runs are kept."""


def run(options) -> int:
    """Runs the command.

    Args:
        options: What `keras-gates compare` was called with.

    Returns:
        0.
    """
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if options.claims is not None:
        if options.data is not None:
            raise ValueError(
                f"--claims brings its own tasks; leave {options.data!r} out."
            )
        out = _folder(options.out or Path("keras-gates-claims"))
        claims.run(options.claims or list(claims.CLAIMS), out, options.seeds, console)
        return 0
    if len(set(options.architectures)) < len(options.architectures):
        raise ValueError("--architectures must name each one once.")
    if options.jobs == 0:
        raise ValueError("--jobs must be 1 or more, or -1 for one on each core; got 0.")
    data = options.data or "sine"
    problem = _problem(data)
    out = _folder(options.out or Path(f"keras-gates-{Path(data).stem}"))
    console.print(f"{problem.title}\n{problem.split}")
    if options.learning_rates:
        console.print("The learning rates are chosen on the validation part, too.")
    console.print()
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
        folder=out / RUNS,
        verbose=1,
    )
    (out / "study.md").write_text(study.to_markdown(problem.metric) + "\n")
    study.runs.to_csv(out / "runs.csv", index=False)
    study.history.to_dataframe().to_csv(out / "history.csv")
    _draw(study, problem.metric).savefig(out / "study.png", dpi=150)
    console.print(f"\n{render(study, problem.metric)}")
    console.print(f"\nWritten to {out}:")
    for path in sorted(out.iterdir()):
        console.print(f"  {path.name}")
    return 0


def _problem(data: str) -> Problem:
    """Returns a task by its name, or the data of a file."""
    if data in PROBLEMS:
        return PROBLEMS[data]()
    path = Path(data)
    if path.suffix != ".npz":
        raise ValueError(
            f"There is no task {data!r}. Choose among {', '.join(PROBLEMS)}, or give a "
            "file that `numpy.savez('data.npz', x=x, y=y, x_val=x_val, y_val=y_val)` "
            "wrote."
        )
    arrays = read_arrays(path)
    missing = [name for name in PARTS if name not in arrays]
    if missing:
        raise ValueError(
            f"'{path}' must hold the arrays {', '.join(PARTS)}; it lacks "
            f"{', '.join(missing)}. For a series take what comes later as x_val and "
            "y_val (keras_gates.tasks.time_split), for classes an even share of each "
            "(class_split)."
        )
    x, y, x_val, y_val = (np.atleast_1d(arrays[name]) for name in PARTS)
    return Problem(
        f"The data of {path}",
        (x, y),
        (x_val, y_val),
        f"{len(x):,} sequences train, {len(x_val):,} validate, as the file has them.",
        epochs=20,
        recipe=Recipe(),
    )


def _folder(path: Path) -> Path:
    """Makes a folder for results, which must be new, empty or that of a study."""
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"--out must be a folder; '{path}' is a file.")
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()) and not (path / RUNS).is_dir():
        raise FileExistsError(
            f"--out must be a new or empty folder, or that of a study to go on with; "
            f"'{path}' has other files in it. Choose another."
        )
    return path


def _draw(study: Study, metric: str):
    """Draws the curves per epoch and per second, and the differences."""
    comparable = all(study.history.sizes[name] > 1 for name in ("architecture", "seed"))
    heights = [3.2, 3.2, 1.8] if comparable else [3.2, 3.2]
    figure = canvas.new_figure(sum(heights))
    axes = figure.subplots(len(heights), height_ratios=heights)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    plots.study(study, metric=metric, ax=axes[0])
    plots.study(study, metric=metric, along="elapsed", ax=axes[1])
    if comparable:
        plots.differences(study, metric=metric, ax=axes[2])
    return figure
