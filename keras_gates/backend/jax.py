"""JAX, whose training step takes every variable and returns it."""

from keras_gates.backend.common import (  # noqa: F401
    KEEPS_OUTPUTS,
    gather,
    outside_gradient,
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
