"""Derivatives of activations that follow from what the activation returned.

A kernel then need not keep what the activation took. The others are differentiated by
the backend.
"""

from __future__ import annotations

from typing import Any

from keras import activations, ops

Tensor = Any


def _sigmoid(y: Tensor) -> Tensor:
    return y * (1 - y)


def _tanh(y: Tensor) -> Tensor:
    return 1 - y * y


def _relu(y: Tensor) -> Tensor:
    return ops.cast(y > 0, y.dtype)


def _hard_sigmoid(y: Tensor) -> Tensor:
    return ops.cast(ops.logical_and(y > 0, y < 1), y.dtype) / 6


def _linear(y: Tensor) -> Tensor:
    return ops.ones_like(y)


def _softsign(y: Tensor) -> Tensor:
    return ops.square(1 - ops.abs(y))


SLOPES = {
    activations.sigmoid: _sigmoid,
    activations.tanh: _tanh,
    activations.relu: _relu,
    activations.hard_sigmoid: _hard_sigmoid,
    activations.linear: _linear,
    activations.softsign: _softsign,
}
"""Each activation to its derivative, as a function of its output."""
