"""The records of a recorder: series of labelled steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.stores.opening import open_tree
from keras_gates.stores.store import Store
from keras_gates.trees.tree import grow
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


class Step(NamedTuple):
    """The time at which something was recorded.

    Attributes:
        epoch: The epoch, 0 before training.
        batch: The number of batches so far.
        number: The label of the step, the same in every record: 0 before training.
    """

    epoch: int
    batch: int
    number: int


class Rows:
    """Rows of the same shape, in a buffer with space for more rows."""

    def __init__(self):
        self._buffer: np.ndarray | None = None
        self._number = 0

    def append(self, rows: np.ndarray) -> None:
        """Adds rows at the end."""
        after = self._number + len(rows)
        if self._buffer is None:
            self._buffer = np.array(rows)
        elif after > len(self._buffer):
            # Twice the space each time: on average, a row is copied once or twice.
            larger = np.empty((2 * after, *rows.shape[1:]), self._buffer.dtype)
            larger[: self._number] = self._buffer[: self._number]
            self._buffer = larger
        self._buffer[self._number : after] = rows
        self._number = after

    def values(self) -> np.ndarray:
        """Returns all rows so far, as a read-only array."""
        assert self._buffer is not None
        values = self._buffer[: self._number]
        values.flags.writeable = False
        return values

    def __getstate__(self):
        """Copies and pickles the rows, without the space for more rows."""
        return {"_buffer": np.array(self.values()), "_number": self._number}


class Record:
    """The trees that were recorded at each step, in memory or in a store.

    Attributes:
        name: The name of the record, and of its group in a store.
        steps: The time of each step.
        store: The store to which the record is written, or `None` for memory.
    """

    def __init__(self, name: str):
        self.name = name
        self.steps: list[Step] = []
        self.store: Store | None = None
        self._path: Path | None = None
        self._rows: dict[tuple[str, Any], Rows] = {}
        self._first: xarray.DataTree | None = None
        self._built: xarray.DataTree | None = None
        self._labelled = True

    def write_to(self, store: Store) -> None:
        """Makes the record continue the steps in a store, and write to that store."""
        self.store, self._path = store, store.path
        found = store.read(self.name)
        if found is not None:
            coordinates = recurrent(found)[0].coords
            epochs, batches = (coordinates[name].values for name in (v.EPOCH, v.BATCH))
            # An older version wrote no labels. Its first label follows from the batch.
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
            tree: The recorded tree.
            epoch: The epoch.
            batch: The number of batches so far.
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
            self._keep(tree)
        else:
            self.store.append(self.name, tree, v.STEP)
        self.steps.append(step)

    def closed(self) -> Record:
        """Returns the same record without the open store."""
        copied = Record(self.name)
        vars(copied).update(vars(self), store=None, _built=None)
        return copied

    def cut(self, epoch: int) -> None:
        """Drops the steps after an epoch, which are to be recorded again."""
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
        if self._built is None:
            self._built = self._build()
        # The arrays are those of the record; the rest belongs to the caller.
        return grow(
            {node.path: node.to_dataset().copy() for node in recurrent(self._built)},
            self._built.attrs,
        )

    def _keep(self, tree: xarray.DataTree) -> None:
        """Adds a step in memory."""
        self._built = None
        if self._first is None:
            self._first = tree
        for node in recurrent(tree):
            for name, variable in node.variables.items():
                if v.STEP in variable.dims:
                    rows = self._rows.setdefault((node.path, name), Rows())
                    rows.append(variable.values)

    def _build(self) -> xarray.DataTree:
        """Joins the steps in memory."""
        import xarray

        def joined(node: xarray.DataTree) -> xarray.Dataset:
            variables = {
                name: xarray.Variable(
                    variable.dims, self._rows[node.path, name].values(), variable.attrs
                )
                if (node.path, name) in self._rows
                else variable
                for name, variable in node.variables.items()
            }
            coordinates = {name: variables.pop(name) for name in node.coords}
            return xarray.Dataset(variables, coordinates, node.attrs)

        assert self._first is not None
        nodes = recurrent(self._first)
        return grow({node.path: joined(node) for node in nodes}, self._first.attrs)

    def _stored(self) -> xarray.DataTree:
        try:
            tree = open_tree(self._path, self.name)
        except (FileNotFoundError, KeyError):
            raise FileNotFoundError(
                f"The store '{self._path}' no longer exists: it was moved or removed. "
                "If it was moved, open it at its new path with "
                "`xarray.open_datatree(path, engine='zarr')`."
            ) from None
        if self._labelled:
            return tree
        for node in recurrent(tree):
            steps = self.steps[: node.sizes[v.STEP]]
            node.dataset = node.to_dataset().assign_coords(_labels(steps))
        return tree


def _labels(steps: list[Step]) -> dict:
    """Returns the coordinates along `step`."""
    names = {
        v.STEP: "recorded step, 0 before training",
        v.EPOCH: "epoch, 0 before training",
        v.BATCH: "batches so far",
    }
    columns = [[s.number for s in steps], [s.epoch for s in steps]]
    columns += [[s.batch for s in steps]]
    return {
        name: (v.STEP, values, {"long_name": label})
        for (name, label), values in zip(names.items(), columns, strict=True)
    }


def _with_step(dataset: xarray.Dataset) -> xarray.Dataset:
    """Adds a first dimension `step` to the data of one step."""
    coordinates = [name for name in dataset.coords if name not in dataset.dims]
    moved = dataset.reset_coords(coordinates).expand_dims(v.STEP)
    return moved.set_coords(coordinates)
