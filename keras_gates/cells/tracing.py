"""Cells without a description: their activations, which are found by tracing.

A cell that is called with symbolic tensors leaves a graph of Keras's operations. The
activations in this graph are the signals of the cell.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras

from keras_gates import vocabulary as v
from keras_gates.cells.error_words import words_of
from keras_gates.cells.held_layers import held_layers
from keras_gates.cells.kind import Change, Kind
from keras_gates.cells.random_draws import Drawn, refused
from keras_gates.cells.traced_graph import (
    Hooks,
    graph_of,
    is_given,
    keep_dtypes,
    program_of,
    run_program,
    same_as_given,
)

Tensor = Any

_lock = threading.RLock()

SIGMOIDS = ("sigmoid", "hard_sigmoid")
"""The activations with values between 0 and 1 that do not depend on other units."""


@functools.cache
def _activation_names() -> dict[str, str]:
    """Maps names without underscores to those of Keras's activations, and `exp`."""
    named = [name for name in dir(keras.activations) if not name.startswith("_")]
    helpers = ("get", "serialize", "deserialize", "linear")
    return {
        name.replace("_", ""): name for name in [*named, "exp"] if name not in helpers
    }


class Untraceable(Exception):
    """The reason why a cell cannot be traced."""


class Traced(NamedTuple):
    """A step of a cell, as operations.

    Attributes:
        run: Computes the output and the new states from the inputs and the states, as
            a flat list. Each signal and each state passes through a function of its
            name and value before anything else is computed from it.
        widths: How many numbers each signal has for each sample.
        output: The number of the state that is the output too, or `None`.
        width: How many numbers the output has for each sample.
    """

    run: Callable[[Tensor, list[Tensor], Change], list[Tensor]]
    widths: dict[str, int]
    output: int | None
    width: int


def trace(
    cell, inputs: Any, states: list[Any], options: dict, kind: Kind | None = None
) -> Traced:
    """Traces the step of a cell.

    Call it where the cell runs: values that the cell computes from its weights alone
    become constants of the traced step.

    Args:
        cell: A cell that is built.
        inputs: The inputs of the cell, or anything with their `shape` and `dtype`.
        states: The states, or anything with their `shape` and `dtype`.
        options: Further arguments for the `call` of the cell.
        kind: The kind that was registered for the cell, whose functions are traced
            instead of its `call`.

    Raises:
        Untraceable: If it uses something other than Keras's operations.
    """
    with _lock, refused(cell), _operations_of_layers(cell) as origins:
        symbols = [
            # Named, so that the numbers in the names of the user's inputs stay.
            keras.Input(
                batch_shape=tensor.shape,
                dtype=keras.backend.standardize_dtype(tensor.dtype),
                name=f"keras_gates_input_{number}",
            )
            for number, tensor in enumerate((inputs, *states))
        ]
        try:
            described: dict[str, Any] = {}
            if kind is None:
                output, after = cell.call(symbols[0], symbols[1:], **options)
            else:
                described, after = _as_described(kind, cell, symbols)
                output = after[0]
            for tensor, origin in origins.values():
                tensor._keras_history = origin  # See `_operations_of_layers`.
            results = [output, *keras.tree.flatten(after)]
            graph = graph_of(symbols, [*results, *described.values()])
        # Code of the user's own may raise anything.
        except Exception as error:
            raise Untraceable(_reason(error)) from error
    named = _named(graph.operations)
    if kind is not None:
        named = {n: _maker(value, graph.operations) for n, value in described.items()}
        for name, operation in named.items():
            if operation is None:
                raise Untraceable(
                    f"its signal `{name}` is not the result of one operation"
                )
    keep_dtypes(graph.operations, cell)
    own = [number for number, state in enumerate(results[1:]) if state is output]
    carried = _carried(kind, results, own)
    makers = {name: _maker(results[n], graph.operations) for name, n in carried.items()}
    hooked = [*named.items(), *makers.items()]
    hooks = Hooks([(name, one) for name, one in hooked if one is not None])
    widths = {}
    for name, operation in named.items():
        shape = operation.output.shape[1:]
        if None in shape:
            raise Untraceable(f"the shape of its `{name}` is not known")
        widths[name] = math.prod(shape)
    program = program_of(graph)

    def run(inputs: Tensor, states: list[Tensor], change: Change) -> list[Tensor]:
        given = [inputs, *states]
        with hooks.calling(change):
            computed = iter(run_program(program, graph, given))
        values = [
            same_as_given(result, symbols, given)
            if is_given(result, symbols)
            else next(computed)
            for result in results
        ]
        for name, number in carried.items():
            if makers[name] is None:  # Nothing else is computed from it.
                changed = change(name, values[number])
                values = [
                    changed if result is results[number] else value
                    for result, value in zip(results, values, strict=True)
                ]
        return values

    return Traced(run, widths, own[0] if own else None, math.prod(output.shape[1:]))


def _reason(error: Exception) -> str:
    if isinstance(error, Drawn):
        return "it draws random numbers at every step"
    message = words_of(error)
    if "KerasTensor cannot be used as input to a JAX function" in message:
        return (
            "it uses a function of JAX, or a weight is the left operand of an operator "
            "with a tensor; write it with `keras.ops`, and `x * weight`"
        )
    return f"it must be written with `keras.ops` and Keras layers ({message})"


def _as_described(kind: Kind, cell, symbols: list) -> tuple[dict, list]:
    """Returns the signals of a registered cell, and its states after a step."""
    assert kind.signals_of is not None and kind.step is not None
    signals = kind.signals_of(cell, symbols[0], symbols[1:])
    before = dict(zip(kind.states, reversed(symbols[1:]), strict=True))
    now = kind.step(signals, before, None)
    return signals, [now[name] for name in reversed(kind.states)]


def _carried(kind: Kind | None, results: list, own: list[int]) -> dict[str, int]:
    """Returns the name of each state, and the index of its result; the output last."""
    number = len(results) - 1
    if kind is not None:
        return {name: number - n for n, name in enumerate(kind.states)}
    names = {v.HIDDEN if n in own[:1] else f"state_{n}": n + 1 for n in range(number)}
    return names if own else {**names, v.HIDDEN: 0}


def _maker(value: Any, operations: list) -> Any:
    """Returns the operation that has a value as its only result, or `None`."""
    # Private to Keras: which operation a symbolic tensor comes from. If it is renamed,
    # no registered cell can be edited.
    history = getattr(value, "_keras_history", None)
    if history is None or not any(history.operation is one for one in operations):
        return None
    operation = history.operation
    whole = isinstance(operation, keras.layers.Layer)  # It may be a user's layer.
    return None if whole or isinstance(operation.output, (list, tuple)) else operation


def _named(operations: list) -> dict[str, Any]:
    """Names the activations among operations, in the order in which they were made."""
    found = []
    for operation in operations:
        name = _activation_names().get(type(operation).__name__.lower())
        if name is not None and not isinstance(operation, keras.layers.Layer):
            found.append((_number(operation.output), name, operation))
    found.sort(key=lambda one: one[0])
    seen: Counter[str] = Counter()
    named = {}
    for _, name, operation in found:
        named[f"{name}_{seen[name]}" if seen[name] else name] = operation
        seen[name] += 1
    return named


def _number(tensor) -> int:
    """Returns the number of a symbolic tensor, which is part of its name in Keras."""
    found = re.search(r"_(\d+)$", tensor.name)
    return int(found.group(1)) if found else 0


@contextlib.contextmanager
def _operations_of_layers(cell) -> Iterator[dict]:
    """Records the operations of the layers inside a cell in the graph.

    Called with symbolic tensors, a layer adds itself to the graph, not its operations.
    The dict that is yielded maps the outputs of layers to their operations.
    """
    # Private to Keras: which operation a symbolic tensor comes from, and the nodes that
    # a layer keeps of its graphs. If these are renamed, no cell can be traced.
    layers = held_layers(cell, recursive=True)
    nodes = [(one, len(one._inbound_nodes), len(one._outbound_nodes)) for one in layers]
    origins: dict[int, tuple[Any, Any]] = {}

    def inline(layer, *args, **kwargs):
        stays = type(layer).symbolic_call
        if not _same_as_its_operations(layer):
            return stays(layer, *args, **kwargs)
        try:
            outputs = layer.call(*args, **kwargs)
        # A layer that uses more than Keras's operations, such as random numbers, stays
        # whole.
        except Exception:
            return stays(layer, *args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            origin = getattr(tensor, "_keras_history", None)
            origins.setdefault(id(tensor), (tensor, origin))
        return outputs

    for layer in layers:
        vars(layer)["symbolic_call"] = functools.partial(inline, layer)
    try:
        yield origins
    finally:
        for layer, inbound, outbound in nodes:
            del vars(layer)["symbolic_call"]
            del layer._inbound_nodes[inbound:], layer._outbound_nodes[outbound:]


def _same_as_its_operations(layer) -> bool:
    """Returns whether a layer inside a cell can be replaced by its operations."""
    return (
        layer.activity_regularizer is None
        and getattr(layer, "quantization_mode", None) is None
    )
