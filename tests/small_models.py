"""Small models, and functions that train them, for tests of several folders."""

import keras
import numpy as np
from keras import layers


def sequential(*stack, shape):
    return keras.Sequential([keras.Input(shape), *stack])


class Scaled(layers.LSTM):
    """Stands for a user's own layer, derived from the stock layer."""

    def call(self, sequences, initial_state=None, mask=None, training=False):
        return super().call(sequences * 2.0, initial_state, mask, training)


def build(*, units=4, shape=(5, 2), rate=0.0, layer=layers.LSTM, **options):
    keras.utils.set_random_seed(3)
    model = sequential(layer(units, name="r", **options), layers.Dense(1), shape=shape)
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def fit(model, data, recorder, *, batch_size=4, **options):
    options = {"shuffle": False, "verbose": 0, **options}
    callbacks = [*np.ravel(recorder)]
    return model.fit(*data, batch_size=batch_size, callbacks=callbacks, **options)
