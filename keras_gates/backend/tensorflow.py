"""TensorFlow, alone or under a `tf.distribute` strategy."""

from keras_gates.backend.common import (  # noqa: F401
    CARRIES_STATES,
    RandomNumbers,
    copy_values,
    gather,
    outside_gradient,
    placing,
    run_step,
    writes,
)

# The loop's `TensorArray` would enter the gradient: up to 1.4 times the training step.
KEEPS_OUTPUTS = False


def scope(model):
    """Opens the context in which variables belong to the model's devices."""
    return model.distribute_strategy.scope()


def replicas(model) -> int:
    """Returns into how many parts each batch of the model is split."""
    return model.distribute_strategy.num_replicas_in_sync


def read(model, variables: dict) -> list[dict]:
    """Returns the values of variables, as arrays, once for each replica."""
    local = {name: _local(model, variable) for name, variable in variables.items()}
    return [
        {name: copies[part].numpy() for name, copies in local.items()}
        for part in range(len(next(iter(local.values()))))
    ]


def reset(model, variables: dict, values: dict) -> None:
    """Gives variables the values they start from, on every replica."""
    for name, variable in variables.items():
        for copy in _local(model, variable):
            copy.assign(values[name])


def _local(model, variable) -> tuple:
    return model.distribute_strategy.experimental_local_results(variable.value)
