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
        owner: The layer, or the cell of a stack, that the signals belong to.
        signals: Signal name to `(batch, time, units)`, or
            `(batch, frame, time, units)` inside a `TimeDistributed`.
        initial: State name to `(batch, units)`, the state before the first step.
        mask: `(batch, time)`, true where a step is real, or `None`.
        go_backwards: Whether the layer read its input from the end.
    """

    owner: Any
    signals: dict[str, Tensor]
    initial: dict[str, Tensor]
    mask: Tensor | None
    go_backwards: bool


class Collector:
    """Receives what the wanted layers emit while it is active.

    Args:
        owners: The layers and cells whose signals are wanted.
    """

    def __init__(self, owners):
        self._wanted = {id(owner) for owner in owners}
        self.emissions: list[Emission] = []

    def wants(self, owner) -> bool:
        """Tells whether the signals of a layer or cell are wanted."""
        return id(owner) in self._wanted

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


def wanted(owner) -> bool:
    """Tells whether an active collector wants the signals of a layer or cell."""
    return any(collector.wants(owner) for collector in _stack())


def _stack() -> list[Collector]:
    if not hasattr(_local, "collectors"):
        _local.collectors = []
    return _local.collectors


def emit(emission: Emission) -> None:
    """Hands signals to every active collector that wants them."""
    emission = _unfold_frames(emission)
    for collector in _stack():
        if collector.wants(emission.owner):
            collector.emissions.append(emission)


@contextlib.contextmanager
def folded_frames(batch, frames):
    """Marks that the frames of a `TimeDistributed` are folded into the batch."""
    if getattr(_local, "frames", None) is not None:
        raise ValueError(
            "A `TimeDistributed` inside another `TimeDistributed` cannot be captured. "
            "Leave its layers out with `layers=`."
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
