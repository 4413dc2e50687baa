"""Arrays that grow along a dimension, and the part of them that a store shows.

Zarr's consolidated metadata hold the shapes of all arrays in one file. Data that are
written beyond the shapes in this file are invisible, until the file shows them in all
arrays at once.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_gates.stores import file_names, metadata
from keras_gates.stores.opening import KEYS
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


class Growing:
    """A store whose arrays grow, tree by tree.

    Args:
        place: The path or the URL of the store.

    Attributes:
        place: The path or the URL of the store.
    """

    def __init__(self, place: Path | str):
        self.place = place
        self._shown: Any = None
        self._arrays: dict[str, Any] = {}

    # The subclass for the kind of place defines these.

    def _check(self) -> None:
        """Checks that the store may still be written."""
        raise NotImplementedError

    def _begin(self, group: str, tree: xarray.DataTree, dim: str) -> None:
        """Writes the first tree of a group, with `lay_out`."""
        raise NotImplementedError

    def _write(self, shown: dict) -> None:
        """Replaces the metadata."""
        raise NotImplementedError

    def append(self, group: str, tree: xarray.DataTree, dim: str) -> None:
        """Appends a tree to those of a group. It is shown when it is complete.

        Args:
            group: The name of the group that holds the trees.
            tree: The tree. All trees of a group have the same nodes and variables.
            dim: The dimension along which trees are added, the first of its arrays.
        """
        self._check()
        if not self._entries(group):
            self._begin(group, tree, dim)
            return
        lengths = {}
        entries = self._entries(group)
        for key, values in growing_arrays(tree, group, self.keys(group), dim):
            start = entries[key]["shape"][0]
            lengths[key] = end = start + len(values)
            array = self._array(key)
            array.resize((end, *array.shape[1:]))
            array[start:end] = values
        self._show(lengths)

    def reserve(self, group: str, dim: str, length: int) -> None:
        """Makes room up to a length, beyond the part that a group shows.

        Other processes may then write there with `write_region`. `cut` shows the data.
        """
        self._check()
        for key in self._along(group, dim):
            array = self._array(key)
            if array.shape[0] < length:
                array.resize((length, *array.shape[1:]))

    def chunk_lengths(self, group: str, dim: str) -> set[int]:
        """Returns the numbers of entries along a dimension in the chunks of a group."""
        return {self._array(key).chunks[0] for key in self._along(group, dim)}

    def cut(self, group: str, dim: str, length: int) -> None:
        """Shows the data up to a length along a dimension, and drops the rest."""
        self._show(dict.fromkeys(self._along(group, dim), length))
        self._cut_off_unfinished()

    def keys(self, group: str) -> dict[str, str]:
        """Returns the keys of the layers whose key is not their path."""
        entry = metadata.nodes(self._shown)[group] if group else self._shown
        return entry["attributes"].get(KEYS, {})

    def _entries(self, group: str) -> dict[str, dict]:
        """Returns the shown metadata of the arrays in a group, by key."""
        prefix = f"{group}/" if group else ""
        return {
            key: entry
            for key, entry in metadata.nodes(self._shown).items()
            if key.startswith(prefix) and entry["node_type"] == "array"
        }

    def _along(self, group: str, dim: str) -> list[str]:
        """Lists the keys of the arrays in a group that grow along a dimension."""
        entries = self._entries(group).items()
        return [key for key, entry in entries if dim in metadata.dims(entry)]

    def _array(self, key: str):
        """Opens an array, once."""
        if key not in self._arrays:
            self._arrays[key] = open_array(self.place, key)
        return self._arrays[key]

    def _cut_off_unfinished(self) -> None:
        """Cuts every array to the length that the store shows."""
        for key, entry in self._entries("").items():
            array = self._array(key)
            if array.shape != tuple(entry["shape"]):
                array.resize(tuple(entry["shape"]))

    def _show(self, lengths: dict[str, int]) -> None:
        """Shows arrays at new lengths, all in one step."""
        shown = copy.deepcopy(self._shown)
        for key, length in lengths.items():
            metadata.nodes(shown)[key]["shape"][0] = length
        self._write(shown)


def load_codecs() -> None:
    """Loads the compression codecs, so that several processes compress identically.

    It must be called before Keras saves or loads a model. Keras then imports
    TensorFlow, if it is installed, and the version of zstd that is loaded first is used
    by all.
    """
    importlib.import_module("zarr")


def open_array(place: Path | str, key: str):
    """Opens an array of a store for writing."""
    import zarr

    return zarr.open_array(place, path=key, mode="r+")


def growing_arrays(
    tree: xarray.DataTree, group: str, keys: dict[str, str], dim: str
) -> Iterator[tuple[str, Any]]:
    """Yields the arrays of a tree that grow along a dimension, with their keys.

    Args:
        tree: The tree.
        group: The group in which it is written.
        keys: The keys that `Growing.keys` returned.
        dim: The dimension.
    """
    for node in recurrent(tree):
        path = node.path.strip("/")
        for name, variable in node.to_dataset().variables.items():
            if dim in variable.dims:
                parts = (group, keys.get(path, path), str(name))
                yield "/".join(filter(None, parts)), variable.values


def write_region(
    array_at: Callable[[str], Any],
    tree: xarray.DataTree,
    keys: dict[str, str],
    dim: str,
    start: int,
) -> None:
    """Writes a tree where `Growing.reserve` has made room for it.

    Args:
        array_at: Returns the open array with a key.
        tree: The tree.
        keys: The keys that `Growing.keys` returned.
        dim: The dimension.
        start: The position along it at which the tree begins.
    """
    for key, values in growing_arrays(tree, "", keys, dim):
        array_at(key)[start : start + len(values)] = values


def lay_out(place: Any, group: str, tree: xarray.DataTree, dim: str) -> None:
    """Writes a first tree, which determines the layout of the arrays of a group.

    Args:
        place: A path, or a store of Zarr.
        group: The name of the group.
        tree: The tree.
        dim: The dimension along which the arrays will grow.
    """
    import zarr

    nodes = {node.path.strip("/"): node.to_dataset() for node in recurrent(tree)}
    variables = {path: map(str, node.variables) for path, node in nodes.items()}
    known = file_names.keys(variables)
    attributes: dict[str, Any] = {str(k): value for k, value in tree.attrs.items()}
    renamed = {path: key for path, key in known.items() if path != key}
    if renamed:
        attributes[KEYS] = renamed
    zarr.open_group(place, path=group, mode="a").attrs.update(attributes)
    for path, dataset in nodes.items():
        dataset.to_zarr(
            place,
            group="/".join(filter(None, (group, known[path]))),
            mode="a",
            encoding=metadata.encoding(dataset, dim),
            consolidated=False,
        )


def consolidate(place: Any) -> None:
    """Shows every array of a store at its full length."""
    import zarr

    with warnings.catch_warnings():
        # They are not in the specification yet. Readers that do not know them see the
        # actual arrays, which are the same as soon as the writer is done.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        # A writer that was killed may have left such files.
        warnings.filterwarnings("ignore", message="Object at .*partial")
        zarr.consolidate_metadata(place)
