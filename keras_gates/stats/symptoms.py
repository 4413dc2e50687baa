"""What can stand out in one layer: each symptom, and how it is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind
from keras_gates.checks import either
from keras_gates.stats import dead
from keras_gates.stats.diagnosis_sums import Sums
from keras_gates.stats.gate_measures import entropy as entropy_of
from keras_gates.trees.dimensions import longest_sequence
from keras_gates.trees.labels import distinct, labels_of, words

if TYPE_CHECKING:
    import xarray

STILL = 0.05
"""A gate with a smaller standard deviation hardly moves."""

FEW = 30
"""Over fewer steps any two gates go together by chance."""


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
class Limits:
    """The values from which on something is said."""

    open: float
    shut: float
    share: float
    short: float
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

    memory: xarray.Dataset | None = None
    """What `keras_gates.reach` measured of it."""


def symptoms_of(patient: Patient, limits: Limits) -> list[Symptom]:
    """Returns everything that stands out in a layer."""
    found: list[Symptom] = []
    with np.errstate(invalid="ignore"):  # What is broken is told by `_broken`.
        for look in (_broken, _remembered, _stuck, _short, _dead, _same, _undecided):
            found += look(patient, limits)
    return found


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


def _remembered(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """How long it remembers, where that was measured."""
    if patient.memory is None:
        return
    reach = patient.memory["reach"].load()
    if not reach.notnull().any():
        return
    place = int(reach.fillna(-np.inf).argmax(v.TIME))
    longest, after = float(reach[place]), words(labels_of(reach, v.TIME))[place]
    if np.isinf(longest):
        lags = int(patient.memory["retention"].isel({v.TIME: place}).count()) - 1
        sentence = (
            f"'{patient.name}' still remembers its state after step {after} when the "
            f"sequence ends, {lags} steps later; measured by swapping states."
        )
    else:
        low, high = (
            float(patient.memory[name].isel({v.TIME: place}))
            for name in ("reach_low", "reach_high")
        )
        sentence = (
            f"'{patient.name}' remembers its state after step {after} for "
            f"{longest:.3g} steps (95 % interval {low:.3g} to {high:.3g}); measured by "
            "swapping states."
        )
    yield Symptom(patient.name, sentence, longest, 1.0)


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
    if patient.memory is not None:
        return
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
    if 0 <= longest < limits.short * steps:
        sentence = (
            f"Time scales in '{patient.name}' end at {longest:.3g} steps, and the "
            f"sequences have {steps:,}: the gates alone keep nothing longer. "
            "`keras_gates.reach` measures whether the recurrent weights do."
        )
        yield Symptom(patient.name, sentence, longest, 1 - longest / steps)


def _dead(patient: Patient, limits: Limits) -> Iterator[Symptom]:
    """Units that do nothing."""
    holds: dict[str, Any] = {}
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
            f"{more}): {either(dead.ways(patient.kind)).replace('_', ' ')}."
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
        yield Symptom(patient.name, sentence, figure, min(figure, 1.0))


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
