"""The words: signals that several kinds of cells share, dimensions, and the version.

This module is the only place that spells them. Layers, labels, errors and files import
the words from here. Which kind has which signals, each kind of cell says itself.

The *gates* are the sigmoid signals, between 0 (closed) and 1 (open). The *signals*
are the gates, the candidate and the states.
"""

from __future__ import annotations

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

INPUTS = "inputs"
"""What a layer received, of which there are derivatives."""
FEATURE = "feature"

SAMPLE = "sample"
TIME = "time"
UNIT = "unit"
STEP = "step"
EPOCH = "epoch"
BATCH = "batch"
FRAME = "frame"
LAG = "lag"
MASK = "mask"
SIGNAL = "signal"
BIN = "bin"


def preactivation(signal: str) -> str:
    """Returns the name of the sum that enters the activation of a signal."""
    return f"{signal}_preactivation"


def initial(state: str) -> str:
    """Returns the name under which the first value of a state is kept."""
    return f"initial_{state}"
