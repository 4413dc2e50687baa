"""The paired study: several architectures, several seeds, one answer with intervals.

A single training run cannot separate the architecture from the seed. `compare` trains
every architecture with the same seeds on the same batches in the same order, so that
differences can be taken within pairs.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates.checks import (
    flag,
    folder_of,
    function_of,
    one_of,
    real_number,
    seed_of,
    whole_number,
)
from keras_gates.old_names import renamed
from keras_gates.study.builders import Builder
from keras_gates.study.checked_builders import checked_builders, one_task
from keras_gates.study.recipe import Recipe
from keras_gates.study.result import Study
from keras_gates.study.run_folder import StudyFolder, description_of
from keras_gates.study.run_tables import attributes, gather
from keras_gates.study.scheduling import Progress, conduct
from keras_gates.study.study_data import checked_data, rows_of
from keras_gates.study.training import TUNING_SEED, Order, Run, Settings, set_rate

if TYPE_CHECKING:
    from keras_gates.recording.recorder import GateRecorder


@renamed(
    builders="models",
    folder="directory",
    recorder="make_recorder",
    predict="keep_predictions",
)
def compare(
    models: Mapping[str, Callable[[], keras.Model]] | Sequence[str],
    x: Any,
    y: Any,
    *,
    validation_data: tuple[Any, Any],
    seeds: int | Sequence[int] = 5,
    epochs: int = 10,
    batch_size: int = 32,
    recipe: Recipe | None = None,
    learning_rates: Sequence[float] | None = None,
    directory: str | os.PathLike | None = None,
    n_jobs: int | None = None,
    make_recorder: Callable[[str, int], GateRecorder] | None = None,
    keep_predictions: bool = False,
    verbose: int = 0,
    on_run_end: Callable[[str, int, keras.Model], None] | None = None,
) -> Study:
    """Trains several architectures with several seeds under equal conditions.

    For each seed, each architecture in turn is built and trained with that seed, which
    governs its initial weights, its dropout and the order of the samples. The order is
    the same for all architectures of a seed. Their runs alternate, so that a machine
    that slows down affects all of them. On a CPU, an architecture that is compared with
    itself gives the same numbers twice.

    Each builder is called twice before anything is trained, so that a mistake in the
    last builder does not cost the runs before it. Every run sets the global random
    seed, as `keras.utils.set_random_seed` does.

    Runs go through joblib. `n_jobs=2` trains in two processes at a time; the losses are
    the same, but two trainings at the same time slow each other down, so measure times
    with one process. `with joblib.parallel_config("dask")` trains on the workers of a
    Dask cluster. A function that is defined in a script is sent to them; the packages
    that it imports must be installed there.

    Args:
        models: Maps the name of each architecture to a function without arguments
            that returns a new, compiled model on every call. All must have the same
            task and the same loss. Or a list of names among "LSTM", "GRU" and
            "SimpleRNN", built by `recipe`.
        x: Inputs of shape `(sample, ...)`: an array, or a dict, list or tuple of
            arrays, as the models take them.
        y: Targets of shape `(sample, ...)`, likewise.
        validation_data: `(x_val, y_val)`, built like `x` and `y`. For a time series,
            take the later part, as `keras_gates.tasks.chronological_split` does; for
            classes, `keras_gates.tasks.stratified_split` keeps their shares.
        seeds: The number of seeds, for the seeds 0, 1, ..., or the seeds themselves. An
            interval needs at least two.
        epochs: Passes over the data, the same number for every run.
        batch_size: Samples in an update. The last batch of an epoch may be smaller.
        recipe: What named architectures have in common; a `Recipe()` by default.
        learning_rates: Rates to try for each architecture, with a separate seed,
            2**32 - 1. The rate with the lowest validation loss is used for all seeds of
            that architecture. By default, each model keeps its own rate.
        directory: A folder in which every finished run is saved. An interrupted study
            resumes where it stopped, also with more `seeds`; all other arguments must
            be the same.
        n_jobs: The number of runs at the same time, as for joblib.
        make_recorder: Called as `make_recorder(name, seed)` for the `GateRecorder` of
            a run, whose records are then in `Study.gates`. Recording takes time: see
            `GateRecorder`.
        keep_predictions: Whether to keep the predictions for the validation inputs,
            for models with one output.
        verbose: 0 is silent. 1 shows a live table on a terminal, and one line for each
            run elsewhere.
        on_run_end: Called as `on_run_end(name, seed, model)` with every trained model,
            in the process that trained it, for instance to save the model. `compare`
            itself keeps no model.

    Returns:
        A `Study`. `print(study)` shows the table. A run whose loss became NaN or
        infinite is kept, and marked in the column `diverged`.

    Raises:
        TypeError: `models` is not a mapping from names to functions, one of them
            returns something that is not a model, or an argument has the wrong type.
        ValueError: A builder returns a model that is not compiled, or one (or its
            weights) that was returned before; the models do different tasks; the data
            is empty, holds values that are not finite or does not fit together; an
            option is out of its range; `directory` contains another study.
        RuntimeError: A worker process died. The runs in `directory` are kept.

    Example:
        >>> import keras_gates
        >>> from keras_gates import tasks
        >>> x, y = tasks.sliding_windows(tasks.sine_waves(200), 10)
        >>> (x, y), validation_data = tasks.chronological_split(x, y, gap=10)
        >>> study = keras_gates.compare(
        ...     ["LSTM", "GRU"],
        ...     x,
        ...     y,
        ...     validation_data=validation_data,
        ...     recipe=keras_gates.Recipe(units=4),
        ...     seeds=2,
        ...     epochs=2,
        ... )
        >>> study.difference("LSTM", "GRU").seeds
        2
    """
    seeds = _checked_seeds(seeds)
    epochs = whole_number("epochs", epochs, at_least=1)
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    rates = _checked_rates(learning_rates)
    one_of("verbose", verbose, (0, 1))
    keep_predictions = flag("keep_predictions", keep_predictions)
    function_of("on_run_end", on_run_end, "of (name, seed, model)")
    function_of("make_recorder", make_recorder, "of (name, seed)")
    directory = folder_of("directory", directory)
    n_jobs = _checked_jobs(n_jobs)
    data = checked_data(x, y, validation_data)
    models = checked_builders(models, recipe, data)
    some = slice(batch_size)
    built = one_task(models, rows_of(data.x, some), rows_of(data.x_val, some))
    if rates:
        for model in built.values():
            set_rate(model, rates[0])
    settings = Settings(
        data,
        epochs,
        batch_size,
        keep_predictions,
        make_recorder,
        on_run_end,
        keras.backend.backend(),
        keras.config.floatx(),
        keras.config.dtype_policy(),
    )
    options = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rates": rates,
        "keep_predictions": keep_predictions,
        "make_recorder": make_recorder is not None,
    }
    about = description_of(built, data, options)
    del built
    total = len(models) * (len(seeds) + len(rates))
    with (
        _ledger(directory, about) as ledger,
        Progress(models, total, bool(verbose)) as progress,
    ):
        how: dict[str, Any] = {"n_jobs": n_jobs, "ledger": ledger, "progress": progress}
        trials = conduct(
            (
                Order(name, TUNING_SEED, rate, build)
                for rate, (name, build) in itertools.product(rates, models.items())
            ),
            settings._replace(predict=False, recorder=None, on_run_end=None),
            **how,
        )
        chosen = {name: _best_rate(trials, name) for name in models}
        runs = conduct(
            (
                Order(name, seed, chosen[name], build)
                for seed, (name, build) in itertools.product(seeds, models.items())
            ),
            settings,
            **how,
        )
    units = {
        name: build.units
        for name, build in models.items()
        if isinstance(build, Builder)
    }
    return gather(runs, trials, units, attributes(data, batch_size))


@contextlib.contextmanager
def _ledger(path, description: dict[str, Any]) -> Iterator[StudyFolder | None]:
    """Opens the folder of a study, if a path was given."""
    ledger = StudyFolder(path, description) if path is not None else None
    try:
        yield ledger
    finally:
        if ledger is not None:
            ledger.close()


def _best_rate(trials: list[Run], name: str) -> float | None:
    """Returns the learning rate with the lowest validation loss at the end."""
    losses = {
        run.learning_rate: run.history["val_loss"][-1]
        for run in trials
        if run.architecture == name
    }
    finite = {rate: loss for rate, loss in losses.items() if math.isfinite(loss)}
    if losses and not finite:
        raise ValueError(
            f"`learning_rates` must hold a rate with which {name!r} learns; with each "
            f"of {sorted(losses)} its loss became NaN or infinite. Try smaller rates."
        )
    return min(finite, key=finite.__getitem__, default=None)


def _checked_rates(rates: Any) -> list[float]:
    """Returns the learning rates to try, which may be none."""
    if rates is None:
        return []
    if not isinstance(rates, list | tuple | np.ndarray) or not np.iterable(rates):
        raise TypeError(
            "`learning_rates` must be a list of numbers, such as [1e-2, 1e-3]; got "
            f"{rates!r}."
        )
    rates = [real_number("learning_rates", rate) for rate in rates]
    if not rates or len(set(rates)) < len(rates) or not min(rates) > 0:
        raise ValueError(
            "`learning_rates` must hold at least one number, each above 0 and only "
            f"once; got {rates}."
        )
    return rates


def _checked_seeds(seeds: Any) -> list[int]:
    """Returns a list of all seeds."""
    if isinstance(seeds, int | np.integer):
        number = whole_number("seeds", seeds, at_least=1, at_most=TUNING_SEED)
        return list(range(number))
    try:
        if isinstance(seeds, Mapping):
            raise TypeError
        chosen = [seed_of("seeds", seed) for seed in seeds]
    except TypeError:
        raise TypeError(
            "`seeds` must be a number of seeds or a sequence of whole numbers; got "
            f"{seeds!r}. Use `seeds=5` or `seeds=[0, 1, 2]`."
        ) from None
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"`seeds` must hold at least one seed, and each only once; got {chosen}. A "
            "repeated seed repeats its run and adds no information."
        )
    if TUNING_SEED in chosen:
        raise ValueError(
            f"`seeds` must be below {TUNING_SEED}, which is the seed of the runs that "
            "choose a learning rate. Use small numbers, such as 0, 1, 2."
        )
    return chosen


def _checked_jobs(n_jobs: Any) -> int | None:
    """Returns the number of runs at the same time, as joblib takes it."""
    if n_jobs is None:
        return None
    words = "None, or negative, such as -1 for every CPU"
    number = whole_number("n_jobs", n_jobs, at_least=-(2**31), or_else=words)
    if number == 0:
        raise ValueError(f"`n_jobs` must be a number of runs, {words}; got 0.")
    return number
