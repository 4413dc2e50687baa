"""The LSTM on TensorFlow as one operation that returns every signal.

Both loops keep the values that are needed later in pieces of one step, as Keras's own
loops do, and add up the gradients of the weights while the next step runs.
"""

from __future__ import annotations

import tensorflow as tf

from keras_gates.backend import tensorflow_steps as steps
from keras_gates.backend.slopes import SLOPES


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

    def run(*arguments):
        return _run(arguments, mask, factors, functions, wanted)

    arguments = steps.turned(inputs), *states, *weights[:3]
    *signals, hidden, cell = steps.with_gradient(run, arguments)
    return signals, [hidden, cell]


def _run(arguments, mask, factors, functions, wanted):
    inputs, first_hidden, first_cell, kernel, recurrent, bias = arguments
    activation, gate = functions
    from_inputs = steps.InputProduct(inputs, kernel, bias)
    from_hidden = steps.HiddenProduct(recurrent, factors)
    units, time = recurrent.shape[0], tf.shape(inputs)[0]
    keeps_totals = not (activation in SLOPES and gate in SLOPES)

    def step(t, hidden, cell):
        total = from_inputs.of(t) + from_hidden.of(hidden)
        real = steps.unmasked(mask, t)
        i, f, candidate, o = tf.split(total, 4, axis=-1)
        i, f, o = (steps.applied(gate, one) for one in (i, f, o))
        candidate = steps.applied(activation, candidate)
        cell = steps.where(real, f * cell + i * candidate, cell)
        hidden = steps.where(real, o * steps.applied(activation, cell), hidden)
        blocks = [steps.where(real, one, 0.0) for one in (i, f, candidate, o)]
        return (hidden, cell), [*blocks, *([total] * keeps_totals)]

    carry = first_hidden, first_cell
    widths = [units] * 4 + [4 * units] * keeps_totals
    last, kept, (hiddens, cells) = steps.forwards(step, time, carry, widths)
    blocks, totals = kept[:4], kept[4:]

    def gradient(*cotangents):
        *given, of_last_hidden, of_last_cell = cotangents
        *of_blocks, of_cell, of_hidden = [None] * (6 - wanted) + given

        def back(t, d_hidden, d_cell, of_inputs, of_recurrent):
            real = steps.unmasked(mask, t)
            i, f, candidate, o = (block.read(t) for block in blocks)
            before, cell = cells.read(t), cells.read(t + 1)
            took = [None] * 4
            if totals:
                took = tf.split(totals[0].read(t), 4, axis=-1)
            d_hidden = steps.plus(d_hidden, of_hidden, t)
            d_cell = steps.plus(d_cell, of_cell, t)
            shown = steps.applied(activation, cell)
            through = d_cell + steps.gradient_through(
                activation, shown, cell, d_hidden * o
            )
            d_gates = through * candidate, through * before, through * i
            d_totals = [
                steps.gradient_through(function, block, total, steps.plus(d, of, t))
                for function, block, total, d, of in zip(
                    (gate, gate, activation, gate),
                    (i, f, candidate, o),
                    took,
                    (*d_gates, d_hidden * shown),
                    of_blocks,
                    strict=True,
                )
            ]
            d_total = steps.where(real, tf.concat(d_totals, axis=-1), 0.0)
            of_inputs = from_inputs.add(of_inputs, t, d_total)
            of_recurrent = from_hidden.add(of_recurrent, hiddens.read(t), d_total)
            d_hidden = steps.where(real, from_hidden.back(d_total), d_hidden)
            d_cell = steps.where(real, through * f, d_cell)
            return (d_hidden, d_cell, of_inputs, of_recurrent), [d_total]

        carry = (
            *(of_last_hidden, of_last_cell),
            *(from_inputs.zeros(tf.shape(inputs)[1], 4 * units), from_hidden.zeros()),
        )
        carry, [d_totals] = steps.backwards(back, time, carry, [4 * units])
        d_hidden, d_cell, of_inputs, d_recurrent = carry
        d_inputs, *d_others = from_inputs.gradients(of_inputs, d_totals)
        d_kernel = d_others[:1] if kernel is not None else []
        d_bias = d_others[len(d_kernel) :]
        return [d_inputs, d_hidden, d_cell, *d_kernel, d_recurrent, *d_bias]

    signals = [*blocks, cells, hiddens][6 - wanted :]
    return [*(steps.all_steps(one, inputs) for one in signals), *last], gradient
