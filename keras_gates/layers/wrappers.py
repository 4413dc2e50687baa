"""Keras's wrappers of recurrent layers, adapted for collection."""

from __future__ import annotations

import functools

import keras
from keras import ops

from keras_gates.layers import collect
from keras_gates.layers.gate_layers import GATE_LAYERS
from keras_gates.layers.gate_mixins import named_as_stock
from keras_gates.layers.run_views import beneath
from keras_gates.layers.signal_changes import are_changed


@named_as_stock
class GateBidirectional(keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` that calls its layers during collection.

    On a GPU, Keras may compute both directions in one fused kernel, without calling
    the layers. Where there is no such kernel, the methods `_call_fused_*`, private to
    Keras, raise `NotImplementedError`, and Keras calls the layers. If these methods are
    renamed, the layers emit nothing, and `capture` reports that they did not run.
    """


def _unless_collecting(name: str):
    """Makes a method that refuses the fused kernel of that name during collection.

    It also refuses the kernel while the signals of the layers are changed.
    """

    def call_fused(self, *args, **kwargs):
        directions = self.forward_layer, self.backward_layer
        if collect.active() or any(map(are_changed, directions)):
            raise NotImplementedError
        return getattr(beneath(GateBidirectional, self), name)(*args, **kwargs)

    return call_fused


for _method in dir(keras.layers.Bidirectional):
    if _method.startswith("_call_fused_"):
        setattr(GateBidirectional, _method, _unless_collecting(_method))


@named_as_stock
class GateTimeDistributed(keras.layers.TimeDistributed):
    """`keras.layers.TimeDistributed` whose layer emits tensors during collection.

    Keras calls the layer in a loop over the frames, or, where their number is not
    known, in a vectorised map, whose tensors must not leave it. In that case, during
    collection, the frames are folded into the batch, and Keras sees a single frame.
    """

    def call(self, inputs, training=None, mask=None):
        """Runs the layer on every frame."""
        options = {"training": training, "mask": mask}
        if not collect.active():
            return beneath(GateTimeDistributed, self).call(inputs, **options)
        if inputs.shape[1] is not None:
            join = functools.partial(collect.stack_frames, frames=inputs.shape[1])
            with collect.frames(join):
                return beneath(GateTimeDistributed, self).call(inputs, **options)
        batch, frames, *rest = ops.shape(inputs)
        if mask is not None:
            options["mask"] = ops.reshape(
                mask, (batch * frames, 1, *ops.shape(mask)[2:])
            )
        join = functools.partial(collect.unfold_frames, frames=frames)
        with collect.frames(join, folded=frames):
            folded = ops.reshape(inputs, (batch * frames, 1, *rest))
            outputs = beneath(GateTimeDistributed, self).call(folded, **options)
        return ops.reshape(outputs, (batch, frames, *ops.shape(outputs)[2:]))


GATE_CLASSES = {
    **GATE_LAYERS,
    keras.layers.Bidirectional: GateBidirectional,
    keras.layers.TimeDistributed: GateTimeDistributed,
}
"""For each stock class, the class that an instrumented layer has instead."""


def added(layer) -> set[str]:
    """Returns the names that a user's subclass adds to Keras's class and our class."""
    known = {base for cls in GATE_CLASSES.values() for base in cls.__mro__}
    return {name for cls in set(type(layer).__mro__) - known for name in vars(cls)}
