"""How a signal is drawn, wherever it is: its colour, and the colours of its values."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_gates import vocabulary as v

SIGNAL_COLOURS = {
    v.INPUT: "#E69F00",
    v.FORGET: "#0072B2",
    v.CANDIDATE: "#009E73",
    v.OUTPUT: "#D55E00",
    v.UPDATE: "#56B4E9",
    v.RESET: "#CC79A7",
    v.CELL: "#999999",
    v.HIDDEN: "#000000",
}
"""The palette of Okabe and Ito (2008), which suits every kind of colour vision.
`forget` and `update`, which do the same work, are both blue."""


GATE_MAP = "viridis"


GATE_LABEL = "gate (0 shut, 1 open)"


STATE_MAP = "RdBu_r"


MASKED = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": "////", "linewidth": 0}


def scale(name: str, *values: np.ndarray) -> dict[str, Any]:
    """Returns 0 to 1 for a gate; for others what is centred and holds every value.

    Args:
        name: The name of the signal.
        values: Arrays of what is drawn on one scale.

    Returns:
        `cmap`, `vmin` and `vmax`, as Matplotlib takes them.
    """
    if name in v.GATES:
        return {"cmap": GATE_MAP, "vmin": 0, "vmax": 1}
    finite = np.concatenate([array[np.isfinite(array)] for array in values])
    limit = np.abs(finite).max(initial=0) or 1
    return {"cmap": STATE_MAP, "vmin": -limit, "vmax": limit}
