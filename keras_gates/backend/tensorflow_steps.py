"""Code that the kernels on TensorFlow share: loops, products and slopes."""

from __future__ import annotations

import tensorflow as tf
from keras import activations

from keras_gates.backend.slopes import SLOPES

_OWN = {activations.sigmoid: tf.sigmoid, activations.tanh: tf.tanh}
_GRADIENTS = {
    activations.sigmoid: tf.raw_ops.SigmoidGrad,
    activations.tanh: tf.raw_ops.TanhGrad,
}


def applied(function, total):
    """Returns the result of an activation."""
    return tf.cast(_OWN.get(function, function)(total), total.dtype)


def slope(function, output, total):
    """Returns the derivative of an activation.

    Args:
        function: The activation.
        output: Its result.
        total: Its argument; may be `None` where its derivative is in `SLOPES`.
    """
    if function in SLOPES:
        return tf.cast(SLOPES[function](output), output.dtype)
    with tf.GradientTape() as tape:
        tape.watch(total)
        output = applied(function, total)
    return tape.gradient(output, total)


def gradient_through(function, output, total, gradient):
    """Returns the gradient of an activation's argument from that of its result.

    Args:
        function: The activation.
        output: Its result.
        total: Its argument; may be `None` where its derivative is in `SLOPES`.
        gradient: The gradient of its result.
    """
    if function in _GRADIENTS:
        return _GRADIENTS[function](y=output, dy=gradient)
    return slope(function, output, total) * gradient


def forwards(step, time, carry, widths) -> tuple:
    """Runs a loop from the first step to the last.

    The values to keep stay in pieces of one step, which fit into the cache and whose
    memory is reused. Only wanted signals are made into a tensor of all steps.

    Args:
        step: Takes the number of a step and the states before it; returns the states
            after it, and the list of values to keep from it, each `(batch, width)`.
        time: The number of steps.
        carry: The states before the first step.
        widths: The width of each value that is kept.

    Returns:
        The states after the last step, a `TensorArray` of each value that was kept, and
        a `TensorArray` of each state, which begins with the initial state.
    """
    kept = [_pieces(carry[0], time, width) for width in widths]
    states = [_pieces(one, time + 1).write(0, one) for one in carry]

    def body(t, carry, kept, states):
        carry, values = step(t, *carry)
        states = [one.write(t + 1, s) for one, s in zip(states, carry, strict=True)]
        kept = [one.write(t, value) for one, value in zip(kept, values, strict=True)]
        return t + 1, carry, kept, states

    state = tf.constant(0), tuple(carry), kept, states
    _, *results = tf.while_loop(lambda t, *_: t < time, body, state)
    return tuple(results)


def backwards(step, time, carry, widths) -> tuple:
    """Runs a loop from the last step to the first.

    Args:
        step: As for `forwards`, with any carried values instead of the states.
        time: The number of steps.
        carry: The carried values at the last step.
        widths: The width of each value that is kept.

    Returns:
        The carried values in the end, and a `TensorArray` of each value that was kept.
    """
    kept = [_pieces(carry[0], time, width) for width in widths]

    def body(t, carry, kept):
        carry, values = step(t, *carry)
        kept = [one.write(t, value) for one, value in zip(kept, values, strict=True)]
        return t - 1, carry, kept

    state = time - 1, tuple(carry), kept
    _, *results = tf.while_loop(lambda t, *_: t >= 0, body, state)
    return tuple(results)


def _pieces(like, time, width=None):
    shape = (None, like.shape[-1] if width is None else width)
    return tf.TensorArray(like.dtype, time, element_shape=shape, clear_after_read=False)


def all_steps(pieces, inputs):
    """Returns a tensor `(batch, time, width)` of the pieces of all steps.

    Args:
        pieces: A `TensorArray` of all steps, or of the states with the initial one.
        inputs: `(time, batch, features)`, for the sizes, which a loop does not know.
    """
    steps = turned(pieces.stack()[-tf.shape(inputs)[0] :])
    steps.set_shape((inputs.shape[1], inputs.shape[0], None))
    return steps


def turned(sequence):
    """Exchanges the axes of batch and time."""
    return tf.transpose(sequence, (1, 0, 2))


def where(real, value, other):
    """Chooses `value` where a step is unmasked; `None` means everywhere."""
    return value if real is None else tf.where(real, value, tf.cast(other, value.dtype))


def unmasked(mask, t):
    """Returns where a step is unmasked, `(batch, 1)`, or `None`."""
    return None if mask is None else tf.gather(mask, t, axis=1)[:, None]


def plus(value, sequence, t):
    """Adds a step of a gradient, `(batch, time, width)`, which may be `None`."""
    return value if sequence is None else value + tf.gather(sequence, t, axis=1)


class InputProduct:
    """The product of the inputs with the kernel, and the bias.

    Args:
        inputs: `(time, batch, features)`.
        kernel: `(features, width)`, or `None` if the inputs are already the product.
        bias: `(width,)`, or `None`.
    """

    def __init__(self, inputs, kernel, bias):
        self._inputs, self._kernel, self._bias = inputs, kernel, bias

    def of(self, t):
        """Returns the product of one step, `(batch, width)`."""
        product = tf.gather(self._inputs, t)
        if self._kernel is not None:
            product = tf.matmul(product, self._kernel)
        return product if self._bias is None else tf.nn.bias_add(product, self._bias)

    def zeros(self, batch, width):
        """Returns zero gradients of the kernel and the bias, to add to."""
        found = [] if self._kernel is None else [tf.zeros_like(self._kernel)]
        # The gradient of the bias is summed over the batch at the end.
        if self._bias is not None:
            found.append(tf.zeros((batch, width), self._inputs.dtype))
        return found

    def add(self, gradients, t, product):
        """Adds one step to these gradients.

        Args:
            gradients: The gradients of the steps after it.
            t: The number of the step.
            product: The gradient of its product, `(batch, width)`.
        """
        found = []
        if self._kernel is not None:
            now = tf.gather(self._inputs, t)
            found = [gradients[0] + tf.matmul(now, product, transpose_a=True)]
        return found if self._bias is None else [*found, gradients[-1] + product]

    def gradients(self, found, products):
        """Returns the gradients of inputs, kernel and bias; none for a `None`.

        Args:
            found: The gradients of the kernel and the bias, after the first step.
            products: A `TensorArray` of the gradients of the products.
        """
        of_inputs = products.stack()
        if self._kernel is not None:
            of_inputs = products.concat()
            of_inputs = tf.matmul(of_inputs, self._kernel, transpose_b=True)
            of_inputs = tf.reshape(of_inputs, tf.shape(self._inputs))
        if self._bias is not None:
            found = [*found[:-1], tf.reduce_sum(found[-1], 0)]
        return [of_inputs, *found]


class HiddenProduct:
    """The product of the hidden state with the recurrent kernel.

    Args:
        kernel: `(units, blocks * units)`.
        factors: `(blocks, batch, units)`, the dropout of each block, or `None`.
    """

    def __init__(self, kernel, factors):
        units, width = kernel.shape
        self._kernel, self._factors = kernel, factors
        self._blocks = tf.reshape(kernel, (units, width // units, units))

    def of(self, hidden):
        """Returns the product of one step, `(batch, blocks * units)`."""
        if self._factors is None:
            return tf.matmul(hidden, self._kernel)
        dropped = hidden * self._factors
        product = tf.einsum("kbu,ukv->bkv", dropped, self._blocks)
        return tf.reshape(product, (-1, self._kernel.shape[-1]))

    def back(self, product):
        """Returns the gradient of a step from the gradient of its product."""
        if self._factors is None:
            return tf.matmul(product, self._kernel, transpose_b=True)
        of_blocks = tf.einsum("bkv,ukv->kbu", self._parted(product), self._blocks)
        return tf.reduce_sum(of_blocks * self._factors, 0)

    def zeros(self):
        """Returns a zero gradient of the kernel, to add to."""
        return tf.zeros_like(self._kernel)

    def add(self, gradient, hidden, product):
        """Adds one step to the gradient of the kernel."""
        if self._factors is None:
            return gradient + tf.matmul(hidden, product, transpose_a=True)
        dropped = hidden * self._factors
        added = tf.einsum("kbu,bkv->ukv", dropped, self._parted(product))
        return gradient + tf.reshape(added, self._kernel.shape)

    def _parted(self, product):
        """Splits `(batch, blocks * units)` into `(batch, blocks, units)`."""
        return tf.reshape(product, (-1, *self._blocks.shape[1:]))


def differentiated_once(tensors):
    """Returns gradients that raise an error if they are differentiated again."""

    @tf.custom_gradient
    def same(*tensors):
        def refuse(*_):
            raise RuntimeError(
                '`kernel="fast"` has no second derivatives on TensorFlow. Use the '
                'layer with `kernel="keras"`.'
            )

        return [tf.identity(tensor) for tensor in tensors], refuse

    return same(*tensors)


def with_gradient(function, arguments):
    """Calls a function that has a gradient of its own.

    Args:
        function: Takes the arguments, and returns tensors and a function. This takes
            their cotangents, and returns the gradients of the arguments but `None`.
        arguments: Tensors or `None`.
    """
    given = [one for one in arguments if one is not None]

    @tf.custom_gradient
    def call(*tensors):
        given = iter(tensors)
        every = [None if one is None else next(given) for one in arguments]
        outputs, gradient = function(*every)
        return outputs, lambda *of: differentiated_once(gradient(*of))

    return call(*given)
