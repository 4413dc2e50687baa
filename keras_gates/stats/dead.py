"""The definition of a dead unit, for the measure, the diagnosis and the alarms."""

from collections.abc import Mapping
from typing import Any

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind

CONSTANT = 1e-3
"""The standard deviation of `hidden` below which a unit counts as constant."""

CLOSED = 0.1
"""The value below which a gate counts as closed."""


def ways(kind: Kind) -> dict[str, str]:
    """Returns the ways in which a unit of a cell can be dead, and the signal of each.

    Example:
        >>> from keras_gates.cells.registry import KINDS
        >>> ways(KINDS["LSTM"])
        {'constant': 'hidden', 'never_shown': 'output', 'never_written': 'input'}
    """
    ways = {"constant": v.HIDDEN, "never_shown": kind.show, "never_written": kind.write}
    return {name: signal for name, signal in ways.items() if signal is not None}


def conditions(kind: Kind, holds: Mapping[str, Any]) -> dict[str, Any]:
    """Returns which units are dead, and why.

    Args:
        kind: The kind of the cell.
        holds: For each known signal of the cell, a boolean array `(..., unit)`: for
            `hidden`, whether its standard deviation over two unmasked steps or more
            is below `CONSTANT`; for a gate, whether it is below `CLOSED` at every
            step. Other signals are ignored.

    Returns:
        The arrays under the names of the conditions, and `dead`, which is true where
        at least one of them holds.

    Example:
        >>> import numpy as np
        >>> from keras_gates.cells.registry import KINDS
        >>> conditions(KINDS["GRU"], {"hidden": np.array([True, False])})["dead"]
        array([ True, False])
    """
    found = {
        name: holds[signal] for name, signal in ways(kind).items() if signal in holds
    }
    return {**found, "dead": sum(found.values()) > 0}
