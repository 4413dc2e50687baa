"""Layers that run in a kernel which returns every signal.

`kernel="fast"` agrees with Keras's layer within rounding and not to the bit, as it
adds in a different order.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gates.backend import backend
from keras_gates.backend.slopes import SLOPES
from keras_gates.cells import activations
from keras_gates.cells.kind import Weights
from keras_gates.cells.known_cells import known_kind
from keras_gates.cells.shared_equations import project
from keras_gates.checks import one_of
from keras_gates.layers.observed_loop import emit_signals
from keras_gates.layers.replay import drop, mask_of_steps

Tensor = Any

KERNELS = "keras", "fast"
"""The names of the kernels that can run a gate layer."""


def why_not_fast(layer) -> str | None:
    """Returns why a layer cannot run in a fast kernel, or `None` if it can.

    Args:
        layer: A layer around a single cell of Keras. It need not be built.
    """
    cell = layer.cell
    kind = known_kind(cell)
    if kind.name not in backend.fast_kernels():
        known = " and ".join(backend.fast_kernels()) or "no kind of layer"
        return (
            f"on the backend {keras.backend.backend()} there are fast kernels for "
            f"{known}, and this is {kind.with_article}"
        )
    if layer.unroll:
        return "`unroll=True` requires Keras's own loop"
    if getattr(layer, "use_cudnn", "auto") is True:
        return "`use_cudnn=True` requires the kernel of cuDNN"
    if 1.0 in (cell.dropout, cell.recurrent_dropout):
        return "it has a dropout rate of 1, on which Keras's own kernels disagree"
    for option in ("activation", "recurrent_activation"):
        reason = _why_unknown(getattr(cell, option))
        if reason is not None:
            return f"its `{option}` {reason}"
    return None


def _why_unknown(function) -> str | None:
    """Returns why the derivative of an activation cannot be computed by a kernel."""
    if function in SLOPES:
        return None
    name = activations.name_of(function)
    if activations.find(name) is not function:
        return (
            f"is `{name}`, which has no name in Keras, so it may have weights that the "
            "kernel would not train; a function without weights gets a name with "
            "`keras.saving.register_keras_serializable`"
        )
    if not _acts_on_each_value(function):
        return f"is `{name}`, which does not act on each value separately"
    return None


def _acts_on_each_value(function) -> bool:
    """Returns whether a function acts on each value of its input separately."""
    first = np.array([[-0.7, 0.3, 0.3, 1.1]], "float32")
    second = np.array([[2.9, 0.3, -5.0, 1.1]], "float32")
    seen = [
        ops.convert_to_numpy(function(ops.convert_to_tensor(values)))
        for values in (first, second)
    ]
    same = [0, 1, 0, 1]
    return all(one.shape == first.shape for one in seen) and np.array_equal(
        seen[0] * same, seen[1] * same, equal_nan=True
    )


def require_kernel(layer, kernel: str) -> str:
    """Checks that a layer can run in the requested kernel.

    Raises:
        ValueError: If it cannot.
    """
    kernel = one_of("kernel", kernel, KERNELS)
    reason = why_not_fast(layer) if kernel == "fast" else None
    if reason is not None:
        raise ValueError(
            f"`kernel=\"fast\"` is not possible for '{layer.name}': {reason}. "
            'Use `kernel="keras"`.'
        )
    return kernel


def run_fast(owner, layer, sequences, initial_state, mask, training, wanted_rows=()):
    """Runs a layer in a fast kernel, and emits its signals.

    Args:
        owner: The layer to which the signals belong.
        layer: The layer, or the view of it that runs here.
        sequences: As for `inner_loop` of Keras's layers.
        initial_state: Likewise.
        mask: Likewise.
        training: Likewise.
        wanted_rows: The numbers of rows that are wanted, each once.

    Returns:
        The result of `inner_loop`.
    """
    kind = known_kind(owner.cell)
    mask = mask_of_steps(mask)
    if layer.go_backwards:
        sequences = ops.flip(sequences, axis=1)
        mask = None if mask is None else ops.flip(mask, axis=1)
    states = _states(layer.cell, initial_state)
    kernel = backend.fast_kernels()[kind.name]
    inputs, weights, factors = _prepared(layer.cell, sequences, states, training)
    wanted = len(kind.signals) if wanted_rows else int(layer.return_sequences)
    values, last = kernel(inputs, states, weights, mask, factors, wanted)
    if wanted_rows:
        signals = dict(zip(kind.signals, values, strict=True))
        initial = dict(zip(kind.states, reversed(states), strict=True))
        emit_signals(owner, owner.cell, signals, initial, mask, wanted_rows)
    outputs = values[-1] if layer.return_sequences else last[0][:, None]
    if mask is not None:
        outputs = _where_masked(layer, outputs, mask)
    return outputs[:, -1], outputs, list(last)


def _states(cell, initial_state) -> list[Tensor]:
    # Copied, as a stateful layer overwrites its states in place on PyTorch.
    return [
        ops.copy(ops.cast(state, cell.compute_dtype))
        for state in keras.tree.flatten(initial_state)
    ]


def _prepared(cell, sequences: Tensor, states: list, training) -> tuple:
    """Returns the arguments of a kernel, with the dropout that Keras drew.

    Returns:
        The inputs, the weights and the factors of the hidden state.
    """
    dtype = cell.compute_dtype
    sequences = ops.cast(sequences, dtype)
    kernel = ops.cast(cell.kernel, dtype)
    if cell.dropout and training:
        sequences = drop(sequences, cell.get_dropout_mask(sequences[:, 0, :]))
        if isinstance(sequences, list):  # Each block has its own inputs.
            sequences, kernel = project(sequences, kernel), None
    factors = None
    if cell.recurrent_dropout and training:
        factors = ops.stack(cell.get_recurrent_dropout_mask(states[0]))
    weights = Weights(
        kernel=kernel,
        recurrent_kernel=ops.cast(cell.recurrent_kernel, dtype),
        bias=None if cell.bias is None else ops.cast(cell.bias, dtype),
        activation=cell.activation,
        recurrent_activation=cell.recurrent_activation,
        reset_after=getattr(cell, "reset_after", True),
    )
    return sequences, weights, factors


def _where_masked(layer, outputs: Tensor, mask: Tensor) -> Tensor:
    """Replaces masked steps by the values that Keras has there.

    Args:
        layer: The layer.
        outputs: The hidden state after every step, or after the last one.
        mask: Where steps are unmasked.
    """
    if layer.zero_output_for_mask:
        shown = mask if layer.return_sequences else mask[:, -1:]
    elif backend.MASKS_WITH_STATE:
        return outputs
    elif layer.return_sequences:
        # Before the first unmasked step, Keras has no earlier output to repeat.
        shown = ops.cumsum(ops.cast(mask, "int32"), axis=1) > 0
    else:
        shown = ops.any(mask, axis=1, keepdims=True)
    return ops.where(shown[..., None], outputs, ops.zeros_like(outputs))
