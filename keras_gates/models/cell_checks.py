"""Checks, before a cell is read, that its known signals agree with its outputs."""

from __future__ import annotations

import weakref
from typing import Any

import keras
import numpy as np

from keras_gates.cells.kind import Kind
from keras_gates.cells.known_cells import kind_of
from keras_gates.cells.named_states import state_shapes
from keras_gates.cells.registration_checks import check_step
from keras_gates.cells.trial import tolerance
from keras_gates.layers import all_steps
from keras_gates.layers.opened_cells import OpenedCell

Tensor = Any

_passed: weakref.WeakKeyDictionary[Any, Kind] = weakref.WeakKeyDictionary()


def check_cell(path: str, cell) -> None:
    """Compares a registered or traced cell with its signals, once.

    Args:
        path: The path of its node, for errors.
        cell: A cell that is built.

    Raises:
        ValueError: If they disagree.
    """
    kind = kind_of(cell)
    if kind is None or not kind.runs_in_loop or _passed.get(cell) is kind:
        return
    # The scope drops changes of the cell's variables.
    with keras.StatelessScope():
        if kind.traced:
            _check_trace(path, cell, kind)
        else:
            try:
                check_step(kind, cell)
            except ValueError as error:
                raise ValueError(
                    f"The cell of '{path}' does not match the description registered "
                    f"for `{kind.cell.__name__}`: {error}"
                ) from error
        if _rows_are_independent(cell, kind):
            all_steps.allow(cell)
    _passed[cell] = kind


def _rows_are_independent(cell, kind: Kind) -> bool:
    """Returns whether a row has the same results alone as together with others."""
    inputs, states = _random_step(cell)
    opened = OpenedCell(cell, kind, False)
    try:
        together = opened(inputs, states)
        alone = OpenedCell(cell, kind, False)(inputs[:1], [one[:1] for one in states])
    except Exception:  # Code of the user's own may raise anything.
        return False
    pairs = zip(keras.tree.flatten(together), keras.tree.flatten(alone), strict=True)
    return all(_close(one[:1], other, cell) for one, other in pairs)


def _check_trace(path: str, cell, kind: Kind) -> None:
    inputs, states = _random_step(cell)
    output, after = cell(inputs, states)
    traced, traced_after, _ = OpenedCell(cell, kind, False)(inputs, states)
    pairs = zip(
        [output, *keras.tree.flatten(after)], [traced, *traced_after], strict=True
    )
    if not all(_close(one, other, cell) for one, other in pairs):
        raise ValueError(
            f"The signals of '{path}' cannot be read: its cell, a "
            f"`{type(cell).__name__}`, does not compute the same when it is called "
            "twice, or uses other operations than Keras's. Describe it with "
            f"`keras_gates.register_cell({type(cell).__name__}, ...)`."
        )


def _random_step(cell) -> tuple[Tensor, list[Tensor]]:
    """Returns inputs and states of a few rows."""
    rng = np.random.default_rng(0)
    features = cell.get_build_config()["input_shape"][-1]
    shapes = [(3, features), *state_shapes(cell, 3)]
    inputs, *states = (
        keras.ops.convert_to_tensor(rng.uniform(size=shape), dtype=cell.compute_dtype)
        for shape in shapes
    )
    return inputs, states


def _close(one: Tensor, other: Tensor, cell) -> bool:
    one, other = (
        keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
        for value in (one, other)
    )
    size = max(np.abs(one).max(), 1.0)
    return np.allclose(one, other, atol=tolerance(cell) * size, equal_nan=True)
