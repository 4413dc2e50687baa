"""Copies of a recurrent layer with some arguments changed, which can run alone."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np

from keras_gates.models.instrumenting import Holder, Instrumented


def arrays_like(shape: tuple, masked: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns zeros of the shape of a layer's input, and a mask if it has one."""
    sizes = [size or default for size, default in zip(shape, (2, 8), strict=False)]
    x = np.zeros((*sizes, *shape[2:]), "float32")
    mask = np.ones(x.shape[:2], bool) if masked else None
    if mask is not None and mask.shape[1] > 1:
        mask[:, -1] = False
    return x, mask


def copy_of(layer: Any, changed: dict[str, Any] | None = None, fast=False) -> Any:
    """Makes a copy of a layer, without its weights and states.

    Args:
        layer: The layer.
        changed: The arguments in which the copy differs.
        fast: Whether it runs in a fast kernel, as after `accelerate`.
    """
    changed = dict(changed or {})
    use_cudnn = changed.pop("use_cudnn", getattr(layer, "use_cudnn", None))
    config = layer.get_config() | {"stateful": False, "return_state": False} | changed
    if "return_gates" in config:
        config["return_gates"] = False
    # Keras's initial values take time to draw, and do not matter here.
    config |= {name: "zeros" for name in config if name.endswith("_initializer")}
    cls: Any = type(layer)
    copy = cls.from_config(config)
    if use_cudnn is not None:
        copy.use_cudnn = use_cudnn  # It is not in the configuration.
    if fast:
        Instrumented(None, [copy], Holder(lasting=True, fast=True))
    return copy


def layer_for_cell(layer: Any, stock: Any) -> Any:
    """Makes Keras's layer for the cell of an `RNN`."""
    made: Any = stock(layer.cell.units)
    config = made.get_config()
    both = layer.get_config() | layer.cell.get_config()
    return copy_of(
        stock.from_config(config | {n: both[n] for n in config if n in both})
    )


@contextlib.contextmanager
def randomness_kept():
    """Leaves Python's random numbers, from which Keras draws seeds, as they were."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
