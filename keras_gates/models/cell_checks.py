"""Whether what is known of a cell gives what the cell gives, before it is read."""

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
from keras_gates.layers.opened_cells import OpenedCell

_passed: weakref.WeakKeyDictionary[Any, Kind] = weakref.WeakKeyDictionary()


def check_cell(path: str, cell) -> None:
    """Compares a cell that is registered or traced with its signals, once.

    Args:
        path: The path of its node, for errors.
        cell: A cell that is built.

    Raises:
        ValueError: If they disagree.
    """
    kind = kind_of(cell)
    if kind is None or not kind.runs_in_loop or _passed.get(cell) is kind:
        return
    # What it would change of its variables is dropped.
    with keras.StatelessScope():
        if kind.traced:
            _check_trace(path, cell, kind)
        else:
            try:
                check_step(kind, cell)
            except ValueError as error:
                raise ValueError(
                    f"The cell of '{path}' does not go with what was registered of "
                    f"`{kind.cell.__name__}`: {error}"
                ) from error
    _passed[cell] = kind


def _check_trace(path: str, cell, kind: Kind) -> None:
    rng = np.random.default_rng(0)
    features = cell.get_build_config()["input_shape"][-1]
    shapes = [(3, features), *state_shapes(cell, 3)]
    inputs, *states = (
        keras.ops.convert_to_tensor(rng.uniform(size=shape), dtype=cell.compute_dtype)
        for shape in shapes
    )
    output, after = cell(inputs, states)
    traced, traced_after, _ = OpenedCell(cell, kind, False)(inputs, states)
    pairs = zip(
        [output, *keras.tree.flatten(after)], [traced, *traced_after], strict=True
    )
    for one, other in pairs:
        one, other = (
            keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
            for value in (one, other)
        )
        size = max(np.abs(one).max(), 1.0)
        if not np.allclose(one, other, atol=tolerance(cell) * size, equal_nan=True):
            raise ValueError(
                f"The signals of '{path}' cannot be read: its cell, a "
                f"`{type(cell).__name__}`, does not compute the same when it is called "
                "twice, or not with Keras's operations alone. Describe it with "
                f"`keras_gates.register_cell({type(cell).__name__}, ...)`."
            )
