"""Running the recurrent layers of a model in fast kernels, in place, and back."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_gates.cells.known_cells import cells_of, kind_of
from keras_gates.layers.fast_loop import why_not_fast
from keras_gates.layers.wrappers import GATE_CLASSES, added
from keras_gates.models.find_layers import find_nodes
from keras_gates.models.instrumenting import Holder, Instrumented, compile_anew
from keras_gates.models.model_checks import require_model
from keras_gates.models.shown_text import ShownAsText


class Accelerated(ShownAsText, Instrumented):
    """The result of `accelerate`, which can be used as a context manager.

    Attributes:
        model: The model.
        reasons: For each recurrent layer, by its path, why it does not run in a fast
            kernel, or `None` if it does.
    """

    def __init__(self, model: keras.Model, reasons: dict[str, str | None], layers):
        super().__init__(model, layers, Holder(lasting=True, fast=True))
        self.reasons = reasons
        compile_anew(model)

    def __exit__(self, *error):
        super().__exit__(*error)
        compile_anew(self.model)

    def __str__(self):
        return "\n".join(
            f"'{path}': "
            + ("fast kernel" if reason is None else f"unchanged, as {reason}")
            for path, reason in self.reasons.items()
        )


def accelerate(model: keras.Model) -> Accelerated:
    """Runs the LSTM and GRU layers of a model in fast kernels, in place.

    The layers stay the same objects, with the same weights and the same optimizer
    state, and the model is saved with its original classes. They compute the same as
    Keras's layers within rounding (2e-6 in float32 for values of magnitude 1), as with
    `GateLSTM(..., kernel="fast")`. Functions that Keras has compiled for the model are
    compiled again.

    Training on a CPU is faster on PyTorch and JAX. On TensorFlow it takes 0.8 to 1.0
    times as long as with the stock layer (`tests/benchmarks/costs.py` measures these
    ratios). Nothing was measured on a GPU: where Keras runs a layer on cuDNN, do not
    accelerate the model.

    Args:
        model: A `keras.Model`, of any style, with recurrent layers. If another model
            contains its layers, compile that model again.

    Returns:
        A summary of the changes: `print` it, or read `reasons`. It is a context manager
        that restores the layers at the end of a `with` block. Without such a block,
        call `restore(model)`.

    Raises:
        ValueError: If the model has no recurrent layer.
        TypeError: If `model` is not a model.

    Warns:
        UserWarning: If some layers stay as they were, with the reasons.

    Example:
        >>> import keras, keras_gates
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> print(keras_gates.accelerate(model))
        'lstm': fast kernel
        >>> type(keras_gates.restore(model).layers[0]) is keras.layers.LSTM
        True
    """
    require_model(model)
    found = {node.path: node.layer for node in find_nodes(model)}
    if not found:
        raise ValueError(
            f"The model '{model.name}' has no recurrent layer to run in a fast kernel."
        )
    reasons = {path: why_not_accelerated(layer) for path, layer in found.items()}
    chosen = {id(layer): layer for path, layer in found.items() if not reasons[path]}
    done = Accelerated(model, reasons, list(chosen.values()))
    slow = [f"'{path}', as {reason}" for path, reason in reasons.items() if reason]
    if slow:
        warnings.warn(
            f"These layers of '{model.name}' stay as they were: {'; '.join(slow)}.",
            stacklevel=2,
        )
    return done


def why_not_accelerated(layer: Any) -> str | None:
    """Returns why `accelerate` leaves a layer as it is, or `None` if it does not."""
    if is_made_with_gates(layer):
        stock = getattr(type(layer), "stock_class", type(layer))
        if layer.kernel == "fast":
            return "it already runs in one"
        return f'it is a `{stock.__qualname__}`: make it with `kernel="fast"`'
    return why_not_replaced(layer)


def is_made_with_gates(layer: Any) -> bool:
    """Returns whether a layer was made as a gate layer, and not converted to one."""
    stock = getattr(type(layer), "stock_class", type(layer))
    return issubclass(stock, tuple(GATE_CLASSES.values()))


def why_not_replaced(layer: Any) -> str | None:
    """Returns why a fast kernel cannot replace Keras's kernel, or `None` if it can.

    Args:
        layer: A recurrent layer of Keras, or a gate layer.
    """
    cells = cells_of(layer)
    if len(cells) > 1:
        return "it runs a stack of cells"
    (_, cell) = cells[0]
    kind = kind_of(cell)
    if kind is None or kind.runs_in_loop:
        return f"its cell, a `{type(cell).__name__}`, is not one of Keras's own"
    if "inner_loop" in added(layer):
        return f"its class, `{type(layer).__name__}`, changes `inner_loop`"
    return why_not_fast(layer)
