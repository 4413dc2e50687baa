"""Opens the trees of a store, lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_gates.trees.tree import grow

if TYPE_CHECKING:
    import xarray

KEYS = "keys"
"""The attribute that says where layers are whose names are no names of files."""


def open_tree(path, group: str = "") -> xarray.DataTree:
    """Opens the tree of a group in a store; arrays are read when they are used."""
    import xarray

    # From the root, whose metadata say how much of each array is complete.
    tree: Any = xarray.open_datatree(path, engine="zarr")
    tree = tree[group] if group else tree
    attributes = dict(tree.attrs)
    keys = attributes.pop(KEYS, {})
    # A store lists its groups in the order of the file system.
    layers = {
        layer: tree[keys.get(layer, layer)].to_dataset()
        for layer in attributes["layers"]
    }
    tree = grow(layers, attributes)
    tree.encoding = {"source": str(path)}  # As xarray does: errors can name it.
    return tree
