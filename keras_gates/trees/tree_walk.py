"""The nodes of a tree, in the order of the model's layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from keras_gates.cells import registry

if TYPE_CHECKING:
    import xarray


def depth_first(tree: xarray.DataTree) -> Iterator[xarray.DataTree]:
    """Yields a tree and the nodes below it, in the order of the model's layers."""
    # `DataTree.subtree` would go level by level.
    yield tree
    for child in tree.children.values():
        yield from depth_first(child)


def recurrent(tree: xarray.DataTree) -> list[xarray.DataTree]:
    """Lists the nodes of a tree that hold the signals of a recurrent layer."""
    return [
        node for node in depth_first(tree) if registry.kind_from(node.attrs) is not None
    ]
