"""Writing of trees as one new store, at a path or a URL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from keras_gates import vocabulary as v
from keras_gates.checks import one_of
from keras_gates.stores import folder_contents, metadata, paths, remote, unfinished
from keras_gates.stores.growing import Growing
from keras_gates.stores.opening import open_tree
from keras_gates.stores.store import Store
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


MODES = ("w-", "w")


def new_place(value, mode: str) -> Path | str | None:
    """Returns the path or the URL at which a store can be written, or raises an error.

    Args:
        value: A path, a URL or `None`.
        mode: "w-" if it must not exist yet; "w" to replace a store.

    Raises:
        FileExistsError: If it already exists, and `mode` is "w-" or it is a URL.
        ValueError: As in `paths.local_path`, `paths.settle` and `remote.new_url`; or if
            the path holds something other than a store of this package.
        TypeError: If it is neither.
        OSError: If the place cannot be written.
    """
    one_of("mode", mode, MODES)
    url = paths.url_of(value)
    if url is not None and not url.startswith(paths.FILE):
        return remote.new_url(url)
    path = paths.local_path(value)
    if mode == "w" and path is not None and path.name and path.exists():
        path = paths.settle(path)
        _require_replaceable(path)
        return path
    return paths.new_path(value)


def _require_replaceable(path: Path) -> None:
    """Refuses to replace a folder that holds more than a store of this package."""
    shown = metadata.load(path)
    keys = set(metadata.nodes(shown)) if shown else set()
    foreign = folder_contents.survey(path, keys, ())
    if foreign and not shown:
        raise paths.no_store(path)
    if foreign:
        raise ValueError(
            f"The store '{path}' holds '{min(foreign)}', which keras_gates did not "
            "write and which would be removed. Move it elsewhere, or choose another "
            "path."
        )


def write_trees(
    place: Path | str, trees: Iterable[xarray.DataTree], mode: str
) -> xarray.DataTree:
    """Writes trees one after the other, along the samples.

    The store appears at its place when it is complete, never before. Folders that
    killed processes have left next to it are removed.

    Args:
        place: The place for the store, from `new_place`.
        trees: At least one tree; all of them with the same nodes and lengths.
        mode: As for `new_place`.

    Returns:
        A lazy tree that reads from the store.

    Raises:
        ValueError: If two trees differ in their lengths.
        OSError: If the store cannot be written.
    """
    lengths = None
    with new_store(place, mode) as store:
        for tree in trees:
            lengths = same_lengths(lengths, tree)
            store.append("", tree, v.SAMPLE)
    return open_tree(place)


def same_lengths(lengths: dict | None, tree: xarray.DataTree) -> dict:
    """Returns the number of time steps of each layer, the same in every tree.

    Args:
        lengths: The result for the previous trees, or `None`.
        tree: The next tree.

    Raises:
        ValueError: If the numbers differ.
    """
    now = {node.path: node.sizes[v.TIME] for node in recurrent(tree)}
    if lengths not in (None, now):
        raise ValueError(
            "With `store`, every batch must have the same number of time steps; got "
            f"{lengths}, then {now}. Pad the batches and mask the padding."
        )
    return now


@contextlib.contextmanager
def new_store(place: Path | str, mode: str) -> Iterator[Growing]:
    """Makes a store, which appears at its place at the end of the block.

    If the block fails, no part of the store is left, and a store that it would have
    replaced stays.

    Args:
        place: The place for the store, from `new_place`.
        mode: As for `new_place`.
    """
    with _at_url(place) if isinstance(place, str) else _at_path(place, mode) as store:
        yield store


@contextlib.contextmanager
def _at_path(path: Path, mode: str) -> Iterator[Growing]:
    # A separate folder next to the path, so that no other file can be in the way.
    with unfinished.beside(path) as folder:
        with contextlib.closing(Store(folder / "store", {"keras_gates": ""})) as store:
            yield store
        try:
            if mode == "w" and path.exists():
                # Into the hidden folder, which is removed with everything in it.
                os.rename(path, folder / unfinished.REPLACED)
            os.rename(store.path, path)
        except OSError as error:
            raise paths.cannot_write(path, error) from None


@contextlib.contextmanager
def _at_url(url: str) -> Iterator[Growing]:
    store = remote.RemoteStore(url)
    try:
        yield store
        store.show()
    except BaseException:
        # The original error matters more than an error while removing the store.
        with contextlib.suppress(OSError):
            store.remove()
        raise
