"""The demonstration behind `keras-gates demo`: the whole package in one run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates import plots, tasks
from keras_gates import vocabulary as v

UNITS = 32
BATCH_SIZE = 64
LAYERS = {v.LSTM.name: keras.layers.LSTM, v.GRU.name: keras.layers.GRU}
KEEP = {v.LSTM.name: v.LSTM.keep, v.GRU.name: v.GRU.keep}


class Task(NamedTuple):
    """A task of the demonstration.

    Attributes:
        title: What is learned, in a line.
        train: Inputs and targets to learn from.
        test: Inputs and targets to be judged by.
        split: How the two parts were told apart, and why so.
        head: Makes the output layer.
        compiled: The arguments of `model.compile`, besides the optimizer.
        metric: The column of a study to compare, and its words.
        epochs: How long to train.
    """

    title: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    split: str
    head: Callable[[], keras.layers.Layer]
    compiled: dict[str, Any]
    metric: tuple[str, str]
    epochs: int


def sine() -> Task:
    """The next point of a noisy sum of two sine waves, from the 50 before it."""
    x, y = tasks.sliding_windows(tasks.sine_waves(5000), 50)
    train, test = tasks.time_split(x, y, fraction=0.8, gap=51)
    return Task(
        title="Forecast sin(0.02 t) + sin(0.005 t) + noise from windows of 50 points",
        train=train,
        test=test,
        split=(
            "The first 80 % in time order train, the last 20 % test. A random split "
            "would leak: neighbouring windows share all but one of their points."
        ),
        head=lambda: keras.layers.Dense(1),
        compiled={"loss": "mse"},
        metric=("val_loss", "test mean squared error"),
        epochs=5,
    )


def digits() -> Task:
    """Which digit an image shows, reading it row by row."""
    x, y = tasks.digits_by_row()
    cut = int(0.8 * len(x))
    return Task(
        title="Read 1,797 handwritten digits, 8 rows of 8 pixels, row by row",
        train=(x[:cut], y[:cut]),
        test=(x[cut:], y[cut:]),
        split="80 % of the images train, 20 % test, in random order: no two overlap.",
        head=lambda: keras.layers.Dense(10, activation="softmax"),
        compiled={"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
        metric=("val_accuracy", "test accuracy"),
        epochs=20,
    )


TASKS = {"sine": sine, "digits": digits}


def run(name: str, out: Path, *, seeds: int = 3, epochs: int | None = None) -> None:
    """Runs the demonstration.

    Args:
        name: A name in `TASKS`.
        out: An empty folder for the results.
        seeds: How many seeds each architecture is trained with for the comparison.
        epochs: Epochs of training; by default those of the task.
    """
    console = Console(highlight=False, soft_wrap=True)
    task = TASKS[name]()
    epochs = epochs or task.epochs
    builders = {kind: _builder(kind, task) for kind in LAYERS}
    console.print(f"[bold]{task.title}[/bold]\n{task.split}")
    console.print(f"Backend: {keras.backend.backend()}\n")

    probe = task.test[0][:: len(task.test[0]) // 16][:16]
    keras.utils.set_random_seed(0)
    models = {kind: build() for kind, build in builders.items()}
    untrained = [
        keras_gates.capture(models[kind], probe)[kind.lower()] for kind in LAYERS
    ]
    plots.pair(*untrained, sample=5).savefig(out / "untrained_pair.png", dpi=150)

    for kind, model in models.items():
        console.print(f"Training {kind}({UNITS}), its gates recorded")
        recorder = keras_gates.GateRecorder(probe=probe)
        model.fit(
            *task.train,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            callbacks=[recorder],
            verbose=2,
        )
        _write_gates(kind, model, recorder, task, out)
    predictions = {
        kind: model.predict(task.test[0], verbose=0) for kind, model in models.items()
    }
    _print_errors(console, models, task)
    _SHOW[name](console, predictions, task, out)

    console.print(
        f"\nComparing over {seeds} seeds: the same data in the same order for both"
    )
    study = keras_gates.compare(
        builders,
        *task.train,
        validation_data=task.test,
        seeds=seeds,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        verbose=1,
    )
    console.print(str(study), markup=False)
    if task.metric[0] != "val_loss" and seeds > 1:
        console.print(
            f"  {study.difference(*builders, task.metric[0])} in {task.metric[1]}",
            markup=False,
        )
    axes = plots.study(study, metric=task.metric[0])
    axes.figure.savefig(out / "study.png", dpi=150)
    study.runs.to_csv(out / "study.csv", index=False)

    console.print(f"\n[bold]Written to {out}:[/bold]")
    for path in sorted(out.iterdir()):
        console.print(f"  {path.name}", markup=False)


def _builder(kind: str, task: Task) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input(task.train[0].shape[1:]),
                LAYERS[kind](UNITS, name=kind.lower()),
                task.head(),
            ]
        )
        model.compile(keras.optimizers.Adam(1e-3), **task.compiled)
        return model

    return build


def _write_gates(kind, model, recorder, task, out) -> None:
    """Draws and stores the gates of one trained model."""
    layer = kind.lower()
    store = out / f"{layer}_gates.zarr"
    gates = keras_gates.capture(model, task.test[0], store=store)
    figure = plots.gates(gates[layer])
    figure.savefig(out / f"{layer}_gates.png", dpi=150)
    axes = plots.evolution(recorder.traces[f"{layer}/{KEEP[kind]}"])
    axes.figure.savefig(out / f"{layer}_evolution.png", dpi=150)


def _print_errors(console, models, task) -> None:
    name, words = task.metric
    table = Table("architecture", words)
    for kind, model in models.items():
        result = model.evaluate(*task.test, verbose=0, return_dict=True)
        table.add_row(kind, f"{result[name.removeprefix('val_')]:.4f}")
    console.print(table)


def _show_forecast(console, predictions, task, out) -> None:
    truth = task.test[1][:, 0]
    table = Table("test window", "truth", *predictions, title="Sample predictions")
    for sample in range(0, len(truth), len(truth) // 5):
        values = (truth, *(values[:, 0] for values in predictions.values()))
        table.add_row(str(sample), *(f"{value[sample]:.3f}" for value in values))
    console.print(table)
    axes = plots.predictions(truth, predictions)
    axes.figure.savefig(out / "predictions.png", dpi=150)


def _show_digits(console, predictions, task, out) -> None:
    from matplotlib.figure import Figure

    x, y = task.test
    said = {kind: scores.argmax(axis=1) for kind, scores in predictions.items()}
    table = Table("test image", "truth", *predictions, title="Sample predictions")
    for sample in range(5):
        words = (y[sample], *(digits[sample] for digits in said.values()))
        table.add_row(str(sample), *map(str, words))
    console.print(table)

    figure = Figure(figsize=(9, 5), layout="constrained")
    # The ones that somebody got wrong first: they are worth a look.
    wrong = np.any([digits != y for digits in said.values()], axis=0)
    chosen = np.argsort(~wrong, kind="stable")[:18]
    for axes, sample in zip(figure.subplots(3, 6).flat, chosen, strict=True):
        axes.imshow(x[sample], cmap="gray_r")
        axes.set_axis_off()
        words = [f"{kind} {digits[sample]}" for kind, digits in said.items()]
        axes.set_title(f"truth {y[sample]}\n{', '.join(words)}", fontsize=9)
    figure.suptitle(
        f"Test images; {wrong.sum()} of {len(y)} were misread by one or both"
    )
    figure.savefig(out / "predictions.png", dpi=150)


_SHOW = {"sine": _show_forecast, "digits": _show_digits}
