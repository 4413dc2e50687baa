"""JAX, whose training step takes every variable and returns it."""

from __future__ import annotations

import contextlib
import itertools
import time

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import xla_metadata
from jax.experimental.sparse import BCOO
from jax.extend.core import Primitive

from keras_gates.backend import kernel_names as names
from keras_gates.backend.common import (  # noqa: F401
    FAST_KERNELS_GAIN,
    KEEPS_OUTPUTS,
    KEEPS_STEP,
    RandomNumbers,
    gather,
    operations,
    outside_gradient,
    ragged,
    read,
    recomputing,
    replicas,
    reset,
    scope,
    writes,
)

# Keras loses them in a compiled step, as the model does not list them (seen in 3.15.1).
CARRIES_STATES = False


def fast_kernels() -> dict:
    """Returns the kernels that return every signal, by the name of a kind."""
    from keras_gates.backend.jax_gru import gru
    from keras_gates.backend.jax_lstm import lstm

    return {"LSTM": lstm, "GRU": gru}


COMPILES = True
KERNEL_OPERATIONS = {
    "rnn_fwd": names.CUDNN,
    "scan": names.XLA_SCAN,
    "while": names.XLA_SCAN,
}
PRODUCTS = frozenset({"dot_general", "matmul", "dot", "tensordot", "_einsum"})
_BIND = Primitive.bind.__code__


def has_gpu() -> bool:
    """Returns whether JAX runs on a GPU here."""
    return jax.default_backend() == "gpu"


def operation_of(frame) -> str | None:
    """Returns the primitive that a call of its method `bind` traces, or `None`."""
    if frame.f_code is not _BIND:
        return None
    given = frame.f_locals
    name = given["self"].name
    # A function that JAX traced before is not traced again, and has a name.
    return given["params"].get("name", name) if name in ("jit", "pjit") else name


def run_as_keras(function, batch, training: bool, eagerly: bool) -> None:
    """Traces a function as Keras compiles it, or runs it step by step."""
    if eagerly:
        function(batch)
    else:
        jax.eval_shape(function, batch)


# Not in an unrolled loop (seen in 3.15.1).
MASKS_WITH_STATE = True

PATIENCE = 10.0
"""For how many seconds a copy waits for a thread that has the variables."""


def placing(model, variable) -> dict:
    """Returns the arguments that place a new variable where a model's one is."""
    if keras.distribution.distribution() is None:
        return {}
    return {"layout": _read(model, lambda: variable.value.sharding)}


def is_on_accelerator(variable) -> bool:
    """Returns whether a variable is on another device than the CPU."""
    return any(device.platform != "cpu" for device in variable.value.devices())


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
                    "`self.model`, which brings the variables back. A `fit` that ended "
                    "by an error may have lost them: then load the model again."
                ) from error
            time.sleep(0.001)


_numbers = itertools.count()


@contextlib.contextmanager
def opened():
    """Lets functions that were compiled earlier be traced anew."""
    # JAX keeps the traces of a function apart by the metadata of its operations, which
    # change nothing that is computed. What runs step by step would have to be compiled
    # anew, operation by operation.
    if trace() is None:
        yield
        return
    with xla_metadata.set_xla_metadata(keras_gates=str(next(_numbers))):
        yield


def uncompiled():
    """Opens a context in which functions are not compiled at all."""
    return jax.disable_jit()


def trace():
    """Returns what JAX traces at the moment, or `None` where it runs step by step."""
    # Private to JAX; the public `get_opaque_trace_state` does not tell what a trace of
    # a gradient, out of which Keras returns the state, lies in. Without it, JAX itself
    # raises an error about a leaked tracer.
    context = getattr(jax._src.core, "trace_ctx", None)
    return _kept(getattr(context, "trace", None))


def leads_to(outer) -> bool:
    """Returns whether only gradients lie between what is traced now and `outer`."""
    now = trace()
    while now is not outer and type(now).__name__ in _OF_GRADIENTS:
        now = _kept(now.parent_trace)
    return now is outer


def assigns(outer) -> bool:
    """Returns whether a variable keeps what is assigned now, seen from that `outer`."""
    return leads_to(outer)


_OF_GRADIENTS = ("JVPTrace", "LinearizeTrace", "JaxprTrace")


def _kept(trace):
    return None if type(trace).__name__ == "EvalTrace" else trace


def derivatives(function, variables: list) -> tuple[dict, dict]:
    """Returns the derivatives of a number with respect to tensors made on the way."""
    values = [variable.value for variable in variables]
    shapes: dict = {}

    def run(make):
        # What is assigned inside may not leave it but as a result.
        with keras.StatelessScope([*zip(variables, values, strict=True)]) as inside:
            total, others = function(make)
        after = [inside.get_current_value(variable) for variable in variables]
        return total, (others, after)

    def shaped(key, shape, dtype):
        shapes[key] = tuple(shape), dtype
        return jnp.zeros(shape, dtype)

    jax.eval_shape(lambda: run(shaped)[0])
    zeros = [jnp.zeros(*one) for one in shapes.values()]

    def of_zeros(zeros):
        given = dict(zip(shapes, zeros, strict=True))
        return run(lambda key, shape, dtype: given[key])

    found, (others, after) = jax.grad(of_zeros, has_aux=True)(zeros)
    for variable, value, new in zip(variables, values, after, strict=True):
        if new is not None and new is not value:
            variable.assign(new)
    return dict(zip(shapes, found, strict=True)), others


def state_of(model, arguments: tuple):
    """Opens a context in which the model has its variables, which Keras took out."""
    if keras.distribution.distribution() is None:  # Nobody asks for them.
        return contextlib.nullcontext()
    (trainable, others, optimizer, metrics), _ = arguments
    values = zip(
        [
            *model.trainable_variables,
            *model.non_trainable_variables,
            *model.optimizer.variables,
            *model.metrics_variables,
        ],
        [*trainable, *others, *optimizer, *metrics],
        strict=True,
    )
    return keras.StatelessScope(state_mapping=list(values))


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
    places = np.concatenate([indices, outside]).astype("int32")
    # It takes arrays of NumPy as well.
    return BCOO(
        (np.pad(values, (0, missing)), places),  # type: ignore[arg-type]
        shape=shape,
    )


def step_function(model, function, variables: list):
    """Returns a function that is run again and again, as fast as the backend can."""

    @jax.jit
    def run(values, *arguments):
        with keras.StatelessScope([*zip(variables, values, strict=True)]):
            return function(*arguments)

    def run_on_values(*arguments):
        values = _read(model, lambda: [variable.value for variable in variables])
        return run(values, *arguments)

    return run_on_values


whole_function = step_function
