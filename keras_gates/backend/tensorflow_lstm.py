"""The LSTM on TensorFlow as one operation that returns every signal.

What is element-wise of the backward pass is computed of all steps at once. One product
and a few sums are left to the loop.
"""

from __future__ import annotations

import tensorflow as tf

from keras_gates.backend import tensorflow_steps as steps
from keras_gates.backend.slopes import SLOPES


def lstm(inputs, states, weights, mask=None, factors=None) -> tuple:
    """Runs an LSTM.

    Args:
        inputs: `(batch, time, features)`, in the order in which they are read.
        states: `[hidden, cell]`, each `(batch, units)`.
        weights: Those of the cell, with its activations. Without a `kernel`, `inputs`
            are its product with the inputs already.
        mask: `(batch, time)`, true where a step is unmasked, or `None`.
        factors: `(4, batch, units)`, the dropout of the hidden state, or `None`.

    Returns:
        Input, forget, candidate, output, cell and hidden, each `(batch, time, units)`.
        At a masked step the states are held and the others are zero.
    """
    functions = weights.activation, weights.recurrent_activation
    real = None if mask is None else tf.transpose(mask)[..., None]

    def run(*arguments):
        return _run(arguments, real, factors, functions)

    arguments = steps.turned(inputs), *states, *weights[:3]
    signals = steps.with_gradient(run, arguments)
    return tuple(steps.turned_back(signal, inputs) for signal in signals)


def _run(arguments, real, factors, functions):
    inputs, first_hidden, first_cell, kernel, recurrent, bias = arguments
    activation, gate = functions
    from_inputs = steps.InputProduct(inputs, kernel, bias)
    from_hidden = steps.HiddenProduct(recurrent, factors)
    units, time = recurrent.shape[0], tf.shape(inputs)[0]
    keeps_totals = not (activation in SLOPES and gate in SLOPES)
    all_totals = from_inputs.of_all_steps()

    def step(t, hidden, cell):
        total = all_totals[t] + from_hidden.of(hidden)
        now = None if real is None else real[t]
        i, f, candidate, o = tf.split(total, 4, axis=-1)
        i, f, o = (steps.applied(gate, one) for one in (i, f, o))
        candidate = steps.applied(activation, candidate)
        cell = steps.where(now, f * cell + i * candidate, cell)
        hidden = steps.where(now, o * steps.applied(activation, cell), hidden)
        blocks = [steps.where(now, one, 0.0) for one in (i, f, candidate, o)]
        kept = [*blocks, cell, hidden, *([total] if keeps_totals else [])]
        return (hidden, cell), tf.concat(kept, axis=-1)

    carry = first_hidden, first_cell
    _, kept = steps.forwards(step, time, carry, (10 if keeps_totals else 6) * units)
    i, f, candidate, o, cells, hiddens, *totals = tf.split(
        kept, kept.shape[-1] // units, axis=-1
    )

    def gradient(of_i, of_f, of_candidate, of_o, of_cells, of_hiddens):
        shown = steps.applied(activation, cells)
        blocks, of_blocks = (i, f, candidate, o), (of_i, of_f, of_candidate, of_o)
        slopes = [
            steps.slope(function, block, total)
            for function, block, total in zip(
                (gate, gate, activation, gate),
                blocks,
                totals or [None] * 4,
                strict=True,
            )
        ]
        # How much of the gradient of the cell (for the output gate, of the hidden
        # state) reaches each total, and what the signals themselves ask of it.
        factors_ = candidate, steps.before(cells, first_cell), i, shown
        reach = [s * one for s, one in zip(slopes, factors_, strict=True)]
        asked = [s * one for s, one in zip(slopes, of_blocks, strict=True)]
        reach, asked = tf.concat(reach, axis=-1), tf.concat(asked, axis=-1)
        reach, asked = steps.where(real, reach, 0.0), steps.where(real, asked, 0.0)
        through = o * steps.slope(activation, shown, cells)
        through = steps.where(real, through, 0.0)
        keep = steps.where(real, f, 1.0)

        def back(t, d_hidden, d_cell):
            d_hidden = d_hidden + of_hiddens[t]
            d_cell = d_cell + of_cells[t] + d_hidden * through[t]
            both = tf.concat([d_cell, d_cell, d_cell, d_hidden], axis=-1)
            d_total = asked[t] + reach[t] * both
            d_before = from_hidden.back(d_total)
            if real is not None:
                d_before = tf.where(real[t], d_before, d_hidden)
            return (d_before, d_cell * keep[t]), d_total

        carry = tf.zeros_like(first_hidden), tf.zeros_like(first_cell)
        (d_hidden, d_cell), d_totals = steps.backwards(back, time, carry, 4 * units)
        d_inputs, *d_others = from_inputs.gradients(d_totals)
        d_kernel = d_others[:1] if kernel is not None else []
        d_recurrent = from_hidden.gradient(
            steps.before(hiddens, first_hidden), d_totals
        )
        d_bias = d_others[len(d_kernel) :]
        return [d_inputs, d_hidden, d_cell, *d_kernel, d_recurrent, *d_bias]

    return [i, f, candidate, o, cells, hiddens], gradient
