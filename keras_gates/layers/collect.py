"""The signals that layers emit while a model runs, and the collectors of these signals.

Tensors kept on a layer would be leaked tracers after a compiled call. So a layer passes
them to the collectors that are active at that moment, within the same call.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any, NamedTuple

from keras import ops

from keras_gates.backend import backend

Tensor = Any
_local = threading.local()


class Emission(NamedTuple):
    """The signals of one call of a layer, in the order in which it read its input.

    Attributes:
        layer: The recurrent layer.
        cell: Its cell, or the cell of its stack to which the signals belong.
        signals: Signal name to `(batch, time, units)`, or
            `(batch, frame, time, units)` inside a `TimeDistributed`.
        initial: State name to `(batch, units)`, the state before the first step.
        mask: `(batch, time)`, true where a step is unmasked, or `None`.
        go_backwards: Whether the layer read its input from the end.
        rows: How many rows of the batch were sampled, outside the gradient, infinite
            for all of them; `None` for all of them, in the gradient.
        sums: Whether `signals` holds the pre-activations of the signals instead.
    """

    layer: Any
    cell: Any
    signals: dict[str, Tensor]
    initial: dict[str, Tensor]
    mask: Tensor | None
    go_backwards: bool
    rows: float | None = None
    sums: bool = False


class Collector:
    """Receives the signals that the wanted layers emit while it is active.

    Args:
        places: Pairs of a layer and a cell of it, whose signals are wanted.
        rows: How many rows of each batch are wanted, outside the gradient, infinite
            for all of them; `None` for all of them, in the gradient.
        fast: The layers that may run in a fast kernel in inference.
        sums: Whether the pre-activations of the signals are wanted instead.

    Attributes:
        missed: Pairs of a layer and a cell of it, whose signals were emitted in a
            function that the backend compiles on its own, which they cannot leave.
    """

    def __init__(self, places, rows: float | None = None, fast=(), sums=False):
        self._wanted = {(id(layer), id(cell)) for layer, cell in places}
        self._fast = {id(layer) for layer in fast}
        self.rows = rows
        self.sums = sums
        self.emissions: list[Emission] = []
        self.missed: list[tuple[Any, Any]] = []
        self._trace = None
        self._recomputes = False

    def wants(self, layer, cell) -> bool:
        """Returns whether the signals of a cell in a layer are wanted."""
        return (id(layer), id(cell)) in self._wanted

    def may_be_fast(self, layer) -> bool:
        """Returns whether a layer may run in a fast kernel in inference."""
        return id(layer) in self._fast

    def receive(self, emission: Emission) -> None:
        """Takes an emission of a wanted cell."""
        self.emissions.append(emission)

    def miss(self, emission: Emission) -> None:
        """Takes note of an emission that cannot be received."""
        self.missed.append((emission.layer, emission.cell))

    def begin_trace(self) -> None:
        """Receives, from now on, emissions in the function that runs now."""
        self._trace, self._recomputes = backend.trace(), backend.recomputing()

    def end_trace(self) -> None:
        """Releases that function, which may hold all of its tensors."""
        self._trace = None

    def listens(self) -> bool:
        """Returns whether this is a first forward pass, not one for the gradient."""
        return self._recomputes or not backend.recomputing()

    def reaches(self) -> bool:
        """Returns whether an emission can be received now."""
        return backend.leads_to(self._trace)

    def variables(self, layer) -> list:
        """Returns the variables that receiving from a layer changes."""
        return []

    def is_active(self) -> bool:
        """Returns whether it collects in this thread at the moment."""
        return self in _stack()

    @contextlib.contextmanager
    def active(self):
        """Collects within the `with` block, in this thread."""
        self.begin_trace()
        _stack().append(self)
        try:
            yield self
        finally:
            _stack().remove(self)
            self.end_trace()


def active() -> bool:
    """Returns whether a collector is active in this thread."""
    return bool(_stack())


def wanted_rows(layer, cells) -> set[float | None]:
    """Returns the numbers of rows that are wanted of a layer's cells, each once."""
    return {
        collector.rows
        for collector in _stack()
        if collector.listens() and any(collector.wants(layer, cell) for cell in cells)
    }


def may_be_fast(layer) -> bool:
    """Returns whether a collector lets a layer run in a fast kernel in inference."""
    return any(collector.may_be_fast(layer) for collector in _stack())


def wants_sums(layer, cells) -> bool:
    """Returns whether the pre-activations of cells are wanted."""
    return any(
        collector.sums and any(collector.wants(layer, cell) for cell in cells)
        for collector in _stack()
    )


def variables(layer) -> list:
    """Returns the variables that the active collectors change for a layer."""
    return [
        variable for collector in _stack() for variable in collector.variables(layer)
    ]


def _stack() -> list[Collector]:
    if not hasattr(_local, "collectors"):
        _local.collectors = []
    return _local.collectors


def emit(emission: Emission) -> None:
    """Passes signals to every active collector that wants them."""
    frames = _frames()
    if frames is None:
        _deliver(emission, _stack())
        return
    # A collector inside the frame works on it; the others get all frames at once.
    outside, inside = _stack()[: frames.depth], _stack()[frames.depth :]
    _deliver(emission, inside)
    if backend.leads_to(frames.trace):
        frames.emissions.append(emission)
    else:
        _deliver(emission, outside, missed=True)


def _deliver(emission: Emission, collectors: list[Collector], missed=False) -> None:
    for collector in collectors:
        wanted = collector.wants(emission.layer, emission.cell)
        alike = (collector.rows, collector.sums) == (emission.rows, emission.sums)
        if wanted and collector.listens() and alike:
            if missed or not collector.reaches():
                collector.miss(emission)
            else:
                collector.receive(emission)


class _Frames(NamedTuple):
    """The emissions inside a `TimeDistributed`, and the number of collectors outside.

    The frames are joined in the function that the backend traces as `trace`.

    Where the frames are folded into the batch, `folded` is their number.
    """

    depth: int
    emissions: list[Emission]
    trace: Any
    folded: Any = None


def _frames() -> _Frames | None:
    return getattr(_local, "frames", None)


def folded() -> Any:
    """Returns how many frames are folded into the batch, or `None`."""
    frames = _frames()
    return None if frames is None else frames.folded


@contextlib.contextmanager
def frames(join, folded=None):
    """Gathers the emissions of layers inside a `TimeDistributed`.

    Args:
        join: Joins all of these emissions into those that are passed on, whose
            tensors have a frame axis after the batch axis.
        folded: The number of frames, if they are folded into the batch.
    """
    if _frames() is not None:
        raise ValueError(
            "A recurrent layer inside two `TimeDistributed` wrappers cannot be "
            "captured. Leave it out by naming the other layers in `layers`."
        )
    _local.frames = gathered = _Frames(len(_stack()), [], backend.trace(), folded)
    try:
        yield
    finally:
        _local.frames = None
    for emission in join(gathered.emissions):
        _deliver(emission, _stack())


def stack_frames(emissions: list[Emission], frames: int) -> list[Emission]:
    """Joins emissions that were made frame by frame."""
    by_place: dict[tuple, list[Emission]] = {}
    for emission in emissions:
        place = id(emission.layer), id(emission.cell), emission.rows, emission.sums
        by_place.setdefault(place, []).append(emission)
    joined = []
    for same in by_place.values():
        calls = len(same) // frames  # In each frame.
        for call in range(calls):
            joined.append(_map(lambda *t: ops.stack(t, axis=1), *same[call::calls]))
    return joined


def unfold_frames(emissions: list[Emission], frames) -> list[Emission]:
    """Separates the frames from the batch into which they were folded."""

    def unfold(tensor):
        return ops.reshape(tensor, (-1, frames, *ops.shape(tensor)[1:]))

    return [_map(unfold, emission) for emission in emissions]


def _map(function, *emissions: Emission) -> Emission:
    """Applies a function to every tensor of one emission, or of several like it."""
    first = emissions[0]
    return first._replace(
        signals={
            name: function(*(emission.signals[name] for emission in emissions))
            for name in first.signals
        },
        initial={
            name: function(*(emission.initial[name] for emission in emissions))
            for name in first.initial
        },
        mask=None
        if first.mask is None
        else function(*(emission.mask for emission in emissions)),
    )
