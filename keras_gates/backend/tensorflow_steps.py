"""What the kernels on TensorFlow share: time-major loops, products and slopes."""

from __future__ import annotations

import tensorflow as tf
from keras import activations

from keras_gates.backend.slopes import SLOPES

_OWN = {activations.sigmoid: tf.sigmoid, activations.tanh: tf.tanh}


def applied(function, total):
    """Returns what an activation returns."""
    return tf.cast(_OWN.get(function, function)(total), total.dtype)


def slope(function, output, total):
    """Returns the derivative of an activation.

    Args:
        function: The activation.
        output: What it returned.
        total: What it took; may be `None` where its derivative is in `SLOPES`.
    """
    if function in SLOPES:
        return tf.cast(SLOPES[function](output), output.dtype)
    with tf.GradientTape() as tape:
        tape.watch(total)
        output = applied(function, total)
    return tape.gradient(output, total)


def forwards(step, time, carry, width):
    """Runs a loop from the first step to the last.

    Args:
        step: Takes the number of a step and the tensors that are carried on; returns
            those, and what is kept of the step, `(batch, width)`.
        time: The number of steps.
        carry: The tensors that are carried on at first.
        width: How many values are kept of each step.

    Returns:
        What is carried at last, and what was kept, `(time, batch, width)`.
    """
    kept = tf.TensorArray(carry[0].dtype, time, element_shape=(None, width))

    def body(t, carry, kept):
        carry, values = step(t, *carry)
        return t + 1, carry, kept.write(t, values)

    state = tf.constant(0), tuple(carry), kept
    _, carry, kept = tf.while_loop(
        lambda t, *_: t < time, body, state, parallel_iterations=1
    )
    return carry, kept.stack()


def backwards(step, time, carry, width):
    """Runs the same from the last step to the first."""
    kept = tf.TensorArray(carry[0].dtype, time, element_shape=(None, width))

    def body(t, carry, kept):
        carry, values = step(t, *carry)
        return t - 1, carry, kept.write(t, values)

    state = time - 1, tuple(carry), kept
    _, carry, kept = tf.while_loop(
        lambda t, *_: t >= 0, body, state, parallel_iterations=1
    )
    return carry, kept.stack()


def turned(sequence):
    """Exchanges the axes of batch and time."""
    return tf.transpose(sequence, (1, 0, 2))


def turned_back(signal, inputs):
    """Exchanges the axes of time and batch, whose sizes a loop does not know."""
    signal = turned(signal)
    signal.set_shape((*inputs.shape[:2], None))
    return signal


def flat(sequence):
    """Joins the axes of time and batch."""
    return tf.reshape(sequence, (-1, sequence.shape[-1]))


def before(sequence, first):
    """Shifts the states of all steps, `(time, batch, units)`, by one step."""
    return tf.concat([first[None], sequence[:-1]], axis=0)


def where(real, value, other):
    """Chooses by where steps are unmasked; `None` stands for everywhere."""
    return value if real is None else tf.where(real, value, tf.cast(other, value.dtype))


class InputProduct:
    """The product of the inputs with the kernel, and the bias.

    Args:
        inputs: `(time, batch, features)`.
        kernel: `(features, width)`, or `None` if the inputs are the product already.
        bias: `(width,)`, or `None`.
    """

    def __init__(self, inputs, kernel, bias):
        self._inputs, self._kernel, self._bias = inputs, kernel, bias

    def of_all_steps(self):
        """Returns the product, `(time, batch, width)`."""
        product = self._inputs
        if self._kernel is not None:
            shape = tf.shape(product)
            product = tf.matmul(flat(product), self._kernel)
            product = tf.reshape(product, (shape[0], shape[1], self._kernel.shape[-1]))
        return product if self._bias is None else product + self._bias

    def gradients(self, product):
        """Returns those of the inputs, the kernel and the bias; none for a `None`.

        Args:
            product: The gradient of the product, `(time, batch, width)`.
        """
        found = [product]
        if self._kernel is not None:
            of_inputs = tf.matmul(flat(product), self._kernel, transpose_b=True)
            found = [tf.reshape(of_inputs, tf.shape(self._inputs))]
            found.append(tf.matmul(flat(self._inputs), flat(product), transpose_a=True))
        return found if self._bias is None else [*found, tf.reduce_sum(product, (0, 1))]


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
        """Returns the gradient of a step from that of its product."""
        if self._factors is None:
            return tf.matmul(product, self._kernel, transpose_b=True)
        parted = tf.reshape(product, (-1, *self._blocks.shape[1:]))
        of_blocks = tf.einsum("bkv,ukv->kbu", parted, self._blocks)
        return tf.reduce_sum(of_blocks * self._factors, 0)

    def gradient(self, hidden, product):
        """Returns the gradient of the kernel.

        Args:
            hidden: What all steps started from, `(time, batch, units)`.
            product: The gradient of their products, `(time, batch, blocks * units)`.
        """
        if self._factors is None:
            return tf.matmul(flat(hidden), flat(product), transpose_a=True)
        shape = tf.shape(product)
        parted = tf.reshape(product, (shape[0], shape[1], *self._blocks.shape[1:]))
        dropped = hidden[None] * self._factors[:, None]
        of_blocks = tf.einsum("ktbu,tbkv->ukv", dropped, parted)
        return tf.reshape(of_blocks, self._kernel.shape)


def differentiated_once(tensors):
    """Returns gradients, which refuse to be differentiated in turn."""

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
        function: Takes the arguments, and returns tensors and what takes their
            cotangents and returns the gradients of all arguments that are not `None`.
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
