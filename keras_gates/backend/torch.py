"""PyTorch, alone or in several processes under `DistributedDataParallel`."""

from __future__ import annotations

from typing import Any

import keras
import torch
from keras import ops
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from keras_gates.backend import common
from keras_gates.backend import kernel_names as names
from keras_gates.backend.common import (  # noqa: F401
    CARRIES_STATES,
    COMPILES,
    FAST_KERNELS_GAIN,
    KEEPS_OUTPUTS,
    MASKS_WITH_STATE,
    Switch,
    copy_values,
    operation_of,
    placing,
    ragged,
    read,
    reset,
    scope,
    sparse,
    state_of,
)
from keras_gates.backend.recorded import Recorded

KEEPS_STEP = False


def fast_kernels() -> dict:
    """Returns the kernels that return every signal, by the name of a kind."""
    from keras_gates.backend.torch_gru import gru
    from keras_gates.backend.torch_lstm import lstm

    return {"LSTM": lstm, "GRU": gru}


KERNEL_OPERATIONS = {
    "aten::_cudnn_rnn": names.CUDNN,
    "aten::miopen_rnn": names.MIOPEN,
    "aten::mkldnn_rnn_layer": names.ONEDNN,
    "aten::_thnn_fused_lstm_cell": names.FUSED_CELLS,
    "aten::_thnn_fused_gru_cell": names.FUSED_CELLS,
}
PRODUCTS = frozenset({"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"})


def has_gpu() -> bool:
    """Returns whether PyTorch has a GPU here."""
    return torch.cuda.is_available()


def operations(note):
    """Reports the operations that this thread runs within the block."""
    return _Reporting(note)


class _Reporting(TorchDispatchMode):
    """Reports what PyTorch runs, after it has chosen among its implementations."""

    # The module of the class has a private name, but PyTorch documents it.

    def __init__(self, note):
        super().__init__()
        self._note = note

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self._note(function._schema.name)
        return result


def run_as_keras(function, batch, training: bool, eagerly: bool) -> None:
    """Runs a function as `fit` and `predict` do: step by step."""
    with torch.set_grad_enabled(training):
        function(batch)


def uncompiled():
    """Opens a context in which no code that `torch.compile` made is run."""
    return _eagerly.on()


opened = uncompiled


def trace():
    """Returns the current transform of PyTorch, or `None`."""
    if torch.compiler.is_compiling():
        return "torch.compile"
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    # Private to PyTorch, which refuses to change a variable inside of `torch.func`.
    transform = torch._C._functorch.peek_interpreter_stack()
    return transform and ("torch.func", transform.level())


def leads_to(outer) -> bool:
    """Returns whether tensors made now may be returned where `trace` gave `outer`."""
    return trace() == outer


def _run_eagerly():
    stance = torch.compiler.set_stance("force_eager")
    return lambda: stance.__exit__(None, None, None)


_eagerly = Switch(_run_eagerly)


def run_step(model, function, variables: list, arguments: tuple):
    """Runs a training step as Python code, even if Keras compiled it."""
    with uncompiled():
        return function(*arguments)


def assigns(outer) -> bool:
    """Returns whether a variable keeps a value assigned now, in the trace `outer`."""
    return leads_to(outer)


def recomputing() -> bool:
    """Returns whether a forward pass runs again for the gradient (`keras.remat`)."""
    # Private to PyTorch, which offers no other indication that a backward pass runs.
    # Without it, the forward pass is counted twice.
    return torch._C._current_graph_task_id() != -1


def outside_gradient():
    """Opens a context in which nothing is kept for the gradient."""
    return torch.no_grad()


def derivatives(function, variables: list) -> tuple[dict, dict]:
    """Returns the derivatives of a number, as `common.derivatives` describes."""
    made = {}

    def make(key, shape, dtype):
        made[key] = ops.zeros(shape, dtype).requires_grad_()
        return made[key]

    # `predict` runs without gradients.
    with torch.enable_grad():
        total, others = function(make)
        found = torch.autograd.grad(total, [*made.values()], allow_unused=True)
    return {
        key: torch.zeros_like(zeros) if one is None else one
        for (key, zeros), one in zip(made.items(), found, strict=True)
    }, others


class RandomNumbers:
    """Random numbers for a run, from a generator that nothing else draws from.

    They continue from the state of PyTorch's own generator at the start.
    """

    def __init__(self):
        self._generators: dict[torch.device, torch.Generator] = {}

    def apart(self):
        """Opens a context in which this thread draws from them."""
        return _Drawing(self._generators)


class _Drawing(TorchFunctionMode):
    """Makes this thread draw from its own generators, not from PyTorch's.

    Keras draws from PyTorch's generators for every `dropout` without a seed, and for
    recurrent layers even in inference; a user's layer may do so too.
    """

    def __init__(self, generators):
        super().__init__()
        self._generators = generators

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.nn.functional.dropout:
            return self._dropout(*args, **kwargs)
        draws = getattr(function, "__name__", "") in _DRAWING
        if draws and kwargs.get("generator") is None:
            tensors = [one for one in args if isinstance(one, torch.Tensor)]
            where = tensors[0].device if tensors else kwargs.get("device")
            device = torch.device(where or torch.get_default_device())
            if device.type != "meta":
                kwargs["generator"] = self._generator(device)
        return function(*args, **kwargs)

    def _dropout(self, values, p=0.5, training=True, inplace=False):
        # PyTorch's `dropout` takes no generator.
        if not training or p in (0.0, 1.0) or values.device.type == "meta":
            return torch.nn.functional.dropout(values, p, training, inplace)
        generator = self._generator(values.device)
        kept = torch.empty_like(values).bernoulli_(1 - p, generator=generator)
        return values * kept.div_(1 - p)

    def _generator(self, device):
        if device not in self._generators:
            on_cpu = device.type == "cpu"
            state = (
                torch.get_rng_state()
                if on_cpu
                else torch.get_device_module(device).get_rng_state(device)
            )
            self._generators[device] = torch.Generator(device).set_state(state)
        return self._generators[device]


_DRAWING = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"),
    *("poisson", "bernoulli_", "uniform_", "normal_", "exponential_", "random_"),
    *("log_normal_", "cauchy_", "geometric_"),
    *(
        name
        for name in ("rand_like", "randn_like", "randint_like")
        if "generator" in getattr(torch, name).__doc__  # Not in older versions.
    ),
}
"""The names of PyTorch's functions that take a generator."""


def is_on_accelerator(variable) -> bool:
    """Returns whether a variable is on a device other than the CPU."""
    return variable.value.device.type != "cpu"


def replicas(model) -> int:
    """Returns the number of parts into which each batch of the model is split."""
    return torch.distributed.get_world_size() if _in_group() else 1


def gather(parts: list) -> list:
    """Returns the parts of all processes that train the model together."""
    if not _in_group():
        return parts
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, parts)
    return [part for parts in gathered for part in parts]


def writes() -> bool:
    """Returns whether this process, among all of these, writes the files."""
    return not _in_group() or torch.distributed.get_rank() == 0


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def step_function(model, function, variables: list):
    """Returns a version of a function that is fast when it is called many times."""

    def record(run, tensors: list):
        @torch.no_grad()
        def run_on_values(*tensors):
            given = iter(tensors)
            pairs = [(variable, next(given)) for variable in variables]
            with keras.StatelessScope(pairs):
                return run([*given])

        # Keras's own code takes ten times as long as the operations of PyTorch for a
        # single time step.
        program = _recorded(run_on_values, [*values(), *tensors], len(variables))
        return torch.no_grad()(lambda tensors: program(*values(), *tensors))

    def values() -> list:
        return [variable.value for variable in variables]

    return Recorded(function, ops.convert_to_tensor, record)


def whole_function(model, function, variables: list):
    """Returns a version of a function that is called once; see `step_function`."""
    return torch.no_grad()(common.step_function(model, function, variables))


def _recorded(function, tensors: list, kept: int):
    """Returns the recorded operations of a function, or the function itself.

    The function itself is returned if its branches depend on values, or if it takes
    values out of PyTorch: its operations then differ with other values.

    Args:
        function: Takes and returns tensors.
        tensors: The arguments with which it is recorded.
        kept: The number of weights, which are the first of the arguments.
    """
    others = [*tensors[:kept], *map(_varied, tensors[kept:])]
    try:
        graph = make_fx(function)(*tensors)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        pairs = zip(graph(*others), function(*others), strict=True)
        same = all(torch.allclose(*pair, equal_nan=True) for pair in pairs)
    except Exception:  # Code of the user's own may do anything.
        same = False
    return graph.forward if same else function


def _varied(tensor):
    """Returns other values of the same kind."""
    if tensor.dtype == torch.bool:
        return ~tensor
    if tensor.is_floating_point():
        return tensor.nan_to_num() * 0.5 + 0.1
    return torch.zeros_like(tensor)
