"""The places of an edit: its samples, time steps and units, and the values there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.edits import Edit
from keras_gates.models.chosen_places import places_from

DIMS = (v.SAMPLE, v.TIME, v.UNIT)
ARGUMENTS = {v.SAMPLE: "samples", v.TIME: "time", v.UNIT: "units"}


class Dense(NamedTuple):
    """An edit for each sample, step and unit.

    A single sample or step applies to all. If there are several and the total number is
    not known, the last one applies to all later ones.

    Attributes:
        factor: `(samples, steps, units)`, the factor by which the signal is multiplied.
        summand: The summand, likewise.
        touched: Whether the signal is changed there, likewise.
        absent: Whether there is no value to use, as the step was masked in the run from
            which the values are; it must then be masked here too. Likewise.
        samples: The number of samples that the data must have, or `None`.
        steps: The number of steps that the layer must have, or `None`.
    """

    factor: np.ndarray
    summand: np.ndarray
    touched: np.ndarray
    absent: np.ndarray
    samples: int | None = None
    steps: int | None = None

    @property
    def by_sample(self) -> bool:
        """Whether the edit differs between samples."""
        return max(len(self.factor), len(self.summand)) > 1

    @property
    def sizes(self) -> tuple:
        """The properties on which a compiled program depends."""
        absent = bool(self.absent.any())
        return self.factor.shape, self.summand.shape, absent, self.steps


class _Axis(NamedTuple):
    """The layout of an edit along one dimension.

    Attributes:
        touched: Whether the signal is changed at each place; one place applies to all.
        source: The index of the value for each place.
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
        units: The number of units of the signal.
        steps: The number of time steps, or `None` if it is not known.

    Raises:
        IndexError: If it chooses a place that does not exist.
        ValueError: If it chooses nothing, or its values have another shape.
        TypeError: If its choice is not a number, a list or a slice.
    """
    values = _values(key, edit)
    sizes = {v.SAMPLE: None, v.TIME: steps, v.UNIT: units}
    axes = [
        _along(key, dim, getattr(edit, ARGUMENTS[dim]), sizes[dim], values.shape[place])
        for place, dim in enumerate(DIMS)
    ]
    for place, axis in enumerate(axes):
        if not np.array_equal(axis.source, np.arange(values.shape[place])):
            values = np.take(values, axis.source, axis=place)
    values = np.broadcast_to(values, (*values.shape[:2], units))
    touched = np.ones((1, 1, units), bool)
    for place, axis in enumerate(axes):
        others = [number for number in range(3) if number != place]
        touched = touched & np.expand_dims(axis.touched, others)
    absent = np.zeros((1, 1, 1), bool)
    if edit.action == "swap" and np.isnan(values).any():
        absent = np.isnan(values) & touched
        if absent.any() and (edit.time is not None or (absent == touched).all()):
            raise ValueError(
                f"The values for '{key}' are NaN at chosen steps: the steps were "
                "masked there, so there is no value to use. Choose unmasked steps in "
                "`time`."
            )
        touched = touched & ~absent
        values = np.nan_to_num(values)
    if edit.action == "scale":
        factor, summand = np.where(touched, values, 1), np.zeros(touched.shape)
    else:
        factor = np.where(touched, float(edit.action == "add"), 1.0)
        summand = values if touched.all() else np.where(touched, values, 0)
    rows = max(factor.shape[1], summand.shape[1])
    exact = steps if rows > 1 and steps is not None else axes[1].exact
    return Dense(factor, summand, touched, absent, axes[0].exact, exact)


def joined(key: str, edits: list[Dense]) -> Dense:
    """Joins the edits of one signal.

    Raises:
        ValueError: If two of them act on the same place.
    """
    first, *others = edits
    for other in others:
        pairs = [first[:4], other[:4]]
        shape = tuple(
            max(array.shape[axis] for pair in pairs for array in pair)
            for axis in range(3)
        )
        one, two = ([_extended(array, shape) for array in pair] for pair in pairs)
        both = one[2] & two[2]
        if both.any():
            sample, step, unit = (int(i) for i in np.argwhere(both)[0])
            raise ValueError(
                f"Two edits of '{key}' overlap, for example at time step {step} of "
                f"sample {sample} in unit {unit}, and their order is not defined. Join "
                "them in one edit, or choose other samples, time steps or units."
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
    """Repeats the last sample and step, so that few sizes occur and are compiled."""

    def rounded(array: np.ndarray) -> np.ndarray:
        samples, rows, units = array.shape
        if edit.samples is None:
            samples = _power(samples)
        if steps is None:
            rows = _power(rows)
        return _extended(array, (samples, rows, units))

    factor, summand, touched, absent = map(rounded, edit[:4])
    return Dense(factor, summand, touched, absent, edit.samples, edit.steps)


def _power(size: int) -> int:
    return 1 if size == 1 else max(16, 1 << (size - 1).bit_length())


def _values(key: str, edit: Edit) -> np.ndarray:
    """Gives the values of an edit three dimensions."""
    value = edit.value
    dims = getattr(value, "dims", None)
    if dims is None:
        array = _as_float(value)
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
    array = _as_float(value.transpose(*present).values)
    place = [slice(None) if dim in present else None for dim in DIMS]
    return array[tuple(place)]


def _as_float(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array if array.dtype == "float32" else array.astype("float64")


def _along(key: str, dim: str, chosen: Any, size: int | None, given: int) -> _Axis:
    """Lays out one dimension of an edit.

    Args:
        key: The path and the name of the signal, for errors.
        dim: The dimension.
        chosen: The places of it that are chosen, or `None` for all.
        size: The number of places, or `None` if it is not known.
        given: The number of values that are given along it.
    """
    if chosen is None:
        if given == 1:
            return _Axis(np.ones(1, bool), np.zeros(1, int))
        if given != (size or given):
            raise _other_size(key, dim, given, str(size))
        return _Axis(np.ones(1, bool), np.arange(given), None if size else given)
    places, last = places_from(ARGUMENTS[dim], chosen, size)
    rows = size or max(places, default=last or 0) + 2
    if last is not None:
        rows = max(last + 1, 2)  # Not 1, as a single row is applied to all.
    touched, source = np.zeros(rows, bool), np.zeros(rows, int)
    touched[places] = True
    if last is not None:
        touched[last:] = True
    if given == 1:
        return _Axis(touched, np.zeros(1, int))
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
