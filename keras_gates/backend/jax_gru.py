"""The GRU on JAX as one operation that returns every signal.

It is written like the LSTM in `jax_lstm`. The reset gate acts on the `past`: with
`reset_after` the product of the hidden state with the recurrent kernel, otherwise the
hidden state itself.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from keras_gates.backend import jax_steps as steps
from keras_gates.backend.slopes import SLOPES


class _Step:
    """The part that is the same at every step: the products with the weights."""

    def __init__(self, arguments, options):
        inputs, hidden, kernel, recurrent, bias, past_bias, mask, factors = arguments
        self.activation, self.gate, self.reset_after = options
        self._past_bias = past_bias
        self._units = units = hidden.shape[-1]
        self.from_inputs = steps.InputProduct(kernel, bias)
        some = (lambda part: None) if factors is None else factors.__getitem__
        of = steps.HiddenProduct
        self.of_gates = of(recurrent[:, : 2 * units], some(slice(0, 2)))
        self.of_past = of(recurrent[:, 2 * units :], some(slice(2, 3)))
        self.of_all = of(recurrent, factors)

    def totals(self, now, hidden):
        """Returns the totals of gates and candidate, the gates, and the past."""
        total = self.from_inputs.of(now)
        of_gates, candidate = total[:, : 2 * self._units], total[:, 2 * self._units :]
        if self.reset_after:
            recurrent = self.of_all.of(hidden)
            of_gates = of_gates + recurrent[:, : 2 * self._units]
            past = recurrent[:, 2 * self._units :]
            past = past if self._past_bias is None else past + self._past_bias
        else:
            of_gates, past = of_gates + self.of_gates.of(hidden), hidden
        z_total, r_total = jnp.split(of_gates, 2, axis=-1)
        z, r = (steps.applied(self.gate, one) for one in (z_total, r_total))
        reset = r * past
        candidate = candidate + (reset if self.reset_after else self.of_past.of(reset))
        return (z_total, r_total, candidate), (z, r), past


@functools.partial(jax.jit, static_argnums=1)
def _run(arguments, options):
    """Returns the signals, and with `reset_after` the past of every step."""
    inputs, hidden, mask = arguments[0], arguments[1], arguments[6]
    cell = _Step(arguments, options)

    def step(t, state):
        hidden, signals = state
        totals, (z, r), past = cell.totals(steps.at(inputs, t), hidden)
        candidate = steps.applied(cell.activation, totals[2])
        real = steps.unmasked(mask, t)
        hidden = steps.where(real, candidate + z * (hidden - candidate), hidden)
        blocks = (steps.where(real, block, 0) for block in (z, r, candidate))
        values = (*blocks, hidden, past)[: len(signals)]
        signals = [steps.put(s, v, t) for s, v in zip(signals, values, strict=True)]
        return hidden, signals

    shape = *inputs.shape[:2], hidden.shape[-1]
    number = 5 if cell.reset_after else 4
    empty = [jnp.zeros(shape, inputs.dtype) for _ in range(number)]
    return tuple(lax.fori_loop(0, shape[1], step, (hidden, empty))[1])


@functools.partial(jax.jit, static_argnums=0)
def _run_back(options, signals, arguments, cotangents):
    inputs, first, recurrent, mask = (arguments[n] for n in (0, 1, 3, 6))
    past_bias = arguments[5]
    of_z, of_r, of_candidate, of_hidden = cotangents
    cell = _Step(arguments, options)
    both_known = cell.activation in SLOPES and cell.gate in SLOPES
    time = inputs.shape[1]

    def step(number, state):
        d_hidden, of_inputs, of_recurrent, of_past_bias = state
        t = time - 1 - number
        z, r, candidate = (steps.at(signal, t) for signal in signals[:3])
        now, before = steps.at(inputs, t), steps.before(signals[3], first, t)
        totals = [None] * 3 if both_known else cell.totals(now, before)[0]
        past = steps.at(signals[4], t) if cell.reset_after else before
        real = steps.unmasked(mask, t)

        def through(function, gradient, output, total):
            gradient = gradient * steps.slope(function, output, total)
            return steps.where(real, gradient, 0)

        d_hidden = steps.plus(d_hidden, of_hidden, t)
        d_z = steps.plus(d_hidden * (before - candidate), of_z, t)
        d_z = through(cell.gate, d_z, z, totals[0])
        d_candidate = steps.plus(d_hidden * (1 - z), of_candidate, t)
        d_candidate = through(cell.activation, d_candidate, candidate, totals[2])
        d_reset = d_candidate if cell.reset_after else cell.of_past.back(d_candidate)
        d_r = steps.plus(d_reset * past, of_r, t)
        d_r = through(cell.gate, d_r, r, totals[1])
        d_gates, d_past = jnp.concatenate([d_z, d_r], axis=-1), d_reset * r
        kept = d_hidden * steps.where(real, z, 1)
        if cell.reset_after:
            d_product = jnp.concatenate([d_gates, d_past], axis=-1)
            d_before = kept + cell.of_all.back(d_product)
            of_recurrent = cell.of_all.add(of_recurrent, before, d_product)
            if of_past_bias is not None:
                of_past_bias = of_past_bias + d_past.sum(0)
        else:
            d_before = kept + d_past + cell.of_gates.back(d_gates)
            of_gates, of_past = of_recurrent
            of_gates = cell.of_gates.add(of_gates, before, d_gates)
            of_past = cell.of_past.add(of_past, r * before, d_candidate)
            of_recurrent = of_gates, of_past
        d_total = jnp.concatenate([d_gates, d_candidate], axis=-1)
        of_inputs = cell.from_inputs.add(of_inputs, now, d_total, t)
        return d_before, of_inputs, of_recurrent, of_past_bias

    none_yet = cell.of_all.zeros()
    if not cell.reset_after:
        none_yet = cell.of_gates.zeros(), cell.of_past.zeros()
    start = (
        jnp.zeros_like(first),
        cell.from_inputs.zeros(inputs),
        none_yet,
        None if past_bias is None else jnp.zeros_like(past_bias),
    )
    found = lax.fori_loop(0, time, step, start)
    d_hidden, (d_inputs, d_kernel, d_bias), d_recurrent, d_past_bias = found
    if not cell.reset_after:
        d_recurrent = jnp.concatenate(d_recurrent, axis=-1).reshape(recurrent.shape)
    gradients = d_inputs, d_hidden, d_kernel, d_recurrent, d_bias, d_past_bias
    return *gradients, None, None


@functools.partial(jax.custom_vjp, nondiff_argnums=(8,))
def _gru(inputs, hidden, kernel, recurrent, bias, past_bias, mask, factors, options):
    arguments = inputs, hidden, kernel, recurrent, bias, past_bias, mask, factors
    return _run(arguments, options)[:4]


def _forward(*arguments):
    *tensors, options = arguments
    values = tuple(steps.values_of(tensors))
    signals = _run(values, options)
    return signals[:4], (signals, values)


def _backward(options, kept, cotangents):
    return _run_back(options, *kept, steps.cotangents_of(cotangents))


_gru.defvjp(_forward, _backward, symbolic_zeros=True)


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
        first, second = bias
        past_bias = second[2 * units :]
        gates = first[: 2 * units] + second[: 2 * units]
        bias = jnp.concatenate([gates, first[2 * units :]])
    options = weights.activation, weights.recurrent_activation, weights.reset_after
    signals = _gru(
        inputs,
        *states,
        weights.kernel,
        weights.recurrent_kernel,
        bias,
        past_bias,
        mask,
        factors,
        options,
    )
    return signals[4 - wanted :], [signals[3][:, -1]]
