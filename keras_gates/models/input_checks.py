"""Checks that a batch of inputs fits a model, with errors that state the reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.models.find_layers import walk
from keras_gates.models.input_arrays import is_text, values

_TO_NUMBERS = (
    "Make numbers of them first, with a `keras.layers.StringLookup` or "
    "`TextVectorization`."
)


def given(x: Any) -> list:
    """Lists the arrays in a structure, without the optional ones that are `None`."""
    return [leaf for leaf in keras.tree.flatten(x) if leaf is not None]


def check(inputs: Any, model: keras.Model, argument: str) -> None:
    """Refuses a batch that does not fit a model, or that no model can read.

    Args:
        inputs: The inputs, as `input_arrays.to_model` returns them.
        model: The model that they are for.
        argument: The name of the data in error messages.
    """
    arrays = given(inputs)
    if not arrays:
        raise ValueError(f"`{argument}` holds no array: every input is None.")
    for leaf in arrays:
        if 0 in tuple(leaf.shape):
            raise ValueError(
                f"`{argument}` is empty: its shape is {tuple(leaf.shape)}."
            )
    pairs = _pairs(inputs, model, argument)
    for spec, leaf, optional in pairs:
        if leaf is None and not optional:
            raise ValueError(
                f"`{argument}` is None for the input '{spec.name}' of the model "
                f"'{model.name}', which is not optional. Give an array, or make the "
                "model with `keras.Input(..., optional=True)`."
            )
        if leaf is not None and not _fits(tuple(leaf.shape), spec.shape):
            raise _misfit(tuple(leaf.shape), spec, model, argument)
    for spec, leaf, _ in pairs or [(None, leaf, None) for leaf in arrays]:
        if leaf is None:
            continue
        _check_type(leaf, spec, argument)
        if len(leaf.shape) <= 2 and _is_missing(leaf) and _is_embedded(spec, model):
            raise _missing(leaf, "an `Embedding` would read it as a number", argument)


def refuse_missing(
    inputs: Any, signals: dict[str, dict], model: keras.Model, argument: str
) -> None:
    """Refuses a batch with NaN that reached a recurrent layer at an unmasked step.

    Args:
        inputs: A batch that `iterate` yielded.
        signals: Node path to the signals of that node.
        model: The model. If its weights hold NaN, they may be the reason.
        argument: The name of `x` in the error message.
    """
    missing = [leaf for leaf in given(inputs) if _is_missing(leaf)]
    if not missing:
        return
    reached = [path for path, arrays in signals.items() if _has_nan(arrays)]
    if not reached:
        return
    if not any(np.isnan(keras.ops.convert_to_numpy(w)).any() for w in model.weights):
        raise _missing(
            missing[0],
            f"it reaches the layer '{reached[0]}' at a step that is not masked",
            argument,
        )


def _missing(leaf, what: str, argument: str) -> ValueError:
    places = np.isnan(np.asarray(keras.ops.convert_to_numpy(leaf)))
    first = tuple(int(index) for index in np.argwhere(places)[0])
    return ValueError(
        f"`{argument}` holds NaN in {places.sum()} places, the first at index {first} "
        f"of its batch, and {what}. Replace the NaN, or mark the steps with a value "
        "that a `Masking` layer leaves out."
    )


def _is_missing(leaf) -> bool:
    held = values(leaf)
    return held.dtype.kind == "f" and bool(np.isnan(held).any())


def _is_embedded(spec, model) -> bool:
    """Returns whether an input may go to an `Embedding`, which hides a NaN."""
    known = [] if spec is None else model.inputs
    others = [tensor for tensor in known if tensor is not spec]
    for _, layer in walk(model):
        if isinstance(layer, keras.layers.Embedding):
            try:
                read = layer.input
            except (AttributeError, ValueError):  # Never called, or more than once.
                return True
            if not any(read is other for other in others):
                return True
    return False


def _has_nan(arrays: dict[str, np.ndarray]) -> bool:
    unmasked = arrays.get(v.MASK, True)
    return any(
        (np.isnan(array).any(axis=-1) & unmasked).any()
        for name, array in arrays.items()
        if name in registry.signals()
    )


@contextlib.contextmanager
def ragged_explained(inputs: Any, argument: str) -> Iterator[None]:
    """Explains the error of a model that fails on ragged inputs."""
    try:
        yield
    except Exception as error:
        kinds = {type(leaf).__name__ for leaf in given(inputs)}
        if "RaggedTensor" not in kinds:
            raise
        raise ValueError(
            f"The model failed on the ragged tensor in `{argument}`, as it does in "
            "`predict`: no recurrent layer of Keras accepts ragged tensors. Give "
            "`ragged.to_tensor()`, and mask the padding with a `Masking` layer or an "
            "`Embedding(..., mask_zero=True)`."
        ) from error


def _misfit(shape, spec, model, argument) -> ValueError:
    wanted = ("sample", *("any" if n is None else n for n in spec.shape[1:]))
    single = len(shape) == len(wanted) - 1
    return ValueError(
        f"`{argument}` must have the shape ({', '.join(map(str, wanted))}) for the "
        f"input '{spec.name}' of the model '{model.name}'; got {shape}."
        + (" The axis of samples may be missing." if single else "")
    )


def _check_type(leaf, spec, argument) -> None:
    """Refuses types of numbers, and strings, that Keras cannot pass to the model."""
    kind = values(leaf).dtype.kind
    text = is_text(leaf)
    where = "" if spec is None else f" for the input '{spec.name}'"
    wants_text = spec is not None and spec.dtype == "string"
    if text and keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"`{argument}` holds strings, which models read on TensorFlow only. "
            f"{_TO_NUMBERS}"
        )
    if text and spec is not None and not wants_text:
        raise ValueError(
            f"`{argument}` must hold {spec.dtype}{where}; got strings. {_TO_NUMBERS}"
        )
    if wants_text and not text:
        raise ValueError(
            f"`{argument}` must hold strings{where}; got {values(leaf).dtype}. Give "
            "the strings themselves."
        )
    if kind == "c":
        raise ValueError(
            f"`{argument}` must hold real numbers; got {values(leaf).dtype}, whose "
            "imaginary part would be lost. Give the real and imaginary parts as "
            "features."
        )
    if not text and kind not in "biuf":
        raise ValueError(
            f"`{argument}` must hold numbers; got an array of dtype "
            f"{values(leaf).dtype}. Make one with `np.array(..., dtype='float32')`; "
            "pad sequences of different lengths first, with "
            "`keras.utils.pad_sequences`."
        )


def _pairs(inputs, model, argument) -> list[tuple]:
    """Lists each input of a model, its array, and whether the input is optional."""
    try:
        specs = list(model.inputs)
    except (AttributeError, TypeError):
        return []  # A subclassed model does not state its inputs.
    leaves = keras.tree.flatten(inputs)
    if isinstance(inputs, dict) and all(spec.name in inputs for spec in specs):
        leaves = [inputs[spec.name] for spec in specs]
    if len(specs) != len(leaves):
        names = ", ".join(f"'{spec.name}'" for spec in specs)
        raise ValueError(
            f"`{argument}` must hold {len(specs)} arrays, for the inputs {names} of "
            f"the model '{model.name}'; got {len(leaves)}."
        )
    further = keras.tree.flatten(getattr(model, "input_spec", None))
    if len(further) != len(specs):
        further = [None] * len(specs)
    optional = [getattr(one, "optional", False) for one in further]
    return list(zip(specs, leaves, optional, strict=True))


def _fits(shape, wanted) -> bool:
    # As in Keras, a last axis of 1 may be missing or superfluous.
    if len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        shape = (*shape, 1)
    elif len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape) == len(wanted) and all(
        want in (None, got) for got, want in zip(shape[1:], wanted[1:], strict=True)
    )
