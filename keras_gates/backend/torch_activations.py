"""Activations that are computed in place, and their derivatives, in PyTorch."""

from __future__ import annotations

import torch
from keras import activations

from keras_gates.backend.slopes import SLOPES

_IN_PLACE = {
    activations.sigmoid: torch.sigmoid_,
    activations.tanh: torch.tanh_,
    activations.relu: torch.relu_,
}


class Activation:
    """An activation that acts on each value separately.

    Args:
        function: The function of Keras, or a user's function.

    Attributes:
        needs_inputs: Whether the derivative is computed from the inputs of the
            function. If not, it is computed from the outputs.
    """

    def __init__(self, function):
        self._function = function
        self._in_place = _IN_PLACE.get(function)
        self._slope = SLOPES.get(function)
        self.needs_inputs = self._slope is None

    def put(self, values, out=None) -> None:
        """Writes the values of the function into `out`, or over its inputs."""
        out = values if out is None else out
        if out is not values and self._function is activations.tanh:
            torch.tanh(values, out=out)
        elif out is values and self._in_place is not None:
            self._in_place(values)
        else:
            out.copy_(self._function(values))

    def put_slope(self, outputs, inputs, out) -> None:
        """Writes the derivative into `out`.

        Args:
            outputs: The outputs of the function.
            inputs: Its inputs; may be `None` unless it `needs_inputs`.
            out: The tensor for the derivative.
        """
        if self._function is activations.sigmoid:
            torch.addcmul(outputs, outputs, outputs, value=-1, out=out)
        elif self._function is activations.tanh:
            one = torch.ones((), dtype=outputs.dtype, device=outputs.device)
            torch.addcmul(one, outputs, outputs, value=-1, out=out)
        elif self._slope is not None:
            out.copy_(self._slope(outputs))
        else:
            with torch.enable_grad():
                inputs = inputs.detach().requires_grad_()
                total = self._function(inputs).sum()
                (slope,) = torch.autograd.grad(total, inputs)
            out.copy_(slope)
