"""Products of steps with weights, in time-major order, and their gradients.

The gradients of weights are summed over chunks of steps, while the values from which
they are computed are still in the cache of the processor.
"""

from __future__ import annotations

import torch


class InputProduct:
    """The product of the inputs with the kernel, and the bias.

    Args:
        inputs: `(batch, time, features)`.
        kernel: `(features, width)`, or `None` if the inputs are already the product.
        bias: `(width,)`, or `None`.
    """

    def __init__(self, inputs, kernel, bias):
        batch, time, features = inputs.shape
        self._batch, self._time = batch, time
        self._kernel, self._bias = kernel, bias
        self._steps = inputs.transpose(0, 1).reshape(time * batch, features)

    def of_all_steps(self):
        """Returns the product, `(time, batch, width)`, in memory of its own."""
        if self._kernel is None:
            steps = self._steps
            product = steps.clone() if self._bias is None else steps + self._bias
        elif self._bias is None:
            product = torch.mm(self._steps, self._kernel)
        else:
            product = torch.addmm(self._bias, self._steps, self._kernel)
        return product.view(self._time, self._batch, -1)

    def begin(self, of_inputs: bool) -> None:
        """Begins to sum the gradients; those of the inputs only if `of_inputs`."""
        steps = self._steps
        self._of_inputs = torch.empty_like(steps) if of_inputs else None
        self._of_kernel = (
            None if self._kernel is None else torch.zeros_like(self._kernel)
        )
        self._of_bias = None if self._bias is None else torch.zeros_like(self._bias)

    def add(self, start: int, end: int, product) -> None:
        """Adds some steps.

        Args:
            start: The first of the steps.
            end: The step after the last.
            product: The gradient of their product, `(time, batch, width)`.
        """
        rows = slice(start * self._batch, end * self._batch)
        product = product.reshape(-1, product.shape[-1])
        if self._of_bias is not None:
            self._of_bias += product.sum(0)
        if self._of_kernel is not None:
            self._of_kernel.addmm_(self._steps[rows].T, product)
        if self._of_inputs is None:
            return
        if self._kernel is None:
            self._of_inputs[rows] = product
        else:
            torch.mm(product, self._kernel.T, out=self._of_inputs[rows])

    def gradients(self):
        """Returns the gradients of the inputs, the kernel and the bias."""
        inputs = self._of_inputs
        if inputs is not None:
            inputs = inputs.view(self._time, self._batch, -1).transpose(0, 1)
        return inputs, self._of_kernel, self._of_bias


class HiddenProduct:
    """The product of the hidden state with the recurrent kernel.

    Args:
        kernel: `(units, width)`.
    """

    def __init__(self, kernel):
        self._kernel = kernel
        self._transposed = kernel.T.contiguous()
        self._gradient = torch.zeros_like(kernel)

    def add_to(self, total, hidden) -> None:
        """Adds the product with one step, `(batch, units)`, to `(batch, width)`."""
        total.addmm_(hidden, self._kernel)

    def back(self, product):
        """Returns the gradient of a step from that of its product."""
        return torch.mm(product, self._transposed)

    def add_back(self, gradient, product) -> None:
        """Adds the gradient of a step from that of its product."""
        gradient.addmm_(product, self._transposed)

    def add(self, hidden, product) -> None:
        """Adds some steps, `(time, batch, units)`, to the gradient of the kernel."""
        product = product.reshape(-1, product.shape[-1])
        self._gradient.addmm_(hidden.reshape(len(product), -1).T, product)

    def gradient(self):
        """Returns the gradient of the kernel."""
        return self._gradient


class DroppedProduct:
    """The same product with dropout: each block of columns has its own factors.

    Args:
        kernel: `(units, blocks * units)`.
        factors: `(blocks, batch, units)`, the same at every step.
    """

    def __init__(self, kernel, factors):
        self._factors = factors
        units = kernel.shape[0]
        self._blocks = kernel.view(units, -1, units).transpose(0, 1)
        self._gradient = torch.zeros_like(self._blocks)

    def add_to(self, total, hidden) -> None:
        """Adds the product with one step, `(batch, units)`, to `(batch, width)`."""
        product = torch.bmm(hidden * self._factors, self._blocks)
        total.view(*hidden.shape[:1], -1, hidden.shape[1]).add_(product.transpose(0, 1))

    def back(self, product):
        """Returns the gradient of a step from that of its product."""
        of_blocks = torch.bmm(self._parted(product), self._blocks.transpose(1, 2))
        return (of_blocks * self._factors).sum(0)

    def add_back(self, gradient, product) -> None:
        """Adds the gradient of a step from that of its product."""
        gradient.add_(self.back(product))

    def add(self, hidden, product) -> None:
        """Adds some steps, `(time, batch, units)`, to the gradient of the kernel."""
        dropped = (hidden * self._factors[:, None]).flatten(1, 2)
        product = self._parted(product.reshape(-1, product.shape[-1]))
        self._gradient.baddbmm_(dropped.transpose(1, 2), product)

    def gradient(self):
        """Returns the gradient of the kernel."""
        return self._gradient.transpose(0, 1).flatten(1)

    def _parted(self, product):
        """Splits `(rows, blocks * units)` into `(blocks, rows, units)`."""
        blocks, units, _ = self._blocks.shape
        return product.reshape(-1, blocks, units).transpose(0, 1)


def hidden_product(kernel, factors):
    """Returns the product with a recurrent kernel, with dropout if there is any."""
    if factors is None:
        return HiddenProduct(kernel)
    return DroppedProduct(kernel, factors)
