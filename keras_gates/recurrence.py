"""What turns a stock recurrent layer or cell into one that can tell its gates.

The output of a gate layer is computed by the stock Keras code. The gates are computed
beside it, from the sequence of hidden states it produced (see `equations`), and only
when somebody wants them: the layer itself with `return_gates=True`, or a collector
that is active while a model runs (see `capture`).
"""

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gates import collect, equations
from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.checks import flag
from keras_gates.views import beneath, changes, plain_stack, view, view_of_cell

Tensor = Any


def kind_of(cell) -> v.Kind | None:
    """Tells the kind of a cell whose equations are known, else `None`.

    A subclass of a stock cell counts if it leaves the stock equations alone.
    """
    for stock, kind in ((keras.layers.LSTMCell, v.LSTM), (keras.layers.GRUCell, v.GRU)):
        if isinstance(cell, stock):
            return None if changes(cell, stock, _EQUATIONS, (GateCell,)) else kind
    return None


_EQUATIONS = {
    "__call__",
    "call",
    "_compute_carry_and_output",
    "_compute_carry_and_output_fused",
    "get_dropout_mask",
    "get_recurrent_dropout_mask",
    "_create_dropout_mask",
}
"""The methods of Keras's cells that hold equations, or what enters them."""


def cells_of(layer: keras.layers.RNN) -> list[tuple[str, Any]]:
    """Lists the cells of a recurrent layer, with their paths inside it.

    A layer around a single cell has one, at the path "". The cells of a stack have
    their names, behind the names of the stacks that a stack may hold in turn. A stack
    of the user's own, which calls its cells in its own way, counts as one cell.
    """

    def visit(cell, path):
        if not plain_stack(cell):
            return [(path, cell)]
        inner = [(f"{path}/{part.name}", part) for part in cell.cells]
        return [leaf for place, part in inner for leaf in visit(part, place)]

    return [(path.removeprefix("/"), cell) for path, cell in visit(layer.cell, "")]


def _blocks(cell, inputs: Tensor, hidden: Tensor, training) -> dict[str, Tensor]:
    """Computes gates and candidate of a cell, with the dropout that Keras drew."""
    dtype = cell.compute_dtype
    inputs, hidden = ops.cast(inputs, dtype), ops.cast(hidden, dtype)
    if training and 1.0 in (cell.dropout, cell.recurrent_dropout):
        raise ValueError(
            f"The gates of '{cell.name}' cannot be told in training: it drops out "
            "everything, which Keras's kernels take in different ways. Use a rate "
            "below 1."
        )
    if training and 0.0 < cell.dropout < 1.0:
        step = inputs if len(inputs.shape) == 2 else inputs[:, 0, :]
        inputs = _drop(inputs, cell.get_dropout_mask(step))
    if training and 0.0 < cell.recurrent_dropout < 1.0:
        step = hidden if len(hidden.shape) == 2 else hidden[:, 0, :]
        hidden = _drop(hidden, cell.get_recurrent_dropout_mask(step))
    weights = equations.Weights(
        kernel=ops.cast(cell.kernel, dtype),
        recurrent_kernel=ops.cast(cell.recurrent_kernel, dtype),
        bias=None if cell.bias is None else ops.cast(cell.bias, dtype),
        activation=_step_wise(cell.activation),
        recurrent_activation=_step_wise(cell.recurrent_activation),
        reset_after=getattr(cell, "reset_after", True),
    )
    return equations.BLOCKS[kind_of(cell).name](inputs, hidden, weights)


def _step_wise(function):
    """Lets an activation see `(batch, units)`, as in Keras, also for a sequence."""

    def apply(values):
        steps = ops.reshape(values, (-1, values.shape[-1]))
        return ops.reshape(function(steps), ops.shape(values))

    return apply


def _drop(values: Tensor, masks):
    """Applies a dropout mask, or one for each block, the same at every step."""
    if isinstance(masks, (list, tuple)):
        return [_drop(values, mask) for mask in masks]
    return values * (masks if len(values.shape) == 2 else masks[:, None, :])


class GateCell:
    """What the gate cells share: the stock step, and its gates when asked for."""

    def call(self, inputs, states, training=False, return_gates=False):
        """Takes one step."""
        output, new_states = super().call(inputs, states, training=training)
        if not return_gates:
            return output, new_states
        hidden = keras.tree.flatten(states)[0]
        gates = _blocks(self, inputs, hidden, training)
        kind = kind_of(self)
        # Keras carries the hidden state first; the vocabulary names it last.
        after = reversed(keras.tree.flatten(new_states))
        gates.update(zip(kind.states, after, strict=True))
        return output, new_states, gates


class GateRecurrence:
    """What the gate layers share: the stock layer, and the replay of its gates."""

    return_gates = False

    def ask_for_gates(self, return_gates):
        """Sets whether the layer returns its gates."""
        return_gates = flag("return_gates", return_gates)
        if return_gates and self.activity_regularizer is not None:
            raise ValueError(
                "`activity_regularizer` does not go with `return_gates=True`: Keras "
                "applies it to everything that a layer returns, so the gates would "
                "count too. Penalise what you mean with `add_loss` instead."
            )
        self.return_gates = return_gates

    @property
    def variables(self):
        """Lists the variables of the layer, and those that are changed by collecting.

        In a step that JAX compiles, only listed variables can change.
        """
        stock = beneath(GateRecurrence, self).variables
        return [*stock, *collect.variables(self)]

    # Keras draws the masks of a run before `inner_loop` and forgets them behind it,
    # on the cell, for every thread. A run that somebody looks at has its own (see
    # `inner_loop`). Both are private to Keras: if they are renamed, runs in several
    # threads share masks again, as they do in Keras.

    def _maybe_config_dropout_masks(self, *arguments):
        if not _looks(self):
            beneath(GateRecurrence, self)._maybe_config_dropout_masks(*arguments)

    def _maybe_reset_dropout_masks(self, *arguments):
        if not _looks(self):
            beneath(GateRecurrence, self)._maybe_reset_dropout_masks(*arguments)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Runs the stock loop, and emits the gates to whoever wants them."""
        # Not recorded inside the cell: with cuDNN and other fused kernels the cell
        # never runs. `inner_loop` is the one place every kernel passes through.
        looks = _looks(self)
        if not looks:
            run = beneath(GateRecurrence, self).inner_loop
            return run(sequences, initial_state, mask=mask, training=training)
        few = looks - {None, math.inf}
        keep = self.return_sequences or looks != few or backend.KEEPS_OUTPUTS
        layer = view(self, cell=view_of_cell(self.cell), return_sequences=keep)
        masks = super(GateRecurrence, layer)
        masks._maybe_reset_dropout_masks(layer.cell)  # Of a run in another thread.
        masks._maybe_config_dropout_masks(layer.cell, sequences[:, 0, :], initial_state)
        result = _stock_loop(layer, sequences, initial_state, mask, training)
        # So Keras marks a layer that ran on cuDNN.
        if self.supports_jit and not layer.supports_jit:
            self.supports_jit = False
        # On TensorFlow, Keras zeroes the wrong steps of an unrolled backward layer
        # (seen in 3.15.1), so its outputs do not tell the states.
        told = keep and not (self.unroll and self.zero_output_for_mask)
        run = _Run(
            sequences, initial_state, mask, training, result[1] if told else None
        )
        for rows in looks:
            if rows is None:
                _replay(self, layer, run, rows)
            else:
                _look(self, layer, run, rows)
        masks._maybe_reset_dropout_masks(layer.cell)
        return result

    def call(self, sequences, initial_state=None, mask=None, training=False, **others):
        """Runs the layer on a sequence."""
        # `others` are the arguments that a subclass of the user's adds.
        arguments = {
            "initial_state": initial_state,
            "mask": mask,
            "training": training,
            **others,
        }
        if not self.return_gates:
            return super().call(sequences, **arguments)
        with collect.Collector([(self, self.cell)]).active() as own:
            outputs = super().call(sequences, **arguments)
        gates = {
            name: ops.cast(signal, self.compute_dtype)
            for name, signal in own.emissions[-1].signals.items()
        }
        return (*outputs, gates) if self.return_state else (outputs, gates)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        """Gives the shapes of what `call` returns."""
        shape = super().compute_output_shape(sequences_shape, initial_state_shape)
        if not self.return_gates:
            return shape
        signal_shape = (*sequences_shape[:2], self.units)
        gates = {name: signal_shape for name in kind_of(self.cell).signals}
        return (*shape, gates) if self.return_state else (shape, gates)

    def compute_mask(self, sequences, mask):
        """Gives each output its mask, and every gate that of the steps."""
        masks = super().compute_mask(sequences, mask)
        if not self.return_gates:
            return masks
        steps = keras.tree.flatten(mask)[0]
        gates = {name: steps for name in kind_of(self.cell).signals}
        return [*masks, gates] if self.return_state else [masks, gates]

    def get_config(self):
        """Gives the stock configuration, and `return_gates` where it is on."""
        config = super().get_config()
        # Left out when it is off, so that the stock class can read the config.
        return {**config, "return_gates": True} if self.return_gates else config


class _Run(NamedTuple):
    """What a layer ran on, and its outputs at every step, where these are known."""

    sequences: Tensor
    initial_state: Any
    mask: Any
    training: Any
    outputs: Tensor | None


def _looks(layer) -> set[float | None]:
    """Returns how many rows of a layer's batch are wanted, each number once."""
    return collect.looks(layer, [cell for _, cell in cells_of(layer)])


def _stock_loop(layer, sequences, initial_state, mask, training):
    """Runs Keras's loop on a view of a gate layer."""
    return super(GateRecurrence, layer).inner_loop(
        sequences, initial_state, mask=mask, training=training
    )


def _look(owner, layer, run: _Run, rows: float) -> None:
    """Replays some rows of a batch, outside the gradient."""

    def pick(values):
        return keras.tree.map_structure(lambda one: _rows_of(one, rows), values)

    with backend.outside_gradient():
        few = [pick(part) for part in (run.sequences, run.initial_state, run.mask)]
        few = _Run(*few, run.training, pick(run.outputs))
        _replay(owner, view(layer, cell=view_of_cell(layer.cell, pick)), few, rows)


def _replay(owner, layer, run: _Run, rows: float | None) -> None:
    """Emits the signals of a sequence; runs it again if its outputs are lacking.

    Args:
        owner: The layer that ran, and whose signals they are.
        layer: The view of it that runs here.
        run: What it ran on.
        rows: How many rows of the batch these are; `None` for all of them.
    """
    sequences, initial_state, mask, training, outputs = run
    if outputs is None:
        every = view(layer, return_sequences=True, zero_output_for_mask=False)
        _, outputs, _ = _stock_loop(every, sequences, initial_state, mask, training)
    mask = _mask_of_steps(mask)
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
        last = number == len(cells)
        hidden = (
            outputs
            if last
            else _run_cell(layer, cell, sequences, first, mask, training)
        )
        hidden = ops.cast(hidden, cell.compute_dtype)
        if mask is not None:
            hidden = equations.hold(hidden, first[0], mask)
        kind = kind_of(cell)
        if kind is not None:
            initial = dict(zip(kind.states, reversed(first), strict=True))
            started_from = equations.before(hidden, first[0])
            blocks = _blocks(cell, sequences, started_from, training)
            signals = equations.replay(kind, blocks, hidden, initial, mask)
            collect.emit(
                collect.Emission(
                    owner, own, signals, initial, mask, layer.go_backwards, rows
                )
            )
        sequences = hidden


def _rows_of(values: Tensor | None, rows: float) -> Tensor | None:
    """Takes some rows of a batch, spread evenly over it, outside the gradient.

    Spread evenly, the rows are the same where a batch is parted among devices.
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


def _mask_of_steps(mask: Tensor | None) -> Tensor | None:
    """Brings a mask to `(batch, time)` booleans."""
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
    _, outputs, _ = _stock_loop(alone, sequences, initial_state, mask, training)
    return outputs


def named_as_stock(cls):
    """Registers a gate class for saving, and gives it the name of the stock class.

    Keras addresses the layers in a weights file, and names them by default, by the
    `__name__` of their class. With the stock name, weights files go both ways.
    """
    keras.saving.register_keras_serializable("keras_gates", cls.__qualname__)(cls)
    cls.__name__ = cls.__qualname__.removeprefix("Gate")
    return cls
