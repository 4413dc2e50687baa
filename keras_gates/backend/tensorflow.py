"""TensorFlow, alone or under a `tf.distribute` strategy."""

from __future__ import annotations

import contextlib
import sys
import threading
import types

import keras
import numpy as np
import tensorflow as tf

from keras_gates.backend import kernel_names as names
from keras_gates.backend.common import (  # noqa: F401
    CARRIES_STATES,
    KEEPS_STEP,
    MASKS_WITH_STATE,
    RandomNumbers,
    Switch,
    copy_values,
    gather,
    operation_of,
    outside_gradient,
    placing,
    run_step,
    state_of,
    whole_function,
    writes,
)
from keras_gates.backend.recorded import Recorded

# The loop's `TensorArray` would enter the gradient: up to 1.4 times the training step.
KEEPS_OUTPUTS = False


def fast_kernels() -> dict:
    """Returns the kernels that return every signal, by the name of a kind."""
    from keras_gates.backend.tensorflow_gru import gru
    from keras_gates.backend.tensorflow_lstm import lstm

    return {"LSTM": lstm, "GRU": gru}


FAST_KERNELS_GAIN = False
COMPILES = True
KERNEL_OPERATIONS = {
    "CudnnRNN": names.CUDNN,
    "CudnnRNNV2": names.CUDNN,
    "CudnnRNNV3": names.CUDNN,
    "While": names.TENSORFLOW_LOOP,
    "StatelessWhile": names.TENSORFLOW_LOOP,
}
PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum"})


def has_gpu() -> bool:
    """Returns whether TensorFlow has a GPU here."""
    return bool(tf.config.list_logical_devices("GPU"))


@contextlib.contextmanager
def operations(note):
    """Reports the operations that this thread runs, or adds to a graph."""
    # Private to TensorFlow, whose debugger observes operations in this way. Without
    # it, `kernels` reports an unknown kernel.
    from tensorflow.python.framework import op_callbacks

    def callback(kind, inputs, attributes, outputs, op_name=None, graph=None):
        note(kind.decode() if isinstance(kind, bytes) else kind)

    op_callbacks.add_op_callback(callback)
    try:
        yield
    finally:
        op_callbacks.remove_op_callback(callback)


def run_as_keras(function, batch, training: bool, eagerly: bool) -> None:
    """Traces a function as Keras compiles it, or runs it step by step."""
    if eagerly:
        function(batch)
    else:
        # As in Keras, which passes its functions without conversion.
        tf.function(function, autograph=False).get_concrete_function(batch)


_anew = threading.local()


@contextlib.contextmanager
def opened():
    """Makes each `tf.function` run its Python code, or be traced again in a graph."""
    if tf.executing_eagerly():
        with uncompiled():
            yield
        return
    outer = getattr(_anew, "copies", None)
    with _copying.on():
        _anew.copies = {}
        try:
            yield
        finally:
            _anew.copies = outer


def _call_copies():
    # The traces of a `tf.function` belong to the object, and TensorFlow has no way to
    # choose among them. So in this thread a copy is called instead. It is private that
    # calls pass through the class, and so is the method that copies.
    function_class = type(tf.function(lambda: None))
    stock = function_class.__call__

    def call(self, *args, **kwargs):
        copies = getattr(_anew, "copies", None)
        if copies is None:
            return stock(self, *args, **kwargs)
        if id(self) not in copies:
            copies[id(self)] = self, self._clone(None)
        return stock(copies[id(self)][1], *args, **kwargs)

    function_class.__call__ = call
    return lambda: setattr(function_class, "__call__", stock)


_copying = Switch(_call_copies)


def uncompiled():
    """Opens a context in which each `tf.function` runs its Python code."""
    return _eagerly.on()


def _run_eagerly():
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    return lambda: tf.config.run_functions_eagerly(before)


_eagerly = Switch(_run_eagerly)


def trace():
    """Returns the graph that is being built, or `None`."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def leads_to(outer) -> bool:
    """Returns whether tensors made now may be returned where `trace` gave `outer`."""
    return trace() is outer and assigns(outer)


def assigns(outer) -> bool:
    """Returns whether a variable keeps a value assigned now, in the trace `outer`."""
    return not _runs_in("_pfor_impl")  # `vectorized_map` converts what is built there.


def recomputing() -> bool:
    """Returns whether a forward pass runs again for the gradient (`keras.remat`)."""
    # `keras.ops.map` runs its function on the first row to get the output's shape.
    return _runs_in("inner_recompute_grad", "get_fn_output_signature")


def _runs_in(*functions: str) -> bool:
    # Private names of TensorFlow and Keras, which offer no other indication.
    frame: types.FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name not in functions:
        frame = frame.f_back
    return frame is not None


def derivatives(function, variables: list) -> tuple[dict, dict]:
    """Returns the derivatives of a number, as `common.derivatives` describes."""
    made = {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def make(key, shape, dtype):
            made[key] = tf.zeros(shape, dtype)
            tape.watch(made[key])
            return made[key]

        total, others = function(make)
    found = tape.gradient(total, [*made.values()], unconnected_gradients="zero")
    return dict(zip(made, found, strict=True)), others


def scope(model):
    """Opens the context in which variables belong to the model's devices."""
    return model.distribute_strategy.scope()


def is_on_accelerator(variable) -> bool:
    """Returns whether a variable is on a device other than the CPU."""
    # The name is empty if TensorFlow has no device for it yet.
    return "CPU" not in (getattr(variable.value, "device", "") or "CPU")


def replicas(model) -> int:
    """Returns the number of parts into which each batch of the model is split."""
    return model.distribute_strategy.num_replicas_in_sync


def read(model, variables: dict) -> list[dict]:
    """Returns the values of variables as arrays, once for each replica."""
    local = {name: _local(model, variable) for name, variable in variables.items()}
    return [
        {name: copies[part].numpy() for name, copies in local.items()}
        for part in range(len(next(iter(local.values()))))
    ]


def reset(model, variables: dict, values: dict) -> None:
    """Sets variables to their initial values, on every replica."""
    for name, variable in variables.items():
        for copy in _local(model, variable):
            copy.assign(values[name])


def _local(model, variable) -> tuple:
    return model.distribute_strategy.experimental_local_results(variable.value)


def sparse(indices, values, shape):
    """Returns a sparse tensor, as the model gets it from `predict`."""
    # Sorted by row, column and so on, as TensorFlow requires.
    order = np.lexsort(indices.T[::-1])
    return tf.SparseTensor(indices[order].astype("int64"), values[order], shape)


def ragged(tensor):
    """Returns a ragged tensor, as the model gets it from `predict`."""
    return tensor


def step_function(model, function, variables: list):
    """Returns a version of a function that is fast when it is called many times."""

    def record(run, tensors: list):
        def run_apart(*tensors):
            with keras.StatelessScope():
                return run([*tensors])

        compiled = tf.function(run_apart, autograph=False)
        concrete = compiled.get_concrete_function(*tensors)
        return lambda tensors: concrete(*tensors)

    return Recorded(function, tf.convert_to_tensor, record)
