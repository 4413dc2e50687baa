"""The names of the signals inside an LSTM and a GRU, and what they mean.

This module is the only place that spells them. Layers, labels, errors and files
import the words from here.

The *gates* are the sigmoid signals, between 0 (shut) and 1 (open). The *signals*
are the gates, the candidate and the states. Gates and candidate come in the order
of the blocks in Keras's weight matrices.
"""

from typing import NamedTuple

VERSION = "0.1.0"
"""Of the package: what is kept says by which version it was written."""

INPUT = "input"
FORGET = "forget"
CANDIDATE = "candidate"
OUTPUT = "output"
UPDATE = "update"
RESET = "reset"
CELL = "cell"
HIDDEN = "hidden"

KEEP_CONVENTION = "1 keeps the old state"
"""What an `update` of 1 does in Keras. Many texts define it the other way round."""


class Kind(NamedTuple):
    """One kind of recurrent cell: its signals, in the order of Keras's weights.

    Attributes:
        name: The name people use, "LSTM" or "GRU".
        blocks: The signals that own a block of columns in Keras's weights, in order.
        gates: The blocks that are sigmoid gates.
        states: What is carried from step to step. The last one is the output.
        keep: The gate whose value is the share of the old state that is kept.
    """

    name: str
    blocks: tuple[str, ...]
    gates: tuple[str, ...]
    states: tuple[str, ...]
    keep: str

    @property
    def signals(self) -> tuple[str, ...]:
        """Every signal of the cell: blocks, then states."""
        return self.blocks + self.states


LSTM = Kind(
    name="LSTM",
    blocks=(INPUT, FORGET, CANDIDATE, OUTPUT),
    gates=(INPUT, FORGET, OUTPUT),
    states=(CELL, HIDDEN),
    keep=FORGET,
)
GRU = Kind(
    name="GRU",
    blocks=(UPDATE, RESET, CANDIDATE),
    gates=(UPDATE, RESET),
    states=(HIDDEN,),
    keep=UPDATE,
)
KINDS = {kind.name: kind for kind in (LSTM, GRU)}

SIGNALS = tuple(dict.fromkeys(LSTM.signals + GRU.signals))
"""Every signal of either kind, each once."""

GATES = tuple(dict.fromkeys(LSTM.gates + GRU.gates))
"""Every gate of either kind, each once."""

LONG_NAMES = {
    INPUT: "input gate",
    FORGET: f"forget gate ({KEEP_CONVENTION})",
    CANDIDATE: "candidate",
    OUTPUT: "output gate",
    UPDATE: f"update gate ({KEEP_CONVENTION})",
    RESET: "reset gate",
    CELL: "cell state",
    HIDDEN: "hidden state",
}
"""The words for axes and colour bars."""

SAMPLE = "sample"
TIME = "time"
UNIT = "unit"
STEP = "step"
FRAME = "frame"
MASK = "mask"
GATE = "gate"
BIN = "bin"


def initial(state: str) -> str:
    """Returns the name under which the first value of a state is kept."""
    return f"initial_{state}"
