"""Running statistics of signals, updated inside a compiled training step.

For each signal and unit, the variables hold the number of values so far, their mean and
the sum of their squared deviations from the mean. Batches are joined as by Chan, Golub
and LeVeque (1979). In float32, a plain sum of squares would lose the spread of a gate
that stays near 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

Tensor = Any

CARRY, CARRIED = 2**30, "_carried"
"""Backends count in 32 bits: from this number on, a second variable holds the carry."""


class Plan(NamedTuple):
    """The statistics that are counted for the signals of one node.

    Attributes:
        signals: The names of the signals, the gates first.
        gates: The number of signals that are gates.
        units: The number of units.
        lower: The value below which a gate counts as closed.
        upper: The value above which a gate counts as open.
        bins: The number of bins of a gate's histogram, over 0 to 1.
    """

    signals: tuple[str, ...]
    gates: int
    units: int
    lower: float
    upper: float
    bins: int

    def start(self) -> dict[str, np.ndarray]:
        """Returns the initial statistics, before any values, by name."""
        every, gates = len(self.signals) * self.units, self.gates * self.units
        counts = {
            "count": np.zeros((), "int32"),
            "left": np.zeros(gates, "int32"),
            "right": np.zeros(gates, "int32"),
            "histogram": np.zeros(gates * self.bins, "int32"),
        }
        return {
            **counts,
            **{f"{name}{CARRIED}": zeros for name, zeros in counts.items()},
            "mean": np.zeros(every, "float32"),
            "squares": np.zeros(every, "float32"),
            "min": np.full(every, np.inf, "float32"),
            "max": np.full(every, -np.inf, "float32"),
        }

    @property
    def nbytes(self) -> int:
        """The approximate number of bytes of the statistics of one step."""
        # Six numbers per unit and signal, a histogram and its fractions; 8 bytes each.
        return 8 * len(self.signals) * self.units * (8 + self.bins)


def make_variables(plan: Plan) -> dict[str, keras.Variable]:
    """Makes the variables that hold the statistics, by name.

    Under a `tf.distribute` strategy, every replica has its own variables, which
    `joined_statistics.join` joins.
    """
    return {
        name: keras.Variable(
            value,
            dtype=value.dtype.name,
            trainable=False,
            autocast=False,
            aggregation="none",
            synchronization="on_read",
            name=f"keras_gates_{name}",
        )
        for name, value in plan.start().items()
    }


def update(variables: dict, plan: Plan, signals: dict, mask: Tensor | None) -> None:
    """Adds the values of one batch to the statistics.

    Args:
        variables: The variables from `make_variables`.
        plan: The plan for which they were made.
        signals: The signals by name, `(..., time, units)`.
        mask: `(..., time)`, true where a step is unmasked, or `None`.
    """
    values = ops.concatenate(
        [ops.cast(signals[name], "float32") for name in plan.signals], axis=-1
    )
    width = len(plan.signals) * plan.units
    time = ops.shape(values)[-2]
    values = ops.reshape(values, (-1, time, width))
    real = None if mask is None else ops.reshape(mask, (-1, time, 1))

    def where_real(array, other):
        return array if real is None else ops.where(real, array, other)

    def total(array):
        # One axis after the other: TensorFlow adds a long axis number by number, and in
        # float32 it loses numbers that are much smaller than the sum so far.
        return ops.sum(ops.sum(array, axis=1), axis=0)

    number = (
        ops.cast(ops.shape(values)[0], "int32") * ops.cast(time, "int32")
        if real is None
        else ops.sum(ops.cast(real, "int32"))
    )
    divisor = ops.cast(ops.maximum(number, 1), "float32")
    mean = total(where_real(values, 0.0)) / divisor
    squares = total(where_real(ops.square(values - mean), 0.0))

    before = {name: variable.value for name, variable in variables.items()}
    seen = ops.cast(before["count"], "float32")
    seen = seen + ops.cast(before[f"count{CARRIED}"], "float32") * float(CARRY)
    new = ops.cast(number, "float32")
    share = new / ops.maximum(seen + new, 1.0)
    shift = mean - before["mean"]
    spread = ops.square(shift) * seen * share

    gates = values[..., : plan.gates * plan.units]
    # A NaN is in no bin, and neither is a masked step.
    known = ops.equal(gates, gates)
    known = known if real is None else ops.logical_and(known, real)

    def how_often(condition):
        condition = ops.logical_and(condition, known)
        return total(ops.cast(condition, "int32"))

    after = {
        "mean": before["mean"] + shift * share,
        "squares": before["squares"] + squares + spread,
        "min": ops.minimum(
            before["min"], ops.min(where_real(values, np.inf), axis=(0, 1))
        ),
        "max": ops.maximum(
            before["max"], ops.max(where_real(values, -np.inf), axis=(0, 1))
        ),
    }
    counted = {
        "count": number,
        "left": how_often(gates < plan.lower),
        "right": how_often(gates > plan.upper),
        "histogram": _histogram(gates, known, plan),
    }
    for name, more in counted.items():
        now = before[name] + more
        carried = now // CARRY
        after[name] = now - carried * CARRY
        after[f"{name}{CARRIED}"] = before[f"{name}{CARRIED}"] + carried
    for name, variable in variables.items():
        variable.assign(after[name])


def _histogram(gates: Tensor, known: Tensor, plan: Plan) -> Tensor:
    """Counts the values in each bin, `(gates * units * bins,)`."""
    if not plan.gates:  # PyTorch cannot sum over segments of an empty array.
        return ops.zeros((0,), "int32")
    gates = ops.where(known, gates, 0.0)
    # Values outside of 0 to 1 (activations other than a sigmoid) go to the end bins.
    place = ops.cast(ops.clip(gates * plan.bins, 0, plan.bins - 1), "int32")
    columns = plan.gates * plan.units
    place = place + ops.arange(columns, dtype="int32") * plan.bins
    return ops.segment_sum(
        ops.reshape(ops.cast(known, "int32"), (-1,)),
        ops.reshape(place, (-1,)),
        num_segments=columns * plan.bins,
    )


def uncarried(part: dict, name: str) -> np.ndarray:
    """Returns a count in 64 bits, from a part that was read or was already joined."""
    carried = np.asarray(part.get(f"{name}{CARRIED}", 0), dtype="int64")
    return np.asarray(part[name], dtype="int64") + carried * CARRY
