"""The shared names: signals of several kinds of cells, dimensions, and the version.

This module is the only place that spells them. Layers, labels, errors and files import
the names from here. Each kind of cell defines which signals it has.

The *gates* are the sigmoid signals, between 0 (closed) and 1 (open). The *signals*
are the gates, the candidate and the states.
"""

from __future__ import annotations

import re

VERSION = "0.1.0"
"""The version of the package. Stored data state the version that wrote them."""

INPUT = "input"
FORGET = "forget"
CANDIDATE = "candidate"
OUTPUT = "output"
UPDATE = "update"
RESET = "reset"
CELL = "cell"
HIDDEN = "hidden"

KEEP_CONVENTION = "1 keeps the old state"
"""The effect of an `update` of 1 in Keras. Many texts define it the other way round."""

INPUTS = "inputs"
"""The input of a layer, with respect to which there are derivatives."""
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


def numbered_call(path: str, number: int) -> str:
    """Returns the name of a call of a layer: from the second call on, with its number.

    Example:
        >>> numbered_call("lstm", 1), numbered_call("lstm", 2)
        ('lstm', 'lstm@2')
    """
    return path if number == 1 else f"{path}@{number}"


def without_call(path: str) -> str:
    """Returns the path of the layer from the name of one of its calls."""
    return re.sub(r"@\d+$", "", path)


def initial(state: str) -> str:
    """Returns the name under which the initial value of a state is stored."""
    return f"initial_{state}"
