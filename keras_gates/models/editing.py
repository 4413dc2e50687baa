"""Editing the signals of a model within a block."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import keras

from keras_gates.edits import Edit
from keras_gates.models import edit_guards
from keras_gates.models.edit_plans import Plan, planned, together
from keras_gates.models.edit_programs import programs_of
from keras_gates.models.find_layers import require_call
from keras_gates.models.instrumenting import instrument_layers, layers_to_convert


def edit(model: keras.Model, changes: Mapping[str, Edit | list[Edit]]) -> Edited:
    """Applies a dictionary of edits to signals of a model, within a `with` block.

    A signal is changed right after it is computed and before it is used, and all later
    steps follow from it. Within the block, `predict`, `evaluate`, `fit`, `capture`, a
    `GateRecorder` and a plain call use the edited model. After the block, even after an
    error, the model is as before. Gradients flow through edits: `fit` can train the
    weights with a forget gate clamped to 1, for example. Masked steps stay masked. The
    units, steps and values of an edit are inputs of the compiled program: a later or an
    inner block with other units, steps or values does not compile the model again.

    A function that you compiled yourself around the model (`tf.function`, `jax.jit`)
    ignores the edit if it has run before.

    Args:
        model: A model with recurrent layers that are built.
        changes: A dict. The keys are `"path/signal"`, as in a capture. A value is an
            edit from `keras_gates.edits`, or a list of edits of different places. An
            edit of a layer that is called several times acts on each call.

    Returns:
        A context manager, which yields the model. Several blocks may be nested, if no
        two of their edits overlap.

    Raises:
        IndexError: If a unit or a time step does not exist.
        ValueError: If a key names no layer or signal of the model; if two edits
            overlap, or one chooses nothing; if values have the wrong shape, or exceed
            the precision of the layer; if the layer is inside a `TimeDistributed`.
            Within the block: if `fit` runs with an edit of chosen samples; if the data
            have a different number of samples from the values of an edit; if the model
            is compiled, or if another model that contains it runs.
        RuntimeError: Within the block, if another thread runs the model.
        TypeError: If an argument has the wrong type.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> from keras_gates import edits
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.GRU(4, name="gru")]
        ... )
        >>> x = np.ones((2, 5, 1))
        >>> with keras_gates.edit(model, {"gru/update": edits.clamp(1.0)}):
        ...     kept = model.predict(x, verbose=0)  # Nothing is written.
        >>> float(abs(kept).max())
        0.0
    """
    require_call(model)
    return Edited(model, planned(model, changes))


class Edited:
    """The block of an edit. Use it as a context manager."""

    def __init__(self, model: keras.Model, plan: Plan):
        self.model = model
        self._plan = plan
        self._stack: contextlib.ExitStack | None = None

    def __enter__(self) -> keras.Model:
        if self._stack is not None:
            raise ValueError(
                "This block is already open. Call `edit` once for each block."
            )
        outer = edit_guards.block_of(self.model)
        plan = self._plan if outer is None else together(outer.plan, self._plan)
        program = programs_of(self.model).program(plan)
        with contextlib.ExitStack() as stack:
            nodes = [node for node, _, _ in plan.values()]
            layers = layers_to_convert(self.model, nodes)
            stack.enter_context(instrument_layers(self.model, layers))
            if outer is not None:  # Its variables may be those of this block.
                stack.callback(outer.program.assign, outer.plan)
            block = edit_guards.Block(self.model, plan, program)
            stack.enter_context(edit_guards.guarding(block))
            program.assign(plan)
            if outer is None or outer.program is not program:
                for layer, layer_edit in program.edits:
                    stack.enter_context(layer_edit.in_force(layer))
                stack.enter_context(program.functions_in_place(self.model))
            self._stack = stack.pop_all()
        return self.model

    def __exit__(self, *error):
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(*error)
