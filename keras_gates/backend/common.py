"""What holds where a backend needs nothing special."""

import contextlib

from keras import ops

KEEPS_OUTPUTS = True
"""Whether a training step costs the same if a loop returns the output of every step."""
CARRIES_STATES = True
"""Whether `predict` carries the states of stateful layers from batch to batch."""


def outside_gradient():
    """Opens a context in which nothing is kept for the gradient."""
    return contextlib.nullcontext()


class RandomNumbers:
    """Random numbers for a run, drawn from no generator that others draw from."""

    def apart(self):
        """Opens a context in which this thread draws from them."""
        # Keras draws by the variables of its own `SeedGenerator`.
        return contextlib.nullcontext()


def placing(model, variable) -> dict:
    """Returns the arguments that place a new variable where a model's one is."""
    return {}


def copy_values(model, variables: list, copies: list) -> None:
    """Gives the copies of a model's variables the values that they have now."""
    for variable, copy in zip(variables, copies, strict=True):
        copy.assign(variable)


def scope(model):
    """Opens the context in which variables belong to the model's devices."""
    return contextlib.nullcontext()


def replicas(model) -> int:
    """Returns into how many parts each batch of the model is split."""
    return 1


def read(model, variables: dict) -> list[dict]:
    """Returns the values of variables, as arrays, once for each part of the batch."""
    return [{name: ops.convert_to_numpy(v).copy() for name, v in variables.items()}]


def reset(model, variables: dict, values: dict) -> None:
    """Gives variables the values they start from, on every device."""
    for name, variable in variables.items():
        variable.assign(values[name])


def gather(parts: list) -> list:
    """Returns the parts of all processes that train the model together."""
    return parts


def writes() -> bool:
    """Tells whether this process is the one, of all of these, that writes files."""
    return True


def run_step(model, function, variables: list, arguments: tuple):
    """Runs a compiled training step that changes variables of ours too.

    Args:
        model: The model, in whose lists of variables ours are while this is called.
        function: The step, as Keras compiled it.
        variables: Ours.
        arguments: What Keras calls the step with.
    """
    return function(*arguments)
