"""The statistics of training, joined over devices and time, and labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.recording.running_statistics import Plan, uncarried
from keras_gates.trees.tree import attributes_of, grow

if TYPE_CHECKING:
    import xarray

    from keras_gates.models.find_layers import Node


def join(parts: Sequence[dict], plan: Plan) -> dict[str, np.ndarray]:
    """Joins the statistics of several parts of the data.

    Args:
        parts: Statistics by name, of replicas, processes or intervals.
        plan: The plan by which they were counted.

    Returns:
        The statistics of all parts together, as a single device would have counted
        them. Moments are float64, counts int64.
    """
    parts = parts or [plan.start()]
    counts = [int(uncarried(part, "count")) for part in parts]
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
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        **{
            name: np.sum([uncarried(part, name) for part in parts], axis=0)
            for name in ("left", "right", "histogram")
        },
    }


def statistics_tree(
    read: dict[str, dict[str, Any]],
    plans: dict[str, Plan],
    nodes: list[Node],
    attributes: dict,
) -> xarray.DataTree:
    """Labels the statistics from a watcher.

    Args:
        read: The statistics by node path and name.
        plans: The plan of each node, by its path.
        nodes: The nodes.
        attributes: The attributes of the tree.
    """
    datasets = {
        node.path: _statistics(read[node.path], plans[node.path]).assign_attrs(
            {
                **attributes_of(node),
                "lower": plans[node.path].lower,
                "upper": plans[node.path].upper,
            }
        )
        for node in nodes
    }
    return grow(datasets, {**attributes, "layers": list(datasets)})


def _statistics(read: dict[str, Any], plan: Plan) -> xarray.Dataset:
    import xarray

    shape = len(plan.signals), plan.units
    count = int(read["count"])
    divisor = count or np.nan
    mean = np.where(count, read["mean"].reshape(shape), np.nan)

    def known(values):
        # A NaN among the values makes the mean NaN. Then the rest is meaningless.
        return np.where(np.isnan(mean), np.nan, values.reshape(shape))

    def of_gates(values, *last):
        values = values.reshape(plan.gates, plan.units, *last)
        padding = np.full((shape[0] - plan.gates, *values.shape[1:]), np.nan)
        return np.concatenate([values, padding])

    dims = (v.SIGNAL, v.UNIT)
    edges = np.linspace(0, 1, plan.bins + 1)
    data = {
        "count": (dims, np.full(shape, count), "number of values"),
        "mean": (dims, mean, "mean"),
        "std": (dims, known(np.sqrt(read["squares"] / divisor)), "standard deviation"),
        "min": (dims, known(read["min"]), "smallest value"),
        "max": (dims, known(read["max"]), "largest value"),
        "left": (
            dims,
            of_gates(read["left"] / divisor),
            f"fraction below {plan.lower:g} (closed)",
        ),
        "right": (
            dims,
            of_gates(read["right"] / divisor),
            f"fraction above {plan.upper:g} (open)",
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
        # As objects, because Zarr specifies only strings of variable length.
        {
            v.SIGNAL: np.asarray(plan.signals, dtype=object),
            v.BIN: (v.BIN, (edges[:-1] + edges[1:]) / 2, {"long_name": "gate"}),
        },
    )


def log_figures(
    path: str, whole: dict, plan: Plan, everything: bool
) -> dict[str, float]:
    """Summarises the statistics of one layer in a few numbers, over all units.

    Args:
        path: The path of the layer, with which the names begin.
        whole: Statistics by name.
        plan: The plan by which they were counted.
        everything: Whether to include every signal, or only the layer as a whole.

    Returns:
        The numbers by name, as described for `log_metrics` of the recorder.
    """
    shape = -1, plan.units
    count = int(whole["count"]) or np.nan
    left, right = (whole[side].reshape(shape) / count for side in ("left", "right"))
    means = np.where(whole["count"], whole["mean"], np.nan).reshape(shape)
    found = {}
    if plan.gates:
        found[f"{path}/saturation"] = float((left + right).mean())
    if not everything:
        return found
    for number, signal in enumerate(plan.signals):
        of_units = means[number]
        # The variance over all units is that within units plus that between them.
        within = whole["squares"].reshape(shape)[number].mean() / count
        found[f"{path}/{signal}/mean"] = float(of_units.mean())
        found[f"{path}/{signal}/std"] = float(np.sqrt(within + of_units.var()))
        if number < plan.gates:
            found[f"{path}/{signal}/left"] = float(left[number].mean())
            found[f"{path}/{signal}/right"] = float(right[number].mean())
    return found
