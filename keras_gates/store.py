"""An append-only Zarr store that survives being killed, and is read lazily.

Zarr's consolidated metadata hold the shapes of all arrays in one file. A step is
written behind the end of every array first, where nobody looks, and then shown in all
of them at once, by putting a new version of that file in the place of the old one.
So a store whose writer was killed holds the steps that were complete, and no others.
"""

import copy
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_gates import vocabulary as v
from keras_gates.tree import grow, recurrent

if TYPE_CHECKING:
    import xarray

METADATA = "zarr.json"
CHUNK = 2**18
"""Bytes of a chunk of a small array: few enough to be written again at each step."""


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
        store = Store(unfinished, {"keras_gates": ""})
        for tree in trees:
            now = {node.path: node.sizes[v.TIME] for node in recurrent(tree)}
            if lengths not in (None, now):
                raise ValueError(
                    "With `store`, every batch must have the same number of time "
                    f"steps; got {lengths}, then {now}. Pad the batches and mask the "
                    "padding."
                )
            lengths = now
            store.append("", tree, v.SAMPLE)
        store.close()
        os.rename(unfinished, path)
    return read(path)


def read(path, group: str = "") -> "xarray.DataTree":
    """Opens the tree of a group in a store; arrays are read when they are used."""
    import xarray

    # From the root, whose metadata say how much of each array is complete.
    tree = xarray.open_datatree(path, engine="zarr")
    tree = tree[group] if group else tree
    # A store lists its groups in the order of the file system.
    layers = {layer: tree[layer].to_dataset() for layer in tree.attrs["layers"]}
    tree = grow(layers, tree.attrs)
    tree.encoding = {"source": str(path)}  # As xarray does: errors can name it.
    return tree


class Store:
    """A store that one process writes, tree by tree.

    Args:
        path: A folder. It is made if it is not there.
        attributes: What describes the store. One that is there already must have the
            same.
        replace: Whether to begin anew where there is a store.

    Raises:
        ValueError: If there is something else at the path than a store of this kind,
            or one whose attributes differ.
        OSError: If the store cannot be written, or another process writes it.
    """

    def __init__(self, path: Path, attributes: dict[str, Any], replace: bool = False):
        self.path = Path(path)
        self._arrays: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}
        self._lock = _lock(self.path)
        try:
            if (self.path / METADATA).exists():
                found = _load(self.path)
                if replace:
                    (self.path / METADATA).unlink()
                else:
                    _check_same(self.path, found["attributes"], attributes)
            elif self.path.exists() and any(self.path.iterdir()):
                raise no_store(self.path)
            if not (self.path / METADATA).exists():
                self._create(attributes)
            self._shown = _load(self.path)
            self._cut_off_unfinished()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets other processes write."""
        self._lock.release()

    def append(self, group: str, tree: "xarray.DataTree", dim: str) -> None:
        """Adds a tree behind those of a group; it shows when it is complete.

        Args:
            group: The name of the group that holds the trees.
            tree: The tree; all trees of a group have the same nodes and variables.
            dim: The dimension along which trees are added, the first of its arrays.
        """
        if not self._entries(group):
            self._begin(group, tree, dim)
            return
        lengths = {}
        for node in recurrent(tree):
            for name, variable in node.to_dataset().variables.items():
                if dim not in variable.dims:
                    continue
                key = "/".join(filter(None, (group, node.path.strip("/"), name)))
                start = self._entries(group)[key]["shape"][0]
                lengths[key] = end = start + variable.shape[0]
                array = self._array(key)
                array.resize((end, *array.shape[1:]))
                array[start:end] = variable.values
        self._show(lengths)

    def cut(self, group: str, dim: str, length: int) -> None:
        """Drops what lies behind a length along a dimension."""
        along = [
            key for key, entry in self._entries(group).items() if dim in _dims(entry)
        ]
        self._show(dict.fromkeys(along, length))
        self._cut_off_unfinished()

    def read(self, group: str) -> "xarray.DataTree | None":
        """Opens the tree of a group, or returns `None` if there is none yet."""
        return read(self.path, group) if self._entries(group) else None

    def _create(self, attributes: dict) -> None:
        import zarr

        for leftover in self.path.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        zarr.create_group(self.path, attributes=attributes)
        self._consolidate()

    def _begin(self, group: str, tree: "xarray.DataTree", dim: str) -> None:
        """Writes the first tree of a group, which says how its arrays are laid out."""
        import zarr

        for node in recurrent(tree):
            if {".", ".."} & set(node.path.split("/")):
                raise ValueError(
                    f"The layer '{node.path}' cannot be written to a store, where its "
                    "name means another folder. Rename the layer, or leave `store` out."
                )
        if group:  # It may be there, half written, if the writer was killed.
            shutil.rmtree(self.path / group, ignore_errors=True)
        zarr.open_group(self.path, path=group, mode="a").attrs.update(tree.attrs)
        for node in recurrent(tree):
            dataset = node.to_dataset()
            dataset.to_zarr(
                self.path,
                group="/".join(filter(None, (group, node.path.strip("/")))),
                mode="a",
                encoding=_encoding(dataset, dim),
                consolidated=False,
            )
        self._consolidate()
        self._shown = _load(self.path)

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
            for key, entry in _nodes(self._shown).items()
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
            _nodes(shown)[key]["shape"][0] = length
        unfinished = self.path.with_name(f".{self.path.name}.{METADATA}")
        unfinished.write_text(json.dumps(shown))
        os.replace(unfinished, self.path / METADATA)
        self._shown = shown


def _nodes(metadata: dict) -> dict[str, dict]:
    return metadata["consolidated_metadata"]["metadata"]


def _dims(entry: dict) -> tuple[str, ...]:
    return tuple(entry.get("dimension_names") or ())


def _lock(path: Path):
    """Keeps other processes from writing, as long as this one lives."""
    import filelock

    try:
        path.mkdir(parents=True, exist_ok=True)
        # Beside the store, which holds data only.
        lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        return lock.acquire().lock
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another process writes the store '{path}', or another recorder of this "
            "one. Wait for it, or choose another path; after a `fit` that was "
            "interrupted, call the recorder's `on_train_end()`."
        ) from None
    except OSError as error:
        raise type(error)(
            error.errno,
            f"The store cannot be written ({error.strerror}). Choose another path",
            str(path),
        ) from None


def _load(path: Path) -> dict:
    """Reads the metadata of a store, and checks that it is one of ours."""
    try:
        metadata = json.loads((path / METADATA).read_text())
        keys = list(_nodes(metadata))
        metadata["attributes"]["keras_gates"]
    except (ValueError, KeyError, TypeError):
        raise no_store(path) from None
    for key in keys:
        if key.startswith("/") or {"", ".", ".."} & set(key.split("/")):
            raise ValueError(
                f"The store '{path}' names {key!r}, which lies outside of it. It was "
                "not written by keras_gates; do not trust it."
            )
    return metadata


def no_store(path: Path) -> ValueError:
    """Makes the error about a path at which there is something else."""
    return ValueError(
        f"'{path}' is not a store that keras_gates wrote. Choose a path where there is "
        "nothing yet."
    )


def _check_same(path: Path, found: dict, wanted: dict) -> None:
    """Refuses to go on with a store that holds something else."""
    for name, value in json.loads(json.dumps(wanted)).items():
        # Versions of the package share a format, unless `format` says otherwise.
        if name != "keras_gates" and found.get(name) != value:
            raise ValueError(
                f"The store '{path}' cannot be continued: its {name} is "
                f"{found.get(name)!r}, and now it would be {value!r}. Choose another "
                "path, or begin it anew."
            )


def _encoding(dataset: "xarray.Dataset", dim: str) -> dict:
    """Lays out the arrays of a first tree, so that appending rewrites little."""

    def chunks(variable):
        if dim not in variable.dims:
            return variable.shape
        # Large entries have a chunk of their own; small ones share one.
        entries = max(1, min(1024, CHUNK // max(1, variable[:1].nbytes)))
        if variable.shape[0] > 1:
            entries = variable.shape[0]
        return (entries, *variable.shape[1:])

    encoding = {
        name: {"chunks": chunks(variable)}
        for name, variable in dataset.variables.items()
    }
    if v.MASK in encoding:
        # A chunk that is missing must not read as steps that are rightly masked: with
        # signals that read as NaN, nothing would be missed.
        encoding[v.MASK]["fill_value"] = True
    return encoding
