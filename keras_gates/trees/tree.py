"""Recorded arrays become labelled data: trees of datasets, one for each layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.cells.activations import name_of
from keras_gates.cells.kind_attributes import described
from keras_gates.trees.layer_kind import unit_dimension

if TYPE_CHECKING:
    import xarray

    from keras_gates.models.find_layers import Node


def to_tree(batches: list[dict], nodes: list[Node], model_name: str) -> xarray.DataTree:
    """Joins the batches of a reading and labels them.

    Args:
        batches: For each batch, node path to a dict of arrays. Several are emptied.
        nodes: The nodes that were read.
        model_name: The name of the model.

    Returns:
        A tree with one dataset for each path, as `capture` describes it.
    """
    places = {node.path: index for index, node in enumerate(nodes)}
    paths = dict.fromkeys(path for batch in batches for path in batch)
    # The second call of a layer is "lstm@2", and lies where its first one does.
    first = {p: p if p in places else re.sub(r"@\d+$", "", p) for p in paths}
    datasets = {}
    for path in sorted(paths, key=lambda path: places[first[path]]):
        described = attributes_of(nodes[places[first[path]]])
        arrays = [batch[path] for batch in batches if path in batch]
        datasets[path] = to_dataset(arrays, {**described, "layer": path})
    return grow(datasets, {**tree_attributes(model_name), "layers": list(datasets)})


def tree_attributes(model_name: str) -> dict:
    """Returns the attributes that tell where a tree comes from."""
    return {
        "model": model_name,
        "keras_gates": v.VERSION,
        "keras": keras.version(),
        "backend": keras.backend.backend(),
    }


def grow(datasets: dict[str, xarray.Dataset], attributes: dict) -> xarray.DataTree:
    """Makes a tree whose nodes come in the order of the model's layers.

    A layer inside another one of other sizes lies beside it: "outer.inner".
    """
    from keras_gates.trees.notebook import DataTree  # Needs xarray at once.

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
    """Returns the path of a node, or one beside the nodes that it cannot lie in."""
    parts = path.split("/")
    for end in range(1, len(parts)):
        above = "/".join(parts[:end])
        # xarray takes the dimensions of a node to be those of the nodes in it.
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


def to_dataset(batches: list[dict], attributes: dict) -> xarray.Dataset:
    """Joins the arrays of one node along the samples, and labels them.

    Args:
        batches: For each batch, a dict of arrays. Several are emptied.
        attributes: Those of the node.
    """
    import xarray

    batches = _same_length(batches)
    kind = registry.kind_from(attributes)
    assert kind is not None  # `attributes_of` described it.
    # One after the other, and each is dropped when it is joined: else all of the
    # result would be in memory twice.
    joined = {
        name: np.concatenate([batch.pop(name) for batch in batches])
        if len(batches) > 1
        else batches[0][name]
        for name in list(batches[0])
    }
    units = attributes["units"]

    def along(name: str, of: str, *dims: str) -> tuple[str, ...]:
        last = unit_dimension(of, joined[name].shape[-1], units)
        return _dims(joined[name], *dims, last)

    data = {
        name: (along(name, name, v.TIME), joined[name], _attributes(name))
        for name in kind.signals
        if name in joined
    }
    if v.INPUTS in joined and v.INPUTS not in data:
        dims = _dims(joined[v.INPUTS], v.TIME, v.FEATURE)
        data[v.INPUTS] = dims, joined[v.INPUTS], {"long_name": "input of the layer"}
    if v.MASK in joined:
        label = {"long_name": "true where the step is real"}
        data[v.MASK] = (_dims(joined[v.MASK], v.TIME), joined[v.MASK], label)
    states = {v.initial(state): state for state in kind.states}
    coordinates = {
        name: (
            along(name, state),
            joined[name],
            {"long_name": f"{registry.long_names()[state]} before the first step"},
        )
        for name, state in states.items()
        if name in joined
    }
    return xarray.Dataset(data, coordinates, attributes)


def attributes_of(node: Node) -> dict:
    """Returns the attributes that tell what the numbers of a node are."""
    kind = node.known_kind
    functions = {
        name: name_of(function)
        for name in ("activation", "recurrent_activation")
        if callable(function := getattr(node.cell, name, None))
    }
    return {
        "kind": kind.name,
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


def _same_length(batches: list[dict]) -> list[dict]:
    """Pads shorter batches with masked steps at the end, where lengths differ."""
    frames = {_signal(batch).shape[1:-2] for batch in batches}
    if len(frames) > 1:
        raise ValueError(
            "Inside a `TimeDistributed`, every batch must have the same number of "
            f"frames; got {sorted(number for (number,) in frames)}. Pad the frames "
            "and mask the padding."
        )
    lengths = [_length(batch) for batch in batches]
    if len(set(lengths)) == 1:
        return batches
    return [_pad(batch, max(lengths)) for batch in batches]


def _signal(batch: dict) -> np.ndarray:
    # Signals are (..., time, unit); the initial states lack the time.
    return next(array for name, array in batch.items() if _has_steps(name))


def _has_steps(name: str) -> bool:
    return name == v.INPUTS or name in registry.signals()


def _length(batch: dict) -> int:
    return _signal(batch).shape[-2]


def _pad(batch: dict, length: int) -> dict:
    missing = length - _length(batch)
    padded = {}
    for name, array in batch.items():
        if _has_steps(name):
            width = [(0, 0)] * (array.ndim - 2) + [(0, missing), (0, 0)]
            array = np.pad(array, width, constant_values=np.nan)
            real = np.zeros(array.shape[:-1], bool)
            real[..., : length - missing] = True
        padded[name] = array
    if v.MASK in batch:
        mask = batch[v.MASK]
        width = [(0, 0)] * (mask.ndim - 1) + [(0, missing)]
        real = np.pad(mask, width, constant_values=False)
    return {**padded, v.MASK: real}
