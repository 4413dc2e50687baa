"""The plan of edits, which is checked against the model before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.checks import type_of
from keras_gates.edits import Edit
from keras_gates.models.edit_places import Dense, dense, joined, rounded_up
from keras_gates.models.find_layers import Node, find_nodes, walk

Plan = dict[str, tuple[Node, str, list[Dense]]]
"""For each key, its node, its signal, and the edits of the signal."""


def planned(model: keras.Model, changes: Any) -> Plan:
    """Checks the requested edits, and lays them out."""
    if not isinstance(changes, Mapping):
        raise TypeError(
            "`changes` must be a dict of 'path/signal' to edits, such as "
            f"{{'lstm/forget': edits.clamp(1.0)}}; got {type_of(changes)}."
        )
    if not changes:
        raise ValueError(
            "`changes` is empty, so nothing would be edited. Name a signal in it, such "
            "as 'lstm/forget'."
        )
    nodes = {node.path: node for node in find_nodes(model)}
    plan: Plan = {}
    for key, given in changes.items():
        node, signal = _found(key, nodes, model)
        several = given if isinstance(given, (list, tuple)) else [given]
        for one in several:
            if not isinstance(one, Edit):
                raise TypeError(
                    f"The edit of '{key}' must be made by `keras_gates.edits`, such as "
                    f"`edits.clamp(1.0)`; got {type_of(one)}."
                )
        if not several:
            raise ValueError(f"The list of edits of '{key}' is empty.")
        width = node.known_kind.widths.get(signal, node.units)
        steps = _steps_of(node.layer)
        laid = [dense(key, _looked_up(key, one), width, steps) for one in several]
        whole = joined(key, laid)
        _require_range(key, whole, node)
        plan[key] = node, signal, [rounded_up(whole, steps)]
    _require_one_count(plan)
    return plan


def _found(key: Any, nodes: dict[str, Node], model) -> tuple[Node, str]:
    if not isinstance(key, str):
        raise TypeError(
            f"A key of `changes` must be a string 'path/signal'; got {type_of(key)}."
        )
    path, _, signal = key.rpartition("/")
    if path not in nodes:
        again = v.without_call(path)
        if again in nodes:
            raise ValueError(
                f"'{key}' names one call of a layer that is called several times. An "
                f"edit acts on every call: use the key '{again}/{signal}'."
            )
        there = ", ".join(f"'{path}'" for path in nodes) or "none"
        raise ValueError(
            f"A key of `changes` must be 'path/signal' with the path of a recurrent "
            f"layer. Those of '{model.name}' are: {there}; got {key!r}."
        )
    node = nodes[path]
    if node.kind is None or signal not in node.kind.signals:
        names = () if node.kind is None else node.kind.signals
        there = ", ".join(map(repr, names)) or "none that are known"
        raise ValueError(f"The signals of '{path}' are {there}; got {signal!r}.")
    if not node.layer.built:
        raise ValueError(
            f"The layer '{path}' is not built yet. Call the model once on a batch."
        )
    for place, layer in walk(model):
        if isinstance(layer, keras.layers.TimeDistributed) and any(
            inner is node.layer for _, inner in walk(layer)
        ):
            raise ValueError(
                f"'{path}' cannot be edited: it is inside the `TimeDistributed` "
                f"'{place}', where a row of the batch is not a sample. Edit a model "
                "that consists of this layer."
            )
    return node, signal


def _looked_up(key: str, one: Edit) -> Edit:
    """Finds the values of a swap in a tree."""
    if one.action != "swap" or not hasattr(one.value, "data_vars"):
        return one
    path, _, signal = key.rpartition("/")
    tree = one.value
    place = key if hasattr(tree, "subtree") else signal
    try:
        values = tree[place]
    except KeyError:
        raise ValueError(
            f"The values for '{key}' are a tree without '{place}', so it is from a "
            "different model. Give a capture of a model with the same layers, or an "
            "array."
        ) from None
    return Edit(one.action, values, one.samples, one.time, one.units)


def _steps_of(layer) -> int | None:
    """Returns the number of time steps of a layer, or `None` if it is not known."""
    built = layer.get_build_config() or {}
    shape = built.get("input_shape")
    if shape is None:  # With initial states among its inputs.
        shape = next(iter(built.get("shapes_dict", {}).values()), None)
    while shape is not None and len(shape) and isinstance(shape[0], (list, tuple)):
        shape = shape[0]
    return shape[1] if shape is not None and len(shape) > 1 else None


def _require_range(key: str, whole: Dense, node: Node) -> None:
    dtype = node.cell.compute_dtype
    if dtype != "float16":
        return
    with np.errstate(over="ignore"):
        fits = [np.isfinite(array.astype(dtype)).all() for array in whole[:2]]
    if not all(fits):
        raise ValueError(
            f"The values for '{key}' exceed 65504, the largest value of float16, in "
            f"which '{node.path}' computes. Use smaller values."
        )


def _require_one_count(plan: Plan) -> None:
    counts = {key: one.samples for key, (_, _, (one,)) in plan.items() if one.samples}
    if len(set(counts.values())) > 1:
        raise ValueError(
            "The values of edits must all be for the same number of samples; got "
            + ", ".join(f"{count} for '{key}'" for key, count in counts.items())
            + "."
        )


def together(outer: Plan, inner: Plan) -> Plan:
    """Joins the edits of two blocks."""
    plan = dict(outer)
    for key, (node, signal, parts) in inner.items():
        if key in plan:
            parts = [joined(key, [*plan[key][2], *parts])]
        plan[key] = node, signal, parts
    _require_one_count(plan)
    return plan
