"""Where an edit acts: its samples, time steps and units, and the values there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.models.chosen_places import places_from
from keras_gates.models.edits import Edit

DIMS = (v.SAMPLE, v.TIME, v.UNIT)
ARGUMENTS = {v.SAMPLE: "samples", v.TIME: "time", v.UNIT: "units"}


class Dense(NamedTuple):
    """An edit for each sample, step and unit.

    A single sample or step stands for all. Of several, the last one stands for all
    that come later, where their number is not known.

    Attributes:
        factor: `(samples, steps, units)`, what the signal is multiplied by.
        summand: Likewise, what is added.
        touched: Likewise, whether anything is done there.
        absent: Likewise, whether there is no value to put in, as the step was masked
            where it comes from: it must be masked here too.
        samples: How many samples the data must have, or `None`.
        steps: How many steps the layer must have, or `None`.
    """

    factor: np.ndarray
    summand: np.ndarray
    touched: np.ndarray
    absent: np.ndarray
    samples: int | None = None
    steps: int | None = None


class _Axis(NamedTuple):
    """What an edit does along one dimension.

    Attributes:
        touched: Whether anything is done at each place.
        source: Where its value comes from.
        exact: The number of places that there must be, or `None`.
    """

    touched: np.ndarray
    source: np.ndarray
    exact: int | None = None


def dense(key: str, edit: Edit, units: int, steps: int | None) -> Dense:
    """Lays out an edit.

    Args:
        key: The path and the name of the signal, for errors.
        edit: The edit.
        units: How many units the signal has.
        steps: How many time steps there are, or `None` if that is not known.

    Raises:
        IndexError: If it chooses what is not there.
        ValueError: If it chooses nothing, or its values have another shape.
        TypeError: If what it chooses is no number, list or slice.
    """
    values = _values(key, edit)
    sizes = {v.SAMPLE: None, v.TIME: steps, v.UNIT: units}
    axes = [
        _along(key, dim, getattr(edit, ARGUMENTS[dim]), sizes[dim], values.shape[place])
        for place, dim in enumerate(DIMS)
    ]
    shape = len(axes[0].touched), len(axes[1].touched), units
    where = np.ones(shape, bool)
    for place, axis in enumerate(axes):
        where &= np.expand_dims(axis.touched, [n for n in range(3) if n != place])
    taken = values[np.ix_(*(axis.source for axis in axes))]
    taken = np.broadcast_to(taken, where.shape)
    missing = np.isnan(taken) & where
    absent = np.zeros_like(where)
    if edit.action == "swap" and missing.any():
        if edit.time is not None or not (where & ~missing).any():
            raise ValueError(
                f"The values for '{key}' are NaN at steps that are chosen: they were "
                "masked there, so there is nothing to put in. Choose unmasked steps in "
                "`time`."
            )
        where &= ~missing
        absent = missing
    factors = {"add": np.ones_like(taken), "scale": taken}
    factor = np.where(where, factors.get(edit.action, np.zeros_like(taken)), 1.0)
    summand = np.where(where & (edit.action != "scale"), taken, 0.0)
    exact = steps if where.shape[1] > 1 and steps is not None else axes[1].exact
    summand = np.nan_to_num(summand)
    return Dense(factor, summand, where, absent, axes[0].exact, exact)


def joined(key: str, edits: list[Dense]) -> Dense:
    """Joins the edits of one signal.

    Raises:
        ValueError: If two of them do something at the same place.
    """
    first, *others = edits
    for other in others:
        shape = tuple(
            max(a, b)
            for a, b in zip(first.touched.shape, other.touched.shape, strict=True)
        )
        one, two = (
            [_extended(array, shape) for array in each[:4]] for each in (first, other)
        )
        if (one[2] & two[2]).any():
            sample, step, unit = (int(i) for i in np.argwhere(one[2] & two[2])[0])
            raise ValueError(
                f"Two edits of '{key}' overlap, at time step {step} of sample {sample} "
                f"in unit {unit}, for one: which comes first is not defined. Join them "
                "in one edit, or choose other samples, time steps or units."
            )
        first = Dense(
            np.where(two[2], two[0], one[0]),
            np.where(two[2], two[1], one[1]),
            one[2] | two[2],
            one[3] | two[3],
            first.samples or other.samples,
            first.steps or other.steps,
        )
    return first


def _extended(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    width = [(0, size - old) for size, old in zip(shape, array.shape, strict=True)]
    return np.pad(array, width, mode="edge")


def rounded_up(edit: Dense, steps: int | None) -> Dense:
    """Repeats the last sample and step, so that few sizes occur: each is compiled."""
    samples, rows, units = edit.touched.shape
    shape = (_power(samples), _power(rows) if steps is None else rows, units)
    factor, summand, touched, absent = (_extended(one, shape) for one in edit[:4])
    return Dense(factor, summand, touched, absent, edit.samples, edit.steps)


def _power(size: int) -> int:
    return 1 if size == 1 else max(16, 1 << (size - 1).bit_length())


def _values(key: str, edit: Edit) -> np.ndarray:
    """Brings the values of an edit to three dimensions."""
    value = edit.value
    dims = getattr(value, "dims", None)
    if dims is None:
        array = np.asarray(value, "float64")
        if array.ndim > 3:
            raise ValueError(
                f"The values for '{key}' must broadcast to `(sample, time, unit)`; got "
                f"an array of shape {array.shape}."
            )
        return array.reshape((1,) * (3 - array.ndim) + array.shape)
    other = [dim for dim in dims if dim not in DIMS]
    if other:
        raise ValueError(
            f"The values for '{key}' must have the dimensions 'sample', 'time' and "
            f"'unit', or some of them; got {other[0]!r} too. Choose a place along it "
            f"with `.isel({other[0]}=...)`."
        )
    present = [dim for dim in DIMS if dim in dims]
    array = np.asarray(value.transpose(*present).values, "float64")
    place = [slice(None) if dim in present else None for dim in DIMS]
    return array[tuple(place)]


def _along(key: str, dim: str, chosen: Any, size: int | None, given: int) -> _Axis:
    """Lays out one dimension of an edit.

    Args:
        key: The path and the name of the signal, for errors.
        dim: The dimension.
        chosen: Which places of it are chosen, or `None` for all.
        size: How many places there are, or `None` if that is not known.
        given: How many values are given along it.
    """
    if chosen is None:
        if given == 1:
            return _Axis(np.ones(1, bool), np.zeros(1, int))
        if size is None:
            # After the last one that is given there is nothing.
            touched, source = np.arange(given + 1) < given, np.arange(given + 1)
            return _Axis(touched, np.minimum(source, given - 1), given)
        if given != size:
            raise _other_size(key, dim, given, str(size))
        return _Axis(np.ones(size, bool), np.arange(size))
    places, last = places_from(ARGUMENTS[dim], chosen, size)
    rows = size or max(places, default=last or 0) + 2
    if last is not None:
        rows = max(last + 1, 2)  # Not 1, which is compiled as what stands for all.
    touched, source = np.zeros(rows, bool), np.zeros(rows, int)
    touched[places] = True
    if last is not None:
        touched[last:] = True
    if given == 1:
        return _Axis(touched, source)
    if last is not None:
        raise _other_size(key, dim, given, "1, as their end is not known")
    if given == size:
        return _Axis(touched, np.arange(size))
    if given == len(places):
        source[places] = np.arange(given)
        return _Axis(touched, source)
    if size is None and given > max(places):
        return _Axis(touched, np.minimum(np.arange(rows), given - 1))
    sizes = f"{len(places)}, which are chosen" + (f", or {size}" if size else "")
    raise _other_size(key, dim, given, sizes)


def _other_size(key: str, dim: str, given: int, wanted: str) -> ValueError:
    return ValueError(
        f"The values for '{key}' must have 1 or {wanted}, along `{dim}`; got {given}."
    )
