"""JAX, whose training step takes every variable and returns it."""

import time

import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental.sparse import BCOO

from keras_gates.backend.common import (  # noqa: F401
    KEEPS_OUTPUTS,
    RandomNumbers,
    gather,
    outside_gradient,
    ragged,
    read,
    replicas,
    reset,
    scope,
    writes,
)

PATIENCE = 10.0
"""For how many seconds a copy waits for a thread that has the variables."""


def layout(variable):
    """Returns how a variable is spread over devices, as Keras's `layout` takes it."""
    # Without a distribution, Keras takes none.
    return variable.value.sharding if keras.distribution.distribution() else None


def copy_values(model, variables: list, copies: list) -> None:
    """Gives the copies of a model's variables the values that they have now.

    While Keras runs `fit` or `predict` on JAX, a model has no values: they are in the
    compiled step, which uses them up. Then this waits for the thread that runs it.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            # Copied on the device: Keras's steps use up what they are given.
            values = [jnp.copy(variable.value) for variable in variables]
            break
        except (RuntimeError, TypeError) as error:  # Deleted, or none.
            if time.monotonic() > end:
                raise RuntimeError(
                    f"The variables of the model '{model.name}' are in use: another "
                    "thread trains or runs it, and on JAX, Keras takes them from the "
                    "model meanwhile. Capture when it has ended, or train with a "
                    "`GateRecorder`, which reads a `probe` in between."
                ) from error
            time.sleep(0.001)
    for copy, value in zip(copies, values, strict=True):
        copy.assign(value)


def run_step(model, function, variables: list, arguments: tuple):
    """Runs a compiled training step that changes variables of ours too.

    The state that Keras hands to the step holds the model's own variables; ours are
    put in where the model lists them, and taken out of what comes back.
    """
    (trainable, others, *rest), iterator = arguments
    own = {id(variable) for variable in variables}
    listed = model.non_trainable_variables
    others = iter(others)
    state = [v.value if id(v) in own else next(others) for v in listed]
    logs, (trainable, state, *rest) = function((trainable, state, *rest), iterator)
    others = []
    for variable, value in zip(listed, state, strict=True):
        if id(variable) in own:
            variable.assign(value)
        else:
            others.append(value)
    return logs, (trainable, others, *rest)


def sparse(indices, values, shape):
    """Returns a sparse array, as the model gets it from `predict`."""
    # Filled up, at places outside of the array, to a power of two: every new number
    # of values would compile the model anew.
    missing = (1 << (len(values) - 1).bit_length() if len(values) else 1) - len(values)
    outside = np.broadcast_to(shape, (missing, len(shape)))
    return BCOO(
        (
            np.pad(values, (0, missing)),
            np.concatenate([indices, outside]).astype("int32"),
        ),
        shape=shape,
    )
