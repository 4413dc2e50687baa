"""The importance of units: the change of the loss if their signals are clamped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates import edits
from keras_gates.capturing import own_losses
from keras_gates.capturing.capturing import VERBOSE
from keras_gates.capturing.clamped_runs import ClampedRuns
from keras_gates.capturing.deriving import GradientReader
from keras_gates.capturing.first_order import FirstOrder, calls
from keras_gates.capturing.reader import Reader
from keras_gates.capturing.unit_groups import UNIT, Group, Moments, groups_of
from keras_gates.checks import (
    Names,
    flag,
    function_of,
    one_of,
    real_number,
    whole_number,
)
from keras_gates.models import input_batches
from keras_gates.models.edit_plans import Plan, planned
from keras_gates.models.find_layers import Layers, Node, require_call
from keras_gates.old_names import renamed

if TYPE_CHECKING:
    import pandas

MEAN = "mean"


@renamed()
def importance(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    of: Callable | None = None,
    layers: Layers = None,
    signals: Names = None,
    value: float | str = MEAN,
    approximate: bool = False,
    batch_size: int = 32,
    verbose: int = 0,
) -> pandas.DataFrame:
    """Measures how much the loss changes if the signals of each unit are clamped.

    Each signal of each unit is set to one value at all time steps, as by
    `keras_gates.edits.clamp`, and the loss of each sample is compared with that of the
    unchanged model. Units with the same role can replace each other, so that each one
    alone seems to matter little. The table therefore also has groups: all units of a
    signal, and units that rise and fall together.

    Args:
        model: A model as for `capture`, not stateful, with a compiled loss or with
            `of`.
        x: As for `capture`; all of it is held in memory. Some 200 samples are enough.
        y: The targets, as for `gradients`.
        of: As for `gradients`.
        layers: As for `capture`.
        signals: As for `capture`.
        value: The value to set signals to: "mean", the mean of each unit over all
            samples and unmasked steps, or a number.
        approximate: Whether to compute a first-order approximation from one gradient
            instead of one run for each group (attribution patching): the sum over steps
            of the derivative times the change of the signal. It is fast, and wrong if
            the loss is far from linear. For a state, it counts a change again at each
            step that keeps it.
        batch_size: As for `capture`.
        verbose: 1 shows a progress bar.

    Returns:
        A table, the largest change first, with the columns `layer`, `signal`, `group`
        ("unit", "similar units" or "all units"), `unit` (missing for groups), `units`
        (a tuple), and `change`, the mean over samples of the loss with the clamp minus
        the loss without it, with `change_low` and `change_high`, an interval of 95 % of
        that mean (Student's t).

    Raises:
        ValueError: As by `gradients`; or if the model is stateful.
        TypeError: If an argument has the wrong type.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((5, 1)),
        ...         keras.layers.GRU(2, recurrent_initializer="zeros", name="gru"),
        ...     ]
        ... )
        >>> x = np.random.default_rng(0).normal(size=(8, 5, 1))
        >>> table = keras_gates.importance(
        ...     model, x, of=lambda outputs: outputs[:, 0] ** 2, signals=["hidden"]
        ... )
        >>> table["units"].iloc[-1]  # This unit is not in the chosen output.
        (1,)
        >>> float(table["change"].iloc[-1])
        0.0

    Reference:
        Morcos et al. (2018), On the importance of single directions for generalization,
        ICLR, for the clamp; Nanda (2023), Attribution patching, for the approximation.
    """
    require_call(model)
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    one_of("verbose", verbose, VERBOSE)
    approximate = flag("approximate", approximate)
    of = function_of("of", of, "of the outputs")
    if not (isinstance(value, str) and value == MEAN):
        value = real_number("value", value, or_else="'mean'")
    own_losses.require_number(model, y, of)
    if not model.built:
        x = input_batches.build(model, x, batch_size, "x")
    reader = Reader(model, layers=layers, signals=signals)
    _require_independent(reader.nodes)
    keys = _keys(reader)
    clamp = edits.clamp(0.0 if value == MEAN else value)
    plan = planned(model, dict.fromkeys(keys, clamp))
    given = list(own_losses.batches(model, x, y, of, batch_size))
    moments = {key: Moments() for key in keys}
    first_order = FirstOrder(keys) if approximate else None
    captured = reader.read(_Again(given))
    if first_order is None:
        for arrays in captured:
            _add(moments, arrays, keys)
    else:
        derived = GradientReader(model, None, of, layers=layers, signals=signals)
        slopes = derived.read(_Again(given))
        for arrays, derivatives in zip(captured, slopes, strict=True):
            _add(moments, arrays, keys)
            first_order.add(arrays, derivatives)
    means = {key: one.mean for key, one in moments.items() if one.mean is not None}
    if not means:
        raise ValueError("`x` has no unmasked step, so nothing can be clamped.")
    values = {
        key: mean if value == MEAN else np.full(mean.shape, value)
        for key, mean in means.items()
    }
    groups = [group for key in means for group in groups_of(key, moments[key])]
    if first_order is not None:
        return _table(groups, keys, first_order.changes(groups, values))
    each = own_losses.number_of_each(model, of)
    progress = keras.utils.Progbar(len(groups), verbose=verbose, unit_name="clamp")
    changes = []
    for some in _by_node(values, plan):
        runs = ClampedRuns(model, {key: plan[key] for key in some}, values, each)
        clamps = [(group.key, group.units) for group in groups if group.key in some]
        changes.append(runs.changes(clamps, given, progress))
    return _table(groups, keys, np.concatenate(changes, axis=1))


class _Again:
    """Batches that can be read more than once.

    Args:
        given: For each batch, `x` and perhaps `y`.
    """

    def __init__(self, given: list[dict]):
        self._given = given

    def __len__(self) -> int:
        return len(self._given)

    def __iter__(self) -> Iterator[tuple]:
        return (tuple(one.values()) for one in self._given)


def _require_independent(nodes: list[Node]) -> None:
    """Refuses stateful layers, in which a batch continues the previous one."""
    for node in nodes:
        if node.layer.stateful:
            raise ValueError(
                f"The importance of '{node.path}' cannot be measured: it is stateful, "
                "so a batch continues the samples of the previous one. Use a copy of "
                "the model with `stateful=False`."
            )


def _keys(reader: Reader) -> dict[str, tuple[str, str]]:
    """Returns the path and the signal for each key of `edit`."""
    return {
        f"{node.path}/{signal}": (node.path, signal)
        for node in reader.nodes
        for signal in node.known_kind.signals
        if signal in reader.chosen
    }


def _add(
    moments: dict[str, Moments], arrays: dict, keys: dict[str, tuple[str, str]]
) -> None:
    """Adds the signals of a batch to the moments, for all calls of a layer."""
    for key, (path, signal) in keys.items():
        for values in calls(arrays, path, signal):
            moments[key].add(values)


def _by_node(values: dict, plan: Plan) -> list[list[str]]:
    """Returns the keys of each cell, whose clamps share a compiled program."""
    nodes: dict[str, list[str]] = {}
    for key in values:
        nodes.setdefault(plan[key][0].path, []).append(key)
    return list(nodes.values())


def _table(
    groups: list[Group], keys: dict[str, tuple[str, str]], changes: np.ndarray
) -> pandas.DataFrame:
    """Returns the table of the mean change by each group, the largest first.

    Args:
        groups: The groups.
        keys: The path and the signal for each key of `edit`.
        changes: `(sample, group)`.
    """
    import pandas
    from scipy.special import stdtrit

    number = len(changes)
    mean = changes.mean(axis=0)
    margin = np.full(len(groups), np.nan)
    if number > 1:
        error = changes.std(axis=0, ddof=1) / np.sqrt(number)
        margin = stdtrit(number - 1, 0.975) * error
    alone = [group.units[0] if group.what == UNIT else None for group in groups]
    table = pandas.DataFrame(
        {
            "layer": [keys[group.key][0] for group in groups],
            "signal": [keys[group.key][1] for group in groups],
            "group": [group.what for group in groups],
            "unit": pandas.array(alone, dtype="Int64"),
            "units": [group.units for group in groups],
            "change": mean,
            "change_low": mean - margin,
            "change_high": mean + margin,
        }
    )
    order = np.argsort(-np.abs(mean), kind="stable")
    return table.iloc[order].reset_index(drop=True)
