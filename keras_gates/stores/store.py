"""An append-only Zarr store in a folder, which stays valid if the writer is killed.

A step is first written after the end of every array, and then shown in all of them at
once, by replacing the metadata. So a store whose writer was killed holds the steps that
were complete, and no others.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_gates.stores import folder_contents, growing, locks, metadata, paths
from keras_gates.stores.growing import Growing
from keras_gates.stores.opening import open_tree
from keras_gates.stores.paths import METADATA

if TYPE_CHECKING:
    import xarray

GROUPS = ("statistics", "traces")
"""The groups that a recorder writes."""


class Store(Growing):
    """A store that one process writes, tree by tree.

    All problems that can be detected are refused before any file is touched: links,
    foreign files, a folder that cannot be written, a full disk.

    Args:
        path: A folder. It is made if it does not exist.
        attributes: The attributes that describe the store. An existing store must have
            the same attributes, unless it holds no tree.
        mode: "w-" if there must be no tree in it yet; "w" to begin again; "a" to
            continue.
        room: The number of bytes for which there must be room.

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
        super().__init__(self.path)
        self._lock = locks.lock_store(self.path)
        self._opened = folder_contents.Opened()
        try:
            shown: Any = metadata.load(self.path)
            self._shown = shown
            begun = bool(shown and metadata.nodes(shown))
            if begun and mode == "a":
                metadata.check_same(self.path, shown["attributes"], attributes)
            leftover = self._survey(begun, mode)
            self._opened.make(self.path, room)
            if not begun or mode != "a":
                # In one step, so that a store exists at every moment.
                self._write(metadata.empty(attributes))
            folder_contents.remove(self.path, leftover)
            self._cut_off_unfinished()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Releases the store, so that other processes can write it."""
        self._opened.close()
        self._lock.release()

    def _survey(self, begun: bool, mode: str) -> list[str]:
        """Returns the existing groups that are to be removed."""
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
                f"The store '{self.path}' holds '{min(foreign)}', which no recorder of "
                "keras_gates wrote and which would be removed. Move it elsewhere, or "
                "choose another path."
            )
        return leftover

    def read(self, group: str) -> xarray.DataTree | None:
        """Opens the tree of a group, or returns `None` if there is none yet."""
        return open_tree(self.path, group) if self._entries(group) else None

    def _check(self) -> None:
        self._opened.check()

    def _begin(self, group: str, tree: xarray.DataTree, dim: str) -> None:
        growing.lay_out(self.path, group, tree, dim)
        self._check()
        growing.consolidate(self.path)
        self._shown = metadata.load(self.path)

    def _write(self, shown: dict) -> None:
        """Replaces the metadata."""
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
