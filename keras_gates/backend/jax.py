"""JAX, where the training step takes and returns every variable."""

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
    # JAX does not trace a function again that it traced before, but reports its name.
    return given["params"].get("name", name) if name in ("jit", "pjit") else name


def run_as_keras(function, batch, training: bool, eagerly: bool) -> None:
    """Traces a function as Keras compiles it, or runs it step by step."""
    if eagerly:
        function(batch)
    else:
        jax.eval_shape(function, batch)


# Keras does not do so in an unrolled loop (seen in 3.15.1).
MASKS_WITH_STATE = True

PATIENCE = 10.0
"""The number of seconds for which a copy waits for a thread that has the variables."""


def placing(model, variable) -> dict:
    """Returns the arguments that place a new variable where a model's variable is."""
    if keras.distribution.distribution() is None:
        return {}
    return {"layout": _read(model, lambda: variable.value.sharding)}


def is_on_accelerator(variable) -> bool:
    """Returns whether a variable is on a device other than the CPU."""
    return any(device.platform != "cpu" for device in variable.value.devices())


def copy_values(model, variables: list, copies: list) -> None:
    """Gives the copies of a model's variables the values that they have now."""
    # Copied on the device, since Keras's steps consume their arguments.
    values = _read(model, lambda: [jnp.copy(variable.value) for variable in variables])
    for copy, value in zip(copies, values, strict=True):
        copy.assign(value)


def _read(model, function):
    """Returns the result of a function that reads a model's variables.

    While Keras runs `fit` or `predict` on JAX, the variables of a model have no values:
    the compiled step has them, and consumes them. In that case, this waits for the
    thread that runs the step.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return function()
        except (RuntimeError, TypeError, ValueError) as error:  # Consumed, or none.
            if time.monotonic() > end:
                raise RuntimeError(
                    f"The model '{model.name}' is training or running at this moment. "
                    "On JAX, Keras then takes the variables out of the model. Capture "
                    "it when the run has ended. To capture during training, give a "
                    "`probe` to a `GateRecorder`; or capture `self.model` in a "
                    "callback of your own, which brings the variables back. A `fit` "
                    "that ended with an error may have lost them: in that case, load "
                    "the model again."
                ) from error
            time.sleep(0.001)


_numbers = itertools.count()


@contextlib.contextmanager
def opened():
    """Makes JAX trace functions again that were compiled earlier."""
    # JAX distinguishes the traces of a function by the metadata of its operations. The
    # metadata do not change the computation. Code that runs step by step would have to
    # be compiled again, operation by operation.
    if trace() is None:
        yield
        return
    with xla_metadata.set_xla_metadata(keras_gates=str(next(_numbers))):
        yield


def uncompiled():
    """Opens a context in which functions are not compiled at all."""
    return jax.disable_jit()


def trace():
    """Returns the current trace of JAX, or `None` where it runs step by step."""
    # Private to JAX. The public `get_opaque_trace_state` does not give the outer trace
    # of a trace for a gradient, out of which Keras returns the state. Without it, JAX
    # itself raises an error about a leaked tracer.
    context = getattr(jax._src.core, "trace_ctx", None)
    return _kept(getattr(context, "trace", None))


def leads_to(outer) -> bool:
    """Returns whether only traces of gradients are between this trace and `outer`."""
    now = trace()
    while now is not outer and type(now).__name__ in _OF_GRADIENTS:
        now = _kept(now.parent_trace)
    return now is outer


def assigns(outer) -> bool:
    """Returns whether a variable keeps a value assigned now, in the trace `outer`."""
    return leads_to(outer)


_OF_GRADIENTS = ("JVPTrace", "LinearizeTrace", "JaxprTrace")


def _kept(trace):
    return None if type(trace).__name__ == "EvalTrace" else trace


def derivatives(function, variables: list) -> tuple[dict, dict]:
    """Returns the derivatives of a number, as `common.derivatives` describes."""
    values = [variable.value for variable in variables]
    shapes: dict = {}

    def run(make):
        # Values that are assigned inside may leave it only as results.
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
    if keras.distribution.distribution() is None:  # They are not needed.
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

    The state that Keras passes to the step holds the model's own variables. Ours are
    inserted where the model lists them, and taken out of the result.
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
    # Filled up to a power of two, at places outside the array: every new number of
    # values would compile the model again.
    missing = (1 << (len(values) - 1).bit_length() if len(values) else 1) - len(values)
    outside = np.broadcast_to(shape, (missing, len(shape)))
    places = np.concatenate([indices, outside]).astype("int32")
    # `BCOO` accepts NumPy arrays too.
    return BCOO(
        (np.pad(values, (0, missing)), places),  # type: ignore[arg-type]
        shape=shape,
    )


def step_function(model, function, variables: list):
    """Returns a version of a function that is fast when it is called many times."""

    @jax.jit
    def run(values, *arguments):
        with keras.StatelessScope([*zip(variables, values, strict=True)]):
            return function(*arguments)

    def run_on_values(*arguments):
        values = _read(model, lambda: [variable.value for variable in variables])
        return run(values, *arguments)

    return run_on_values


whole_function = step_function
