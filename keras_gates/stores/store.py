"""An append-only Zarr store that survives being killed.

Zarr's consolidated metadata hold the shapes of all arrays in one file. A step is
written behind the end of every array first, where nobody looks, and then shown in all
of them at once, by putting a new version of that file in the place of the old one.
So a store whose writer was killed holds the steps that were complete, and no others.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_gates.stores import file_names, folder_contents, locks, metadata, paths
from keras_gates.stores.opening import KEYS, open_tree
from keras_gates.stores.paths import METADATA
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray

GROUPS = ("statistics", "traces")
"""What a recorder writes."""


class Store:
    """A store that one process writes, tree by tree.

    Everything that can be refused is refused before anything is touched: links,
    things that are not ours, a folder that cannot be written, a full disk.

    Args:
        path: A folder. It is made if it is not there.
        attributes: What describes the store. One that is there already must have the
            same, unless it holds no tree.
        mode: "w-" if there must be no tree in it yet; "w" to begin anew; "a" to go on.
        room: How many bytes there must be room for.

    Raises:
        ValueError: If there is something else at the path than a store of this kind,
            or one whose attributes differ.
        FileExistsError: If there are trees in it, and `mode` is "w-".
        OSError: If the store cannot be written, or another process writes it.
    """

    def __init__(
        self, path: Path, attributes: dict[str, Any], mode: str = "a", room: int = 0
    ):
        self.path = paths.settle(Path(path))
        self._arrays: dict[str, Any] = {}
        self._lock = locks.lock_store(self.path)
        self._opened = folder_contents.Opened()
        try:
            shown: Any = metadata.load(self.path)
            self._shown: Any = shown
            begun = bool(shown and metadata.nodes(shown))
            if begun and mode == "a":
                metadata.check_same(self.path, shown["attributes"], attributes)
            leftover = self._survey(begun, mode)
            self._opened.make(self.path, room)
            if not begun or mode != "a":
                # In one step, so that there is no moment without a store.
                self._write(metadata.empty(attributes))
            folder_contents.remove(self.path, leftover)
            self._cut_off_unfinished()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets other processes write."""
        self._opened.close()
        self._lock.release()

    def _survey(self, begun: bool, mode: str) -> list[str]:
        """Returns the groups that are to be removed, after a look at what is there."""
        if not self.path.exists():
            return []
        keys = set(metadata.nodes(self._shown)) if self._shown else set()
        groups = GROUPS if self._shown else ()
        foreign = folder_contents.survey(self.path, keys, groups)
        if mode == "w-" and (begun or foreign):
            raise FileExistsError(
                f"`store` must be a new path; '{self.path}' exists already. Choose "
                "another, or resume it with `mode='a'`, or replace it with `mode='w'`."
            )
        if not self._shown and foreign:
            raise paths.no_store(self.path)
        leftover = [
            group
            for group in groups
            if (mode == "w" or group not in keys) and (self.path / group).exists()
        ]
        if mode != "w":
            foreign = [name for name in foreign if name.split("/")[0] in leftover]
        if foreign:
            raise ValueError(
                f"The store '{self.path}' holds what no recorder of keras_gates wrote, "
                f"'{min(foreign)}', and it would be removed. Move it elsewhere, or "
                "choose another path."
            )
        return leftover

    def append(self, group: str, tree: xarray.DataTree, dim: str) -> None:
        """Adds a tree behind those of a group; it shows when it is complete.

        Args:
            group: The name of the group that holds the trees.
            tree: The tree; all trees of a group have the same nodes and variables.
            dim: The dimension along which trees are added, the first of its arrays.
        """
        self._opened.check()
        if not self._entries(group):
            self._begin(group, tree, dim)
            return
        lengths = {}
        keys = self._keys(group)
        for node in recurrent(tree):
            path = node.path.strip("/")
            for name, variable in node.to_dataset().variables.items():
                if dim not in variable.dims:
                    continue
                key = "/".join(filter(None, (group, keys.get(path, path), str(name))))
                start = self._entries(group)[key]["shape"][0]
                lengths[key] = end = start + variable.shape[0]
                array = self._array(key)
                array.resize((end, *array.shape[1:]))
                array[start:end] = variable.values
        self._show(lengths)

    def cut(self, group: str, dim: str, length: int) -> None:
        """Drops what lies behind a length along a dimension."""
        along = [
            key
            for key, entry in self._entries(group).items()
            if dim in metadata.dims(entry)
        ]
        self._show(dict.fromkeys(along, length))
        self._cut_off_unfinished()

    def read(self, group: str) -> xarray.DataTree | None:
        """Opens the tree of a group, or returns `None` if there is none yet."""
        return open_tree(self.path, group) if self._entries(group) else None

    def _begin(self, group: str, tree: xarray.DataTree, dim: str) -> None:
        """Writes the first tree of a group, which says how its arrays are laid out."""
        import zarr

        nodes = {node.path.strip("/"): node.to_dataset() for node in recurrent(tree)}
        variables = {path: map(str, node.variables) for path, node in nodes.items()}
        known = file_names.keys(variables)
        attributes: dict[str, Any] = {str(k): value for k, value in tree.attrs.items()}
        renamed = {path: key for path, key in known.items() if path != key}
        if renamed:
            attributes[KEYS] = renamed
        zarr.open_group(self.path, path=group, mode="a").attrs.update(attributes)
        for path, dataset in nodes.items():
            dataset.to_zarr(
                self.path,
                group="/".join(filter(None, (group, known[path]))),
                mode="a",
                encoding=metadata.encoding(dataset, dim),
                consolidated=False,
            )
        self._opened.check()
        self._consolidate()
        self._shown = metadata.load(self.path)

    def _keys(self, group: str) -> dict[str, str]:
        """Returns the keys of the layers that have another one than their path."""
        entry = metadata.nodes(self._shown)[group] if group else self._shown
        return entry["attributes"].get(KEYS, {})

    def _consolidate(self) -> None:
        """Shows every array at the length that it has."""
        import zarr

        with warnings.catch_warnings():
            # They are in no specification yet. Readers that do not know them see the
            # arrays as they are, and the same as soon as the writer is done.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            # Left over where a writer was killed.
            warnings.filterwarnings("ignore", message="Object at .*partial")
            zarr.consolidate_metadata(self.path)

    def _entries(self, group: str) -> dict[str, dict]:
        """Returns what the store shows of the arrays in a group, by key."""
        prefix = f"{group}/" if group else ""
        return {
            key: entry
            for key, entry in metadata.nodes(self._shown).items()
            if key.startswith(prefix) and entry["node_type"] == "array"
        }

    def _array(self, key: str):
        """Opens an array, once."""
        import zarr

        if key not in self._arrays:
            self._arrays[key] = zarr.open_array(self.path, path=key, mode="r+")
        return self._arrays[key]

    def _cut_off_unfinished(self) -> None:
        """Brings every array to the length that the store shows."""
        for key, entry in self._entries("").items():
            array = self._array(key)
            if array.shape != tuple(entry["shape"]):
                array.resize(tuple(entry["shape"]))

    def _show(self, lengths: dict[str, int]) -> None:
        """Shows arrays at new lengths, all in one step of the file system."""
        shown = copy.deepcopy(self._shown)
        for key, length in lengths.items():
            metadata.nodes(shown)[key]["shape"][0] = length
        self._write(shown)

    def _write(self, shown: dict) -> None:
        """Puts new metadata in the place of the old ones."""
        file = folder_contents.new_file(self.path)
        try:
            with file:
                file.write(json.dumps(shown).encode())
            self._opened.check()
            os.replace(file.name, self.path / METADATA)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise
        self._shown = shown
