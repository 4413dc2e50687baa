"""Code that the kernels on JAX share: steps of batch-major sequences, products, slopes.

A loop that reads and writes its step in place, at axis 1, transposes nothing. The
product with the inputs is computed inside the loop: the product of all steps would be
written to new memory and read again.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from keras import activations

from keras_gates.backend.slopes import SLOPES


def at(sequence, t):
    """Returns one step of `(batch, time, width)`; for `None`, returns `None`."""
    if sequence is None:
        return None
    return lax.dynamic_index_in_dim(sequence, t, axis=1, keepdims=False)


def put(sequence, step, t):
    """Returns the sequence with one of its steps replaced."""
    return lax.dynamic_update_index_in_dim(sequence, step, t, axis=1)


def before(sequence, first, t):
    """Returns the state before a step, which is `first` before the first one."""
    return jnp.where(t > 0, at(sequence, jnp.maximum(t - 1, 0)), first)


def plus(value, sequence, t):
    """Adds a step of a cotangent, which is `None` where it is zero."""
    return value if sequence is None else value + at(sequence, t)


def where(real, value, other):
    """Chooses `value` where a step is unmasked; `None` means everywhere."""
    return value if real is None else jnp.where(real, value, other)


def unmasked(mask, t):
    """Returns where a step is unmasked, `(batch, 1)`, or `None`."""
    return None if mask is None else at(mask, t)[:, None]


def values_of(arguments):
    """Returns the values of the arguments of a forward rule with symbolic zeros."""
    return [None if one is None else one.value for one in arguments]


def cotangents_of(arguments):
    """Returns the cotangents that a backward rule gets, with `None` for zeros."""
    return [None if isinstance(one, SymbolicZero) else one for one in arguments]


_OWN = {
    activations.sigmoid: jax.nn.sigmoid,
    activations.tanh: jnp.tanh,
    activations.relu: jax.nn.relu,
}
"""Activations of JAX, used because Keras's may round float64 to float32."""


def applied(function, total):
    """Returns the result of an activation."""
    return _OWN.get(function, function)(total).astype(total.dtype)


def slope(function, output, total):
    """Returns the derivative of an activation.

    Args:
        function: The activation.
        output: Its result.
        total: Its argument; may be `None` where its derivative is in `SLOPES`.
    """
    if function in SLOPES:
        return SLOPES[function](output).astype(output.dtype)
    apply = functools.partial(applied, function)
    return jax.jvp(apply, (total,), (jnp.ones_like(total),))[1]


class InputProduct:
    """The product of the inputs with the kernel, and the bias.

    Args:
        kernel: `(features, width)`, or `None` if the inputs are already the product.
        bias: `(width,)`, or `None`.
    """

    def __init__(self, kernel, bias):
        self._kernel, self._bias = kernel, bias

    def of(self, step):
        """Returns the product of one step, `(batch, width)`."""
        product = step if self._kernel is None else step @ self._kernel
        return product if self._bias is None else product + self._bias

    def zeros(self, inputs):
        """Returns zero gradients of the inputs, the kernel and the bias, to add to."""
        return jax.tree.map(jnp.zeros_like, (inputs, self._kernel, self._bias))

    def add(self, gradients, step, product, t):
        """Adds one step to the gradients.

        Args:
            gradients: The gradients of the steps after it.
            step: The inputs, `(batch, features)`.
            product: The gradient of their product, `(batch, width)`.
            t: The number of the step.
        """
        inputs, kernel, bias = gradients
        if kernel is not None:
            kernel = kernel + step.T @ product
        of_step = product if kernel is None else product @ self._kernel.T
        bias = None if bias is None else bias + product.sum(0)
        return put(inputs, of_step, t), kernel, bias


class HiddenProduct:
    """The product of the hidden state with the recurrent kernel.

    Args:
        kernel: `(units, blocks * units)`.
        factors: `(blocks, batch, units)`, the dropout of each block, or `None`.
    """

    def __init__(self, kernel, factors):
        units = kernel.shape[0]
        self._kernel, self._factors = kernel, factors
        self._blocks = kernel.reshape(units, -1, units)

    def of(self, hidden):
        """Returns the product of one step, `(batch, blocks * units)`."""
        if self._factors is None:
            return hidden @ self._kernel
        dropped = hidden * self._factors
        product = jnp.einsum("kbu,ukv->bkv", dropped, self._blocks)
        return product.reshape(hidden.shape[0], -1)

    def back(self, product):
        """Returns the gradient of a step from the gradient of its product."""
        if self._factors is None:
            return product @ self._kernel.T
        of_blocks = jnp.einsum("bkv,ukv->kbu", self._parted(product), self._blocks)
        return (of_blocks * self._factors).sum(0)

    def zeros(self):
        """Returns a zero gradient of the kernel, to add to."""
        return jnp.zeros_like(self._kernel)

    def add(self, gradient, hidden, product):
        """Adds one step to the gradient of the kernel."""
        if self._factors is None:
            return gradient + hidden.T @ product
        dropped = hidden * self._factors
        added = jnp.einsum("kbu,bkv->ukv", dropped, self._parted(product))
        return gradient + added.reshape(gradient.shape)

    def _parted(self, product):
        """Splits `(batch, blocks * units)` into `(batch, blocks, units)`."""
        return product.reshape(product.shape[0], *self._blocks.shape[1:])
