"""What layers hand out while a model runs, and who receives it.

Tensors kept on a layer would be leaked tracers after a compiled call. So a layer hands
them to the collectors that are active at that moment, within the same call.
"""

import contextlib
import threading
from typing import Any, NamedTuple

from keras import ops

Tensor = Any
_local = threading.local()


class Emission(NamedTuple):
    """The signals of one call of a layer, in the order in which it worked.

    Attributes:
        layer: The recurrent layer.
        cell: Its cell, or the one of its stack that the signals belong to.
        signals: Signal name to `(batch, time, units)`, or
            `(batch, frame, time, units)` inside a `TimeDistributed`.
        initial: State name to `(batch, units)`, the state before the first step.
        mask: `(batch, time)`, true where a step is real, or `None`.
        go_backwards: Whether the layer read its input from the end.
    """

    layer: Any
    cell: Any
    signals: dict[str, Tensor]
    initial: dict[str, Tensor]
    mask: Tensor | None
    go_backwards: bool


class Collector:
    """Receives what the wanted layers emit while it is active.

    Args:
        places: Pairs of a layer and a cell of it, whose signals are wanted.
    """

    def __init__(self, places):
        self._wanted = {(id(layer), id(cell)) for layer, cell in places}
        self.emissions: list[Emission] = []

    def wants(self, layer, cell) -> bool:
        """Tells whether the signals of a cell in a layer are wanted."""
        return (id(layer), id(cell)) in self._wanted

    @contextlib.contextmanager
    def active(self):
        """Collects within the `with` block, in this thread."""
        _stack().append(self)
        try:
            yield self
        finally:
            _stack().remove(self)


def active() -> bool:
    """Tells whether anybody collects in this thread."""
    return bool(_stack())


def wanted(layer, cell) -> bool:
    """Tells whether an active collector wants the signals of a cell in a layer."""
    return any(collector.wants(layer, cell) for collector in _stack())


def _stack() -> list[Collector]:
    if not hasattr(_local, "collectors"):
        _local.collectors = []
    return _local.collectors


def emit(emission: Emission) -> None:
    """Hands signals to every active collector that wants them."""
    emission = _unfold_frames(emission)
    for collector in _stack():
        if collector.wants(emission.layer, emission.cell):
            collector.emissions.append(emission)


@contextlib.contextmanager
def folded_frames(batch, frames):
    """Marks that the frames of a `TimeDistributed` are folded into the batch."""
    if getattr(_local, "frames", None) is not None:
        raise ValueError(
            "A recurrent layer inside two `TimeDistributed` wrappers cannot be "
            "captured. Leave it out: name the other layers in `layers`."
        )
    _local.frames = (batch, frames)
    try:
        yield
    finally:
        _local.frames = None


def _unfold_frames(emission: Emission) -> Emission:
    """Gives tensors from inside a `TimeDistributed` their frame axis back."""
    folded = getattr(_local, "frames", None)
    if folded is None:
        return emission

    def unfold(tensor):
        return ops.reshape(tensor, (*folded, *ops.shape(tensor)[1:]))

    return emission._replace(
        signals={name: unfold(x) for name, x in emission.signals.items()},
        initial={name: unfold(x) for name, x in emission.initial.items()},
        mask=None if emission.mask is None else unfold(emission.mask),
    )
