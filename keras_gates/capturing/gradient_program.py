"""The compiled program that runs a model, and returns derivatives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.capturing.masked_steps import with_masked_steps
from keras_gates.capturing.program import Program
from keras_gates.cells.known_cells import cells_of
from keras_gates.layers.added_zeros import Zeros
from keras_gates.layers.collect import Emission
from keras_gates.models import edit_guards
from keras_gates.models.find_layers import Node

Tensor = Any


class GradientProgram(Program):
    """A model that runs the user's model, and returns derivatives.

    Args:
        model: The user's model.
        nodes: The nodes for which derivatives are computed.
        chosen: The signals.
        each: Computes a number for each sample from the targets and the outputs.
    """

    def __init__(self, model, nodes: list[Node], chosen: set[str], each: Callable):
        super().__init__(model, nodes, chosen, training=False)
        self._signals = functools.partial(_derivatives, model, nodes, chosen, each)


def _derivatives(
    model, nodes: list[Node], chosen: set[str], each: Callable, given: dict
) -> dict:
    """Returns the derivatives by path and signal."""
    places: dict[int, list] = {}
    for node in nodes:
        number = _number_of(node)
        names = [name for name in node.known_kind.signals if name in chosen]
        places.setdefault(id(node.layer), [None]).extend((number, n) for n in names)

    def run(make):
        zeros = Zeros(places, make)
        with backend.opened(), zeros.added(), edit_guards.counted(model):
            outputs = model(given["x"], training=False)
        return ops.sum(ops.cast(each(given.get("y"), outputs), "float32")), zeros.masks

    found, masks = backend.derivatives(run, model.variables)
    results: dict[str, dict] = {}
    for node in nodes:
        calls = {call for layer, _, call in found if layer == id(node.layer)}
        for call in sorted(calls):
            key = v.numbered_call(node.path, call)
            results[key] = _of_node(node, call, found, masks, chosen)
    return results


def _number_of(node: Node) -> int:
    """Returns the number of a node's cell in its layer."""
    cells = [id(cell) for _, cell in cells_of(node.layer)]
    return cells.index(id(node.cell))


def _of_node(node: Node, call: int, found: dict, masks: dict, chosen: set[str]) -> dict:
    """Returns the derivatives of one call of a layer, in the form of a capture."""
    number = _number_of(node)
    names: dict[Any, str] = {
        (number, n): n for n in node.known_kind.signals if n in chosen
    }
    if number == 0:
        names[None] = v.INPUTS
    values = {name: found[id(node.layer), place, call] for place, name in names.items()}
    mask = masks.get((id(node.layer), call))
    backward = node.layer.go_backwards
    emission = Emission(node.layer, node.cell, values, {}, mask, backward)
    return with_masked_steps(emission, set(values))
