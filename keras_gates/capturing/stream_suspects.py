"""Layers that may need the whole sequence, and the length that reveals it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_gates.layers.wrappers import added
from keras_gates.models.find_layers import walk

REASONS = {
    "Pool": "pools over time",
    "Conv": "sees several time steps",
    "Attention": "sees all time steps",
    "GroupNormalization": "normalises over time",
    "Flatten": "joins all time steps",
    "Reshape": "changes the axis of time",
    "Permute": "changes the axis of time",
    "RepeatVector": "repeats its input after the last time step",
    "Cropping": "changes the axis of time",
    "ZeroPadding": "changes the axis of time",
    "UpSampling": "changes the axis of time",
}
"""The reason why a Keras layer may need the whole sequence, by part of its class."""

DOUBTFUL_STEPS = 40
"""The number of steps that are compared if there are custom layers."""


def suspects(model) -> list[str]:
    """Lists the Keras layers that may need the whole sequence, with the reason."""
    found = [
        f"'{path}', a `{type(layer).__name__}`, has an `inner_loop` of its own"
        for path, layer in walk(model)
        if isinstance(layer, keras.layers.RNN) and "inner_loop" in added(layer)
    ]
    for path, layer in _at_each_step(model):
        reason = _reason(layer)
        if reason is not None:
            found.append(f"'{path}', a `{type(layer).__name__}`, {reason}")
    return found


def steps_to_see(model) -> int:
    """Returns the number of steps that reveals a layer that needs earlier steps.

    If a layer reads further back than a sequence is long, the sequence does not reveal
    it. The number is 0 if every layer is known to process each step independently.
    """
    steps = 0
    for _, layer in _at_each_step(model):
        operations = getattr(layer, "operations", [])
        if not _is_known(layer) or not all(map(_is_layer, operations)):
            steps = max(steps, DOUBTFUL_STEPS)
    if not all(map(_is_layer, getattr(model, "operations", []))) or not _is_known(
        model
    ):
        steps = max(steps, DOUBTFUL_STEPS)
    for _, layer in _at_each_step(model):
        size = np.atleast_1d(getattr(layer, "kernel_size", 1))[0]
        dilation = np.atleast_1d(getattr(layer, "dilation_rate", 1))[0]
        if size > 1:
            steps = max(steps, int(size * dilation) + 2)
    return steps


def _at_each_step(model) -> Iterator[tuple[str, Any]]:
    """Yields the layers that receive the sequence, not parts of a single step."""
    apart: set[int] = set()
    for path, layer in walk(model):
        if isinstance(layer, (keras.layers.TimeDistributed, keras.layers.RNN)):
            apart.update(id(inner) for _, inner in walk(layer))
        elif id(layer) not in apart:
            yield path, layer


def _reason(layer) -> str | None:
    name = type(layer).__name__
    if not _is_of_keras(layer):
        return None
    if "Normalization" in name and 1 in np.atleast_1d(getattr(layer, "axis", -1)):
        return "normalises over time or by time step"
    return next((reason for part, reason in REASONS.items() if part in name), None)


def _is_of_keras(layer) -> bool:
    return getattr(keras.layers, type(layer).__name__, None) is type(layer)


def _is_layer(operation) -> bool:
    return isinstance(operation, keras.layers.Layer)


def _is_known(layer) -> bool:
    """Returns whether a layer is known to process each step independently."""
    if isinstance(layer, keras.Model):
        return type(layer).call.__module__.startswith("keras.")
    of_keras = _is_of_keras(layer) and not isinstance(layer, keras.layers.Lambda)
    return of_keras and _reason(layer) is None
