"""The number of each sample: its loss, or a number chosen from its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_gates.models import input_batches
from keras_gates.models.target_batches import with_targets

Tensor = Any
OF_AN_OUTPUT = "such as `of=lambda outputs: outputs[:, 0]`"


def require_number(model: keras.Model, y: Any, of: Callable | None) -> None:
    """Refuses arguments that do not define one number for each sample."""
    if of is None:
        _require_loss(model)
    elif y is not None:
        raise ValueError(
            "`y` holds the targets of the loss, and `of` replaces the loss. Give one "
            "of them."
        )


def number_of_each(
    model: keras.Model, of: Callable | None
) -> Callable[[Any, Any], Tensor]:
    """Returns a function from targets and outputs to the number of each sample."""
    if of is None:
        return _loss_of_each(model)

    def each(targets, outputs):
        values = of(outputs)
        _require_one_each(values)
        return values

    return each


def batches(
    model: keras.Model, x: Any, y: Any, of: Callable | None, batch_size: int
) -> Iterator[dict]:
    """Yields the inputs of a program for each batch: `x`, and for a loss also `y`."""
    if of is None:
        for inputs, targets in with_targets(x, y, model, batch_size):
            yield {"x": inputs, "y": targets}
    else:
        for inputs in input_batches.iterate(x, model, batch_size, "x"):
            yield {"x": inputs}


def _require_loss(model: keras.Model) -> None:
    """Refuses a model whose loss is not known sample by sample."""
    if type(model).compute_loss is not keras.Model.compute_loss:
        raise ValueError(
            f"The model '{model.name}' overrides `compute_loss`, which returns one "
            "number for a whole batch. Choose one number for each sample from the "
            f"outputs with `of`, {OF_AN_OUTPUT}."
        )
    if not model.compiled or getattr(model, "loss", None) is None:
        raise ValueError(
            f"The model '{model.name}' has no compiled loss to take derivatives of. "
            "Compile it with a `loss`, or choose one number for each sample from the "
            f"outputs with `of`, {OF_AN_OUTPUT}."
        )


def _loss_of_each(model: keras.Model) -> Callable[[Any, Any], Tensor]:
    """Returns a function from targets and outputs to the loss of each sample.

    It is the compiled loss. The loss of a sample is the mean over all other dimensions
    of its outputs, such as time, without masked steps; with several outputs, it is the
    weighted sum.
    """
    # Private to Keras, which matches losses, targets and outputs here. If Keras renames
    # it, a test fails, and derivatives of a loss need `of`.
    compiled = model._compile_loss
    losses = keras.tree.map_structure(
        lambda one: None if one is None else _OfEach(one), compiled._user_loss
    )
    return type(compiled)(
        losses,
        loss_weights=compiled._user_loss_weights,
        output_names=compiled.output_names,
    )


class _OfEach(keras.losses.Loss):
    """A loss that is reduced to one number for each sample, without masked steps.

    Args:
        loss: The loss that the model was compiled with.
        counts: Whether to return 1 in place of each value, to count the values.
    """

    def __init__(self, loss: Any, counts: bool = False):
        found = keras.losses.get(loss)
        super().__init__(name=getattr(found, "name", None), reduction=None)
        self._of = found.call if isinstance(found, keras.losses.Loss) else found
        self._counts = counts
        # Keras finds the mask of an output, and weights the steps by 0 and 1.
        self._number = None if counts else _OfEach(loss, counts=True)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        values = self._of(y_true, y_pred)
        return ops.ones_like(values) if self._counts else values

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        values = super().__call__(y_true, y_pred)
        total = values if len(values.shape) < 2 else ops.sum(_rows(values), axis=1)
        if self._number is None:
            return total
        return total / ops.maximum(self._number(y_true, y_pred), 1)


def _rows(values: Tensor) -> Tensor:
    return ops.reshape(values, (ops.shape(values)[0], -1))


def _require_one_each(values: Any) -> None:
    """Refuses a result of `of` that is not one number per sample."""
    shape = getattr(values, "shape", None)
    if shape is None or len(shape) != 1:
        got = type(values).__name__ if shape is None else f"shape {tuple(shape)}"
        raise ValueError(
            "`of` must return one number per sample, a tensor of shape (batch,); got "
            f"{got}. Choose one, {OF_AN_OUTPUT}."
        )
