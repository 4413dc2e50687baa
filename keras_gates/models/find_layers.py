"""The places in a model where gates can be read, found and chosen by name."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_gates.cells import registry
from keras_gates.cells.held_layers import held_layers
from keras_gates.cells.kind import Kind
from keras_gates.cells.known_cells import (
    cells_of,
    has_kernel,
    kind_of,
    output_width,
    why_unknown,
)
from keras_gates.checks import either, names_of
from keras_gates.layers.wrappers import added
from keras_gates.models.cell_checks import check_cell
from keras_gates.models.model_checks import has_call, require_model


class Node(NamedTuple):
    """A place in a model where gates can be read.

    Attributes:
        path: The names of the layers that lead to it, joined by "/".
        layer: The recurrent layer.
        cell: The cell to which the gates belong: the layer's cell, or one of its stack.
        kind: The kind of the cell, or `None` if its equations are not known.
    """

    path: str
    layer: keras.layers.RNN
    cell: Any
    kind: Kind | None

    @property
    def known_kind(self) -> Kind:
        """The kind of a node that `select` returned, which refuses unknown cells."""
        if self.kind is None:
            raise ValueError(f"The equations of '{self.path}' are not known.")
        return self.kind

    @property
    def units(self) -> int:
        """The number of values of the output of the cell for each sample."""
        return output_width(self.cell)


Layers: TypeAlias = str | keras.Layer | Iterable[str | keras.Layer] | None
"""Names, patterns or layers, one or several, or all."""


def walk(layer, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every layer inside a layer or model, with the path that leads to it.

    A layer that is found twice is yielded once, at its first path. If two layers have
    the same path, "#2" is appended to the second one's.
    """
    seen, paths = set(), set()

    def visit(parent, prefix):
        for child in _sublayers(parent):
            if id(child) in seen:
                continue
            seen.add(id(child))
            path = own = f"{prefix}{child.name}"
            twins = 1
            while path in paths:
                twins += 1
                path = f"{own}#{twins}"
            paths.add(path)
            yield path, child
            yield from visit(child, f"{path}/")

    yield from visit(layer, path)


def _sublayers(layer) -> list:
    # A model lists its layers in the order of its graph. A user's subclass of a
    # functional model may hold other layers as well.
    known = layer.layers if isinstance(layer, keras.Model) else []
    return list({id(child): child for child in [*known, *held_layers(layer)]}.values())


def find_nodes(model: keras.Model) -> list[Node]:
    """Lists the places in a model that have gates, known or not, in order.

    A layer inside the cell of another layer counts as not known: it runs inside a
    loop, which no tensor may leave.
    """
    nodes: list[Node] = []
    in_loops: set[int] = set()
    for path, layer in walk(model):
        if not isinstance(layer, keras.layers.RNN):
            continue
        in_loops.update(id(inner) for _, inner in walk(layer.cell))
        names: Counter[str] = Counter()
        seen: set[int] = set()
        for name, cell in cells_of(layer):
            if id(cell) in seen:
                continue
            seen.add(id(cell))
            names[name] += 1
            twin = f"#{names[name]}" if names[name] > 1 else ""
            place = f"{path}/{name}{twin}" if name else path
            unknown = "inner_loop" in added(layer) or id(layer) in in_loops
            kind = None if unknown else kind_of(cell)
            if kind is not None and kind.runs_in_loop and has_kernel(layer):
                kind = None
            nodes.append(Node(place, layer, cell, kind))
    return nodes


def select(model: keras.Model, patterns) -> list[Node]:
    """Chooses the nodes of a model whose path or name matches a pattern.

    Args:
        model: A model whose recurrent layers are built.
        patterns: A name, a glob pattern or a layer, several of them, or `None` for all.

    Returns:
        The chosen nodes, at least one, all of a known kind.

    Raises:
        ValueError: If the model has no gates or no weights yet, if a pattern matches
            nothing, or if a chosen layer's equations are not known.
    """
    require_model(model)
    nodes = find_nodes(model)
    if not nodes and model.built:
        raise ValueError(
            f"The model '{model.name}' has no {either(registry.KINDS)} layer; it has "
            f"{_list_of(type(layer).__name__ for _, layer in walk(model))}. A cell can "
            "be read only where a `keras.layers.RNN` runs it."
        )
    chosen = nodes
    if patterns is not None:
        patterns = layers_of(patterns)
        chosen = [node for node in nodes if any(_matches(node, p) for p in patterns)]
    # A model that only has its own `train_step` is never built itself.
    if not (model.built or (chosen and all(node.layer.built for node in chosen))):
        raise not_built(model)
    for pattern in patterns or []:
        if not any(_matches(node, pattern) for node in nodes):
            raise ValueError(
                f"`layers` must name recurrent layers of the model; {_shown(pattern)} "
                f"matches none of {_list_of(node.path for node in nodes)}."
            )
    for node in chosen:
        if {"", ".", ".."} & set(node.path.split("/")):
            raise ValueError(
                f"A layer on the path {node.path!r} has a name that refers to another "
                "place in a tree, so it cannot be in one. Rename the layer."
            )
        if node.kind is None:
            raise _unknown(node, nodes, model)
        check_cell(node.path, node.cell)
    return chosen


def _unknown(node: Node, nodes: list[Node], model) -> ValueError:
    known = [other.path for other in nodes if other.kind is not None]
    way_out = (
        f"`capture` and `GateRecorder` leave it out with `layers={known}`."
        if known
        else f"Build the layer from {_cells('or')}."
    )
    for path, layer in walk(model):
        if isinstance(layer, keras.layers.RNN) and any(
            inner is node.layer for _, inner in walk(layer.cell)
        ):
            return ValueError(
                f"The gates of '{node.path}' cannot be read: the cell of '{path}' "
                f"runs this layer at each step, inside a loop. {way_out}"
            )
    layer, cell = type(node.layer).__name__, type(node.cell).__name__
    if "inner_loop" in added(node.layer):
        return ValueError(
            f"The equations of '{node.path}' are not known: its class `{layer}` has an "
            f"`inner_loop` of its own. {way_out}"
        )
    if has_kernel(node.layer):
        reason = (
            "Keras may run its own kernel instead of the cell; "
            "`keras.layers.RNN(cell)` runs the cell, and so does `use_cudnn=False`"
        )
    else:
        reason = f"the cell cannot be traced: {why_unknown(node.cell)}"
    return ValueError(
        f"The equations of '{node.path}' are not known. It is a `{layer}` with a "
        f"`{cell}`, which is not one of Keras's {_cells('and')}, and {reason}. "
        f"Describe the cell with `keras_gates.register_cell({cell}, ...)`. {way_out}"
    )


def _cells(last: str) -> str:
    return either((f"`{kind.cell.__name__}`" for kind in registry.STOCK.values()), last)


def not_built(model) -> ValueError:
    """Returns the error for a model that has no weights yet."""
    way_out = (
        "Call it once on a batch, or start it with a `keras.Input`."
        if has_call(model)
        else "Build its layers, or start the models inside it with a `keras.Input`."
    )
    return ValueError(
        f"The model '{model.name}' is not built yet, so it has no weights. {way_out}"
    )


def layers_of(layers: Any) -> list[str | keras.Layer]:
    """Returns names, patterns and layers, one or several, as a list."""
    if isinstance(layers, keras.Layer):
        return [layers]
    if not isinstance(layers, (list, tuple, set)):
        return list(names_of("layers", layers))
    found = [layer for layer in layers if isinstance(layer, keras.Layer)]
    names = [layer for layer in layers if not isinstance(layer, keras.Layer)]
    return [*found, *(names_of("layers", names) if names or not found else ())]


def _shown(pattern: str | keras.Layer) -> str:
    if isinstance(pattern, keras.Layer):
        return f"the layer '{pattern.name}'"
    return repr(pattern)


def _matches(node: Node, pattern: str | keras.Layer) -> bool:
    """Returns whether a pattern matches a node or a layer around it."""
    if isinstance(pattern, keras.Layer):
        inside = (layer for _, layer in walk(pattern))
        return any(layer is node.layer for layer in (pattern, *inside))
    parts = node.path.split("/")
    paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return any(
        name == pattern or fnmatch.fnmatchcase(name, pattern)
        for name in (*paths, *parts)
    )


def _list_of(words) -> str:
    return ", ".join(f"'{word}'" for word in dict.fromkeys(words)) or "no layers"


def require_call(
    model: keras.Model, way_out: str = "Capture a model inside it{}, or add a `call`."
) -> None:
    """Refuses a model that cannot be run; the error names models inside it that can.

    Args:
        model: The model.
        way_out: The advice for the user, with braces for the names.
    """
    require_model(model)
    if has_call(model):
        return
    inside = [
        f"`model.get_layer('{part.name}')`"
        for part in model.layers
        if isinstance(part, keras.Model) and has_call(part) and find_nodes(part)
    ]
    names = f", such as {' or '.join(inside)}" if inside else ""
    raise ValueError(
        f"The model '{model.name}' has no `call`, only steps of its own, so nothing "
        f"can be run through it. {way_out.format(names)}"
    )
