"""The inputs of a model at each time step, with and without an axis of time."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_gates.models.find_layers import walk


@dataclasses.dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: Its name, or its position among the inputs.
        shape: Its shape, with the axes of samples and, if it has one, of time.
        dtype: The type that it is cast to.
        in_time: Whether it has an axis of time.
        tokens: The number of tokens if it goes to an embedding, otherwise 0.
    """

    name: str
    shape: tuple
    dtype: str
    in_time: bool
    tokens: int = 0

    @property
    def at_step(self) -> tuple:
        """The shape at one time step."""
        return (self.shape[0], *self.shape[2 if self.in_time else 1 :])


class Inputs:
    """The inputs of a model.

    Args:
        model: A model that is built.
    """

    def __init__(self, model):
        described = _described(model)
        self._structure = keras.tree.map_structure(lambda one: one.name, described)
        self.flat: list[Input] = keras.tree.flatten(described)

    @property
    def length(self) -> int | None:
        """The number of time steps that the model is made for, if it is fixed."""
        lengths = {one.shape[1] for one in self.flat if one.in_time} - {None}
        return max(lengths, default=None)

    @property
    def samples(self) -> int | None:
        """The number of samples that the model is made for, if it is fixed."""
        return max({one.shape[0] for one in self.flat} - {None}, default=None)

    def packed(self, arrays: list) -> Any:
        """Packs arrays into the structure that the model takes."""
        return keras.tree.pack_sequence_as(self._structure, arrays)

    def of_step(self, x) -> list[np.ndarray]:
        """Checks one time step, and returns it as sequences of one step."""
        arrays = [
            _array(one, value)
            for one, value in zip(self.flat, self._values(x), strict=True)
        ]
        for one, array in zip(self.flat, arrays, strict=True):
            self._check(one, array)
        counts = {len(array) for array in arrays}
        if len(counts) > 1:
            raise ValueError(
                "All inputs of a time step must have the same number of samples; got "
                f"{', '.join(str(len(array)) for array in arrays)}."
            )
        return [
            array[:, None] if one.in_time else array
            for one, array in zip(self.flat, arrays, strict=True)
        ]

    def of_sequence(self, x) -> list[np.ndarray]:
        """Returns the arrays of whole sequences, in the order of the inputs."""
        return [
            _array(one, value)
            for one, value in zip(self.flat, self._values(x), strict=True)
        ]

    def _values(self, x) -> list:
        if len(self.flat) == 1:
            inner = [*x.values()] if isinstance(x, dict) else x
            nested = isinstance(x, dict) or keras.tree.is_nested(self._structure)
            single = nested and isinstance(inner, (list, tuple)) and len(inner) == 1
            return list(inner) if single else [x]
        names = [one.name for one in self.flat]
        if isinstance(x, dict):
            if set(x) != set(names):
                raise ValueError(
                    f"The inputs of a time step must be {_listed(names)}; got "
                    f"{_listed(x)}."
                )
            return [x[name] for name in names]
        if isinstance(x, (list, tuple)) and len(x) == len(names):
            return list(x)
        got = f"{len(x)}" if isinstance(x, (list, tuple)) else type(x).__name__
        raise ValueError(
            f"The model has {len(names)} inputs, {_listed(names)}: give a list or a "
            f"dict with one array for each; got {got}."
        )

    def _check(self, one: Input, array: np.ndarray) -> None:
        wanted = one.at_step
        fits = array.ndim == len(wanted) and all(
            size in (None, got) for size, got in zip(wanted, array.shape, strict=True)
        )
        if fits and len(array):
            return
        shape = ", ".join("n" if size is None else str(size) for size in wanted[1:])
        wanted_shape = f"(samples, {shape})" if shape else "(samples,)"
        if wanted[0] is not None:
            wanted_shape = wanted_shape.replace("samples", str(wanted[0]))
        advice = ""
        if one.in_time and array.ndim == len(wanted) + 1:
            advice = (
                " Give one time step, without an axis of time: `x[:, t]` of sequences."
            )
        raise ValueError(
            f"The input '{one.name}' of a time step must have the shape "
            f"{wanted_shape}; got {array.shape}.{advice}"
        )


def _array(one: Input, value) -> np.ndarray:
    if value is None:
        raise ValueError(f"The input '{one.name}' of a time step must be an array.")
    if not isinstance(value, np.ndarray):
        value = (
            keras.ops.convert_to_numpy(value)
            if keras.ops.is_tensor(value)
            else np.asarray(value)
        )
    if value.dtype.kind not in "biuf":
        raise ValueError(
            f"The input '{one.name}' of a time step must be numbers; got an array of "
            f"{value.dtype}."
        )
    return value if value.dtype == one.dtype else value.astype(one.dtype)


def _described(model) -> Any:
    """Returns the inputs of a model, in the structure that it takes."""
    embeddings = [
        layer for _, layer in walk(model) if isinstance(layer, keras.layers.Embedding)
    ]
    tokens = min((layer.input_dim for layer in embeddings), default=0)
    taken = {id(getattr(layer, "input", None)) for layer in embeddings}
    try:
        sequential = isinstance(model, keras.Sequential)
        given = model.inputs[0] if sequential else model.input
    except (AttributeError, ValueError):  # No graph of layers.
        return _of_shapes(model, tokens)
    alone = len(keras.tree.flatten(given)) == 1

    def describe(tensor) -> Input:
        rank, dtype = len(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)
        whole = "int" in dtype
        flat = rank == 2
        in_time = rank > 2 or (
            flat and (tensor.shape[1] is None or alone or id(tensor) in taken)
        )
        takes_tokens = whole or id(tensor) in taken or (flat and in_time)
        return Input(
            tensor.name,
            tuple(tensor.shape),
            "float32" if dtype == "bfloat16" else dtype,
            in_time,
            (tokens or 2 * whole) if takes_tokens else 0,
        )

    return _named(keras.tree.map_structure(describe, given))


def _of_shapes(model, tokens: int) -> Any:
    """Describes the inputs of a custom model by the shapes on which it was built.

    The sizes of the axes of samples and of time may change later.
    """
    config = model.get_build_config() or {}
    shapes = config.get("input_shape")
    if shapes is None:
        raise ValueError(
            f"The input shapes of '{model.name}' are not known. Call it on a batch, or "
            "make it with `keras.Input`."
        )

    def describe(shape) -> Input:
        free = (None, None, *shape[2:]) if len(shape) > 2 or tokens else shape
        dtype = "int32" if tokens and len(shape) == 2 else keras.config.floatx()
        in_time = len(free) > 2 or bool(tokens)
        return Input("x", (None, *free[1:]), dtype, in_time, tokens * (len(free) == 2))

    def visit(part):
        if isinstance(part, dict):
            return {name: visit(inner) for name, inner in part.items()}
        if any(isinstance(inner, (list, tuple)) for inner in part):
            parts = [visit(inner) for inner in part]
            return [
                dataclasses.replace(one, name=f"input {number}")
                for number, one in enumerate(parts)
            ]
        return describe(part)

    return _named(visit(shapes))


def _named(described) -> Any:
    """Renames the inputs in a dict to their keys."""
    if isinstance(described, dict):
        return {
            name: dataclasses.replace(one, name=name) for name, one in described.items()
        }
    return described


def _listed(names) -> str:
    return ", ".join(f"'{name}'" for name in names)
