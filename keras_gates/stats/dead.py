"""What makes a unit dead: one definition, for the measure, the diagnosis and alarms."""

from collections.abc import Mapping
from typing import Any

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind

CONSTANT = 1e-3
"""The standard deviation of `hidden` below which a unit counts as constant."""

CLOSED = 0.1
"""The value below which a gate counts as closed."""


def ways(kind: Kind) -> dict[str, str]:
    """Returns each way to be dead that a kind of cell has, and what shows it.

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
        holds: For each of its `signals` that is known, a boolean array
            `(..., unit)`: for `hidden`, whether its standard deviation over two
            unmasked steps or more is below `CONSTANT`; for a gate, whether it is
            below `CLOSED` at every step. Other signals are ignored.

    Returns:
        The arrays under the names of the conditions, and `dead`, where one of them
        holds at least.

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
