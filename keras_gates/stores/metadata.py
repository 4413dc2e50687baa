"""The metadata of a store: one file that states which data are complete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from keras_gates import vocabulary as v
from keras_gates.stores.paths import METADATA, no_store

if TYPE_CHECKING:
    import xarray

CHUNK = 2**18
"""Bytes of a chunk of a small array, few enough to be rewritten at each step."""
OLDER = (1,)
"""Older values of the attribute `format` that can be continued, without `step`."""


def empty(attributes: dict) -> dict:
    """Returns the metadata of a store without a tree."""
    shown = {"kind": "inline", "must_understand": False, "metadata": {}}
    return {
        "attributes": json.loads(json.dumps(attributes)),
        "zarr_format": 3,
        "consolidated_metadata": shown,
        "node_type": "group",
    }


def nodes(metadata: dict) -> dict[str, dict]:
    """Returns the shown metadata of each group and array, by key."""
    return metadata["consolidated_metadata"]["metadata"]


def dims(entry: dict) -> tuple[str, ...]:
    """Returns the names of the dimensions of an array."""
    return tuple(entry.get("dimension_names") or ())


def load(path: Path) -> dict | None:
    """Reads the metadata of a store, and checks that the store is one of ours.

    Returns:
        The metadata, or `None` where there is nothing, or nothing complete.
    """
    file = path / METADATA
    if not os.path.lexists(file):
        if os.path.lexists(path) and not path.is_dir():
            raise no_store(path)
        return None
    try:
        metadata = json.loads(file.read_text())
        metadata["attributes"]["keras_gates"]
        if not metadata.get("consolidated_metadata") and len(os.listdir(path)) == 1:
            return None  # An older version was killed while it made the store.
        keys = list(nodes(metadata))
    except (ValueError, KeyError, TypeError, IsADirectoryError, FileNotFoundError):
        raise no_store(path) from None
    for key in keys:
        if key.startswith("/") or {"", ".", ".."} & set(key.split("/")):
            raise ValueError(
                f"The store '{path}' refers to {key!r}, which is outside the store. "
                "The store was not written by keras_gates; do not trust it."
            )
    return metadata


def check_same(path: Path, found: dict, wanted: dict) -> None:
    """Refuses to continue a store whose attributes differ."""
    for name, value in json.loads(json.dumps(wanted)).items():
        # Versions of the package share a format, unless `format` differs.
        older = name == "format" and found.get(name) in OLDER
        if name != "keras_gates" and found.get(name) != value and not older:
            raise ValueError(
                f"The store '{path}' cannot be continued: its {name} is "
                f"{found.get(name)!r}, but now it would be {value!r}. Choose another "
                "path, or start a new store."
            )


def encoding(dataset: xarray.Dataset, dim: str) -> dict:
    """Returns a layout of a first tree's arrays that lets appending rewrite little."""

    def chunks(variable):
        if dim not in variable.dims:
            return variable.shape
        # Large entries have a chunk of their own; small ones share one.
        entries = max(1, min(1024, CHUNK // max(1, variable[:1].nbytes)))
        # A power of two, so that the end of a long chunk is also the end of short ones.
        entries = 2 ** (entries.bit_length() - 1)
        if variable.shape[0] > 1:
            entries = variable.shape[0]
        return (entries, *variable.shape[1:])

    layout = {
        name: {"chunks": chunks(variable)}
        for name, variable in dataset.variables.items()
    }
    if v.MASK in layout:
        # A missing chunk must not be read as masked steps: as its signals are read as
        # NaN, the loss would not be noticed.
        layout[v.MASK]["fill_value"] = True
    return layout
