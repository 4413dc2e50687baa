"""Checks of the description of a cell against the cell and the other kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells.error_words import words_of
from keras_gates.cells.kind import Kind
from keras_gates.cells.trial import FEATURES, SAMPLES, Trial, tolerance, trial

RESERVED = frozenset(
    {
        v.SAMPLE,
        v.TIME,
        v.UNIT,
        v.FRAME,
        v.STEP,
        v.EPOCH,
        v.BATCH,
        v.SIGNAL,
        v.BIN,
        v.MASK,
        v.INPUTS,
        v.FEATURE,
        v.LAG,
    }
)
"""The names of dimensions, and of variables in a tree that are not signals."""


def signals_at_work(
    cell, names: tuple[str, ...], blocks: Callable
) -> dict[str, np.ndarray]:
    """Builds a cell, gives it random weights, and returns its signals at a step.

    Raises:
        ValueError: If it does not run, or if the results are not signals.
    """
    number = len(keras.tree.flatten(cell.state_size))
    if len(names) != number:
        raise ValueError(
            f"`states` must name the {number} states of `{type(cell).__name__}`, in "
            f"the order of its `state_size`; got {', '.join(map(repr, names))}."
        )
    try:
        if not cell.built:
            cell.build((None, FEATURES))
    except Exception as error:  # Code of the user's own may raise anything.
        raise ValueError(
            f"`{type(cell).__name__}` could not be built for inputs of {FEATURES} "
            f"features ({words_of(error)})."
        ) from error
    rng = np.random.default_rng(0)
    for variable in cell.trainable_variables:
        variable.assign(rng.normal(scale=0.7, size=variable.shape))
    found = trial(cell, names, blocks)
    width = found.after[names[0]].shape[-1]
    for name, value in found.signals.items():
        if value.shape != (SAMPLES, width):
            raise ValueError(
                f"`signals` must return tensors of shape (batch, {width}), one value "
                f"for each unit; `{name}` has the shape {value.shape} for a batch of "
                f"{SAMPLES}."
            )
    for name, state in found.after.items():
        if state.shape != (SAMPLES, width):
            raise ValueError(
                f"Every state of a registered cell must have the width of its output, "
                f"{width}; `{name}` has the shape {state.shape} for a batch of "
                f"{SAMPLES}. Do not register the cell: without registration, it is "
                "traced."
            )
    return found.signals


def check_names(
    blocks: tuple[str, ...],
    states: tuple[str, ...],
    gates: tuple[str, ...],
    keep: str | None,
    write: str | None,
) -> None:
    """Refuses a description that contradicts itself."""
    if not blocks:
        raise ValueError("`signals` must return at least one signal by name; got none.")
    if states[0] != v.HIDDEN:
        raise ValueError(
            f"The first of `states`, the output of the cell, must be called "
            f"'{v.HIDDEN}'; got {states[0]!r}."
        )
    every = (*blocks, *states)
    for name in every:
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"A signal must have a name without a '/'; got {name!r}.")
        if name in RESERVED or name.startswith(v.initial("")):
            raise ValueError(
                f"'{name}' names something else in a capture, so no signal can have "
                "this name. Choose another name."
            )
        if every.count(name) > 1:
            raise ValueError(
                f"'{name}' is given twice. `signals` must not return the states: the "
                "cell returns them."
            )
    for argument, names, known, what in (
        ("gates", gates, blocks, "signals"),
        ("keep", (keep,), gates, "gates"),
        ("write", (write,), gates, "gates"),
    ):
        wrong = [name for name in names if name is not None and name not in known]
        if wrong:
            raise ValueError(
                f"`{argument}` must be among the {what}, "
                f"{', '.join(map(repr, known)) or 'but there are none'}; got "
                f"{', '.join(map(repr, wrong))}."
            )
    if write is not None and (keep is None or keep == write):
        raise ValueError(
            "`write` must be a different gate from `keep`, and needs it; got "
            f"keep={keep!r}, write={write!r}."
        )


def check_roles(kind: Kind, others: Iterable[Kind]) -> None:
    """Refuses names that mean something else in another kind of cell."""
    for other in others:
        for name in kind.signals:
            if name not in other.signals:
                continue
            here, there = _role(kind, name), _role(other, name)
            either_gate = {here, there} == {"write", "gate"} and kind.keep is None
            if here == "gate" and there == "signal":
                raise ValueError(
                    f"'{name}' is not a gate in other cells, such as "
                    f"{other.with_article}. Remove it from `gates`, or give it another "
                    "name."
                )
            if here != there and not either_gate:
                raise ValueError(
                    f"'{name}' of {other.with_article} is {_ROLES[there]}, but in "
                    f"{kind.with_article} it would be {_ROLES[here]}: the statistics "
                    "and figures would mistake one for the other. Give it another name."
                )


_ROLES = {
    "keep": "the gate whose 1 keeps the old state (`keep`)",
    "write": "the gate whose value is the share that is written (`write`)",
    "gate": "a gate that neither keeps nor writes",
    "state": "a state",
    "signal": "not a gate",
}


def _role(kind: Kind, name: str) -> str:
    if name in kind.states:
        return "state"
    if name in kind.memory:
        return "keep" if name == kind.keep else "write"
    return "gate" if name in kind.gates else "signal"


def check_step(kind: Kind, cell) -> None:
    """Refuses a description whose results differ from those of the cell."""
    assert kind.signals_of is not None and kind.step is not None
    names = tuple(reversed(kind.states))
    for scale in (1.0, 20.0):
        found = trial(cell, names, kind.signals_of, scale)
        for gate in kind.gates:
            values = found.signals[gate]
            if values.min() < -1e-6 or values.max() > 1 + 1e-6:
                raise ValueError(
                    f"`{gate}` is listed as a gate, but has values from "
                    f"{values.min():.3g} to {values.max():.3g} on random inputs; a "
                    "gate is between 0 and 1. Leave it out of `gates`."
                )
        derived = _step(kind, found.signals, found.before)
        for name, value in found.after.items():
            error = np.abs(derived[name] - value).max()
            size = max(np.abs(value).max(), 1.0)
            if not error <= tolerance(cell) * size:
                raise ValueError(
                    f"`step` must return the states that the cell returns; on random "
                    f"inputs its `{name}` differs by {error:.2g}. Compare `signals` "
                    "and `step` with `call`, and `states` with the order of "
                    "`state_size`."
                )
        shown = np.abs(found.output - found.after[v.HIDDEN]).max()
        if not shown <= tolerance(cell) * max(np.abs(found.output).max(), 1.0):
            raise ValueError(
                f"The first state of a registered cell must be its output; the output "
                f"of `{type(cell).__name__}` differs from it by {shown:.2g}. Do not "
                "register the cell: without registration, it is traced."
            )
    if kind.keep is not None:
        _check_keep(kind, trial(cell, names, kind.signals_of))


def _check_keep(kind: Kind, found: Trial) -> None:
    """Refuses a `keep` that is not the share of the old state that is kept."""
    keep, write, before = str(kind.keep), kind.write, found.before

    def step(share: float, written: float, states=before):
        signals = {**found.signals, keep: np.full_like(found.signals[keep], share)}
        if write is not None:
            signals[write] = np.full_like(found.signals[write], written)
        return _step(kind, signals, states)

    def same(one, other):
        return np.allclose(one, other, rtol=1e-4, atol=1e-4)

    kept = step(1.0, 0.0)
    held = [name for name in before if same(kept[name], before[name])]
    if not held:
        erased = step(0.0, 1.0)
        turned = [name for name in before if same(erased[name], before[name])]
        way_out = (
            f" A `{keep}` of 0 keeps it: return the complement (1 - {keep}) from "
            "`signals`, under a name that fits a gate that keeps, and use it in `step`."
            if turned
            else " Leave `keep` out if no gate does this."
        )
        worst = min(np.abs(kept[name] - before[name]).max() for name in before)
        raise ValueError(
            f"With `{keep}` at 1 (`keep`), `step` must return the old state; it "
            f"changes it by {worst:.2g}.{way_out}"
        )
    name, share = held[0], 0.3
    other = {**before, name: before[name] + 1.0}
    moved = step(share, 0.0, other)[name] - step(share, 0.0)[name]
    if not same(moved, share):
        raise ValueError(
            f"With `{keep}` at {share} (`keep`), this share of a change of the old "
            f"`{name}` must remain; {np.mean(moved):.2g} of it remains. Leave `keep` "
            "out if no gate is such a share."
        )
    if write is not None and not same(step(share, 0.0)[name], share * before[name]):
        raise ValueError(
            f"With `{write}` at 0 (`write`), `step` must write nothing, but it writes "
            "something. Leave `write` out if no gate does this."
        )


def _step(kind: Kind, signals: Mapping, before: Mapping) -> dict[str, np.ndarray]:
    assert kind.step is not None
    try:
        return kind.step(signals, before, None)
    except Exception as error:  # Code of the user's own may raise anything.
        if str(error).startswith("`step` must"):  # An error about its result.
            raise
        raise ValueError(
            f"`step` failed on the signals {', '.join(signals)} and the states "
            f"{', '.join(before)} of one step of the cell ({words_of(error)})."
        ) from error
