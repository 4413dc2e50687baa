"""A cell that is run step by step, and returns its signals at each step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.cells.kind import Change, Kind, unchanged
from keras_gates.cells.random_draws import noticed
from keras_gates.cells.tracing import Traced, Untraceable, trace
from keras_gates.layers.replay import blocks, step_wise
from keras_gates.layers.run_views import view

Tensor = Any


class OpenedCell:
    """The step of a cell, with its signals.

    Each signal passes through a function right after it is computed, before it is used.
    The step runs inside Keras's own call of the cell, which casts its arguments.

    Args:
        cell: The cell, or a view of it, with the dropout that Keras drew.
        kind: Its kind, or `None` for a cell whose signals are not known.
        training: Whether dropout is active.
    """

    def __init__(self, cell, kind: Kind | None, training):
        self._cell = cell
        self._opened = view(cell)
        self._kind = kind
        self._training = training
        self._options = training_option(cell, training)
        self._traced: Traced | None = None
        self._where: Any = None
        self._signals: dict[str, Tensor] = {}
        self._drawless = False

    def __call__(
        self, inputs: Tensor, states: list[Tensor], change: Change | None = None
    ) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Takes one step.

        Args:
            inputs: `(batch, features)`.
            states: The states of the cell, in the order of Keras.
            change: Takes the name and the value of a signal, and returns its value.
                Without it, the stock code of the cell computes the step.

        Returns:
            The output, the new states in the order of Keras, and the signals, each
            `(batch, width)`. The only signal of an unknown cell is its first state, as
            `hidden`.
        """
        opened = self._opened
        vars(opened)["call"] = _with_change(self._step(change), change or unchanged)
        output, after = opened(inputs, states, **self._options)
        signals, self._signals = self._signals, {}
        return output, flat_states(after), signals

    def _step(self, change: Change | None) -> Callable:
        kind = self._kind
        if kind is not None and kind.traced:
            return self._traced_step
        if change is None or kind is None:
            return self._stock_step
        if kind.signals_of is not None:
            return self._traced_step
        # A cell without signals other than its states is run by the stock code.
        return self._changed_step if kind.blocks else self._changed_states

    def _stock_step(self, inputs, states, change, **options):
        output, after = self._called(inputs, states, options)
        if self._kind is None:
            self._signals = {v.HIDDEN: flat_rows(flat_states(after)[0])}
            return output, after
        flat = flat_states(states)
        if self._kind.signals_of is not None:
            signals = self._kind.signals_of(self._cell, inputs, flat)
        else:
            signals = blocks(self._kind, self._cell, inputs, flat[0], self._training)
        self._keep(signals, flat_states(after))
        return output, after

    def _called(self, inputs, states, options):
        """Takes the step of the cell itself."""
        described = self._kind is not None and self._kind.signals_of is not None
        if not (described and self._training) or self._drawless:
            return self._cell.call(inputs, states, **options)
        with noticed(self._cell) as drawn:
            result = self._cell.call(inputs, states, **options)
        if drawn:
            raise ValueError(
                f"The signals of a `{type(self._cell).__name__}` cannot be read in "
                "training: it draws random numbers at each step, and the registered "
                "function `signals` would draw different ones. Move the dropout out of "
                "the cell, or do not register the cell: it is then traced."
            )
        self._drawless = True
        return result

    def _changed_step(self, inputs, states, change, **options):
        """Computes the step by the equations of the kind."""
        kind, cell = self._kind, self._cell
        assert kind is not None and kind.step is not None
        flat = flat_states(states)
        before = dict(zip(kind.states, reversed(flat), strict=True))
        signals = blocks(kind, cell, inputs, flat[0], self._training, change)
        now = kind.step(signals, before, step_wise(cell.activation), change)
        after = [now[name] for name in reversed(kind.states)]
        self._keep(signals, after)
        return after[0], packed(states, after)

    def _changed_states(self, inputs, states, change, **options):
        assert self._kind is not None
        _, after = self._cell.call(inputs, states, **options)
        names = reversed(self._kind.states)
        new = [
            change(name, state)
            for name, state in zip(names, flat_states(after), strict=True)
        ]
        self._keep({}, new)
        return new[0], packed(after, new)

    def _keep(self, signals: dict[str, Tensor], after: list[Tensor]) -> None:
        assert self._kind is not None
        states = dict(zip(self._kind.states, reversed(after), strict=True))
        self._signals = {
            n: flat_rows(value) for n, value in {**signals, **states}.items()
        }

    def _traced_step(self, inputs, states, change, **options):
        assert self._kind is not None
        flat = flat_states(states)
        if self._traced is None or self._where is not backend.trace():
            # Values computed from the weights alone belong to the function that the
            # backend traces at this moment.
            self._where = backend.trace()
            self._traced = self._trace(inputs, flat, options)
        signals: dict[str, Tensor] = {}

        def passing(name, value):
            signals[name] = change(name, value)
            return signals[name]

        output, *after = self._traced.run(inputs, flat, passing)
        if v.HIDDEN in self._kind.blocks:
            signals[v.HIDDEN] = output
        signals = {name: signals[name] for name in self._kind.blocks}
        self._keep(signals, after)
        return output, packed(states, after)

    def _trace(self, inputs, states, options) -> Traced:
        assert self._kind is not None
        try:
            registered = None if self._kind.traced else self._kind
            return trace(self._cell, inputs, states, options, registered)
        except Untraceable as reason:
            when = "in training" if self._training else "on these inputs"
            raise ValueError(
                f"A `{type(self._cell).__name__}` cannot be traced {when}: {reason}. "
                "Leave its layer out by naming the other layers in `layers`, or "
                "describe the cell with `keras_gates.register_cell`."
            ) from reason


def training_option(cell, training) -> dict[str, Any]:
    """Returns `training` as an argument of the `call` of a cell, if it takes one."""
    takes_training = "training" in inspect.signature(cell.call).parameters
    return {"training": training} if takes_training else {}


def _with_change(step: Callable, change: Change) -> Callable:
    def call(inputs, states, **options):
        return step(inputs, states, change, **options)

    return call


def flat_rows(signal: Tensor) -> Tensor:
    """Reshapes the values of a step to `(batch, width)`."""
    if len(signal.shape) == 2:
        return signal
    return ops.reshape(signal, (-1, math.prod(signal.shape[1:])))


def joined(values: list[Tensor]) -> Tensor:
    """Concatenates the results of a step, in a type that can hold all of them."""
    if len(values) == 1:
        return values[0]
    dtype = keras.backend.result_type(*(value.dtype for value in values))
    return ops.concatenate([ops.cast(value, dtype) for value in values], axis=-1)


def flat_states(states) -> list[Tensor]:
    """Lists the states of a cell or a loop.

    At each step of a loop in Python, `keras.tree` takes as long as an addition.
    """
    return list(states) if _is_flat(states) else keras.tree.flatten(states)


def packed(states, flat: list[Tensor]) -> Any:
    """Puts a list of states into the structure of other states."""
    if _is_flat(states):
        return type(states)(flat)
    return keras.tree.pack_sequence_as(states, flat)


def _is_flat(states) -> bool:
    plain = type(states) in (list, tuple)
    return plain and not any(isinstance(one, (list, tuple, dict)) for one in states)
