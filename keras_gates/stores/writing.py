"""Writes trees as one store, which appears when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from keras_gates import vocabulary as v
from keras_gates.stores import paths
from keras_gates.stores.opening import open_tree
from keras_gates.stores.store import Store
from keras_gates.trees.walk import recurrent

if TYPE_CHECKING:
    import xarray


def write_trees(path: Path, trees: Iterable[xarray.DataTree]) -> xarray.DataTree:
    """Writes trees one behind the other, along the samples.

    The store appears at its path when it is complete, never before. What killed
    processes left beside it is removed.

    Args:
        path: Where the store shall be, from `paths.new_path`.
        trees: At least one tree; all of them with the same nodes and lengths.

    Returns:
        A lazy tree that reads from the store.

    Raises:
        ValueError: If two trees differ in their lengths.
        OSError: If the store cannot be written.
    """
    lengths = None
    # A folder of its own beside the path: nobody's file can be in the way.
    with paths.beside(path) as folder:
        with contextlib.closing(Store(folder / "store", {"keras_gates": ""})) as store:
            for tree in trees:
                now = {node.path: node.sizes[v.TIME] for node in recurrent(tree)}
                if lengths not in (None, now):
                    raise ValueError(
                        "With `store`, every batch must have the same number of time "
                        f"steps; got {lengths}, then {now}. Pad the batches and mask "
                        "the padding."
                    )
                lengths = now
                store.append("", tree, v.SAMPLE)
        try:
            os.rename(store.path, path)
        except OSError as error:
            raise paths.cannot_write(path, error) from None
    return open_tree(path)
