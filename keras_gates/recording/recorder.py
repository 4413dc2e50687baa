"""The callback that records gates while a model trains."""

import contextlib
import functools
import math
import warnings
import weakref
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras

from keras_gates import vocabulary as v
from keras_gates.backend import backend
from keras_gates.checks import (
    array_of,
    folder_of,
    names_of,
    number_or,
    one_of,
    real_number,
    thresholds,
    whole_number,
)
from keras_gates.models import batches
from keras_gates.models.nodes import Node, require_call, require_model, select
from keras_gates.reading.capturing import Reader, choose
from keras_gates.recording import running, watch
from keras_gates.recording.alarms import Alarm, Alarms
from keras_gates.recording.records import Records
from keras_gates.recording.tensorboard import Events
from keras_gates.stores.paths import local_path
from keras_gates.trees.tree import tree_attributes
from keras_gates.trees.walk import recurrent

if TYPE_CHECKING:
    import xarray

FORMAT = 2
"""Of the stores. An older one is continued if `metadata.OLDER` names it."""
FEW_ROWS, FEW_BATCHES = 8, 16
"""By default, so many rows of every so manieth batch are looked at."""
OFTEN_ENOUGH = 1000
"""After this number of batches the means, which have 32 bits in a step, are fetched."""

NOTHING, IN_TRAINING, IN_EPOCH = range(3)
"""What has begun, when a method is called."""


class GateRecorder(keras.callbacks.Callback):
    """Records gates while a model trains: in the training itself, and of a probe.

    Two records that complete each other:

    - `statistics` tell what happened *in training*. They are taken of the training
      batches, dropout included, inside the compiled training step, without a second
      forward pass.
    - `traces` are every gate of a fixed `probe`, before training and at each step, so
      that epochs compare like with like.

    The model trains to the same weights as without the recorder (on JAX, up to a
    rounding), and its layers stay what they are.

    A layer inside a function that the backend compiles or differentiates on its own is
    counted like any other, except on JAX, where no value can leave such a function
    (`jax.jit`, `jax.lax.scan`, `keras.remat`): the recorder warns after the first
    batch that it watched, and the statistics of the layer have the count 0.

    One recorder may go through several calls of `fit`: its steps go on counting, as
    long as it is given to the same model. In a training loop by hand, call its
    methods as Keras does, `on_train_begin`, `on_epoch_begin`, `on_train_batch_begin`,
    `on_epoch_end`, `on_train_end`, around `train_on_batch`; or see `watch`.

    Args:
        probe: Inputs of the model, as for `capture`, but for a generator. A few
            samples are enough. A data set is read once, before training, so that
            every step sees the same samples. Default: no traces.
        layers: Names, paths or glob patterns of the layers to record. Default: all.
        signals: Names of the signals to record. Default: all.
        units: The numbers of the units whose traces to keep. Default: all.
        every: When to record a step: `"epoch"`, or a number of batches, after which,
            and at the end of each epoch, there is a step.
        samples_per_batch: How many rows of each batch the statistics look at, spread
            evenly over the batch; `"all"` for every row; 0 for no statistics. The
            default, `None`, is eight rows of every 16th batch, to keep training
            about as fast as it was (`tests/benchmarks/prices.py` measures it).
        low: The value below which a gate counts as shut, or left-saturated.
        high: The value above which a gate counts as open, or right-saturated.
        bins: The number of bins of the histograms, over 0 to 1.
        logs: What to add to the logs of each epoch, from the statistics: `"health"`,
            one figure for each layer, `"lstm/saturation"`, the fraction of its gates
            that are shut or open; or `"all"`, also `"lstm/forget/mean"`, `.../std`,
            and for gates `.../left` and `.../right`. `History`, `CSVLogger`,
            `TensorBoard` and the progress bar show them; `EarlyStopping` can watch
            them if it comes after the recorder in the list of callbacks.
        alarms: `"warn"` or `"stop"`: what to do when a gate of a unit is stuck, when a
            unit is dead, or when there is NaN. See `alarms`. Needs statistics.
        alarm_after: For how many steps in a row a gate must be stuck, or a unit dead.
        store: Path of a Zarr store to write to, in place of memory. What is in it
            survives the process, even if it is killed. Read it with
            `xarray.open_datatree(store, engine="zarr")`. A URL is refused: write to
            a local folder, and copy it.
        mode: `"w-"` if the store must not exist yet; `"w"` to replace one, if
            nothing else is in its folder; `"a"` to
            resume one after a crash, or to begin one. Then the epochs are taken
            as `fit` numbers them, and the steps of an epoch that was not finished are
            recorded again. Put the recorder before `BackupAndRestore` in the list.
        budget: The most bytes that the traces may take up, told before training.
            `None` for no limit.
        tensorboard: Path of a folder for TensorBoard: the histogram of each gate and,
            of the probe's first sample, a heat map of each layer (inside a
            `TimeDistributed`, of the first frame). Needs the package `tensorboard`.
        batch_size: Number of samples of the probe that run at once.

    Raises:
        ValueError: At once, for an argument out of range. Before the first batch: if
            the model has no recurrent layer; if `layers`, `signals` or `units` name
            what is not there; if the probe does not fit the model, is empty, or holds
            NaN that the model does not mask; if the model has no `call` to run a probe;
            if the traces would exceed the budget; if `store` is no store, or one of
            another model or another recorder.
        FileExistsError: Before the first batch, if `store` exists and `mode` is "w-".
        OSError: Before the first batch, if the store cannot be written.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> x, y = np.ones((8, 5, 1)), np.ones((8, 1))
        >>> model = keras.Sequential([
        ...     keras.Input((5, 1)),
        ...     keras.layers.LSTM(4, name="lstm"),
        ...     keras.layers.Dense(1),
        ... ])
        >>> model.compile(loss="mse")
        >>> recorder = keras_gates.GateRecorder(probe=x[:2])
        >>> history = model.fit(x, y, epochs=3, callbacks=[recorder], verbose=0)
        >>> recorder.traces["lstm/forget"].sizes["step"]
        4
        >>> recorder.statistics["lstm/mean"].sel(gate="forget").sizes
        Frozen({'step': 3, 'unit': 4})
    """

    # What happens at the end of a batch needs no results of it. Without this, Keras
    # would wait for them at every batch.
    async_safe = True

    def __init__(
        self,
        probe: Any = None,
        *,
        layers=None,
        signals=None,
        units=None,
        every: int | str = "epoch",
        samples_per_batch: int | str | None = None,
        low: float = 0.1,
        high: float = 0.9,
        bins: int = 20,
        logs: str | None = None,
        alarms: str | None = None,
        alarm_after: int = 3,
        store=None,
        mode: str = "w-",
        budget: float | None = 2e9,
        tensorboard=None,
        batch_size: int = 32,
    ):
        super().__init__()
        self._probe = probe
        self._layers, self._signals = (
            None if names is None else names_of(argument, names)
            for argument, names in (("layers", layers), ("signals", signals))
        )
        self._units = None if units is None else _unit_numbers(units)
        self._every = number_or("every", every, "epoch", at_least=1)
        self._rows, self._stride = _rows(samples_per_batch)
        self._low, self._high = thresholds(low=low, high=high)
        self._bins = whole_number("bins", bins, at_least=1)
        self._logs = one_of("logs", logs, (None, "health", "all"))
        self._batch_size = whole_number("batch_size", batch_size, at_least=1)
        self._alarms = Alarms(
            one_of("alarms", alarms, (None, "warn", "stop")),
            whole_number("alarm_after", alarm_after, at_least=1),
        )
        self._tensorboard = folder_of("tensorboard", tensorboard)
        needing = {"logs": logs, "alarms": alarms, "tensorboard": tensorboard}
        for name, value in needing.items():
            if value is not None and not self._rows:
                raise ValueError(
                    f"`{name}` needs the statistics of training, and "
                    "`samples_per_batch=0` turns them off. Leave one of them out."
                )
        if probe is None and not self._rows:
            raise ValueError(
                "There is nothing to record: give a `probe`, or let "
                "`samples_per_batch` be more than 0."
            )
        if units is not None and probe is None:
            raise ValueError("`units` chooses among traces, which need a `probe`.")
        if budget is not None:
            budget = real_number(
                "budget", budget, at_least=0, or_else="None for no limit"
            )
        self._records = Records(
            local_path(store), one_of("mode", mode, ("w-", "w", "a")), budget
        )
        self._places: dict[str, str] | None = None
        self._batches, self._stage = 0, NOTHING
        self._bound: keras.Model | None = None
        self._reader: Reader | None = None
        self._watcher: watch.Watcher | None = None
        self._events: Events | None = None
        self._ended: deque[int] = deque(maxlen=1000)

    def __getstate__(self):
        """Copies and pickles the records without the model, which Keras saves."""
        held = ("_model", "_bound", "_reader", "_watcher", "_events")
        return {**vars(self), **dict.fromkeys(held), "_stage": NOTHING}

    @property
    def traces(self) -> "xarray.DataTree":
        """The probe: as `capture` returns it, with a dimension `step` in front.

        Each node is a dataset with dimensions `(step, sample, time, unit)`, and the
        coordinates `step`, `epoch` and `batch`, the number of batches so far, along
        `step`. Step 0 is before training, and the n-th recorded step is n, as in
        `statistics`: `.sel(step=n)` of both is the same moment.

        Raises:
            ValueError: If nothing has been recorded yet.
        """
        return self._tree("traces", "Give it a `probe`, and pass")

    @property
    def statistics(self) -> "xarray.DataTree":
        """What happened in training, since the step before.

        Each node is a dataset with the dimensions `(step, gate, unit)`, where `gate`
        runs over the signals, and the coordinates `step` (from 1 on, as in `traces`),
        `epoch` and `batch` along `step`:
        `count`, `mean`, `std`, `minimum`, `maximum`; and of gates, NaN for the other
        signals, `left` and `right`, the fractions of values that are shut and open,
        and `histogram`, with a dimension `bin` whose coordinate is its middle. Masked
        steps do not count.

        Raises:
            ValueError: If nothing has been recorded yet.
        """
        return self._tree("statistics", "Pass")

    def _tree(self, name: str, advice: str) -> "xarray.DataTree":
        tree = getattr(self._records, name).tree()
        if tree is None:
            raise ValueError(
                f"Nothing is recorded yet: there are no {name}. {advice} the recorder "
                "to `model.fit(..., callbacks=[recorder])`."
            )
        return tree

    @property
    def alarms(self) -> list[Alarm]:
        """What was found, each thing once, when it was found first."""
        return list(self._alarms.found)

    # What Keras calls, in the order in which it does.

    def on_train_begin(self, logs=None):
        """Checks everything that can be checked before training."""
        if self._model is None:
            raise _too_early("on_train_begin", "set_model")
        model = self.model
        require_model(model)
        if self._bound not in (None, model):
            raise ValueError(
                f"The recorder holds the steps of another model, '{self._bound.name}'. "
                f"Make a new `GateRecorder` for '{model.name}'."
            )
        places = {
            node.path: f"{node.kind.name}({node.cell.units})"
            for node in self._prepare(model)
        }
        if self._places not in (None, places):
            raise ValueError(
                f"The recorder holds the steps of another model, with the layers "
                f"{self._places}; '{model.name}' has {places}. Make a new one."
            )
        self._places = places
        if self._tensorboard is not None and self._events is None and backend.writes():
            self._events = Events(self._tensorboard)
        self._bound, self._begun, self._stage = model, False, IN_TRAINING
        self._end_dead_fits()
        if self._watcher is not None:
            self._watcher.reset()
        self._attach()

    def on_epoch_begin(self, epoch, logs=None):
        """Records the state before training, and begins an epoch."""
        self._must_have_begun("on_epoch_begin", IN_TRAINING)
        epoch = whole_number("epoch", epoch, at_least=0)
        if self not in _at_work(self._model):
            self._attach()  # Let go of, though its `fit` was not at its end.
            self._begun = False
        if not self._begun:
            try:
                self._begin(epoch)
            except BaseException:
                self.on_train_end()
                raise
        self._epoch = self._offset + epoch + 1
        self._calls = self._recorded = 0
        self._ended.clear()
        self._whole: dict[str, dict] = {}
        self._stage = IN_EPOCH

    def on_train_batch_begin(self, batch, logs=None):
        """Records a step if it is time, and decides whether to look at this batch."""
        self._must_have_begun("on_train_batch_begin", IN_EPOCH)
        # Here and not at the end of the batch before, which may run in another thread.
        if self._every != "epoch" and batch - self._recorded >= self._every:
            self._record(batch)
        if self._watcher is not None:
            self._watcher.report()
            self._watcher.due = self._calls % self._stride == 0
            if self._calls % OFTEN_ENOUGH == OFTEN_ENOUGH - 1:
                self._watcher.fetch()
        self._calls += 1

    def on_train_batch_end(self, batch, logs=None):
        """Counts the batches."""
        # Keras may call this in several threads at once, and out of order.
        self._ended.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        """Records the state after an epoch."""
        self._must_have_begun("on_epoch_end", IN_EPOCH)
        self._stage = IN_TRAINING
        batches = max(self._ended, default=-1) + 1
        # With `steps_per_execution`, the last execution may have been a shorter one.
        batches = min(batches, (self.params or {}).get("steps") or batches)
        self._record(batches)
        self._batches += batches
        self._ended.clear()
        if self._logs and logs is not None:
            logs.update(self._figures())

    def on_train_end(self, logs=None):
        """Lets go of the model and the store."""
        self._stage = NOTHING
        self._let_go()

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Looks at one batch of a training loop that does not use Keras's own steps.

        For loops with gradients by hand, on TensorFlow and PyTorch, also under
        `DistributedDataParallel`, with the recorder in every process. What was compiled
        with `tf.function` or `torch.compile` runs as Python in a batch that is looked
        at, in every thread: the same values, more slowly.

        Raises:
            ValueError: On JAX, where the values of a compiled step cannot be seen
                from outside of it; before `on_epoch_begin`; and inside of a compiled
                function.

        Example:
            Around the forward pass of every batch::

                recorder.set_model(model)
                recorder.on_train_begin()
                for epoch in range(epochs):
                    recorder.on_epoch_begin(epoch)
                    for x, y in batches:
                        with recorder.watch():
                            loss = loss_fn(model(x, training=True), y)
                        ...
                    recorder.on_epoch_end(epoch)
                recorder.on_train_end()
        """
        if keras.backend.backend() == "jax":
            raise ValueError(
                "On JAX, a training loop by hand cannot be watched. Train with "
                "`model.fit` or `model.train_on_batch`."
            )
        self._must_have_begun("watch", IN_EPOCH)
        if backend.trace() is not None:
            raise ValueError(
                "`watch` was called inside a function that the backend compiles, where "
                "it would run once, and not at every batch. Put `with "
                "recorder.watch():` around the call of that function."
            )
        batch = max(self._ended, default=-1) + 1
        self.on_train_batch_begin(batch)
        watcher = self._watcher
        if watcher is None or not watcher.due:
            yield
        else:
            watcher.due = False
            with watcher.looking(), backend.opened(), watcher.step_begun():
                yield
            watcher.report()
        self.on_train_batch_end(batch)

    # What it does.

    def _must_have_begun(self, method: str, stage: int) -> None:
        """Refuses a method that a custom training loop calls too early."""
        if self._stage < stage:
            missing = ("on_train_begin", "on_epoch_begin")[self._stage]
            raise _too_early(method, missing)

    def _attach(self) -> None:
        """Begins to look on in the training step of the model."""
        _at_work(self._model).add(self)
        if self._watcher is not None and self._model.compiled:
            watch.attach(self._watcher)

    def _end_dead_fits(self) -> None:
        """Lets go of the model in place of the recorders that an exception kept.

        Keras calls no `on_train_end` after one. All callbacks of one `fit` get the
        same `params`; in a custom training loop there are none.
        """
        for other in _at_work(self._model) - {self}:
            if self.params and other.params and other.params is not self.params:
                other._let_go(forget=True)

    def _let_go(self, forget: bool = False) -> None:
        if self._bound is not None:
            _at_work(self._bound).discard(self)
        if self._watcher is not None:
            watch.detach(self._watcher, forget)
        self._close()

    def _prepare(self, model) -> list[Node]:
        """Makes what reads the probe, and what looks on in training."""
        if self._probe is not None and self._bound is None:
            self._check_probe(model)
            self._reader = Reader(model, layers=self._layers, signals=self._signals)
        nodes = select(model, self._layers)
        chosen = choose(nodes, self._signals)
        if self._rows and self._bound is None:
            plans = {}
            for node in nodes:
                gates = [gate for gate in node.kind.gates if gate in chosen]
                others = [
                    signal
                    for signal in node.kind.signals
                    if signal in chosen and signal not in gates
                ]
                if gates or others:
                    plans[node.path] = running.Plan(
                        (*gates, *others),
                        len(gates),
                        node.cell.units,
                        self._low,
                        self._high,
                        self._bins,
                    )
            self._warn_of_nothing(any(plan.gates for plan in plans.values()))
            planned = [node for node in nodes if node.path in plans]
            self._watcher = watch.Watcher(model, planned, plans, self._rows)
            # For a custom training loop that ended by an exception.
            weakref.finalize(self, watch.detach, self._watcher, True).atexit = False
        return nodes

    def _warn_of_nothing(self, any_gates: bool) -> None:
        """Warns of what was asked for and stays empty where no gate is recorded."""
        if any_gates:
            return
        if self._logs == "health":
            warnings.warn(
                "`logs='health'` adds nothing to the logs: it sums up gates, and none "
                "of the recorded signals is one. Take `logs='all'`, which has the mean "
                "and the standard deviation of each signal.",
                stacklevel=2,
            )
        if self._tensorboard is not None and self._probe is None:
            warnings.warn(
                "`tensorboard` shows nothing: its histograms are of gates, and none of "
                "the recorded signals is one. Give a `probe`, whose signals it shows.",
                stacklevel=2,
            )

    def _check_probe(self, model) -> None:
        """Reads the probe, once for all steps, and builds a model that is not built."""
        require_call(
            model,
            "Leave `probe` out, and the statistics of training are recorded; what a "
            "model inside it{} does with a probe, `capture` returns.",
        )
        if not batches.is_readable_again(self._probe):
            raise ValueError(
                "`probe` must be readable again at each step; got a "
                f"{type(self._probe).__name__}, which can be read once. Give an array, "
                "or a data set."
            )
        self._probe = batches.Kept(self._probe, model, self._batch_size, "probe")
        if not model.built:
            batches.build(model, self._probe, self._batch_size, "probe")

    def _begin(self, epoch: int) -> None:
        """Finds out where the record stands, and records the state before training."""
        tree, room = None, 0
        # All that can be refused is refused before a store is touched.
        if self._reader is not None:
            tree = self._trace()
            room = sum(node.to_dataset().nbytes for node in recurrent(tree))
            params = self.params or {}
            self._records.keep_to_budget(
                room,
                max(0, params.get("epochs", epoch) - epoch),
                self._every,
                params,
            )
        if self._watcher is not None:
            room += sum(plan.nbytes for plan in self._watcher.plans.values())
        self._records.open(functools.partial(self._describe, self._model), room)
        self._offset, recorded = self._records.begin(epoch)
        # The batches of an epoch that was interrupted count too.
        self._batches = max(recorded, self._batches + max(self._ended, default=-1) + 1)
        self._begun = True
        now = self._offset + epoch
        recorded = {step.epoch for step in self._records.traces.steps}
        if tree is not None and now not in recorded:
            self._records.append("traces", tree, (now, self._batches), before=True)

    def _close(self) -> None:
        self._records.close()
        if self._events is not None:
            self._events.close()
            self._events = None

    def _describe(self, model) -> dict:
        """Tells what a store holds: one can only be continued with the same."""
        return {
            "keras_gates": v.VERSION,
            "format": FORMAT,
            "model": self._places,
            "signals": sorted(choose(select(model, self._layers), self._signals)),
            "units": self._units,
            "probe": None if self._probe is None else self._probe.fingerprint(),
            "every": self._every,
            "rows": None if self._rows == math.inf else self._rows,
            "stride": self._stride,
            "thresholds": [self._low, self._high],
            "bins": self._bins,
        }

    def _record(self, batch: int) -> None:
        """Records a step of whatever there is to record, after a batch."""
        self._recorded, self._calls = batch, 0
        place = self._epoch, self._batches + batch
        trace = None
        if self._reader is not None:
            # On JAX the weights live in the training loop; asking for `self.model`
            # brings them back to the model, which the reader runs.
            _ = self.model
            trace = self._trace()
            self._records.append("traces", trace, place)
        if self._watcher is not None:
            watcher = self._watcher
            read = watcher.read()
            watcher.report()
            if self._logs:
                self._add_to_epoch(read)
            tree = running.to_tree(
                read, watcher.plans, watcher.nodes, tree_attributes(self._model.name)
            )
            step = self._records.append("statistics", tree, place)
            if self._alarms.look(tree, step, place[0]):
                self._model.stop_training = True
            if self._events is not None:
                self._write_events(tree, trace, place)

    def _trace(self) -> "xarray.DataTree":
        with contextlib.closing(
            self._reader.read(
                self._probe, batch_size=self._batch_size, argument="probe"
            )
        ) as batches:
            tree = self._reader.tree(list(batches))
        return tree if self._units is None else _only_units(tree, self._units)

    def _add_to_epoch(self, read: dict[str, dict]) -> None:
        """Joins a step to those before it in the same epoch."""
        for path, part in read.items():
            parts = [self._whole[path], part] if path in self._whole else [part]
            self._whole[path] = running.join(parts, self._watcher.plans[path])

    def _figures(self) -> dict[str, float]:
        """Sums up the epoch, named for the logs."""
        figures = {}
        for path, plan in self._watcher.plans.items():
            everything = self._logs == "all"
            figures.update(running.figures(path, self._whole[path], plan, everything))
        return figures

    def _write_events(self, statistics, trace, place) -> None:
        epoch, batch = place
        step = epoch if self._every == "epoch" else batch
        self._events.write(statistics, trace, step)


def _too_early(method: str, missing: str) -> ValueError:
    return ValueError(
        f"`{method}` was called before `{missing}`. Keras's `fit` calls the methods of "
        "a recorder by itself; in a custom training loop, call `set_model(model)`, "
        "`on_train_begin()`, and for each epoch `on_epoch_begin(epoch)`, "
        "`on_train_batch_begin(batch)` and `on_epoch_end(epoch)`."
    )


_working: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _at_work(model) -> weakref.WeakSet:
    """Returns the recorders that record in the training of a model."""
    return _working.setdefault(model, weakref.WeakSet())


def _rows(samples_per_batch) -> tuple[float, int]:
    """Returns how many rows to look at, of every how manieth batch."""
    if samples_per_batch is None:
        return FEW_ROWS, FEW_BATCHES
    rows = number_or("samples_per_batch", samples_per_batch, "all", at_least=0)
    return (math.inf if rows == "all" else rows), 1


def _unit_numbers(units) -> list[int]:
    units = list(units) if isinstance(units, (set, range)) else units
    units = array_of("units", units).ravel()
    numbers = [whole_number("units", unit, at_least=0) for unit in units]
    if not numbers:
        raise ValueError("`units` is empty; leave it out to get all.")
    return numbers


def _only_units(tree, units: list[int]) -> "xarray.DataTree":
    """Keeps the traces of some units, and their numbers."""
    for node in recurrent(tree):
        if max(units) >= node.sizes[v.UNIT]:
            raise ValueError(
                f"`units` must be below {node.sizes[v.UNIT]}, the number of units of "
                f"'{node.path.strip('/')}'; got {max(units)}. Choose `layers` too."
            )
        node.dataset = (
            node.to_dataset().isel({v.UNIT: units}).assign_coords({v.UNIT: units})
        )
    return tree
