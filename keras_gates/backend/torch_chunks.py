"""The chunks of steps in which a backward pass goes through a sequence."""

from __future__ import annotations

import torch

CHUNK = 1 << 17
"""The largest number of block values in a chunk: half a megabyte in float32."""


def chunks(time: int, width: int) -> tuple[int, list[tuple[int, int]]]:
    """Splits the steps of a sequence into chunks.

    Args:
        time: The number of steps.
        width: The number of values of a step.

    Returns:
        The size of the largest chunk, and the chunks, the last one first. Each is given
        by its first step and the step after its last.
    """
    size = max(1, min(time, CHUNK // width))
    return size, [(max(0, end - size), end) for end in range(time, 0, -size)]


def refuse_second_derivatives() -> None:
    """Raises an error if a backward pass is to be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            '`kernel="fast"` has no second derivatives on PyTorch, which '
            '`create_graph=True` requires. Use the layer with `kernel="keras"`.'
        )
