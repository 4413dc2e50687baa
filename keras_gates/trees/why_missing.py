"""Missing values in captured layers: their places, and possible reasons."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from keras_gates import vocabulary as v

if TYPE_CHECKING:
    import xarray


def source_of(node: xarray.DataTree) -> str | None:
    """Returns the path of the store from which a node is read, or `None`."""
    for encoding in (node.to_dataset().encoding, node.root.encoding):
        if "source" in encoding:
            return encoding["source"]
    return None


def causes_of_gaps(node: xarray.DataTree) -> str:
    """Returns the possible reasons why values of a layer are NaN or infinite."""
    causes = ["the model has diverged", "its input has such values"]
    if source := source_of(node):
        causes.append(f"values are missing from the store '{source}'")
    if v.MASK not in node.data_vars:
        causes.append("a `mask` was left out")
    return f"{', '.join(causes[:-1])}, or {causes[-1]}"


def mask_of(node: xarray.DataTree) -> xarray.DataArray | None:
    """Returns where the steps of a layer are unmasked, or `None` if NaN marks padding.

    The result of `capture` has the states before the first step. If it has no `mask`,
    every step was unmasked, and NaN is not padding.
    """
    import xarray

    if v.MASK in node.data_vars or v.initial(v.HIDDEN) not in node.coords:
        return node.data_vars.get(v.MASK)
    return xarray.DataArray(True)


@contextlib.contextmanager
def damage_named(name: str, node: xarray.DataTree) -> Iterator[None]:
    """Names the store where its values cannot be read."""
    source = source_of(node)
    try:
        yield
    # Zarr has no common error: each of its codecs raises a different one.
    except Exception as error:
        if source is None:
            raise
        raise OSError(
            f"The values of {name!r} cannot be read from the store '{source}', which "
            f"is damaged ({type(error).__name__}: {error}). Capture them again."
        ) from error
