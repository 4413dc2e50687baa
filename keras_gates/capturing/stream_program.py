"""The program that runs a model for a single time step, from states to states."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.capturing.masked_steps import with_masked_steps
from keras_gates.layers.carried_states import Carrying
from keras_gates.layers.collect import Collector
from keras_gates.models.find_layers import Node, walk
from keras_gates.models.instrumenting import instrument_layers

Tensor = Any
_lock = threading.RLock()


class StepProgram:
    """Runs a model for one time step, compiled if the backend compiles.

    Args:
        model: A model that is built.
        layers: The recurrent layers that carry states, by their paths.
        nodes: The nodes whose signals are also returned.
    """

    def __init__(self, model, layers: dict[str, Any], nodes: list[Node] | None = None):
        self._model = model
        self._layers = [*layers.values()]
        self._paths = {id(layer): path for path, layer in layers.items()}
        self._nodes = nodes or []
        variables = variables_of(model)
        self.begin = backend.whole_function(model, self._begin, variables)
        self.step = backend.step_function(model, self._step, variables)
        self.whole = backend.whole_function(model, self._whole, variables)

    def _step(self, inputs, states: dict | None, fresh) -> tuple[Any, dict, dict]:
        """Returns the outputs, the states after the step and the signals of the nodes.

        Args:
            inputs: Sequences of one step, in the structure of the model's inputs.
            states: As for `Carrying`.
            fresh: Likewise.
        """
        carrying = Carrying(self._paths, states, fresh)
        collector = Collector([(node.layer, node.cell) for node in self._nodes])
        collecting = collector.active() if self._nodes else contextlib.nullcontext()
        instrumented = instrument_layers(self._model, self._layers)
        with instrumented, _any_length(self._model), carrying.active(), collecting:
            outputs = run_model(self._model, inputs)
        return outputs, _readable(carrying.after), self._signals(collector)

    def _begin(self, inputs) -> dict:
        """Returns the states after a first step."""
        return self._step(inputs, None, None)[1]

    def _whole(self, inputs) -> Any:
        """Returns the outputs of the model for whole sequences."""
        for layer in self._layers:
            if layer.stateful:
                layer.reset_state()
        with _any_length(self._model):
            return run_model(self._model, inputs)

    def _signals(self, collector: Collector) -> dict[str, dict[str, Tensor]]:
        paths = {(id(node.layer), id(node.cell)): node.path for node in self._nodes}
        calls: dict[str, int] = {}
        found = {}
        for emission in collector.emissions:
            path = paths[id(emission.layer), id(emission.cell)]
            calls[path] = calls.get(path, 0) + 1
            key = v.numbered_call(path, calls[path])
            found[key] = with_masked_steps(emission, set(emission.signals))
        return found


def _readable(states: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns states in types that NumPy supports, which excludes bfloat16."""

    def readable(state: Tensor) -> Tensor:
        brief = keras.backend.standardize_dtype(state.dtype) == "bfloat16"
        return ops.cast(state, "float32") if brief else state

    return {name: readable(state) for name, state in states.items()}


def run_model(model, inputs):
    """Runs a model in inference, on sequences of any length."""
    if _is_graph(model):
        # `call` omits the check of a fixed length, which `__call__` makes.
        return model.call(inputs, training=False)
    return model(inputs, training=False)


def _is_graph(model) -> bool:
    """Returns whether Keras runs a model as a graph of layers."""
    return type(model).call.__module__.startswith("keras.") and hasattr(model, "inputs")


def variables_of(model) -> list:
    """Lists the variables that a run of a model reads."""
    found = [*model.variables]
    for _, layer in walk(model):
        if isinstance(layer, keras.layers.RNN) and layer.states is not None:
            found += keras.tree.flatten(layer.states)  # Keras does not list them.
    return list({id(one): one for one in found}.values())


@contextlib.contextmanager
def _any_length(model) -> Iterator[None]:
    """Lets the models inside a model take sequences of any length in the block."""
    parts = [part for _, part in walk(model) if isinstance(part, keras.Model)]
    if not _is_graph(model):
        parts.append(model)
    fixed = [part for part in parts if hasattr(part, "inputs") and part.input_spec]
    if not fixed:
        yield
        return
    with _lock:
        before = [dict(vars(part)) for part in fixed]
        for part in fixed:
            part.input_spec = None
        try:
            yield
        finally:
            for part, attributes in zip(fixed, before, strict=True):
                for name in set(vars(part)) - set(attributes):
                    del vars(part)[name]
