"""How a backward pass goes through the steps of a sequence."""

from __future__ import annotations

import torch

CHUNK = 1 << 17
"""How many values of the blocks a chunk has at most: half a megabyte of float32."""


def chunks(time: int, width: int) -> tuple[int, list[tuple[int, int]]]:
    """Parts the steps of a sequence into chunks.

    Args:
        time: The number of steps.
        width: How many values a step has.

    Returns:
        The size of the largest chunk, and each chunk, the last one first: its first
        step, and the one behind its last.
    """
    size = max(1, min(time, CHUNK // width))
    return size, [(max(0, end - size), end) for end in range(time, 0, -size)]


def refuse_second_derivatives() -> None:
    """Raises an error where a backward pass is to be differentiated in turn."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            '`kernel="fast"` has no second derivatives on PyTorch, which '
            '`create_graph=True` asks for. Use the layer with `kernel="keras"`.'
        )
