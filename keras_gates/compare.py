"""The paired study: several architectures, several seeds, one answer with intervals.

One training run says more about its seed than about its architecture. `compare`
trains every architecture with the same seeds on the same batches in the same order,
so that differences can be taken within pairs.
"""

import itertools
import math
import operator
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates.checks import whole_number
from keras_gates.study import Study, gather
from keras_gates.training import Recipe, checked_data, kind_of, rows_of, train

if TYPE_CHECKING:
    from rich.progress import Progress


def compare(
    builders: Mapping[str, Callable[[], keras.Model]],
    x: Any,
    y: Any,
    *,
    validation_data: tuple[Any, Any],
    seeds: int | Sequence[int] = 5,
    epochs: int = 10,
    batch_size: int = 32,
    verbose: int = 0,
    on_run_end: Callable[[str, int, keras.Model], None] | None = None,
) -> Study:
    """Trains several architectures fairly and returns what came of every run.

    For each seed, each architecture in turn is built and trained with that seed, which
    governs its initial weights, its dropout and the order of the samples. The order is
    the same for all architectures of a seed. Their runs alternate, so that a machine
    that slows down slows all of them. On a CPU an architecture compared with itself
    gives the same numbers twice.

    Each builder is called once more than it is trained, before anything is trained, so
    that a mistake in the last builder does not cost the runs before it. Every run sets
    the global random seed, as `keras.utils.set_random_seed` does.

    Args:
        builders: Maps the name of each architecture to a function without arguments
            that returns a new, compiled model on every call. All must do one task,
            with one loss.
        x: Inputs of shape `(sample, ...)`: an array, or a dict, list or tuple of them,
            as the models take it.
        y: Targets of shape `(sample, ...)`, likewise.
        validation_data: `(x_val, y_val)`, built like `x` and `y`. For a time series,
            take what comes later, as `keras_gates.tasks.time_split` does.
        seeds: How many seeds, for the seeds 0, 1, ..., or the seeds themselves. An
            interval needs at least two.
        epochs: Passes over the data, the same number for every run.
        batch_size: Samples in an update. The last batch of an epoch may be smaller.
        verbose: 0 is silent, 1 shows a line of progress for each run.
        on_run_end: Called as `on_run_end(name, seed, model)` with every trained model,
            for instance to keep one. `compare` itself keeps none.

    Returns:
        A `Study`. `print(study)` shows the table. A run whose loss became NaN or
        infinite is kept, and marked in the column `diverged`.

    Raises:
        TypeError: `builders` is not a mapping from names to functions, one of them
            returns something that is not a model, or an argument has the wrong type.
        ValueError: A builder returns a model that is not compiled, or one (or its
            weights) that was returned before; the models do different tasks; the data
            is empty, holds values that are not finite or does not fit together; an
            option is out of its range.

    Example:
        >>> import keras, keras_gates
        >>> from keras_gates import tasks
        >>> def build(layer):
        ...     model = keras.Sequential([layer(4), keras.layers.Dense(1)])
        ...     model.compile(optimizer="adam", loss="mse")
        ...     return model
        >>> x, y = tasks.sliding_windows(tasks.sine_waves(200), 10)
        >>> (x, y), validation_data = tasks.time_split(x, y, gap=10)
        >>> builders = {
        ...     "LSTM": lambda: build(keras.layers.LSTM),
        ...     "GRU": lambda: build(keras.layers.GRU),
        ... }
        >>> study = keras_gates.compare(
        ...     builders, x, y, validation_data=validation_data, seeds=2, epochs=2
        ... )
        >>> study.difference("LSTM", "GRU").seeds
        2
    """
    _check_builders(builders)
    seeds = _checked_seeds(seeds)
    epochs = whole_number("epochs", epochs, at_least=1)
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    if verbose not in (0, 1):
        raise ValueError(f"`verbose` must be 0 (silent) or 1; got {verbose!r}.")
    if on_run_end is not None and not callable(on_run_end):
        raise TypeError(
            "`on_run_end` must be a function of (name, seed, model), or None; "
            f"got {on_run_end!r}."
        )
    data = checked_data(x, y, validation_data)
    recipe = Recipe(data, epochs, batch_size)
    used = _Used()
    _check_one_task(builders, rows_of(data.x, slice(batch_size)), used)
    runs = []
    with _progress(verbose) as progress:
        for seed, (name, build) in itertools.product(seeds, builders.items()):
            try:
                keras.utils.set_random_seed(seed)
                model = _new_model(name, build, used)
                report = _progress_line(progress, f"{name}, seed {seed}", epochs)
                runs.append(train(name, seed, model, recipe, report))
            except Exception as error:
                error.add_note(f"This happened to {name!r} with seed {seed}.")
                raise
            used.remember(model)
            if on_run_end is not None:
                on_run_end(name, seed, model)
    return gather(runs, batch_size)


class _Used:
    """Knows the models and weights that were trained before, without holding them."""

    def __init__(self):
        self._references = {}

    def remember(self, model: keras.Model) -> None:
        """Notes a model, its optimizer and the weights that it has by now."""
        for thing in (model, model.optimizer, *model.trainable_variables):
            if thing is not None:
                self._references[id(thing)] = weakref.ref(thing)

    def __contains__(self, thing: Any) -> bool:
        reference = self._references.get(id(thing))
        # An id is given out again once its first owner is gone.
        return reference is not None and reference() is thing


def _new_model(name: str, build: Callable[[], Any], used: _Used) -> keras.Model:
    """Builds a model, or says in what way the builder is not fit for a study."""
    model = build()
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`builders[{name!r}]` must return a compiled keras.Model; it returned "
            f"{kind_of(model)}. End the function with `return model`."
        )
    if not model.compiled:
        raise ValueError(
            f"`builders[{name!r}]` must return a compiled model; it returned "
            f"{model.name!r}, which is not. Call `model.compile(optimizer=..., "
            "loss=...)` in the function."
        )
    if model in used:
        raise ValueError(
            f"`builders[{name!r}]` must return a new model on every call; it returned "
            f"{model.name!r}, which an earlier call had returned. Build the model "
            "inside the function."
        )
    if any(thing in used for thing in (model.optimizer, *model.trainable_variables)):
        raise ValueError(
            f"`builders[{name!r}]` must return a model of its own; {model.name!r} "
            "shares its optimizer or trainable weights with an earlier one. Make the "
            "optimizer and the layers inside the function, or set "
            "`layer.trainable = False` for a layer that is meant to be shared."
        )
    used.remember(model)
    return model


def _check_one_task(
    builders: Mapping[str, Callable[[], keras.Model]], x: Any, used: _Used
) -> None:
    """Builds every architecture once and compares what they put out for `x`."""
    tasks = {}
    for name, build in builders.items():
        try:
            model = _new_model(name, build, used)
            outputs = model(x)
        except Exception as error:
            error.add_note(f"This happened to {name!r}, before any training.")
            raise
        shapes = keras.tree.map_structure(lambda out: tuple(out.shape[1:]), outputs)
        tasks[name] = shapes, _loss_name(model)
        used.remember(model)
    (first, (shapes, loss)), *others = tasks.items()
    for name, (other_shapes, other_loss) in others:
        if other_shapes != shapes:
            raise ValueError(
                "`builders` must return models for one task; the outputs of a sample "
                f"have shape {shapes} from {first!r} but {other_shapes} from {name!r}. "
                "Give them the same last layer."
            )
        if loss and other_loss and loss != other_loss:
            raise ValueError(
                "`builders` must return models for one task; they are compiled with "
                f"the loss {loss} in {first!r} but {other_loss} in {name!r}. Compile "
                "them with the same loss."
            )


def _loss_name(model: keras.Model) -> str | None:
    """Returns the loss that a model was compiled with by name, in its long form."""
    if not isinstance(model.loss, str):
        return None  # Of two objects or functions nobody can say whether they agree.
    loss = keras.losses.get(model.loss)  # A function for "mse", an object for a class.
    return getattr(loss, "__name__", None) or loss.name


def _check_builders(builders: Any) -> None:
    """Raises an error unless names map to functions."""
    if not isinstance(builders, Mapping):
        raise TypeError(
            "`builders` must map names to functions that return a compiled model; got "
            f"{kind_of(builders)}. Use a dict such as {{'LSTM': build_lstm}}."
        )
    if not builders:
        raise ValueError(
            "`builders` must hold at least one architecture; it is empty. Use a dict "
            "such as {'LSTM': build_lstm, 'GRU': build_gru}."
        )
    for name, build in builders.items():
        if not isinstance(name, str):
            raise TypeError(
                f"`builders` must have names as keys; got {name!r}, {kind_of(name)}. "
                "Use a str."
            )
        if isinstance(build, keras.Model) or not callable(build):
            raise TypeError(
                f"`builders[{name!r}]` must be a function without arguments that "
                f"returns a compiled model; got {kind_of(build)}. Put the lines that "
                "build and compile the model into a function, and give its name."
            )


def _checked_seeds(seeds: Any) -> list[int]:
    """Returns the seeds one by one."""
    if isinstance(seeds, int | np.integer):
        return list(range(whole_number("seeds", seeds, at_least=1)))
    try:
        chosen = [operator.index(seed) for seed in seeds]
    except TypeError:
        raise TypeError(
            "`seeds` must be a number of seeds or a sequence of whole numbers; got "
            f"{seeds!r}. Use `seeds=5` or `seeds=[0, 1, 2]`."
        ) from None
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"`seeds` must hold at least one seed, and each only once; got {chosen}. A "
            "seed that is repeated repeats its run and adds no information."
        )
    if min(chosen) < 0 or max(chosen) >= 2**32:
        raise ValueError(
            f"`seeds` must lie between 0 and 2**32 - 1; got {chosen}. Use small "
            "numbers, such as 0, 1, 2."
        )
    return chosen


def _progress(verbose: int) -> "Progress":
    """Returns a display of progress, silent for 0."""
    from rich import progress

    return progress.Progress(
        # An architecture may be called "GRU [fast]": that is not markup.
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("epochs, val_loss {task.fields[val_loss]:.4g}"),
        progress.TimeElapsedColumn(),
        disable=not verbose,
    )


def _progress_line(
    progress: "Progress", description: str, epochs: int
) -> Callable[[dict], None]:
    """Adds a line for a run and returns what moves it on by an epoch."""
    task = progress.add_task(description, total=epochs, val_loss=math.nan)

    def report(logs: dict) -> None:
        progress.update(task, advance=1, val_loss=logs.get("val_loss", math.nan))

    return report
