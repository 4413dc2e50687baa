"""One measure for whatever it is given: a tree of layers, a layer or a gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_gates.tree import depth_first, grow
from keras_gates.vocabulary import KINDS, SIGNALS, STEP, UNIT

if TYPE_CHECKING:
    import xarray


def reduced(signal: xarray.DataArray) -> list[str]:
    """Returns the dimensions that a measure takes together: all but step and unit."""
    return [dim for dim in signal.dims if dim not in (STEP, UNIT)]


def of_each_signal(gates: Any, wanted: tuple[str, ...], measure: Callable) -> Any:
    """Applies a measure to the wanted signals of whatever xarray object it gets."""
    import xarray

    if isinstance(gates, xarray.DataArray):
        return measure(gates)
    return of_each_layer(
        gates,
        wanted,
        lambda layer: {name: measure(signal) for name, signal in layer.items()},
    )


def of_each_layer(gates: Any, wanted: tuple[str, ...], measure: Callable) -> Any:
    """Applies a measure to the wanted signals of each layer together.

    Args:
        gates: A tree, or the dataset of one layer.
        wanted: Names of signals. Layers without any are left out.
        measure: Takes a dataset of those that are there and returns a mapping from
            names to arrays.
    """
    import xarray

    if isinstance(gates, xarray.Dataset):
        return of_each_layer(xarray.DataTree(gates), wanted, measure).to_dataset()
    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray DataTree, Dataset or DataArray, as `capture` "
            f"returns them; got {type(gates).__name__}."
        )
    measured = {
        path: xarray.Dataset(measure(layer), attrs=layer.attrs)
        for path, layer in layers_of(gates, wanted).items()
    }
    return grow(measured, gates.attrs)


def layers_of(tree: xarray.DataTree, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Returns path and wanted signals of every layer that has one, as a dataset."""
    layers = {}
    for node in depth_first(tree):
        kind = KINDS.get(node.attrs.get("kind"))
        # A store lists its signals in the order of the file system.
        order = kind.signals if kind else SIGNALS
        names = [name for name in order if name in wanted and name in node.data_vars]
        if names:
            path = "/" if node is tree else node.relative_to(tree)
            layers[path] = node.to_dataset()[names]
    if not layers:
        have = [repr(name) for node in depth_first(tree) for name in node.data_vars]
        raise ValueError(
            f"`gates` must hold at least one of {', '.join(map(repr, wanted))}; it has "
            f"{', '.join(dict.fromkeys(have)) or 'none'}. Name one in "
            "`capture(..., signals=...)`, or leave `signals` out."
        )
    return layers
