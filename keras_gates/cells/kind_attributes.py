"""A kind as attributes of data, which describe it where it is not registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_gates import vocabulary as v
from keras_gates.cells.kind import Kind, Meaning

PALETTE = ("#56B4E9", "#CC79A7", "#009E73", "#E69F00", "#0072B2", "#D55E00", "#7F6A00")
"""The colours of signals that no kind of Keras has."""

_NAMES = {v.HIDDEN: "hidden state", v.CELL: "cell state"}


def own_kind(
    name: str,
    blocks: tuple[str, ...],
    states: tuple[str, ...],
    gates: tuple[str, ...],
    keep: str | None = None,
    write: str | None = None,
    **others: Any,
) -> Kind:
    """Returns the kind of a cell that is not Keras's, with names for its signals.

    Args:
        name: The name of the kind.
        blocks: Its signals without the states.
        states: Its states, as in `Kind`.
        gates: Which of the signals are gates.
        keep: As in `Kind`.
        write: As in `Kind`.
        others: Further attributes of the kind.
    """
    long_names = {}
    for signal in (*blocks, *states):
        words = signal.replace("_", " ")
        words += " gate" if signal in gates and "gate" not in words else ""
        words += f" ({v.KEEP_CONVENTION})" if signal == keep else ""
        long_names[signal] = _NAMES.get(signal, words)
    colours = {
        signal: PALETTE[number % len(PALETTE)] for number, signal in enumerate(blocks)
    }
    meanings = {
        gate: Meaning(
            open="the gate is open at nearly every step",
            closed="the gate is closed at nearly every step",
        )
        for gate in gates
    }
    return Kind(
        name=name,
        states=states,
        blocks=blocks,
        gates=gates,
        keep=keep,
        write=write,
        long_names=long_names,
        colours={**colours, **dict.fromkeys(states, "#999999"), v.HIDDEN: "#000000"},
        meanings=meanings,
        article=_article(name),
        convention=f"{keep}: {v.KEEP_CONVENTION}" if keep is not None else None,
        **others,
    )


def described(kind: Kind) -> dict[str, Any]:
    """Returns the attributes that describe a kind that is not Keras's."""
    return {
        "cell_type": kind.name,
        "signals": list(kind.blocks),
        "states": list(kind.states),
        "gates": list(kind.gates),
        "keep": kind.keep or "",
        "write": kind.write or "",
        "traced": int(kind.traced),
    }


def kind_of_attributes(attributes: Mapping[Any, Any]) -> Kind | None:
    """Returns the kind that attributes describe, without its equations, or `None`."""
    if not {"cell_type", "signals", "states", "gates"} <= set(attributes):
        return None
    blocks, states, gates = (
        _names(attributes[name]) for name in ("signals", "states", "gates")
    )
    return own_kind(
        str(attributes["cell_type"]),
        blocks,
        states,
        gates,
        keep=str(attributes.get("keep", "")) or None,
        write=str(attributes.get("write", "")) or None,
        traced=bool(attributes.get("traced", False)),
    )


def _names(value: Any) -> tuple[str, ...]:
    # Some file formats return a list of one name as that name.
    names = [value] if isinstance(value, str) else list(value)
    return tuple(str(name) for name in names if str(name))


def _article(name: str) -> str:
    """Returns "a" or "an" for a name; three capitals at its start are spelt out."""
    spelt = name[:3].isupper()
    return "an" if name[:1] in ("AEFHILMNORSX" if spelt else "AEIOaeio") else "a"
