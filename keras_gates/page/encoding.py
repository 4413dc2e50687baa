"""Converts values to text: 16 bits for each value, deflated, in base 64."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any, NamedTuple

import numpy as np

TOP = 65_532
"""The largest code of a finite value."""
MINUS_INFINITY, PLUS_INFINITY, NOT_A_NUMBER = TOP + 1, TOP + 2, TOP + 3


class Packed(NamedTuple):
    """Values of one signal: `offset + span * code / TOP`.

    Attributes:
        codes: 16 bits for each value, of dimensions `(..., unit)`.
        offset: The smallest value of each unit, of dimensions `(unit)`.
        span: The largest value minus the smallest, of dimensions `(unit)`.
    """

    codes: np.ndarray
    offset: np.ndarray
    span: np.ndarray


def pack(values: np.ndarray, gate: bool) -> Packed:
    """Packs a signal. Finite values are restored to within span / 131,064.

    Args:
        values: The values, of dimensions `(..., unit)`.
        gate: Whether the signal is a gate. If all its values are from 0 to 1, all
            units share this span, and are restored to within 0.000008.

    Example:
        >>> packed = pack(np.array([[0.25], [np.nan]]), gate=True)
        >>> packed.codes.tolist(), packed.span.tolist()
        ([[16383], [65535]], [1.0])
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    others = tuple(range(values.ndim - 1))
    low = np.where(finite, values, np.inf).min(others, initial=np.inf)
    high = np.where(finite, values, -np.inf).max(others, initial=-np.inf)
    empty = low > high
    low, high = np.where(empty, 0, low), np.where(empty, 0, high)
    if gate and low.min() >= 0 and high.max() <= 1:
        low, high = np.zeros_like(low), np.ones_like(high)
    # Constant units have the code 0 throughout.
    span = high - low
    scale = TOP / np.where(span > 0, span, 1)
    codes = np.rint(np.where(finite, values - low, 0) * scale)
    codes = np.where(np.isnan(values), NOT_A_NUMBER, codes)
    codes = np.where(values == np.inf, PLUS_INFINITY, codes)
    codes = np.where(values == -np.inf, MINUS_INFINITY, codes)
    return Packed(codes.astype("<u2"), low, span)


def as_text(array: np.ndarray) -> str:
    """Returns an array as one line: its bytes by significance, deflated, in base 64.

    The more significant bytes of neighbours are similar, and compress well together.
    """
    planes = np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode("ascii")


def as_json(values: Any) -> str:
    """Returns JSON in which no text can end the script element around it."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
