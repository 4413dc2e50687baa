"""Derivatives with respect to the signals of a model, as a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.capturing import own_losses
from keras_gates.capturing.capturing import VERBOSE
from keras_gates.capturing.gradient_program import GradientProgram
from keras_gates.capturing.reader import Reader
from keras_gates.checks import Names, Place, function_of, one_of, whole_number
from keras_gates.models import input_batches
from keras_gates.models.find_layers import Layers, require_call, walk
from keras_gates.stores.writing import new_place

if TYPE_CHECKING:
    import xarray


def gradients(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    of: Callable | None = None,
    layers: Layers = None,
    signals: Names = None,
    batch_size: int = 32,
    store: Place = None,
    mode: str = "w-",
    verbose: int = 0,
) -> xarray.DataTree:
    """Returns the derivative of each sample's loss with respect to every signal.

    It is the total derivative: how much the loss of the sample, or its result of `of`,
    changes if a tiny amount is added to the signal at one time step and unit, including
    all effects on later steps, as with `keras_gates.edits.add`. Within a
    `keras_gates.edit` block, it is that of the edited model. The model does not change,
    as with `capture`.

    It shows whether *learning* reaches back to a step. It is not a measure of memory: a
    unit that holds a value forever by saturation has a vanishing gradient.

    Args:
        model: A model as for `capture`, with a compiled loss or with `of`.
        x: As for `capture`. The batches of a data set may contain the targets.
        y: The targets, an array or one for each output of the model.
        of: Takes the outputs of the model and returns one number for each sample,
            `(batch,)`, in place of the loss, such as `lambda outputs: outputs[:, 0]`.
        layers: As for `capture`.
        signals: As for `capture`.
        batch_size: As for `capture`.
        store: As for `capture`.
        mode: As for `capture`.
        verbose: As for `capture`.

    Returns:
        A tree like that of `capture`: for each recurrent layer, a dataset with the
        derivatives with respect to each signal, of dimensions `(sample, time, unit)`,
        and `inputs`, the derivative with respect to the inputs of the layer, of
        dimensions `(sample, time, feature)`. They are float32, with time in the order
        of the input, and NaN at masked steps. The loss of a sample is the mean over its
        unmasked outputs; with several outputs, it is the weighted sum of these means.
        Each cell of a stack has a node with its derivatives, and the first one also has
        `inputs`.

    Raises:
        ValueError: As by `capture`; if the model has no compiled loss and `of` is not
            given; if both `y` and `of` are given; if `y` has another length than `x`;
            if `of` does not return one number per sample; if a layer is inside a
            `TimeDistributed`; or if derivatives overflow in half precision.
        TypeError: If an argument has the wrong type.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> x = np.ones((3, 5, 1))
        >>> found = keras_gates.gradients(model, x, of=lambda outputs: outputs[:, 0])
        >>> found["lstm/hidden"].shape, found["lstm/inputs"].shape
        ((3, 5, 4), (3, 5, 1))
        >>> found["lstm/hidden"][0, -1].values.tolist()  # The output itself.
        [1.0, 0.0, 0.0, 0.0]
    """
    require_call(model)
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    one_of("verbose", verbose, VERBOSE)
    of = function_of("of", of, "of the outputs")
    own_losses.require_number(model, y, of)
    store = new_place(store, mode)
    if not model.built:
        x = input_batches.build(model, x, batch_size, "x")
    reader = GradientReader(model, y, of, layers=layers, signals=signals)
    options = {"batch_size": batch_size, "verbose": verbose}
    if store is None:
        return reader.read_all(x, **options)
    return reader.write_all(x, store, mode, **options)


class GradientReader(Reader):
    """Reads derivatives, batch by batch.

    Args:
        model: As for `gradients`.
        y: As for `gradients`.
        of: As for `gradients`.
        layers: As for `gradients`.
        signals: As for `gradients`.
    """

    def __init__(self, model, y, of: Callable | None, *, layers, signals):
        super().__init__(model, layers=layers, signals=signals)
        self._y, self._of = y, of
        for path, layer in walk(model):
            if isinstance(layer, keras.layers.TimeDistributed):
                inside = {id(inner) for _, inner in walk(layer)}
                for node in self.nodes:
                    if id(node.layer) in inside:
                        raise ValueError(
                            f"There are no gradients for '{node.path}': it is inside "
                            f"the `TimeDistributed` '{path}', where a row of the batch "
                            "is not a sample. Name the other layers in `layers`."
                        )

    def _batches(self, x, batch_size, argument) -> Iterator[tuple[Any, Any]]:
        for given in own_losses.batches(self.model, x, self._y, self._of, batch_size):
            yield given["x"], given

    def _fast_layers(self, copies, number: int | None) -> list:
        return []

    def _new_program(self) -> GradientProgram:
        each = own_losses.number_of_each(self.model, self._of)
        return GradientProgram(self.model, self.nodes, self.chosen, each)

    def read(self, *args, **kwargs):
        """Yields the derivatives of one batch after the other."""
        for result in super().read(*args, **kwargs):
            for path, arrays in result.items():
                _require_finite(path, arrays, self.nodes)
            yield result

    def tree(
        self, batches: Iterable[dict], number: int | None = None
    ) -> xarray.DataTree:
        """Joins the derivatives of the batches, and labels them."""
        tree = super().tree(batches, number)
        quantity = "loss" if self._of is None else "chosen output"
        tree.attrs["derivative_of"] = quantity
        for node in tree.subtree:
            if node.data_vars:
                node.attrs["derivative_of"] = quantity
            for variable in node.data_vars.values():
                if variable.name != v.MASK:
                    signal = variable.attrs["long_name"]
                    variable.attrs["long_name"] = f"d {quantity} / d {signal}"
        return tree


def _require_finite(path: str, arrays: dict, nodes) -> None:
    """Refuses derivatives that overflow in half precision."""
    half = any(
        node.path == path and node.cell.compute_dtype == "float16" for node in nodes
    )
    if not half:
        return
    for name, values in arrays.items():
        if name == v.MASK:
            continue
        unmasked = arrays.get(v.MASK, np.ones(values.shape[:2], bool))
        if not np.isfinite(np.asarray(values)[np.asarray(unmasked)]).all():
            raise ValueError(
                f"The derivatives with respect to '{path}/{name}' overflow float16, in "
                "which the layer computes. Compute them with a copy of the model in "
                "float32."
            )
