"""Derivatives of activations that follow from the output of the activation.

For these, a kernel need not keep the input of the activation. The backend
differentiates all other activations.
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
"""The derivative of each activation, as a function of its output."""
