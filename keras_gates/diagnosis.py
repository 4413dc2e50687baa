"""What stands out in captured gates, in sentences with the figures behind them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.layerwise import layers_of, reduced
from keras_gates.measures import KEEP, entropy, saturation, timescale
from keras_gates.units import dead_units, gate_correlation

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
            threshold was passed.
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
        ValueError: If there is no signal in `gates`, or they have more than one `step`.
        TypeError: If `gates` is neither a tree nor a dataset.

    Example:
        >>> import numpy as np
        >>> import xarray
        >>> from keras_gates import stats
        >>> forget = (("sample", "time", "unit"), np.full((1, 5, 2), 0.99))
        >>> layer = xarray.Dataset({"forget": forget}, attrs={"layer": "lstm"})
        >>> print(stats.diagnose(layer))
        - 100 % of 'forget' in 'lstm' is above 0.95: this layer hardly ever erases.
    """
    import xarray

    if isinstance(gates, xarray.Dataset):
        gates = xarray.DataTree(gates)
    if not isinstance(gates, xarray.DataTree):
        raise TypeError(
            "`gates` must be an xarray DataTree or Dataset, as `capture` returns them; "
            f"got {type(gates).__name__}."
        )
    limits = Limits(open, shut, share, reach, correlation, entropy)
    found: list[Symptom] = []
    names = []
    for path, layer in layers_of(gates, v.SIGNALS).items():
        name = layer.attrs.get("layer", path) if path == "/" else path
        if layer.sizes.get(v.STEP, 1) > 1:
            raise ValueError(
                f"`gates` must be of one moment; {name!r} has {layer.sizes[v.STEP]} "
                "steps of training. Choose one, such as `traces.isel(step=-1)`."
            )
        names.append(name)
        if not any(int(signal.count()) for signal in layer.values()):
            sentence = f"Every step of '{name}' is masked: there is nothing to measure."
            found.append(Symptom(name, sentence, 1.0, 1.0))
            continue
        for look in (_stuck, _short, _dead, _same, _undecided):
            found += look(name, layer, limits)
    found.sort(key=lambda symptom: -symptom.severity)
    return Diagnosis(tuple(found), tuple(names))


STILL = 0.05
"""A gate with a smaller standard deviation hardly moves."""

_MEANINGS = {
    (v.INPUT, "above"): "this layer writes at nearly every step",
    (v.INPUT, "below"): "this layer hardly ever writes",
    (v.FORGET, "above"): "this layer hardly ever erases",
    (v.FORGET, "below"): "this layer hardly remembers",
    (v.OUTPUT, "above"): "this layer shows its memory at nearly every step",
    (v.OUTPUT, "below"): "this layer hardly ever shows its memory",
    (v.UPDATE, "above"): "this layer hardly ever takes in anything new",
    (v.UPDATE, "below"): "this layer hardly remembers",
    (v.RESET, "above"): "the candidate nearly always sees the old state",
    (v.RESET, "below"): "the candidate hardly ever sees the old state",
}


def _stuck(name: str, layer: xarray.Dataset, limits: Limits) -> Iterator[Symptom]:
    """Gates that are open, or shut, most of the time."""
    for gate in v.GATES:
        if gate not in layer:
            continue
        sides = saturation(layer[gate], low=limits.shut, high=limits.open)
        for side, word, edge in (
            ("left", "below", limits.shut),
            ("right", "above", limits.open),
        ):
            figure = float(sides.sel(side=side).mean())
            if figure >= limits.share:
                sentence = (
                    f"{100 * figure:.0f} % of '{gate}' in '{name}' is {word} {edge:g}: "
                    f"{_MEANINGS[gate, word]}."
                )
                yield Symptom(name, sentence, figure, figure)


def _short(name: str, layer: xarray.Dataset, limits: Limits) -> Iterator[Symptom]:
    """Memories that end long before the sequence does."""
    for gate in KEEP:
        if gate not in layer or v.TIME not in layer[gate].dims:
            continue
        steps = layer.sizes[v.TIME]
        longest = float(timescale(layer[gate]).max())
        # NaN, or negative: an activation that is no gate.
        if 0 <= longest < limits.reach * steps:
            sentence = (
                f"Time scales in '{name}' end at {longest:.3g} steps, and the "
                f"sequences have {steps:,}: what came earlier has faded."
            )
            yield Symptom(name, sentence, longest, 1 - longest / steps)


def _dead(name: str, layer: xarray.Dataset, limits: Limits) -> Iterator[Symptom]:
    """Units that do nothing."""
    if not {v.HIDDEN, v.OUTPUT, v.INPUT} & set(layer):
        return
    dead = dead_units(layer)["dead"]
    number = int(dead.sum())
    if number:
        which = ", ".join(map(str, np.flatnonzero(dead.values.ravel())[:8].tolist()))
        more = ", ..." if number > 8 else ""
        sentence = (
            f"{number} of {dead.sizes[v.UNIT]} units in '{name}' are dead ({which}"
            f"{more}): constant, never written or never shown."
        )
        figure = number / dead.sizes[v.UNIT]
        yield Symptom(name, sentence, number, figure)


def _same(name: str, layer: xarray.Dataset, limits: Limits) -> Iterator[Symptom]:
    """Two gates that carry the same information."""
    for first, second, words in (
        (v.INPUT, v.FORGET, "'input' and 1 - 'forget'"),
        (v.RESET, v.UPDATE, "'reset' and 'update'"),
    ):
        if first not in layer or second not in layer:
            continue
        values = gate_correlation(layer[[first, second]])["gate_correlation"]
        figure = float(np.abs(values).compute().median())
        if figure >= limits.correlation:
            sentence = (
                f"{words} carry the same information in '{name}': their median "
                f"correlation is {figure:.2f} in size."
            )
            yield Symptom(name, sentence, figure, figure)


def _undecided(name: str, layer: xarray.Dataset, limits: Limits) -> Iterator[Symptom]:
    """Gates that stay around a half and hardly move."""
    for gate in v.GATES:
        if gate not in layer:
            continue
        bits = float(entropy(layer[gate]).mean())
        spread = float(layer[gate].std(reduced(layer[gate])).mean())
        if bits >= limits.entropy and spread < STILL:
            sentence = (
                f"'{gate}' in '{name}' stays near a half ({bits:.2f} of 1 bit, moving "
                f"by {spread:.2g}): it hardly acts as a gate."
            )
            yield Symptom(name, sentence, bits, bits / 2)
