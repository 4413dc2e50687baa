"""Registration of a user's own kind of cell in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.cells.error_words import words_of
from keras_gates.cells.kind import Kind
from keras_gates.cells.kind_attributes import own_kind
from keras_gates.cells.named_states import NamedStates
from keras_gates.cells.registration_checks import (
    check_names,
    check_roles,
    check_step,
    signals_at_work,
)
from keras_gates.checks import names_of, type_of

Tensor = Any


def register_cell(
    cell_class: type,
    *,
    signals: Callable[[Any, Tensor, Any], Mapping[str, Tensor]],
    step: Callable[[Mapping[str, Tensor], Any], Any],
    gates: str | Iterable[str] = (),
    keep: str | None = None,
    write: str | None = None,
    states: str | Iterable[str] = (v.HIDDEN,),
    name: str | None = None,
    example: Any = None,
) -> None:
    """Describes a cell of your own, so that its gates have names.

    From then on, the package supports the cell like Keras's own cells: `capture` inside
    a `keras.layers.RNN`, in stacks and with masks, `GateRecorder`, stores, `verify`,
    the statistics, the figures and the interactive report. A subclass is treated as the
    same cell unless it overrides `call`. A cell that is not registered is traced, and
    its signals have the names of their operations.

    The description is tested on a cell with random weights, and on every cell of the
    class before its signals are read for the first time: `step` must return the states
    that the cell returns, gates must be between 0 and 1, and `keep` must be the
    fraction of the old state that is kept.

    Args:
        cell_class: The class of the cell: a Keras layer with a `state_size`, whose
            `call(inputs, states)` returns the output and the new states.
        signals: Computes the signals of one step, except the states, with `keras.ops`.
            Takes the cell, the inputs `(batch, features)` and the states, and returns
            a dict of names to tensors, each `(batch, units)`. The states can be read
            in the order of `state_size` or by name: `states[0]` or `states["hidden"]`.
        step: Computes the new states from the signals (by name) and the old states (as
            above), with operators or `keras.ops`. Returns one tensor, a list in the
            order of `state_size`, or a dict by name.
        gates: The names of the signals that are gates, between 0 (closed) and 1 (open).
        keep: The gate whose value is the fraction of the old state that is kept: 1
            keeps it. `None` if there is none. `timescale`, `half_life` and
            `memory_horizon` use this gate.
        write: The gate whose value is the fraction of the candidate that is written.
            Default: 1 - `keep`.
        states: The names of the states, in the order of `state_size`. The first one,
            which must be "hidden", is the output of the cell.
        name: The name of the kind of cell. Default: that of the class without "Cell".
        example: A cell of the class for the test, which is not changed. Default:
            `cell_class(3)`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the description contradicts itself, the cell, or the meaning of a
            name in another kind of cell; or if the class or the name is already
            registered. Nothing is registered then.

    Example:
        The minimal gated unit, where a `forget` of 1 *replaces* the state. In Keras's
        LSTM, a `forget` of 1 keeps it, so here the complement is named `keep`:

        >>> import keras, keras_gates, numpy as np
        >>> from keras import ops
        >>> class MGUCell(keras.layers.Layer):
        ...     def __init__(self, units, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.units = self.state_size = units
        ...         self.gate = keras.layers.Dense(units, "sigmoid")
        ...         self.new = keras.layers.Dense(units, "tanh")
        ...
        ...     def build(self, input_shape):
        ...         shape = (*input_shape[:-1], input_shape[-1] + self.units)
        ...         self.gate.build(shape)
        ...         self.new.build(shape)
        ...
        ...     def call(self, inputs, states):
        ...         (hidden,) = states
        ...         forget = self.gate(ops.concatenate([inputs, hidden], -1))
        ...         candidate = self.new(ops.concatenate([inputs, forget * hidden], -1))
        ...         hidden = (1 - forget) * hidden + forget * candidate
        ...         return hidden, [hidden]
        >>> def signals(cell, inputs, states):
        ...     (hidden,) = states
        ...     forget = cell.gate(ops.concatenate([inputs, hidden], -1))
        ...     new = cell.new(ops.concatenate([inputs, forget * hidden], -1))
        ...     return {"keep": 1 - forget, "candidate": new}
        >>> def step(signals, states):
        ...     keep = signals["keep"]
        ...     return keep * states["hidden"] + (1 - keep) * signals["candidate"]
        >>> keras_gates.register_cell(
        ...     MGUCell, signals=signals, step=step, gates=["keep"], keep="keep"
        ... )
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 2)), keras.layers.RNN(MGUCell(4), name="mgu")]
        ... )
        >>> gates = keras_gates.capture(model, np.ones((1, 5, 2)))
        >>> list(gates["mgu"].data_vars), bool(keras_gates.verify(gates)["mgu"] < 1e-5)
        (['keep', 'candidate', 'hidden'], True)
    """
    if not (
        isinstance(cell_class, type) and issubclass(cell_class, keras.layers.Layer)
    ):
        raise TypeError(
            "`cell_class` must be a class of cells, a subclass of "
            f"`keras.layers.Layer`; got {cell_class!r}."
        )
    if issubclass(cell_class, keras.layers.RNN) or not hasattr(cell_class, "call"):
        raise TypeError(
            f"`cell_class` must be the class of a cell, which takes one step; "
            f"`{cell_class.__name__}` is a layer that runs over a sequence."
        )
    for argument, function in (("signals", signals), ("step", step)):
        if not callable(function):
            raise TypeError(
                f"`{argument}` must be a function; got {type_of(function)}."
            )
    kind_name = _name_of(cell_class, name)
    replaced = _refuse_second(cell_class, kind_name)
    none = isinstance(gates, (list, tuple)) and not gates
    gates = () if none else tuple(names_of("gates", gates))
    for argument, gate in (("keep", keep), ("write", write)):
        if gate is not None and not isinstance(gate, str):
            raise TypeError(
                f"`{argument}` must be the name of a gate, or `None`; got "
                f"{type_of(gate)}."
            )
    names = tuple(names_of("states", states))

    def blocks(cell, inputs, values):
        found = signals(cell, inputs, NamedStates(names, values))
        if not isinstance(found, Mapping):
            raise TypeError(
                "`signals` must return a dict of names to tensors; got "
                f"{type_of(found)}"
            )
        return dict(found)

    def new_states(now, before, activation=None):
        arrays = all(isinstance(value, np.ndarray) for value in now.values())
        if arrays:  # `verify` passes arrays; `step` may be written in `keras.ops`.
            now, before = (
                {
                    name: keras.ops.convert_to_tensor(array)
                    for name, array in one.items()
                }
                for one in (now, before)
            )
        given = NamedStates(names, [before[state] for state in names])
        found = _by_name(step(now, given), names)
        if arrays:
            return {n: keras.ops.convert_to_numpy(value) for n, value in found.items()}
        return found

    cell = _example_of(cell_class) if example is None else _checked(example, cell_class)
    found = signals_at_work(cell, names, blocks)
    check_names(tuple(found), names, gates, keep, write)
    kind = own_kind(
        kind_name,
        blocks=tuple(found),
        states=tuple(reversed(names)),
        gates=gates,
        keep=keep,
        write=write,
        cell=cell_class,
        step=new_states,
        signals_of=blocks,
    )
    others = [other for other in registry.KINDS.values() if other is not replaced]
    check_roles(kind, others)
    check_step(kind, cell)
    if replaced is not None:
        del registry.KINDS[replaced.name]
    registry.KINDS[kind_name] = kind


def _name_of(cell_class: type, name: str | None) -> str:
    if name is None:
        return cell_class.__name__.removesuffix("Cell") or cell_class.__name__
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"`name` must be a word, or `None`; got {name!r}.")
    return name


def _refuse_second(cell_class: type, name: str) -> Kind | None:
    """Refuses a class or a name that is registered; returns the kind to be replaced.

    A class that is defined again, as in a notebook, replaces the first one.
    """
    for kind in registry.KINDS.values():
        if kind.cell is cell_class:
            raise ValueError(
                f"`{cell_class.__name__}` is already registered, as '{kind.name}'. To "
                "change its description, define the class again and register it."
            )
    known = registry.KINDS.get(name)
    if known is None:
        return None
    again = (known.cell.__module__, known.cell.__qualname__) == (
        cell_class.__module__,
        cell_class.__qualname__,
    )
    if known.name in registry.STOCK or not again:
        raise ValueError(
            f"There is another kind of cell called '{name}', `{known.cell.__name__}`. "
            "Choose another name with `name=`."
        )
    return known


def _example_of(cell_class: type) -> Any:
    try:
        return cell_class(3)
    except Exception as error:  # A class of the user's own may raise anything.
        raise ValueError(
            f"`{cell_class.__name__}(3)` failed ({words_of(error)}), so there is no "
            "cell to test the description on. Give an instance: `example="
            f"{cell_class.__name__}(...)`."
        ) from error


def _checked(example: Any, cell_class: Any) -> Any:
    if type(example) is not cell_class:
        raise TypeError(
            f"`example` must be a `{cell_class.__name__}`; got {type_of(example)}."
        )
    try:  # A copy: its weights are set at random.
        return cell_class.from_config(example.get_config())
    except Exception as error:  # A class of the user's own may raise anything.
        raise ValueError(
            f"`example` could not be copied ({words_of(error)}). Its class needs a "
            "`get_config` that returns every argument of its `__init__`."
        ) from error


def _by_name(result: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Converts the result of `step` to a dict."""
    if not isinstance(result, Mapping):
        flat = keras.tree.flatten(result)
        if len(flat) != len(names):
            raise ValueError(
                f"`step` must return {len(names)} states, {', '.join(names)}; got "
                f"{len(flat)}."
            )
        result = dict(zip(names, flat, strict=True))
    if set(result) != set(names):
        raise ValueError(
            f"`step` must return the states {', '.join(names)}; got "
            f"{', '.join(map(str, result))}."
        )
    for name, value in result.items():
        if not (keras.ops.is_tensor(value) or isinstance(value, keras.KerasTensor)):
            raise ValueError(
                "`step` must return tensors, computed with operators or `keras.ops`; "
                f"its `{name}` is {type_of(value)}."
            )
    return dict(result)
