"""The LSTM on JAX as one operation that returns every signal.

The backward pass is written out. It needs only the signals, so nothing else is kept
from the forward pass, and a signal without a gradient costs nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from keras_gates.backend import jax_steps as steps
from keras_gates.backend.slopes import SLOPES


@functools.partial(jax.jit, static_argnums=8)
def _run(inputs, hidden, cell, kernel, recurrent, bias, mask, factors, functions):
    activation, gate = (functools.partial(steps.applied, f) for f in functions)
    from_inputs = steps.InputProduct(kernel, bias)
    from_hidden = steps.HiddenProduct(recurrent, factors)

    def step(t, state):
        hidden, cell, signals = state
        total = from_inputs.of(steps.at(inputs, t)) + from_hidden.of(hidden)
        i, f, candidate, o = jnp.split(total, 4, axis=-1)
        i, f, o, candidate = gate(i), gate(f), gate(o), activation(candidate)
        real = steps.unmasked(mask, t)
        cell = steps.where(real, f * cell + i * candidate, cell)
        hidden = steps.where(real, o * activation(cell), hidden)
        blocks = (steps.where(real, block, 0) for block in (i, f, candidate, o))
        values = *blocks, cell, hidden
        signals = [steps.put(s, v, t) for s, v in zip(signals, values, strict=True)]
        return hidden, cell, signals

    shape = *inputs.shape[:2], hidden.shape[-1]
    empty = [jnp.zeros(shape, inputs.dtype) for _ in range(6)]
    return tuple(lax.fori_loop(0, shape[1], step, (hidden, cell, empty))[2])


@functools.partial(jax.jit, static_argnums=0)
def _run_back(functions, signals, arguments, cotangents):
    activation, gate = functions
    inputs, first_hidden, first_cell, kernel, recurrent, bias, mask, factors = arguments
    *_, cells, hiddens = signals
    *of_blocks, of_cell, of_hidden = cotangents
    from_inputs = steps.InputProduct(kernel, bias)
    from_hidden = steps.HiddenProduct(recurrent, factors)
    both_known = activation in SLOPES and gate in SLOPES
    time = inputs.shape[1]

    def step(number, state):
        d_hidden, d_cell, of_inputs, of_recurrent = state
        t = time - 1 - number
        i, f, candidate, o = (steps.at(signal, t) for signal in signals[:4])
        now, cell = steps.at(inputs, t), steps.at(cells, t)
        hidden_before = steps.before(hiddens, first_hidden, t)
        cell_before = steps.before(cells, first_cell, t)
        totals: list[Any] = [None] * 4
        if not both_known:
            total = from_inputs.of(now) + from_hidden.of(hidden_before)
            totals = jnp.split(total, 4, axis=-1)
        d_hidden = steps.plus(d_hidden, of_hidden, t)
        d_cell = steps.plus(d_cell, of_cell, t)
        shown = steps.applied(activation, cell)
        through = d_cell + d_hidden * o * steps.slope(activation, shown, cell)
        of_gates = through * candidate, through * cell_before, through * i
        of_signals = *of_gates, d_hidden * shown
        d_total = jnp.concatenate(
            [
                steps.plus(of_signal, of_block, t) * steps.slope(function, block, total)
                for of_signal, of_block, function, block, total in zip(
                    of_signals,
                    of_blocks,
                    (gate, gate, activation, gate),
                    (i, f, candidate, o),
                    totals,
                    strict=True,
                )
            ],
            axis=-1,
        )
        real = steps.unmasked(mask, t)
        d_total = steps.where(real, d_total, 0)
        of_inputs = from_inputs.add(of_inputs, now, d_total, t)
        of_recurrent = from_hidden.add(of_recurrent, hidden_before, d_total)
        d_hidden = steps.where(real, from_hidden.back(d_total), d_hidden)
        d_cell = steps.where(real, through * f, d_cell)
        return d_hidden, d_cell, of_inputs, of_recurrent

    start = (
        jnp.zeros_like(first_hidden),
        jnp.zeros_like(first_cell),
        from_inputs.zeros(inputs),
        from_hidden.zeros(),
    )
    d_hidden, d_cell, of_inputs, of_recurrent = lax.fori_loop(0, time, step, start)
    d_inputs, d_kernel, d_bias = of_inputs
    return d_inputs, d_hidden, d_cell, d_kernel, of_recurrent, d_bias, None, None


@functools.partial(jax.custom_vjp, nondiff_argnums=(8,))
def _lstm(inputs, hidden, cell, kernel, recurrent, bias, mask, factors, functions):
    return _run(inputs, hidden, cell, kernel, recurrent, bias, mask, factors, functions)


def _forward(*arguments):
    *tensors, functions = arguments
    values = steps.values_of(tensors)
    signals = _run(*values, functions)
    return signals, (signals, values)


def _backward(functions, kept, cotangents):
    return _run_back(functions, *kept, steps.cotangents_of(cotangents))


_lstm.defvjp(_forward, _backward, symbolic_zeros=True)


def lstm(inputs, states, weights, mask=None, factors=None, wanted=6) -> tuple:
    """Runs an LSTM.

    Args:
        inputs: `(batch, time, features)`, in the order in which they are read.
        states: `[hidden, cell]`, each `(batch, units)`.
        weights: The weights of the cell, with its activations. Without a `kernel`,
            `inputs` are already its product with the inputs.
        mask: `(batch, time)`, true where a step is unmasked, or `None`.
        factors: `(4, batch, units)`, the dropout of the hidden state, or `None`.
        wanted: The number of signals that are wanted, counted from the last one.

    Returns:
        The wanted ones of input, forget, candidate, output, cell and hidden, each
        `(batch, time, units)`, and the states after the last step. At a masked step the
        states are held and the others are zero.
    """
    functions = weights.activation, weights.recurrent_activation
    signals = _lstm(
        inputs,
        *states,
        weights.kernel,
        weights.recurrent_kernel,
        weights.bias,
        mask,
        factors,
        functions,
    )
    return signals[6 - wanted :], [signals[5][:, -1], signals[4][:, -1]]
