"""Zeros that are added to signals while a layer runs, to take derivatives at them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from keras_gates.layers.layer_edits import Place

Tensor = Any

_local = threading.local()


class Zeros:
    """Tensors of zeros that are added to signals, at which derivatives are taken.

    Args:
        chosen: For each layer, by its `id`: the places whose signals they are added to,
            `None` for its input.
        make: Makes one tensor from its key, its shape and its type. A key is the `id`
            of a layer, a place in it or `None`, and the number of its call, from 1.

    Attributes:
        masks: For each layer, by its `id`, and number of a call: where its steps are
            unmasked, if it had a mask.
    """

    def __init__(
        self,
        chosen: dict[int, list[Place | None]],
        make: Callable[[tuple, tuple, str], Tensor],
    ):
        self._chosen = chosen
        self._make = make
        self._calls: dict[int, int] = {}
        self.masks: dict[tuple[int, int], Tensor] = {}

    @contextlib.contextmanager
    def added(self) -> Iterator[Zeros]:
        """Adds the zeros within the block, in this thread."""
        before = getattr(_local, "zeros", None)
        _local.zeros = self
        try:
            yield self
        finally:
            _local.zeros = before

    def wanted(self, layer) -> bool:
        """Returns whether zeros are added to the signals of a layer."""
        return id(layer) in self._chosen

    def places(self, layer) -> list[Place | None]:
        """Returns the places of a layer that is called now at which zeros are added."""
        self._calls[id(layer)] = self._calls.get(id(layer), 0) + 1
        return self._chosen[id(layer)]

    def at(self, layer, place: Place | None, shape: tuple, dtype: str) -> Tensor:
        """Returns the zeros for a place in the call of a layer that runs now."""
        key = id(layer), place, self._calls[id(layer)]
        return self._make(key, shape, dtype)

    def masked(self, layer, mask: Tensor | None) -> None:
        """Notes the mask of the call of a layer that runs now."""
        if mask is not None:
            self.masks[id(layer), self._calls[id(layer)]] = mask


def zeros_of(layer) -> Zeros | None:
    """Returns the zeros that are added to the signals of a layer now, if any."""
    zeros: Zeros | None = getattr(_local, "zeros", None)
    return zeros if zeros is not None and zeros.wanted(layer) else None
