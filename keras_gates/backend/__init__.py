"""The code that differs between backends, with one interface.

Each module that is named after a backend defines the same names; `backend` is the
module for the backend that Keras uses. Its kernels are in modules whose names begin
with its own name. No other code in the package checks which backend it is. May import
nothing from the rest of the package.
"""

import importlib

import keras

_NAME = keras.backend.backend()
_KNOWN = ("tensorflow", "jax", "torch")
backend = importlib.import_module(
    f"keras_gates.backend.{_NAME if _NAME in _KNOWN else 'common'}"
)
