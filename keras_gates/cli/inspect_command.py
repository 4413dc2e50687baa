"""The command `keras-gates inspect`: the gates of a saved model, without code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from rich.console import Console

import keras_gates
from keras_gates import vocabulary as v
from keras_gates.capturing.verifying import Check, checks_of
from keras_gates.checks import whole_number
from keras_gates.cli.errors import explained
from keras_gates.cli.files import file_names, require_file, require_folder, results
from keras_gates.cli.saved_models import import_module, load_model, read_inputs
from keras_gates.models.find_layers import select
from keras_gates.models.input_batches import iterate
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import pandas
    import xarray

SAMPLES = 200
"""The number of samples from which memory is measured."""


def run(options) -> int:
    """Runs the command.

    Args:
        options: The options of `keras-gates inspect`.

    Returns:
        0, or 1 if the predictions differed before and after, or a layer was not
        verified.
    """
    import pandas

    batch_size = whole_number("batch_size", options.batch_size, at_least=1)
    for path, what in ((options.model, "model"), (options.data, "data")):
        require_file(path, what)
    out = options.out or options.model.with_name(options.model.stem + "-gates")
    require_folder(out)
    for module in options.modules:
        import_module(module)
    model = load_model(options.model)
    select(model, options.layers)
    x = read_inputs(options.data, model)
    samples = len(keras.tree.flatten(x)[0])
    if not 0 <= options.sample < samples:
        raise ValueError(
            f"--sample must be between 0 and {samples - 1}; got {options.sample}."
        )
    # The error of `iterate` explains what does not fit; that of Keras would not.
    batch = next(iterate(x, model, batch_size, str(options.data)))
    with results(out):
        with explained(f"The model could not be run on '{options.data}'"):
            before = keras.tree.flatten(model.predict_on_batch(batch))
            gates = keras_gates.capture(
                model,
                x,
                layers=options.layers,
                batch_size=batch_size,
                store=out / "gates.zarr",
                verbose=1,
            )
            after = keras.tree.flatten(model.predict_on_batch(batch))
        same = all(
            np.array_equal(left, right, equal_nan=True)
            for left, right in zip(before, after, strict=True)
        )
        checks = checks_of(gates)
        statistics = keras_gates.stats.summary(gates)
        statistics.to_csv(out / "statistics.csv")
        checked = pandas.DataFrame(
            {
                "max_abs_error": [check.deviation for check in checks.values()],
                "tolerance": [check.tolerance for check in checks.values()],
                "verified": [
                    check.passed if check.applies else "no gates"
                    for check in checks.values()
                ],
            },
            index=pandas.Index(checks, name="layer"),
        )
        checked.to_csv(out / "verify.csv", na_rep="NaN")
        memory, remarks = _measured_memory(model, x, options.layers, batch_size)
        if memory is not None:
            _memory_table(memory).to_csv(out / "reach.csv", index=False)
        _draw(gates, options.sample, out)
        keras_gates.report(gates, out / "report.html", inputs=_under_time(x, gates))

    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print("Findings")
    console.print(str(keras_gates.stats.diagnose(gates, memory)))
    for remark in remarks:
        console.print(f"- {remark}")
    console.print("\nCheck: the states, recomputed from the recorded gates")
    console.print(checked.to_string())
    for name, check in checks.items():
        if not check.passed:
            console.print(f"- {check.reason or _too_far(name, check)}")
    console.print("\nStatistics (left: below 0.1, right: above 0.9)")
    console.print(statistics.round(3).to_string())
    console.print(
        "\nPredictions before and after: "
        + ("identical to the bit" if same else "NOT the same; please report this")
    )
    failed = [n for n, check in checks.items() if check.applies and not check.passed]
    if failed:
        console.print(f"Not verified: {', '.join(failed)}; see the check above.")
    console.print(f"\nWritten to {out}:")
    for path in sorted(out.iterdir()):
        console.print(f"  {path.name}")
    return 0 if same and not failed else 1


def _measured_memory(
    model, x: Any, layers: Any, batch_size: int
) -> tuple[xarray.DataTree | None, list[str]]:
    """Measures how long the layers remember; also returns remarks to print."""
    some = keras.tree.map_structure(lambda array: array[:SAMPLES], x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            memory = keras_gates.reach(
                model, some, layers=layers, batch_size=batch_size
            )
        except ValueError as error:
            return None, [f"Memory was not measured. {error}"]
    return memory, [str(warning.message) for warning in caught]


def _memory_table(memory: xarray.DataTree) -> pandas.DataFrame:
    """Returns a row for each layer and step after which its state was swapped."""
    import pandas

    rows = [
        layer.drop_vars(["retention", v.LAG])
        .to_dataframe()
        .reset_index()
        .assign(layer=node.path.strip("/"))
        for node in memory.leaves
        for layer in [node.to_dataset()]
    ]
    table = pandas.concat(rows, ignore_index=True)
    return table[["layer", *(name for name in table if name != "layer")]]


def _too_far(name: str, check: Check) -> str:
    return (
        f"'{name}' deviates by {check.deviation:.1e}; rounding explains at most "
        f"{check.tolerance:.1e}. The recorded gates are not those that the layer "
        "computed. Please report this, unless the layer ran on a GPU in "
        "TensorFloat-32, which rounds products to about 1e-3."
    )


def _draw(gates, sample: int, out: Path) -> None:
    """Draws the gates of one sample: a file for each layer, and for each frame."""
    figures = {}
    for node in recurrent(gates):
        dataset, name = node.to_dataset(), node.path.strip("/")
        if v.FRAME not in dataset.dims:
            figures[name] = dataset
        for n in range(dataset.sizes.get(v.FRAME, 0)):
            figures[f"{name}/{n}"] = dataset.isel({v.FRAME: n}).assign_attrs(
                layer=f"{dataset.attrs['layer']}, frame {n}"
            )
    for file, dataset in zip(
        file_names(figures, ".png"), figures.values(), strict=True
    ):
        keras_gates.plots.heatmap(dataset, sample=sample).savefig(out / file, dpi=150)


def _under_time(x, gates) -> np.ndarray | None:
    """Returns the inputs of the model if their steps are those of a layer."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf":
        return None
    for node in recurrent(gates):
        steps = [node.sizes[dim] for dim in (v.FRAME, v.TIME) if dim in node.sizes]
        axes = 1 + len(steps)
        if list(x.shape[1:axes]) == steps and x.ndim in (axes, axes + 1):
            return x
    return None
