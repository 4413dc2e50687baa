"""The command `keras-gates`: its arguments and its help."""

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
BACKEND = "The backend is that of Keras: set KERAS_BACKEND to tensorflow, jax or torch."


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The arguments after the command; by default those of the process.

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
    """A parser whose errors are one line, like all errors of the command."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")


def _path(text: str) -> Path:
    """Returns the text as a path, and refuses text that cannot be one."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a path")
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
            help="show the traceback of an error, for a bug report",
        )
    return parser


def _add_demo(commands) -> None:
    command = commands.add_parser(
        "demo",
        help="train an LSTM and a GRU, compare them, and draw their gates",
        description=(
            "Trains an LSTM(32) and a GRU(32) on data that needs no download, records "
            "their gates during training, compares the two over several seeds, and "
            "writes figures, the captured gates and an interactive report into a "
            "folder, whose name is printed at the end. It takes a minute or two."
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
        "(default: keras-gates-demo-TASK, numbered if that exists)",
    )
    command.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="number of seeds for each architecture (default: %(default)s)",
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
        help="capture, check, summarise and draw the gates of a saved model",
        description=(
            "Loads a saved Keras model, runs it on the data, and writes into a folder: "
            "every gate at every step (gates.zarr), a check of the gates (verify.csv), "
            "statistics (statistics.csv), the measured memory of each layer "
            "(reach.csv), heat maps of each recurrent layer (PNG files) and an "
            "interactive report (report.html). The model file is not changed, and the "
            "predictions for the first batch before and after the capture are "
            "compared, to the bit. The exit status is 0 if the command succeeded, 1 if "
            "the predictions changed or a layer could not be verified, and 2 if the "
            "command failed."
        ),
        epilog=BACKEND,
    )
    command.add_argument("model", type=_path, metavar="MODEL", help="a .keras file")
    command.add_argument(
        "data",
        type=_path,
        metavar="DATA",
        help="inputs: a .npy file, or a .npz file whose arrays are named after the "
        "inputs of the model; for a model with a single input, the array may also be "
        "named 'x', or have any name if it is the only one",
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
        help="names or glob patterns of the layers to capture; put them after MODEL "
        "and DATA (default: all)",
    )
    command.add_argument(
        "--sample",
        type=int,
        default=0,
        metavar="N",
        help="the sample to draw (default: %(default)s)",
    )
    _add_batch_size(command, 32)
    _add_import(command)
    command.set_defaults(run=inspect_command.run)


def _add_kernels(commands) -> None:
    command = commands.add_parser(
        "kernels",
        help="show which kernel runs each recurrent layer, and why no faster one does",
        description="Runs a saved model in inference and in training, and prints the "
        "kernel that ran each recurrent layer, the reason why no faster one did, and "
        "what to change.",
        epilog=BACKEND,
    )
    command.add_argument("model", type=_path, metavar="MODEL", help="a .keras file")
    command.add_argument(
        "data",
        type=_path,
        nargs="?",
        metavar="DATA",
        help="inputs, as for inspect (default: generated inputs)",
    )
    measured = "measure the speedup of each change; takes seconds for each layer"
    command.add_argument("--measure", action="store_true", help=measured)
    _add_import(command)
    command.set_defaults(run=kernels_command.run)


def _add_batch_size(command, default: int) -> None:
    command.add_argument(
        "--batch-size",
        type=int,
        default=default,
        metavar="N",
        help="samples in a batch (default: %(default)s)",
    )


def _add_import(command) -> None:
    command.add_argument(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="a module to import first, which registers the custom objects of the "
        "model; may be repeated",
    )


def _add_compare(commands) -> None:
    command = commands.add_parser(
        "compare",
        help="train LSTM and GRU over several seeds, and compare them with intervals",
        description=(
            "Trains LSTM, GRU or SimpleRNN on a task or on your data, each with its "
            "own tuned learning rate and the same seeds, and writes the table "
            "(study.md), every run (runs.csv), every epoch (history.csv) and figures "
            "(study.png) into a folder. Called again with the same folder, it resumes "
            "where it was interrupted. With --claims, it measures common claims about "
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
        help=f"one or more of {', '.join(LAYERS)} (default: LSTM GRU)",
    )
    command.add_argument(
        "--units",
        type=int,
        metavar="N",
        help="units of each recurrent layer (default: that of the task, mostly 32)",
    )
    command.add_argument(
        "--layers",
        type=int,
        default=1,
        metavar="N",
        help="number of recurrent layers in a stack (default: %(default)s)",
    )
    command.add_argument(
        "--match",
        choices=MATCHES,
        default="units",
        help="the same number of units for all, or the same number of parameters as "
        "the first (default: %(default)s)",
    )
    command.add_argument(
        "--learning-rates",
        nargs="*",
        type=float,
        default=[0.01, 0.003, 0.001],
        metavar="RATE",
        help="rates to try for each architecture; if no rate follows, the optimizer's "
        "own is used (default: 0.01 0.003 0.001)",
    )
    command.add_argument(
        "--seeds",
        type=int,
        default=5,
        metavar="N",
        help="number of seeds (default: %(default)s)",
    )
    command.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs of training (default: that of the task, 20 for a file)",
    )
    _add_batch_size(command, 64)
    command.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="processes that train at the same time; more than one distorts the "
        "seconds (default: %(default)s)",
    )
    command.add_argument(
        "--claims",
        nargs="*",
        choices=catalogue.CLAIMS,
        metavar="CLAIM",
        help=f"measure common claims about LSTM and GRU instead: "
        f"{', '.join(catalogue.CLAIMS)} (default: all); of the other options, only "
        "--seeds and --out apply",
    )
    command.add_argument(
        "--out",
        type=_path,
        metavar="DIR",
        help="folder for the results: new, empty, or that of a study to resume "
        "(default: keras-gates-TASK, or keras-gates-claims)",
    )
    command.set_defaults(run=compare_command.run)
