"""The defaults, which hold unless a backend needs something special."""

from __future__ import annotations

import contextlib
import threading

import keras
import numpy as np
from keras import ops

KEEPS_OUTPUTS = True
"""Whether a training step costs the same if a loop returns the output of every step."""
CARRIES_STATES = True
"""Whether `predict` carries the states of stateful layers from batch to batch."""

MASKS_WITH_STATE = False
"""Whether Keras's loop outputs a state, not an earlier output, at masked steps."""

KEEPS_STEP = True
"""Whether the training step that Keras compiles keeps the `train_step` of the model.

If not, it is looked up at every batch, and everything runs as Python code.
"""

FAST_KERNELS_GAIN = True
"""Whether training on a CPU takes less time in a fast kernel than in Keras's own."""

COMPILES = False
"""Whether Keras compiles the functions that run a model by default."""

KERNEL_OPERATIONS: dict[str, str] = {}
"""The operations that run a whole sequence, each with the kernel that it belongs to."""

PRODUCTS: frozenset[str] = frozenset()
"""The operations that multiply two matrices."""


def fast_kernels() -> dict:
    """Returns the kernels that return every signal, by the name of a kind.

    Each takes the inputs, the states in Keras's order, the weights of the cell, a mask
    and the dropout of the hidden state, and returns the signals in the order of the
    kind. It is differentiable by the backend, with respect to every signal.
    """
    return {}


def has_gpu() -> bool:
    """Returns whether the backend has a GPU here."""
    return False


@contextlib.contextmanager
def operations(note):
    """Reports the operations that this thread runs or compiles within the block.

    Args:
        note: A function that is called with the name of each operation.
    """
    yield


def operation_of(frame) -> str | None:
    """Returns the operation that a call of a Python function runs, or `None`.

    It is used for a backend that has no other way to report its operations.

    Args:
        frame: The frame of the call, at its beginning.
    """
    return None


def run_as_keras(function, batch, training: bool, eagerly: bool) -> None:
    """Runs a function as `fit` and `predict` do, or traces it as they compile it.

    Args:
        function: Takes the batch. Its results are dropped.
        batch: The inputs, as NumPy arrays.
        training: Whether it runs as in training, where a gradient would follow.
        eagerly: Whether the model asks Keras not to compile.
    """
    function(batch)


def opened():
    """Opens a context in which earlier compiled versions of functions do not run.

    Functions that the backend compiles on their own (`tf.function`, `jax.jit`,
    `torch.compile`) run their Python code within the context: step by step if the
    caller runs so, and otherwise to be compiled again, separately from before.
    """
    return contextlib.nullcontext()


def uncompiled():
    """Opens a context in which such functions are not compiled at all.

    It is used by code that runs step by step itself.
    """
    return contextlib.nullcontext()


def trace():
    """Returns the current trace of the backend, to be compared later."""
    return None


def leads_to(outer) -> bool:
    """Returns whether tensors made now may be returned where `trace` gave `outer`."""
    return True


def assigns(outer) -> bool:
    """Returns whether a variable keeps a value assigned now, in the trace `outer`."""
    return True


def recomputing() -> bool:
    """Returns whether a forward pass runs again for the gradient (`keras.remat`)."""
    return False


class Switch:
    """A setting of a backend for all threads, which is on while any of them needs it.

    Args:
        turn_on: Turns it on, and returns a function that turns it back.
    """

    def __init__(self, turn_on):
        self._turn_on = turn_on
        self._lock = threading.Lock()
        self._blocks = 0

    @contextlib.contextmanager
    def on(self):
        """Opens a context in which it is on; the last context to end turns it back."""
        with self._lock:
            if not self._blocks:
                self._turn_back = self._turn_on()
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._turn_back()


def outside_gradient():
    """Opens a context in which nothing is kept for the gradient."""
    return contextlib.nullcontext()


def derivatives(function, variables: list) -> tuple[dict, dict]:
    """Returns the derivatives of a number with respect to tensors made by a function.

    Args:
        function: Returns the number and a dict of tensors. It takes a function that
            makes the tensors, which are zeros, from a key, a shape and a type.
        variables: The variables that the function reads and changes.

    Returns:
        The derivative for each key, and the dict of tensors.
    """
    raise ValueError("This backend of Keras has no gradients.")


class RandomNumbers:
    """Random numbers for a run, from a generator that nothing else draws from."""

    def apart(self):
        """Opens a context in which this thread draws from them."""
        # Keras draws with the variables of its own `SeedGenerator`.
        return contextlib.nullcontext()


def placing(model, variable) -> dict:
    """Returns the arguments that place a new variable where a model's variable is."""
    return {}


def copy_values(model, variables: list, copies: list) -> None:
    """Gives the copies of a model's variables the values that they have now."""
    for variable, copy in zip(variables, copies, strict=True):
        copy.assign(variable)


def scope(model):
    """Opens the context in which variables belong to the model's devices."""
    return contextlib.nullcontext()


def is_on_accelerator(variable) -> bool:
    """Returns whether a variable is on a device other than the CPU."""
    return False


def replicas(model) -> int:
    """Returns the number of parts into which each batch of the model is split."""
    return 1


def read(model, variables: dict) -> list[dict]:
    """Returns the values of variables as arrays, once for each part of the batch."""
    return [{name: ops.convert_to_numpy(v).copy() for name, v in variables.items()}]


def reset(model, variables: dict, values: dict) -> None:
    """Sets variables to their initial values, on every device."""
    for name, variable in variables.items():
        variable.assign(values[name])


def gather(parts: list) -> list:
    """Returns the parts of all processes that train the model together."""
    return parts


def writes() -> bool:
    """Returns whether this process, among all of these, writes the files."""
    return True


def state_of(model, arguments: tuple):
    """Opens a context in which the model has its variables.

    Args:
        model: The model.
        arguments: The arguments with which Keras calls the training step.
    """
    return contextlib.nullcontext()


def run_step(model, function, variables: list, arguments: tuple):
    """Runs a compiled training step that changes variables of ours too.

    Args:
        model: The model, whose lists of variables hold ours during this call.
        function: The step, as Keras compiled it.
        variables: Our variables.
        arguments: The arguments with which Keras calls the step.
    """
    return function(*arguments)


def sparse(indices, values, shape):
    """Returns a sparse array, as the model gets it from `predict`.

    Args:
        indices: NumPy array, `(values, axes)`, ordered by sample.
        values: NumPy array, `(values,)`.
        shape: The shape of the array.
    """
    dense = np.zeros(shape, values.dtype)
    dense[tuple(indices.T)] = values
    return dense


def ragged(tensor):
    """Returns a ragged tensor of TensorFlow, as the model gets it from `predict`."""
    return tensor.to_tensor().numpy()


def step_function(model, function, variables: list):
    """Returns a version of a function that is fast when it is called many times.

    Args:
        model: The model to which the variables belong.
        function: Takes arrays and returns tensors, each in any structure. Values that
            it assigns to variables are dropped.
        variables: The variables that it reads, with their values at each call.
    """

    def run(*arguments):
        with keras.StatelessScope():
            return function(*arguments)

    return run


def whole_function(model, function, variables: list):
    """Returns a version of a function that is called once; see `step_function`."""
    return step_function(model, function, variables)
