"""Architectures of a recipe by name, each with its units, built for the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gates.cells import registry
from keras_gates.checks import one_of, type_of
from keras_gates.study.recipe import NEW_LAYERS, Recipe
from keras_gates.study.study_data import Data

LAYERS = {kind.name: kind.layer for kind in registry.STOCK.values()}
MOST_UNITS = 2**16


@dataclasses.dataclass(frozen=True)
class Builder:
    """Builds one architecture of a recipe, in any process.

    Attributes:
        name: "LSTM", "GRU" or "SimpleRNN".
        units: Units of each recurrent layer.
        recipe: All other settings.
        shape: Shape of an input sample; its time is `None` if lengths differ.
        symbols: The number of symbols in inputs of integers, else 0.
        outputs: Size of the default head.
        classes: Whether the targets are integers.
        sequences: Whether there is a target at every step.
    """

    name: str
    units: int
    recipe: Recipe
    shape: tuple[int | None, ...]
    symbols: int
    outputs: int
    classes: bool
    sequences: bool

    def __call__(self) -> keras.Model:
        """Returns a new, compiled model."""
        recipe, make = self.recipe, LAYERS[self.name]
        stack: list[Any] = [keras.Input(self.shape), *self._stem()]
        for place in range(recipe.layers):
            returns = self.sequences or place < recipe.layers - 1
            # Gates are recorded under this name, so it is the same in every model.
            name = self.name.lower() + (f"_{place}" if place else "")
            stack.append(make(self.units, return_sequences=returns, name=name))
        model = keras.Sequential([*stack, *self._head()])
        optimizer = recipe.optimizer
        if not isinstance(optimizer, str):
            optimizer = optimizer()
            if not isinstance(optimizer, keras.optimizers.Optimizer):
                raise TypeError(
                    "`optimizer` must be a function that returns an optimizer; it "
                    f"returned {type_of(optimizer)}."
                )
        loss = "sparse_categorical_crossentropy" if self.classes else "mse"
        metrics = ["accuracy"] if self.classes else None
        model.compile(
            optimizer=optimizer,
            loss=loss if recipe.loss is None else recipe.loss,
            metrics=metrics if recipe.metrics is None else list(recipe.metrics),
        )
        return model

    def _stem(self) -> list[keras.layers.Layer]:
        if self.recipe.stem is not None:
            return _listed("stem", self.recipe.stem())
        if self.symbols:
            return [keras.layers.Embedding(self.symbols, self.recipe.units)]
        return []

    def _head(self) -> list[keras.layers.Layer]:
        if self.recipe.head is not None:
            return _listed("head", self.recipe.head())
        activation = "softmax" if self.classes else None
        return [keras.layers.Dense(self.outputs, activation=activation)]


def _listed(argument: str, made: Any) -> list[keras.layers.Layer]:
    layers = list(made) if isinstance(made, list | tuple) else [made]
    for layer in layers:
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(
                f"`{argument}` must be a function {NEW_LAYERS}; it returned "
                f"{type_of(layer)}."
            )
    return layers


def builders_of(names: Sequence[str], recipe: Recipe, data: Data) -> dict[str, Builder]:
    """Returns the builders of named architectures.

    Raises:
        ValueError: If a name is unknown or repeated, or the data do not have the shape
            that recurrent layers take.
    """
    if len(set(names)) < len(names):
        raise ValueError(f"`models` must hold each name once; got {list(names)}.")
    for name in names:
        one_of("models", name, tuple(LAYERS))
    form = _form(data)
    builders = {name: Builder(name, recipe.units, recipe, **form) for name in names}
    if recipe.match == "units":
        return builders
    first, *others = builders.values()
    wanted = _parameters(first)
    matched = [_matched(builder, wanted) for builder in others]
    return {builder.name: builder for builder in (first, *matched)}


def _form(data: Data) -> dict[str, Any]:
    """Returns the attributes of a `Builder` that follow from the data."""
    x, y = data.x, data.y
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)):
        raise ValueError(
            "`models` may be names only if `x` and `y` are one array each. For several "
            "inputs or outputs, give functions that build the models."
        )
    symbols = x.ndim == 2 and np.issubdtype(x.dtype, np.integer)
    if x.ndim != 3 and not symbols:
        raise ValueError(
            "`x` must have the shape (sample, time, feature), or hold integers of "
            f"shape (sample, time); got {x.dtype} of shape {x.shape}. Use "
            "`x[..., None]` for one feature."
        )
    classes = np.issubdtype(y.dtype, np.integer) or y.dtype == bool
    for name, training, validation in (("x", x, data.x_val), ("y", y, data.y_val)):
        # Training and validation sequences may differ in length.
        if training.shape[2:] != validation.shape[2:] or (
            name == "y"
            and training.ndim == 2
            and training.shape != x.shape[:2]
            and training.shape[1] != validation.shape[1]
        ):
            raise ValueError(
                f"`{name}` and its part of `validation_data` must have the same shape "
                "except for the number of samples and time steps; their shapes are "
                f"{training.shape} and {validation.shape}. Take both from one array."
            )
    rank = y.ndim if classes else y.ndim - 1
    numbers = 1 if y.ndim == 1 else y.shape[-1]
    sequences = rank == 2 and y.shape[1] == x.shape[1]
    if classes and y[0].size > 1 and not sequences:
        raise ValueError(
            "`y` must hold one integer for each sample or each time step; got the "
            f"shape {y.shape}. Convert one-hot targets to numbers with "
            "`y.argmax(-1)`, and quantities to floats."
        )
    one_length = x.shape[1] == data.x_val.shape[1]
    return {
        "shape": (x.shape[1] if one_length else None, *x.shape[2:]),
        "symbols": _codes("x", x, data.x_val) if symbols else 0,
        "outputs": _codes("y", y, data.y_val) if classes else numbers,
        "classes": bool(classes),
        "sequences": sequences,
    }


def _codes(name: str, *parts: np.ndarray) -> int:
    """Returns the number of codes, which run from 0 to the largest."""
    smallest = min(int(part.min()) for part in parts)
    if smallest < 0:
        raise ValueError(
            f"`{name}` holds integers, which must be codes from 0 on; the smallest is "
            f"{smallest}. Convert quantities to floats, or renumber classes with "
            "`np.unique(y, return_inverse=True)`."
        )
    return 1 + max(int(part.max()) for part in parts)


def _parameters(builder: Builder) -> int:
    return builder().count_params()


def _matched(builder: Builder, wanted: int) -> Builder:
    """Returns the builder with the number of parameters closest to that wanted."""

    def with_units(units: int) -> Builder:
        return dataclasses.replace(builder, units=units)

    low, high = 1, 2
    while _parameters(with_units(high)) < wanted and high < MOST_UNITS:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _parameters(with_units(middle)) < wanted:
            low = middle
        else:
            high = middle
    return min(
        map(with_units, (low, high)),
        key=lambda candidate: abs(_parameters(candidate) - wanted),
    )
