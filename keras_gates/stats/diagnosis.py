"""Findings in captured gates, as sentences with the measured values."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from keras_gates import vocabulary as v
from keras_gates.checks import real_number, thresholds, type_of
from keras_gates.old_names import renamed
from keras_gates.stats.diagnosis_sums import count_signals
from keras_gates.stats.findings import Finding, Findings
from keras_gates.stats.layer_checks import LayerSums, Limits, check_layer
from keras_gates.trees.apply_measure import (
    as_tree,
    called,
    signals_by_layer,
    signals_of,
)
from keras_gates.trees.layer_kind import kind_of_layer
from keras_gates.trees.tree_walk import depth_first
from keras_gates.trees.why_missing import causes_of_gaps, damage_named, mask_of

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True, repr=False)
class Diagnosis:
    """The findings in every layer, the most serious first. Printing it lists them.

    Attributes:
        findings: A list of `Finding`.
        layers: Paths of all layers that were examined.
    """

    findings: Findings
    layers: tuple[str, ...]

    def __str__(self) -> str:
        found = {finding.layer for finding in self.findings}
        without = (
            f"- No findings in '{path}'." for path in self.layers if path not in found
        )
        return "\n".join([*map("- {}".format, self.findings), *without])

    __repr__ = __str__  # A notebook shows the sentences.

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a table with one row for each finding.

        Its columns are `code`, `layer`, `signal`, `units`, `value`, `threshold`,
        `severity` and `message`, as in `Finding`.
        """
        return self.findings.to_dataframe()


@renamed(open="upper", shut="lower", share="min_fraction", short="min_memory_fraction")
def diagnose(
    gates: Any,
    reach: Any = None,
    *,
    upper: float = 0.95,
    lower: float = 0.05,
    min_fraction: float = 0.5,
    min_memory_fraction: float = 0.1,
    correlation: float = 0.9,
    entropy: float = 0.95,
) -> Diagnosis:
    """Reports findings in captured gates, the most serious first.

    A finding is not necessarily a problem: a layer that hardly ever erases may be what
    the task needs. The thresholds are conventions. An untrained layer also has
    findings: its gates stay near 0.5, and its time scales are short.

    The codes are `not-finite` (values that are NaN or infinite), `measured-memory`
    (with `reach`), `mostly-open` and `mostly-closed` (a gate), `short-timescales`,
    `dead-units` (as `dead_units` defines them), `redundant-gates` (two gates that
    are correlated), `undecided` (a gate near 0.5 that hardly moves) and `all-masked`.

    The gates do not show what a layer remembers, because they describe only the path
    through the cell, and the recurrent weights may keep more. `keras_gates.reach`
    measures the memory.

    Args:
        gates: A tree of layers, or the dataset of one, with dimensions such as
            `(sample, time, unit)`.
        reach: The result of `keras_gates.reach` for the same model, or for one layer.
            Then the measured memory of each layer is reported, before all findings but
            `not-finite`. Default: none.
        upper: The value above which a gate counts as open. It is higher than the 0.9
            of `saturation`, so that this finding is rare.
        lower: The value below which a gate counts as closed.
        min_fraction: A gate is reported if at least this fraction of its values, over
            all time steps and units, is beyond a threshold.
        min_memory_fraction: Time scales are reported as short if the longest one of a
            layer is below this fraction of the sequence. At 0.1, e ** -10 of a state
            is left at the end. A layer whose memory is in `reach` is not checked.
        correlation: The median correlation from which two gates are reported as
            redundant.
        entropy: The entropy in bits from which a gate is reported as undecided, if it
            also hardly changes. A constant gate between 0.37 and 0.63 has at least 0.95
            bits.

    Returns:
        A `Diagnosis`. Checks whose signals are missing are skipped.

    Raises:
        ValueError: If there is no signal in `gates`, if they have more than one
            `step`, or if a threshold is out of its range.
        TypeError: If `gates` or `reach` is neither a tree nor a dataset.
        OSError: If they are read from a store that is damaged.

    Example:
        >>> import numpy as np
        >>> import xarray
        >>> from keras_gates import stats
        >>> forget = (("sample", "time", "unit"), np.full((1, 5, 2), 0.99))
        >>> layer = xarray.Dataset({"forget": forget}, attrs={"layer": "lstm"})
        >>> print(stats.diagnose(layer))
        - 100 % of 'forget' in 'lstm' is above 0.95: this layer hardly ever erases.
    """
    gates = as_tree(gates)
    lower, upper = thresholds(lower=lower, upper=upper)
    limits = Limits(
        upper,
        lower,
        real_number("min_fraction", min_fraction, at_least=0),
        real_number("min_memory_fraction", min_memory_fraction, at_least=0),
        real_number("correlation", correlation, at_least=0),
        real_number("entropy", entropy, at_least=0),
    )
    measured = _measured(reach)
    found = Findings()
    names = []
    for path, layer in signals_by_layer(gates, signals_of, (v.UNIT,)).items():
        name = called(path, layer)
        if layer.sizes.get(v.STEP, 1) > 1:
            raise ValueError(
                f"`gates` must be of one moment; {name!r} has {layer.sizes[v.STEP]} "
                "steps of training. Choose one, such as `traces.isel(step=-1)`."
            )
        names.append(name)
        node = gates if path == "/" else gates[path]
        mask = mask_of(node)
        with damage_named(name, node):
            kind = kind_of_layer(layer)
            sums = count_signals(layer, kind, mask, limits.lower, limits.upper)
        if not any(signal.count for signal in sums.values()):
            sentence = f"Every step of '{name}' is masked: there is nothing to measure."
            found.append(
                Finding("all-masked", name, None, (), 1.0, math.nan, 1.0, sentence)
            )
            continue
        memory = measured.get(path)
        counted = LayerSums(name, kind, layer, sums, causes_of_gaps(node), memory)
        found += check_layer(counted, limits)
    found.sort(key=lambda finding: -finding.severity)
    return Diagnosis(found, tuple(names))


def _measured(reach: Any) -> dict[str, Any]:
    """Returns the measured memory of each layer, by its path."""
    if reach is None:
        return {}
    import xarray

    if not isinstance(reach, (xarray.DataTree, xarray.Dataset)):
        raise TypeError(
            "`reach` must be what `keras_gates.reach` returned, or a layer of it; got "
            f"{type_of(reach)}."
        )
    tree = as_tree(reach)
    found = {
        "/" if node is tree else node.relative_to(tree): node.to_dataset()
        for node in depth_first(tree)
        if "reach" in node.data_vars
    }
    if not found:
        raise ValueError(
            "`reach` must be what `keras_gates.reach` returned, or a layer of it; it "
            "holds no `reach`."
        )
    return found
