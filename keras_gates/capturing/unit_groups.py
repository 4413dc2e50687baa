"""The groups of units that are clamped together: single, similar, and all units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNIT, SIMILAR, ALL = "unit", "similar units", "all units"
"""The kinds of groups."""

ALIKE = 0.7
"""Similar units have a mean absolute correlation of at least this value."""


class Group(NamedTuple):
    """Units of one signal of a layer.

    Attributes:
        key: The path and the signal, as a key of `edit`.
        what: "unit", "similar units" or "all units".
        units: The numbers of the units.
    """

    key: str
    what: str
    units: tuple[int, ...]


class Moments:
    """The mean of each unit of a signal, and the correlations between units.

    The values of the first unmasked step are subtracted, so that sums stay exact.
    """

    def __init__(self):
        self._count = 0
        self._first = self._sum = self._products = np.zeros(0)

    def add(self, values: np.ndarray) -> None:
        """Adds the unmasked steps of a batch, `(batch, time, unit)`."""
        rows = values.reshape(-1, values.shape[-1])
        rows = rows[~np.isnan(rows).any(axis=1)].astype("float64")
        if not len(rows):
            return
        if not self._count:
            self._first = rows[0]
            self._sum = np.zeros(len(self._first))
            self._products = np.zeros((len(self._first),) * 2)
        rows = rows - self._first
        self._count += len(rows)
        self._sum = self._sum + rows.sum(axis=0)
        self._products = self._products + rows.T @ rows

    @property
    def mean(self) -> np.ndarray | None:
        """The mean of each unit; `None` if every step is masked."""
        return self._first + self._sum / self._count if self._count else None

    def correlation(self) -> np.ndarray:
        """Returns the correlation of each pair of units, 0 where one is constant."""
        mean = self._sum / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        size = np.sqrt(np.maximum(np.diag(covariance), 0))
        # A constant leaves rounding errors only.
        size = np.where(size > 1e-9 * (1 + np.abs(mean)), size, np.inf)
        return covariance / np.outer(size, size)


def groups_of(key: str, moments: Moments) -> list[Group]:
    """Returns each unit, the groups of similar units, and the group of all units.

    Units are similar if they rise and fall together, or in opposite directions: they
    are joined by the mean of 1 - |correlation| over their pairs, up to 0.3.
    """
    correlation = moments.correlation()
    number = len(correlation)
    groups = [Group(key, UNIT, (unit,)) for unit in range(number)]
    if number > 1:
        for cluster in _clusters(1 - np.abs(correlation)):
            if 1 < len(cluster) < number:
                groups.append(Group(key, SIMILAR, tuple(cluster.tolist())))
        groups.append(Group(key, ALL, tuple(range(number))))
    return groups


def _clusters(distance: np.ndarray) -> list[np.ndarray]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip((distance + distance.T) / 2, 0, None)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    names = fcluster(tree, 1 - ALIKE, criterion="distance")
    return [np.flatnonzero(names == name) for name in np.unique(names)]
