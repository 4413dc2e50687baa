"""Small studies, for tests of several folders."""

import math

import keras
import numpy as np
import pandas
import xarray

from keras_gates.study.comparing import compare
from keras_gates.study.result import Study

SAMPLES = 20


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


X, Y = draw(SAMPLES, 5, 1), draw(SAMPLES, 1)


X_VAL, Y_VAL = draw(6, 5, 1), draw(6, 1)


VALIDATION = (X_VAL, Y_VAL)


def compiled(layers, **options):
    model = keras.Sequential(layers)
    model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
    return model


def build_lstm():
    """Has dropout, which the seed must govern like the weights."""
    layers = [keras.layers.LSTM(2), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    return compiled(layers, metrics=["mae"])


def build_dense(**options):
    return compiled([keras.layers.Flatten(), keras.layers.Dense(1)], **options)


def build_rival():
    return build_dense(metrics=["mae"])


def run(models, x=X, y=Y, **options):
    """Runs a small study; the last of its three batches is smaller than the others."""
    small = {"validation_data": VALIDATION, "seeds": 1, "epochs": 1, "batch_size": 8}
    return compare(models, x, y, **{**small, **options})


def study_of(losses):
    """Returns a study with the given final validation losses, without training."""
    names, seeds = list(losses), range(len(next(iter(losses.values()))))
    rows = [
        {
            "architecture": name,
            "seed": seed,
            "parameters": 1234,
            "first_epoch_seconds": 2.0,
            "epoch_seconds": 0.25,
            "val_loss": losses[name][seed],
            "diverged": not math.isfinite(losses[name][seed]),
        }
        for seed in seeds
        for name in names
    ]
    history = xarray.Dataset(
        coords={"architecture": names, "seed": list(seeds), "epoch": [1, 2]}
    )
    return Study(runs=pandas.DataFrame(rows), history=history)
