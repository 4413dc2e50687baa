"""Refusals of operations that are not possible with a model while it is edited.

A function that Keras compiled for a model does not check whether the model is edited.
So Keras's own methods that compile are watched while any model is edited, and an edit
is never ignored silently.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_gates.backend.common import Switch
from keras_gates.layers.layer_edits import Rows, edited_layers
from keras_gates.models.edit_programs import Program
from keras_gates.models.find_layers import walk


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """An open block in which a model is edited.

    Attributes:
        model: The model.
        plan: All edits that are in force.
        program: The variables with their data.
        thread: The thread of the block.
    """

    model: keras.Model
    plan: dict
    program: Program
    thread: int = 0

    @property
    def rows(self) -> Rows:
        """The count of rows, which gives the samples of a batch."""
        return self.program.rows


_blocks: list[Block] = []


def block_of(model) -> Block | None:
    """Returns the innermost open block of a model."""
    return next((block for block in reversed(_blocks) if block.model is model), None)


@contextlib.contextmanager
def guarding(block: Block) -> Iterator[None]:
    """Watches the use of a model within the block."""
    outer = block_of(block.model)
    if outer is not None and outer.thread != threading.get_ident():
        raise _of_another_thread(block.model)
    block = dataclasses.replace(block, thread=threading.get_ident())
    attributes = vars(block.model)
    steps = {
        name: _counting(block, getattr(block.model, name))
        for name in ("predict_step", "test_step")
    }
    before = {name: attributes.get(name) for name in steps}
    attributes.update(steps)
    _blocks.append(block)
    try:
        with _watching.on():
            yield
            block.rows.require_all()
    finally:
        _blocks.remove(block)
        for name, step in before.items():
            if step is None:
                del attributes[name]
            else:
                attributes[name] = step


def _counting(block: Block, step: Callable) -> Callable:
    """Makes a step of a model count the rows of its batch."""

    def counted(*args, **kwargs):
        with block.rows.counted():
            return step(*args, **kwargs)

    return counted


@contextlib.contextmanager
def counted(model) -> Iterator[None]:
    """Counts the rows of one batch within the block, if the model is edited."""
    block = block_of(model)
    with contextlib.nullcontext() if block is None else block.rows.counted():
        yield


def rewind(model) -> None:
    """Makes the next batch of a model the first one of a data set."""
    block = block_of(model)
    if block is not None:
        block.rows.require_all()
        block.rows.rewind()


def require_complete(model, ran: int, value_of: Callable) -> None:
    """Raises an error for data for which the edits of a model have no values.

    Args:
        model: The model.
        ran: The number of samples on which it ran.
        value_of: Returns the value of a variable after the run.
    """
    block = block_of(model)
    if block is not None:
        block.rows.require_values(int(value_of(block.rows.missed)))
        block.rows.require(ran)


def _of_another_thread(model) -> RuntimeError:
    return RuntimeError(
        f"The model '{model.name}' is being edited in another thread, so it would run "
        "edited here too. Run it after the `keras_gates.edit` block has ended, or use "
        "a copy of it."
    )


def _check(model, what: str) -> None:
    """Refuses a call that would ignore an edit, before Keras runs it."""
    block = block_of(model)
    if block is not None:
        if block.thread != threading.get_ident():
            raise _of_another_thread(model)
        if what == "compile":
            raise ValueError(
                f"The model '{model.name}' cannot be compiled while it is edited. "
                "Compile it before the `keras_gates.edit` block."
            )
        if what == "make_train_function" and block.rows.keys:
            keys = " and ".join(f"'{key}'" for key in block.rows.keys)
            raise ValueError(
                f"`fit` cannot use the edit of {keys}, which is for chosen samples: "
                "the order of samples in training is not known. Leave `samples` out, "
                "and give values that are the same for all samples."
            )
        rewind(model)
        return
    if not _blocks or what == "compile":
        return
    held = edited_layers([layer for _, layer in walk(model)])
    if held:
        inner = next(
            block.model
            for block in reversed(_blocks)
            if any(one is held[0] for _, one in walk(block.model))
        )
        raise ValueError(
            f"The model '{model.name}' holds layers of '{inner.name}', which is being "
            "edited, but functions that Keras compiled for it would ignore the edit. "
            f"Edit '{model.name}' itself: `keras_gates.edit({model.name}, ...)`."
        )


WATCHED = (
    "compile",
    "make_train_function",
    "make_test_function",
    "make_predict_function",
)


def _watch() -> Callable[[], None]:
    """Checks each model before Keras compiles or runs it, while any model is edited."""
    # Replaced in the class that defines them, as Keras checks whether a class has its
    # own `compile`.
    owners = {
        name: next(cls for cls in keras.Model.__mro__ if name in vars(cls))
        for name in WATCHED
    }
    stock = {name: vars(owner)[name] for name, owner in owners.items()}

    def watched(name: str) -> Any:
        @functools.wraps(stock[name])
        def method(self, *args, **kwargs):
            _check(self, name)
            return stock[name](self, *args, **kwargs)

        return method

    for name, owner in owners.items():
        setattr(owner, name, watched(name))

    def back() -> None:
        for name, owner in owners.items():
            setattr(owner, name, stock[name])

    return back


_watching = Switch(_watch)
