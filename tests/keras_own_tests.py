"""Runs Keras's own tests of its recurrent layers with the gate layers in their place.

    KERAS_BACKEND=jax python tests/keras_own_tests.py

The tests ship inside the installed `keras` package, so a new release of Keras tells at
once whether the gate layers still drop in. They run twice: with the gate layers at
rest, and while a collector wants every signal, so that each layer also replays its
gates on its way to the result that the test expects.
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
from keras_gates.layers import collect
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
"""The name of a test to the reason why it cannot pass with a gate layer: none."""


class EveryPlace(collect.Collector):
    """Wants the signals of every cell whose equations are known."""

    def __init__(self):
        super().__init__([])

    def wants(self, layer, cell):
        return kind_of(cell) is not None


class Plugin:
    """Collects during each test, or not, and counts what was collected and done."""

    def __init__(self, collecting):
        self.collecting = collecting
        self.emitted = self.passed = 0

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
    """Puts the gate classes where Keras's tests look for the stock ones."""
    for stock, gate in {**GATE_CLASSES, **GATE_CELLS}.items():
        setattr(keras.src.layers, stock.__name__, gate)


def main():
    folder = pathlib.Path(keras.src.layers.__file__).parent / "rnn"
    put_in_place()
    for collecting in (False, True):
        print("While collecting:" if collecting else "At rest:", flush=True)
        plugin = Plugin(collecting)
        files = [str(folder / name) for name in FILES]
        options = ["-q", "-rs", "-p", "no:cacheprovider", "-c", "/dev/null"]
        code = pytest.main([*options, *files, *sys.argv[1:]], plugins=[plugin])
        if code or not plugin.passed or (collecting and not plugin.emitted):
            sys.exit(f"Failed: pytest says {code}; {plugin.emitted} emissions.")
        print(f"{plugin.passed} tests ran, {plugin.emitted} replays of gates.")


if __name__ == "__main__":
    main()
