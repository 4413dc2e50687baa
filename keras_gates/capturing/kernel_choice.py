"""Chooses the kernel for a capture, and measures its deviation from Keras's.

A fast kernel agrees with Keras's up to rounding. A capture must return what the model
computes. Therefore both kernels run on the first batch, and the fast one is used only
if it agrees.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.models import edit_guards
from keras_gates.models.accelerating import why_not_replaced
from keras_gates.models.find_layers import Node

FEWEST_BATCHES = 8
"""With fewer batches, a second program and a second run of a batch do not pay."""
LARGEST_DEVIATION = 1e-5
"""The largest deviation that rounding explains, for values of magnitude 1."""
_HALF_PRECISION = {"float16": 2e-2, "bfloat16": 1e-1}
_BLOCK = 2**16


def fast_layers(
    model: keras.Model, nodes: list[Node], variables: list, number: int | None
) -> list:
    """Lists the layers that may run in a fast kernel when a model is read.

    Args:
        model: The model.
        nodes: The nodes that are read.
        variables: The variables that it runs on.
        number: The number of batches, or `None` if it is not known.
    """
    if number is not None and number < FEWEST_BATCHES:
        return []
    parted = (
        keras.distribution.distribution() is not None or backend.replicas(model) > 1
    )
    # On a GPU, Keras uses a kernel of cuDNN.
    elsewhere = parted or any(map(backend.is_on_accelerator, variables))
    if elsewhere or edit_guards.block_of(model) is not None:
        return []
    layers = {id(node.layer): node.layer for node in nodes}
    return [layer for layer in layers.values() if _may_be_fast(layer)]


def _may_be_fast(layer) -> bool:
    return layer.cell.compute_dtype == "float32" and why_not_replaced(layer) is None


def rounding(dtype: str) -> float:
    """Returns the deviation that rounding explains, for layers of a compute dtype."""
    return _HALF_PRECISION.get(dtype, LARGEST_DEVIATION)


def deviations(exact: dict, fast: dict) -> dict[str, float]:
    """Returns the deviation of a fast run from Keras's own, by node.

    Args:
        exact: The arrays of Keras's run, by node path.
        fast: The arrays of the fast run of the same batch, by node path.

    Returns:
        The largest `deviation` of any signal.
    """
    return {
        path: max(deviation(one, fast[path][name]) for name, one in arrays.items())
        for path, arrays in exact.items()
    }


def deviation(wanted: np.ndarray, found: np.ndarray) -> float:
    """Returns the largest deviation of an array from another one.

    Returns:
        The largest deviation of any value, relative to the value if that is larger
        than 1. Infinite, if a value is missing in only one of the arrays.
    """
    wanted, found = np.asarray(wanted), np.asarray(found)
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return np.inf
    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(wanted, found) else np.inf
    pairs = zip(*map(_blocks, (wanted, found)), strict=True)
    return max(itertools.starmap(_of_block, pairs), default=0.0)


def _blocks(values: np.ndarray) -> list[np.ndarray]:
    """Divides an array into blocks that fit into the cache."""
    flat = values.reshape(-1)
    return [flat[n : n + _BLOCK] for n in range(0, flat.size, _BLOCK)]


def _of_block(wanted: np.ndarray, found: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - wanted)
        apart /= np.maximum(np.abs(wanted), 1)
        largest = float(apart.max())
        if np.isfinite(largest):
            return largest
        apart[(wanted == found) | (np.isnan(wanted) & np.isnan(found))] = 0
        apart[np.isnan(apart)] = np.inf
    return float(apart.max())


def agree(found: dict[str, float], model: keras.Model) -> bool:
    """Returns whether a fast run agrees with Keras's up to rounding; warns if not."""
    far = {path: value for path, value in found.items() if value > LARGEST_DEVIATION}
    if not far:
        return True
    worst = max(far, key=lambda path: far[path])
    warnings.warn(
        f"The capture of '{model.name}' uses Keras's own kernel, which is slower: the "
        f"signals of '{worst}' from the fast kernel deviate by {far[worst]:.1e} from "
        f"those of Keras's, and rounding explains {LARGEST_DEVIATION:.0e} at most.",
        stacklevel=5,
    )
    return False


def described(
    paths: Iterable[str], nodes: list[Node], fast: list, found: dict[str, float]
) -> dict[str, dict]:
    """Returns the attributes that state which kernel computed the signals.

    Args:
        paths: The paths of the signals: those of nodes, and of further calls of them.
        nodes: The nodes that were read.
        fast: The layers that ran in a fast kernel.
        found: The deviations of the signals from those of Keras's kernels, by path.
    """
    layers = {node.path: node.layer for node in nodes}
    names = {id(layer): "fast" for layer in fast}
    attributes: dict[str, dict] = {}
    for path in paths:
        layer = layers.get(path) or layers[v.without_call(path)]
        kernel = names.get(id(layer), getattr(layer, "kernel", "keras"))
        attributes[path] = {"kernel": kernel}
        if path in found:
            attributes[path]["kernel_deviation"] = found[path]
    return attributes
