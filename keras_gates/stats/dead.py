"""What makes a unit dead: one definition, for the measure, the diagnosis and alarms."""

from collections.abc import Mapping
from typing import Any

from keras_gates import vocabulary as v

CONSTANT = 1e-3
"""The standard deviation of `hidden` below which a unit counts as constant."""

CLOSED = 0.1
"""The value below which a gate counts as closed."""

CONDITIONS = {
    "constant": v.HIDDEN,
    "never_shown": v.OUTPUT,
    "never_written": v.INPUT,
}
"""Each way to be dead, and the signal that shows it."""


def conditions(holds: Mapping[str, Any]) -> dict[str, Any]:
    """Returns which units are dead, and why.

    Args:
        holds: For each signal of `CONDITIONS` that is known, a boolean array
            `(..., unit)`: for `hidden`, whether its standard deviation over two
            unmasked steps or more is below `CONSTANT`; for a gate, whether it is
            below `CLOSED` at every step. Other signals are ignored.

    Returns:
        The arrays under the names of the conditions, and `dead`, where one of them
        holds at least.

    Example:
        >>> import numpy as np
        >>> conditions({"hidden": np.array([True, False])})["dead"]
        array([ True, False])
    """
    found = {
        name: holds[signal] for name, signal in CONDITIONS.items() if signal in holds
    }
    return {**found, "dead": sum(found.values()) > 0}
