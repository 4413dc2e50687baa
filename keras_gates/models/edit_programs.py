"""The functions that Keras compiled for edits of the same signals, and variables."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np

from keras_gates.cells.known_cells import cells_of
from keras_gates.layers.layer_edits import LayerEdit, PlaceData, Rows
from keras_gates.models.edit_plans import Plan

FUNCTIONS = ("train_function", "test_function", "predict_function")
"""The functions that Keras compiles for a model."""

KEPT = 8
"""The number of groups of edited signals whose compiled functions are kept."""


class Program:
    """The variables of some edited signals, and the functions compiled with them."""

    def __init__(self, plan: Plan):
        self.rows = Rows()
        self._variables: dict[str, dict[str, Any]] = {}
        self.functions: dict[str, Any] = {}
        layers: dict[int, tuple[Any, str, list[PlaceData]]] = {}
        for key, (node, signal, (one,)) in plan.items():
            dtype = "float64" if node.cell.compute_dtype == "float64" else "float32"
            names = ["factor", "summand", *(["absent"] if one.absent.any() else [])]
            data = {
                name: keras.Variable(
                    np.zeros(getattr(one, name).shape, dtype),
                    trainable=False,
                    dtype=dtype,
                    name=f"edit_{name}",
                )
                for name in names
            }
            self._variables[key] = data
            cells = [id(cell) for _, cell in cells_of(node.layer)]
            place = cells.index(id(node.cell)), signal
            _, _, parts = layers.setdefault(id(node.layer), (node.layer, node.path, []))
            parts.append(PlaceData(place, one.steps, **data))
        self.edits = [
            (layer, LayerEdit(path, parts, self.rows))
            for layer, path, parts in layers.values()
        ]

    def assign(self, plan: Plan) -> None:
        """Assigns the values of edits of the same signals."""
        self.rows.rewind()
        ones = {key: one for key, (_, _, (one,)) in plan.items()}
        self.rows.keys = [key for key, one in ones.items() if one.by_sample]
        counts = {one.samples for one in ones.values()} - {None}
        self.rows.samples = next(iter(counts), None)
        for key, one in ones.items():
            for name, variable in self._variables[key].items():
                variable.assign(getattr(one, name).astype(variable.dtype))

    @contextlib.contextmanager
    def functions_in_place(self, model):
        """Replaces the model's compiled functions by those for the edits."""
        before = {name: getattr(model, name, None) for name in FUNCTIONS}
        for name in FUNCTIONS:
            setattr(model, name, self.functions.get(name))
        try:
            yield
        finally:
            self.functions = {name: getattr(model, name, None) for name in FUNCTIONS}
            for name, function in before.items():
                setattr(model, name, function)


class Programs:
    """The programs of a model, while it stays compiled as it is."""

    def __init__(self):
        self._compiled: Any = None
        self._kept: dict[tuple, Program] = {}

    def __reduce__(self):
        return Programs, ()  # A copy of a model compiles for itself.

    def of(self, model) -> Programs:
        """Drops all programs if the model was compiled again."""
        # Private to Keras, which makes a new one with each `compile`. If it is renamed,
        # a model that is compiled again between two blocks runs as compiled before.
        compiled = getattr(model, "_compiled_trainable_state", None)
        if compiled is not self._compiled:
            self._compiled, self._kept = compiled, {}
        return self

    def program(self, plan: Plan) -> Program:
        """Returns the program for a plan, and makes it if there is none."""
        key = tuple(
            (path, one.sizes, id(node.layer))
            for path, (node, _, (one,)) in sorted(plan.items())
        )
        program = self._kept.pop(key, None) or Program(plan)
        self._kept[key] = program
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return program


def programs_of(model) -> Programs:
    """Returns the programs of a model."""
    # Stored on the model, since compiled functions hold the model: stored elsewhere,
    # they would keep it for ever.
    return vars(model).setdefault("_keras_gates_edits", Programs()).of(model)
