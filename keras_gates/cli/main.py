"""The command `keras-gates` and its words."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

import keras_gates
from keras_gates.claims import catalogue
from keras_gates.cli import (
    compare_command,
    demo_command,
    inspect_command,
    kernels_command,
)
from keras_gates.cli.errors import sentence
from keras_gates.study.builders import LAYERS
from keras_gates.study.prepared_tasks import PREPARED
from keras_gates.study.recipe import MATCHES

DESCRIPTION = "See what the gates of recurrent Keras models do."
BACKEND = (
    "The backend is Keras's own choice: set KERAS_BACKEND to tensorflow, jax or torch."
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The words after the command; by default those it was called with.

    Returns:
        0; 1 if `inspect` found that predictions changed, or did not verify a layer; 2
        if the command failed; or 130 if it was interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("keras-gates: interrupted.", file=sys.stderr)
        return 130
    except Exception as error:  # The last place that can explain it.
        if options.debug:
            traceback.print_exc()
        print(f"keras-gates: {sentence(error, vars(options))}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors of the command are."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")


def _path(text: str) -> Path:
    """Returns a path, or refuses what can be none."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="keras-gates", description=DESCRIPTION, epilog=BACKEND)
    parser.add_argument("--version", action="version", version=keras_gates.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_inspect(commands)
    _add_kernels(commands)
    _add_compare(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--debug",
            action="store_true",
            help="show the traceback of an error, for a report of a bug",
        )
    return parser


def _add_demo(commands) -> None:
    command = commands.add_parser(
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
    command.add_argument(
        "--task",
        choices=demo_command.TASKS,
        default="sine",
        help="sine: forecast a noisy sum of two sine waves; digits: read "
        "scikit-learn's 1,797 real handwritten digits row by row "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--out",
        type=_path,
        metavar="DIR",
        help="folder for the results; must be new or empty "
        "(default: keras-gates-demo-TASK, numbered if that is taken)",
    )
    command.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="how many seeds each architecture is trained with (default: %(default)s)",
    )
    command.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs of training (default: 5 for sine, 20 for digits)",
    )
    command.set_defaults(run=demo_command.run)


def _add_inspect(commands) -> None:
    command = commands.add_parser(
        "inspect",
        help="capture, check, sum up and draw the gates of a saved model",
        description=(
            "Loads a saved Keras model, runs it on the data, and writes into a folder: "
            "every gate at every step (gates.zarr), a check of them (verify.csv), "
            "statistics (statistics.csv), heat maps of each recurrent layer (PNG "
            "files) and a page to explore them all (report.html). The model "
            "file is not changed, and its predictions are checked "
            "to be the same, to the bit, before and after. The exit status is 0 if all "
            "of this holds, 1 if the predictions changed or a layer could not be "
            "verified, and 2 if the command failed."
        ),
        epilog=BACKEND,
    )
    command.add_argument("model", type=_path, metavar="MODEL", help="a .keras file")
    command.add_argument(
        "data",
        type=_path,
        metavar="DATA",
        help="inputs: a .npy file, or a .npz file whose arrays are named after the "
        "model's inputs; a single input may have any name, or 'x' beside others",
    )
    command.add_argument(
        "--out",
        type=_path,
        metavar="DIR",
        help="folder for the results; must be new or empty (default: MODEL-gates)",
    )
    command.add_argument(
        "--layers",
        nargs="+",
        metavar="NAME",
        help="names or glob patterns of the layers to capture, after MODEL and DATA "
        "(default: all)",
    )
    command.add_argument(
        "--sample",
        type=int,
        default=0,
        metavar="N",
        help="which sample of the data to draw (default: %(default)s)",
    )
    command.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="(default: %(default)s)"
    )
    _add_import(command)
    command.set_defaults(run=inspect_command.run)


def _add_kernels(commands) -> None:
    command = commands.add_parser(
        "kernels",
        help="say which kernel runs each recurrent layer here, and why no faster one",
        description="Runs a saved model in inference and in training, and prints what "
        "ran each recurrent layer, why nothing faster did, and what to change.",
        epilog=BACKEND,
    )
    command.add_argument("model", type=_path, metavar="MODEL", help="a .keras file")
    command.add_argument(
        "data",
        type=_path,
        nargs="?",
        metavar="DATA",
        help="inputs, as for inspect; by default they are made up",
    )
    measured = "measure what a change brings; takes seconds for each layer"
    command.add_argument("--measure", action="store_true", help=measured)
    _add_import(command)
    command.set_defaults(run=kernels_command.run)


def _add_import(command) -> None:
    command.add_argument(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="a module to import first, which registers the model's custom objects",
    )


def _add_compare(commands) -> None:
    command = commands.add_parser(
        "compare",
        help="LSTM or GRU: train both over several seeds, with intervals",
        description=(
            "Trains LSTM, GRU or SimpleRNN on a task or on your data, each with its "
            "own tuned learning rate and the same seeds, and writes the table "
            "(study.md), every run (runs.csv), every epoch (history.csv) and figures "
            "(study.png) into a folder. Called again with the same folder, it resumes "
            "where it was interrupted. With --claims, it measures what is taught about "
            "LSTM and GRU."
        ),
        epilog=BACKEND,
    )
    command.add_argument(
        "data",
        nargs="?",
        metavar="TASK|FILE.npz",
        help=f"one of {', '.join(PREPARED)}; or a .npz file with the arrays x, y, "
        "x_val and y_val (default: sine)",
    )
    command.add_argument(
        "--architectures",
        nargs="+",
        choices=LAYERS,
        default=["LSTM", "GRU"],
        metavar="NAME",
        help=f"among {', '.join(LAYERS)} (default: LSTM GRU)",
    )
    command.add_argument(
        "--units",
        type=int,
        metavar="N",
        help="units of each recurrent layer (default: the task's, mostly 32)",
    )
    command.add_argument(
        "--layers",
        type=int,
        default=1,
        metavar="N",
        help="recurrent layers, one on the other (default: %(default)s)",
    )
    command.add_argument(
        "--match",
        choices=MATCHES,
        default="units",
        help="the same number of units for all, or of parameters as in the first "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--learning-rates",
        nargs="*",
        type=float,
        default=[0.01, 0.003, 0.001],
        metavar="RATE",
        help="rates to try for each architecture; none for the optimizer's own "
        "(default: 0.01 0.003 0.001)",
    )
    command.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="(default: %(default)s)"
    )
    command.add_argument(
        "--epochs", type=int, metavar="N", help="(default: the task's, 20 for a file)"
    )
    command.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="(default: %(default)s)"
    )
    command.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="processes that train at a time; more than one distorts seconds "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--claims",
        nargs="*",
        choices=catalogue.CLAIMS,
        metavar="CLAIM",
        help=f"measure what is taught: {', '.join(catalogue.CLAIMS)}, or all of it. Of "
        "the other options only --seeds and --out count",
    )
    command.add_argument(
        "--out",
        type=_path,
        metavar="DIR",
        help="folder for the results (default: keras-gates-TASK, or "
        "keras-gates-claims)",
    )
    command.set_defaults(run=compare_command.run)
