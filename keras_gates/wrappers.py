"""Keras's wrappers of recurrent layers, made ready for collection."""

import inspect

import keras
from keras import ops

from keras_gates import collect
from keras_gates.layers import named_as_stock


@named_as_stock
class GateBidirectional(keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` that lets its layers speak during collection.

    On a GPU, Keras may compute both directions in one fused kernel that passes by
    the layers. The two methods below are private to Keras and decide about that; if
    they are renamed, the layers emit nothing, and `capture` says so.
    """

    def _can_attempt_fused_lstm(self, *args, **kwargs):
        return not collect.active() and super()._can_attempt_fused_lstm(*args, **kwargs)

    def _can_attempt_fused_gru(self, *args, **kwargs):
        return not collect.active() and super()._can_attempt_fused_gru(*args, **kwargs)


@named_as_stock
class GateTimeDistributed(keras.layers.TimeDistributed):
    """`keras.layers.TimeDistributed` that hands out tensors during collection.

    Keras calls the layer inside a loop or a vectorised map, whose tensors must not
    leave it. During collection the frames are folded into the batch instead.
    """

    def call(self, inputs, training=None, mask=None):
        """Runs the layer on every frame."""
        if not collect.active():
            return super().call(inputs, training=training, mask=mask)
        batch, frames, *rest = ops.shape(inputs)
        kwargs = {}
        if mask is not None and "mask" in inspect.signature(self.layer.call).parameters:
            kwargs["mask"] = ops.reshape(mask, (-1, *ops.shape(mask)[2:]))
        with collect.folded_frames(batch, frames):
            outputs = self.layer(
                ops.reshape(inputs, (-1, *rest)), training=training, **kwargs
            )
        return ops.reshape(outputs, (batch, frames, *ops.shape(outputs)[1:]))
