"""What stands out in captured gates, in sentences with the figures behind them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from keras_gates import vocabulary as v
from keras_gates.checks import real_number, thresholds, type_of
from keras_gates.stats.diagnosis_sums import count_signals
from keras_gates.stats.symptoms import Limits, Patient, Symptom, symptoms_of
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
    pass


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What stands out in every layer, the most serious first. Printing it lists it.

    Attributes:
        symptoms: What stands out.
        layers: Paths of all layers that were looked at.
    """

    symptoms: tuple[Symptom, ...]
    layers: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"- {symptom.sentence}" for symptom in self.symptoms]
        told = {symptom.layer for symptom in self.symptoms}
        lines += [
            f"- Nothing stands out in '{path}'."
            for path in self.layers
            if path not in told
        ]
        return "\n".join(lines)


def diagnose(
    gates: Any,
    reach: Any = None,
    *,
    open: float = 0.95,
    shut: float = 0.05,
    share: float = 0.5,
    short: float = 0.1,
    correlation: float = 0.9,
    entropy: float = 0.95,
) -> Diagnosis:
    """Says what stands out in captured gates, the most serious first.

    A symptom is not an illness: a layer that hardly ever erases may be what the task
    wants. The thresholds are conventions. A layer that was not trained has symptoms
    too: its gates stay near 0.5, and its time scales are short.

    What a layer remembers cannot be seen from its gates, which describe the path
    through the cell alone: the recurrent weights may keep more. `keras_gates.reach`
    measures it.

    Args:
        gates: A tree of layers, or the dataset of one, with dimensions such as
            `(sample, time, unit)`.
        reach: What `keras_gates.reach` returned for the same model, or for one layer.
            Then the measured memory of each layer comes first. Default: none.
        open: The value above which a gate counts as wide open: further out than the
            0.9 of `saturation`, since this is to be rare.
        shut: The value below which it counts as shut.
        share: From which share of the steps and units on that is told; a half.
        short: Time scales are reported as short if the longest one of a layer is below
            this share of the sequence: 0.1, after which e ** -10 is left. Not of a
            layer whose memory is in `reach`.
        correlation: From which median correlation on two gates count as saying the
            same.
        entropy: From how many bits on a gate counts as undecided, if it also hardly
            moves: 0.95 bits is a gate between 0.37 and 0.63.

    Returns:
        A `Diagnosis`. What cannot be told, for want of a signal, is left out.

    Raises:
        ValueError: If there is no signal in `gates`, or they have more than one `step`,
            or a threshold is out of its range.
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
    shut, open = thresholds(shut=shut, open=open)
    limits = Limits(
        open,
        shut,
        real_number("share", share, at_least=0),
        real_number("short", short, at_least=0),
        real_number("correlation", correlation, at_least=0),
        real_number("entropy", entropy, at_least=0),
    )
    measured = _measured(reach)
    found: list[Symptom] = []
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
            sums = count_signals(layer, kind, mask, limits.shut, limits.open)
        if not any(signal.count for signal in sums.values()):
            sentence = f"Every step of '{name}' is masked: there is nothing to measure."
            found.append(Symptom(name, sentence, 1.0, 1.0))
            continue
        memory = measured.get(path)
        patient = Patient(name, kind, layer, sums, causes_of_gaps(node), memory)
        found += symptoms_of(patient, limits)
    found.sort(key=lambda symptom: -symptom.severity)
    return Diagnosis(tuple(found), tuple(names))


def _measured(reach: Any) -> dict[str, Any]:
    """Returns what was measured of the memory of each layer, by its path."""
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
