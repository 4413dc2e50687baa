"""The measures of each layer as a whole, all of them from `stats`."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import numpy as np

from keras_gates import stats
from keras_gates.page.page_layers import Layer

if TYPE_CHECKING:
    import pandas

    from keras_gates.stats.diagnosis import Diagnosis


@dataclasses.dataclass(frozen=True)
class Overview:
    """The measures of one layer, over all samples, at the last step of training.

    Attributes:
        diagnosis: The findings.
        summary: A row for each signal.
        saturation: For each gate, the left and the right share of each unit.
        timescale: The time scale of each unit, in steps, or `None` without a gate that
            keeps the old state.
        keep: The gate that keeps the old state, if the kind has one.
    """

    diagnosis: Diagnosis
    summary: pandas.DataFrame
    saturation: dict[str, tuple[np.ndarray, np.ndarray]]
    timescale: np.ndarray | None
    keep: str | None

    @property
    def keep_saturation(self) -> tuple[str, np.ndarray] | None:
        """The gate that keeps the old state, or the first gate, and its right share."""
        for gate in (self.keep, *self.saturation):
            if gate in self.saturation:
                return gate, self.saturation[gate][1]
        return None


def overview(layer: Layer) -> Overview:
    """Measures one layer. A layer from a store is in memory only during this call."""
    import xarray

    data = layer.last()
    gates = [name for name in data.data_vars if name in layer.kind.gates]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Infinite values and masked units give NaN, which the page shows.
        warnings.simplefilter("ignore", RuntimeWarning)
        diagnosis = stats.diagnose(data)
        summary = stats.summary(xarray.DataTree(data))
        sides = stats.saturation(data).compute() if gates else {}
        timescale = None
        if layer.kind.keep in gates:
            timescale = stats.timescale(data[layer.kind.keep]).values
    return Overview(
        diagnosis,
        summary,
        {
            gate: (of.sel(side="left").values, of.sel(side="right").values)
            for gate, of in ((gate, sides[gate]) for gate in gates)
        },
        timescale,
        layer.kind.keep,
    )


def diagnosis(overviews: list[Overview]) -> list[str]:
    """Returns the findings in all layers, the most serious first, as sentences."""
    findings = [each for one in overviews for each in one.diagnosis.findings]
    findings.sort(key=lambda finding: -finding.severity)
    found = {finding.layer for finding in findings}
    without = [n for one in overviews for n in one.diagnosis.layers if n not in found]
    return [finding.message for finding in findings] + [
        f"No findings in '{name}'." for name in without
    ]
