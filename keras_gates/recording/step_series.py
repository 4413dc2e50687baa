"""What a recorder keeps: labelled steps, one behind the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.stores.opening import open_tree
from keras_gates.stores.store import Store
from keras_gates.trees.tree import grow
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


class Step(NamedTuple):
    """When something was recorded.

    Attributes:
        epoch: The epoch, 0 before training.
        batch: The number of batches until then.
        number: The label of the step, the same in every record: 0 before training.
    """

    epoch: int
    batch: int
    number: int


class Record:
    """Trees recorded at one step after the other, in memory or in a store.

    Attributes:
        name: The name of the record, and of its group in a store.
        steps: When each of them was recorded.
        store: The store that it is written to, or `None` for memory.
    """

    def __init__(self, name: str):
        self.name = name
        self.steps: list[Step] = []
        self.store: Store | None = None
        self._path: Path | None = None
        self._trees: list[xarray.DataTree] = []
        self._labelled = True

    def write_to(self, store: Store) -> None:
        """Writes to a store from now on, behind what is in it."""
        self.store, self._path = store, store.path
        found = store.read(self.name)
        if found is not None:
            coordinates = recurrent(found)[0].coords
            epochs, batches = (coordinates[name].values for name in (v.EPOCH, v.BATCH))
            # An older version wrote no labels; the record before training began.
            first = 0 if batches.size and batches[0] == 0 else 1
            self._labelled = v.STEP in coordinates
            numbers = (
                coordinates[v.STEP].values
                if self._labelled
                else np.arange(first, first + len(epochs))
            )
            columns = epochs.tolist(), batches.tolist(), numbers.tolist()
            self.steps = [Step(*step) for step in zip(*columns, strict=True)]

    def append(
        self, tree: xarray.DataTree, epoch: int, batch: int, number: int | None = None
    ) -> None:
        """Adds a step.

        Args:
            tree: What was recorded.
            epoch: The epoch.
            batch: The number of batches until then.
            number: The label of the step. Default: one more than the last one.
        """
        if number is None:
            number = self.steps[-1].number + 1 if self.steps else 0
        step = Step(epoch, batch, number)
        labels = _labels([step])
        if not self._labelled:
            del labels[v.STEP]
        labelled = {
            node.path: _with_step(node.to_dataset()).assign_coords(labels)
            for node in recurrent(tree)
        }
        tree = grow(labelled, tree.attrs)
        if self.store is None:
            self._trees.append(tree)
        else:
            self.store.append(self.name, tree, v.STEP)
        self.steps.append(step)

    def closed(self) -> Record:
        """Returns the same record without the open store."""
        copied = Record(self.name)
        vars(copied).update(vars(self), store=None)
        return copied

    def cut(self, epoch: int) -> None:
        """Drops the steps behind an epoch, which are to be recorded again."""
        kept = [step for step in self.steps if step.epoch <= epoch]
        if self.store is not None and len(kept) < len(self.steps):
            self.store.cut(self.name, v.STEP, len(kept))
            self.steps = kept

    def tree(self) -> xarray.DataTree | None:
        """Returns all steps, as one tree, or `None` if there are none."""
        if not self.steps:
            return None
        if self._path is not None:
            return self._stored()
        if len(self._trees) > 1:
            # What was joined once is joined with what is new, the next time.
            self._trees = [_join(self._trees)]
        (tree,) = self._trees
        # The caller's own: what is changed in it is not changed here.
        return grow(
            {node.path: node.to_dataset().copy(deep=True) for node in recurrent(tree)},
            tree.attrs,
        )

    def _stored(self) -> xarray.DataTree:
        try:
            tree = open_tree(self._path, self.name)
        except (FileNotFoundError, KeyError):
            raise FileNotFoundError(
                f"The store '{self._path}' is not there any more: it was moved, or "
                "removed. Open it at its new place with `xarray.open_datatree(path, "
                "engine='zarr')`."
            ) from None
        if self._labelled:
            return tree
        for node in recurrent(tree):
            steps = self.steps[: node.sizes[v.STEP]]
            node.dataset = node.to_dataset().assign_coords(_labels(steps))
        return tree


def _labels(steps: list[Step]) -> dict:
    """Returns the coordinates along `step`."""
    what = {
        v.STEP: "recorded step, 0 before training",
        v.EPOCH: "epoch, 0 before training",
        v.BATCH: "batches so far",
    }
    columns = [[s.number for s in steps], [s.epoch for s in steps]]
    columns += [[s.batch for s in steps]]
    return {
        name: (v.STEP, values, {"long_name": label})
        for (name, label), values in zip(what.items(), columns, strict=True)
    }


def _with_step(dataset: xarray.Dataset) -> xarray.Dataset:
    """Puts a dimension `step` in front of what was recorded at one step."""
    coordinates = [name for name in dataset.coords if name not in dataset.dims]
    moved = dataset.reset_coords(coordinates).expand_dims(v.STEP)
    return moved.set_coords(coordinates)


def _join(trees: list[xarray.DataTree]) -> xarray.DataTree:
    """Puts the steps of trees behind each other."""
    import xarray

    def joined(path: str) -> xarray.Dataset:
        parts = [tree[path].variables for tree in trees]
        variables = {
            # `xarray.concat` compares everything else, step by step.
            name: variable
            if v.STEP not in variable.dims
            else xarray.Variable(
                variable.dims,
                np.concatenate([part[name].values for part in parts]),
                variable.attrs,
            )
            for name, variable in parts[0].items()
        }
        first = trees[0][path]
        coordinates = {name: variables.pop(name) for name in first.coords}
        return xarray.Dataset(variables, coordinates, first.attrs)

    return grow(
        {node.path: joined(node.path) for node in recurrent(trees[0])}, trees[0].attrs
    )
