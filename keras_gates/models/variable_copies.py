"""Copies of a model's variables, which a run reads and writes instead.

The variables of a model are shared by all threads that use it. A run on copies sees
one state of the model from its first batch to its last, and leaves the model alone.
"""

from __future__ import annotations

import contextlib
import threading

import keras

from keras_gates.backend import backend
from keras_gates.models.find_layers import walk

_building = threading.RLock()


class Copies:
    """Copies of all variables that a run of a model reads and changes.

    Args:
        model: A model whose layers have their weights.

    Attributes:
        variables: The copies. The compiled model must list them: in a step that JAX
            compiles, only listed variables can change.
    """

    def __init__(self, model: keras.Model):
        originals = [*model.variables, *model.metrics_variables]
        listed = {id(one) for one in originals}
        # Keras does not list the states of stateful layers.
        for _, layer in walk(model):
            if isinstance(layer, keras.layers.RNN) and layer.states is not None:
                originals += keras.tree.flatten(layer.states)
        self._model = model
        self._originals = list({id(one): one for one in originals}.values())
        self._carried = [
            backend.CARRIES_STATES or id(one) in listed for one in self._originals
        ]
        self.variables = [
            keras.Variable(
                "zeros",
                shape=tuple(one.shape),
                dtype=one.dtype,
                trainable=False,
                aggregation=one.aggregation,
                # Without a name, Keras would count it with the user's variables.
                name=f"copy_{number}",
                **backend.placing(model, one),
            )
            for number, one in enumerate(self._originals)
        ]

    def take(self) -> None:
        """Sets the copies to the current values of the model's variables."""
        backend.copy_values(self._model, self._originals, self.variables)

    def changing(self) -> list:
        """Returns the values of the copies that running the model may change."""
        return [
            None if one.trainable else keras.ops.convert_to_numpy(copy.value).copy()
            for one, copy in zip(self._originals, self.variables, strict=True)
        ]

    def rewind(self, values: list) -> None:
        """Sets the copies back to the values that `changing` returned, if any."""
        for copy, value in zip(self.variables, values, strict=False):
            if value is not None:
                copy.assign(value)

    def value_of(self, variable):
        """Returns the value of a variable's copy, or of the variable if it has none."""
        for original, copy in zip(self._originals, self.variables, strict=True):
            if original is variable:
                variable = copy
                break
        return keras.ops.convert_to_numpy(variable.value)

    @contextlib.contextmanager
    def in_place(self):
        """Replaces the model's variables by the copies, in this thread."""
        pairs = list(zip(self._originals, self.variables, strict=True))
        with keras.StatelessScope(pairs) as scope:
            before = [scope.get_current_value(one) for one in self._originals]
            yield
        everything = zip(pairs, before, self._carried, strict=True)
        for (one, copy), value, carried in everything:
            if carried and scope.get_current_value(one) is not value:
                copy.assign(scope.get_current_value(one))


def finish_building(model: keras.Model, batch) -> None:
    """Makes a model create the weights that it does not have yet."""
    with _building:
        if not model.built:
            # As in `predict`. In a scope, a stateful layer could not make its states.
            model(batch)
            for _, layer in walk(model):
                if isinstance(layer, keras.layers.RNN) and layer.stateful:
                    layer.reset_state()
        elif not all(layer.built for _, layer in walk(model)):
            # Keras makes the weights at the end of the scope, and changes no variables.
            with keras.StatelessScope():
                model(batch, training=False)
