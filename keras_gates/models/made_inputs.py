"""Inputs that fit a model, generated if the user gives none."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def made_inputs(model: keras.Model, samples: int, steps: int) -> Any:
    """Returns a generated batch of inputs for a model.

    The last step is zero, so that a `Masking` layer has something to mask.

    Args:
        model: A model that is built.
        samples: The number of samples, if the model does not fix it.
        steps: The size of any other axis that the model does not fix.

    Raises:
        ValueError: If the shapes of the inputs are not known.
    """
    inputs = getattr(model, "inputs", None)  # A model may have no such attribute.
    if inputs and isinstance(model, keras.Sequential):
        wanted: Any = inputs[0]
    elif inputs:
        wanted = model.input
    else:
        # A model with its own `call` knows the shapes with which it was built.
        shape = (model.get_build_config() or {}).get("input_shape")
        if not (shape and all(size is None or isinstance(size, int) for size in shape)):
            raise ValueError(
                f"The inputs of '{model.name}' are not known, as it has its own "
                "`call`. Give some rows of your data: `kernels(model, x)`."
            )
        wanted = keras.KerasTensor(shape)

    def made(tensor):
        first, *others = tensor.shape
        sizes = [steps if size is None else size for size in others]
        return _array((samples if first is None else first, *sizes), tensor.dtype)

    return keras.tree.map_structure(made, wanted)


def _array(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "string":
        return np.full(shape, "a", object)
    if "float" not in dtype:
        return np.zeros(shape, dtype)  # 0 is in every vocabulary.
    array = np.ones(shape, "float32")
    if len(shape) > 2:
        array[:, -1] = 0
    return array
