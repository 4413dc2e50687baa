"""The layers that a layer holds."""

from __future__ import annotations

from typing import Any

import keras


def held_layers(layer: Any, recursive: bool = False) -> list[keras.layers.Layer]:
    """Returns the layers that a layer holds, in the order in which it got them.

    Args:
        layer: A layer. Anything else, such as a cell of the user's own that is not a
            layer, holds none.
        recursive: Whether to return the layers that these hold too.
    """
    if not isinstance(layer, keras.layers.Layer):
        return []
    # Private to Keras, and the only way to the layers that a custom layer holds. If
    # it changes, layers inside layers are no longer found, and a test fails.
    return layer._flatten_layers(include_self=False, recursive=recursive)
