"""The findings of a demonstration, in a few sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_gates import stats
from keras_gates import vocabulary as v
from keras_gates.study.differences import interval_text
from keras_gates.study.prepared_tasks import PreparedTask
from keras_gates.study.result import Study

if TYPE_CHECKING:
    import xarray


class Trained(NamedTuple):
    """The measurements of one trained layer.

    Attributes:
        gates: Its signals on the test data.
        keep: The gate that keeps its state.
        traces: Its signals on the probe, before and during training.
        memory: The result of `keras_gates.reach`.
    """

    gates: xarray.Dataset
    keep: str
    traces: xarray.Dataset
    memory: xarray.Dataset


def findings(task: PreparedTask, study: Study, layers: dict[str, Trained]) -> list[str]:
    """Returns the answers to the questions of the demonstration.

    Args:
        task: The task that was learned.
        study: The comparison of two architectures.
        layers: The measurements of the layer of each architecture, by its name.
    """
    return [
        _better(study, task.metric),
        _price(study),
        _training(layers),
        _on_the_path(layers),
        _measured(layers),
    ]


def _better(study: Study, metric: str) -> str:
    first, second = study.history["architecture"].values
    if study.history.sizes["seed"] < 2:
        return f"Which is better? One seed cannot show it; see {metric} above."
    found = study.difference(first, second, metric)
    seeds = f"{found.seeds} seeds, {found.a} - {found.b} in {metric}"
    interval = f"{found.mean:.3g}, 95 % interval {interval_text(found.low, found.high)}"
    answer = f"The {found.better}" if found.significant else "No difference was shown"
    return f"Which is better? {answer} ({seeds}: {interval})."


def _price(study: Study) -> str:
    means = study.runs.groupby("architecture", sort=False).mean(numeric_only=True)
    parts = []
    for name, row in means.iterrows():
        # The first epoch includes compilation; there may be no other.
        epoch, which = row["epoch_seconds"], "an epoch"
        if np.isnan(epoch):
            epoch, which = row["first_epoch_seconds"], "the first epoch"
        weights = f"{row['parameters']:.0f} weights"
        parts.append(f"the {name} has {weights} and takes {epoch:.2f} s for {which}")
    return f"What does each cost? {_sentence(parts)}."


def _training(layers: dict[str, Trained]) -> str:
    parts = []
    for name, layer in layers.items():
        means = layer.traces[layer.keep].mean([v.SAMPLE, v.TIME, v.UNIT]).values
        parts.append(
            f"the mean {layer.keep} gate of the {name} went from {means[0]:.2f} to "
            f"{means[-1]:.2f}"
        )
    return f"What did training do? {_sentence(parts)}; 1 keeps the whole state."


def _on_the_path(layers: dict[str, Trained]) -> str:
    parts = []
    for name, layer in layers.items():
        longest = float(stats.timescale(layer.gates[layer.keep]).max())
        parts.append(f"at most {longest:.3g} time steps in the {name}")
    return f"How long do the gates alone keep a value? {_sentence(parts)}."


def _measured(layers: dict[str, Trained]) -> str:
    parts = []
    for name, layer in layers.items():
        # A reach near the end of the sequence is cut short: take the longest one.
        reach = layer.memory["reach"]
        reach = reach.where(np.isfinite(reach)).fillna(-np.inf)
        longest = layer.memory.isel({v.TIME: int(reach.argmax(v.TIME))})
        if np.isfinite(longest["reach"]):
            low, high = float(longest["reach_low"]), float(longest["reach_high"])
            steps = f"{float(longest['reach']):.3g} time steps"
            interval = interval_text(low, high)
            if not np.isfinite(high):
                interval = f"at least {low:.3g}"
            parts.append(f"{steps} in the {name} ({interval})")
        else:
            parts.append(f"to the end of the sequence in the {name}")
    return f"How long is a changed state remembered? {_sentence(parts)}."


def _sentence(parts: list[str]) -> str:
    joined = ", ".join(parts)
    return joined[:1].upper() + joined[1:]
