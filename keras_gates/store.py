"""A Zarr store that is written batch by batch and read lazily."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from keras_gates import vocabulary as v
from keras_gates.tree import grow, recurrent

if TYPE_CHECKING:
    import xarray


def new_path(path) -> Path:
    """Checks that a store can be written at a path.

    Raises:
        FileExistsError: If there is something at the path already.
    """
    path = Path(path).expanduser()
    if path.exists():
        raise FileExistsError(
            f"`store` must be a new path; '{path}' exists already. Remove it, or "
            "choose another."
        )
    return path


def write(path: Path, trees: "Iterable[xarray.DataTree]") -> "xarray.DataTree":
    """Writes trees one behind the other, along the samples.

    The store appears at its path when it is complete, never before.

    Args:
        path: Where the store shall be.
        trees: At least one tree; all of them with the same nodes and lengths.

    Returns:
        A lazy tree that reads from the store.

    Raises:
        ValueError: If two trees differ in their lengths.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = None
    # A folder of its own beside the path: nobody's file can be in the way.
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}-"
    ) as folder:
        unfinished = Path(folder, "store")
        for tree in trees:
            now = {node.path: node.sizes[v.TIME] for node in recurrent(tree)}
            if lengths is None:
                lengths = now
                tree.to_zarr(
                    unfinished, mode="w-", encoding=_chunks(tree), consolidated=False
                )
                continue
            if now != lengths:
                raise ValueError(
                    "With `store`, every batch must have the same number of time "
                    f"steps; got {lengths}, then {now}. Pad the batches and mask the "
                    "padding."
                )
            for node in recurrent(tree):
                node.to_dataset().to_zarr(
                    unfinished,
                    group=node.path,
                    append_dim=v.SAMPLE,
                    consolidated=False,
                )
        os.rename(unfinished, path)
    return read(path)


def read(path) -> "xarray.DataTree":
    """Opens a store; arrays are read when they are used."""
    import xarray

    tree = xarray.open_datatree(path, engine="zarr", consolidated=False)
    # A store lists its groups in the order of the file system.
    layers = {layer: tree[layer].to_dataset() for layer in tree.attrs["layers"]}
    return grow(layers, tree.attrs)


def _chunks(tree) -> dict:
    """One chunk for each array of a batch, so that appending rewrites nothing."""
    return {
        node.path: {
            name: {"chunks": variable.shape}
            for name, variable in node.to_dataset().variables.items()
        }
        for node in recurrent(tree)
    }
