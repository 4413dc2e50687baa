"""Findings of a diagnosis or an alarm: sentences, with the measured values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding in a layer. Printing it shows the sentence.

    Attributes:
        code: The kind of finding. It stays the same from version to version.
        layer: Path of the layer.
        signal: The signal, or `None` if it concerns the layer as a whole.
        units: The labels of the units that it concerns, if it concerns only some.
        value: The value that was measured.
        threshold: The value that it was compared with, or NaN if there is none.
        severity: From 0 to 1: the fraction of the layer that it concerns, or how far
            the threshold was exceeded. Above 1 for values that are not finite.
        message: A sentence that states the finding, with the value.
    """

    code: str
    layer: str
    signal: str | None
    units: tuple[Any, ...]
    value: float
    threshold: float
    severity: float
    message: str

    def __str__(self) -> str:
        return self.message


class Findings(list):
    """A list of findings that prints as text and can become a table.

    Example:
        >>> dead = Finding(
        ...     "dead-units", "lstm", "hidden", (3,), 1, 0, 0.25, "Unit 3 is dead."
        ... )
        >>> Findings([dead])
        - Unit 3 is dead.
        >>> Findings([dead]).to_dataframe()[["code", "value"]]
                 code  value
        0  dead-units      1
    """

    def __init__(self, found: Iterable = (), columns: type = Finding):
        super().__init__(found)
        self._columns = columns

    def __str__(self) -> str:
        none = f"- No {self._columns.__name__.lower()}s."
        return "\n".join(f"- {one}" for one in self) or none

    __repr__ = __str__

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a table with one row for each finding, its attributes as columns."""
        import pandas

        names = [field.name for field in dataclasses.fields(self._columns)]
        rows = [[getattr(one, name) for name in names] for one in self]
        return pandas.DataFrame(rows, columns=names)
