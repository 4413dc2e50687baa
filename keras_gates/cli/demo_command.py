"""The command `keras-gates demo`: the whole package in one run."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_gates
from keras_gates import plots
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.checks import whole_number
from keras_gates.cli.compare_command import MOST_SEEDS
from keras_gates.cli.demo_findings import Trained, findings
from keras_gates.cli.files import free_path, results
from keras_gates.study.builders import builders_of
from keras_gates.study.prepared_tasks import PREPARED
from keras_gates.study.study_data import checked_data

BATCH_SIZE = 64
KEEP = {LSTM.name: LSTM.keep, GRU.name: GRU.keep}
TASKS = ("sine", "digits")
SAMPLES = 200
"""The number of samples from which memory is measured."""


def run(options) -> int:
    """Runs the command.

    Args:
        options: The options of `keras-gates demo`.

    Returns:
        0.
    """
    seeds = whole_number("seeds", options.seeds, at_least=1, at_most=MOST_SEEDS)
    if options.epochs is not None:
        whole_number("epochs", options.epochs, at_least=1)
    out = options.out or free_path(Path(f"keras-gates-demo-{options.task}"))
    with results(out):
        _demonstrate(options.task, seeds, options.epochs, out)
    return 0


def _demonstrate(name: str, seeds: int, epochs: int | None, out: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    task = PREPARED[name]()
    epochs = epochs or task.epochs
    data = checked_data(*task.train, task.test)
    builders = builders_of(list(KEEP), task.recipe, data)
    console.print(f"[bold]{task.title}[/bold]\n{task.split}")
    console.print(f"Backend: {keras.backend.backend()}\n")

    probe = task.test[0][:: len(task.test[0]) // 16][:16]
    keras.utils.set_random_seed(0)
    models = {kind: build() for kind, build in builders.items()}
    untrained = [
        keras_gates.capture(models[kind], probe)[kind.lower()] for kind in KEEP
    ]
    plots.compare_layers(*untrained, sample=5).savefig(
        out / "untrained_pair.png", dpi=150
    )

    trained: dict[str, Trained] = {}
    for kind, model in models.items():
        console.print(f"Training {kind}({task.recipe.units}) and recording its gates")
        recorder = keras_gates.GateRecorder(probe=probe)
        model.fit(
            *task.train,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            callbacks=[recorder],
            verbose=2,
        )
        trained[kind] = _write_gates(console, kind, model, recorder, task, out)
    predictions = {
        kind: model.predict(task.test[0], verbose=0) for kind, model in models.items()
    }
    _print_errors(console, models, task)
    _SHOW[name](console, predictions, task, out)

    console.print(
        f"\nComparing over {seeds} seeds, with the same data in the same order for both"
    )
    study = keras_gates.compare(
        list(KEEP),
        *task.train,
        validation_data=task.test,
        recipe=task.recipe,
        seeds=seeds,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        verbose=1,
    )
    console.print(str(study), markup=False)
    if task.metric != "val_loss" and seeds > 1:
        first, second = KEEP
        difference = study.difference(first, second, task.metric)
        console.print(f"  {difference} in {task.metric}", markup=False)
    axes = plots.study(study, metric=task.metric)
    axes.figure.savefig(out / "study.png", dpi=150)
    study.runs.to_csv(out / "study.csv", index=False)

    page = out / "report.html"
    gates = {kind: layer.gates for kind, layer in trained.items()}
    keras_gates.report(gates, page, inputs=task.test[0])

    console.print("\n[bold]Findings[/bold]")
    for sentence in findings(task, study, trained):
        console.print(f"- {sentence}", markup=False)
    console.print(f"\n[bold]Open {page} in a browser to explore the gates.[/bold]")
    console.print("Other files in that folder:")
    for path in sorted(out.iterdir()):
        if path != page:
            console.print(f"  {path.name}", markup=False)


def _write_gates(console, kind, model, recorder, task, out) -> Trained:
    """Stores and draws the gates of one trained model, and measures its memory."""
    layer, keep = kind.lower(), KEEP[kind]
    assert keep is not None
    store = out / f"{layer}_gates.zarr"
    gates = keras_gates.capture(model, task.test[0], store=store)
    figure = plots.heatmap(gates[layer])
    figure.savefig(out / f"{layer}_gates.png", dpi=150)
    axes = plots.evolution(recorder.traces[f"{layer}/{keep}"])
    axes.figure.savefig(out / f"{layer}_evolution.png", dpi=150)
    memory = keras_gates.reach(model, task.test[0][:SAMPLES])
    figure = plots.reach(memory[layer], gates[layer])
    figure.savefig(out / f"{layer}_reach.png", dpi=150)
    console.print(str(keras_gates.stats.diagnose(gates, memory)), markup=False)
    parts = gates[layer], recorder.traces[layer], memory[layer]
    now, traces, measured = (part.to_dataset() for part in parts)
    return Trained(now, keep, traces, measured)


def _print_errors(console, models, task) -> None:
    name = task.metric.removeprefix("val_")
    table = Table("architecture", f"test {name}")
    for kind, model in models.items():
        result = model.evaluate(*task.test, verbose=0, return_dict=True)
        table.add_row(kind, f"{result[name]:.4f}")
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
    predicted = {kind: scores.argmax(axis=1) for kind, scores in predictions.items()}
    table = Table("test image", "truth", *predictions, title="Sample predictions")
    for sample in range(5):
        entries = (y[sample], *(digits[sample] for digits in predicted.values()))
        table.add_row(str(sample), *map(str, entries))
    console.print(table)

    figure = Figure(figsize=(9, 5), layout="constrained")
    # Images that a model misread come first.
    wrong = np.any([digits != y for digits in predicted.values()], axis=0)
    chosen = np.argsort(~wrong, kind="stable")[:18]
    for axes, sample in zip(figure.subplots(3, 6).flat, chosen, strict=True):
        axes.imshow(x[sample], cmap="gray_r")
        axes.set_axis_off()
        words = [f"{kind} {digits[sample]}" for kind, digits in predicted.items()]
        axes.set_title(f"truth {y[sample]}\n{', '.join(words)}", fontsize=9)
    figure.suptitle(
        f"Test images; {wrong.sum()} of {len(y)} were misread by one or both models"
    )
    figure.savefig(out / "predictions.png", dpi=150)


_SHOW = {"sine": _show_forecast, "digits": _show_digits}
