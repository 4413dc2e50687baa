"""The kernel that actually runs each recurrent layer of a model, and the reasons."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from keras_gates.backend import backend
from keras_gates.backend import kernel_names as names
from keras_gates.cells.known_cells import has_kernel
from keras_gates.checks import flag
from keras_gates.models.accelerating import is_made_with_gates, why_not_accelerated
from keras_gates.models.find_layers import not_built, require_call, walk
from keras_gates.models.input_batches import build, iterate
from keras_gates.models.kernel_report import (
    Kernels,
    LayerKernel,
    caught_by_keras,
    described,
    joined,
    one_line,
)
from keras_gates.models.kernel_timing import speedups
from keras_gates.models.kernel_trials import (
    Trial,
    fast_change,
    is_fast,
    is_faster,
    telling_trials,
    tried_change,
    unchanged,
)
from keras_gates.models.made_inputs import made_inputs
from keras_gates.models.model_checks import require_model
from keras_gates.models.watched_runs import Run, watched_runs

ROWS, STEPS = 2, 8
"""The numbers of samples and time steps of generated inputs."""
MEASURED_ROWS, MEASURED_STEPS = 32, 100
"""The same where time is measured; also the largest number of rows used of `x`."""
WORTHWHILE = 1.1
"""The ratio of measured times from which on a change is recommended."""


def kernels(model: keras.Model, x: Any = None, *, measure: bool = False) -> Kernels:
    """Reports which kernel runs each recurrent layer of a model here, and why.

    Keras chooses among several kernels silently, and catches some of the exceptions
    that prevent a faster one. This function runs the model, once in inference and once
    in training (on TensorFlow and JAX, it traces the model, as Keras does to compile
    it), and observes each layer: the operations of the backend, and the exceptions that
    Keras catches. Then copies of each layer run with one argument changed, or without
    the mask, to find out which change leads to a faster kernel. The weights, states,
    seeds and metrics of the model do not change.

    A function that is compiled later, for example with `jit_compile=True` on PyTorch,
    is described as it is before compilation. `kernels` was never tested on a GPU: the
    names of GPU kernels are those of the operations that PyTorch, TensorFlow and JAX
    document.

    Args:
        model: A `keras.Model`, of any style, with recurrent layers. A model that is not
            built yet needs `x`, and is built on it.
        x: Some rows of your data, in any form that `predict` takes. By default, inputs
            are generated from the input shapes of the model. No more than 32 rows are
            used.
        measure: Whether to measure the speedup of each layer by the recommended
            changes, and by a fast kernel of this package. It takes a few seconds for
            each layer, and uses 32 rows of 100 steps unless the model fixes these
            numbers.

    Returns:
        A report: `print` it, read a layer with `["path"]`, or call `to_dataframe()`.
        Each layer has `inference` and `training`, the names of the kernels, `reasons`,
        `advice` and `speedup`.

    Raises:
        ValueError: If the model has no recurrent layer or is not built, if no inputs
            can be generated for it, or if it cannot be run.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import keras, keras_gates
        >>> layer = keras_gates.GateLSTM(4, kernel="fast", name="lstm")
        >>> model = keras.Sequential([keras.Input((5, 1)), layer])
        >>> keras_gates.kernels(model)["lstm"].inference
        'keras_gates fast kernel'
    """
    require_model(model)
    measure = flag("measure", measure)
    found = {
        path: layer
        for path, layer in walk(model)
        if isinstance(layer, keras.layers.RNN)
    }
    if not found and model.built:
        raise ValueError(
            f"The model '{model.name}' has no recurrent layer whose kernel could be "
            "reported."
        )
    require_call(model, "Give a model inside it{}, or add a `call`.")
    if x is None:
        if not model.built:
            raise not_built(model)
        rows, steps = (MEASURED_ROWS, MEASURED_STEPS) if measure else (ROWS, STEPS)
        batch = made_inputs(model, rows, steps)
    else:
        x = build(model, x, MEASURED_ROWS, "x")
        batch = next(iterate(x, model, MEASURED_ROWS, "x"))
        found = dict(one for one in walk(model) if isinstance(one[1], keras.layers.RNN))
    eagerly = bool(getattr(model, "run_eagerly", False))
    runs = [
        _watched(model, batch, training, eagerly, made=x is None)
        for training in (False, True)
    ]
    records = [
        _record(path, layer, [_of(layer, some) for some in runs], eagerly, measure)
        for path, layer in found.items()
    ]
    return Kernels(tuple(records), keras.backend.backend(), backend.has_gpu())


def _watched(model, batch, training: bool, eagerly: bool, made: bool) -> list[Run]:
    watched = (keras.layers.RNN, keras.layers.Bidirectional)
    layers = [layer for _, layer in walk(model) if isinstance(layer, watched)]

    def run(batch):
        model(batch, training=training)

    try:
        return watched_runs(run, layers, batch, training, eagerly)
    except Exception as error:
        what = "generated inputs" if made else "`x`"
        way_out = " Give some rows of your data: `kernels(model, x)`." if made else ""
        raise ValueError(
            f"The model '{model.name}' could not be run on {what}: "
            f"{type(error).__name__}: {one_line(error)}.{way_out}"
        ) from error


def _of(layer, runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.layer is layer]


def _record(
    path: str, layer: Any, runs: list[list[Run]], eagerly: bool, measure: bool
) -> LayerKernel:
    """Returns the record of one layer.

    Args:
        path: Its path.
        layer: The layer.
        runs: Its runs in inference, and its runs in training.
        eagerly: Whether the model asks Keras not to compile it.
        measure: Whether to measure the speedup of a change.
    """
    every = [run for some in runs for run in some]
    reasons = caught_by_keras(every)
    record = LayerKernel(
        path,
        type(layer).__name__,
        joined(runs[0]),
        joined(runs[1]),
        masked=any(run.masked for run in every),
    )
    if not all(runs):
        reasons.append("It did not run when the model was called.")
        return dataclasses.replace(record, reasons=tuple(reasons))
    if {record.inference, record.training} <= names.OF_GPUS:
        return dataclasses.replace(record, reasons=tuple(reasons))
    reasons += _standing_reasons(layer)
    slowest = _slowest(runs[0]), _slowest(runs[1])
    try:
        outcomes = _outcomes(layer, slowest, eagerly, measure)
    except Exception as error:  # The layer may be of the user's own, and do anything.
        reasons.append(
            "No change could be tried, as a copy of the layer does not run on its own: "
            f"{type(error).__name__}: {one_line(error)}"
        )
        outcomes = []
    # If time was measured, the best change comes first.
    outcomes.sort(key=lambda outcome: -outcome.mean_speedup)
    return dataclasses.replace(
        record,
        reasons=(*reasons, *(one.reason for one in outcomes if one.reason)),
        advice=tuple(one.advice for one in outcomes if one.advice),
        speedup=outcomes[0].speedup if outcomes else {},
    )


def _slowest(runs: list[Run]) -> Run:
    slowest = runs[0]
    for run in runs[1:]:
        slowest = run if is_faster(slowest, run) else slowest
    return slowest


def _standing_reasons(layer: Any) -> list[str]:
    """Returns the reasons that no change of an argument would remove."""
    if is_fast(layer):
        return []
    reasons = []
    if getattr(layer, "use_cudnn", None) is False:
        reasons.append("`use_cudnn=False` keeps Keras from its own faster kernels.")
    elif not has_kernel(layer):
        reasons.append(
            f"Keras has no kernel for a `{type(layer).__name__}`: it calls the cell "
            "in a loop."
        )
    elif not backend.has_gpu():
        reasons.append("There is no GPU here, and cuDNN runs on a GPU only.")
    why_not = why_not_accelerated(layer)
    if backend.FAST_KERNELS_GAIN and why_not and not is_made_with_gates(layer):
        reasons.append(f"No fast kernel of keras_gates runs it: {why_not}.")
    return reasons


@dataclasses.dataclass
class _Outcome:
    """The outcome of one change, in sentences, and its speedup."""

    reason: str = ""
    advice: str = ""
    speedup: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def mean_speedup(self) -> float:
        return math.prod(self.speedup.values())


def _outcomes(
    layer: Any, runs: tuple[Run, Run], eagerly: bool, measure: bool
) -> list[_Outcome]:
    """Tries changes that may lead to a faster kernel, and returns their outcomes."""
    fast = fast_change(layer, any(run.masked for run in runs))
    # On a GPU, no fast kernel of this package was ever measured.
    pays = backend.FAST_KERNELS_GAIN and not backend.has_gpu()
    sure = fast if pays else None
    trials = telling_trials(layer, runs, sure, eagerly)
    if measure and fast is not None and all(one.change is not fast for one in trials):
        trials.append(tried_change(fast, runs, eagerly))
    make = _measured if measure else _unmeasured
    return [make(layer, runs, trial) for trial in trials]


def _unmeasured(layer: Any, runs: tuple[Run, Run], trial: Trial) -> _Outcome:
    change, now = trial.change, described(trial.runs[1])
    if trial.faster:
        advice = f"{change.advice}: then {now} runs it."
        return _Outcome(f"{change.reason}." if change.reason else "", advice)
    if not change.reason:
        return _Outcome()
    return _Outcome(
        f"{change.reason}; otherwise {now} would run it. `measure=True` measures "
        "whether that is faster."
    )


def _measured(layer: Any, runs: tuple[Run, Run], trial: Trial) -> _Outcome:
    change, shape = trial.change, runs[0].shape
    now = unchanged(layer, any(run.masked for run in runs))
    speedup = speedups(now, change, shape)
    times = " and ".join(
        f"{ratio:.2g} times as fast in {mode}" for mode, ratio in speedup.items()
    )
    found = (
        f"{change.advice}: then {described(trial.runs[1])} runs it, {times}, as "
        f"measured here with inputs of shape {shape}."
    )
    gains = [mode for mode, ratio in speedup.items() if ratio >= WORTHWHILE]
    if not gains:
        return _Outcome(f"This is not worthwhile. {found}", speedup=speedup)
    if min(speedup.values()) < 1 / WORTHWHILE:
        found = f"For {gains[0]} only: {found}"
    return _Outcome(f"{change.reason}." if change.reason else "", found, speedup)
