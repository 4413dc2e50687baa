"""What a recorder keeps: labelled steps, one behind the other."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.accumulate import Plan
from keras_gates.store import Store
from keras_gates.store import read as read_store
from keras_gates.tree import describe, grow, recurrent

if TYPE_CHECKING:
    import xarray

    from keras_gates.nodes import Node

EPOCH, BATCH = "epoch", "batch"


class Record:
    """Trees recorded at one step after the other, in memory or in a store.

    Attributes:
        name: The name of the record, and of its group in a store.
        steps: For each step, the epoch and the number of batches until then.
        store: The store that it is written to, or `None` for memory.
    """

    def __init__(self, name: str):
        self.name = name
        self.steps: list[tuple[int, int]] = []
        self.store: Store | None = None
        self._path = None
        self._trees: list[xarray.DataTree] = []

    def write_to(self, store: Store) -> None:
        """Writes to a store from now on, behind what is in it."""
        self.store, self._path = store, store.path
        found = store.read(self.name)
        if found is not None:
            coordinates = recurrent(found)[0].coords
            epochs, batches = (coordinates[name].values for name in (EPOCH, BATCH))
            self.steps = list(zip(epochs.tolist(), batches.tolist(), strict=True))

    def append(self, tree: "xarray.DataTree", epoch: int, batch: int) -> None:
        """Adds a step."""
        labels = {
            EPOCH: (v.STEP, [epoch], {"long_name": "epoch, 0 before training"}),
            BATCH: (v.STEP, [batch], {"long_name": "batches so far"}),
        }
        labelled = {
            node.path: _with_step(node.to_dataset()).assign_coords(labels)
            for node in recurrent(tree)
        }
        tree = grow(labelled, tree.attrs)
        if self.store is None:
            self._trees.append(tree)
        else:
            self.store.append(self.name, tree, v.STEP)
        self.steps.append((epoch, batch))

    def cut(self, epoch: int) -> None:
        """Drops the steps behind an epoch, which are to be recorded again."""
        kept = [step for step in self.steps if step[0] <= epoch]
        if len(kept) < len(self.steps):
            self.store.cut(self.name, v.STEP, len(kept))
            self.steps = kept

    def tree(self) -> "xarray.DataTree | None":
        """Returns all steps, as one tree, or `None` if there are none."""
        if not self.steps:
            return None
        if self._path is not None:
            return read_store(self._path, self.name)
        return grow(
            {
                node.path: _join([tree[node.path].to_dataset() for tree in self._trees])
                for node in recurrent(self._trees[0])
            },
            self._trees[0].attrs,
        )


def _with_step(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """Puts a dimension `step` in front of what was recorded at one step."""
    coordinates = [name for name in dataset.coords if name not in dataset.dims]
    moved = dataset.reset_coords(coordinates).expand_dims(v.STEP)
    return moved.set_coords(coordinates)


def _join(steps: "list[xarray.Dataset]") -> "xarray.Dataset":
    """Stacks the same node at several steps."""
    import xarray

    return xarray.concat(
        steps,
        v.STEP,
        data_vars="minimal",
        coords="minimal",
        join="exact",
        compat="override",
        combine_attrs="override",
    )


def statistics_tree(
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
