"""A single array of the inputs, from any library."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_gates.backend import backend


@dataclasses.dataclass(frozen=True)
class Sparse:
    """A sparse array, given by its nonzero values and their indices.

    Attributes:
        indices: `(values, axes)`, ordered by sample.
        values: `(values,)`.
        shape: The shape of the array, samples first.
    """

    indices: np.ndarray
    values: np.ndarray
    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> Sparse:
        """Returns some of the samples."""
        stop = min(stop, self.shape[0])
        first, last = np.searchsorted(self.indices[:, 0], [start, stop])
        shift = [start, *(0 for _ in self.shape[1:])]
        return Sparse(
            self.indices[first:last] - shift,
            self.values[first:last],
            (stop - start, *self.shape[1:]),
        )


def is_array(leaf: Any) -> bool:
    """Returns whether a leaf of the inputs is an array with an axis of samples."""
    shape = getattr(leaf, "shape", None)
    try:
        return shape is not None and len(shape) > 0
    except (TypeError, ValueError):  # A tensor of TensorFlow of an unknown rank.
        return False


def sliceable(leaf: Any) -> Any:
    """Returns an array in a form from which samples can be chosen."""
    module = type(leaf).__module__
    if module.startswith("scipy.sparse"):
        rows = leaf.tocsr(copy=True)
        rows.sum_duplicates()
        rows = rows.tocoo()
        return Sparse(np.stack([rows.row, rows.col], axis=-1), rows.data, rows.shape)
    if module.startswith("jax.experimental.sparse"):
        return _from_jax(leaf)
    if _is_tensorflow(leaf, "SparseTensor"):
        indices = np.asarray(leaf.indices)
        order = np.argsort(indices[:, 0], kind="stable")
        shape = tuple(int(size) for size in np.asarray(leaf.dense_shape))
        return Sparse(indices[order], np.asarray(leaf.values)[order], shape)
    return leaf


def _from_jax(leaf) -> Any:
    if hasattr(leaf, "to_bcoo"):
        leaf = leaf.to_bcoo()
    if not hasattr(leaf, "update_layout"):
        return leaf.todense()
    leaf = leaf.update_layout(n_batch=0, n_dense=0).sum_duplicates()
    indices, values = np.asarray(leaf.indices), np.asarray(leaf.data)
    order = np.argsort(indices[:, 0], kind="stable")
    # JAX pads with places outside the array.
    inside = order[(indices[order] < leaf.shape).all(axis=-1)]
    return Sparse(indices[inside], values[inside], tuple(leaf.shape))


def samples(leaf: Any) -> int:
    """Returns the number of samples of an array."""
    size = leaf.shape[0]
    return int(leaf.nrows() if size is None else size)


def some_samples(leaf: Any, start: int, stop: int) -> Any:
    """Returns some of the samples of an array that `sliceable` returned."""
    if isinstance(leaf, Sparse):
        return leaf.rows(start, stop)
    return getattr(leaf, "iloc", leaf)[start:stop]


def to_model(leaf: Any) -> Any:
    """Returns an array in the form for the model.

    This is a NumPy array, except for arrays that have another form in `predict` too:
    sparse arrays on TensorFlow and JAX, and ragged arrays on TensorFlow.
    """
    leaf = sliceable(leaf)
    if isinstance(leaf, Sparse):
        return backend.sparse(leaf.indices, _standard(leaf.values), leaf.shape)
    if _is_tensorflow(leaf, "RaggedTensor"):
        leaf = backend.ragged(leaf)
        return _standard(leaf) if isinstance(leaf, np.ndarray) else leaf
    if hasattr(leaf, "detach"):
        leaf = leaf.detach().cpu().to_dense()
        if leaf.dtype.is_floating_point and leaf.dtype.itemsize < 4:
            leaf = leaf.float()  # NumPy has no bfloat16.
    if type(leaf).__name__ == "PerReplica":  # of a `tf.distribute` strategy
        return np.concatenate([to_model(part) for part in leaf.values])
    array = np.asarray(leaf)
    if array.ndim == 1 and hasattr(leaf, "iloc"):
        array = array[:, None]  # As Keras does with a column of a table.
    return _standard(array)


def _standard(array: np.ndarray) -> np.ndarray:
    """Converts numbers to the precision, and strings to the type, that Keras uses."""
    # For short floats of JAX and TensorFlow, such as bfloat16, the kind is not "f".
    floating = array.dtype.kind == "f" or "float" in array.dtype.name
    if floating and array.dtype.name != keras.config.floatx():
        return array.astype(keras.config.floatx())
    return array.astype(object) if array.dtype.kind in "UT" else array


def is_text(leaf: Any) -> bool:
    """Returns whether an array holds strings."""
    if getattr(leaf, "dtype", None) is None or not isinstance(leaf, np.ndarray):
        return False
    return leaf.dtype.kind == "S" or (
        leaf.dtype.kind == "O" and all(isinstance(v, (str, bytes)) for v in leaf.flat)
    )


def values(leaf: Any) -> np.ndarray:
    """Returns the values that an array of the inputs holds, in any shape."""
    for name in ("flat_values", "values", "data"):
        if not isinstance(leaf, np.ndarray) and hasattr(leaf, name):
            return np.asarray(getattr(leaf, name))
    return np.asarray(leaf)


def _is_tensorflow(leaf: Any, name: str) -> bool:
    # Compared by name, so that unused libraries are not imported.
    return type(leaf).__name__ == name and type(leaf).__module__.startswith(
        "tensorflow."
    )
