"""The LSTM on PyTorch as one operation that returns every signal.

Stock Keras computes each step with a dozen operations that autograd tracks. Here the
steps write into existing memory, and the backward pass is written out. It goes through
chunks of steps that fit into the cache, computes the element-wise part of a chunk at
once, and leaves one product and a few additions for each step.
"""

from __future__ import annotations

import torch

from keras_gates.backend.torch_activations import Activation
from keras_gates.backend.torch_chunks import chunks, refuse_second_derivatives
from keras_gates.backend.torch_products import InputProduct, hidden_product


class _LSTM(torch.autograd.Function):
    """Blocks are `(time, batch, 4, units)`, in Keras's order: i, f, candidate, o."""

    @staticmethod
    def forward(
        ctx, inputs, hidden, cell, kernel, recurrent, bias, mask, factors, functions
    ):
        activation, gate = functions
        (batch, units), time = hidden.shape, inputs.shape[1]
        totals = InputProduct(inputs, kernel, bias).of_all_steps()
        product = hidden_product(recurrent, factors)
        blocks = totals.view(time, batch, 4, units)
        before = None  # The inputs of the activations.
        if activation.needs_inputs or gate.needs_inputs:
            before = torch.empty_like(blocks)
        # The states before each step, and after the last one.
        hiddens = totals.new_empty(time + 1, batch, units)
        cells = totals.new_empty(time + 1, batch, units)
        shown = totals.new_empty(time, batch, units)  # The activation of the cell.
        hiddens[0], cells[0] = hidden, cell
        real = None if mask is None else mask.T[..., None]
        # Split once: indexing at every step would take as long as its additions.
        all_totals, first_two = totals.unbind(0), blocks[:, :, :2].unbind(0)
        written, kept, candidates, outs = (b.unbind(0) for b in blocks.unbind(2))
        hs, cs, shows = hiddens.unbind(0), cells.unbind(0), shown.unbind(0)
        for t in range(time):
            product.add_to(all_totals[t], hs[t])
            if before is not None:
                before[t] = blocks[t]
            gate.put(first_two[t])
            activation.put(candidates[t])
            gate.put(outs[t])
            torch.mul(written[t], candidates[t], out=cs[t + 1])
            cs[t + 1].addcmul_(kept[t], cs[t])
            if real is not None:
                cs[t + 1].copy_(torch.where(real[t], cs[t + 1], cs[t]))
            activation.put(cs[t + 1], out=shows[t])
            torch.mul(outs[t], shows[t], out=hs[t + 1])
            if real is not None:
                hs[t + 1].copy_(torch.where(real[t], hs[t + 1], hs[t]))
        masked = None
        if real is not None:
            masked = ~real
            blocks.masked_fill_(masked[:, :, None], 0)
        ctx.save_for_backward(
            *(inputs, kernel, recurrent, bias, masked, factors),
            *(blocks, before, hiddens, cells, shown),
        )
        ctx.functions = functions
        ctx.set_materialize_grads(False)
        return blocks, cells[1:], hiddens[1:]

    @staticmethod
    def backward(ctx, of_blocks, of_cells, of_hiddens):
        refuse_second_derivatives()
        inputs, kernel, recurrent, bias, masked, factors, *kept = ctx.saved_tensors
        blocks, before, hiddens, cells, shown = kept
        activation, gate = ctx.functions
        time, batch, _, units = blocks.shape
        from_inputs = InputProduct(inputs, kernel, bias)
        from_inputs.begin(ctx.needs_input_grad[0])
        product = hidden_product(recurrent, factors)
        d_hidden, d_cell = (blocks.new_zeros(batch, units) for _ in range(2))
        keep = blocks[:, :, 1]
        if masked is not None:
            keep = keep.masked_fill(masked, 1)
            held = masked.to(blocks.dtype)
        size, parts = chunks(time, batch * 4 * units)
        room = [blocks.new_empty(size, batch, 4, units) for _ in range(2)]
        room += [blocks.new_empty(size, batch, units)]
        for start, end in parts:
            now, size = slice(start, end), end - start
            # First the derivatives of the activations; then how much of the gradient
            # of the cell (for the output gate, of the hidden state) reaches each total.
            slopes, d_totals, through = (one[:size] for one in room)
            chunk, took = blocks[now], None if before is None else before[now]
            for block, function in ((slice(0, 2), gate), (2, activation), (3, gate)):
                function.put_slope(
                    chunk[:, :, block],
                    None if took is None else took[:, :, block],
                    slopes[:, :, block],
                )
            if of_blocks is not None:
                torch.mul(slopes, of_blocks[now], out=d_totals)
            slopes[:, :, 0].mul_(chunk[:, :, 2])
            slopes[:, :, 1].mul_(cells[now])
            slopes[:, :, 2].mul_(chunk[:, :, 0])
            slopes[:, :, 3].mul_(shown[now])
            # From the hidden state to the cell.
            activation.put_slope(shown[now], cells[start + 1 : end + 1], through)
            through.mul_(chunk[:, :, 3])
            if masked is not None:
                slopes.masked_fill_(masked[now, :, None], 0)
                if of_blocks is not None:
                    d_totals.masked_fill_(masked[now, :, None], 0)
            of_cell, of_out = slopes[:, :, :3].unbind(0), slopes[:, :, 3].unbind(0)
            d_three, d_out = d_totals[:, :, :3].unbind(0), d_totals[:, :, 3].unbind(0)
            d_flat = d_totals.view(size, batch, 4 * units).unbind(0)
            for j in range(size - 1, -1, -1):
                t = start + j
                if of_hiddens is not None:
                    d_hidden.add_(of_hiddens[t])
                if of_cells is not None:
                    d_cell.add_(of_cells[t])
                d_cell.addcmul_(d_hidden, through[j])
                if of_blocks is None:
                    torch.mul(of_cell[j], d_cell[:, None], out=d_three[j])
                    torch.mul(of_out[j], d_hidden, out=d_out[j])
                else:
                    d_three[j].addcmul_(of_cell[j], d_cell[:, None])
                    d_out[j].addcmul_(of_out[j], d_hidden)
                d_cell.mul_(keep[t])
                if masked is None:
                    d_hidden = product.back(d_flat[j])
                else:
                    product.add_back(d_hidden.mul_(held[t]), d_flat[j])
            d_flat = d_totals.view(size, batch, 4 * units)
            from_inputs.add(start, end, d_flat)
            product.add(hiddens[now], d_flat)
        d_inputs, d_kernel, d_bias = from_inputs.gradients()
        return (
            *(d_inputs, d_hidden, d_cell, d_kernel, product.gradient(), d_bias),
            *(None, None, None),
        )


@torch.compiler.disable
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
    functions = Activation(weights.activation), Activation(weights.recurrent_activation)
    blocks, cells, hiddens = _LSTM.apply(
        inputs,
        *states,
        weights.kernel,
        weights.recurrent_kernel,
        weights.bias,
        mask,
        factors,
        functions,
    )
    signals = (*blocks.unbind(2), cells, hiddens)[6 - wanted :]
    return [signal.transpose(0, 1) for signal in signals], [hiddens[-1], cells[-1]]
