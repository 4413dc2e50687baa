"""PyTorch, alone or in several processes under `DistributedDataParallel`."""

import torch

from keras_gates.backend.common import (  # noqa: F401
    KEEPS_OUTPUTS,
    ragged,
    read,
    reset,
    run_step,
    scope,
    sparse,
)


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
