"""The kind of a captured layer, and its signals with a value for each unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.cells.kind import Kind

if TYPE_CHECKING:
    import xarray


def kind_of_layer(layer: xarray.Dataset) -> Kind:
    """Returns the kind of a captured layer, from its attributes or its signals."""
    known = registry.kind_from(layer.attrs)
    return known or registry.kind_with(map(str, layer.data_vars))


def unit_dimension(name: str, width: int, units: int) -> str:
    """Returns the dimension of the values of a signal.

    Args:
        name: The name of the signal.
        width: The number of its values.
        units: The number of units of the layer.
    """
    return v.UNIT if width == units else f"{name}_{v.UNIT}"


def has_units(layer: xarray.Dataset, name: str) -> bool:
    """Returns whether a layer has a signal with a value for each unit."""
    return name in layer.data_vars and f"{name}_{v.UNIT}" not in layer[name].dims
