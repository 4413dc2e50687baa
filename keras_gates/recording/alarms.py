"""Alarms: what should not happen to a gate or a unit in training."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.stats import dead
from keras_gates.trees.layer_kind import kind_of_layer
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


class Alarm(NamedTuple):
    """One thing that was found.

    Attributes:
        layer: The path of the layer.
        signal: The signal; "hidden" for a dead unit.
        what: "stuck shut", "stuck open", "dead" (as `stats.dead_units` defines it) or
            "NaN".
        units: The numbers of the units.
        step: The label `step` of `statistics` at which it began.
        epoch: The epoch of that step.
    """

    layer: str
    signal: str
    what: str
    units: tuple[int, ...]
    step: int
    epoch: int


class Alarms:
    """Looks at the statistics of one step after the other.

    Args:
        action: "warn", "stop", or `None` for not looking.
        after: For how many steps in a row a condition must hold. NaN is told at once.

    Attributes:
        found: What was found, each thing once.
    """

    def __init__(self, action: str | None, after: int):
        self.found: list[Alarm] = []
        self._action = action
        self._after = after
        self._since: dict[tuple, tuple[int, int]] = {}
        self._lasted: dict[tuple, int] = {}
        self._told: set[tuple] = set()

    def look(self, statistics: xarray.DataTree, step: int, epoch: int) -> bool:
        """Looks at one step, warns of what is new, and tells whether to stop.

        Args:
            statistics: The statistics of the step.
            step: Its label.
            epoch: Its epoch.
        """
        if self._action is None:
            return False
        new: dict[tuple, list[int]] = {}
        holding = set()
        for key in _conditions(statistics):
            holding.add(key)
            first = self._since.setdefault(key, (step, epoch))
            what = key[2]
            # Labels may leave some out: `fit` may begin at a later epoch.
            self._lasted[key] = self._lasted.get(key, 0) + 1
            long_enough = what == "NaN" or self._lasted[key] >= self._after
            if long_enough and key not in self._told:
                self._told.add(key)
                new.setdefault((*key[:3], *first), []).append(key[3])
        for key in set(self._since) - holding:
            # Told again if it comes back.
            del self._since[key], self._lasted[key]
            self._told.discard(key)
        for (layer, signal, what, began, epoch_then), units in new.items():
            alarm = Alarm(layer, signal, what, tuple(units), began, epoch_then)
            self.found.append(alarm)
            warnings.warn(_sentence(alarm, self._action), stacklevel=2)
        return bool(new) and self._action == "stop"


def _conditions(statistics: xarray.DataTree):
    """Yields the layer, the signal, what is the matter with it, and the unit."""
    for node in recurrent(statistics):
        layer = node.path.strip("/")
        data = node.to_dataset()
        if not data["count"].any():
            continue
        bad: dict[str, Any] = {
            "NaN": ~np.isfinite(data["mean"]),
            "stuck shut": data["left"] == 1,
            "stuck open": data["right"] == 1,
            "dead": _dead(data),
        }
        for what, where in bad.items():
            for gate, unit in np.argwhere(where.transpose(v.GATE, v.UNIT).values):
                yield layer, str(data[v.GATE].values[gate]), what, int(unit)


def _dead(data: xarray.Dataset) -> xarray.DataArray:
    """Returns the units that are dead, as `stats.dead_units` does, under `hidden`.

    A gate that was below the recorder's `low` in all counts was never open.
    """
    import xarray

    holds = {
        str(name): data["left"].sel({v.GATE: name}) == 1 for name in data[v.GATE].values
    }
    if v.HIDDEN in holds:
        hidden = data.sel({v.GATE: v.HIDDEN})
        holds[v.HIDDEN] = (hidden["std"] < dead.CONSTANT) & (hidden["count"] > 1)
    kind = kind_of_layer(data)
    found = dead.conditions(kind, holds)["dead"] & (data[v.GATE] == v.HIDDEN)
    # Nowhere, if no signal is recorded that shows it.
    return xarray.zeros_like(data["count"], bool) | found


def _sentence(alarm: Alarm, action: str) -> str:
    shown = ", ".join(map(str, alarm.units[:5]))
    more = f" and {len(alarm.units) - 5} more" if len(alarm.units) > 5 else ""
    units = f"unit {shown}" if len(alarm.units) == 1 else f"units {shown}{more}"
    end = " Training stops." if action == "stop" else ""
    return (
        f"'{alarm.layer}': `{alarm.signal}` is {alarm.what} in {units}, since epoch "
        f"{alarm.epoch} (step {alarm.step}).{end}"
    )
