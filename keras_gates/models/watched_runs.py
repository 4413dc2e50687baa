"""Watching a model run: the operations that each recurrent layer actually runs.

No part of the model or of Keras is replaced. Python itself reports the calls and the
exceptions of the thread that runs the model, and the backend reports its operations.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from typing import Any

import keras

from keras_gates.backend import backend, keras_sources
from keras_gates.backend import kernel_names as names
from keras_gates.cells.known_cells import cells_of
from keras_gates.layers import fast_loop


@dataclasses.dataclass(eq=False)
class Run:
    """The record of one run of a layer.

    Attributes:
        layer: The layer.
        shape: The shape of its input, `(batch, time, ...)`; `None` where it is not
            known.
        masked: Whether a mask arrived at it.
        compiled: Whether it was traced, to be compiled, and did not run at once.
        ran: The operations, and the number of times each ran or was compiled.
        cell_calls: The number of times Keras called the cell, as in its general loop.
        fast: Whether it ran in a fast kernel of this package.
        errors: The exceptions that Keras caught.
        dropped: The kernels whose result Keras dropped, because of an exception.
    """

    layer: Any
    shape: tuple[int | None, ...]
    masked: bool
    compiled: bool
    ran: Counter[str] = dataclasses.field(default_factory=Counter)
    cell_calls: int = 0
    fast: bool = False
    errors: list[Caught] = dataclasses.field(default_factory=list)
    dropped: list[str] = dataclasses.field(default_factory=list)

    @property
    def kernel(self) -> str:
        """The name of the kernel that ran the layer."""
        if self.fast:
            return names.FAST
        for operation, kernel in backend.KERNEL_OPERATIONS.items():
            if self.ran[operation]:
                return kernel
        products = max((self.ran[name] for name in backend.PRODUCTS), default=0)
        steps = self.shape[1] if len(self.shape) > 1 else None
        if steps is not None and max(products, self.cell_calls) >= steps:
            return names.UNROLLED if self.compiled else names.PYTHON_LOOP
        return names.UNKNOWN

    def caught(self, error: BaseException, frame) -> None:
        """Notes an exception, and that the results of the run so far are dropped."""
        if any(one.error is error for one in self.errors):
            return
        kernel = self.kernel
        if kernel in backend.KERNEL_OPERATIONS.values():
            self.dropped.append(kernel)
        self.ran.clear()
        self.cell_calls, self.fast = 0, False
        self.errors.append(Caught(error, frame.f_code.co_name, frame.f_lineno))


@dataclasses.dataclass(frozen=True, eq=False)
class Caught:
    """An exception that Keras caught.

    Attributes:
        error: The exception.
        function: The function of Keras that it passed through first.
        line: The line of that function.
    """

    error: BaseException
    function: str
    line: int


class Watch:
    """Watches the runs of recurrent layers in this thread.

    Args:
        layers: The layers, and the `Bidirectional` wrappers around them.
        compiled: Whether what runs is traced, to be compiled, and not run at once.

    Attributes:
        runs: The record of each run, in order.
    """

    def __init__(self, layers: list, compiled: bool):
        self.runs: list[Run] = []
        self._compiled = compiled
        both = keras.layers.Bidirectional
        self._wrappers = {id(one): one for one in layers if isinstance(one, both)}
        self._layers = {id(one): one for one in layers if id(one) not in self._wrappers}
        self._cells = {
            id(cell) for layer in self._layers.values() for _, cell in cells_of(layer)
        }
        # The functions are kept, so that no other code object gets the same `id`.
        self._functions = {id(one.__code__): one for one in keras_sources.functions()}
        self._open: list[tuple[Any, Run, int]] = []

    @contextlib.contextmanager
    def active(self):
        """Watches within the block. A debugger that traces calls pauses there."""
        before = sys.gettrace()
        with backend.operations(self._note):
            sys.settrace(self._called)
            try:
                yield
            finally:
                sys.settrace(before)

    def _note(self, operation: str) -> None:
        if self._open:
            self._open[-1][1].ran[operation] += 1

    def _called(self, frame, event, _):
        """Is called by Python at the start of each call."""
        name = frame.f_code.co_name
        if name == "bind":
            operation = backend.operation_of(frame)
            if operation is not None:
                self._note(operation)
            return None
        if name in ("inner_loop", "call"):
            owner = id(frame.f_locals.get("self"))
            known = self._layers if name == "inner_loop" else self._wrappers
            if owner in known and not self._is_open(known[owner]):
                run = self._run(known[owner], frame.f_locals)
                self._open.append((frame, run, len(self.runs)))
                return self._in_run(frame)
            if self._open and owner in self._cells:
                self._open[-1][1].cell_calls += 1
        elif name == "run_fast" and frame.f_code is fast_loop.run_fast.__code__:
            self._fast()
        if self._open and self._is_of_keras(frame.f_code):
            return self._in_run(frame)
        return None

    def _is_of_keras(self, code) -> bool:
        of_layers = keras_sources.is_of_recurrent_layers(code.co_filename)
        return of_layers or id(code) in self._functions

    def _in_run(self, frame):
        frame.f_trace_lines = False
        return self._raised_or_ended

    def _raised_or_ended(self, frame, event, value):
        """Is called by Python when a watched call raises or ends."""
        if event == "exception":
            error = value[1]
            if self._open and not isinstance(error, (StopIteration, GeneratorExit)):
                self._open[-1][1].caught(error, frame)
        elif event == "return" and self._open and self._open[-1][0] is frame:
            self._close()
        return self._raised_or_ended

    def _is_open(self, layer) -> bool:
        return any(run.layer is layer for _, run, _ in self._open)

    def _run(self, layer, arguments: dict) -> Run:
        sequences = keras.tree.flatten(arguments.get("sequences"))
        shape = getattr(sequences[0], "shape", ()) if sequences else ()
        masks = keras.tree.flatten(arguments.get("mask"))
        masked = any(one is not None for one in masks)
        run = Run(layer, tuple(shape), masked, self._compiled)
        # A `Bidirectional` may have tried a kernel for its layers before it ran them.
        if self._open and id(self._open[-1][1].layer) in self._wrappers:
            run.errors += self._open[-1][1].errors
            run.dropped += self._open[-1][1].dropped
        return run

    def _close(self) -> None:
        _, run, first = self._open.pop()
        if id(run.layer) not in self._wrappers:
            self.runs.append(run)
            return
        # Both layers ran in one kernel, which does not call them.
        for layer in (run.layer.forward_layer, run.layer.backward_layer):
            if not any(one.layer is layer for one in self.runs[first:]):
                self.runs.append(dataclasses.replace(run, layer=layer))

    def _fast(self) -> None:
        if self._open:
            self._open[-1][1].fast = True


def watched_runs(
    function, layers: list, batch: Any, training: bool, eagerly: bool
) -> list[Run]:
    """Runs a function as Keras runs it, and returns the records of the layers' runs.

    Args:
        function: Takes a batch, and calls the layers.
        layers: The recurrent layers, and the `Bidirectional` wrappers around them.
        batch: The inputs.
        training: Whether to run as in training.
        eagerly: Whether the model asks Keras not to compile it.
    """
    watch = Watch(layers, backend.COMPILES and not eagerly)

    def run(batch):
        # States, seeds and statistics assigned in the scope are dropped at its end.
        with backend.opened(), keras.StatelessScope(), watch.active():
            function(batch)

    supports = {id(layer): layer.supports_jit for layer in layers}
    try:
        with backend.RandomNumbers().apart():
            backend.run_as_keras(run, batch, training, eagerly)
    finally:
        for layer in layers:
            # Keras notes in this attribute that a layer ran on cuDNN.
            if layer.supports_jit != supports[id(layer)]:
                layer.supports_jit = supports[id(layer)]
            _forget_dropout(layer)
    return watch.runs


def _forget_dropout(layer) -> None:
    """Drops the dropout masks that a failed run has left on the cells."""
    if isinstance(layer, keras.layers.RNN):
        for _, cell in cells_of(layer):
            for name in ("reset_dropout_mask", "reset_recurrent_dropout_mask"):
                getattr(cell, name, lambda: None)()
