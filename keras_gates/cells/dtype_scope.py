"""Running code as if inside a layer of a given dtype."""

from __future__ import annotations

from typing import Any

import keras


class DtypeScope(keras.layers.Layer):
    """A scope in which Keras casts variables to the dtype of a layer.

    Args:
        policy: The dtype policy of the layer.
    """

    def __init__(self, policy: Any):
        super().__init__(dtype=policy, name="keras_gates_dtype")

    def build(self, shape):
        """Makes no weights."""

    def call(self, inputs, run):
        """Runs a function of no arguments; `inputs` is any tensor."""
        return run()
