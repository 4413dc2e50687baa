"""Joining of batches: each is written to its place in the result when it arrives."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry


def join(batches: Iterable[dict], number: int | None) -> dict[str, dict]:
    """Joins batches along the samples; the result is in memory once.

    Args:
        batches: For each batch, node path to a dict of arrays.
        number: The number of batches, or `None` if it is not known.

    Returns:
        Node path to a dict of arrays.

    Raises:
        ValueError: If batches differ in their number of frames.
        MemoryError: With the first batch, if there is no room for the others.
    """
    nodes: dict[str, _Node] = {}
    for batch in batches:
        for path, arrays in batch.items():
            nodes.setdefault(path, _Node(number or 1)).add(arrays)
    return {path: node.done() for path, node in nodes.items()}


class _Node:
    """The arrays of one node, which grow along the samples.

    Args:
        number: The number of batches that are expected.
    """

    def __init__(self, number: int):
        self._number = number
        self._first: dict[str, np.ndarray] = {}  # Unchanged until a second batch.
        self._arrays: dict[str, np.ndarray] = {}
        self._samples = 0

    def add(self, batch: dict) -> None:
        """Appends one batch to the others."""
        if not self._samples:
            self._first = batch
        else:
            if not self._arrays:
                self._make_room()
            batch = self._aligned(batch)
            for name, array in batch.items():
                self._write(name, array)
        self._samples += len(_signal(batch))

    def done(self) -> dict[str, np.ndarray]:
        """Returns the arrays of all batches."""
        for array in self._arrays.values():
            array.resize((self._samples, *array.shape[1:]), refcheck=False)
        return self._arrays or self._first

    def _make_room(self) -> None:
        rows = self._samples * max(self._number, 2)
        for name, array in self._first.items():
            try:
                room = np.empty((rows, *array.shape[1:]), array.dtype)
            except MemoryError as error:
                raise MemoryError(
                    f"The result does not fit into memory ({error}). Give `store`, "
                    "or name fewer `layers` or `signals`."
                ) from None
            room[: self._samples] = array
            self._arrays[name] = room
        self._first = {}

    def _write(self, name: str, array: np.ndarray) -> None:
        end = self._samples + len(array)
        held = self._arrays[name]
        if end > len(held):
            # In place if the system supports it; there are no views of it yet.
            held.resize((end, *held.shape[1:]), refcheck=False)
        held[self._samples : end] = array

    def _aligned(self, batch: dict) -> dict:
        """Pads a batch, or the batches before it, to the same length."""
        frames = {_signal(part).shape[1:-2] for part in (self._arrays, batch)}
        if len(frames) > 1:
            raise ValueError(
                "Inside a `TimeDistributed`, every batch must have the same number of "
                f"frames; got {sorted(number for (number,) in frames)}. Pad the frames "
                "and mask the padding."
            )
        before, now = _length(self._arrays), _length(batch)
        if before == now and len(batch) == len(self._arrays):
            return batch
        if before < now or v.MASK not in self._arrays:
            self._arrays = _padded(self._arrays, max(before, now))
        return _padded(batch, max(before, now))


def _signal(arrays: dict) -> np.ndarray:
    # Signals are (..., time, unit); the initial states have no time.
    return next(array for name, array in arrays.items() if _has_steps(name))


def _has_steps(name: str) -> bool:
    return name == v.INPUTS or name in registry.signals()


def _length(arrays: dict) -> int:
    return _signal(arrays).shape[-2]


def _padded(arrays: dict, length: int) -> dict:
    """Adds masked steps at the end."""
    missing = length - _length(arrays)
    padded = {}
    for name, array in arrays.items():
        if _has_steps(name):
            width = [(0, 0)] * (array.ndim - 2) + [(0, missing), (0, 0)]
            array = np.pad(array, width, constant_values=np.nan)
            unmasked = np.zeros(array.shape[:-1], bool)
            unmasked[..., : length - missing] = True
        padded[name] = array
    if v.MASK in arrays:
        mask = arrays[v.MASK]
        width = [(0, 0)] * (mask.ndim - 1) + [(0, missing)]
        unmasked = np.pad(mask, width, constant_values=False)
    return {**padded, v.MASK: unmasked}
