"""Conversion of recorded arrays to labelled data: trees of datasets of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.cells.activations import name_of
from keras_gates.cells.kind_attributes import described
from keras_gates.trees.layer_kind import unit_dimension

if TYPE_CHECKING:
    import xarray

    from keras_gates.models.find_layers import Node


def to_tree(
    arrays: dict[str, dict],
    nodes: list[Node],
    model_name: str,
    more: dict[str, dict] | None = None,
) -> xarray.DataTree:
    """Labels the arrays that were read from a model.

    Args:
        arrays: Node path to a dict of arrays.
        nodes: The nodes that were read.
        model_name: The name of the model.
        more: Further attributes of the run, by the path of the node.

    Returns:
        A tree with one dataset for each path, as described for `capture`.
    """
    places = {node.path: index for index, node in enumerate(nodes)}
    # The second call of a layer is "lstm@2", and has the place of the first one.
    first = {p: p if p in places else v.without_call(p) for p in arrays}
    datasets = {}
    for path in sorted(arrays, key=lambda path: places[first[path]]):
        described = attributes_of(nodes[places[first[path]]])
        described |= {"layer": path, **(more or {}).get(path, {})}
        datasets[path] = to_dataset(arrays[path], described)
    return grow(datasets, {**tree_attributes(model_name), "layers": list(datasets)})


def tree_attributes(model_name: str) -> dict:
    """Returns the attributes that state where a tree comes from."""
    return {
        "model": model_name,
        "keras_gates": v.VERSION,
        "keras": keras.version(),
        "backend": keras.backend.backend(),
    }


def grow(datasets: dict[str, xarray.Dataset], attributes: dict) -> xarray.DataTree:
    """Makes a tree whose nodes are in the order of the model's layers.

    A layer inside another one with different sizes is placed next to it, as
    "outer.inner".
    """
    from keras_gates.trees.notebook import DataTree  # It needs xarray immediately.

    # `DataTree.from_dict` would sort them by depth.
    tree = DataTree(datasets.get("/"))
    placed: dict[str, xarray.Dataset] = {}
    for path, dataset in datasets.items():
        if path != "/":
            place = _place(path.strip("/"), dataset, placed)
            placed[place] = dataset
            tree[place] = DataTree(dataset)
    tree.attrs = attributes
    if "layers" in attributes:
        tree.attrs = {**attributes, "layers": list(placed)}
    return tree


def _place(path: str, dataset: xarray.Dataset, placed: dict) -> str:
    """Returns the path of a node, or a path next to nodes in which it cannot be."""
    parts = path.split("/")
    for end in range(1, len(parts)):
        above = "/".join(parts[:end])
        # In xarray, the nodes inside a node share its dimensions.
        if above in placed and not _aligned(placed[above], dataset):
            beside = [f"{above}.{parts[end]}", *parts[end + 1 :]]
            return _place("/".join(beside), dataset, placed)
    twins = 1
    while path in placed:
        twins += 1
        path = f"{'/'.join(parts)}#{twins}"
    return path


def _aligned(above: xarray.Dataset, below: xarray.Dataset) -> bool:
    sizes = all(above.sizes.get(dim, n) == n for dim, n in below.sizes.items())
    return sizes and all(
        above.indexes[dim].equals(index)
        for dim, index in below.indexes.items()
        if dim in above.indexes
    )


def to_dataset(arrays: dict, attributes: dict) -> xarray.Dataset:
    """Labels the arrays of one node.

    Args:
        arrays: Its arrays, by name.
        attributes: Those of the node.
    """
    import xarray

    kind = registry.kind_from(attributes)
    assert kind is not None  # `attributes_of` described it.
    units = attributes["units"]

    def along(name: str, of: str, *dims: str) -> tuple[str, ...]:
        last = unit_dimension(of, arrays[name].shape[-1], units)
        return _dims(arrays[name], *dims, last)

    data = {
        name: (along(name, name, v.TIME), arrays[name], _attributes(name))
        for name in kind.signals
        if name in arrays
    }
    if v.INPUTS in arrays and v.INPUTS not in data:
        dims = _dims(arrays[v.INPUTS], v.TIME, v.FEATURE)
        data[v.INPUTS] = dims, arrays[v.INPUTS], {"long_name": "input of the layer"}
    if v.MASK in arrays:
        label = {"long_name": "true where the step is unmasked"}
        data[v.MASK] = (_dims(arrays[v.MASK], v.TIME), arrays[v.MASK], label)
    states = {v.initial(state): state for state in kind.states}
    coordinates = {
        name: (
            along(name, state),
            arrays[name],
            {"long_name": f"{registry.long_names()[state]} before the first step"},
        )
        for name, state in states.items()
        if name in arrays
    }
    return xarray.Dataset(data, coordinates, attributes)


def attributes_of(node: Node) -> dict:
    """Returns the attributes that describe the data of a node."""
    kind = node.known_kind
    functions = {
        name: name_of(function)
        for name in ("activation", "recurrent_activation")
        if callable(function := getattr(node.cell, name, None))
    }
    return {
        "cell_type": kind.name,
        "layer": node.path,
        "layer_class": type(node.layer).__name__,
        "units": node.units,
        **functions,
        "compute_dtype": node.cell.compute_dtype,
        "direction": "backward" if node.layer.go_backwards else "forward",
        **({} if kind.name in registry.STOCK else described(kind)),
        **kind.describe(node.cell),
    }


def _attributes(signal: str) -> dict:
    return {"long_name": registry.long_names()[signal]}


def _dims(array, *last: str) -> tuple[str, ...]:
    framed = array.ndim == len(last) + 2
    return (v.SAMPLE, v.FRAME, *last) if framed else (v.SAMPLE, *last)
