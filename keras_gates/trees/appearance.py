"""How a signal is drawn, wherever it is: its colour, and the colours of its values."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_gates.cells import registry

GATE_MAP = "viridis"


GATE_LABEL = "gate (0 closed, 1 open)"


STATE_MAP = "RdBu_r"


MASKED = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": "////", "linewidth": 0}


def colour_of(signal: str) -> str:
    """Returns the colour of a signal, the same in every figure.

    Those of the kinds of Keras are of the palette of Okabe and Ito (2008), which suits
    every kind of colour vision; `forget` and `update`, which do the same work, are both
    blue.
    """
    return registry.colours().get(signal, "#000000")


def scale(name: str, *values: np.ndarray) -> dict[str, Any]:
    """Returns 0 to 1 for a gate; for others what is centred and holds every value.

    Args:
        name: The name of the signal.
        values: Arrays of what is drawn on one scale.

    Returns:
        `cmap`, `vmin` and `vmax`, as Matplotlib takes them.
    """
    if name in registry.gates():
        return {"cmap": GATE_MAP, "vmin": 0, "vmax": 1}
    finite = np.concatenate([array[np.isfinite(array)] for array in values])
    limit = np.abs(finite).max(initial=0) or 1
    return {"cmap": STATE_MAP, "vmin": -limit, "vmax": limit}
