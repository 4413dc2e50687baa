"""The inputs of a model, in batches, whatever form they come in."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


def iterate(
    x: Any, model: keras.Model, batch_size: int, argument: str
) -> Iterator[Any]:
    """Yields the inputs of one batch after the other, checked against the model.

    Args:
        x: Arrays, in a list or a dict or alone; or a data set that yields batches.
        model: The model that they are for.
        batch_size: Number of samples in a batch of arrays.
        argument: The name of `x` in error messages.

    Yields:
        The inputs of the model, as NumPy arrays; targets and weights are dropped.

    Raises:
        ValueError: If a batch is empty, does not fit the model, or holds NaN.
    """
    for batch in _batches(x, batch_size, argument):
        arrays = keras.tree.map_structure(_to_numpy, batch)
        _check(arrays, model, argument)
        yield arrays


def number_of_batches(x: Any, batch_size: int) -> int | None:
    """Returns how many batches there will be, or `None` where nobody knows."""
    if _is_arrays(x):
        return -(-len(keras.tree.flatten(x)[0]) // batch_size)
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches
    try:
        return len(x)
    except TypeError:
        return None


def _batches(x, batch_size, argument):
    if _is_arrays(x):
        sizes = {len(array) for array in keras.tree.flatten(x)}
        if len(sizes) != 1:
            raise ValueError(
                f"The arrays in `{argument}` must have the same number of samples; "
                f"got {sorted(sizes)}."
            )
        for start in range(0, max(sizes), batch_size):
            yield keras.tree.map_structure(
                lambda array, start=start: array[start : start + batch_size], x
            )
        return
    if isinstance(x, keras.utils.PyDataset):
        batches = (x[index] for index in range(x.num_batches))
    elif hasattr(x, "__iter__") and not isinstance(x, (str, list, tuple, dict)):
        batches = x
    else:
        raise ValueError(
            f"`{argument}` must be an array, a list or dict of arrays, or a data set "
            f"that yields batches; got {type(x).__name__}."
        )
    for batch in batches:
        # A DataLoader yields lists where the others yield (inputs, targets) tuples.
        loaded = type(x).__module__.startswith("torch.") and isinstance(batch, list)
        yield keras.utils.unpack_x_y_sample_weight(tuple(batch) if loaded else batch)[0]


def _is_arrays(x) -> bool:
    leaves = keras.tree.flatten(x)
    return bool(leaves) and all(getattr(leaf, "shape", None) for leaf in leaves)


def _to_numpy(leaf) -> np.ndarray:
    array = np.asarray(leaf.detach().cpu() if hasattr(leaf, "detach") else leaf)
    # As `predict` does: floating point inputs come in Keras's default precision.
    return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array


def _check(arrays, model, argument) -> None:
    leaves = keras.tree.flatten(arrays)
    for leaf in leaves:
        if not leaf.size:
            raise ValueError(f"`{argument}` is empty: its shape is {leaf.shape}.")
    for spec, leaf in _pairs(arrays, leaves, model, argument):
        if not _fits(leaf.shape, spec.shape):
            wanted = ("sample", *("any" if n is None else n for n in spec.shape[1:]))
            raise ValueError(
                f"`{argument}` must have the shape ({', '.join(map(str, wanted))}) for "
                f"the input '{spec.name}' of the model '{model.name}'; got "
                f"{leaf.shape}."
            )
    for leaf in leaves:
        missing = np.isnan(leaf) if leaf.dtype.kind == "f" else np.zeros(0, bool)
        if missing.any():
            first = tuple(int(index) for index in np.argwhere(missing)[0])
            raise ValueError(
                f"`{argument}` holds NaN in {missing.sum()} places, the first at index "
                f"{first} of its batch. Fill them in, or mark the steps with a value "
                "that a `Masking` layer leaves out."
            )


def _pairs(arrays, leaves, model, argument):
    """Pairs the inputs of a model with what is given for them."""
    try:
        specs = list(model.inputs)
    except (AttributeError, TypeError):
        return []  # A subclassed model does not say what it takes.
    if isinstance(arrays, dict) and all(spec.name in arrays for spec in specs):
        return [(spec, arrays[spec.name]) for spec in specs]
    if len(specs) != len(leaves):
        names = ", ".join(f"'{spec.name}'" for spec in specs)
        raise ValueError(
            f"`{argument}` must hold {len(specs)} arrays, for the inputs {names} of "
            f"the model '{model.name}'; got {len(leaves)}."
        )
    return zip(specs, leaves, strict=True)


def _fits(shape, wanted) -> bool:
    # As Keras does: a last axis of 1 may be left out, or be there too much.
    if len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        shape = (*shape, 1)
    elif len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape) == len(wanted) and all(
        want in (None, got) for got, want in zip(shape[1:], wanted[1:], strict=True)
    )
