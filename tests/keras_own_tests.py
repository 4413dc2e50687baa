"""Runs Keras's own tests of its recurrent layers with the gate layers instead.

    KERAS_BACKEND=jax python tests/keras_own_tests.py

The tests are part of the installed `keras` package, so a new release of Keras shows at
once whether the gate layers can still replace the stock layers. They run three times:
without a collector; with a collector of every signal, so that each layer also replays
its gates; and in the fast kernels, for layers that have one.
"""

import contextlib
import os
import pathlib
import sys

import jax_programs

os.environ.update(jax_programs.SETTINGS | os.environ)

import keras
import keras.src.layers
import pytest

from keras_gates.cells.known_cells import kind_of
from keras_gates.layers import collect, gate_mixins
from keras_gates.layers.fast_loop import run_fast, why_not_fast
from keras_gates.layers.gate_layers import GATE_CELLS
from keras_gates.layers.wrappers import GATE_CLASSES

FILES = [
    "lstm_test.py",
    "gru_test.py",
    "simple_rnn_test.py",
    "rnn_test.py",
    "stacked_rnn_cells_test.py",
    "bidirectional_test.py",
    "time_distributed_test.py",
    "dropout_rnn_cell_test.py",
]
"""The remaining files are about `ConvLSTM`, whose equations are not known here."""

LEFT_OUT: dict[str, str] = {}
"""Maps a test to the reason why it cannot pass with a gate layer. There are none."""


class EveryPlace(collect.Collector):
    """Collects the signals of every cell whose equations are known."""

    def __init__(self):
        super().__init__([])

    def wants(self, layer, cell):
        return kind_of(cell) is not None


class Plugin:
    """Collects during each test, if required, and counts tests and replays."""

    def __init__(self, collecting=False):
        self.collecting = collecting
        self.emitted = self.passed = self.fast = 0

    def run_fast(self, *args, **kwargs):
        """Runs a layer in its fast kernel, and counts the run."""
        self.fast += 1
        return run_fast(*args, **kwargs)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        collector = EveryPlace()
        with collector.active() if self.collecting else contextlib.nullcontext():
            yield
        self.emitted += len(collector.emissions)
        self.passed += 1

    def pytest_collection_modifyitems(self, items):
        for item in items:
            if item.name in LEFT_OUT:
                item.add_marker(pytest.mark.skip(reason=LEFT_OUT[item.name]))


def put_in_place():
    """Replaces the stock classes that Keras's tests use by the gate classes."""
    for stock, gate in {**GATE_CLASSES, **GATE_CELLS}.items():
        setattr(keras.src.layers, stock.__name__, gate)


def choose_fast(layer, kernel):
    """Replaces `choose_kernel`."""
    layer.kernel = kernel if why_not_fast(layer) else "fast"


def run(what, plugin):
    """Runs the tests once, and returns the plugin with its counts."""
    print(f"{what}:", flush=True)
    folder = pathlib.Path(keras.src.layers.__file__).parent / "rnn"
    files = [str(folder / name) for name in FILES]
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-c", "/dev/null"]
    code = pytest.main([*options, *files, *sys.argv[1:]], plugins=[plugin])
    print(
        f"{plugin.passed} tests ran, {plugin.emitted} replays of gates, "
        f"{plugin.fast} runs of a fast kernel."
    )
    if code or not plugin.passed:
        sys.exit(f"Failed: pytest ended with {code}.")
    return plugin


def main():
    put_in_place()
    run("Without a collector", Plugin())
    if not run("With a collector", Plugin(collecting=True)).emitted:
        sys.exit("Failed: no gates were replayed.")
    gate_mixins.GateRecurrence.choose_kernel = choose_fast
    plugin = Plugin()
    gate_mixins.run_fast = plugin.run_fast
    if not run("In fast kernels", plugin).fast:
        sys.exit("Failed: no fast kernel ran.")


if __name__ == "__main__":
    main()
