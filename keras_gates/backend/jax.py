"""JAX, whose training step takes every variable and returns it."""

import numpy as np
from jax.experimental.sparse import BCOO

from keras_gates.backend.common import (  # noqa: F401
    KEEPS_OUTPUTS,
    gather,
    outside_gradient,
    ragged,
    random_state_kept,
    read,
    replicas,
    reset,
    scope,
    writes,
)


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
