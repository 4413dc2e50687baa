"""Alarms for gates that are stuck, dead units, and values that are not finite."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.stats import dead
from keras_gates.stats.findings import Finding, Findings
from keras_gates.trees.layer_kind import kind_of_layer
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class Alarm(Finding):
    """A finding in training, with the attributes of `stats.Finding` and two more.

    The codes are `stuck-closed` and `stuck-open` (a gate of a unit; `value` is the
    gate's value closest to the threshold), `dead-units` (as `stats.dead_units` defines
    them) and `not-finite`.

    Attributes:
        step: The label `step` in `statistics` at which the condition began.
        epoch: The epoch of that step.
    """

    step: int
    epoch: int


class Alarms:
    """Checks the statistics of one recorded step after the other.

    Args:
        action: "warn", "stop", or `None` for no checks.
        patience: The number of consecutive steps for which a condition must hold.
            Values that are not finite are reported at once.
        lower: The value below which a gate counts as closed.
        upper: The value above which a gate counts as open.

    Attributes:
        found: The alarms so far, each reported once.
    """

    def __init__(
        self, action: str | None, patience: int, *, lower: float, upper: float
    ):
        self.found = Findings(columns=Alarm)
        self._action = action
        self._patience = patience
        self._thresholds = {
            "not-finite": math.nan,
            "stuck-closed": lower,
            "stuck-open": upper,
            "dead-units": dead.CONSTANT,
        }
        self._since: dict[_Where, tuple[int, int]] = {}
        self._lasted: dict[_Where, int] = {}
        self._reported: set[_Where] = set()

    def check(self, statistics: xarray.DataTree, step: int, epoch: int) -> bool:
        """Checks one step, warns of new alarms, and returns whether to stop.

        Args:
            statistics: The statistics of the step.
            step: Its label.
            epoch: Its epoch.
        """
        if self._action is None:
            return False
        new: dict[tuple, list[tuple[int, float]]] = {}
        holding = set()
        for where, value in _conditions(statistics):
            holding.add(where)
            first = self._since.setdefault(where, (step, epoch))
            # Steps are counted, because labels may have gaps: `fit` may begin later.
            self._lasted[where] = self._lasted.get(where, 0) + 1
            at_once = where.code == "not-finite"
            long_enough = at_once or self._lasted[where] >= self._patience
            if long_enough and where not in self._reported:
                self._reported.add(where)
                key = (where.layer, where.signal, where.code, *first)
                new.setdefault(key, []).append((where.unit, value))
        for where in set(self._since) - holding:
            # It is reported again if it recurs.
            del self._since[where], self._lasted[where]
            self._reported.discard(where)
        for key, units in new.items():
            size = statistics[key[0]].sizes[v.UNIT]
            alarm = self._alarm(*key, units=dict(units), size=size)
            self.found.append(alarm)
            end = " Training stops." if self._action == "stop" else ""
            warnings.warn(alarm.message + end, stacklevel=2)
        return bool(new) and self._action == "stop"

    def _alarm(self, layer, signal, code, step, epoch, *, units, size) -> Alarm:
        nearest = min if code == "stuck-open" else max
        return Alarm(
            code,
            layer,
            signal,
            tuple(units),
            nearest(units.values()),
            self._thresholds[code],
            len(units) / size + (code == "not-finite"),
            _sentence(layer, signal, code, list(units), step, epoch),
            step,
            epoch,
        )


class _Where(NamedTuple):
    layer: str
    signal: str
    code: str
    unit: int


def _conditions(statistics: xarray.DataTree) -> Iterator[tuple[_Where, float]]:
    """Yields each condition that holds for a unit and a signal, and the value."""
    for node in recurrent(statistics):
        layer = node.path.strip("/")
        data = node.to_dataset()
        if not data["count"].any():
            continue
        wrong: dict[str, tuple[Any, Any]] = {
            "not-finite": (~np.isfinite(data["mean"]), data["mean"]),
            "stuck-closed": (data["left"] == 1, data["max"]),
            "stuck-open": (data["right"] == 1, data["min"]),
            "dead-units": (_dead(data), data["std"]),
        }
        for code, (where, values) in wrong.items():
            values = values.transpose(v.SIGNAL, v.UNIT).values
            for index, unit in np.argwhere(where.transpose(v.SIGNAL, v.UNIT).values):
                signal = str(data[v.SIGNAL].values[index])
                found = _Where(layer, signal, code, int(unit))
                yield found, float(values[index, unit])


def _dead(data: xarray.Dataset) -> xarray.DataArray:
    """Returns the dead units, as `stats.dead_units` defines them, under `hidden`.

    A gate counts as closed if all counted values are below the recorder's `lower`.
    """
    import xarray

    holds = {
        str(name): data["left"].sel({v.SIGNAL: name}) == 1
        for name in data[v.SIGNAL].values
    }
    if v.HIDDEN in holds:
        hidden = data.sel({v.SIGNAL: v.HIDDEN})
        holds[v.HIDDEN] = (hidden["std"] < dead.CONSTANT) & (hidden["count"] > 1)
    kind = kind_of_layer(data)
    found = dead.conditions(kind, holds)["dead"] & (data[v.SIGNAL] == v.HIDDEN)
    # All false, if no signal that shows it is recorded.
    return xarray.zeros_like(data["count"], bool) | found


def _sentence(layer, signal, code, units, step, epoch) -> str:
    words = {"dead-units": "dead", "not-finite": "not finite"}
    shown = ", ".join(map(str, units[:5]))
    more = f" and {len(units) - 5} more" if len(units) > 5 else ""
    which = f"unit {shown}" if len(units) == 1 else f"units {shown}{more}"
    return (
        f"'{layer}': `{signal}` is {words.get(code, code.replace('-', ' '))} in "
        f"{which}, since epoch {epoch} (step {step})."
    )
