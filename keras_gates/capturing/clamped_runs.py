"""Runs a model with many clamps at once, each on its own copy of the samples."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gates.backend import backend
from keras_gates.capturing.program import Program
from keras_gates.models import edit_guards
from keras_gates.models.edit_places import Dense
from keras_gates.models.edit_plans import Plan
from keras_gates.models.editing import Edited
from keras_gates.models.input_batches import number_of_samples

Tensor = Any

ROWS = 512
"""The approximate number of rows that run at once; fewer would hardly save time."""

Clamp = tuple[str, tuple[int, ...]]
"""The key of a signal, and the units that are clamped."""


class ClampedRuns:
    """Runs a model with many clamps, which are inputs of one compiled program.

    The samples of a batch are repeated, each copy of a sample has a clamp of its own,
    and one copy has none.

    Args:
        model: The model.
        plan: An edit of each signal, which locates the signal in the model.
        values: For the key of each signal, the values that its units are set to.
        each: Computes a number for each sample from the targets and the outputs.
    """

    def __init__(
        self,
        model: keras.Model,
        plan: Plan,
        values: dict[str, np.ndarray],
        each: Callable,
    ):
        self._model, self._plan, self._values = model, plan, values
        self._each = each
        self._programs: dict[int, _NumberProgram] = {}

    def changes(
        self, clamps: list[Clamp], given: list[dict], progress: keras.utils.Progbar
    ) -> np.ndarray:
        """Returns how the number of each sample changes with each clamp.

        Args:
            clamps: The clamps.
            given: For each batch, `x` and perhaps `y`.
            progress: Counts the clamps.

        Returns:
            The changes, `(sample, clamp)`.
        """
        most = max(number_of_samples(one["x"]) for one in given)
        repeats = min(max(ROWS // most, 2), len(clamps) + 1)
        slots: list[Clamp | None] = [None, *clamps]
        columns = []
        for start in range(0, len(slots), repeats):
            some = slots[start : start + repeats]
            plan = _side_by_side(self._plan, some, self._values, repeats, most)
            with Edited(self._model, plan):
                program = self._program(repeats)
                rows = [program.numbers(self._model, one) for one in given]
            columns.append(np.concatenate(rows)[:, : len(some)])
            progress.add(len(some) - (start == 0))
        numbers = np.concatenate(columns, axis=1)
        return numbers[:, 1:] - numbers[:, :1]

    def _program(self, repeats: int) -> _NumberProgram:
        """Returns the program; the first call must be within the block of an edit."""
        if repeats not in self._programs:
            made = _NumberProgram(self._model, self._each, repeats)
            self._programs[repeats] = made
        return self._programs[repeats]


def _side_by_side(
    plan: Plan,
    slots: list[Clamp | None],
    values: dict[str, np.ndarray],
    repeats: int,
    samples: int,
) -> Plan:
    """Returns an edit in which each copy of a sample has the clamp of its slot."""
    laid: Plan = {}
    for key, (node, signal, _) in plan.items():
        touched = np.zeros((repeats, 1, len(values[key])), bool)
        for number, slot in enumerate(slots):
            if slot is not None and slot[0] == key:
                touched[number, 0, list(slot[1])] = True
        touched = np.tile(touched, (samples, 1, 1))
        summand = np.where(touched, values[key], 0.0)
        absent = np.zeros((1, 1, 1), bool)
        dense = Dense(np.where(touched, 0.0, 1.0), summand, touched, absent)
        laid[key] = node, signal, [dense]
    return laid


class _NumberProgram(Program):
    """A model that runs the user's model on copies of each sample.

    Args:
        model: The user's model.
        each: Computes a number for each sample from the targets and the outputs.
        repeats: The number of copies.
    """

    def __init__(self, model, each: Callable, repeats: int):
        super().__init__(model, [], set(), training=False)
        self._signals = functools.partial(_numbers, model, each, repeats)

    def numbers(self, model, given: dict) -> np.ndarray:
        """Returns the number of each copy of the samples of a batch."""
        edit_guards.rewind(model)
        self.copies.take()
        return np.asarray(self.run(given)["numbers"], "float64")


def _numbers(model, each: Callable, repeats: int, given: dict) -> dict:
    def repeated(leaf):
        return None if leaf is None else ops.repeat(leaf, repeats, axis=0)

    given = keras.tree.map_structure(repeated, given)
    with backend.opened(), edit_guards.counted(model):
        outputs = model(given["x"], training=False)
    numbers = ops.cast(each(given.get("y"), outputs), "float32")
    return {"numbers": ops.reshape(numbers, (-1, repeats))}
