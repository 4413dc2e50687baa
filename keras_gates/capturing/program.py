"""The compiled program that runs a model once, and returns the signals of its cells."""

from __future__ import annotations

import contextlib
import functools

import keras

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.capturing.masked_steps import with_masked_steps
from keras_gates.layers.collect import Collector
from keras_gates.models import edit_guards
from keras_gates.models.find_layers import Node
from keras_gates.models.variable_copies import Copies


class Program(keras.Model):
    """A model that runs the user's model and returns the signals of its cells.

    Because it is a Keras model, Keras compiles it on every backend.

    Args:
        model: The user's model.
        nodes: The nodes whose signals are wanted.
        chosen: The names of these signals.
        training: Whether the model runs in training mode.
        copies: Copies of its variables, to be shared with another program.
        fast: The layers that run in a fast kernel.
        sums: Whether to return the pre-activations instead of the signals.
    """

    def __init__(
        self,
        model,
        nodes: list[Node],
        chosen: set[str],
        training: bool,
        copies: Copies | None = None,
        fast=(),
        sums: bool = False,
    ):
        # Inputs go to the user's model unchanged; it casts them itself.
        super().__init__(autocast=False, name="keras_gates")
        self.copies = copies or Copies(model)
        # Not read here: Keras lists the variables that an attribute holds.
        self._variables = self.copies.variables
        self._missed: set[str] = set()
        self._uncompiled = self._ran = False
        # In a partial, so that Keras does not find the model and write to it.
        self._signals = functools.partial(
            _signals, model, nodes, chosen, training, self._missed, fast, sums
        )
        self.run_eagerly = bool(getattr(model, "run_eagerly", False))
        self.built = True

    def run(self, batch) -> dict:
        """Runs one batch, and returns the arrays by path and name."""
        result = self._run(batch)
        if self._missed and not self._ran:
            # Once more, eagerly, without any function that is compiled separately.
            self.copies.take()
            self._missed.clear()
            self._uncompiled = self.run_eagerly = True
            self.predict_function = None
            result = self._run(batch)
        self._ran = True
        if self._missed:
            raise ValueError(
                f"The gates of {sorted(self._missed)} cannot be read: the model runs "
                "them inside a function that the backend differentiates or compiles "
                "separately (such as `keras.remat` or `jax.checkpoint`), which their "
                "values cannot leave. Call these layers outside of that function, or "
                "name other layers in `layers`."
            )
        # In the scope of a `tf.distribute` strategy, which only TensorFlow's models
        # have, every replica runs the whole batch, and the results are joined.
        strategy = getattr(self, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        if replicas == 1:
            return result
        return keras.tree.map_structure(lambda a: a[: len(a) // replicas], result)

    def _run(self, batch) -> dict:
        with backend.uncompiled() if self._uncompiled else contextlib.nullcontext():
            return self.predict_on_batch(batch)

    def call(self, inputs):
        """Runs the user's model on the copies of its variables."""
        with self.copies.in_place():
            return self._signals(inputs)


def _signals(
    model,
    nodes: list[Node],
    chosen: set[str],
    training,
    missed: set[str],
    fast,
    sums,
    inputs,
) -> dict:
    """Runs a model, and returns the signals of its nodes by path and name.

    The paths of the nodes whose signals cannot be returned are added to `missed`.
    """
    paths = {(id(node.layer), id(node.cell)): node.path for node in nodes}
    collector = Collector([(node.layer, node.cell) for node in nodes], None, fast, sums)
    with backend.opened(), collector.active(), edit_guards.counted(model):
        model(inputs, training=training)
    missed.update(paths[id(layer), id(cell)] for layer, cell in collector.missed)
    results = {}
    for emission in collector.emissions:
        key = path = paths[id(emission.layer), id(emission.cell)]
        calls = 1
        while key in results or (calls > 1 and key in paths.values()):
            calls += 1
            key = v.numbered_call(path, calls)
        results[key] = with_masked_steps(emission, chosen)
    return results
