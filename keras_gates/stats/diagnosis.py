"""What stands out in captured gates, in sentences with the figures behind them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.cells.kind import Kind
from keras_gates.checks import real_number, thresholds
from keras_gates.stats import dead
from keras_gates.stats.counts import Sums, count_signals
from keras_gates.stats.measures import entropy as entropy_of
from keras_gates.trees.dimensions import longest_sequence
from keras_gates.trees.labels import distinct, labels_of, words
from keras_gates.trees.layerwise import as_tree, called, kind_of_layer, signals_by_layer
from keras_gates.trees.missing import causes_of_gaps, damage_named, mask_of

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class Symptom:
    """One thing that stands out.

    Attributes:
        layer: Path of the layer.
        sentence: What it is, with the figure.
        figure: The figure by itself.
        severity: From 0 to 1: the share of the layer that it concerns, or how far a
            threshold was passed. Over 1 for values that are no numbers.
    """

    layer: str
    sentence: str
    figure: float
    severity: float


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


@dataclasses.dataclass(frozen=True)
class Limits:
    """The values from which on something is said."""

    open: float
    shut: float
    share: float
    reach: float
    correlation: float
    entropy: float


@dataclasses.dataclass(frozen=True)
class Patient:
    """One layer, and what was counted in it."""

    name: str
    kind: Kind
    signals: xarray.Dataset
    sums: dict[str, Sums]
    causes: str
    """Why values of it may be NaN or infinite."""


def diagnose(
    gates: Any,
    *,
    open: float = 0.95,
    shut: float = 0.05,
    share: float = 0.5,
    reach: float = 0.1,
    correlation: float = 0.9,
    entropy: float = 0.95,
) -> Diagnosis:
    """Says what stands out in captured gates, the most serious first.

    A symptom is not an illness: a layer that hardly ever erases may be what the task
    wants. The thresholds are conventions. A layer that was not trained has symptoms
    too: its gates stay near a half, and its memory is short.

    Args:
        gates: A tree of layers, or the dataset of one, with dimensions such as
            `(sample, time, unit)`.
        open: The value above which a gate counts as wide open: further out than the
            0.9 of `saturation`, since this is to be rare.
        shut: The value below which it counts as shut.
        share: From which share of the steps and units on that is told; a half.
        reach: Time scales are told to be short if the longest one of a layer is below
            this share of the sequence: a tenth, after which e ** -10 is left.
        correlation: From which median correlation on two gates count as saying the
            same.
        entropy: From how many bits on a gate counts as undecided, if it also hardly
            moves: 0.95 bits is a gate between 0.37 and 0.63.

    Returns:
        A `Diagnosis`. What cannot be told, for want of a signal, is left out.

    Raises:
        ValueError: If there is no signal in `gates`, or they have more than one `step`,
            or a threshold is out of its range.
        TypeError: If `gates` is neither a tree nor a dataset.
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
        real_number("reach", reach, at_least=0),
        real_number("correlation", correlation, at_least=0),
        real_number("entropy", entropy, at_least=0),
    )
    found: list[Symptom] = []
    names = []
    for path, layer in signals_by_layer(gates, registry.signals(), (v.UNIT,)).items():
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
        patient = Patient(name, kind, layer, sums, causes_of_gaps(node))
        with np.errstate(invalid="ignore"):  # What is broken is told by `_broken`.
            for look in (_broken, _stuck, _short, _dead, _same, _undecided):
                found += look(patient, limits)
    found.sort(key=lambda symptom: -symptom.severity)
    return Diagnosis(tuple(found), tuple(names))


STILL = 0.05
"""A gate with a smaller standard deviation hardly moves."""

FEW = 30
"""Over fewer steps any two gates go together by chance."""


def _broken(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """Values that are no numbers."""
    for signal, sums in patient.sums.items():
        if sums.broken:
            figure = sums.broken / (sums.count * patient.signals.sizes[v.UNIT])
            sentence = (
                f"{_percent(figure)} of '{signal}' in '{patient.name}' is NaN or "
                f"infinite: {patient.causes}."
            )
            yield Symptom(patient.name, sentence, figure, 1 + figure)


def _stuck(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """Gates that are open, or shut, most of the time."""
    for gate, sums in _gates(patient):
        values = sums.count * patient.signals.sizes[v.UNIT]
        meaning = patient.kind.meanings[gate]
        for number, word, edge, said in (
            (sums.below, "below", limits.shut, meaning.closed),
            (sums.above, "above", limits.open, meaning.open),
        ):
            figure = number / values
            if figure >= limits.share:
                sentence = (
                    f"{100 * figure:.0f} % of '{gate}' in '{patient.name}' is {word} "
                    f"{edge:g}: {said}."
                )
                yield Symptom(patient.name, sentence, figure, figure)


def _short(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """Memories that end long before the sequence does."""
    gate = patient.kind.keep
    if gate not in patient.sums or v.TIME not in patient.signals.dims:
        return
    sums, signal = patient.sums[gate], patient.signals[gate]
    steps = signal.sizes[v.TIME]
    if sums.count * signal.sizes[v.UNIT] < signal.size:  # Some steps are masked.
        steps = longest_sequence(signal)
    with np.errstate(divide="ignore"):
        lasting = -sums.count / sums.logarithms
    # Of an activation that is no gate a unit may amplify: it never fades.
    lasting = np.where(sums.logarithms >= 0, np.inf, lasting)
    longest = lasting[~np.isnan(lasting)].max(initial=-1)
    if 0 <= longest < limits.reach * steps:
        sentence = (
            f"Time scales in '{patient.name}' end at {longest:.3g} steps, and the "
            f"sequences have {steps:,}: what came earlier has faded."
        )
        yield Symptom(patient.name, sentence, longest, 1 - longest / steps)


def _dead(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """Units that do nothing."""
    holds = {}
    for name, sums in patient.sums.items():
        if name == v.HIDDEN:
            holds[name] = (sums.spread < dead.CONSTANT) & (sums.count > 1)
        elif name in (patient.kind.write, patient.kind.show):
            holds[name] = sums.largest < dead.CLOSED
    if not holds:
        return
    units = dead.conditions(patient.kind, holds)["dead"]
    number = int(units.sum())
    if number:
        distinct(patient.signals, v.UNIT, "gates")
        which = ", ".join(words(labels_of(patient.signals, v.UNIT)[units][:8]))
        more = ", ..." if number > 8 else ""
        sentence = (
            f"{number} of {len(units)} units in '{patient.name}' are dead ({which}"
            f"{more}): constant, never written or never shown."
        )
        yield Symptom(patient.name, sentence, number, number / len(units))


def _same(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """Two gates that carry the same information."""
    if patient.kind.coupled is None:
        return
    first, second, opposed = patient.kind.coupled
    if first not in patient.sums or second not in patient.sums:
        return
    if patient.sums[first].count < FEW:
        return
    values = patient.sums[first].correlation(patient.sums[second])
    known = np.abs(values[~np.isnan(values)])
    figure = float(np.median(known)) if len(known) else 0.0
    if figure >= limits.correlation:
        other = f"1 - '{second}'" if opposed else f"'{second}'"
        sentence = (
            f"'{first}' and {other} carry the same information in "
            f"'{patient.name}': their median correlation is {figure:.2f} in size."
        )
        yield Symptom(patient.name, sentence, figure, figure)


def _undecided(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """Gates that stay around a half and hardly move."""
    for gate, sums in _gates(patient):
        spread = float(sums.spread.mean())
        if not spread < STILL:
            continue
        bits = float(entropy_of(patient.signals[gate]).mean())
        if bits >= limits.entropy:
            sentence = (
                f"'{gate}' in '{patient.name}' stays near a half ({bits:.2f} of 1 bit, "
                f"moving by {spread:.2g}): it hardly acts as a gate."
            )
            yield Symptom(patient.name, sentence, bits, bits / 2)


def _gates(patient: Patient) -> Iterator[tuple[str, Sums]]:
    gates = patient.kind.gates
    return ((name, sums) for name, sums in patient.sums.items() if name in gates)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "Less than 1 %"
