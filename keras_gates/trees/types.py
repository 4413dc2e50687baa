"""Types of arguments and results of public functions, imported only by type checkers.

In xarray, `gates["lstm"]` is a `DataTree` or a `DataArray`: a type checker does not
know which of them is at a path. So a function that takes a layer declares both types,
and refuses the array when it is called.
"""

from typing import TypeAlias, TypeVar

import xarray

Layer: TypeAlias = xarray.DataTree | xarray.Dataset | xarray.DataArray
"""One layer, a node of a tree or its dataset; or a tree of layers."""

Gates = TypeVar("Gates", bound=xarray.DataTree | xarray.Dataset | xarray.DataArray)
"""A tree of layers, the dataset of one or the array of a gate; the same comes back."""

Array = TypeVar("Array", bound=xarray.DataArray | xarray.Dataset)
"""An array or a dataset; the same comes back."""
