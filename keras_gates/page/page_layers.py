"""The layers that a page shows, in one form for all types of `gates`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind
from keras_gates.trees.apply_measure import signals_by_layer, signals_of
from keras_gates.trees.dimensions import DIMENSIONS
from keras_gates.trees.labels import distinct, labels_of, word
from keras_gates.trees.layer_kind import kind_of_layer
from keras_gates.trees.tree_walk import depth_first

if TYPE_CHECKING:
    import numpy as np
    import xarray


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer on the page.

    Attributes:
        name: Its name on the page: its path, after the name of its model if there are
            several models.
        model: The name of its model, if there are several models.
        kind: The kind of its cell, which defines its signals.
        backward: Whether it reads from the end.
        data: Its signals, and `mask` if there is one, of dimensions
            `(sample, time, unit)`, with `step` and `frame` if the layer has them.
    """

    name: str
    model: str
    kind: Kind
    backward: bool
    data: xarray.Dataset

    @property
    def signals(self) -> list[str]:
        """The names of the signals that were captured, in the order of the kind."""
        return [name for name in self.kind.signals if name in self.data]

    def size(self, dim: str) -> int:
        """Returns the length of a dimension, or 1 if the layer does not have it."""
        return self.data.sizes.get(dim, 1)

    def labels(self, dim: str) -> np.ndarray:
        """Returns the labels along a dimension, or the positions without labels."""
        return labels_of(self.data, dim)

    def word(self, dim: str, place: int) -> str:
        """Returns the label of a position as text."""
        return word(self.data, dim, place)

    def last(self) -> xarray.Dataset:
        """Returns the data at the last step of training, with the name on the page."""
        moment = {v.STEP: -1} if v.STEP in self.data.dims else {}
        # A variable that reads from a lazy store keeps the values in memory. With a new
        # view, they are released together with the view.
        view = self.data.isel({v.SAMPLE: slice(None), **moment})
        return view.assign_attrs(layer=self.name, cell_type=self.kind.name)


def read_layers(gates: Any) -> tuple[list[Layer], list[str]]:
    """Returns the layers, and a line about each of their models.

    Raises:
        ValueError: If a layer has no signal, no sample or no step, or a dimension that
            cannot be shown on a page.
        TypeError: If `gates` is neither a tree, nor a dataset, nor a mapping of them.
    """
    import xarray

    given = (xarray.DataTree, xarray.Dataset)
    if isinstance(gates, Mapping) and not isinstance(gates, given):
        if not gates:
            raise ValueError("`gates` is an empty mapping: there is nothing to show.")
        models = {str(name): tree for name, tree in gates.items()}
    else:
        models = {"": gates}
    layers: list[Layer] = []
    origins = []
    for name, tree in models.items():
        if not isinstance(tree, given):
            what = f"`gates[{name!r}]`" if name else "`gates`"
            raise TypeError(
                f"{what} must be an xarray DataTree or Dataset, as `capture` returns "
                "it, or a mapping from names to such objects; got "
                f"{type(tree).__name__}."
            )
        tree = xarray.DataTree(tree) if isinstance(tree, xarray.Dataset) else tree
        layers += _layers(tree, name)
        origins.append(_origin(tree, name))
    return layers, [origin for origin in origins if origin]


def _layers(tree: xarray.DataTree, model: str) -> Iterator[Layer]:
    for path, signals in signals_by_layer(tree, signals_of).items():
        node = tree if path == "/" else tree[path]
        name = str(node.attrs.get("layer", "layer")) if path == "/" else path
        name = f"{model}/{name}" if model else name
        data = node.to_dataset()
        names = [*signals.data_vars, *([v.MASK] if v.MASK in data else [])]
        kind = kind_of_layer(signals)
        backward = data.attrs.get("direction") == "backward"
        yield Layer(name, model, kind, backward, _in_order(data[names], name))


def _in_order(data: xarray.Dataset, name: str) -> xarray.Dataset:
    """Checks the dimensions of a layer and puts them in order."""
    others = [str(dim) for dim in data.dims if dim not in DIMENSIONS]
    missing = [dim for dim in (v.TIME, v.UNIT) if dim not in data.dims]
    if others or missing:
        raise ValueError(
            f"The signals of {name!r} must have the dimensions (sample, time, unit), "
            f"and may have `step` and `frame`; they have {tuple(data.sizes)}."
            + "".join(f" Choose one `{dim}` with `.isel({dim}=0)`." for dim in others)
        )
    empty = [str(dim) for dim, size in data.sizes.items() if not size]
    if empty:
        raise ValueError(f"{name!r} has no {empty[0]}: there is nothing to show.")
    if v.SAMPLE not in data.dims:
        data = data.expand_dims(v.SAMPLE)
    for dim in data.dims:
        distinct(data, str(dim), f"gates[{name!r}]")
    return data.transpose(*DIMENSIONS, missing_dims="ignore")


def _origin(tree: xarray.DataTree, name: str) -> str:
    """Returns a line about the model of a tree, its Keras version and its backend."""
    nodes = [tree.root, *depth_first(tree)]
    # The root of a recorder's store describes its model by a mapping of layers.
    described = [
        node.attrs for node in nodes if isinstance(node.attrs.get("model"), str)
    ]
    if not described:
        return ""
    line = f"model '{described[0]['model']}'"
    if "keras" in described[0]:
        line += f", Keras {described[0]['keras']} on {described[0].get('backend')}"
    return f"{name}: {line}" if name else line
