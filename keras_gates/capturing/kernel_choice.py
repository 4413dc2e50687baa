"""Which kernel runs the layers of a model that is read, and how far it is from Keras's.

A fast kernel is within rounding of Keras's. What a capture returns must be what the
model computes: so both run on the first batch, and the fast one is used only where it
agrees.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterable

import keras
import numpy as np

from keras_gates.backend import backend
from keras_gates.models import edit_guards
from keras_gates.models.accelerating import why_not_replaced
from keras_gates.models.find_layers import Node

FEWEST_BATCHES = 8
"""From so many on, compiling a second program and running a batch twice pays."""
LARGEST_DEVIATION = 1e-5
"""What rounding explains, of values of the size of 1."""
_BLOCK = 2**16


def fast_layers(
    model: keras.Model, nodes: list[Node], variables: list, number: int | None
) -> list:
    """Lists the layers that may run in a fast kernel when a model is read.

    Args:
        model: The model.
        nodes: The nodes that are read.
        variables: The variables that it runs on.
        number: How many batches there will be, or `None` if that is not known.
    """
    if number is not None and number < FEWEST_BATCHES:
        return []
    parted = (
        keras.distribution.distribution() is not None or backend.replicas(model) > 1
    )
    # On a GPU, Keras has a kernel of cuDNN.
    elsewhere = parted or any(map(backend.is_on_accelerator, variables))
    if elsewhere or edit_guards.block_of(model) is not None:
        return []
    layers = {id(node.layer): node.layer for node in nodes}
    return [layer for layer in layers.values() if _may_be_fast(layer)]


def _may_be_fast(layer) -> bool:
    return layer.cell.compute_dtype == "float32" and why_not_replaced(layer) is None


def deviations(exact: dict, fast: dict) -> dict[str, float]:
    """Returns how far a fast run is from Keras's own, by node.

    Args:
        exact: Node path to the arrays of Keras's run.
        fast: Node path to the arrays of the fast run of the same batch.

    Returns:
        The largest `deviation` of any signal.
    """
    return {
        path: max(deviation(one, fast[path][name]) for name, one in arrays.items())
        for path, arrays in exact.items()
    }


def deviation(wanted: np.ndarray, found: np.ndarray) -> float:
    """Returns how far an array is from another one.

    Returns:
        The largest deviation of any value, in parts of the value where that is larger
        than 1. Infinite, if values are missing in one of the two alone.
    """
    wanted, found = np.asarray(wanted), np.asarray(found)
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return np.inf
    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(wanted, found) else np.inf
    pairs = zip(*map(_blocks, (wanted, found)), strict=True)
    return max(itertools.starmap(_of_block, pairs), default=0.0)


def _blocks(values: np.ndarray) -> list[np.ndarray]:
    """Parts an array into blocks that fit into the cache."""
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
    """Returns whether a fast run is within rounding of Keras's, and warns if not."""
    far = {path: value for path, value in found.items() if value > LARGEST_DEVIATION}
    if not far:
        return True
    worst = max(far, key=lambda path: far[path])
    warnings.warn(
        f"The capture of '{model.name}' takes longer than it might: the signals of "
        f"'{worst}' from the fast kernel deviate by {far[worst]:.1e} from those of "
        f"Keras's own, more than the {LARGEST_DEVIATION:.0e} that rounding explains. "
        "Keras's own kernel is used.",
        stacklevel=5,
    )
    return False


def described(
    paths: Iterable[str], nodes: list[Node], fast: list, found: dict[str, float]
) -> dict[str, dict]:
    """Returns the attributes that say which kernel computed signals.

    Args:
        paths: The paths of the signals: those of nodes, and of further calls of them.
        nodes: The nodes that were read.
        fast: The layers that ran in a fast kernel.
        found: How far the signals are from those of Keras's own kernels, by path.
    """
    layers = {node.path: node.layer for node in nodes}
    names = {id(layer): "fast" for layer in fast}
    attributes: dict[str, dict] = {}
    for path in paths:
        layer = layers.get(path) or layers[re.sub(r"@\d+$", "", path)]
        kernel = names.get(id(layer), getattr(layer, "kernel", "keras"))
        attributes[path] = {"kernel": kernel}
        if path in found:
            attributes[path]["kernel_deviation"] = found[path]
    return attributes
