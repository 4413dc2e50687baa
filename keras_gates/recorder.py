"""The callback that records gates while a model trains."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras

from keras_gates import stats
from keras_gates import vocabulary as v
from keras_gates.capture import Reader
from keras_gates.inputs import iterate
from keras_gates.tree import grow, recurrent

if TYPE_CHECKING:
    import xarray


class GateRecorder(keras.callbacks.Callback):
    """Records the gates of a fixed probe before training and after each epoch.

    The probe is the same at every step, so that epochs compare like with like. The
    model's own computation is not touched: the probe is a forward pass of its own,
    in inference mode, and the model trains to the same weights as without it.

    One recorder may go through several calls of `fit`: its steps go on counting, as
    long as it is given to the same model. The state "before training" is recorded
    once, at the start of the first.

    Args:
        probe: Inputs of the model, as for `model.predict`: an array, or a list or
            dict of arrays. A few samples are enough; they are kept in memory, and so
            is what is recorded of them.
        layers: Names, paths or glob patterns of the layers to record. Default: all.
        signals: Names of the signals to record. Default: all.
        logs: Whether to add the mean and the saturation of every gate to the logs of
            each epoch, as `"lstm/forget/mean"` and `"lstm/forget/saturation"` (the
            fraction below 0.1 or above 0.9), over the probe. `History`, `CSVLogger`
            and the progress bar show them; `EarlyStopping` can watch them if it comes
            after the recorder in the list of callbacks.
        batch_size: Number of samples of the probe that run at once.

    Attributes:
        traces: What was recorded so far, as a tree.

    Raises:
        ValueError: At the start of `fit`: if the model has no LSTM or GRU, if
            `layers` or `signals` name what is not there, or if the probe does not
            fit the model, is empty, or holds NaN.

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
    """

    def __init__(
        self,
        probe: Any,
        *,
        layers=None,
        signals=None,
        logs: bool = False,
        batch_size: int = 32,
    ):
        super().__init__()
        self._probe = probe
        self._layers = layers
        self._signals = signals
        self._logs = logs
        self._batch_size = batch_size
        self._reader = None
        self._epochs_before: int | None = None
        self._epochs: list[int] = []
        self._steps: list[xarray.DataTree] = []

    def __getstate__(self):
        """Copies and pickles the record without the model, which Keras saves."""
        return {**vars(self), "_model": None, "_reader": None}

    @property
    def traces(self) -> "xarray.DataTree":
        """The record: as `capture` returns it, with a dimension `step` in front.

        Each node is a dataset with dimensions `(step, sample, time, unit)` and a
        coordinate `epoch` along `step`: the number of finished epochs, 0 before
        training.

        Raises:
            ValueError: If nothing has been recorded yet.
        """
        if not self._steps:
            raise ValueError(
                "Nothing is recorded yet. Pass the recorder to `model.fit(..., "
                "callbacks=[recorder])` first."
            )
        epoch = (v.STEP, self._epochs, {"long_name": "finished epochs"})
        first = self._steps[0]
        joined = {
            node.path: _join(
                [step[node.path].to_dataset() for step in self._steps]
            ).assign_coords(epoch=epoch)
            for node in recurrent(first)
        }
        return grow(joined, first.attrs)

    def on_train_begin(self, logs=None):
        """Checks the probe, and records the state before training."""
        model = self.model
        if self._reader is not None and self._steps and self._reader.model is not model:
            raise ValueError(
                f"The recorder holds the steps of another model, "
                f"'{self._reader.model.name}'. Make a new `GateRecorder` for "
                f"'{model.name}'."
            )
        self._epochs_before = None
        if self._reader is None or not self._steps:
            self._check_probe(model)
            self._reader = Reader(model, layers=self._layers, signals=self._signals)
        if not self._steps:
            self._record(epoch=0)

    def _check_probe(self, model) -> None:
        """Refuses a probe for one use only, and builds a model that is not built."""
        if isinstance(self._probe, Iterator):
            raise ValueError(
                "`probe` must be readable again at each epoch; got a generator. Give "
                "an array."
            )
        if not model.built:
            model(next(iterate(self._probe, model, self._batch_size, "probe")))

    def on_epoch_begin(self, epoch, logs=None):
        """Counts on where `fit` is called again and starts from epoch 0."""
        if self._epochs_before is None:
            self._epochs_before = max(0, self._epochs[-1] - epoch)

    def on_epoch_end(self, epoch, logs=None):
        """Records the state after an epoch."""
        # On JAX the weights live in the training loop; asking for `self.model` brings
        # them back to the model, which the reader runs.
        _ = self.model
        tree = self._record(epoch=self._epochs_before + epoch + 1)
        if self._logs and logs is not None:
            logs.update(_figures(tree))

    def _record(self, epoch: int) -> "xarray.DataTree":
        with contextlib.closing(
            self._reader.read(
                self._probe, batch_size=self._batch_size, argument="probe"
            )
        ) as batches:
            tree = self._reader.tree(list(batches))
        self._steps.append(tree)
        self._epochs.append(epoch)
        return tree


def _join(steps: "list[xarray.Dataset]") -> "xarray.Dataset":
    """Stacks the same node at several steps."""
    import xarray

    return xarray.concat(
        steps,
        v.STEP,
        data_vars="all",
        coords="all",
        join="exact",
        combine_attrs="override",
    )


def _figures(tree: "xarray.DataTree") -> dict[str, float]:
    """Sums up every gate in two numbers, named for the logs."""
    figures = {}
    for node in recurrent(tree):
        layer = node.path.strip("/")
        for gate in (name for name in node.data_vars if name in v.GATES):
            saturated = stats.saturation(node[gate]).sum("side")
            figures[f"{layer}/{gate}/mean"] = float(node[gate].mean())
            figures[f"{layer}/{gate}/saturation"] = float(saturated.mean())
    return figures
