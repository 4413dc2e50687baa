"""What differs from backend to backend, behind one seam.

Each module that is called like a backend has the same names; `backend` is the one of
the backend that Keras uses. Its kernels are in modules whose names begin with its own.
Nothing else in the package asks which backend it is. May import nothing of it.
"""

import importlib

import keras

_NAME = keras.backend.backend()
_KNOWN = ("tensorflow", "jax", "torch")
backend = importlib.import_module(
    f"keras_gates.backend.{_NAME if _NAME in _KNOWN else 'common'}"
)
