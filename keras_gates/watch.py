"""Looking on while a model trains, inside its own compiled training step."""

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_gates import accumulate
from keras_gates.backend import backend
from keras_gates.collect import Collector, Emission
from keras_gates.instrument import instrument_layers, layers_of
from keras_gates.nodes import Node


class Watcher(Collector):
    """Keeps running statistics of what recurrent layers do in training.

    Args:
        model: The model that trains.
        nodes: The places to look at.
        plans: For each node path, what to count there.
        rows: How many rows of each batch to look at, over all devices together.

    Attributes:
        due: Whether to look at the batch that comes next.
    """

    def __init__(
        self,
        model: keras.Model,
        nodes: list[Node],
        plans: dict[str, accumulate.Plan],
        rows: float,
    ):
        if rows != math.inf:  # Rounded up: a device looks at one row at least.
            rows = -(-rows // backend.replicas(model))
        super().__init__([(node.layer, node.cell) for node in nodes], rows)
        self.model = model
        self.nodes = nodes
        self.plans = plans
        self.due = False
        self.step: WatchedStep | None = None
        self._layers = layers_of(model, nodes)
        self._fetched: dict[str, list[dict]] = {path: [] for path in plans}
        with backend.scope(model):
            self._kept = {
                (id(node.layer), id(node.cell)): (
                    node,
                    accumulate.make_variables(plans[node.path]),
                )
                for node in nodes
            }

    def receive(self, emission: Emission) -> None:
        """Counts in what a cell emitted."""
        node, variables = self._kept[id(emission.layer), id(emission.cell)]
        accumulate.update(
            variables, self.plans[node.path], emission.signals, emission.mask
        )

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
        """Looks at what the model does within the `with` block, in this thread."""
        with instrument_layers(self.model, self._layers), self.active():
            yield

    def fetch(self) -> None:
        """Brings what was counted on the devices here, and begins anew there."""
        for node, variables in self._kept.values():
            plan = self.plans[node.path]
            parts = [*self._fetched[node.path], *backend.read(self.model, variables)]
            self._fetched[node.path] = [accumulate.join(parts, plan)]
        self._start_anew()

    def read(self) -> dict[str, dict[str, Any]]:
        """Returns the statistics since the last reading, and begins anew.

        Returns:
            Node path to statistics by name, over all devices and processes.
        """
        self.fetch()
        gathered = backend.gather([self._fetched])
        self._fetched = {path: [] for path in self.plans}
        return {
            path: accumulate.join([p for each in gathered for p in each[path]], plan)
            for path, plan in self.plans.items()
        }

    def reset(self) -> None:
        """Forgets what was counted."""
        self._fetched = {path: [] for path in self.plans}
        self._start_anew()

    def _start_anew(self) -> None:
        # Without a look at the old values: a step that failed may have used them up.
        for node, variables in self._kept.values():
            start = self.plans[node.path].start()
            backend.reset(self.model, variables, start)


class WatchedStep:
    """Stands in for the training step that Keras compiled, and lets watchers look on.

    Batches that no watcher is due to look at go to Keras's own step, as it was.

    Args:
        model: The model.
        plain: The step that Keras compiled.
    """

    def __init__(self, model: keras.Model, plain):
        self.model = model
        self.plain = plain
        self.watchers: list[Watcher] = []
        self._compiled: dict[tuple[Watcher, ...], Any] = {}

    def __call__(self, *arguments):
        """Runs one training step, as Keras calls it."""
        watchers = tuple(watcher for watcher in self.watchers if watcher.due)
        if not watchers:
            return self.plain(*arguments)
        for watcher in watchers:
            watcher.due = False
        variables = [v for watcher in watchers for v in watcher.variables()]
        with _looking(watchers):
            return backend.run_step(
                self.model, self._compiled[watchers], variables, arguments
            )

    def add(self, watcher: Watcher) -> None:
        """Lets one more watcher look on."""
        if watcher not in self.watchers:
            self.watchers.append(watcher)
        # For whichever of them are due together. All at once, before training: in the
        # middle of it, on JAX, the model does not have its variables.
        for number in range(1, len(self.watchers) + 1):
            for together in itertools.combinations(self.watchers, number):
                if together not in self._compiled:
                    self._compiled[together] = _compile(self.model, together)


def _compile(model: keras.Model, watchers: tuple[Watcher, ...]):
    """Lets Keras compile the training step once more, with watchers in it."""
    stock = model.train_step

    # A function of its own, so that no cache takes it for the step without watchers.
    # It begins to look by itself: TensorFlow may call it in a thread of its own.
    def train_step(*arguments):
        with _looking(watchers):
            return stock(*arguments)

    attributes = vars(model)
    kept = {name: attributes.get(name) for name in ("train_step", "train_function")}
    attributes["train_step"] = train_step
    try:
        with _looking(watchers):
            model.make_train_function(force=True)
        return model.train_function
    finally:
        for name, value in kept.items():
            if value is None:
                del attributes[name]
            else:
                attributes[name] = value


@contextlib.contextmanager
def _looking(watchers: tuple[Watcher, ...]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for watcher in watchers:
            if not watcher.is_active():
                stack.enter_context(watcher.looking())
        yield


def attach(watcher: Watcher) -> None:
    """Lets a watcher look on in the training step of its model."""
    model = watcher.model
    model.make_train_function()
    step = model.train_function
    if not isinstance(step, WatchedStep):
        known = watcher.step
        # The one of an earlier `fit`, unless the model was compiled anew since then.
        step = (
            known
            if known is not None and known.plain is step
            else WatchedStep(model, step)
        )
        model.train_function = step
    watcher.step = step
    step.add(watcher)


def detach(watcher: Watcher) -> None:
    """Gives the model its own training step back, if nobody else looks on."""
    step = watcher.step
    if step is None or watcher not in step.watchers:
        return
    step.watchers.remove(watcher)
    if not step.watchers and watcher.model.train_function is step:
        watcher.model.train_function = step.plain
