"""The description of a kind of cell: everything in which kinds differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Tensor = Any
Change = Callable[[str, Tensor], Tensor]
"""Takes the name and the value of a signal at one step, and returns its new value."""


def unchanged(name: str, value: Tensor) -> Tensor:
    """Returns the value as it is."""
    return value


class Weights(NamedTuple):
    """The weights and activations with which a cell computes its gates.

    Attributes:
        kernel: `(features, blocks * units)`.
        recurrent_kernel: `(units, blocks * units)`.
        bias: `(blocks * units,)`; `(2, blocks * units)` for a GRU with
            `reset_after=True`; or `None`.
        activation: The activation of the candidate (and of an LSTM's cell state).
        recurrent_activation: The activation of the gates.
        reset_after: For a GRU, whether the reset gate acts after the matrix product.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None
    activation: Any
    recurrent_activation: Any = None
    reset_after: bool = True


class Coupling(NamedTuple):
    """Two gates of a unit that may carry the same information.

    Attributes:
        first: The name of a gate.
        second: The name of another gate.
        opposed: Whether `first` corresponds to 1 - `second`.
    """

    first: str
    second: str
    opposed: bool


class Meaning(NamedTuple):
    """What it means for a layer that a gate stays near 0 or 1.

    Attributes:
        open: A description of the layer while the gate is open.
        closed: A description of the layer while the gate is closed.
    """

    open: str
    closed: str


def _no_blocks(
    inputs: Tensor, hidden: Tensor, weights: Weights, change: Change = unchanged
) -> dict[str, Tensor]:
    return {}


def _no_states(blocks: dict[str, Tensor], initial: dict, real: Tensor | None) -> dict:
    return {}


def _nothing(cell: Any) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """One kind of recurrent cell.

    Attributes:
        name: The common name, such as "LSTM".
        layer: Keras's layer, or `None` for a kind of cell that has none of its own.
        cell: The class of the cell, or `None` where it does not matter.
        states: The states, which are carried from step to step, in the reverse of
            Keras's order. The last signal, in most kinds the last state, is the output.
        colour: Its colour in figures of several architectures.
        blocks: The signals other than the states. In Keras's cells, each has a block of
            columns in the weights, in this order.
        gates: The blocks that are gates, with values between 0 and 1.
        keep: The gate whose value is the share of the old state that is kept.
        write: The gate whose value is the fraction of the candidate that is written.
            `None` for a kind with `keep`: 1 - `keep`.
        show: The gate that determines how much of the state is output.
        coupled: Two gates that may carry the same information.
        long_names: The name of each signal on axes and colour bars.
        colours: The colour of each signal in figures.
        meanings: For each gate, what it means that it is open, or closed.
        convention: A sentence that every figure must show unless a label states it.
        article: "a" or "an", before the name in a sentence.
        lacking: For signals of other kinds, a sentence on why this kind has none.
        compute: Computes the blocks of a step, or of all steps of a sequence at once,
            from the inputs, the hidden state *before* each step and the weights. Each
            block passes through a `Change` before another one is computed from it.
        sums: Computes, from the same arguments, the pre-activation of each signal that
            is an activation of a weighted sum. `None` where they are not known.
        run: Computes the states of a sequence other than the hidden state. Takes the
            blocks `(batch, time, units)`, which are zero where masked, the initial
            states and where steps are unmasked, `(batch, time, 1)` or `None`.
        step: Computes the states after a step from its signals, the states before it
            and the activation, which is `None` if it is not known; states that need it
            are then left out. Each state passes through a `Change` before another one
            is computed from it. `None` for a kind whose states do not follow from its
            other signals.
        uses_activation: Whether `step` applies the activation.
        describe: Returns the attributes of a cell that only this kind has.
        methods: The methods of Keras's cell that hold equations of this kind alone.
        signals_of: Computes the blocks of a step from the cell, the inputs and the
            states, in the order of Keras. For cells of the user's own.
        traced: Whether the blocks were found by tracing the cell.
        widths: The width of each block whose width is not that of the output.
    """

    name: str
    states: tuple[str, ...]
    long_names: Mapping[str, str]
    layer: Any = None
    cell: Any = None
    colour: str = ""
    colours: Mapping[str, str] = dataclasses.field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    keep: str | None = None
    write: str | None = None
    show: str | None = None
    coupled: Coupling | None = None
    meanings: Mapping[str, Meaning] = dataclasses.field(default_factory=dict)
    convention: str | None = None
    article: str = "a"
    lacking: Mapping[str, str] = dataclasses.field(default_factory=dict)
    compute: Callable[..., dict[str, Tensor]] = _no_blocks
    sums: Callable[[Tensor, Tensor, Weights], dict[str, Tensor]] | None = None
    run: Callable[[dict, dict, Tensor | None], dict[str, Tensor]] = _no_states
    step: Callable[..., dict[str, Any]] | None = None
    uses_activation: bool = False
    describe: Callable[[Any], dict[str, Any]] = _nothing
    methods: frozenset[str] = frozenset()
    signals_of: Callable[[Any, Tensor, Any], dict[str, Tensor]] | None = None
    traced: bool = False
    widths: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def runs_in_loop(self) -> bool:
        """Whether the signals are read step by step, in the loop of the layer."""
        return self.traced or self.signals_of is not None

    @property
    def with_article(self) -> str:
        """The name with its article, such as "an LSTM"."""
        return f"{self.article} {self.name}"

    @property
    def signals(self) -> tuple[str, ...]:
        """Every signal of the cell: blocks, then states."""
        return self.blocks + self.states

    @property
    def memory(self) -> tuple[str, ...]:
        """The gates that determine which share of a state is written, and kept."""
        return tuple(gate for gate in (self.write, self.keep) if gate is not None)
