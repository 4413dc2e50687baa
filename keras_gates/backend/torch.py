"""PyTorch, alone or in several processes under `DistributedDataParallel`."""

import torch

from keras_gates.backend.common import (  # noqa: F401
    KEEPS_OUTPUTS,
    Switch,
    read,
    reset,
    scope,
    state_of,
)

KEEPS_STEP = False


def uncompiled():
    """Opens a context in which nothing that `torch.compile` made is run."""
    return _eagerly.on()


opened = uncompiled


def trace():
    """Returns what PyTorch traces at the moment, or `None`."""
    if torch.compiler.is_compiling():
        return "torch.compile"
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    # Private to PyTorch, which refuses to change a variable inside of `torch.func`.
    transform = torch._C._functorch.peek_interpreter_stack()
    return transform and ("torch.func", transform.level())


def leads_to(outer) -> bool:
    """Tells whether tensors made now may be returned where `trace` gave `outer`."""
    return trace() == outer


def _run_eagerly():
    set_stance = getattr(torch.compiler, "set_stance", None)  # since PyTorch 2.6
    if set_stance is None:
        return lambda: None
    stance = set_stance("force_eager")
    return lambda: stance.__exit__(None, None, None)


_eagerly = Switch(_run_eagerly)


def run_step(model, function, variables: list, arguments: tuple):
    """Runs a training step, also where Keras compiled it, as Python."""
    with uncompiled():
        return function(*arguments)


def assigns(outer) -> bool:
    """Tells whether a variable keeps what is assigned now, seen from that `outer`."""
    return leads_to(outer)


def recomputing() -> bool:
    """Tells whether a forward pass runs once more for the gradient (`keras.remat`)."""
    # Private to PyTorch, which has no other sign that a backward pass runs. Without
    # it, the forward pass counts double.
    return torch._C._current_graph_task_id() != -1


def outside_gradient():
    """Opens a context in which nothing is kept for the gradient."""
    return torch.no_grad()


def random_state_kept():
    """Opens a context that leaves the backend's own random numbers as they were."""
    # Keras draws from them for a layer with dropout even in inference.
    return torch.random.fork_rng()


def replicas(model) -> int:
    """Returns into how many parts each batch of the model is split."""
    return torch.distributed.get_world_size() if _in_group() else 1


def gather(parts: list) -> list:
    """Returns the parts of all processes that train the model together."""
    if not _in_group():
        return parts
    gathered = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, parts)
    return [part for parts in gathered for part in parts]


def writes() -> bool:
    """Tells whether this process is the one, of all of these, that writes files."""
    return not _in_group() or torch.distributed.get_rank() == 0


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
