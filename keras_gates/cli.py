"""The command `keras-gates`: a demonstration, and a look inside a saved model."""

import argparse
import importlib
import itertools
import sys
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

import keras_gates
from keras_gates import vocabulary as v
from keras_gates.tree import recurrent

DESCRIPTION = "Look inside recurrent Keras models: every gate, every step, every unit."
BACKEND = (
    "The backend is Keras's own choice: set KERAS_BACKEND to tensorflow, jax or torch."
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The words after the command; by default those it was called with.

    Returns:
        0, or 1 if a proof failed, or 2 if the arguments were no good.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"keras-gates: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-gates", description=DESCRIPTION, epilog=BACKEND
    )
    parser.add_argument("--version", action="version", version=keras_gates.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="train an LSTM and a GRU, compare them, and draw their gates",
        description=(
            "Trains an LSTM(32) and a GRU(32) on data that needs no download, records "
            "their gates on the way, compares the two over several seeds, and writes "
            "figures and the captured gates into a folder that it names at the end. "
            "Takes a minute or two."
        ),
        epilog=BACKEND,
    )
    demo.add_argument(
        "--task",
        choices=("sine", "digits"),
        default="sine",
        help="sine: forecast a noisy sum of two sine waves; digits: read "
        "scikit-learn's 1,797 real handwritten digits row by row "
        "(default: %(default)s)",
    )
    demo.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the results; must be new or empty "
        "(default: keras-gates-demo-TASK, numbered if that is taken)",
    )
    demo.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="how many seeds each architecture is trained with (default: %(default)s)",
    )
    demo.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs of training (default: 5 for sine, 20 for digits)",
    )
    demo.set_defaults(run=_demo)

    inspect = commands.add_parser(
        "inspect",
        help="capture, prove, sum up and draw the gates of a saved model",
        description=(
            "Loads a saved Keras model, runs it on the data, and writes into a folder: "
            "every gate at every step (gates.zarr), their proof (verify.csv), "
            "statistics (statistics.csv) and heat maps of each recurrent layer "
            "(PNG files). The model file is not changed, and its predictions are "
            "checked to be the same, to the bit, before and after."
        ),
        epilog=BACKEND,
    )
    inspect.add_argument("model", type=Path, metavar="MODEL", help="a .keras file")
    inspect.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="inputs: a .npy file, or a .npz file whose arrays are named after the "
        "model's inputs; a single input may have any name, or 'x' beside others",
    )
    inspect.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the results; must be new or empty (default: MODEL-gates)",
    )
    inspect.add_argument(
        "--layers",
        nargs="+",
        metavar="NAME",
        help="names or glob patterns of the layers to look at (default: all)",
    )
    inspect.add_argument(
        "--sample",
        type=int,
        default=0,
        metavar="N",
        help="which sample of the data to draw (default: %(default)s)",
    )
    inspect.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="(default: %(default)s)"
    )
    inspect.add_argument(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="a module to import first, which registers the model's custom objects",
    )
    inspect.set_defaults(run=_inspect)
    return parser


def _demo(options) -> int:
    from keras_gates import demo

    out = options.out or _free(Path(f"keras-gates-demo-{options.task}"))
    demo.run(options.task, _folder(out), seeds=options.seeds, epochs=options.epochs)
    return 0


def _inspect(options) -> int:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for module in options.modules:
        sys.path.insert(0, "")  # As `python -m` does: modules where the user is.
        importlib.import_module(module)
    model = _load(options.model)
    x = _read(options.data, model)
    samples = len(keras.tree.flatten(x)[0])
    if not 0 <= options.sample < samples:
        raise ValueError(
            f"--sample must be between 0 and {samples - 1}; got {options.sample}."
        )
    out = _folder(options.out or options.model.with_name(options.model.stem + "-gates"))

    batch = keras.tree.map_structure(lambda array: array[: options.batch_size], x)
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

    console.print("Proof: the states, derived again from the recorded gates")
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
            figures = {f"{name}.{n}": dataset.isel({v.FRAME: n}) for n in frames}
        for file, drawn in figures.items():
            figure = keras_gates.plots.gates(drawn, sample=sample)
            figure.savefig(out / f"{file}.png", dpi=150)


def _load(path: Path) -> keras.Model:
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file '{path}'.")
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
    if not path.is_file():
        raise FileNotFoundError(f"There is no data file '{path}'.")
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"'{path}' could not be read as NumPy data: {error} Write it with "
            "`numpy.savez('data.npz', x=x)`."
        ) from error
    if isinstance(loaded, np.ndarray):
        return loaded
    names = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    if names and set(names) <= set(loaded.files):
        arrays = [loaded[name] for name in names]
        return arrays if len(arrays) > 1 else arrays[0]
    if len(names) < 2 and (len(loaded.files) == 1 or "x" in loaded.files):
        return loaded["x" if "x" in loaded.files else loaded.files[0]]
    raise ValueError(
        f"'{path}' must hold an array for each input of the model, {names}; it holds "
        f"{loaded.files}."
    )


def _folder(path: Path) -> Path:
    """Makes a folder for results, which must be new or empty."""
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise FileExistsError(
            f"--out must be a new or empty folder; '{path}' has files in it. Choose "
            "another, or empty it."
        )
    return path


def _free(path: Path) -> Path:
    """Returns the path itself, or numbered, so that nothing stands there."""
    taken = itertools.takewhile(
        Path.exists,
        itertools.chain([path], (Path(f"{path}-{n}") for n in itertools.count(2))),
    )
    count = sum(1 for _ in taken)
    return path if not count else Path(f"{path}-{count + 1}")
