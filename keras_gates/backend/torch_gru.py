"""The GRU on PyTorch as one operation that returns every signal.

It is written like the LSTM in `torch_lstm`.
"""

from __future__ import annotations

import torch

from keras_gates.backend.torch_activations import Activation
from keras_gates.backend.torch_chunks import chunks, refuse_second_derivatives
from keras_gates.backend.torch_products import InputProduct, hidden_product


class _GRU(torch.autograd.Function):
    """Blocks are `(time, batch, 3, units)`, in Keras's order: z, r, candidate.

    The reset gate acts on the `past`: with `reset_after` the product of the hidden
    state with the recurrent kernel, else the hidden state itself.
    """

    @staticmethod
    def forward(
        ctx, inputs, hidden, kernel, recurrent, bias, past_bias, mask, factors, options
    ):
        activation, gate, reset_after = options
        (batch, units), time = hidden.shape, inputs.shape[1]
        totals = InputProduct(inputs, kernel, bias).of_all_steps()
        of_gates, of_past, _ = _products(recurrent, factors)
        blocks = totals.view(time, batch, 3, units)
        before = None  # The inputs of the activations.
        if activation.needs_inputs or gate.needs_inputs:
            before = torch.empty_like(blocks)
        # The state before each step, and after the last one.
        hiddens = totals.new_empty(time + 1, batch, units)
        hiddens[0] = hidden
        pasts = totals.new_empty(time, batch, units) if reset_after else None
        reset_past = totals.new_empty(batch, units)
        real = None if mask is None else mask.T[..., None]
        # Split once: indexing at every step would take as long as its additions.
        gates, candidate_totals = totals.split([2 * units, units], dim=-1)
        gates, candidates = gates.unbind(0), candidate_totals.unbind(0)
        keeps, resets = blocks[:, :, 0].unbind(0), blocks[:, :, 1].unbind(0)
        hs = hiddens.unbind(0)
        for t in range(time):
            of_gates.add_to(gates[t], hs[t])
            if before is not None:
                before[t] = blocks[t]
            gate.put(gates[t])
            if pasts is not None:
                past = pasts[t]
                past.zero_() if past_bias is None else past.copy_(past_bias)
                of_past.add_to(past, hs[t])
                candidates[t].addcmul_(resets[t], past)
            else:
                torch.mul(resets[t], hs[t], out=reset_past)
                of_past.add_to(candidates[t], reset_past)
            if before is not None:
                before[t, :, 2] = candidates[t]
            activation.put(candidates[t])
            torch.lerp(candidates[t], hs[t], keeps[t], out=hs[t + 1])
            if real is not None:
                hs[t + 1].copy_(torch.where(real[t], hs[t + 1], hs[t]))
        masked = None
        if real is not None:
            masked = ~real
            blocks.masked_fill_(masked[:, :, None], 0)
        ctx.save_for_backward(
            *(inputs, kernel, recurrent, bias, past_bias, masked, factors),
            *(blocks, before, hiddens, pasts),
        )
        ctx.options = options
        ctx.set_materialize_grads(False)
        return blocks, hiddens[1:]

    @staticmethod
    def backward(ctx, of_blocks, of_hiddens):
        refuse_second_derivatives()
        inputs, kernel, recurrent, bias, past_bias, *kept = ctx.saved_tensors
        masked, factors, blocks, before, hiddens, pasts = kept
        activation, gate, reset_after = ctx.options
        time, batch, _, units = blocks.shape
        from_inputs = InputProduct(inputs, kernel, bias)
        from_inputs.begin(ctx.needs_input_grad[0])
        of_gates, of_past, of_all = _products(recurrent, factors)
        d_past_bias = None if past_bias is None else torch.zeros_like(past_bias)
        d_hidden = blocks.new_zeros(batch, units)
        keep = blocks[:, :, 0]
        if masked is not None:
            keep = keep.masked_fill(masked, 1)
        size, parts = chunks(time, batch * 3 * units)
        room = [blocks.new_empty(size, batch, 3, units) for _ in range(2)]
        room += [blocks.new_empty(size, batch, units) for _ in range(3)]
        for start, end in parts:
            now, size = slice(start, end), end - start
            slopes, d_totals, into, states, asked = (one[:size] for one in room)
            chunk, took = blocks[now], None if before is None else before[now]
            for block, function in ((slice(0, 2), gate), (2, activation)):
                function.put_slope(
                    chunk[:, :, block],
                    None if took is None else took[:, :, block],
                    slopes[:, :, block],
                )
            past = pasts[now] if reset_after else hiddens[now]
            # The gradients of the totals that come from the signals themselves.
            if of_blocks is None:
                d_totals.zero_()
            else:
                torch.mul(slopes, of_blocks[now], out=d_totals)
                if masked is not None:
                    d_totals.masked_fill_(masked[now, :, None], 0)
            # How much of the gradient of the hidden state reaches the update gate's
            # and the candidate's total.
            slopes[:, :, 0].mul_(hiddens[now] - chunk[:, :, 2])
            torch.addcmul(
                slopes[:, :, 2], slopes[:, :, 2], chunk[:, :, 0], value=-1, out=into
            )
            # How much of the gradient of the reset past reaches the reset gate's total.
            slopes[:, :, 1].mul_(past)
            if masked is not None:
                slopes.masked_fill_(masked[now, :, None], 0)
                into.masked_fill_(masked[now], 0)
            if reset_after:
                # All three follow from the gradient of the hidden state.
                asked.copy_(d_totals[:, :, 2])
                d_totals[:, :, 1].addcmul_(asked, slopes[:, :, 1])
                d_totals[:, :, 2].mul_(chunk[:, :, 1])
                slopes[:, :, 1].mul_(into)
                torch.mul(into, chunk[:, :, 1], out=slopes[:, :, 2])
            d_flat = d_totals.view(size, batch, 3 * units)
            d_steps, d_gates = d_flat.unbind(0), d_flat[..., : 2 * units].unbind(0)
            for j in range(size - 1, -1, -1):
                t = start + j
                state = states[j]
                state.copy_(d_hidden)
                if of_hiddens is not None:
                    state.add_(of_hiddens[t])
                torch.mul(state, keep[t], out=d_hidden)
                if reset_after:
                    d_totals[j].addcmul_(slopes[j], state[:, None])
                    of_all.add_back(d_hidden, d_steps[j])
                    continue
                d_totals[j, :, 0].addcmul_(slopes[j, :, 0], state)
                d_candidate = d_totals[j, :, 2].addcmul_(into[j], state)
                d_past = of_past.back(d_candidate)
                d_totals[j, :, 1].addcmul_(slopes[j, :, 1], d_past)
                d_hidden.addcmul_(d_past, chunk[j, :, 1])
                of_gates.add_back(d_hidden, d_gates[j])
            of_gates.add(hiddens[now], d_flat[..., : 2 * units])
            if reset_after:
                of_past.add(hiddens[now], d_totals[:, :, 2])
                if d_past_bias is not None:
                    d_past_bias += d_totals[:, :, 2].sum((0, 1))
                torch.addcmul(asked, into, states, out=d_totals[:, :, 2])
            else:
                of_past.add(chunk[:, :, 1] * hiddens[now], d_totals[:, :, 2])
            from_inputs.add(start, end, d_flat)
        d_inputs, d_kernel, d_bias = from_inputs.gradients()
        d_recurrent = torch.cat([of_gates.gradient(), of_past.gradient()], dim=1)
        return (
            *(d_inputs, d_hidden, d_kernel, d_recurrent, d_bias, d_past_bias),
            *(None, None, None),
        )


def _products(recurrent, factors):
    """Returns the products of the gates, of the candidate, and of all three."""
    units = recurrent.shape[0]
    parts = slice(0, 2), slice(2, 3), slice(0, 3)
    return [
        hidden_product(
            recurrent[:, part.start * units : part.stop * units].contiguous(),
            None if factors is None else factors[part],
        )
        for part in parts
    ]


@torch.compiler.disable
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
        bias = torch.cat([first[: 2 * units] + second[: 2 * units], first[2 * units :]])
    options = (
        Activation(weights.activation),
        Activation(weights.recurrent_activation),
        weights.reset_after,
    )
    blocks, hiddens = _GRU.apply(
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
    signals = (*blocks.unbind(2), hiddens)[4 - wanted :]
    return [signal.transpose(0, 1) for signal in signals], [hiddens[-1]]
