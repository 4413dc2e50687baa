"""Writes trees as one new store, at a path or a URL."""

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
    """Returns the path or the URL at which a store can be written, or says why not.

    Args:
        value: A path, a URL or `None`.
        mode: "w-" if there must be nothing yet; "w" to replace a store.

    Raises:
        FileExistsError: If there is something already, and `mode` is "w-".
        ValueError: As of `paths.local_path`, `paths.settle` and `remote.new_url`. If
            there is something else than a store of this package, or it is at a URL.
        TypeError: If it is neither.
        OSError: If nothing can be written there.
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
    """Refuses to replace what is not a store of this package, and nothing else."""
    shown = metadata.load(path)
    keys = set(metadata.nodes(shown)) if shown else set()
    foreign = folder_contents.survey(path, keys, ())
    if foreign and not shown:
        raise paths.no_store(path)
    if foreign:
        raise ValueError(
            f"The store '{path}' holds what keras_gates did not write, "
            f"'{min(foreign)}', and it would be removed. Move it elsewhere, or choose "
            "another path."
        )


def write_trees(
    place: Path | str, trees: Iterable[xarray.DataTree], mode: str
) -> xarray.DataTree:
    """Writes trees one behind the other, along the samples.

    The store appears at its place when it is complete, never before. What killed
    processes left beside it is removed.

    Args:
        place: Where the store shall be, from `new_place`.
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
        lengths: What this returned for the trees before, or `None`.
        tree: The next tree.

    Raises:
        ValueError: If it differs.
    """
    now = {node.path: node.sizes[v.TIME] for node in recurrent(tree)}
    if lengths not in (None, now):
        raise ValueError(
            "With `store`, every batch must have the same number of time "
            f"steps; got {lengths}, then {now}. Pad the batches and mask "
            "the padding."
        )
    return now


@contextlib.contextmanager
def new_store(place: Path | str, mode: str) -> Iterator[Growing]:
    """Makes a store, which appears at its place at the end of the block.

    If the block fails, nothing of the store is left, and one that it would have
    replaced stays.

    Args:
        place: Where the store shall be, from `new_place`.
        mode: As for `new_place`.
    """
    with _at_url(place) if isinstance(place, str) else _at_path(place, mode) as store:
        yield store


@contextlib.contextmanager
def _at_path(path: Path, mode: str) -> Iterator[Growing]:
    # A folder of its own beside the path: nobody's file can be in the way.
    with unfinished.beside(path) as folder:
        with contextlib.closing(Store(folder / "store", {"keras_gates": ""})) as store:
            yield store
        try:
            if mode == "w" and path.exists():
                # Into the hidden folder, which goes with all that is in it.
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
        # What it failed of matters more than that something is left.
        with contextlib.suppress(OSError):
            store.remove()
        raise
