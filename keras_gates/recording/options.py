"""What a recorder is asked to record: its arguments, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_gates.checks import (
    array_of,
    flag,
    folder_of,
    names_of,
    number_or,
    one_of,
    thresholds,
    whole_number,
)

FEW_ROWS, FEW_BATCHES = 8, 16
"""By default, so many rows of every so manieth batch are looked at."""


@dataclass(frozen=True)
class Options:
    """What to record, as the arguments of a recorder say.

    Attributes:
        layers: Names, paths or patterns of the layers, or `None` for all.
        signals: The names of the signals, or `None` for all.
        units: The numbers of the units whose traces to keep, or `None` for all.
        gradients: Whether to record the gradients of the probe's loss.
        every: "epoch", or after how many batches there is a step.
        rows: The number of rows of a batch that are counted; 0 for no statistics.
        stride: One batch of this number is counted.
        low: The value below which a gate counts as closed.
        high: The value above which a gate counts as open.
        bins: The number of bins of the histograms.
        logs: `None`, "health" or "all".
        alarms: `None`, "warn" or "stop".
        alarm_after: The number of steps in a row after which there is an alarm.
        tensorboard: The folder for TensorBoard, or `None`.
        batch_size: The number of samples of the probe that run at once.
    """

    layers: list[str] | None
    signals: list[str] | None
    units: list[int] | None
    gradients: bool
    every: int | str
    rows: float
    stride: int
    low: float
    high: float
    bins: int
    logs: str | None
    alarms: str | None
    alarm_after: int
    tensorboard: Path | None
    batch_size: int


def check_options(
    *,
    has_probe: bool,
    layers,
    signals,
    units,
    gradients,
    every,
    samples_per_batch,
    low,
    high,
    bins,
    logs,
    alarms,
    alarm_after,
    tensorboard,
    batch_size,
) -> Options:
    """Checks the arguments of a `GateRecorder`, each and together.

    Instead of the probe it takes whether there is one.
    """
    layers, signals = (
        None if names is None else names_of(argument, names)
        for argument, names in (("layers", layers), ("signals", signals))
    )
    units = None if units is None else _unit_numbers(units)
    every = number_or("every", every, "epoch", at_least=1)
    rows, stride = _rows(samples_per_batch)
    low, high = thresholds(low=low, high=high)
    options = Options(
        layers=layers,
        signals=signals,
        units=units,
        gradients=flag("gradients", gradients),
        every=every,
        rows=rows,
        stride=stride,
        low=low,
        high=high,
        bins=whole_number("bins", bins, at_least=1),
        logs=one_of("logs", logs, (None, "health", "all")),
        batch_size=whole_number("batch_size", batch_size, at_least=1),
        alarms=one_of("alarms", alarms, (None, "warn", "stop")),
        alarm_after=whole_number("alarm_after", alarm_after, at_least=1),
        tensorboard=folder_of("tensorboard", tensorboard),
    )
    needing = {"logs": logs, "alarms": alarms, "tensorboard": tensorboard}
    for name, value in needing.items():
        if value is not None and not rows:
            raise ValueError(
                f"`{name}` needs the statistics of training, and "
                "`samples_per_batch=0` turns them off. Leave one of them out."
            )
    if not has_probe and not rows:
        raise ValueError(
            "There is nothing to record: give a `probe`, or let "
            "`samples_per_batch` be more than 0."
        )
    if options.gradients and not has_probe:
        raise ValueError(
            "`gradients` are those of the loss of a `probe`: give `probe=(x, y)`."
        )
    if units is not None and not has_probe:
        raise ValueError("`units` chooses among traces, which need a `probe`.")
    return options


def _rows(samples_per_batch) -> tuple[float, int]:
    """Returns how many rows to look at, of every how manieth batch."""
    if samples_per_batch is None:
        return FEW_ROWS, FEW_BATCHES
    rows: Any = number_or("samples_per_batch", samples_per_batch, "all", at_least=0)
    return (math.inf if rows == "all" else rows), 1


def _unit_numbers(units) -> list[int]:
    units = list(units) if isinstance(units, (set, range)) else units
    units = array_of("units", units).ravel()
    numbers = [whole_number("units", unit, at_least=0) for unit in units]
    if not numbers:
        raise ValueError("`units` is empty; leave it out to get all.")
    return numbers
