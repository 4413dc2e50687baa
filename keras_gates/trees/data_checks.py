"""Checks of the data that a function gets, with errors if they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_gates.cells import registry
from keras_gates.trees.dimensions import DIMENSIONS
from keras_gates.trees.labels import labelled, labels_of
from keras_gates.vocabulary import STEP

if TYPE_CHECKING:
    import xarray


def check_dimensions(
    data: Any,
    argument: str,
    allowed: Sequence[str] = DIMENSIONS,
    *,
    wanted: Sequence[str] = (),
    name: str = "",
) -> None:
    """Raises an error if a dimension of data is not allowed, is missing or is empty.

    Args:
        data: A DataArray or a Dataset.
        argument: The name of the argument.
        allowed: The dimensions that it may have. Other dimensions are refused, so that
            no measure averages over them silently.
        wanted: The dimensions that it must have.
        name: The layer of the argument to which the data belong.
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
            f"{', '.join(map(repr, others))}. Choose one position along it, such as "
            f"{' and '.join(ways)}."
        )
    missing = [dim for dim in wanted if dim not in data.dims]
    if missing:
        raise ValueError(
            f"{where} must have the dimensions {', '.join(wanted)}; it lacks "
            f"{', '.join(map(repr, missing))}. To keep a dimension, choose a position "
            f"along it with a list, such as `.isel({missing[0]}=[0])`."
        )
    empty = [str(dim) for dim, size in data.sizes.items() if not size]
    if empty:
        raise ValueError(f"{where} has no {empty[0]}: its length is 0.")


def real_signal(signal: xarray.DataArray, argument: str) -> None:
    """Raises an error unless a signal holds at least one value, and real numbers only.

    Args:
        signal: The signal.
        argument: The name of the argument that is or contains the signal.
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


def needed(layer: xarray.Dataset, argument: str, signals: tuple[str, ...]) -> None:
    """Raises an error unless a layer has these signals at one moment of training."""
    missing = [name for name in signals if name not in layer]
    kind = registry.kind_from(layer.attrs)
    never = [name for name in missing if kind and name not in kind.signals]
    if kind and never:
        raise ValueError(
            f"`{argument}` must hold {', '.join(map(repr, signals))}; {quoted(layer)} "
            f"is {kind.with_article}, which has no {' and no '.join(map(repr, never))}."
        )
    if missing:
        raise ValueError(
            f"`{argument}` must hold {', '.join(map(repr, signals))}; {quoted(layer)} "
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


def quoted(layer: xarray.Dataset) -> str:
    """Returns the path of a layer, in quotes."""
    return repr(layer.attrs.get("layer", "unnamed"))
