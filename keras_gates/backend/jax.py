"""JAX, whose training step takes every variable and returns it."""

import time

import jax.numpy as jnp
import keras

from keras_gates.backend.common import (  # noqa: F401
    KEEPS_OUTPUTS,
    RandomNumbers,
    gather,
    outside_gradient,
    read,
    replicas,
    reset,
    scope,
    writes,
)

# Keras loses them in a compiled step, as the model does not list them (seen in 3.15.1).
CARRIES_STATES = False

PATIENCE = 10.0
"""For how many seconds a copy waits for a thread that has the variables."""


def placing(model, variable) -> dict:
    """Returns the arguments that place a new variable where a model's one is."""
    if keras.distribution.distribution() is None:
        return {}
    return {"layout": _read(model, lambda: variable.value.sharding)}


def copy_values(model, variables: list, copies: list) -> None:
    """Gives the copies of a model's variables the values that they have now."""
    # Copied on the device: Keras's steps use up what they are given.
    values = _read(model, lambda: [jnp.copy(variable.value) for variable in variables])
    for copy, value in zip(copies, values, strict=True):
        copy.assign(value)


def _read(model, function):
    """Returns what a function reads of a model's variables.

    While Keras runs `fit` or `predict` on JAX, a model has no values: they are in the
    compiled step, which uses them up. Then this waits for the thread that runs it.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return function()
        except (RuntimeError, TypeError, ValueError) as error:  # Used up, or none.
            if time.monotonic() > end:
                raise RuntimeError(
                    f"The model '{model.name}' trains or runs at this moment, and on "
                    "JAX, Keras takes the variables from a model meanwhile. Capture it "
                    "when that has ended. During training, give a `probe` to a "
                    "`GateRecorder`; or in a callback of your own, capture "
                    "`self.model`, which brings the variables back."
                ) from error
            time.sleep(0.001)


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
