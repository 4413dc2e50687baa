"""The effect of clamps to first order: the derivative times the change of a signal."""

from __future__ import annotations

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.capturing.unit_groups import Group


class FirstOrder:
    """Sums over time of derivatives, and of derivatives times values.

    The first-order change by a clamp to `c` is the sum over steps of `d * (c - a)`,
    with the derivative `d` and the value `a` at each step: `c * sum(d) - sum(d * a)`.

    Args:
        keys: The path and the signal for each key of `edit`.
    """

    def __init__(self, keys: dict[str, tuple[str, str]]):
        self._keys = keys
        self._sums: dict[str, list] = {key: [] for key in keys}

    def add(self, arrays: dict, derivatives: dict) -> None:
        """Adds the values and the derivatives of a batch."""
        for key, (path, signal) in self._keys.items():
            pairs = zip(
                calls(arrays, path, signal),
                calls(derivatives, path, signal),
                strict=True,
            )
            # Masked steps are NaN, and the calls of a shared layer add up.
            sums = [
                (np.nansum(d, axis=1), np.nansum(d * a.astype("float64"), axis=1))
                for a, d in pairs
            ]
            self._sums[key].append(np.sum(sums, axis=0))

    def changes(self, groups: list[Group], values: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the change by each clamp, `(sample, group)`."""
        by_unit = {}
        for key, value in values.items():
            slopes, products = np.concatenate(self._sums[key], axis=1)
            by_unit[key] = value * slopes - products
        return np.stack(
            [by_unit[one.key][:, list(one.units)].sum(axis=1) for one in groups],
            axis=1,
        )


def calls(arrays: dict, path: str, signal: str) -> list[np.ndarray]:
    """Returns the values of a signal in each call of a layer, from a batch."""
    return [
        np.asarray(signals[signal])
        for call, signals in arrays.items()
        if path in (call, v.without_call(call))
    ]
