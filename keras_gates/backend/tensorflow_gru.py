"""The GRU on TensorFlow as one operation that returns every signal.

It is written like the LSTM in `tensorflow_lstm`. The reset gate acts on the `past`:
with `reset_after` the product of the hidden state with the recurrent kernel, otherwise
the hidden state itself.
"""

from __future__ import annotations

import tensorflow as tf

from keras_gates.backend import tensorflow_steps as steps
from keras_gates.backend.slopes import SLOPES


def gru(inputs, states, weights, mask=None, factors=None, wanted=4) -> tuple:
    """Runs a GRU.

    Args:
        inputs: `(batch, time, features)`, in the order in which they are read.
        states: `[hidden]`, `(batch, units)`.
        weights: The weights of the cell, with its activations. Without a `kernel`,
            `inputs` are already its product with the inputs.
        mask: `(batch, time)`, true where a step is unmasked, or `None`.
        factors: `(3, batch, units)`, the dropout of the hidden state, or `None`.
        wanted: The number of signals that are wanted, counted from the last one.

    Returns:
        The wanted ones of update, reset, candidate and hidden, each
        `(batch, time, units)`, and the states after the last step. At a masked step the
        state is held and the others are zero.
    """
    units, bias, past_bias = weights.recurrent_kernel.shape[0], weights.bias, None
    if bias is not None and weights.reset_after:
        # The two biases of a gate occur only as their sum.
        first, second = tf.unstack(bias)
        past_bias = second[2 * units :]
        gates = first[: 2 * units] + second[: 2 * units]
        bias = tf.concat([gates, first[2 * units :]], axis=0)
    options = weights.activation, weights.recurrent_activation, weights.reset_after

    def run(*arguments):
        return _run(arguments, mask, factors, options, wanted)

    arguments = (
        *(steps.turned(inputs), *states, weights.kernel),
        *(weights.recurrent_kernel, bias, past_bias),
    )
    *signals, hidden = steps.with_gradient(run, arguments)
    return signals, [hidden]


def _run(arguments, mask, factors, options, wanted):
    inputs, first, kernel, recurrent, bias, past_bias = arguments
    activation, gate, reset_after = options
    units, time = recurrent.shape[0], tf.shape(inputs)[0]
    from_inputs = steps.InputProduct(inputs, kernel, bias)
    of_gates, of_past = _products(recurrent, factors)
    of_all = steps.HiddenProduct(recurrent, factors)
    keeps_totals = not (activation in SLOPES and gate in SLOPES)

    def step(t, hidden):
        real = steps.unmasked(mask, t)
        gates, candidate = tf.split(from_inputs.of(t), [2 * units, units], axis=-1)
        if reset_after:
            add, past = tf.split(of_all.of(hidden), [2 * units, units], axis=-1)
            past = past if past_bias is None else past + past_bias
        else:
            add, past = of_gates.of(hidden), hidden
        gates = gates + add
        z, r = tf.split(steps.applied(gate, gates), 2, axis=-1)
        reset = r * past
        total = candidate + (reset if reset_after else of_past.of(reset))
        candidate = steps.applied(activation, total)
        hidden = steps.where(real, candidate + z * (hidden - candidate), hidden)
        kept = [steps.where(real, one, 0.0) for one in (z, r, candidate)]
        kept += [past] * reset_after + [gates, total] * keeps_totals
        return (hidden,), kept

    widths = [units] * (3 + reset_after) + [2 * units, units] * keeps_totals
    last, kept, (hiddens,) = steps.forwards(step, time, (first,), widths)
    blocks, totals = kept[:3], kept[3 + reset_after :]
    pasts = kept[3] if reset_after else hiddens

    def gradient(*cotangents):
        *given, of_last = cotangents
        of_z, of_r, of_candidate, of_hidden = [None] * (4 - wanted) + given

        def back(t, d_hidden, of_inputs, of_recurrent, of_past_bias):
            real = steps.unmasked(mask, t)
            z, r, candidate = (block.read(t) for block in blocks)
            before, past = hiddens.read(t), pasts.read(t)
            took = [None] * 3
            if totals:
                took = [*tf.split(totals[0].read(t), 2, axis=-1), totals[1].read(t)]
            d_hidden = steps.plus(d_hidden, of_hidden, t)
            kept = d_hidden * z
            d_candidate = steps.gradient_through(
                *(activation, candidate, took[2]),
                steps.plus(d_hidden - kept, of_candidate, t),
            )
            # The gradient of the product with the reset gate.
            d_reset = d_candidate if reset_after else of_past.back(d_candidate)
            d_z = steps.plus(d_hidden * (before - candidate), of_z, t)
            d_z = steps.gradient_through(gate, z, took[0], d_z)
            d_r = steps.plus(d_reset * past, of_r, t)
            d_r = steps.gradient_through(gate, r, took[1], d_r)
            d_past = steps.where(real, d_reset * r, 0.0)
            d_gates = steps.where(real, tf.concat([d_z, d_r], axis=-1), 0.0)
            d_candidate = steps.where(real, d_candidate, 0.0)
            d_total = tf.concat([d_gates, d_candidate], axis=-1)
            of_inputs = from_inputs.add(of_inputs, t, d_total)
            if reset_after:
                d_product = tf.concat([d_gates, d_past], axis=-1)
                d_before = kept + of_all.back(d_product)
                of_recurrent = [of_all.add(of_recurrent[0], before, d_product)]
                # It is summed over the batch at the end.
                of_past_bias = [one + d_past for one in of_past_bias]
            else:
                d_before = kept + d_past + of_gates.back(d_gates)
                of_recurrent = [
                    of_gates.add(of_recurrent[0], before, d_gates),
                    of_past.add(of_recurrent[1], r * before, d_candidate),
                ]
            d_hidden = steps.where(real, d_before, d_hidden)
            return (d_hidden, of_inputs, of_recurrent, of_past_bias), [d_total]

        products = [of_all] if reset_after else [of_gates, of_past]
        carry = (
            of_last,
            from_inputs.zeros(tf.shape(inputs)[1], 3 * units),
            [product.zeros() for product in products],
            [tf.zeros_like(first)] * (past_bias is not None),
        )
        carry, [d_totals] = steps.backwards(back, time, carry, [3 * units])
        d_hidden, of_inputs, of_recurrent, of_past_bias = carry
        d_inputs, *d_others = from_inputs.gradients(of_inputs, d_totals)
        d_kernel = d_others[:1] if kernel is not None else []
        d_bias = d_others[len(d_kernel) :]
        d_recurrent = tf.concat(of_recurrent, axis=1)
        d_past_bias = [tf.reduce_sum(one, 0) for one in of_past_bias]
        return [d_inputs, d_hidden, *d_kernel, d_recurrent, *d_bias, *d_past_bias]

    signals = [*blocks, hiddens][4 - wanted :]
    return [*(steps.all_steps(one, inputs) for one in signals), *last], gradient


def _products(recurrent, factors):
    """Returns the products of the gates and of the candidate."""
    units = recurrent.shape[0]
    kernels = tf.split(recurrent, [2 * units, units], axis=-1)
    parts = (None, None) if factors is None else (factors[:2], factors[2:])
    return [steps.HiddenProduct(*pair) for pair in zip(kernels, parts, strict=True)]
