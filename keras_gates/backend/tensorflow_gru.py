"""The GRU on TensorFlow as one operation that returns every signal.

Written as the LSTM beside it is. The reset gate acts on the `past`: with `reset_after`
the product of the hidden state with the recurrent kernel, else the hidden state itself.
"""

from __future__ import annotations

import tensorflow as tf

from keras_gates.backend import tensorflow_steps as steps
from keras_gates.backend.slopes import SLOPES


def gru(inputs, states, weights, mask=None, factors=None) -> tuple:
    """Runs a GRU.

    Args:
        inputs: `(batch, time, features)`, in the order in which they are read.
        states: `[hidden]`, `(batch, units)`.
        weights: Those of the cell, with its activations. Without a `kernel`, `inputs`
            are its product with the inputs already.
        mask: `(batch, time)`, true where a step is unmasked, or `None`.
        factors: `(3, batch, units)`, the dropout of the hidden state, or `None`.

    Returns:
        Update, reset, candidate and hidden, each `(batch, time, units)`. At a masked
        step the state is held and the others are zero.
    """
    units, bias, past_bias = weights.recurrent_kernel.shape[0], weights.bias, None
    if bias is not None and weights.reset_after:
        # Those of the gates are only ever added to each other.
        first, second = tf.unstack(bias)
        past_bias = second[2 * units :]
        gates = first[: 2 * units] + second[: 2 * units]
        bias = tf.concat([gates, first[2 * units :]], axis=0)
    options = weights.activation, weights.recurrent_activation, weights.reset_after
    real = None if mask is None else tf.transpose(mask)[..., None]

    def run(*arguments):
        return _run(arguments, real, factors, options)

    arguments = (
        *(steps.turned(inputs), *states, weights.kernel),
        *(weights.recurrent_kernel, bias, past_bias),
    )
    signals = steps.with_gradient(run, arguments)
    return tuple(steps.turned_back(signal, inputs) for signal in signals)


def _run(arguments, real, factors, options):
    inputs, first, kernel, recurrent, bias, past_bias = arguments
    activation, gate, reset_after = options
    units, time = recurrent.shape[0], tf.shape(inputs)[0]
    from_inputs = steps.InputProduct(inputs, kernel, bias)
    of_gates, of_past = _products(recurrent, factors)
    of_all = steps.HiddenProduct(recurrent, factors)
    keeps_totals = not (activation in SLOPES and gate in SLOPES)
    all_totals = from_inputs.of_all_steps()

    def step(t, hidden):
        now = None if real is None else real[t]
        gates, candidate = tf.split(all_totals[t], [2 * units, units], axis=-1)
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
        hidden = steps.where(now, candidate + z * (hidden - candidate), hidden)
        kept = [steps.where(now, one, 0.0) for one in (z, r, candidate)]
        kept += [hidden, past, *([gates, total] if keeps_totals else [])]
        return (hidden,), tf.concat(kept, axis=-1)

    width = (8 if keeps_totals else 5) * units
    _, kept = steps.forwards(step, time, (first,), width)
    z, r, candidate, hiddens, pasts, *totals = tf.split(kept, width // units, axis=-1)

    def gradient(of_z, of_r, of_candidate, of_hiddens):
        def slopes(function, block, number):
            total = totals[number] if totals else None
            return steps.where(real, steps.slope(function, block, total), 0.0)

        slope_z, slope_r = slopes(gate, z, 0), slopes(gate, r, 1)
        slope_candidate = slopes(activation, candidate, 2)
        states = steps.before(hiddens, first)
        # How much of the gradient of the hidden state reaches the update gate's total
        # and the candidate's, and of that of the reset past the reset gate's. Then
        # what the signals themselves ask of each.
        into_z, into = slope_z * (states - candidate), slope_candidate * (1 - z)
        into_r = slope_r * pasts
        asked_z, asked_r = slope_z * of_z, slope_r * of_r
        asked = slope_candidate * of_candidate
        keep = steps.where(real, z, 1.0)
        if reset_after:
            # All three follow from the gradient of the hidden state.
            reach = tf.concat([into_z, into * into_r, into * r], axis=-1)
            asked_all = [asked_z, asked_r + asked * into_r, asked * r]
            asked_all = tf.concat(asked_all, axis=-1)

        def back(t, d_hidden):
            d_hidden = d_hidden + of_hiddens[t]
            kept = d_hidden * keep[t]
            d_candidate = asked[t] + into[t] * d_hidden
            if reset_after:
                three = tf.concat([d_hidden] * 3, axis=-1)
                d_product = asked_all[t] + reach[t] * three
                values = tf.concat([d_product, d_candidate], axis=-1)
                return (kept + of_all.back(d_product),), values
            d_past = of_past.back(d_candidate)
            d_z = asked_z[t] + into_z[t] * d_hidden
            d_r = asked_r[t] + into_r[t] * d_past
            d_before = kept + d_past * r[t]
            d_before += of_gates.back(tf.concat([d_z, d_r], axis=-1))
            # The candidate's product has the gradient of its total.
            values = tf.concat([d_z, d_r, d_candidate, d_candidate], axis=-1)
            return (d_before,), values

        carry = (tf.zeros_like(first),)
        (d_hidden,), kept = steps.backwards(back, time, carry, 4 * units)
        d_gates, d_past, d_candidate = tf.split(kept, [2 * units, units, units], -1)
        d_totals = tf.concat([d_gates, d_candidate], axis=-1)
        d_inputs, *d_others = from_inputs.gradients(d_totals)
        d_kernel = d_others[:1] if kernel is not None else []
        d_bias = d_others[len(d_kernel) :]
        seen = states if reset_after else r * states
        d_recurrent = tf.concat(
            [of_gates.gradient(states, d_gates), of_past.gradient(seen, d_past)], axis=1
        )
        d_past_bias = []
        if past_bias is not None:
            d_past_bias = [tf.reduce_sum(d_past, (0, 1))]
        return [d_inputs, d_hidden, *d_kernel, d_recurrent, *d_bias, *d_past_bias]

    return [z, r, candidate, hiddens], gradient


def _products(recurrent, factors):
    """Returns the products of the gates and of the candidate."""
    units = recurrent.shape[0]
    kernels = tf.split(recurrent, [2 * units, units], axis=-1)
    parts = (None, None) if factors is None else (factors[:2], factors[2:])
    return [steps.HiddenProduct(*pair) for pair in zip(kernels, parts, strict=True)]
