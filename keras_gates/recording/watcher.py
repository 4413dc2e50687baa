"""Keeps running statistics of what recurrent layers do in training."""

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

COMPILED = "`tf.function`, `keras.remat`, `jax.jit`, `torch.compile` and the like"

INSIDE = (
    "The recorder cannot count the gates of {layers}: in the training step, they run "
    "inside a function that the backend compiles or differentiates on its own "
    f"({COMPILED}), which their values cannot leave. Their statistics have the count "
    "0. Call the layers outside of that function, or train without it."
)
SILENT = (
    "The recorder counted no gates of {layers} in the training step that it watched: "
    "the step does not run them, or it runs them inside a function that was compiled "
    f"before ({COMPILED}). Their statistics have the count 0. If the step runs them, "
    "call them outside of that function; if not, leave them out by `layers`."
)


class Watcher(Collector):
    """Keeps running statistics of what recurrent layers do in training.

    Args:
        model: The model that trains.
        nodes: The places to count.
        plans: For each node path, what to count there.
        rows: How many rows of each batch to sample, over all devices together.

    Attributes:
        due: Whether to count the next batch.
        step: The `WatchedStep` in which it looks on, or `None`.
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
        # The places whose signals were emitted where nothing can be counted, those
        # that were not heard of in a batch that was watched, and those reported.
        self._inside: set[str] = set()
        self._silent: set[str] = set()
        self._reported: set[str] = set()
        self._heard: Counter[str] = Counter()
        # The same in this step of the record, of batches that were not compiled.
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
        """Counts in what a cell emitted."""
        node, variables = self._kept[id(emission.layer), id(emission.cell)]
        self._heard[node.path] += 1
        running_statistics.update(
            variables, self.plans[node.path], emission.signals, emission.mask
        )

    def miss(self, emission: Emission) -> None:
        """Takes note of a place where nothing can be counted."""
        node, _ = self._kept[id(emission.layer), id(emission.cell)]
        self._heard[node.path] += 1
        self._inside.add(node.path)

    def reaches(self) -> bool:
        """Returns whether what is emitted now can be counted."""
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
    def looking(self) -> Iterator[None]:
        """Counts what the model does within the `with` block, in this thread."""
        with instrument_layers(self.model, self._layers), self.active():
            yield

    @contextlib.contextmanager
    def step_begun(self) -> Iterator[None]:
        """Takes note of what is heard in one batch, or while its step is compiled."""
        self.begin_trace()
        before = self._heard.copy()
        try:
            yield
        finally:
            self.end_trace()
        heard = {path for path in self.plans if self._heard[path] > before[path]}
        if backend.trace() is not None:
            # What is compiled now runs in every batch.
            self._silent = set(self.plans) - heard
            return
        # A loop may train one layer in one batch and another one in the next.
        self._uncompiled = (self._uncompiled or Counter()) + Counter(heard)
        if not self._uncompiled:
            self._silent = set(self.plans)

    def begin_anew(self) -> None:
        """Forgets what a step that was compiled earlier could not count."""
        self._inside, self._silent = set(), set()

    def report(self) -> None:
        """Warns, once, of every place of which too little is counted.

        Not to be called inside of a step: where warnings are errors, its results, which
        on JAX are all that is left of the model, would be lost.
        """
        for paths, sentence in ((self._inside, INSIDE), (self._silent, SILENT)):
            new = sorted(paths - self._reported)
            if new:
                self._reported |= set(new)
                warnings.warn(sentence.format(layers=_list_of(new)), stacklevel=4)

    def fetch(self) -> None:
        """Brings what was counted on the devices here, and begins anew there."""
        for node, variables in self._kept.values():
            plan = self.plans[node.path]
            parts = [*self._fetched[node.path], *backend.read(self.model, variables)]
            self._fetched[node.path] = [joined_statistics.join(parts, plan)]
        self._start_anew()

    def read(self) -> dict[str, dict[str, Any]]:
        """Returns the statistics since the last reading, and begins anew.

        Returns:
            Node path to statistics by name, over all devices and processes.
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
        # Of a place that was heard in part, the rest would pass for everything.
        return {
            path: joined_statistics.join([], self.plans[path])
            if path in self._inside
            else part
            for path, part in read.items()
        }

    def reset(self) -> None:
        """Forgets what was counted."""
        self._fetched = {path: [] for path in self.plans}
        self._uncompiled = None
        self._start_anew()

    def _start_anew(self) -> None:
        # Without a look at the old values: a step that failed may have used them up.
        for node, variables in self._kept.values():
            start = self.plans[node.path].start()
            backend.reset(self.model, variables, start)


def _list_of(paths: list[str]) -> str:
    return ", ".join(f"'{path}'" for path in paths)
