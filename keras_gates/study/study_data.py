"""The data of a study: arrays, or structures of arrays, that fit together."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_gates.checks import type_of


class Data(NamedTuple):
    """Arrays to train on and to validate with, or structures of arrays."""

    x: Any
    y: Any
    x_val: Any
    y_val: Any


TRAINING = ("`x`", "`y`")
VALIDATION = ("`x_val` of `validation_data`", "`y_val` of `validation_data`")
"""The names of the data in error messages."""


def checked_data(x: Any, y: Any, validation_data: Any) -> Data:
    """Returns the data as NumPy arrays, in structures that fit together."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
        got = type_of(validation_data)
        if isinstance(validation_data, tuple | list):
            got += f" of length {len(validation_data)}"
        raise ValueError(
            "`validation_data` must be a pair (x_val, y_val), without sample weights; "
            f"got {got}. Take some of the samples out of `x` and `y`, with "
            "`keras_gates.tasks.chronological_split` for a series or "
            "`stratified_split` for classes."
        )
    pairs = {TRAINING: (x, y), VALIDATION: tuple(validation_data)}
    arrays = []
    for names, pair in pairs.items():
        part = [_arrays(*named) for named in zip(names, pair, strict=True)]
        shapes = [leaf.shape for leaf in keras.tree.flatten(part)]
        if len({shape[0] for shape in shapes}) > 1:
            both = " and ".join(names).replace(" of `validation_data`", "", 1)
            raise ValueError(
                f"{both} must have one row for each sample; got the shapes "
                f"{', '.join(map(str, shapes))}. Use the same samples in all arrays."
            )
        arrays += part
    data = Data(*arrays)
    for name, training, validation in zip(
        TRAINING, (data.x, data.y), (data.x_val, data.y_val), strict=True
    ):
        ranks = [
            keras.tree.map_structure(np.ndim, part) for part in (training, validation)
        ]
        if ranks[0] != ranks[1]:
            raise ValueError(
                f"{name} and its part of `validation_data` must be built alike; "
                f"their numbers of dimensions are {ranks[0]} and {ranks[1]}. Take both "
                "from one array or structure of arrays."
            )
    shapes = [[leaf.shape[1:] for leaf in keras.tree.flatten(part)] for part in data]
    x, y, x_val, y_val = shapes
    if x == x_val and y != y_val:
        raise ValueError(
            f"{VALIDATION[1]} must have the shape of `y`, except for the number of "
            f"samples; the shapes of a sample are {y_val} and {y}. Take both from one "
            "array."
        )
    return data


def _arrays(name: str, data: Any) -> Any:
    """Returns an array, or a structure of arrays, as NumPy arrays."""
    data = keras.tree.lists_to_tuples(data)
    if not keras.tree.flatten(data):
        raise ValueError(f"{name} must hold at least one array; got {data!r}.")
    return keras.tree.map_structure(lambda leaf: _array(name, leaf), data)


def _array(name: str, leaf: Any) -> np.ndarray:
    if not hasattr(leaf, "shape"):
        raise TypeError(
            f"{name} must be an array, or a dict, list or tuple of arrays; it holds "
            f"{type_of(leaf)}. Convert it to arrays first, for instance with "
            "`np.asarray`."
        )
    is_numpy = isinstance(leaf, np.ndarray)
    array = leaf if is_numpy else keras.ops.convert_to_numpy(leaf)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{name} must have at least one sample; got an array of shape "
            f"{array.shape}."
        )
    if array.dtype.kind in "OSUMmc":
        way_out = (
            "Pass the real and imaginary parts as two features"
            if array.dtype.kind == "c"
            else "Number classes with `np.unique(y, return_inverse=True)`"
        )
        raise TypeError(f"{name} must hold real numbers; got {array.dtype}. {way_out}.")
    if not np.issubdtype(array.dtype, np.floating):
        return array
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise ValueError(
            f"{name} must hold finite numbers; {bad} of {array.size} are NaN or "
            "infinite. Every run would diverge: replace these values, or leave their "
            "samples out."
        )
    return array.astype(keras.config.floatx(), copy=False)


def count(data: Any) -> int:
    """Returns the number of samples."""
    return len(keras.tree.flatten(data)[0])


def rows_of(data: Any, chosen: Any) -> Any:
    """Returns the chosen samples of every array."""
    return keras.tree.map_structure(lambda leaf: leaf[chosen], data)
