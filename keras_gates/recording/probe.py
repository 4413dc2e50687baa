"""The probe: fixed inputs whose gates are read at each recorded step."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.capturing import own_losses
from keras_gates.capturing.deriving import GradientReader
from keras_gates.capturing.reader import Reader
from keras_gates.checks import type_of
from keras_gates.models import input_batches
from keras_gates.models.find_layers import require_call
from keras_gates.recording.options import Options
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


class Probe:
    """Fixed inputs of a model, and the readers of their gates.

    Args:
        inputs: Inputs of the model, as the user passed them; if gradients are
            recorded, `(inputs, targets)`.
        options: The options of the recorder.
    """

    def __init__(self, inputs: Any, options: Options):
        self._targets = None
        if options.gradients:
            inputs, self._targets = _inputs_and_targets(inputs)
        self._inputs = inputs
        self._options = options
        self._reader: Reader | None = None
        self._gradient_reader: GradientReader | None = None

    def __getstate__(self):
        """Copies and pickles the inputs without the model."""
        return {**vars(self), "_reader": None, "_gradient_reader": None}

    def prepare(self, model: keras.Model) -> None:
        """Reads the inputs, once for all steps, and builds a model that is not built.

        Raises:
            ValueError: If the model has no `call`; if the inputs do not fit it, or can
                be read only once; if gradients are recorded, and the model has no
                compiled loss.
        """
        require_call(
            model,
            "Leave `probe` out to record only the statistics of training, and call "
            "`capture` on a model inside it{}.",
        )
        if not input_batches.is_readable_again(self._inputs):
            raise ValueError(
                "`probe` must be readable again at each step; got a "
                f"{type(self._inputs).__name__}, which can be read only once. Give an "
                "array, or a data set."
            )
        batch_size = self._options.batch_size
        self._inputs = input_batches.Kept(self._inputs, model, batch_size, "probe")
        if not model.built:
            input_batches.build(model, self._inputs, batch_size, "probe")
        chosen = {"layers": self._options.layers, "signals": self._options.signals}
        self._reader = Reader(model, **chosen)
        if self._options.gradients:
            own_losses.require_number(model, self._targets, None)
            self._gradient_reader = GradientReader(model, self._targets, None, **chosen)

    def trace(self) -> xarray.DataTree:
        """Returns the gates of the probe in the model as it is now."""
        return self._read(self._reader)

    def gradients(self) -> xarray.DataTree:
        """Returns the derivatives of the probe's loss, in the model as it is now."""
        return self._read(self._gradient_reader)

    def _read(self, reader: Reader | None) -> xarray.DataTree:
        if reader is None:
            raise RuntimeError("A probe must be prepared before it is read.")
        size = self._options.batch_size
        tree = reader.read_all(self._inputs, batch_size=size, argument="probe")
        units = self._options.units
        return tree if units is None else _only_units(tree, units)

    def fingerprint(self) -> str:
        """Returns a digest of the inputs and targets, which depends only on them."""
        digest = self._inputs.fingerprint()
        if self._targets is None:
            return digest
        whole = hashlib.sha256(digest.encode())
        for leaf in keras.tree.flatten(self._targets):
            array = np.asarray([] if leaf is None else leaf)
            whole.update(repr((array.shape, array.dtype)).encode() + array.tobytes())
        return whole.hexdigest()


def _inputs_and_targets(probe: Any) -> tuple[Any, Any]:
    if not (isinstance(probe, tuple) and len(probe) == 2):
        raise ValueError(
            "`gradients` needs a `probe` of `(x, y)`, inputs and targets, because it "
            f"records the gradients of the loss; got {type_of(probe)}."
        )
    return probe


def _only_units(tree, units: list[int]) -> xarray.DataTree:
    """Selects the traces of some units, and labels them with their numbers."""
    for node in recurrent(tree):
        if max(units) >= node.sizes[v.UNIT]:
            raise ValueError(
                f"`units` must be below {node.sizes[v.UNIT]}, the number of units of "
                f"'{node.path.strip('/')}'; got {max(units)}. Choose `layers` too."
            )
        node.dataset = (
            node.to_dataset().isel({v.UNIT: units}).assign_coords({v.UNIT: units})
        )
    return tree
