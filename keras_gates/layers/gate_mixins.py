"""Mixins that enable a stock recurrent layer or cell to return its gates.

The output of a gate layer is computed by the stock Keras code. The gates are computed
separately, from the sequence of hidden states that this code produced (see `replay`).
They are computed only if they are wanted: by the layer itself with
`return_gates=True`, or by a collector that is active while a model runs (see
`capture`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import keras
from keras import ops

from keras_gates.backend import backend
from keras_gates.cells.known_cells import StockEquations, cells_of, known_kind
from keras_gates.checks import flag
from keras_gates.layers import carried_states, collect, signal_changes
from keras_gates.layers.fast_loop import require_kernel, run_fast
from keras_gates.layers.observed_loop import run_observed, runs_in_loop
from keras_gates.layers.replay import LayerRun, as_read, blocks, replay, replay_rows
from keras_gates.layers.run_views import beneath, view, view_of_cell

# The classes below are mixed with Keras's. A type checker must know their attributes.
if TYPE_CHECKING:
    from keras.layers import RNN as _Layer
else:
    _Layer = object


class GateCell(StockEquations):
    """The code that gate cells share: the stock step, and its gates if requested."""

    def call(self, inputs, states, training=False, return_gates=False):
        """Takes one step."""
        step = super().call  # type: ignore[misc]  # That of Keras's cell.
        output, new_states = step(inputs, states, training=training)
        if not return_gates:
            return output, new_states
        hidden = keras.tree.flatten(states)[0]
        kind = known_kind(self)
        gates = blocks(kind, self, inputs, hidden, training)
        # In Keras's order the hidden state comes first; in `Kind.states`, last.
        after = reversed(keras.tree.flatten(new_states))
        gates.update(zip(kind.states, after, strict=True))
        return output, new_states, gates


class GateRecurrence(_Layer):
    """The code that gate layers share: the stock layer, and the replay of its gates."""

    return_gates = False
    kernel = "keras"
    supports_jit: bool

    def ask_for_gates(self, return_gates):
        """Sets whether the layer returns its gates."""
        return_gates = flag("return_gates", return_gates)
        if return_gates and self.activity_regularizer is not None:
            raise ValueError(
                "`activity_regularizer` cannot be used with `return_gates=True`: Keras "
                "applies it to everything that a layer returns, so it would include "
                "the gates. Add a penalty with `add_loss` instead."
            )
        self.return_gates = return_gates

    def choose_kernel(self, kernel):
        """Sets the kernel that runs the layer."""
        self.kernel = require_kernel(self, kernel)

    @property
    def variables(self):
        """Lists the variables of the layer, of its collectors, and of an edit.

        In a step that JAX compiles, only listed variables can change.
        """
        stock = beneath(GateRecurrence, self).variables
        return [*stock, *collect.variables(self), *signal_changes.variables(self)]

    # Keras stores the dropout masks of a run on the cell, for every thread: it draws
    # them before `inner_loop`, and drops them after it. An observed run has its own.

    def _maybe_config_dropout_masks(self, *arguments):
        if not _runs_apart(self):
            _dropout(self, "config", *arguments)

    def _maybe_reset_dropout_masks(self, *arguments):
        if not _runs_apart(self):
            _dropout(self, "reset", *arguments)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Runs the stock loop, and emits the gates to the collectors."""
        # They are not recorded in the cell: with cuDNN and other fused kernels the cell
        # never runs. `inner_loop` is the one place every kernel passes through.
        wanted_rows = _wanted_rows(self)
        carrying = carried_states.current()
        if carrying is not None and carrying.carries(self):
            return carrying.run(self, sequences, initial_state, mask, wanted_rows)
        if not _runs_apart(self) and self.kernel == "fast":
            return run_fast(self, self, sequences, initial_state, mask, training)
        if not _runs_apart(self):
            run = beneath(GateRecurrence, self).inner_loop
            return run(sequences, initial_state, mask=mask, training=training)
        few = wanted_rows - {None, math.inf}
        keep = self.return_sequences or wanted_rows != few or backend.KEEPS_OUTPUTS
        observed = runs_in_loop(self) or signal_changes.are_changed(self)
        fast = self.kernel == "fast" or (not training and collect.may_be_fast(self))
        # A fast kernel does not emit pre-activations.
        fast = fast and not collect.wants_sums(self, [c for _, c in cells_of(self)])
        stock = not observed and not fast
        options = {"return_sequences": keep} if stock else {}
        layer = view(self, cell=view_of_cell(self.cell), **options)
        _dropout(layer, "reset", layer.cell)  # Masks of another thread.
        _dropout(layer, "config", layer.cell, sequences[:, 0, :], initial_state)
        if not stock:
            run_loop = run_observed if observed else run_fast
            result = run_loop(
                self, layer, sequences, initial_state, mask, training, wanted_rows
            )
            _dropout(layer, "reset", layer.cell)
            return result
        result = layer.stock_loop(sequences, initial_state, mask, training)
        # This is how Keras marks a layer that ran on cuDNN.
        if self.supports_jit and not layer.supports_jit:
            self.supports_jit = False
        # On TensorFlow, Keras zeroes the wrong steps of an unrolled backward layer
        # (seen in 3.15.1), so its outputs do not give the states.
        usable = keep and not (self.unroll and self.zero_output_for_mask)
        outputs = as_read(self, result[0], result[1]) if usable else None
        run = LayerRun(sequences, initial_state, mask, training, outputs)
        for rows in wanted_rows:
            if rows is None:
                replay(self, layer, run, rows)
            else:
                replay_rows(self, layer, run, rows)
        _dropout(layer, "reset", layer.cell)
        return result

    def stock_loop(self, sequences, initial_state, mask, training):
        """Runs Keras's own loop, on a view of a layer."""
        return super().inner_loop(
            sequences, initial_state, mask=mask, training=training
        )

    def call(self, sequences, initial_state=None, mask=None, training=False, **others):
        """Runs the layer on a sequence."""
        # `others` are arguments that a user's subclass adds.
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
        """Returns the shapes of the results of `call`."""
        shape = super().compute_output_shape(sequences_shape, initial_state_shape)
        if not self.return_gates:
            return shape
        signal_shape = (*sequences_shape[:2], self.units)
        gates = {name: signal_shape for name in known_kind(self.cell).signals}
        return (*shape, gates) if self.return_state else (shape, gates)

    def compute_mask(self, sequences, mask):
        """Returns the mask of each output; every gate has the mask of the steps."""
        masks = super().compute_mask(sequences, mask)
        if not self.return_gates:
            return masks
        steps = keras.tree.flatten(mask)[0]
        gates = {name: steps for name in known_kind(self.cell).signals}
        return [*masks, gates] if self.return_state else [masks, gates]

    def get_config(self):
        """Returns the stock configuration, and our arguments without the defaults."""
        config = super().get_config()
        # The defaults are left out, so that the stock class can read the config.
        if self.return_gates:
            config["return_gates"] = True
        if self.kernel != "keras":
            config["kernel"] = self.kernel
        return config


def _wanted_rows(layer) -> set[float | None]:
    """Returns the numbers of rows of a layer's batch that are wanted, each once."""
    return collect.wanted_rows(layer, [cell for _, cell in cells_of(layer)])


def _runs_apart(layer) -> bool:
    """Returns whether the signals or states of a run are read, changed or carried."""
    read = bool(_wanted_rows(layer)) or carried_states.carries(layer)
    return read or signal_changes.are_changed(layer)


def _dropout(layer, what: str, *arguments) -> None:
    """Makes Keras draw the dropout masks of a run (`"config"`), or `"reset"` them."""
    # Private to Keras. If the methods are renamed, runs in several threads disturb
    # each other's dropout, as they do in Keras.
    stock = beneath(GateRecurrence, layer)
    method = getattr(stock, f"_maybe_{what}_dropout_masks", None)
    if method is not None:
        method(*arguments)


def named_as_stock(cls):
    """Registers a gate class for saving, and gives it the name of the stock class.

    Keras identifies the layers in a weights file, and names layers by default, by the
    `__name__` of their class. With the stock name, weights files work in both
    directions.
    """
    keras.saving.register_keras_serializable("keras_gates", cls.__qualname__)(cls)
    cls.__name__ = cls.__qualname__.removeprefix("Gate")
    return cls
