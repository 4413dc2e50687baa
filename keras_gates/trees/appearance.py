"""The appearance of a signal in all figures: its colour and the scale of its values."""

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

    For Keras's own kinds, colours are from the palette of Okabe and Ito (2008), which
    suits every kind of colour vision. `forget` and `update`, which have the same role,
    are both blue.
    """
    return registry.colours().get(signal, "#000000")


def scale(name: str, *values: np.ndarray) -> dict[str, Any]:
    """Returns a scale: 0 to 1 for a gate; for others, symmetric and with every value.

    Args:
        name: The name of the signal.
        values: The arrays that are drawn with this scale.

    Returns:
        `cmap`, `vmin` and `vmax`, as arguments for Matplotlib.
    """
    if name in registry.gates():
        return {"cmap": GATE_MAP, "vmin": 0, "vmax": 1}
    finite = np.concatenate([array[np.isfinite(array)] for array in values])
    limit = np.abs(finite).max(initial=0) or 1
    return {"cmap": STATE_MAP, "vmin": -limit, "vmax": limit}
