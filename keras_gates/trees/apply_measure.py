"""Application of a measure to any input: a tree of layers, a layer or a gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from keras_gates.cells import registry
from keras_gates.cells.kind import Kind
from keras_gates.checks import type_of
from keras_gates.trees.data_checks import check_dimensions, real_signal
from keras_gates.trees.layer_kind import has_units, kind_of_layer
from keras_gates.trees.tree import grow
from keras_gates.trees.tree_walk import depth_first, recurrent

if TYPE_CHECKING:
    import xarray


Wanted = Callable[[Kind], Sequence[str]]
"""A function that chooses signals of a kind."""


def gates_of(kind: Kind) -> Sequence[str]:
    """Chooses the gates of a kind."""
    return kind.gates


def signals_of(kind: Kind) -> Sequence[str]:
    """Chooses all signals of a kind."""
    return kind.signals


def keeping(kind: Kind) -> Sequence[str]:
    """Chooses the gate whose value is the share of the old state that is kept."""
    return () if kind.keep is None else (kind.keep,)


def of_each_signal(gates: Any, wanted: Wanted, measure: Callable) -> Any:
    """Applies a measure to the wanted signals of any xarray object."""
    import xarray

    if isinstance(gates, xarray.DataArray):
        check_dimensions(gates, "gates")
        real_signal(gates, "gates")
        return measure(gates)
    return of_each_layer(
        gates,
        wanted,
        lambda layer: {name: measure(signal) for name, signal in layer.items()},
    )


def of_each_layer(
    gates: Any,
    wanted: Wanted,
    measure: Callable,
    dims: Sequence[str] = (),
    *,
    together: Sequence[Sequence[str]] = (),
) -> Any:
    """Applies a measure to the wanted signals of each layer together.

    Args:
        gates: A tree, or the dataset of one layer.
        wanted: Chooses the signals. Layers without any are left out.
        measure: Takes a dataset of those that exist and returns a mapping from names to
            arrays. Layers for which it returns nothing are left out.
        dims: The dimensions that the signals must have.
        together: The signals that `measure` needs, for each kind that it measures.
    """
    import xarray

    tree = as_tree(gates)
    layers = signals_by_layer(tree, wanted, dims)
    found = {path: measure(layer) for path, layer in layers.items()}
    measured = {
        path: xarray.Dataset(values, attrs=layers[path].attrs)
        for path, values in found.items()
        if values
    }
    if not measured:
        needed = ", or ".join(" and ".join(map(repr, names)) for names in together)
        have = dict.fromkeys(name for layer in layers.values() for name in layer)
        raise ValueError(
            f"`gates` must hold, in one layer, {needed}; it has "
            f"{', '.join(map(repr, have))}. Name them in "
            "`capture(..., signals=...)`, or leave `signals` out."
        )
    result = grow(measured, tree.attrs)
    return result.to_dataset() if isinstance(gates, xarray.Dataset) else result


def as_tree(gates: Any) -> xarray.DataTree:
    """Returns a tree as it is, and the dataset of one layer as a tree."""
    import xarray

    if isinstance(gates, xarray.Dataset):
        return xarray.DataTree(gates)
    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray DataTree or Dataset, as `capture` returns them; "
            f"got {type_of(gates)}."
        )
    return gates


def signals_by_layer(
    tree: xarray.DataTree, wanted: Wanted, dims: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the wanted signals of every layer that has one, as datasets by path.

    Args:
        tree: A tree of layers.
        wanted: Chooses the signals. Signals without a value for each unit, which only
            traced cells have, are left out.
        dims: The dimensions that they must have.
    """
    layers = {}
    for node in depth_first(tree):
        kind = registry.kind_from(node.attrs)
        # A store lists its signals in the order of the file system.
        order = kind.signals if kind else registry.signals()
        chosen = set(wanted(kind) if kind else registry.chosen(wanted))
        data = node.to_dataset()
        names = [name for name in order if name in chosen and has_units(data, name)]
        if names:
            path = "/" if node is tree else node.relative_to(tree)
            layers[path] = data[names]
            name = called(path, layers[path]) if path != "/" else ""
            check_dimensions(layers[path], "gates", wanted=dims, name=name)
            for signal in layers[path].values():
                real_signal(signal, "gates")
    if not layers:
        have = [repr(name) for node in depth_first(tree) for name in node.data_vars]
        if "'histogram'" in have:
            raise ValueError(
                "`gates` are the statistics of a training, which have no signals. Use "
                "the `traces` of the recorder, or the result of `capture`."
            )
        wide = [
            name
            for node in recurrent(tree)
            for name in wanted(kind_of_layer(node.to_dataset()))
            if name in node.data_vars
        ]
        if wide:
            raise ValueError(
                f"{', '.join(map(repr, dict.fromkeys(wide)))} of `gates` cannot be "
                "measured by unit: the width is not that of the layer's output. Give "
                "one signal as an array with a dimension `unit`, such as "
                "`.rename({'tanh_unit': 'unit'})`."
            )
        known = {kind_of_layer(node.to_dataset()) for node in recurrent(tree)}
        named = ", ".join(map(repr, registry.chosen(wanted)))
        if known and not any(wanted(kind) for kind in known):
            raise ValueError(
                f"`gates` must hold at least one of {named}; it has layers of kind "
                f"{' and '.join(sorted(kind.name for kind in known))} only, which "
                f"have no such signal.{_way_out(known)}"
            )
        raise ValueError(
            f"`gates` must hold at least one of {named}; it has "
            f"{', '.join(dict.fromkeys(have)) or 'none'}. Name one in "
            "`capture(..., signals=...)`, or leave `signals` out."
        )
    return layers


def called(path: str, layer: xarray.Dataset) -> str:
    """Returns the name of a layer, which is an attribute at the root of a tree."""
    return layer.attrs.get("layer", path) if path == "/" else path


def _way_out(kinds: set[Kind]) -> str:
    """Returns the advice for cells whose gates have no meaning yet."""
    if not any(kind.traced for kind in kinds):
        return ""
    return " Name the gates of a traced cell with `keras_gates.register_cell`."
