"""The methods of a recorder that Keras, or a custom training loop, calls."""

from __future__ import annotations

import weakref
from collections import deque

import keras

from keras_gates.checks import whole_number
from keras_gates.recording.step_recorder import StepRecorder

NOTHING, IN_TRAINING, IN_EPOCH = range(3)
"""The stages of training at which a method may be called."""


class Lifecycle(keras.callbacks.Callback):
    """Follows a model through fits, epochs and batches, and records its steps.

    Args:
        step_recorder: Records a step.
    """

    # `on_train_batch_end` does not need the results of the batch. Without this, Keras
    # would wait for them at every batch.
    async_safe = True

    def __init__(self, step_recorder: StepRecorder):
        super().__init__()
        self._step_recorder = step_recorder
        self._stage, self._begun = NOTHING, False
        self._batches = self._offset = self._epoch = 0
        # The batches since the previous step, and the last batch of that step.
        self._calls = self._recorded = 0
        self._ended: deque[int] = deque(maxlen=1000)

    def __getstate__(self):
        """Copies and pickles the records without the model, which Keras saves."""
        return {**vars(self), "_model": None, "_stage": NOTHING}

    @property
    def _present_model(self):
        """The model as it was set, or `None`."""
        # Private to Keras: on JAX, reading `self.model` also copies the variables back
        # to the model. If it is renamed, no recorder works, and many tests fail.
        return self._model

    def on_train_begin(self, logs=None):
        """Checks everything that can be checked before training."""
        if self._present_model is None:
            raise _too_early("on_train_begin", "set_model")
        self._step_recorder.prepare(self.model)
        self._begun, self._stage = False, IN_TRAINING
        self._end_dead_fits()
        self._attach()

    def on_epoch_begin(self, epoch, logs=None):
        """Records the state before training, and begins an epoch."""
        self._must_have_begun("on_epoch_begin", IN_TRAINING)
        epoch = whole_number("epoch", epoch, at_least=0)
        if self not in _at_work(self._present_model):
            self._attach()  # It was detached, although its `fit` had not ended.
            self._begun = False
        if not self._begun:
            # The batches of an interrupted epoch also count.
            batches = self._batches + max(self._ended, default=-1) + 1
            try:
                self._offset, self._batches = self._step_recorder.begin(
                    epoch, batches, self.params or {}
                )
            except BaseException:
                self.on_train_end()
                raise
            self._begun = True
        self._epoch = self._offset + epoch + 1
        self._calls = self._recorded = 0
        self._ended.clear()
        self._step_recorder.begin_epoch()
        self._stage = IN_EPOCH

    def on_train_batch_begin(self, batch, logs=None):
        """Records a step if it is due, and decides whether to count this batch."""
        self._must_have_begun("on_train_batch_begin", IN_EPOCH)
        freq = self._step_recorder.options.record_freq
        # Not at the end of the previous batch, which may run in another thread.
        if freq != "epoch" and batch - self._recorded >= freq:
            self._record(batch)
        self._step_recorder.before_batch(self._calls)
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
        if self._step_recorder.options.log_metrics and logs is not None:
            logs.update(self._step_recorder.figures())

    def on_train_end(self, logs=None):
        """Detaches from the model and closes the store."""
        self._stage = NOTHING
        self._let_go()

    def _must_have_begun(self, method: str, stage: int) -> None:
        """Refuses a method that a custom training loop calls too early."""
        if self._stage < stage:
            missing = ("on_train_begin", "on_epoch_begin")[self._stage]
            raise _too_early(method, missing)

    def _record(self, batch: int) -> None:
        """Records a step after a batch of the epoch."""
        self._recorded, self._calls = batch, 0
        if self._step_recorder.probe is not None:
            # On JAX, the weights are in the training loop. Reading `self.model` copies
            # them back to the model, with which the probe is read.
            _ = self.model
        self._step_recorder.record(self._epoch, self._batches + batch)

    def _attach(self) -> None:
        _at_work(self._present_model).add(self)
        self._step_recorder.attach()

    def _end_dead_fits(self) -> None:
        """Detaches recorders whose `fit` ended with an exception.

        Keras does not call `on_train_end` after an exception. All callbacks of one
        `fit` have the same `params`; in a custom training loop there are none.
        """
        for other in _at_work(self._present_model) - {self}:
            if self.params and other.params and other.params is not self.params:
                other._let_go(forget=True)

    def _let_go(self, forget: bool = False) -> None:
        if self._step_recorder.model is not None:
            _at_work(self._step_recorder.model).discard(self)
        self._step_recorder.let_go(forget)


def _too_early(method: str, missing: str) -> ValueError:
    """Returns the error for a method that was called too early."""
    return ValueError(
        f"`{method}` was called before `{missing}`. Keras's `fit` calls the methods of "
        "a recorder itself; in a custom training loop, call `set_model(model)`, "
        "`on_train_begin()`, and for each epoch `on_epoch_begin(epoch)`, "
        "`on_train_batch_begin(batch)` and `on_epoch_end(epoch)`."
    )


_working: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _at_work(model) -> weakref.WeakSet:
    """Returns the recorders that record in the training of a model."""
    return _working.setdefault(model, weakref.WeakSet())
