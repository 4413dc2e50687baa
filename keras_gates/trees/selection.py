"""One layer, one sample or one moment, out of what a function was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_gates.cells import registry
from keras_gates.checks import either, names_of, type_of
from keras_gates.trees.labels import labelled, labels_of, place_of, words
from keras_gates.trees.walk import recurrent
from keras_gates.vocabulary import FRAME, SAMPLE, STEP, TIME, UNIT

if TYPE_CHECKING:
    import xarray

DIMENSIONS = (STEP, SAMPLE, FRAME, TIME, UNIT)
"""Of signals, in the usual order. None of them has another one."""


PICTURE = (SAMPLE, TIME, UNIT)
"""The dimensions of what is drawn sample by sample."""


def check_dimensions(
    data: Any,
    argument: str,
    allowed: Sequence[str] = DIMENSIONS,
    *,
    wanted: Sequence[str] = (),
    name: str = "",
) -> None:
    """Raises an error if data have other dimensions, lack one, or have an empty one.

    Args:
        data: A DataArray or a Dataset.
        argument: The name of the argument that it was given as.
        allowed: The dimensions that it may have. What nobody named must not be
            averaged over.
        wanted: Those of them that it must have.
        name: Which layer of the argument it is.
    """
    where = f"'{name}' of `{argument}`" if name else f"`{argument}`"
    others = [str(dim) for dim in data.dims if dim not in allowed]
    if others:
        ways = [
            f"`.sel({dim}={labels_of(data, dim)[:1].tolist()[0]!r})`"
            if labelled(data, dim) and data.sizes[dim]
            else f"`.isel({dim}=0)`"
            for dim in others
        ]
        raise ValueError(
            f"{where} must have no dimensions but {', '.join(allowed)}; it has "
            f"{', '.join(map(repr, others))}. Choose one place along it, such as "
            f"{' and '.join(ways)}."
        )
    missing = [dim for dim in wanted if dim not in data.dims]
    if missing:
        raise ValueError(
            f"{where} must have the dimensions {', '.join(wanted)}; it lacks "
            f"{', '.join(map(repr, missing))}. A dimension is kept where one place is "
            f"chosen by a list, such as `.isel({missing[0]}=[0])`."
        )
    empty = [str(dim) for dim, size in data.sizes.items() if not size]
    if empty:
        raise ValueError(f"{where} has no {empty[0]}: its length is 0.")


def real_signal(signal: xarray.DataArray, argument: str) -> None:
    """Raises an error unless a signal holds real numbers, and some of them.

    Args:
        signal: The signal.
        argument: The name of the argument that it was given as, or is a part of.
    """
    name = repr(signal.name or "the array")
    if signal.dtype.kind not in "biuf":
        raise TypeError(
            f"`{argument}` must hold real numbers; {name} is of {signal.dtype}."
        )
    empty = [str(dim) for dim, size in signal.sizes.items() if not size]
    if empty:
        raise ValueError(
            f"`{argument}` must hold at least one value; {name} has no {empty[0]}."
        )


def one_layer(
    node: Any,
    argument: str,
    kinds: tuple[str, ...] | None = None,
    *,
    dims: Sequence[str] = (),
    of_signals: bool = True,
) -> xarray.Dataset:
    """Returns the dataset of one layer, or says what was given instead.

    Args:
        node: A DataTree node or a Dataset.
        argument: The name of the argument it was given as.
        kinds: The kinds of layers that are wanted. Default: all.
        dims: The dimensions that its signals must have.
        of_signals: Whether it must hold signals, and not the statistics of training.
    """
    import xarray

    kinds = kinds or tuple(registry.KINDS)
    below = []
    if isinstance(node, xarray.DataTree):
        layers = [layer for layer in recurrent(node) if layer.attrs["kind"] in kinds]
        below = [repr(layer.path.strip("/")) for layer in layers]
        node = node.to_dataset()
    if not isinstance(node, xarray.Dataset):
        raise TypeError(
            f"`{argument}` must be one layer, a DataTree node or a Dataset, such as "
            f"`capture(model, x)['lstm']`; got {type_of(node)}."
        )
    kind = node.attrs.get("kind")
    if kind not in kinds:
        got = f"the {kind} layer {name_of(node)}" if kind else "data without a `kind`"
        raise ValueError(
            f"`{argument}` must be one layer of kind {either(kinds)}; got {got}."
            + (f" Choose a layer below it: {', '.join(below)}." if below else "")
        )
    signals = [node[name] for name in registry.signals() if name in node.data_vars]
    if of_signals and not signals:
        raise ValueError(
            f"`{argument}` must hold signals; {name_of(node)} has none of them. Take a "
            "layer of what `capture` returns, or of a recorder's `traces`."
        )
    for signal in signals:
        real_signal(signal, argument)
        check_dimensions(
            signal, argument, wanted=dims, name=node.attrs.get("layer", "")
        )
    return node


def name_of(layer: xarray.Dataset) -> str:
    """Returns the path of a layer, in quotes."""
    return repr(layer.attrs.get("layer", "unnamed"))


def needed(layer: xarray.Dataset, argument: str, signals: tuple[str, ...]) -> None:
    """Raises an error unless a layer has these signals, of one moment of training."""
    missing = [name for name in signals if name not in layer]
    kind = registry.KINDS.get(str(layer.attrs.get("kind")))
    never = [name for name in missing if kind and name not in kind.signals]
    if never:
        raise ValueError(
            f"`{argument}` must hold {', '.join(map(repr, signals))}; {name_of(layer)} "
            f"is {kind.with_article}, which has no {' and no '.join(map(repr, never))}."
        )
    if missing:
        raise ValueError(
            f"`{argument}` must hold {', '.join(map(repr, signals))}; {name_of(layer)} "
            f"lacks {', '.join(map(repr, missing))}. Name them in "
            "`capture(..., signals=...)`, or leave `signals` out."
        )
    one_moment(layer, argument)


def one_moment(layer: Any, argument: str) -> None:
    """Raises an error if a layer, or a signal, has several steps of training."""
    if STEP in layer.dims:
        raise ValueError(
            f"`{argument}` must be of one moment; it has {layer.sizes[STEP]} steps of "
            "training. Choose one, such as `traces.isel(step=-1)`."
        )


def one_sample(
    layer: xarray.Dataset, sample: Any, signals: Sequence[str] | None = None
) -> xarray.Dataset:
    """Returns the signals of one sample, each with the dimensions (time, unit).

    Args:
        layer: The dataset of a layer.
        sample: The label of the sample, or its position where samples have no labels.
            `None`: the first one.
        signals: The names of the signals. Default: every one that is there.

    Returns:
        A dataset in memory, whose coordinate `sample` says which one it is.
    """
    layer = layer[_chosen(layer, signals)]
    wanted, dims = PICTURE, tuple(layer.sizes)
    if set(dims) != set(wanted):
        others = [dim for dim in dims if dim not in wanted]
        missing = [dim for dim in wanted if dim not in dims]
        raise ValueError(
            f"The signals of {name_of(layer)} must have the dimensions {wanted} and no "
            f"others; the layer has {dims}."
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
            f"`sample` must be from 0 to {samples - 1}: {name_of(layer)} has {samples} "
            f"samples; got {sample}."
        ) from None
    label = labels_of(layer, SAMPLE)[place : place + 1].reshape(())
    picture = layer.isel({SAMPLE: place}, drop=True).transpose(TIME, UNIT)
    return picture.compute().assign_coords({SAMPLE: label})


def as_read(layer: Any) -> Any:
    """Puts the steps of a layer in the order in which the layer read them.

    A capture has the order of the input, also of a layer that reads from its end.

    Args:
        layer: The dataset of a layer, with the attributes that `capture` gave it.
    """
    backward = layer.attrs.get("direction") == "backward"
    return layer.isel({TIME: slice(None, None, -1)}) if backward else layer


def sample_of(picture: Any) -> str:
    """Returns which sample `one_sample` returned, in words."""
    return words(picture[SAMPLE].values.reshape(1))[0]


def _chosen(layer: xarray.Dataset, signals: Sequence[str] | None) -> list[str]:
    """Returns the names of the signals to draw."""
    kind = registry.KINDS[layer.attrs["kind"]]
    present = [name for name in kind.signals if name in layer.data_vars]
    chosen = present if signals is None else names_of("signals", signals)
    unknown = [name for name in chosen if name not in present]
    if unknown or not chosen:
        known = ", ".join(map(repr, present)) or "none"
        raise ValueError(
            f"`signals` must be among those captured of the {kind.name} layer "
            f"{name_of(layer)}: {known}; got {', '.join(map(repr, unknown)) or 'none'}."
        )
    return chosen
