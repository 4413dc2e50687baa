"""Running statistics of signals: updated inside a compiled step, read outside.

What is kept of the values so far is their number, their mean and the sum of their
squared deviations from it, per signal and unit, joined batch by batch as Chan, Golub
and LeVeque (1979) do. A plain sum of squares would lose, in float32, the spread of a
gate that stays near 1.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gates import vocabulary as v
from keras_gates.trees.tree import describe, grow

if TYPE_CHECKING:
    import xarray

    from keras_gates.models.nodes import Node

Tensor = Any

CARRY, CARRIED = 2**30, "_carried"
"""Backends count in 32 bits: from this number on, a count is carried to another one."""


class Plan(NamedTuple):
    """What is counted of the signals of one place.

    Attributes:
        signals: The names of the signals, the gates first.
        gates: How many of them are gates.
        units: The number of units.
        low: The value below which a gate counts as shut.
        high: The value above which a gate counts as open.
        bins: The number of bins of a gate's histogram, over 0 to 1.
    """

    signals: tuple[str, ...]
    gates: int
    units: int
    low: float
    high: float
    bins: int

    def start(self) -> dict[str, np.ndarray]:
        """Returns the statistics of no values at all, by name."""
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
            "minimum": np.full(every, np.inf, "float32"),
            "maximum": np.full(every, -np.inf, "float32"),
        }

    @property
    def nbytes(self) -> int:
        """About how many bytes the statistics of one step take."""
        # Six numbers a unit and signal, a histogram and its fractions; 8 bytes each.
        return 8 * len(self.signals) * self.units * (8 + self.bins)


def make_variables(plan: Plan) -> dict[str, keras.Variable]:
    """Makes the variables that hold the statistics, by name.

    Under a `tf.distribute` strategy every replica has its own; see `join`.
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
    """Counts the values of one batch in.

    Args:
        variables: What `make_variables` made.
        plan: The plan they were made for.
        signals: Signal name to `(..., time, units)`.
        mask: `(..., time)`, true where a step is real, or `None`.
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
        # One axis after the other: TensorFlow adds up a long one number by number, and
        # loses, in float32, what is much smaller than the sum so far.
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
        "minimum": ops.minimum(
            before["minimum"], ops.min(where_real(values, np.inf), axis=(0, 1))
        ),
        "maximum": ops.maximum(
            before["maximum"], ops.max(where_real(values, -np.inf), axis=(0, 1))
        ),
    }
    counted = {
        "count": number,
        "left": how_often(gates < plan.low),
        "right": how_often(gates > plan.high),
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
    if not plan.gates:  # PyTorch has no sum over segments of nothing.
        return ops.zeros((0,), "int32")
    gates = ops.where(known, gates, 0.0)
    # Values outside of 0 to 1, of an activation other than a sigmoid, go to the ends.
    place = ops.cast(ops.clip(gates * plan.bins, 0, plan.bins - 1), "int32")
    columns = plan.gates * plan.units
    place = place + ops.arange(columns, dtype="int32") * plan.bins
    return ops.segment_sum(
        ops.reshape(ops.cast(known, "int32"), (-1,)),
        ops.reshape(place, (-1,)),
        num_segments=columns * plan.bins,
    )


def join(parts: Sequence[dict], plan: Plan) -> dict[str, np.ndarray]:
    """Joins the statistics of several parts of the data to those of all of them.

    Args:
        parts: Statistics by name, of the replicas, processes or intervals.
        plan: The plan they were counted by.

    Returns:
        The same, of everything together: what a single device would have counted.
        Moments are float64, counts int64.
    """
    parts = parts or [plan.start()]
    counts = [int(_count(part, "count")) for part in parts]
    count = sum(counts)
    weights = [number / max(count, 1) for number in counts]
    means = [part["mean"].astype("float64") for part in parts]
    mean = sum(w * m for w, m in zip(weights, means, strict=True))
    squares = sum(
        part["squares"].astype("float64") + number * (m - mean) ** 2
        for part, number, m in zip(parts, counts, means, strict=True)
    )
    return {
        "count": np.asarray(count),
        "mean": mean,
        "squares": squares,
        "minimum": np.min([part["minimum"] for part in parts], axis=0),
        "maximum": np.max([part["maximum"] for part in parts], axis=0),
        **{
            name: np.sum([_count(part, name) for part in parts], axis=0)
            for name in ("left", "right", "histogram")
        },
    }


def _count(part: dict, name: str) -> np.ndarray:
    """Returns a count of 64 bits, of a part that was read or of one that was joined."""
    carried = np.asarray(part.get(f"{name}{CARRIED}", 0), dtype="int64")
    return np.asarray(part[name], dtype="int64") + carried * CARRY


def to_tree(
    read: dict[str, dict[str, Any]],
    plans: dict[str, Plan],
    nodes: "list[Node]",
    attributes: dict,
) -> "xarray.DataTree":
    """Labels what a watcher read.

    Args:
        read: Node path to statistics by name.
        plans: Node path to what was counted there.
        nodes: The nodes.
        attributes: The attributes of the tree.
    """
    datasets = {
        node.path: _statistics(read[node.path], plans[node.path]).assign_attrs(
            {
                **describe(node),
                "low": plans[node.path].low,
                "high": plans[node.path].high,
            }
        )
        for node in nodes
    }
    return grow(datasets, {**attributes, "layers": list(datasets)})


def _statistics(read: dict[str, Any], plan: Plan) -> "xarray.Dataset":
    import xarray

    shape = len(plan.signals), plan.units
    count = int(read["count"])
    divisor = count or np.nan
    mean = np.where(count, read["mean"].reshape(shape), np.nan)

    def known(values):
        # A NaN among the values shows in the mean, and the rest means nothing then.
        return np.where(np.isnan(mean), np.nan, values.reshape(shape))

    def of_gates(values, *last):
        values = values.reshape(plan.gates, plan.units, *last)
        padding = np.full((shape[0] - plan.gates, *values.shape[1:]), np.nan)
        return np.concatenate([values, padding])

    dims = (v.GATE, v.UNIT)
    edges = np.linspace(0, 1, plan.bins + 1)
    data = {
        "count": (dims, np.full(shape, count), "values looked at"),
        "mean": (dims, mean, "mean"),
        "std": (dims, known(np.sqrt(read["squares"] / divisor)), "standard deviation"),
        "minimum": (dims, known(read["minimum"]), "smallest value"),
        "maximum": (dims, known(read["maximum"]), "largest value"),
        "left": (
            dims,
            of_gates(read["left"] / divisor),
            f"fraction below {plan.low:g} (shut)",
        ),
        "right": (
            dims,
            of_gates(read["right"] / divisor),
            f"fraction above {plan.high:g} (open)",
        ),
        "histogram": (
            (*dims, v.BIN),
            of_gates(read["histogram"], plan.bins),
            "values in the bin",
        ),
    }
    return xarray.Dataset(
        {
            name: (d, values, {"long_name": label})
            for name, (d, values, label) in data.items()
        },
        # As objects: Zarr has a specification for strings of any length only.
        {
            v.GATE: np.asarray(plan.signals, dtype=object),
            v.BIN: (v.BIN, (edges[:-1] + edges[1:]) / 2, {"long_name": "gate"}),
        },
    )


def figures(path: str, whole: dict, plan: Plan, everything: bool) -> dict[str, float]:
    """Sums up the statistics of one place in a few numbers, over all of its units.

    Args:
        path: The path of the place, with which the names begin.
        whole: Statistics by name.
        plan: The plan they were counted by.
        everything: Whether to tell of every signal, or of the place as a whole.

    Returns:
        The figures by name, as `logs` of the recorder has them.
    """
    shape = -1, plan.units
    count = int(whole["count"]) or np.nan
    left, right = (whole[side].reshape(shape) / count for side in ("left", "right"))
    means = np.where(whole["count"], whole["mean"], np.nan).reshape(shape)
    told = {}
    if plan.gates:
        told[f"{path}/saturation"] = float((left + right).mean())
    if not everything:
        return told
    for number, signal in enumerate(plan.signals):
        of_units = means[number]
        # Over all units: the spread within each, and that between them.
        within = whole["squares"].reshape(shape)[number].mean() / count
        told[f"{path}/{signal}/mean"] = float(of_units.mean())
        told[f"{path}/{signal}/std"] = float(np.sqrt(within + of_units.var()))
        if number < plan.gates:
            told[f"{path}/{signal}/left"] = float(left[number].mean())
            told[f"{path}/{signal}/right"] = float(right[number].mean())
    return told
