"""Keras's wrappers of recurrent layers, made ready for collection."""

import keras
from keras import ops

from keras_gates import collect
from keras_gates.layers import GateGRU, GateLSTM, GateRNN
from keras_gates.recurrence import named_as_stock


@named_as_stock
class GateBidirectional(keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` that lets its layers speak during collection.

    On a GPU, Keras may compute both directions in one fused kernel that passes by
    the layers. Where there is no such kernel, the two methods below, private to
    Keras, raise this error, and Keras calls the layers. If they are renamed, the
    layers emit nothing, and `capture` says so.
    """

    def _call_fused_lstm(self, *args, **kwargs):
        if collect.active():
            raise NotImplementedError
        return super()._call_fused_lstm(*args, **kwargs)

    def _call_fused_gru(self, *args, **kwargs):
        if collect.active():
            raise NotImplementedError
        return super()._call_fused_gru(*args, **kwargs)


@named_as_stock
class GateTimeDistributed(keras.layers.TimeDistributed):
    """`keras.layers.TimeDistributed` that hands out tensors during collection.

    Keras calls the layer inside a loop or a vectorised map, whose tensors must not
    leave it. During collection the frames are folded into the batch, and Keras sees
    a single frame.
    """

    def call(self, inputs, training=None, mask=None):
        """Runs the layer on every frame."""
        if not collect.active() or _disagree(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        batch, frames, *rest = ops.shape(inputs)
        if mask is not None:
            mask = ops.reshape(mask, (batch * frames, 1, *ops.shape(mask)[2:]))
        with collect.folded_frames(batch, frames):
            outputs = super().call(
                ops.reshape(inputs, (batch * frames, 1, *rest)),
                training=training,
                mask=mask,
            )
        return ops.reshape(outputs, (batch, frames, *ops.shape(outputs)[2:]))


def _disagree(inputs, mask) -> bool:
    """Tells whether a mask cannot be for the inputs, of which Keras then complains."""
    if mask is None:
        return False
    sizes = zip(inputs.shape[:2], (*mask.shape, 0, 0), strict=False)
    return any(None not in pair and pair[0] != pair[1] for pair in sizes)


GATE_CLASSES = {
    keras.layers.LSTM: GateLSTM,
    keras.layers.GRU: GateGRU,
    keras.layers.RNN: GateRNN,
    keras.layers.Bidirectional: GateBidirectional,
    keras.layers.TimeDistributed: GateTimeDistributed,
}
"""Each stock class to the class that an instrumented layer has in its place."""


def added(layer) -> set[str]:
    """Returns the names that a user's subclass adds to Keras's class and to ours."""
    known = {base for cls in GATE_CLASSES.values() for base in cls.__mro__}
    return {name for cls in set(type(layer).__mro__) - known for name in vars(cls)}
