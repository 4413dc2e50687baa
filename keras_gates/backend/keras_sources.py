"""The source files in which Keras keeps the code that runs recurrent layers.

Nothing in these files is called or replaced: `kernels` watches which of their functions
run, and which exceptions pass through them. Keras catches some of these exceptions and
runs a slower loop, and there is no public way to find out about that.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pathlib
import sys
import types

import keras

NAMES = "lstm", "gru", "rnn", "bidirectional_lstm", "bidirectional_gru"
"""The functions of the backend that Keras's layers call, private to Keras."""


def functions() -> list[types.FunctionType]:
    """Returns these functions as they are now, since they may have been replaced."""
    module = sys.modules.get("keras.src.backend")
    found = [getattr(module, name, None) for name in NAMES]
    return [one for one in found if isinstance(one, types.FunctionType)]


@functools.cache
def is_of_recurrent_layers(file: str) -> bool:
    """Returns whether a source file holds the code that runs recurrent layers."""
    layers, functions = _places()
    return file in functions or pathlib.Path(file).parent == layers


@functools.cache
def _places() -> tuple[pathlib.Path, frozenset[str]]:
    """Returns the folder of the layers, and the files of the backend's functions."""
    layers = pathlib.Path(inspect.getfile(keras.layers.RNN)).parent
    # Private to Keras: the module of `backend.lstm`, `backend.gru` and `backend.rnn`.
    # If it is renamed, exceptions that Keras catches within it are not reported, and
    # a test fails. The kernel that runs is still found.
    name = f"keras.src.backend.{keras.backend.backend()}.rnn"
    try:
        file = importlib.import_module(name).__file__
    except ImportError:
        return layers, frozenset()
    return layers, frozenset({str(file)})
