"""Keeps running statistics of the signals of recurrent layers in training."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

from keras_gates.backend import backend
from keras_gates.layers.collect import Collector, Emission
from keras_gates.models.find_layers import Node
from keras_gates.models.instrumenting import instrument_layers, layers_to_convert
from keras_gates.recording import joined_statistics, running_statistics
from keras_gates.recording.running_statistics import Plan

COMPILED = "for example by `tf.function`, `keras.remat`, `jax.jit` or `torch.compile`"

INSIDE = (
    "The recorder cannot count the gates of {layers}: in the training step, they run "
    "inside a function that the backend compiles or differentiates separately "
    f"({COMPILED}), which their values cannot leave. Their statistics have the count "
    "0. Call the layers outside of that function, or train without it."
)
SILENT = (
    "The recorder counted no gates of {layers} in the training step that it watched: "
    "the step does not run them, or it runs them inside a function that was compiled "
    f"before ({COMPILED}). Their statistics have the count 0. If the step runs them, "
    "call them outside of that function; if not, exclude them with `layers`."
)


class Watcher(Collector):
    """Keeps running statistics of the signals of recurrent layers in training.

    Args:
        model: The model that trains.
        nodes: The nodes whose signals to count.
        plans: The plan of each node, by its path.
        rows: The number of rows of each batch to sample, over all devices together.

    Attributes:
        due: Whether to count the next batch.
        step: The `WatchedStep` in which it counts, or `None`.
    """

    def __init__(
        self,
        model: keras.Model,
        nodes: list[Node],
        plans: dict[str, Plan],
        rows: float,
    ):
        if rows != math.inf:  # Rounded up: a device samples at least one row.
            rows = -(-rows // backend.replicas(model))
        super().__init__([(node.layer, node.cell) for node in nodes], rows)
        self.model = model
        self.nodes = nodes
        self.plans = plans
        self.due = False
        self.step: Any = None
        # The paths of nodes that emitted signals where nothing can be counted, of nodes
        # that emitted none in a watched batch, and of nodes that were reported.
        self._inside: set[str] = set()
        self._silent: set[str] = set()
        self._reported: set[str] = set()
        self._emitted: Counter[str] = Counter()
        # The same since the last reading, for batches that were not compiled.
        self._uncompiled: Counter[str] | None = None
        self._layers = layers_to_convert(model, nodes)
        self._fetched: dict[str, list[dict]] = {path: [] for path in plans}
        with backend.scope(model):
            self._kept = {
                (id(node.layer), id(node.cell)): (
                    node,
                    running_statistics.make_variables(plans[node.path]),
                )
                for node in nodes
            }

    def receive(self, emission: Emission) -> None:
        """Counts the signals that a cell emitted."""
        node, variables = self._kept[id(emission.layer), id(emission.cell)]
        self._emitted[node.path] += 1
        running_statistics.update(
            variables, self.plans[node.path], emission.signals, emission.mask
        )

    def miss(self, emission: Emission) -> None:
        """Notes that a node emitted signals where nothing can be counted."""
        node, _ = self._kept[id(emission.layer), id(emission.cell)]
        self._emitted[node.path] += 1
        self._inside.add(node.path)

    def reaches(self) -> bool:
        """Returns whether signals that are emitted now can be counted."""
        return backend.assigns(self._trace)

    def variables(self, layer=None) -> list[keras.Variable]:
        """Returns the variables that hold the statistics, of one layer or of all."""
        return [
            variable
            for node, variables in self._kept.values()
            if layer is None or node.layer is layer
            for variable in variables.values()
        ]

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Counts the signals of the model within the `with` block, in this thread."""
        with instrument_layers(self.model, self._layers), self.active():
            yield

    @contextlib.contextmanager
    def step_begun(self) -> Iterator[None]:
        """Notes which nodes emit signals in a batch, or while its step is compiled."""
        self.begin_trace()
        before = self._emitted.copy()
        try:
            yield
        finally:
            self.end_trace()
        emitted = {path for path in self.plans if self._emitted[path] > before[path]}
        if backend.trace() is not None:
            # The step that is compiled now runs in every batch.
            self._silent = set(self.plans) - emitted
            return
        # A loop may train one layer in one batch and another one in the next.
        self._uncompiled = (self._uncompiled or Counter()) + Counter(emitted)
        if not self._uncompiled:
            self._silent = set(self.plans)

    def begin_anew(self) -> None:
        """Forgets which nodes an earlier compiled step could not count."""
        self._inside, self._silent = set(), set()

    def report(self) -> None:
        """Warns, once, of every node that is not counted completely.

        It must not be called inside a step: if warnings are errors, the results of the
        step would be lost, and on JAX these are the only copy of the variables.
        """
        for paths, sentence in ((self._inside, INSIDE), (self._silent, SILENT)):
            new = sorted(paths - self._reported)
            if new:
                self._reported |= set(new)
                warnings.warn(sentence.format(layers=_list_of(new)), stacklevel=4)

    def fetch(self) -> None:
        """Fetches the statistics from the devices, and restarts the counts there."""
        for node, variables in self._kept.values():
            plan = self.plans[node.path]
            parts = [*self._fetched[node.path], *backend.read(self.model, variables)]
            self._fetched[node.path] = [joined_statistics.join(parts, plan)]
        self._restart()

    def read(self) -> dict[str, dict[str, Any]]:
        """Returns the statistics since the last reading, and restarts the counts.

        Returns:
            The statistics by node path and name, over all devices and processes.
        """
        self.fetch()
        if self._uncompiled is not None:
            self._silent = set(self.plans) - set(self._uncompiled)
            self._uncompiled = None
        gathered = backend.gather([self._fetched])
        self._fetched = {path: [] for path in self.plans}
        read = {
            path: joined_statistics.join(
                [p for each in gathered for p in each[path]], plan
            )
            for path, plan in self.plans.items()
        }
        # For a node that was counted in part, the counts would be taken for all values.
        return {
            path: joined_statistics.join([], self.plans[path])
            if path in self._inside
            else part
            for path, part in read.items()
        }

    def reset(self) -> None:
        """Resets all counts."""
        self._fetched = {path: [] for path in self.plans}
        self._uncompiled = None
        self._restart()

    def _restart(self) -> None:
        # The old values are not read: a step that failed may have deleted them.
        for node, variables in self._kept.values():
            start = self.plans[node.path].start()
            backend.reset(self.model, variables, start)


def _list_of(paths: list[str]) -> str:
    return ", ".join(f"'{path}'" for path in paths)
