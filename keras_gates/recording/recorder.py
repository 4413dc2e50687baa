"""The callback that records gates while a model trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras

from keras_gates.backend import backend
from keras_gates.checks import Names, Place, Positions, one_of, real_number
from keras_gates.models.find_layers import Layers
from keras_gates.old_names import renamed
from keras_gates.recording.alarms import Alarm
from keras_gates.recording.lifecycle import IN_EPOCH, Lifecycle
from keras_gates.recording.options import check_options
from keras_gates.recording.probe import Probe
from keras_gates.recording.step_recorder import StepRecorder
from keras_gates.recording.storage import Records
from keras_gates.stats.findings import Findings
from keras_gates.stores.paths import local_path

if TYPE_CHECKING:
    import xarray


class GateRecorder(Lifecycle):
    """A callback that records gates during `fit`: statistics, and traces of a probe.

    It keeps two records:

    - `statistics` summarises the training batches, with dropout. It is computed inside
      the compiled training step, without a second forward pass.
    - `traces` holds every signal for a fixed `probe`, before training and at each
      recorded step, so that epochs can be compared on the same inputs.

    The model trains to the same weights as without the recorder (on JAX, up to
    rounding), and its layers stay the same.

    A layer inside a function that the backend compiles or differentiates separately is
    counted like any other, except on JAX, where no value can leave such a function
    (`jax.jit`, `jax.lax.scan`, `keras.remat`): the recorder warns after the first batch
    that it counts, and the statistics of the layer have the count 0.

    One recorder may be used in several calls of `fit` of the same model: the numbering
    of its steps continues. In a custom training loop, call its methods around
    `train_on_batch`, as Keras does: `set_model`, `on_train_begin`, `on_epoch_begin`,
    `on_train_batch_begin`, `on_train_batch_end`, `on_epoch_end` and `on_train_end`; or
    see `watch`.

    Args:
        probe: Inputs of the model, as for `capture`, but not a generator. A few samples
            are enough. A data set is read once, before training, so that every step
            sees the same samples. Default: no traces.
        layers: Names, paths or glob patterns of the layers to record. Default: all.
        signals: Names of the signals to record. Default: all.
        units: The numbers of the units whose traces to keep. Default: all.
        gradients: Whether to also record the gradients of the loss of the probe. The
            probe must then be `(x, y)`. The gradients take as much space as the traces.
        record_freq: When to record a step: `"epoch"`, or an integer N for every N
            batches and at the end of each epoch.
        samples_per_batch: The number of rows of each batch that the statistics sample,
            spread evenly over the batch; `"all"` for every row; 0 for no statistics.
            The default, `None`, is eight rows of every 16th batch, to keep training
            about as fast as it was (`tests/benchmarks/prices.py` measures it).
        lower: The value below which a gate counts as closed, or left-saturated.
        upper: The value above which a gate counts as open, or right-saturated.
        bins: The number of bins of the histograms, over 0 to 1.
        log_metrics: Which metrics to add to the logs of each epoch, from the
            statistics: `"saturation"`, one for each layer, `"lstm/saturation"`, the
            fraction of its gate values that are closed or open; or `"all"`, also
            `"lstm/forget/mean"`, `.../std`, and for gates `.../left` and `.../right`.
            `History`, `CSVLogger`, `TensorBoard` and the progress bar show them;
            `EarlyStopping` can monitor them if it comes after the recorder in the
            list of callbacks.
        on_alarm: Whether to `"warn"`, or to `"stop"` training as well, when a gate of a
            unit is stuck, a unit is dead, or a value is not finite. See `alarms`.
            Requires statistics. Default: no alarms.
        patience: The number of consecutive recorded steps for which a gate must be
            stuck, or a unit dead, before there is an alarm.
        store: Path of a Zarr store to write to, instead of memory. Its records survive
            the process, even if it is killed. Read it with `xarray.open_datatree(store,
            engine="zarr")`. A URL is not accepted: write to a local folder, and copy
            it.
        mode: `"w-"` if the store must not exist yet; `"w"` to replace one, if
            nothing else is in its folder; `"a"` to resume one after a crash, or to
            start one. With `"a"`, the epochs have the numbers that `fit` gives them,
            and the steps of an unfinished epoch are recorded again. Put the recorder
            before `BackupAndRestore` in the list.
        max_bytes: The largest size of the traces in bytes, which is checked before
            training starts. `None` for no limit.
        log_dir: A directory for TensorBoard: the histogram of each gate and, for the
            first sample of the probe, a heat map of each layer (inside a
            `TimeDistributed`, of the first frame). Needs the package `tensorboard`.
        batch_size: Number of samples of the probe in a batch.

    Raises:
        ValueError: At once, for an argument out of range. Before the first batch: if
            the model has no recurrent layer; if `layers`, `signals` or `units` has a
            name that does not exist; if the probe does not fit the model, is empty, or
            holds NaN that the model does not mask; if the model has no `call` to run a
            probe; if the traces would exceed `max_bytes`; if `store` is not a store, or
            is one of another model or another recorder.
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
        >>> recorder.statistics["lstm/mean"].sel(signal="forget").sizes
        Frozen({'step': 3, 'unit': 4})
    """

    @renamed(
        every="record_freq",
        low="lower",
        high="upper",
        budget="max_bytes",
        tensorboard="log_dir",
        alarm_after="patience",
        alarms="on_alarm",
        logs="log_metrics",
    )
    def __init__(
        self,
        probe: Any = None,
        *,
        layers: Layers = None,
        signals: Names = None,
        units: Positions = None,
        gradients: bool = False,
        record_freq: int | str = "epoch",
        samples_per_batch: int | str | None = None,
        lower: float = 0.1,
        upper: float = 0.9,
        bins: int = 20,
        log_metrics: str | None = None,
        on_alarm: str | None = None,
        patience: int = 3,
        store: Place = None,
        mode: str = "w-",
        max_bytes: float | None = 2e9,
        log_dir: Place = None,
        batch_size: int = 32,
    ):
        options = check_options(
            has_probe=probe is not None,
            layers=layers,
            signals=signals,
            units=units,
            gradients=gradients,
            record_freq=record_freq,
            samples_per_batch=samples_per_batch,
            lower=lower,
            upper=upper,
            bins=bins,
            log_metrics=log_metrics,
            on_alarm=on_alarm,
            patience=patience,
            log_dir=log_dir,
            batch_size=batch_size,
        )
        if max_bytes is not None:
            max_bytes = real_number(
                "max_bytes", max_bytes, at_least=0, or_else="None for no limit"
            )
        records = Records(
            local_path(store), one_of("mode", mode, ("w-", "w", "a")), max_bytes
        )
        probe = None if probe is None else Probe(probe, options)
        super().__init__(StepRecorder(options, probe, records))

    @property
    def traces(self) -> xarray.DataTree:
        """The signals of the probe, as from `capture`, with a first dimension `step`.

        Each node is a dataset with dimensions `(step, sample, time, unit)`, and the
        coordinates `step`, `epoch` and `batch`, the number of batches so far, along
        `step`. Step 0 is before training, and the n-th recorded step is n, as in
        `statistics`: `.sel(step=n)` selects the same record in both. In memory, the
        arrays are those of the recorder, and read-only; `.copy(deep=True)` can be
        changed.

        Raises:
            ValueError: If nothing has been recorded yet.
        """
        return self._tree("traces", "Give it a `probe`, and pass")

    @property
    def statistics(self) -> xarray.DataTree:
        """A summary of the training batches since the previous step.

        Each node is a dataset with the dimensions `(step, signal, unit)` and the
        coordinates `step` (from 1 on, as in `traces`), `epoch` and `batch` along
        `step`. Its variables are `count`, `mean`, `std`, `min` and `max`; `left` and
        `right`, the fractions of values that are closed and open; and `histogram`, with
        a dimension `bin` whose coordinate is the middle of each bin. The last three are
        NaN for signals that are not gates. Masked steps do not count. The arrays are
        read-only, like those of `traces`.

        Raises:
            ValueError: If nothing has been recorded yet.
        """
        return self._tree("statistics", "Pass")

    @property
    def gradients(self) -> xarray.DataTree:
        """The gradients of the probe's loss: as `keras_gates.gradients` returns them.

        They have a first dimension `step`, with the same steps as `traces`. They show
        whether learning reaches back to early steps, before training and during it:
        `stats.gradient_flow(recorder.gradients)`.

        Raises:
            ValueError: If nothing has been recorded yet, or `gradients` was not set.
        """
        return self._tree(
            "gradients", "Give it `gradients=True` and a `probe` of `(x, y)`, and pass"
        )

    def _tree(self, name: str, advice: str) -> xarray.DataTree:
        tree = getattr(self._step_recorder.records, name).tree()
        if tree is None:
            raise ValueError(
                f"Nothing is recorded yet: there are no {name}. {advice} the recorder "
                "to `model.fit(..., callbacks=[recorder])`. KerasTuner, and any other "
                "tool that trains with copies of the callbacks, leaves the recorder "
                "itself empty: then create one where `fit` is called, as in "
                "`HyperModel.fit`, or give the recorder of a single `fit` a `store`."
            )
        return tree

    @property
    def alarms(self) -> Findings:
        """The alarms so far: a list of `Alarm`, each reported once.

        It prints as sentences, and `alarms.to_dataframe()` is a table.
        """
        return Findings(self._step_recorder.alarms.found, columns=Alarm)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Counts one batch of a training loop that does not use Keras's training step.

        For custom training loops on TensorFlow and PyTorch, also under
        `DistributedDataParallel`, with the recorder in every process. In a batch that
        is counted, functions that were compiled with `tf.function` or `torch.compile`
        run as Python in every thread: the values are the same, but it takes longer.

        Raises:
            ValueError: On JAX, where the values of a compiled step cannot be read
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
                "On JAX, a custom training loop cannot be watched. Train with "
                "`model.fit` or `model.train_on_batch`."
            )
        self._must_have_begun("watch", IN_EPOCH)
        if backend.trace() is not None:
            raise ValueError(
                "`watch` was called inside a function that the backend compiles, where "
                "it would run once, not at every batch. Put `with "
                "recorder.watch():` around the call of that function."
            )
        batch = max(self._ended, default=-1) + 1
        self.on_train_batch_begin(batch)
        watcher = self._step_recorder.watcher
        if watcher is None or not watcher.due:
            yield
        else:
            watcher.due = False
            with watcher.counting(), backend.opened(), watcher.step_begun():
                yield
            watcher.report()
        self.on_train_batch_end(batch)
