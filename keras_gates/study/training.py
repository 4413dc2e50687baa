"""One training run of a study: the model, and the order of its samples."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import keras
import numpy as np

from keras_gates.checks import type_of
from keras_gates.study.clocks import Clock, inference_seconds, peak_memory
from keras_gates.study.study_data import Data, count, rows_of

if TYPE_CHECKING:
    import xarray

    from keras_gates.recording.recorder import GateRecorder

TUNING_SEED = 2**32 - 1
"""The seed for choosing learning rates, the same for any number of seeds."""


class Order(NamedTuple):
    """A run to train: an architecture with a seed and possibly a learning rate."""

    architecture: str
    seed: int
    learning_rate: float | None
    build: Callable[[], keras.Model]

    def __str__(self) -> str:
        rate = self.learning_rate
        at = "" if rate is None else f", learning rate {rate:g}"
        return f"{self.architecture!r} with seed {self.seed}{at}"


class Settings(NamedTuple):
    """The settings that all runs of a study share."""

    data: Data
    epochs: int
    batch_size: int
    predict: bool = False
    recorder: Callable[[str, int], GateRecorder] | None = None
    on_run_end: Callable[[str, int, keras.Model], None] | None = None
    backend: str = ""
    floatx: str = ""
    dtype_policy: Any = None


class Run(NamedTuple):
    """One training run: each list in `history` has a value for every epoch."""

    architecture: str
    seed: int
    learning_rate: float
    parameters: int
    updates: int
    history: dict[str, list[float]]
    seconds: list[float]
    inference_seconds: float
    peak_memory: int
    predictions: np.ndarray | None = None
    gates: xarray.DataTree | None = None


def train(order: Order, settings: Settings) -> Run:
    """Trains one model, in any process, and returns its run."""
    _enter(settings)
    keras.utils.set_random_seed(order.seed)
    try:
        with _random_numbers_of_its_own(order.seed):
            model = new_model(order.architecture, order.build)
            run = _measure(model, order, settings)
    except Exception as error:
        error.add_note(f"This happened with {order}.")
        raise
    if settings.on_run_end is not None:
        settings.on_run_end(order.architecture, order.seed, model)
    return run


def new_model(name: str, build: Callable[[], Any]) -> keras.Model:
    """Builds a model, or explains why the builder cannot be used in a study."""
    model = build()
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`models[{name!r}]` must return a compiled keras.Model; it returned "
            f"{type_of(model)}. End the function with `return model`."
        )
    if not model.compiled:
        raise ValueError(
            f"`models[{name!r}]` must return a compiled model; it returned "
            f"{model.name!r}, which is not. Call `model.compile(optimizer=..., "
            "loss=...)` in the function."
        )
    return model


def set_rate(model: keras.Model, rate: float) -> None:
    """Replaces the learning rate of the model."""
    try:
        model.optimizer.learning_rate = rate
    except TypeError:
        raise ValueError(
            "`learning_rates` cannot be tried with an optimizer whose learning rate "
            "follows a schedule. Compile the model with a number, or leave "
            "`learning_rates` out."
        ) from None


def _enter(settings: Settings) -> None:
    """Gives this process the settings of the process that called `compare`."""
    backend = keras.backend.backend()
    if settings.backend and backend != settings.backend:
        raise RuntimeError(
            f"This worker has the backend {backend!r}, but the study runs on "
            f"{settings.backend!r}. Start the workers with "
            f"KERAS_BACKEND={settings.backend} in their environment."
        )
    if settings.floatx and keras.config.floatx() != settings.floatx:
        keras.config.set_floatx(settings.floatx)
    if settings.dtype_policy is not None:
        keras.config.set_dtype_policy(settings.dtype_policy)


@contextlib.contextmanager
def _random_numbers_of_its_own(seed: int) -> Iterator[None]:
    """Separates Keras's random numbers from those of other threads of the process.

    Keras draws the seeds of initializers and of dropout with `random.randint`, from
    Python's global generator. A Dask worker also draws from it, for its heartbeat, at
    unpredictable times. With a separate generator for `randint`, a run on a cluster
    gives the same result as elsewhere.
    """
    with mock.patch.object(random, "randint", random.Random(seed).randint):
        yield


def _measure(model: keras.Model, order: Order, settings: Settings) -> Run:
    data, batch_size = settings.data, settings.batch_size
    if order.learning_rate is not None:
        set_rate(model, order.learning_rate)
    rate = order.learning_rate
    if rate is None:
        own = getattr(model.optimizer, "learning_rate", math.nan)
        rate = float(keras.ops.convert_to_numpy(own))
    batches = _Batches(data.x, data.y, batch_size, order.seed)
    clock = Clock(batches)
    callbacks: list[keras.callbacks.Callback] = [clock]
    if settings.recorder is not None:
        recorder = settings.recorder(order.architecture, order.seed)
        if not isinstance(recorder, keras.callbacks.Callback):
            raise TypeError(
                "`make_recorder` must be a function that returns a `GateRecorder`; it "
                f"returned {type_of(recorder)}."
            )
        callbacks.append(recorder)
    with peak_memory() as peak:
        fitted = model.fit(
            batches,
            epochs=settings.epochs,
            # Keras would shuffle the batches again, with the global random state.
            shuffle=False,
            validation_data=(data.x_val, data.y_val),
            validation_batch_size=batch_size,
            callbacks=callbacks,
            verbose=0,
        )
        inference = inference_seconds(model, data.x_val, batch_size)
    predictions = None
    if settings.predict:
        predictions = model.predict(data.x_val, batch_size=batch_size, verbose=0)
    return Run(
        order.architecture,
        order.seed,
        rate,
        model.count_params(),
        len(batches),
        {name: list(map(float, values)) for name, values in fitted.history.items()},
        clock.seconds,
        inference,
        peak(),
        predictions,
        _gates(callbacks[1:]),
    )


def _gates(recorders: list[GateRecorder]) -> xarray.DataTree | None:
    """Returns both records of a recorder, as one tree."""
    import xarray

    if not recorders:
        return None
    tree = xarray.DataTree()
    for name in ("statistics", "traces"):
        with contextlib.suppress(ValueError):  # The recorder does not keep this record.
            tree[name] = getattr(recorders[0], name)
    return tree


class _Batches(keras.utils.PyDataset):
    """The batches of an epoch, in an order that depends only on the seed and the epoch.

    Keras's own shuffling draws from the global random state, which depends on how many
    random numbers a model draws: two architectures would see different orders.
    """

    def __init__(self, x: Any, y: Any, batch_size: int, seed: int):
        super().__init__()
        self._x, self._y = x, y
        self._batch_size = batch_size
        self._seed = seed
        self.shuffle(0)

    def shuffle(self, epoch: int) -> None:
        """Sets the order of an epoch, counted from 0."""
        generator = np.random.default_rng((self._seed, epoch))
        self._order = generator.permutation(count(self._x))

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        start = index * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        return rows_of(self._x, chosen), rows_of(self._y, chosen)
