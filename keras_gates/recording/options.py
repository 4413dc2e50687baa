"""The options of a recorder: its arguments, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

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
from keras_gates.models.find_layers import layers_of

FEW_ROWS, FEW_BATCHES = 8, 16
"""By default, this many rows are sampled, from one batch in this many."""


@dataclass(frozen=True)
class Options:
    """The checked arguments of a recorder.

    Attributes:
        layers: Names, paths or patterns of the layers, or layers, or `None` for all.
        signals: The names of the signals, or `None` for all.
        units: The numbers of the units whose traces to keep, or `None` for all.
        gradients: Whether to record the gradients of the probe's loss.
        record_freq: "epoch", or the number of batches between steps.
        rows: The number of rows of a batch that are counted; 0 for no statistics.
        stride: One batch in this number of batches is counted.
        lower: The value below which a gate counts as closed.
        upper: The value above which a gate counts as open.
        bins: The number of bins of the histograms.
        log_metrics: `None`, "saturation" or "all".
        on_alarm: `None`, "warn" or "stop".
        patience: The number of consecutive steps after which there is an alarm.
        log_dir: The folder for TensorBoard, or `None`.
        batch_size: The number of samples of the probe that run at once.
    """

    layers: list[str | keras.Layer] | None
    signals: list[str] | None
    units: list[int] | None
    gradients: bool
    record_freq: int | str
    rows: float
    stride: int
    lower: float
    upper: float
    bins: int
    log_metrics: str | None
    on_alarm: str | None
    patience: int
    log_dir: Path | None
    batch_size: int


def check_options(
    *,
    has_probe: bool,
    layers,
    signals,
    units,
    gradients,
    record_freq,
    samples_per_batch,
    lower,
    upper,
    bins,
    log_metrics,
    on_alarm,
    patience,
    log_dir,
    batch_size,
) -> Options:
    """Checks the arguments of a `GateRecorder`, each and together.

    `has_probe` states whether there is a probe.
    """
    layers = None if layers is None else layers_of(layers)
    signals = None if signals is None else names_of("signals", signals)
    units = None if units is None else _unit_numbers(units)
    record_freq = number_or("record_freq", record_freq, "epoch", at_least=1)
    rows, stride = _rows(samples_per_batch)
    lower, upper = thresholds(lower=lower, upper=upper)
    options = Options(
        layers=layers,
        signals=signals,
        units=units,
        gradients=flag("gradients", gradients),
        record_freq=record_freq,
        rows=rows,
        stride=stride,
        lower=lower,
        upper=upper,
        bins=whole_number("bins", bins, at_least=1),
        log_metrics=one_of("log_metrics", log_metrics, (None, "saturation", "all")),
        batch_size=whole_number("batch_size", batch_size, at_least=1),
        on_alarm=one_of("on_alarm", on_alarm, (None, "warn", "stop")),
        patience=whole_number("patience", patience, at_least=1),
        log_dir=folder_of("log_dir", log_dir),
    )
    needing = {"log_metrics": log_metrics, "on_alarm": on_alarm, "log_dir": log_dir}
    for name, value in needing.items():
        if value is not None and not rows:
            raise ValueError(
                f"`{name}` needs the statistics of training, and "
                "`samples_per_batch=0` turns them off. Leave one of them out."
            )
    if not has_probe and not rows:
        raise ValueError(
            "There is nothing to record: give a `probe`, or set "
            "`samples_per_batch` to more than 0."
        )
    if options.gradients and not has_probe:
        raise ValueError(
            "`gradients` needs a `probe` with targets: give `probe=(x, y)`."
        )
    if units is not None and not has_probe:
        raise ValueError("`units` chooses the units of traces, which need a `probe`.")
    return options


def _rows(samples_per_batch) -> tuple[float, int]:
    """Returns the number of rows to sample, and the stride of the batches."""
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
