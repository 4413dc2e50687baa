"""The gates of a recurrent layer's run, computed from its hidden states."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gates.backend import backend
from keras_gates.cells import shared_equations
from keras_gates.cells.kind import Change, Kind, Weights, unchanged
from keras_gates.cells.known_cells import cells_of, kind_of
from keras_gates.cells.shared_equations import cast
from keras_gates.layers import collect
from keras_gates.layers.run_views import view, view_of_cell

Tensor = Any


class LayerRun(NamedTuple):
    """The inputs of a layer's run, and its outputs at every step, if known."""

    sequences: Tensor
    initial_state: Any
    mask: Any
    training: Any
    outputs: Tensor | None


def replay_rows(owner, layer, run: LayerRun, rows: float) -> None:
    """Replays some rows of a batch, outside the gradient."""

    def pick(values):
        return keras.tree.map_structure(lambda one: rows_of(one, rows), values)

    with backend.outside_gradient():
        few = LayerRun(
            pick(run.sequences),
            pick(run.initial_state),
            pick(run.mask),
            run.training,
            pick(run.outputs),
        )
        replay(owner, view(layer, cell=view_of_cell(layer.cell, pick)), few, rows)


def replay(owner, layer, run: LayerRun, rows: float | None) -> None:
    """Emits the signals of a sequence; runs it again if its outputs are not known.

    Args:
        owner: The layer that ran, to which the signals belong.
        layer: The view of it that runs here.
        run: The inputs of the run.
        rows: The number of rows of the batch; `None` for all of them.
    """
    sequences, initial_state, mask, training, outputs = run
    if outputs is None:
        every = view(layer, return_sequences=True, zero_output_for_mask=False)
        last, outputs, _ = every.stock_loop(sequences, initial_state, mask, training)
        outputs = as_read(layer, last, outputs)
    mask = mask_of_steps(mask)
    if layer.go_backwards:
        sequences = ops.flip(sequences, axis=1)
        mask = None if mask is None else ops.flip(mask, axis=1)
    cells = list(zip(cells_of(owner), cells_of(layer), strict=True))
    states = iter(keras.tree.flatten(initial_state))
    for number, ((_, own), (_, cell)) in enumerate(cells, start=1):
        # Copied, as a stateful layer overwrites its states in place on PyTorch.
        first = [
            ops.copy(ops.cast(next(states), cell.compute_dtype))
            for _ in keras.tree.flatten(cell.state_size)
        ]
        is_last = number == len(cells)
        hidden = (
            outputs
            if is_last
            else _run_cell(layer, cell, sequences, first, mask, training)
        )
        hidden = ops.cast(hidden, cell.compute_dtype)
        if mask is not None:
            hidden = shared_equations.hold(hidden, first[0], mask)
        kind = kind_of(cell)
        if kind is not None:
            initial = dict(zip(kind.states, reversed(first), strict=True))
            started_from = shared_equations.before(hidden, first[0])
            gates = blocks(kind, cell, sequences, started_from, training)
            signals = shared_equations.complete(kind, gates, hidden, initial, mask)
            emission = collect.Emission(
                owner, own, signals, initial, mask, layer.go_backwards, rows
            )
            collect.emit(emission)
            if kind.sums is not None and collect.wants_sums(owner, [own]):
                entering = _entering(cell, sequences, started_from, training)
                sums = kind.sums(*entering)
                collect.emit(emission._replace(signals=sums, sums=True))
        sequences = hidden


def as_read(layer, last: Tensor, outputs: Tensor) -> Tensor:
    """Puts the outputs of a loop in the order in which the layer read its steps.

    A backward layer reads its steps in reverse, and Keras's layers return its outputs
    in that order. Only the cuDNN kernel of an LSTM on JAX returns them in the order of
    the input (seen in 3.15.1).

    Args:
        layer: The layer.
        last: The output of the last step that it read, as the loop returns it.
        outputs: The output of every step.
    """
    if not layer.go_backwards or outputs.shape[1] == 1:
        return outputs

    def is_last(step):
        return ops.all(ops.equal(last, step))

    turned = ops.logical_and(
        is_last(outputs[:, 0]), ops.logical_not(is_last(outputs[:, -1]))
    )
    return ops.where(turned, ops.flip(outputs, axis=1), outputs)


def rows_of(values: Tensor | None, rows: float) -> Tensor | None:
    """Takes some rows of a batch, spread evenly over it, outside the gradient.

    Rows that are spread evenly are the same where a batch is split among devices.
    """
    if values is None:
        return None
    if rows != math.inf:
        frames = collect.folded()
        if frames is not None:  # A row is a sample, with all of its frames.
            shape = ops.shape(values)[1:]
            values = ops.reshape(values, (-1, frames, *shape))
        batch = ops.shape(values)[0]
        known = isinstance(batch, int)
        number = min(rows, batch) if known else ops.minimum(rows, batch)
        chosen = ops.arange(number, dtype="int32") * batch // number
        values = ops.take(values, chosen, axis=0)
        if frames is not None:
            values = ops.reshape(values, (-1, *shape))
    return ops.stop_gradient(values)


def mask_of_steps(mask: Tensor | None) -> Tensor | None:
    """Converts a mask to booleans of shape `(batch, time)`."""
    mask = keras.tree.flatten(mask)[0]
    if mask is None:
        return None
    mask = ops.cast(mask, "bool")
    return mask if len(mask.shape) == 2 else ops.any(mask, axis=-1)


def _run_cell(layer, cell, sequences, initial_state, mask, training) -> Tensor:
    """Runs one cell of a stack on its own, and returns its output at every step."""
    alone = view(
        layer,
        cell=cell,
        return_sequences=True,
        go_backwards=False,
        unroll=False,
        zero_output_for_mask=False,
    )
    _, outputs, _ = alone.stock_loop(sequences, initial_state, mask, training)
    return outputs


def blocks(
    kind: Kind,
    cell,
    inputs: Tensor,
    hidden: Tensor,
    training,
    change: Change = unchanged,
) -> dict[str, Tensor]:
    """Computes the gates and the candidate of a cell, with the dropout of Keras."""
    if not kind.blocks:
        return {}
    return kind.compute(*_entering(cell, inputs, hidden, training), change)


def _entering(cell, inputs: Tensor, hidden: Tensor, training) -> tuple:
    """Returns the arguments of a cell's equations: inputs, hidden state and weights."""
    dtype = cell.compute_dtype
    inputs, hidden = cast(inputs, dtype), cast(hidden, dtype)
    if training and 1.0 in (cell.dropout, cell.recurrent_dropout):
        raise ValueError(
            f"The gates of '{cell.name}' cannot be computed in training with a "
            "dropout rate of 1, on which Keras's kernels disagree. Use a rate below 1."
        )
    if training and 0.0 < cell.dropout < 1.0:
        step = inputs if len(inputs.shape) == 2 else inputs[:, 0, :]
        inputs = drop(inputs, cell.get_dropout_mask(step))
    if training and 0.0 < cell.recurrent_dropout < 1.0:
        step = hidden if len(hidden.shape) == 2 else hidden[:, 0, :]
        hidden = drop(hidden, cell.get_recurrent_dropout_mask(step))
    weights = Weights(
        kernel=cast(cell.kernel, dtype),
        recurrent_kernel=cast(cell.recurrent_kernel, dtype),
        bias=None if cell.bias is None else cast(cell.bias, dtype),
        activation=step_wise(cell.activation),
        recurrent_activation=step_wise(getattr(cell, "recurrent_activation", None)),
        reset_after=getattr(cell, "reset_after", True),
    )
    return inputs, hidden, weights


def step_wise(function):
    """Gives an activation `(batch, units)`, as in Keras, even for a sequence."""

    def apply(values):
        if len(values.shape) == 2:
            return function(values)
        steps = ops.reshape(values, (-1, values.shape[-1]))
        return ops.reshape(function(steps), ops.shape(values))

    return apply


def drop(values: Tensor, masks) -> Any:
    """Applies a dropout mask, or a mask for each block, the same at every step."""
    if isinstance(masks, (list, tuple)):
        return [drop(values, mask) for mask in masks]
    return values * (masks if len(values.shape) == 2 else masks[:, None, :])
