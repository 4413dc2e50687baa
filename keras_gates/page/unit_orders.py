"""The orders in which the units of a layer can be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_gates.page.overview import Overview

MOST_UNITS = 2000
"""Above this number of units, clustering would take longer than all other work."""
OPTIMAL = 256
"""Above this number of units, the order of the leaves is not optimised."""
MOST_POINTS = 20_000


def orders(overview: Overview, units: np.ndarray, states: np.ndarray) -> list[dict]:
    """Returns the orders, each with its label; the first is by number.

    Args:
        overview: The measures of the layer.
        units: The numbers of the units that are on the page.
        states: The values by which units are compared, of dimensions `(..., unit)`, at
            the last step of training.

    Returns:
        For each order, `key`, `label` and `units`: positions among the units on the
        page, from the lowest row of a heat map to the highest.
    """
    found = [("number", "number", np.arange(len(units)))]
    if overview.keep_saturation is not None:
        gate, side = overview.keep_saturation
        label = f"right saturation of {gate}"
        found.append(("saturation", label, _rising(side[units])))
    if overview.timescale is not None:
        found.append(("timescale", "time scale", _rising(overview.timescale[units])))
    if len(units) <= MOST_UNITS:
        found.append(("similarity", "similarity", similarity(states)))
    return [
        {"key": key, "label": label, "units": order.tolist()}
        for key, label, order in found
    ]


def similarity(states: np.ndarray) -> np.ndarray:
    """Returns an order in which units with correlated values are neighbours.

    The order is that of the leaves of a tree: units are joined by the mean of
    1 - correlation. A constant unit has no correlation with any other.

    Args:
        states: The values, of dimensions `(..., unit)`. NaN are left out.

    Example:
        >>> up, down = np.arange(4.0), -np.arange(4.0)
        >>> similarity(np.stack([up, down, 2 * up, 3 * down], axis=-1)).tolist()
        [0, 2, 3, 1]
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    points = states.reshape(-1, states.shape[-1]).astype(np.float64)
    # The points are spread evenly over all of them. A fixed stride could coincide with
    # a period of the sequences.
    few = np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).astype(int)
    points = points[few]
    points = np.where(np.isfinite(points), points, np.nan)
    count = np.isfinite(points).sum(axis=0)
    centred = np.nan_to_num(points - np.nansum(points, axis=0) / np.maximum(count, 1))
    length = np.sqrt((centred**2).sum(axis=0))
    centred /= np.where(length > 1e-9, length, np.inf)
    distance = np.clip(1 - centred.T @ centred, 0, 2)
    np.fill_diagonal(distance, 0)
    if len(distance) < 3:
        return np.arange(len(distance))
    tree = linkage(
        squareform(distance, checks=False),
        method="average",
        optimal_ordering=len(distance) <= OPTIMAL,
    )
    return leaves_list(tree)


def _rising(values: np.ndarray) -> np.ndarray:
    """Returns the order from the smallest to the largest; NaN come first."""
    return np.argsort(np.where(np.isnan(values), -np.inf, values), kind="stable")
