"""Trials of which kernel would run a layer if one thing about it were different.

Keras's conditions are not repeated here: a copy of the layer with one change is run and
watched.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Set
from typing import Any

import keras

from keras_gates.backend import backend
from keras_gates.backend import kernel_names as names
from keras_gates.cells.known_cells import kind_of
from keras_gates.models.accelerating import (
    is_made_with_gates,
    why_not_accelerated,
    why_not_replaced,
)
from keras_gates.models.layer_copies import (
    arrays_like,
    copy_of,
    layer_for_cell,
    randomness_kept,
)
from keras_gates.models.watched_runs import Run, watched_runs

SUITS = {
    "use_cudnn": "auto",
    "recurrent_dropout": 0.0,
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "use_bias": True,
    "reset_after": True,
    "unroll": False,
}
"""The arguments of Keras's layers to try, with their defaults."""

_GROUPS: list[Set[str]] = [
    names.OF_GPUS,
    {names.ONEDNN},
    {names.FUSED_CELLS},
    {names.FAST} if backend.FAST_KERNELS_GAIN else set(),
    {names.XLA_SCAN, names.TENSORFLOW_LOOP, names.UNROLLED, names.FAST},
    {names.PYTHON_LOOP},
    {names.UNKNOWN},
]
"""The kernels, the fastest first. Within a set, any kernel may be the fastest."""


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing that may be different about a layer.

    Attributes:
        reason: The obstacle to a faster kernel, a sentence without its full stop.
        advice: The advice for the user, likewise.
        make: Makes a copy of the layer with the change.
        masked: Whether it gets a mask.
    """

    reason: str
    advice: str
    make: Callable[[], Any]
    masked: bool


@dataclasses.dataclass(frozen=True)
class Trial:
    """The result of a change.

    Attributes:
        change: The change.
        runs: The run in inference, and the run in training.
        faster: Whether it leads to a faster kernel. If not, it leads to another loop,
            and only a measurement shows whether that loop is faster.
    """

    change: Change
    runs: tuple[Run, Run]
    faster: bool = False


def is_faster(one: Run, other: Run) -> bool:
    """Returns whether a kernel is known to be faster than another kernel."""
    groups = [
        next(n for n, group in enumerate(_GROUPS) if run.kernel in group)
        for run in (one, other)
    ]
    return groups[0] < groups[1]


def telling_trials(
    layer: Any, runs: tuple[Run, Run], fast: Change | None, eagerly: bool
) -> list[Trial]:
    """Tries the changes one by one, and returns those that lead to another kernel.

    Args:
        layer: The layer.
        runs: Its runs as it is, in inference and in training.
        fast: The change to or from a fast kernel of this package, if there is one.
        eagerly: Whether the model asks Keras not to compile it.
    """
    masked = any(run.masked for run in runs)
    single = [] if is_fast(layer) else list(changes(layer, masked))
    trials = [tried_change(one, runs, eagerly) for one in single]
    several = None if is_fast(layer) else all_together(layer, masked)
    if several is not None:
        trial = tried_change(several, runs, eagerly)
        if all(_leads_to_faster(trial.runs, alone.runs) for alone in trials):
            trials.append(trial)
    if fast is not None:
        trials.append(tried_change(fast, runs, eagerly))
    useful = []
    for trial in trials:
        faster = _leads_to_faster(trial.runs, runs)
        if faster or _is_another_loop(trial.runs, runs):
            useful.append(dataclasses.replace(trial, faster=faster))
    return useful


def _leads_to_faster(now: tuple[Run, Run], before: tuple[Run, Run]) -> bool:
    pairs = list(zip(now, before, strict=True))
    better = any(is_faster(one, other) for one, other in pairs)
    return better and not any(is_faster(other, one) for one, other in pairs)


def _is_another_loop(now: tuple[Run, Run], before: tuple[Run, Run]) -> bool:
    pairs = list(zip(now, before, strict=True))
    slower = any(is_faster(other, one) for one, other in pairs)
    return not slower and any(
        one.kernel != other.kernel or bool(one.cell_calls) != bool(other.cell_calls)
        for one, other in pairs
    )


def is_fast(layer: Any) -> bool:
    """Returns whether a layer is to run in a fast kernel of this package."""
    return getattr(layer, "kernel", None) == "fast"


def unchanged(layer: Any, masked: bool) -> Change:
    """Returns how to copy a layer as it is, for comparison."""
    return Change("", "", lambda: copy_of(layer, fast=is_fast(layer)), masked)


def differing(layer: Any) -> dict[str, Any]:
    """Returns the default values of the arguments that a layer has changed."""
    config = layer.get_config()
    given = config | {"use_cudnn": getattr(layer, "use_cudnn", "auto")}
    return {
        name: value
        for name, value in SUITS.items()
        if name in given and given[name] != value
    }


def changes(layer: Any, masked: bool) -> Iterator[Change]:
    """Yields the possible changes of a layer, one at a time."""
    if masked:
        yield Change(
            "A mask arrives at the layer",
            "Leave out the mask (`Masking`, `mask_zero=True`), if the sequences of a "
            "batch can have the same length",
            lambda: copy_of(layer),
            False,
        )
    for name, value in differing(layer).items():
        was = getattr(layer, name, None)
        shown = getattr(was, "__name__", None) or repr(was)
        yield Change(
            f"It has `{name}={shown}`",
            f"Make the layer with `{name}={value!r}`",
            functools.partial(copy_of, layer, {name: value}),
            masked,
        )
    kind = kind_of(layer.cell)
    if type(layer) is keras.layers.RNN and kind is not None and kind.layer is not None:
        stock = kind.layer.__name__
        yield Change(
            "A `keras.layers.RNN` calls its cell at every step",
            f"Use `keras.layers.{stock}` instead of `RNN({kind.cell.__name__})`",
            lambda: layer_for_cell(layer, kind.layer),
            masked,
        )


def fast_change(layer: Any, masked: bool) -> Change | None:
    """Returns the change to a fast kernel, or from it if it already runs the layer.

    Returns:
        `None` if it cannot run the layer, or if the layer was made with it.
    """
    if is_fast(layer):
        if "kernel" in layer.get_config():
            return None
        advice = "Call `keras_gates.restore(model)`"
        return Change("", advice, lambda: copy_of(layer), masked)
    if is_made_with_gates(layer):
        if why_not_replaced(layer) is not None:
            return None
        advice = 'Make the layer with `kernel="fast"`'
        return Change("", advice, lambda: copy_of(layer, {"kernel": "fast"}), masked)
    if why_not_accelerated(layer) is not None:
        return None
    advice = "Call `keras_gates.accelerate(model)`"
    return Change("", advice, lambda: copy_of(layer, fast=True), masked)


def all_together(layer: Any, masked: bool) -> Change | None:
    """Returns all changes at once, if there are several."""
    arguments = differing(layer)
    if len(arguments) + masked < 2:
        return None
    given = ", ".join(f"`{name}={value!r}`" for name, value in arguments.items())
    mask = "Leave out the mask, and make" if masked else "Make"
    return Change(
        "Several things together prevent a faster kernel",
        f"{mask} the layer with {given}",
        lambda: copy_of(layer, arguments),
        False,
    )


def tried_change(change: Change, runs: tuple[Run, Run], eagerly: bool) -> Trial:
    """Runs a changed copy of a layer as the layer itself ran, on zeros."""
    x, mask = arrays_like(runs[0].shape, change.masked)
    with randomness_kept():
        layer = change.make()
        layer.build(x.shape)
        seen = [
            watched_runs(
                lambda batch, training=training: layer(
                    batch[0], mask=batch[1], training=training
                ),
                [layer],
                (x, mask),
                training,
                eagerly,
            )[-1]
            for training in (False, True)
        ]
    return Trial(change, (seen[0], seen[1]))
