"""The operations of a traced step, which run one after the other.

Each signal passes through a function right after it is computed.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_gates.cells.dtype_scope import DtypeScope
from keras_gates.cells.held_layers import held_layers
from keras_gates.cells.kind import Change

Tensor = Any


def graph_of(symbols: list, results: list) -> keras.Function:
    """Returns the graph that leads from symbolic inputs to results."""
    computed = [result for result in results if not is_given(result, symbols)]
    return keras.Function(symbols, computed)


def program_of(
    graph: keras.Function,
) -> list[tuple[Callable, Callable, list[int], list[int]]]:
    """Lists the calls of a graph: each function, its arguments, and its results.

    Each call also has the values that are not needed after it. They are dropped, since
    values of a whole sequence are large.

    On PyTorch, a capture by `keras.Function` itself takes twice the time.
    """
    # Private to Keras: the order of the operations, and the arguments of each call. If
    # these are renamed, no cell can be traced.
    depths = sorted(graph._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in graph._nodes_by_depth[depth]]
    last_use = {
        id(tensor): node for node in nodes for tensor in node.arguments.keras_tensors
    }
    kept = {id(tensor) for tensor in graph.outputs}
    spent: dict[int, list[int]] = {}
    for tensor, node in last_use.items():
        if tensor not in kept:
            spent.setdefault(id(node), []).append(tensor)
    program = []
    for node in nodes:
        if not node.is_input:
            operation = node.operation
            whole = isinstance(operation, keras.layers.Layer)
            call = operation if whole else operation.call
            outputs = [id(tensor) for tensor in node.outputs]
            unneeded = spent.get(id(node), [])
            program.append((call, _arguments(node.arguments), outputs, unneeded))
    return program


def _arguments(symbolic) -> Callable[[dict[int, Tensor]], tuple[tuple, dict]]:
    """Returns a function that makes the arguments of a call from tensor values."""
    args, kwargs = symbolic.args, symbolic.kwargs
    named = keras.tree.flatten(kwargs)
    if any(map(keras.tree.is_nested, args)) or any(
        isinstance(value, keras.KerasTensor) for value in named
    ):
        return symbolic.fill_in
    keys = [id(one) if isinstance(one, keras.KerasTensor) else None for one in args]
    pairs = list(zip(keys, args, strict=True))

    def fill_in(values: dict[int, Tensor]) -> tuple[tuple, dict]:
        return tuple(one if key is None else values[key] for key, one in pairs), kwargs

    return fill_in


def run_program(program, graph: keras.Function, given: list[Tensor]) -> list[Tensor]:
    """Returns the outputs of a graph."""
    values = {id(symbol): one for symbol, one in zip(graph.inputs, given, strict=True)}
    for call, arguments, outputs, unneeded in program:
        args, kwargs = arguments(values)
        result = call(*args, **kwargs)
        if len(outputs) == 1 and not keras.tree.is_nested(result):
            values[outputs[0]] = result
        else:
            values.update(zip(outputs, keras.tree.flatten(result), strict=True))
        for tensor in unneeded:
            del values[tensor]
    return [values[id(symbol)] for symbol in graph.outputs]


def is_given(result, symbols: list) -> bool:
    """Returns whether a result is an input or a constant, which nothing computes."""
    symbolic = isinstance(result, keras.KerasTensor)
    return not symbolic or any(result is symbol for symbol in symbols)


def same_as_given(result, symbols: list, given: list) -> Tensor:
    """Returns a result that nothing computes: one of the inputs, or a constant."""
    for symbol, tensor in zip(symbols, given, strict=True):
        if result is symbol:
            return tensor
    return result


class Hooks:
    """Passes the values of some operations through a function while they run."""

    def __init__(self, named: list[tuple[str, Any]]):
        self._local = threading.local()
        for name, operation in named:
            # The trace made the operation, so nothing else uses it.
            vars(operation)["call"] = self._hooked(name, operation.call)

    def _hooked(self, name: str, call: Callable) -> Callable:
        @functools.wraps(call)
        def hooked(*args, **kwargs):
            return self._local.change(name, call(*args, **kwargs))

        return hooked

    @contextlib.contextmanager
    def calling(self, change: Change) -> Iterator[None]:
        """Passes the values through `change` within the block."""
        self._local.change = change
        try:
            yield
        finally:
            del self._local.change


def keep_dtypes(operations: list, cell) -> None:
    """Gives operations the weights of a layer in the dtype of the layer.

    In half precision, layers inside a cell may have a different dtype from the cell's.
    """
    scopes: dict[int, DtypeScope] = {}
    for layer in held_layers(cell, recursive=True):
        if layer.compute_dtype != cell.compute_dtype:
            scope = DtypeScope(layer.dtype_policy)
            scopes |= {id(variable): scope for variable in layer.variables}
    if not scopes:
        return

    def scoped(call: Callable) -> Callable:
        @functools.wraps(call)
        def run(*args, **kwargs):
            found = [scopes[id(one)] for one in args if id(one) in scopes]
            if not found:
                return call(*args, **kwargs)
            return found[0](args[0], run=lambda: call(*args, **kwargs))

        return run

    for operation in operations:
        if not isinstance(operation, keras.layers.Layer):
            vars(operation)["call"] = scoped(operation.call)
