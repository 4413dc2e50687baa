"""Records the steps of training: traces of a probe, and statistics."""

from __future__ import annotations

import math
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.capturing.reader import choose_signals
from keras_gates.models.find_layers import Node, select
from keras_gates.models.model_checks import require_model
from keras_gates.recording import joined_statistics, watched_step
from keras_gates.recording.alarms import Alarms
from keras_gates.recording.options import Options
from keras_gates.recording.probe import Probe
from keras_gates.recording.running_statistics import Plan
from keras_gates.recording.storage import Records
from keras_gates.recording.tensorboard import Events
from keras_gates.recording.watcher import Watcher
from keras_gates.trees.tree import tree_attributes
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import keras
    import xarray

FORMAT = 2
"""The format of the stores. Older ones in `metadata.OLDER` can be continued."""
OFTEN_ENOUGH = 1000
"""The number of batches between fetches: on the device, a mean has only 32 bits."""


class StepRecorder:
    """Records a model at each step, and keeps the records.

    Args:
        options: The options of the recorder.
        probe: The probe to read at each step, or `None` for no traces.
        records: The records to which the steps are added.

    Attributes:
        model: The model in training; `None` before training.
        watcher: The watcher that counts in the training step, or `None` for no
            statistics.
        alarms: The alarms that were found in the statistics.
    """

    def __init__(self, options: Options, probe: Probe | None, records: Records):
        self.options = options
        self.probe = probe
        self.records = records
        self.alarms = Alarms(
            options.on_alarm,
            options.patience,
            lower=options.lower,
            upper=options.upper,
        )
        self.model: Any = None
        self.watcher: Watcher | None = None
        self._layers: dict[str, str] | None = None
        self._events: Events | None = None
        self._whole: dict[str, dict] = {}

    def __getstate__(self):
        """Copies and pickles the records without the model, which Keras saves."""
        held = ("model", "watcher", "_events")
        return {**vars(self), **dict.fromkeys(held)}

    def prepare(self, model: keras.Model) -> None:
        """Checks everything that can be checked before training, and prepares for it.

        Raises:
            ValueError: If the model has nothing to record, or is not the same model as
                before.
        """
        require_model(model)
        if self.model not in (None, model):
            raise ValueError(
                f"The recorder holds the steps of another model, '{self.model.name}'. "
                f"Make a new `GateRecorder` for '{model.name}'."
            )
        if self.probe is not None and self.model is None:
            self.probe.prepare(model)
        nodes = select(model, self.options.layers)
        chosen = choose_signals(nodes, self.options.signals)
        if self.options.rows and self.model is None:
            self._make_watcher(model, nodes, chosen)
        layers = {node.path: f"{node.known_kind.name}({node.units})" for node in nodes}
        if self._layers not in (None, layers):
            raise ValueError(
                f"The recorder holds the steps of another model, with the layers "
                f"{self._layers}; '{model.name}' has {layers}. Make a new one."
            )
        self._layers = layers
        folder = self.options.log_dir
        if folder is not None and self._events is None and backend.writes():
            self._events = Events(folder)
        self.model = model
        if self.watcher is not None:
            self.watcher.reset()

    def _make_watcher(self, model, nodes: list[Node], chosen: set[str]) -> None:
        plans = {}
        for node in nodes:
            kind = node.known_kind
            # Signals without a value for each unit are captured, but not counted.
            counted = [s for s in kind.signals if s in chosen and s not in kind.widths]
            gates = [signal for signal in counted if signal in kind.gates]
            others = [signal for signal in counted if signal not in kind.gates]
            if gates or others:
                plans[node.path] = Plan(
                    (*gates, *others),
                    len(gates),
                    node.units,
                    self.options.lower,
                    self.options.upper,
                    self.options.bins,
                )
        self._warn_of_nothing(any(plan.gates for plan in plans.values()))
        planned = [node for node in nodes if node.path in plans]
        self.watcher = Watcher(model, planned, plans, self.options.rows)
        # For a custom training loop that ends with an exception.
        detach = weakref.finalize(self, watched_step.detach, self.watcher, True)
        detach.atexit = False

    def _warn_of_nothing(self, any_gates: bool) -> None:
        """Warns of options that have no effect because no gate is recorded."""
        if any_gates:
            return
        if self.options.log_metrics == "saturation":
            warnings.warn(
                "`log_metrics='saturation'` adds nothing to the logs: only gates have "
                "a saturation, and none of the recorded signals is a gate. Use "
                "`log_metrics='all'` for the mean and the standard deviation of each "
                "signal.",
                stacklevel=2,
            )
        if self.options.log_dir is not None and self.probe is None:
            warnings.warn(
                "`log_dir` shows nothing: it has histograms of gates only, and none of "
                "the recorded signals is a gate. Give a `probe`, whose signals it "
                "shows.",
                stacklevel=2,
            )

    def attach(self) -> None:
        """Starts counting in the training step of the model."""
        if self.watcher is not None and self.model.compiled:
            watched_step.attach(self.watcher)

    def let_go(self, forget: bool = False) -> None:
        """Detaches from the model and closes the store.

        Args:
            forget: Whether to drop compiled steps, which will hardly be used again.
        """
        if self.watcher is not None:
            watched_step.detach(self.watcher, forget)
        self.records.close()
        if self._events is not None:
            self._events.close()
            self._events = None

    def begin(self, epoch: int, batches: int, params: dict) -> tuple[int, int]:
        """Opens and resumes the records, and records the state before training.

        Args:
            epoch: The number of the first epoch, as Keras counts.
            batches: The number of batches that the recorder has seen before.
            params: The `params` that Keras passes to callbacks.

        Returns:
            The offset of the epochs of this `fit`, and the number of batches so far.
        """
        read, room = self._read_probe(), 0
        # All checks are made before a store is changed.
        if read:
            room = sum(
                node.to_dataset().nbytes
                for tree in read.values()
                for node in recurrent(tree)
            )
            epochs = max(0, params.get("epochs", epoch) - epoch)
            self.records.check_size(room, epochs, self.options.record_freq, params)
        if self.watcher is not None:
            room += sum(plan.nbytes for plan in self.watcher.plans.values())
        self.records.open(self._contents, room)
        offset, recorded = self.records.begin(epoch)
        batches = max(recorded, batches)
        now = offset + epoch
        known = {step.epoch for step in self.records.traces.steps}
        if now not in known:
            for name, tree in read.items():
                self.records.append(name, tree, (now, batches), before=True)
        return offset, batches

    def _read_probe(self) -> dict[str, xarray.DataTree]:
        """Reads the probe, and returns the tree for each record by its name."""
        if self.probe is None:
            return {}
        read = {"traces": self.probe.trace()}
        if self.options.gradients:
            read["gradients"] = self.probe.gradients()
        return read

    def _contents(self) -> dict:
        """Returns the description of a store, which must match to continue one."""
        options = self.options
        nodes = select(self.model, options.layers)
        # Stores without gradients do not mention them, like those of older versions.
        gradients = {"gradients": True} if options.gradients else {}
        return {
            "keras_gates": v.VERSION,
            "format": FORMAT,
            "model": self._layers,
            "signals": sorted(choose_signals(nodes, options.signals)),
            "units": options.units,
            "probe": None if self.probe is None else self.probe.fingerprint(),
            "record_freq": options.record_freq,
            "rows": None if options.rows == math.inf else options.rows,
            "stride": options.stride,
            "thresholds": [options.lower, options.upper],
            "bins": options.bins,
            **gradients,
        }

    def begin_epoch(self) -> None:
        """Resets the metrics of the epoch."""
        self._whole = {}

    def before_batch(self, number: int) -> None:
        """Decides whether to count a batch.

        Args:
            number: The number of batches since the last step.
        """
        if self.watcher is None:
            return
        self.watcher.report()
        self.watcher.due = number % self.options.stride == 0
        if number % OFTEN_ENOUGH == OFTEN_ENOUGH - 1:
            self.watcher.fetch()

    def record(self, epoch: int, batch: int) -> None:
        """Adds a step to each record.

        Args:
            epoch: The epoch, counted from 1.
            batch: The number of batches so far.
        """
        moment, read = (epoch, batch), self._read_probe()
        for name, tree in read.items():
            self.records.append(name, tree, moment)
        if self.watcher is not None:
            watcher = self.watcher
            counted = watcher.read()
            watcher.report()
            if self.options.log_metrics:
                self._add_to_epoch(counted)
            attributes = tree_attributes(self.model.name)
            tree = joined_statistics.statistics_tree(
                counted, watcher.plans, watcher.nodes, attributes
            )
            step = self.records.append("statistics", tree, moment)
            if self.alarms.check(tree, step, epoch):
                self.model.stop_training = True
            if self._events is not None:
                by_epoch = self.options.record_freq == "epoch"
                self._events.write(
                    tree, read.get("traces"), epoch if by_epoch else batch
                )

    def _add_to_epoch(self, read: dict[str, dict]) -> None:
        """Joins a step to the earlier steps of the same epoch."""
        plans = self._plans()
        for path, part in read.items():
            parts = [self._whole[path], part] if path in self._whole else [part]
            self._whole[path] = joined_statistics.join(parts, plans[path])

    def _plans(self) -> dict[str, Plan]:
        return {} if self.watcher is None else self.watcher.plans

    def figures(self) -> dict[str, float]:
        """Returns the metrics of the epoch, by their names in the logs."""
        everything = self.options.log_metrics == "all"
        figures: dict[str, float] = {}
        for path, plan in self._plans().items():
            whole = self._whole[path]
            figures.update(joined_statistics.log_figures(path, whole, plan, everything))
        return figures
