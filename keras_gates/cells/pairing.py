"""Pairs of signals of two kinds of cells that have the same role, for comparison."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from keras_gates.cells.kind import Kind

ALONE = " (no counterpart)"


class Place(NamedTuple):
    """A signal on one side of a row.

    Attributes:
        name: The name of the values shown: the signal, or 1 - the signal.
        signal: The name of the signal.
        complement: Whether 1 - the signal is shown.
        title: The title above it.
    """

    name: str
    signal: str
    complement: bool
    title: str


class Row(NamedTuple):
    """Two signals side by side.

    Attributes:
        left: A signal; a sentence, where the kind has none; or `None` for nothing.
        right: The same for the other kind.
        gates: Whether these are gates.
    """

    left: Place | str | None
    right: Place | str | None
    gates: bool

    @property
    def sides(self) -> tuple[Place | str | None, Place | str | None]:
        """The left side and the right side."""
        return self.left, self.right

    @property
    def places(self) -> list[Place]:
        """The signals of the row."""
        return [side for side in self.sides if isinstance(side, Place)]


def rows(left: Kind, right: Kind) -> list[Row]:
    """Returns the rows that show two layers side by side, gates first.

    The first row has the share of the old state that each layer keeps. The second has
    the share that it writes. The other gates follow, and then the candidate and the
    states, each paired with the signal of the same name.
    """
    if left is right:
        places = [_place(left, name) for name in _in_order(left)]
        return [Row(place, place, place.name in left.gates) for place in places]
    gates = [
        Row(*_marked(one, two), gates=True)
        for one, two in itertools.zip_longest(_gates_of(left), _gates_of(right))
    ]
    # The other signals are in the order of the kind that has more signals.
    fuller = sorted((left, right), key=lambda kind: -len(kind.signals))
    names = dict.fromkeys(name for kind in fuller for name in _others(kind))
    others = [
        Row(_beside(left, name, right), _beside(right, name, left), gates=False)
        for name in names
    ]
    return gates + others


def _in_order(kind: Kind) -> list[str]:
    """Returns the signals of a kind in the order of their roles."""
    shares = [gate for gate in (kind.keep, kind.write) if gate is not None]
    return list(dict.fromkeys([*shares, *kind.gates, *kind.signals]))


def _others(kind: Kind) -> list[str]:
    return [name for name in kind.signals if name not in kind.gates]


def without(kind: Kind, what: str) -> str:
    """Returns the sentence that is shown where a kind lacks something."""
    return f"{kind.article.capitalize()} {kind.name} has no {what}."


def _gates_of(kind: Kind) -> list[Place | str]:
    """Returns the gates of a kind, or a sentence that it has none."""
    return [*_by_work(kind)] or [without(kind, "gates")]


def _by_work(kind: Kind) -> list[Place]:
    """Returns the gates of a kind: share kept, share written, then the others."""
    if kind.keep is None:
        return [_place(kind, gate, ALONE) for gate in kind.gates]
    share = " (share written)"
    if kind.write is None:
        name = f"1 − {kind.keep}"
        written = Place(name, kind.keep, complement=True, title=name + share)
    else:
        written = _place(kind, kind.write, share)
    others = [gate for gate in kind.gates if gate not in (kind.keep, kind.write)]
    return [_place(kind, kind.keep), written, *(_place(kind, g, ALONE) for g in others)]


def _place(kind: Kind, name: str, mark: str = "") -> Place:
    return Place(name, name, complement=False, title=kind.long_names[name] + mark)


Side = Place | str | None


def _marked(left: Side, right: Side) -> tuple[Side, Side]:
    """Adds a note to the title of a gate without a counterpart in its row."""

    def marked(side: Side) -> Side:
        if not isinstance(side, Place):
            return side
        return side._replace(title=side.title.removesuffix(ALONE) + ALONE)

    if isinstance(left, Place) and isinstance(right, Place):
        return left, right
    return marked(left), marked(right)


def _beside(kind: Kind, name: str, other: Kind) -> Place | str:
    """Returns the signal of a kind, or a sentence on why it has none."""
    if name in kind.signals:
        return _place(kind, name, "" if name in other.signals else ALONE)
    return kind.lacking.get(name, without(kind, other.long_names[name]))
