"""Where in a model gates can be read: recurrent layers, found and chosen by name."""

import fnmatch
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_gates import vocabulary as v
from keras_gates.cells import cells_of, kind_of
from keras_gates.checks import names_of
from keras_gates.wrappers import added


class Node(NamedTuple):
    """A place in a model where gates can be read.

    Attributes:
        path: The names of the layers that lead to it, joined by "/".
        layer: The recurrent layer.
        cell: The cell whose gates they are, the layer's own or one of its stack.
        kind: The kind of the cell, or `None` if its equations are not known.
    """

    path: str
    layer: keras.layers.RNN
    cell: Any
    kind: v.Kind | None


def walk(layer, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every layer inside a layer or model, with the path that leads to it.

    A layer that is found twice is yielded once, at its first path. Of two layers at
    one path, the second gets "#2" behind it.
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
    # Private to Keras, and the only way to the layers that a custom layer holds. If
    # it changes, layers inside layers are no longer found, and a test says so.
    held = layer._flatten_layers(include_self=False, recursive=False)
    # A model tells its layers in the order of its graph; one that a user derives from
    # a functional model may hold others besides.
    known = layer.layers if isinstance(layer, keras.Model) else []
    return list({id(child): child for child in [*known, *held]}.values())


def find_nodes(model: keras.Model) -> list[Node]:
    """Lists the places in a model where gates are, known or not, in order.

    Layers without gates (`SimpleRNN`) are left out.
    """
    nodes = []
    for path, layer in walk(model):
        if not isinstance(layer, keras.layers.RNN):
            continue
        names, seen = Counter(), set()
        for name, cell in cells_of(layer):
            if isinstance(cell, keras.layers.SimpleRNNCell) or id(cell) in seen:
                continue
            seen.add(id(cell))
            names[name] += 1
            twin = f"#{names[name]}" if names[name] > 1 else ""
            place = f"{path}/{name}{twin}" if name else path
            changed = "inner_loop" in added(layer)
            kind = None if changed else kind_of(cell)
            nodes.append(Node(place, layer, cell, kind))
    return nodes


def select(model: keras.Model, patterns) -> list[Node]:
    """Chooses the nodes of a model whose path or name matches a pattern.

    Args:
        model: A built model.
        patterns: A name or glob pattern, several of them, or `None` for all.

    Returns:
        The chosen nodes, at least one, all of a known kind.

    Raises:
        ValueError: If the model is not built or has no gates, if a pattern matches
            nothing, or if a chosen layer's equations are not known.
    """
    require_model(model)
    if not model.built:
        raise ValueError(
            f"The model '{model.name}' is not built yet, so it has no weights. Call it "
            "once on a batch, or begin it with a `keras.Input`."
        )
    nodes = find_nodes(model)
    if not nodes:
        raise ValueError(
            f"The model '{model.name}' has no LSTM or GRU layer; it has "
            f"{_list_of(type(layer).__name__ for _, layer in walk(model))}. A cell is "
            "read where a `keras.layers.RNN` runs it."
        )
    chosen = nodes
    if patterns is not None:
        patterns = names_of("layers", patterns)
        chosen = [node for node in nodes if any(_matches(node, p) for p in patterns)]
        for pattern in patterns:
            if not any(_matches(node, pattern) for node in nodes):
                raise ValueError(
                    f"`layers` must name recurrent layers of the model; {pattern!r} "
                    f"matches none of {_list_of(node.path for node in nodes)}."
                )
    for node in chosen:
        if node.kind is None:
            known = [other.path for other in nodes if other.kind is not None]
            way_out = (
                f"Leave it out with `layers={known}`."
                if known
                else "Build the layer from `LSTMCell` or `GRUCell`."
            )
            raise ValueError(
                f"The equations of '{node.path}' are not known: it is a "
                f"`{type(node.layer).__name__}` with a `{type(node.cell).__name__}`, "
                "and keras_gates reads Keras's `LSTMCell` and `GRUCell` in Keras's own "
                f"`inner_loop`. {way_out}"
            )
    return chosen


def _matches(node: Node, pattern: str) -> bool:
    """Tells whether a pattern names a node, or a layer around it, by path or name."""
    parts = node.path.split("/")
    paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return any(
        name == pattern or fnmatch.fnmatchcase(name, pattern)
        for name in (*paths, *parts)
    )


def _list_of(words) -> str:
    return ", ".join(f"'{word}'" for word in dict.fromkeys(words)) or "no layers"


def require_model(model) -> None:
    """Refuses what is no model."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a `keras.Model`; got {type(model).__name__}. Put a "
            "single layer into a `keras.Sequential` first."
        )
