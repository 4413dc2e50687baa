"""One step of a cell on random numbers, and its signals as they were described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_gates.cells.dtype_scope import DtypeScope
from keras_gates.cells.error_words import words_of
from keras_gates.cells.named_states import state_shapes
from keras_gates.checks import type_of

FEATURES, SAMPLES, STEPS = 3, 5, 4
"""The numbers of features and samples of the inputs, and of the steps that are run."""


class Trial(NamedTuple):
    """One step of a cell on random numbers.

    Attributes:
        before: The states before the step by name, as arrays.
        after: The states after the step, likewise.
        output: The output of the cell.
        signals: The signals without the states.
    """

    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    output: np.ndarray
    signals: dict[str, np.ndarray]


def tolerance(cell) -> float:
    """Returns the rounding error that is allowed in a cell, for a value of 1."""
    return {"float64": 1e-6, "float16": 2e-2, "bfloat16": 1e-1}.get(
        cell.compute_dtype, 1e-4
    )


def trial(cell, names: tuple[str, ...], blocks: Callable, scale: float = 1.0) -> Trial:
    """Runs a cell on random inputs for a few steps, and returns the last one.

    Args:
        cell: A cell that is built.
        names: The names of its states, in the order of Keras.
        blocks: `Kind.signals_of`.
        scale: The size of the inputs.

    Raises:
        ValueError: If the cell or `blocks` fails, or does not return signals.
    """
    rng = np.random.default_rng(0)
    shape = cell.get_build_config()["input_shape"]
    states: list[Any] = [
        keras.ops.zeros(one, dtype=cell.compute_dtype)
        for one in state_shapes(cell, SAMPLES)
    ]
    for _ in range(STEPS):
        inputs = scale * rng.normal(size=(SAMPLES, shape[-1]))
        inputs = keras.ops.convert_to_tensor(inputs, dtype=cell.compute_dtype)
        before = states
        try:
            output, states = cell(inputs, before)
        except Exception as error:  # Code of the user's own may raise anything.
            raise ValueError(
                f"`{type(cell).__name__}` failed on random inputs of shape "
                f"{tuple(inputs.shape)} ({words_of(error)})."
            ) from error
        states = keras.tree.flatten(states)
    return Trial(
        {name: _array(state) for name, state in zip(names, before, strict=True)},
        {name: _array(state) for name, state in zip(names, states, strict=True)},
        _array(output),
        {
            name: _array(value)
            for name, value in _signals(cell, inputs, before, blocks).items()
        },
    )


def _signals(cell, inputs, states, blocks: Callable) -> Mapping[str, Any]:
    failure: list[Exception] = []

    def run():
        try:
            return blocks(cell, inputs, states)
        except Exception as error:  # Code of the user's own may raise anything.
            failure.append(error)
            return {}

    found = DtypeScope(cell.dtype_policy)(inputs, run=run)
    if failure:
        raise ValueError(
            f"`signals` failed on random inputs of shape {tuple(inputs.shape)} "
            f"({words_of(failure[0])})."
        ) from failure[0]
    for name, value in found.items():
        if not keras.ops.is_tensor(value):
            raise ValueError(
                f"`signals` must return tensors, computed with `keras.ops`; "
                f"`{name}` is {type_of(value)}."
            )
    return found


def _array(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")).astype(
        "float64"
    )
