"""Lazy opening of the trees of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_gates.trees.tree import grow

if TYPE_CHECKING:
    import xarray

KEYS = "keys"
"""The attribute with the keys of layers whose names cannot be file names."""


def open_tree(path, group: str = "") -> xarray.DataTree:
    """Opens the tree of a group in a store; arrays are read when they are used."""
    import xarray

    # From the root, whose metadata state how much of each array is complete.
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
    tree.encoding = {"source": str(path)}  # As in xarray, so that errors can name it.
    return tree
