"""The pre-activations of a model, which are read like signals."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras

from keras_gates import vocabulary as v
from keras_gates.capturing.program import Program
from keras_gates.capturing.reader import Reader
from keras_gates.layers.signal_changes import are_changed
from keras_gates.models.find_layers import require_call

if TYPE_CHECKING:
    import xarray


def preactivations(model: keras.Model, x: Any, paths: set[str]) -> xarray.DataTree:
    """Returns the pre-activations of a model, under the names of their signals.

    Args:
        model: As for `capture`.
        x: As for `capture`.
        paths: The names of the layers, as in a capture of the model.

    Returns:
        A tree like that of `capture`, with the layers whose pre-activations are known.
        They are not known for custom cells.
    """
    require_call(model)
    reader = _SumsReader(model, paths)
    with contextlib.closing(reader.read(x)) as read:
        return reader.tree(read)


class _SumsReader(Reader):
    """Reads pre-activations, with Keras's own kernels."""

    def __init__(self, model, paths: set[str]):
        named = {v.without_call(path) for path in paths}
        super().__init__(model, layers=None, fast=[])
        there = [node for node in self.nodes if node.path in named]
        if not there:
            have = [node.path for node in self.nodes]
            raise ValueError(
                "`model` must be the model that was captured; it has the layers "
                f"{have}, and `gates` has {sorted(paths)}."
            )
        self.nodes = [node for node in there if node.known_kind.sums is not None]
        if not self.nodes:
            raise ValueError(
                f"The pre-activations of {sorted(named)} are not known, because their "
                "cells are not Keras's own. Leave `model` and `x` out."
            )
        edited = [node.path for node in self.nodes if are_changed(node.layer)]
        if edited:
            raise ValueError(
                f"The layer '{edited[0]}' is being edited. Read the "
                "pre-activations after the `keras_gates.edit` block."
            )

    def _new_program(self) -> Program:
        return Program(self.model, self.nodes, self.chosen, False, sums=True)
