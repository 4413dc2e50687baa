"""The names of places along a dimension: their labels, or else their positions.

If a user selects from data, or labels them, the data can have a coordinate along a
dimension: `gates.assign_coords(unit=[4, 9, 2])`. A unit is then chosen, and reported,
by its label. Without a coordinate it is chosen by its position. Every function that
takes or returns a unit, a sample, a time step or a step of training uses this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_gates.checks import array_of, position, type_of

LISTED = 8
"""The largest number of labels that are listed in an error."""


def labelled(data: Any, dim: str) -> bool:
    """Returns whether the places along a dimension have labels."""
    return dim in data.coords and data.coords[dim].dims == (dim,)


def labels_of(data: Any, dim: str) -> np.ndarray:
    """Returns the label of each place along a dimension, or else its position.

    Args:
        data: A DataArray or a Dataset.
        dim: The dimension. Data without it have one place, at position 0.
    """
    if labelled(data, dim):
        return data.coords[dim].values
    return np.arange(data.sizes.get(dim, 1))


def distinct(data: Any, dim: str, argument: str) -> None:
    """Raises an error if places along a dimension have the same label."""
    if not labelled(data, dim):
        return
    index = _index(data, dim)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise ValueError(
            f"`{argument}` must have a different label for each `{dim}`; "
            f"{_listed(twice)} occurs more than once. Assign new labels, such as "
            f"`.assign_coords({dim}=range({len(index)}))`, or choose by position with "
            f"`.drop_vars('{dim}')`."
        )


def place_of(argument: str, label: Any, data: Any, dim: str) -> int:
    """Returns the position of a label, or raises an error that lists the labels.

    Args:
        argument: The name of the argument with the label.
        label: A label, or the position itself if there are no labels.
        data: A DataArray or a Dataset.
        dim: The dimension.
    """
    if not labelled(data, dim):
        return position(argument, label, data.sizes[dim])
    index = _index(data, dim)
    label = _plain(label)
    found = _found(index, label)
    if len(found) != 1 or found[0] < 0:
        if len(found) > 1:
            distinct(data, dim, "data")
        raise IndexError(
            f"`{argument}` must be among the labels of `{dim}`: {_listed(index)}; got "
            f"{_shown(label)}."
        )
    return int(found[0])


def _found(index: Any, label: Any) -> Any:
    """Returns the positions of a label: -1, or none, if it does not exist."""
    if isinstance(label, (bool, np.bool_)) and index.dtype != bool:
        return []  # `True` would be found as 1.
    try:
        return index.get_indexer_for([label])
    except TypeError:  # It cannot be hashed, so it is not a label.
        return []


def places_of(
    argument: str, labels: Any, data: Any, dim: str, *, most: int | None = None
) -> list[int]:
    """Returns the positions of one label or of several.

    Args:
        argument: The name of the argument with the labels.
        labels: A label, or several; or positions if there are no labels.
        data: A DataArray or a Dataset.
        dim: The dimension.
        most: The largest number that may be chosen. Default: all.
    """
    if hasattr(labels, "ndim"):
        array = array_of(argument, labels)
        if array.ndim > 1:
            raise TypeError(
                f"`{argument}` must be a label or a list of labels; got "
                f"{type_of(labels)} of {array.ndim} dimensions."
            )
        several = list(array.ravel())
    elif np.iterable(labels) and not isinstance(labels, (str, bytes)):
        several = list(labels)
    else:
        several = [labels]
    chosen = [place_of(argument, label, data, dim) for label in several]
    most = most or data.sizes[dim]
    if not 0 < len(chosen) <= most:
        raise ValueError(
            f"`{argument}` must name from 1 to {most} labels; got {len(chosen)}."
        )
    return chosen


def same_labels(one: Any, other: Any, dim: str) -> bool:
    """Returns whether two data have the same labels, or one of them has no labels."""
    if not (labelled(one, dim) and labelled(other, dim)):
        return True
    return _index(one, dim).equals(_index(other, dim))


def words(labels: np.ndarray) -> list[str]:
    """Returns labels as text for figures and sentences.

    Example:
        >>> words(np.array(["2024-01-01", "2024-01-02"], "datetime64[ns]"))
        ['2024-01-01', '2024-01-02']
        >>> words(np.array([0.1 + 0.2, 4]))
        ['0.3', '4']
    """
    labels = np.asarray(labels)
    if labels.dtype.kind == "M":
        return _dates(labels)
    if labels.dtype.kind == "m":
        import pandas

        return [str(pandas.Timedelta(label)) for label in labels]
    if labels.dtype.kind == "f":
        return [f"{label:.10g}" for label in labels]
    return [str(label) for label in labels]


def word(data: Any, dim: str, place: int = 0) -> str:
    """Returns the label of one place as text."""
    return words(labels_of(data, dim))[place]


def _dates(labels: np.ndarray) -> list[str]:
    """Returns dates, with the time of day as precisely as needed."""
    for unit in ("D", "m", "s", "ms", "us"):
        short = labels.astype(f"datetime64[{unit}]")
        if ((short == labels) | np.isnat(labels)).all():
            return [str(label).replace("T", " ") for label in short]
    return [str(label).replace("T", " ") for label in labels]


def _index(data: Any, dim: str) -> Any:
    import pandas

    # A coordinate may be without an index (`drop_indexes`).
    return data.indexes.get(dim, pandas.Index(data.coords[dim].values))


def _plain(label: Any) -> Any:
    """Returns a label, without the array if it is one of no dimensions."""
    return np.asarray(label)[()] if hasattr(label, "ndim") else label


def _shown(label: Any) -> str:
    date = isinstance(label, (np.datetime64, np.timedelta64))
    # The item of a date would be a number of nanoseconds.
    return repr(label.item() if isinstance(label, np.generic) and not date else label)


def _listed(index: Any) -> str:
    """Returns labels in a sentence; if there are many, only the first ones."""
    labels = np.asarray(index)
    names = words(labels[:LISTED])
    if labels.dtype.kind in "OUT":
        names = list(map(repr, labels[:LISTED].tolist()))
    more = f", ... ({len(labels)} in all)" if len(labels) > LISTED else ""
    return ", ".join(names) + more
