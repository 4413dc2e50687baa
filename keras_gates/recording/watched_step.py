"""Lets watchers count inside the compiled training step of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_gates.backend import backend
from keras_gates.recording.watcher import Watcher


class WatchedStep:
    """Replaces the training step that Keras compiled, and lets watchers count in it.

    Batches that no watcher is due to count go to Keras's unchanged step.

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
        if watchers not in self._compiled:
            # During training on JAX, the model does not have its variables.
            with backend.state_of(self.model, arguments):
                self._compiled[watchers] = _compile(self.model, watchers)
        variables = [v for watcher in watchers for v in watcher.variables()]
        with contextlib.ExitStack() as stack:
            stack.enter_context(_counting(watchers))
            if not backend.KEEPS_STEP:
                for watcher in watchers:
                    stack.enter_context(watcher.step_begun())
            return backend.run_step(
                self.model, self._compiled[watchers], variables, arguments
            )

    def forget(self, watcher: Watcher) -> None:
        """Drops the compiled steps that contain a watcher."""
        for watchers in [*self._compiled]:
            if watcher in watchers:
                del self._compiled[watchers]


def _compile(model: keras.Model, watchers: tuple[Watcher, ...]):
    """Lets Keras compile the training step again, with watchers in it."""
    stock = model.train_step
    for watcher in watchers:
        watcher.begin_anew()

    # A new function, so that no cache takes it for the step without watchers. It makes
    # the watchers active itself, because TensorFlow may call it in another thread.
    def train_step(*arguments):
        with contextlib.ExitStack() as stack:
            stack.enter_context(_counting(watchers))
            stack.enter_context(backend.opened())
            for watcher in watchers:
                stack.enter_context(watcher.step_begun())
            return stock(*arguments)

    attributes = vars(model)
    kept = {name: attributes.get(name) for name in ("train_step", "train_function")}
    attributes["train_step"] = train_step
    try:
        with _counting(watchers):
            model.make_train_function(force=True)
        return model.train_function
    finally:
        for name, value in kept.items():
            if value is None:
                del attributes[name]
            else:
                attributes[name] = value


@contextlib.contextmanager
def _counting(watchers: tuple[Watcher, ...]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for watcher in watchers:
            if not watcher.is_active():
                stack.enter_context(watcher.counting())
        yield


def attach(watcher: Watcher) -> None:
    """Lets a watcher count in the training step of its model."""
    model = watcher.model
    model.make_train_function()
    step = model.train_function
    if not isinstance(step, WatchedStep):
        known = watcher.step
        # That of an earlier `fit`, unless the model was compiled again since then.
        step = (
            known
            if known is not None and known.plain is step
            else WatchedStep(model, step)
        )
        model.train_function = step
    watcher.step = step
    if watcher not in step.watchers:
        step.watchers.append(watcher)


def detach(watcher: Watcher, forget: bool = False) -> None:
    """Removes a watcher, and restores the training step if no other one is left.

    Args:
        watcher: The watcher.
        forget: Whether to drop its compiled steps, which will hardly be used again.
    """
    step = watcher.step
    if step is None or watcher not in step.watchers:
        return
    step.watchers.remove(watcher)
    if forget:
        step.forget(watcher)
    if not step.watchers and watcher.model.train_function is step:
        watcher.model.train_function = step.plain
