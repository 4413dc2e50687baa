"""The choice of one layer, one sample or one moment from the argument of a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_gates.cells import registry
from keras_gates.cells.kind import Kind
from keras_gates.checks import either, names_of, type_of
from keras_gates.trees.data_checks import check_dimensions, quoted, real_signal
from keras_gates.trees.labels import labelled, labels_of, place_of, words
from keras_gates.trees.layer_kind import has_units, kind_of_layer
from keras_gates.trees.tree_walk import recurrent
from keras_gates.vocabulary import SAMPLE, TIME, UNIT

if TYPE_CHECKING:
    import xarray

PICTURE = (SAMPLE, TIME, UNIT)
"""The dimensions of signals that figures draw sample by sample."""


def one_layer(
    node: Any,
    argument: str,
    kinds: tuple[str, ...] | None = None,
    *,
    dims: Sequence[str] = (),
    of_signals: bool = True,
) -> xarray.Dataset:
    """Returns the dataset of one layer, or raises an error.

    Args:
        node: A DataTree node or a Dataset.
        argument: The name of the argument.
        kinds: The kinds of layers that are wanted. Default: all.
        dims: The dimensions that its signals must have.
        of_signals: Whether it must hold signals, and not the statistics of training.
    """
    import xarray

    below = []
    if isinstance(node, xarray.DataTree):
        layers = [
            layer
            for layer in recurrent(node)
            if _wanted(layer.attrs, kinds) is not None
        ]
        below = [repr(layer.path.strip("/")) for layer in layers]
        node = node.to_dataset()
    if not isinstance(node, xarray.Dataset):
        raise TypeError(
            f"`{argument}` must be one layer, a DataTree node or a Dataset, such as "
            f"`capture(model, x)['lstm']`; got {type_of(node)}."
        )
    kind = node.attrs.get("cell_type")
    known = _wanted(node.attrs, kinds)
    if known is None:
        got = "data without a `cell_type`"
        if kind:
            got = f"the {kind} layer {quoted(node)}"
        named = either(kinds or registry.KINDS)
        raise ValueError(
            f"`{argument}` must be one layer of kind {named}; got {got}."
            + (f" Choose a layer below it: {', '.join(below)}." if below else "")
        )
    signals = [node[name] for name in known.signals if has_units(node, name)]
    if of_signals and not signals:
        raise ValueError(
            f"`{argument}` must hold signals; {quoted(node)} has none. Use a layer of "
            "the result of `capture`, or of a recorder's `traces`."
        )
    for signal in signals:
        real_signal(signal, argument)
        check_dimensions(
            signal, argument, wanted=dims, name=node.attrs.get("layer", "")
        )
    return node


def one_sample(
    layer: xarray.Dataset, sample: Any, signals: Sequence[str] | None = None
) -> xarray.Dataset:
    """Returns the signals of one sample, each with the dimensions (time, unit).

    Args:
        layer: The dataset of a layer.
        sample: The label of the sample, or its position where samples have no labels.
            `None`: the first one.
        signals: The names of the signals. Default: all signals that it has.

    Returns:
        A dataset in memory, whose coordinate `sample` has the label of the sample.
    """
    layer = layer[_chosen(layer, signals)]
    wanted, dims = PICTURE, tuple(layer.sizes)
    if set(dims) != set(wanted):
        others = [dim for dim in dims if dim not in wanted]
        missing = [dim for dim in wanted if dim not in dims]
        raise ValueError(
            f"The signals of {quoted(layer)} must have exactly the dimensions "
            f"{wanted}; the layer has {dims}."
            + "".join(f" Choose one `{dim}` with `.isel({dim}=0)`." for dim in others)
            + "".join(f" Keep one `{dim}` with a list: `[0]`." for dim in missing)
        )
    check_dimensions(layer, "layer", name=layer.attrs.get("layer", ""))
    samples = layer.sizes[SAMPLE]
    try:
        place = 0 if sample is None else place_of("sample", sample, layer, SAMPLE)
    except IndexError:
        if labelled(layer, SAMPLE):
            raise
        raise IndexError(
            f"`sample` must be from 0 to {samples - 1}: {quoted(layer)} has {samples} "
            f"samples; got {sample}."
        ) from None
    label = labels_of(layer, SAMPLE)[place : place + 1].reshape(())
    chosen = layer.isel({SAMPLE: place}, drop=True).transpose(TIME, UNIT)
    return chosen.compute().assign_coords({SAMPLE: label})


def sample_of(picture: Any) -> str:
    """Returns the label of the sample that `one_sample` returned, as text."""
    return words(picture[SAMPLE].values.reshape(1))[0]


def _wanted(attributes: Any, kinds: tuple[str, ...] | None) -> Kind | None:
    """Returns the kind that attributes describe, if it is wanted."""
    kind = registry.kind_from(attributes)
    return kind if kind is not None and (not kinds or kind.name in kinds) else None


def _chosen(layer: xarray.Dataset, signals: Sequence[str] | None) -> list[str]:
    """Returns the names of the signals to draw."""
    kind = kind_of_layer(layer)
    present = [name for name in kind.signals if has_units(layer, name)]
    chosen = present if signals is None else names_of("signals", signals)
    unknown = [name for name in chosen if name not in present]
    if unknown or not chosen:
        known = ", ".join(map(repr, present)) or "none"
        raise ValueError(
            f"`signals` must be among the captured signals of the {kind.name} layer "
            f"{quoted(layer)}: {known}; got {', '.join(map(repr, unknown)) or 'none'}."
        )
    return chosen
