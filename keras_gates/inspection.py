"""The command `keras-gates inspect`: the gates of a saved model, without code."""

import importlib
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

import keras_gates
from keras_gates import vocabulary as v
from keras_gates.files import new_folder, read_arrays
from keras_gates.inputs import iterate
from keras_gates.tree import recurrent


def run(options) -> int:
    """Runs the command.

    Args:
        options: What `keras-gates inspect` was called with.

    Returns:
        0, or 1 if the predictions were not the same before and after.
    """
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for module in options.modules:
        sys.path.insert(0, "")  # As `python -m` does: modules where the user is.
        importlib.import_module(module)
    model = _load(options.model)
    x = _read(options.data, model)
    samples = len(keras.tree.flatten(x)[0])
    if not samples:
        raise ValueError(f"'{options.data}' has no sample in it.")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1; got {options.batch_size}.")
    if not 0 <= options.sample < samples:
        raise ValueError(
            f"--sample must be between 0 and {samples - 1}; got {options.sample}."
        )
    # Says what does not fit, where Keras would only fail.
    batch = next(iterate(x, model, options.batch_size, str(options.data)))
    out = new_folder(
        options.out or options.model.with_name(options.model.stem + "-gates")
    )
    before = keras.tree.flatten(model.predict_on_batch(batch))
    gates = keras_gates.capture(
        model,
        x,
        layers=options.layers,
        batch_size=options.batch_size,
        store=out / "gates.zarr",
        verbose=1,
    )
    after = keras.tree.flatten(model.predict_on_batch(batch))
    same = all(
        np.array_equal(left, right, equal_nan=True)
        for left, right in zip(before, after, strict=True)
    )
    deviations = keras_gates.verify(gates)
    deviations.to_csv(out / "verify.csv")
    statistics = keras_gates.stats.summary(gates)
    statistics.to_csv(out / "statistics.csv")
    _draw(gates, options.sample, out)
    keras_gates.report(gates, out / "report.html", inputs=_under_time(x, gates))

    console.print("What stands out")
    console.print(str(keras_gates.stats.diagnose(gates)))
    console.print("\nProof: the states, derived again from the recorded gates")
    console.print(deviations.to_string())
    console.print("\nStatistics (left: below 0.1, right: above 0.9)")
    console.print(statistics.round(3).to_string())
    console.print(
        "\nPredictions before and after: "
        + ("identical to the bit" if same else "NOT the same; please report this")
    )
    console.print(f"\nWritten to {out}:")
    for path in sorted(out.iterdir()):
        console.print(f"  {path.name}")
    return 0 if same else 1


def _draw(gates, sample: int, out: Path) -> None:
    """Draws the gates of one sample: a file for each layer, and for each frame."""
    for node in recurrent(gates):
        dataset = node.to_dataset()
        name = node.path.strip("/").replace("/", ".")
        if v.FRAME not in dataset.dims:
            figures = {name: dataset}
        else:
            frames = range(dataset.sizes[v.FRAME])
            figures = {
                f"{name}.{n}": dataset.isel({v.FRAME: n}).assign_attrs(
                    layer=f"{dataset.attrs['layer']}, frame {n}"
                )
                for n in frames
            }
        for file, drawn in figures.items():
            figure = keras_gates.plots.gates(drawn, sample=sample)
            figure.savefig(out / f"{file}.png", dpi=150)


def _under_time(x, gates) -> np.ndarray | None:
    """Returns the inputs of the model if they line up with the steps of a layer."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf":
        return None
    for node in recurrent(gates):
        steps = [node.sizes[dim] for dim in (v.FRAME, v.TIME) if dim in node.sizes]
        axes = 1 + len(steps)
        if list(x.shape[1:axes]) == steps and x.ndim in (axes, axes + 1):
            return x
    return None


def _load(path: Path) -> keras.Model:
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file '{path}'.")
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        # Of such a file Keras says that it is not there.
        raise ValueError(
            f"'{path}' could not be loaded as a Keras model: it is not a .keras file, "
            "or was cut off. Wanted is a file that `model.save(...)` wrote."
        )
    try:
        # Not compiled: losses and optimizers are not needed, and may not load.
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        reason = str(error).strip().splitlines()[0].split(". ")[0]
        raise ValueError(
            f"'{path}' could not be loaded as a Keras model: {reason}\n"
            "Wanted is a file that `model.save(...)` wrote. If the model has custom "
            "objects, name the module that registers them with --import."
        ) from error


def _read(path: Path, model: keras.Model):
    """Reads the inputs of a model from a .npy or .npz file."""
    loaded = read_arrays(path)
    if isinstance(loaded, np.ndarray):
        return loaded
    names = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    if names and set(names) <= set(loaded):
        arrays = [loaded[name] for name in names]
        return arrays if len(arrays) > 1 else arrays[0]
    if len(names) < 2 and (len(loaded) == 1 or "x" in loaded):
        return loaded["x" if "x" in loaded else next(iter(loaded))]
    raise ValueError(
        f"'{path}' must hold an array for each input of the model, {names}; it holds "
        f"{list(loaded)}."
    )
