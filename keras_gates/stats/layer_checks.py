"""The checks of one layer: one for each kind of finding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind
from keras_gates.checks import either
from keras_gates.stats import dead
from keras_gates.stats.diagnosis_sums import Sums
from keras_gates.stats.findings import Finding
from keras_gates.stats.gate_measures import entropy as entropy_of
from keras_gates.trees.dimensions import longest_sequence
from keras_gates.trees.labels import distinct, labels_of, words

if TYPE_CHECKING:
    import xarray

STILL = 0.05
"""A gate with a smaller standard deviation hardly moves."""

FEW = 30
"""Over fewer steps, any two gates may be correlated by chance."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of `diagnose`, under the names of its arguments."""

    upper: float
    lower: float
    min_fraction: float
    min_memory_fraction: float
    correlation: float
    entropy: float


@dataclasses.dataclass(frozen=True)
class LayerSums:
    """One layer, with the sums over its signals."""

    name: str
    kind: Kind
    signals: xarray.Dataset
    sums: dict[str, Sums]
    causes: str
    """The reason why its values may be NaN or infinite."""

    memory: xarray.Dataset | None = None
    """The result of `keras_gates.reach` for this layer, if there is one."""

    def finding(
        self,
        code: str,
        signal: str | None,
        value: float,
        message: str,
        *,
        severity: float,
        threshold: float = math.nan,
        units: tuple = (),
    ) -> Finding:
        """Returns a finding in this layer."""
        return Finding(
            code,
            self.name,
            signal,
            units,
            float(value),
            threshold,
            float(severity),
            message,
        )


def check_layer(layer: LayerSums, limits: Limits) -> list[Finding]:
    """Returns all findings in a layer."""
    found: list[Finding] = []
    with np.errstate(invalid="ignore"):  # `_not_finite` reports these values.
        for check in (
            _not_finite,
            _measured_memory,
            _saturated,
            _short_timescales,
            _dead_units,
            _redundant_gates,
            _undecided,
        ):
            found += check(layer, limits)
    return found


def _not_finite(layer: LayerSums, limits: Limits) -> Iterator[Finding]:
    """Reports values that are NaN or infinite."""
    for signal, sums in layer.sums.items():
        if sums.broken:
            fraction = sums.broken / (sums.count * layer.signals.sizes[v.UNIT])
            sentence = (
                f"{_percent(fraction)} of '{signal}' in '{layer.name}' is NaN or "
                f"infinite: {layer.causes}."
            )
            yield layer.finding(
                "not-finite", signal, fraction, sentence, severity=1 + fraction
            )


def _measured_memory(layer: LayerSums, limits: Limits) -> Iterator[Finding]:
    """Reports the memory of the layer, if it was measured."""
    if layer.memory is None:
        return
    reach = layer.memory["reach"].load()
    if not reach.notnull().any():
        return
    place = int(reach.fillna(-np.inf).argmax(v.TIME))
    longest, after = float(reach[place]), words(labels_of(reach, v.TIME))[place]
    if np.isinf(longest):
        lags = int(layer.memory["retention"].isel({v.TIME: place}).count()) - 1
        sentence = (
            f"'{layer.name}' still remembers its state after step {after} when the "
            f"sequence ends, {lags} steps later; measured by swapping states."
        )
    else:
        low, high = (
            float(layer.memory[name].isel({v.TIME: place}))
            for name in ("reach_low", "reach_high")
        )
        sentence = (
            f"'{layer.name}' remembers its state after step {after} for "
            f"{longest:.3g} steps (95 % interval {low:.3g} to {high:.3g}); measured by "
            "swapping states."
        )
    yield layer.finding("measured-memory", None, longest, sentence, severity=1)


def _saturated(layer: LayerSums, limits: Limits) -> Iterator[Finding]:
    """Reports gates that are open, or closed, most of the time."""
    for gate, sums in _gates(layer):
        values = sums.count * layer.signals.sizes[v.UNIT]
        meaning = layer.kind.meanings[gate]
        for number, code, word, edge, effect in (
            (sums.below, "closed", "below", limits.lower, meaning.closed),
            (sums.above, "open", "above", limits.upper, meaning.open),
        ):
            fraction = number / values
            if fraction >= limits.min_fraction:
                sentence = (
                    f"{100 * fraction:.0f} % of '{gate}' in '{layer.name}' is {word} "
                    f"{edge:g}: {effect}."
                )
                yield layer.finding(
                    f"mostly-{code}",
                    gate,
                    fraction,
                    sentence,
                    severity=fraction,
                    threshold=limits.min_fraction,
                )


def _short_timescales(layer: LayerSums, limits: Limits) -> Iterator[Finding]:
    """Reports time scales that are short compared with the sequence."""
    gate = layer.kind.keep
    if layer.memory is not None:
        return
    if gate not in layer.sums or v.TIME not in layer.signals.dims:
        return
    sums, signal = layer.sums[gate], layer.signals[gate]
    steps = signal.sizes[v.TIME]
    if sums.count * signal.sizes[v.UNIT] < signal.size:  # Some steps are masked.
        steps = longest_sequence(signal)
    with np.errstate(divide="ignore"):
        lasting = -sums.count / sums.logarithms
    # With an activation that is not a sigmoid, a unit may amplify and never fade.
    lasting = np.where(sums.logarithms >= 0, np.inf, lasting)
    longest = lasting[~np.isnan(lasting)].max(initial=-1)
    shortest = limits.min_memory_fraction * steps
    if 0 <= longest < shortest:
        sentence = (
            f"The longest time scale in '{layer.name}' is {longest:.3g} steps, and the "
            f"sequences have {steps:,}: the gates alone keep nothing longer. "
            "`keras_gates.reach` measures whether the recurrent weights do."
        )
        yield layer.finding(
            "short-timescales",
            gate,
            longest,
            sentence,
            severity=1 - longest / steps,
            threshold=shortest,
        )


def _dead_units(layer: LayerSums, limits: Limits) -> Iterator[Finding]:
    """Reports dead units, as `dead_units` defines them."""
    holds: dict[str, Any] = {}
    for name, sums in layer.sums.items():
        if name == v.HIDDEN:
            holds[name] = (sums.spread < dead.CONSTANT) & (sums.count > 1)
        elif name in (layer.kind.write, layer.kind.show):
            holds[name] = sums.largest < dead.CLOSED
    if not holds:
        return
    units = dead.conditions(layer.kind, holds)["dead"]
    number = int(units.sum())
    if number:
        distinct(layer.signals, v.UNIT, "gates")
        which = ", ".join(words(labels_of(layer.signals, v.UNIT)[units][:8]))
        more = ", ..." if number > 8 else ""
        sentence = (
            f"{number} of {len(units)} units in '{layer.name}' are dead ({which}"
            f"{more}): {either(dead.ways(layer.kind)).replace('_', ' ')}."
        )
        yield layer.finding(
            "dead-units",
            v.HIDDEN,
            number,
            sentence,
            severity=number / len(units),
            threshold=0.0,
            units=tuple(labels_of(layer.signals, v.UNIT)[units].tolist()),
        )


def _redundant_gates(layer: LayerSums, limits: Limits) -> Iterator[Finding]:
    """Reports two gates that carry the same information."""
    if layer.kind.coupled is None:
        return
    first, second, opposed = layer.kind.coupled
    if first not in layer.sums or second not in layer.sums:
        return
    if layer.sums[first].count < FEW:
        return
    values = layer.sums[first].correlation(layer.sums[second])
    known = np.abs(values[~np.isnan(values)])
    median = float(np.median(known)) if len(known) else 0.0
    if median >= limits.correlation:
        other = f"1 - '{second}'" if opposed else f"'{second}'"
        sentence = (
            f"'{first}' and {other} carry the same information in "
            f"'{layer.name}': their median absolute correlation is {median:.2f}."
        )
        yield layer.finding(
            "redundant-gates",
            first,
            median,
            sentence,
            severity=min(median, 1.0),
            threshold=limits.correlation,
        )


def _undecided(layer: LayerSums, limits: Limits) -> Iterator[Finding]:
    """Reports gates that stay near 0.5 and hardly move."""
    for gate, sums in _gates(layer):
        spread = float(sums.spread.mean())
        if not spread < STILL:
            continue
        bits = float(entropy_of(layer.signals[gate]).mean())
        if bits >= limits.entropy:
            sentence = (
                f"'{gate}' in '{layer.name}' stays near 0.5 (entropy {bits:.2f} bits, "
                f"standard deviation {spread:.2g}): it hardly acts as a gate."
            )
            yield layer.finding(
                "undecided",
                gate,
                bits,
                sentence,
                severity=bits / 2,
                threshold=limits.entropy,
            )


def _gates(layer: LayerSums) -> Iterator[tuple[str, Sums]]:
    gates = layer.kind.gates
    return ((name, sums) for name, sums in layer.sums.items() if name in gates)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "Less than 1 %"
