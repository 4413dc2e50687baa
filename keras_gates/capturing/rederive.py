"""Derives the states of a layer again from its recorded gates, step by step."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells.activations import find
from keras_gates.cells.kind import Kind


class Unverified(Exception):
    """The reason why a layer cannot be verified, and its deviation as far as known."""

    def __init__(self, reason: str, deviation: float = np.inf):
        super().__init__(reason)
        self.deviation = deviation


class Arrays(NamedTuple):
    """The arrays of a layer, in the order in which it read its input."""

    signals: dict[str, np.ndarray]
    """Each `(time, ..., unit)`, float64."""

    initial: dict[str, np.ndarray]
    """Each `(..., unit)`, float64."""

    unmasked: np.ndarray
    """Boolean, `(time, ...)`."""


def deviation_of(name: str, arrays: Arrays, attributes: dict, kind: Kind) -> float:
    """Returns the largest deviation of a recorded state from the derived one.

    Args:
        name: The name of the layer, for errors.
        arrays: Its arrays, finite at every unmasked step.
        attributes: Its attributes, which name the activation.
        kind: The kind of its cell, which has a `step`.

    Raises:
        Unverified: If no step is unmasked, or the activation cannot be applied.
    """
    if not arrays.unmasked.any():
        raise Unverified(
            f"There is nothing to verify in '{name}': it has no unmasked step.", np.nan
        )
    assert kind.step is not None
    activation = _activation(name, attributes) if kind.uses_activation else None
    if activation is not None:
        _require_all_units(name, arrays, attributes, activation)
    states = dict(arrays.initial)
    largest = dict.fromkeys(states, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # It shows as a deviation.
        for step, counts in enumerate(arrays.unmasked[..., None]):
            now = {signal: values[step] for signal, values in arrays.signals.items()}
            derived = kind.step(now, states, activation)
            for state, value in derived.items():
                states[state] = np.where(counts, value, states[state])
                error = np.abs(states[state] - now[state])
                error = np.where(counts, error, 0.0).max(initial=0.0)
                # `np.maximum`, unlike `max`, keeps NaN, which is not a small deviation.
                largest[state] = float(np.maximum(largest[state], error))
    if kind.uses_activation and activation is None:
        raise Unverified(
            f"`hidden` of '{name}' could not be verified: its activation "
            f"'{attributes.get('activation')}' cannot be found again by that name; "
            f"`cell` deviates by {largest[v.CELL]:.1e}. Register a function with "
            "`keras.saving.register_keras_serializable()` before the capture; a layer "
            "used as an activation cannot be found by name."
        )
    worst = max(largest.values())
    return worst if all(map(np.isfinite, largest.values())) else np.inf


def _require_all_units(name, arrays, attributes, activation) -> None:
    """Refuses a subset of units if the activation needs all units, like a softmax."""
    here, all_units = arrays.signals[v.CELL].shape[-1], attributes.get("units")
    if here == all_units:
        return
    few = np.linspace(-1.0, 2.0, 4)[None]
    alone, together = activation(few[:, :2]), activation(few)[:, :2]
    if np.abs(alone - together).max() > 1e-6:
        raise Unverified(
            f"`hidden` of '{name}' could not be verified: its activation "
            f"'{attributes['activation']}' needs all {all_units} units, and {here} of "
            "them were recorded."
        )


def _activation(name: str, attributes: dict):
    """Returns the activation as a function of NumPy arrays, or `None`."""
    called = attributes.get("activation", "")
    if called == "tanh":
        return np.tanh
    function = find(called)
    if function is None:
        return None

    def apply(cell):
        try:
            return keras.ops.convert_to_numpy(function(cell))
        except Exception as error:  # A user's function may raise anything.
            raise Unverified(
                f"`hidden` of '{name}' could not be verified: its activation "
                f"'{called}' failed ({type(error).__name__}: {error})."
            ) from error

    return apply
