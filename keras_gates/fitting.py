"""Whether a batch of inputs fits a model."""

from typing import Any

import keras

from keras_gates.leaves import is_text, values

_TO_NUMBERS = (
    "Make numbers of them first, with a `keras.layers.StringLookup` or "
    "`TextVectorization`."
)


def check(inputs: Any, model: keras.Model, argument: str) -> None:
    """Refuses a batch that does not fit a model, or that no model reads.

    Args:
        inputs: The inputs, as `leaves.to_model` returns them.
        model: The model that they are for.
        argument: The name of the data in error messages.
    """
    given = [leaf for leaf in keras.tree.flatten(inputs) if leaf is not None]
    if not given:
        raise ValueError(f"`{argument}` holds no array: every input is None.")
    for leaf in given:
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
    for spec, leaf, _ in pairs or [(None, leaf, None) for leaf in given]:
        if leaf is not None:
            _check_type(leaf, spec, argument)


def _misfit(shape, spec, model, argument) -> ValueError:
    wanted = ("sample", *("any" if n is None else n for n in spec.shape[1:]))
    single = len(shape) == len(wanted) - 1
    return ValueError(
        f"`{argument}` must have the shape ({', '.join(map(str, wanted))}) for the "
        f"input '{spec.name}' of the model '{model.name}'; got {shape}."
        + (" The axis of samples may be missing." if single else "")
    )


def _check_type(leaf, spec, argument) -> None:
    """Refuses types of numbers, and texts, that Keras cannot hand to the model."""
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
            "the text itself."
        )
    if kind == "c":
        raise ValueError(
            f"`{argument}` must hold real numbers; got {values(leaf).dtype}, whose "
            "imaginary part would be lost. Give real and imaginary part as features."
        )
    if not text and kind not in "biuf":
        raise ValueError(
            f"`{argument}` must hold numbers; got an array of dtype "
            f"{values(leaf).dtype}. Make one with `np.array(..., dtype='float32')`; "
            "pad sequences of different lengths first, with "
            "`keras.utils.pad_sequences`."
        )


def _pairs(inputs, model, argument) -> list[tuple]:
    """Lists the inputs of a model, what is given, and whether it may be left out."""
    try:
        specs = list(model.inputs)
    except (AttributeError, TypeError):
        return []  # A subclassed model does not say what it takes.
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
    # As Keras does: a last axis of 1 may be left out, or be there too much.
    if len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        shape = (*shape, 1)
    elif len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape) == len(wanted) and all(
        want in (None, got) for got, want in zip(shape[1:], wanted[1:], strict=True)
    )
