"""The inputs of a model, in batches, from any form of data.

Keras's own adapters of data are not public, and `predict`, which uses them, keeps the
outputs of all batches. So the forms of data that `predict` accepts are read here.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_gates.checks import whole_number
from keras_gates.models.input_arrays import (
    is_array,
    samples,
    sliceable,
    some_samples,
    to_model,
)
from keras_gates.models.input_checks import check, given
from keras_gates.models.variable_copies import finish_building

MANY_BATCHES, MANY_BYTES = 10_000, 1e9
"""The number from which on data of unknown length are suspected to be endless."""


def iterate(
    x: Any, model: keras.Model, batch_size: int, argument: str
) -> Generator[Any, None, None]:
    """Yields the inputs batch by batch, checked against the model.

    Args:
        x: Arrays, in a list or a dict or alone; or a data set that yields batches.
        model: The model that they are for.
        batch_size: Number of samples in a batch of arrays.
        argument: The name of `x` in error messages.

    Yields:
        The inputs of the model, as `input_arrays.to_model` returns them, `None` for an
        optional input that is not given; targets and weights are dropped.

    Raises:
        ValueError: If there is no batch, if the batches never end, or if a batch is
            empty, does not fit the model, or holds values that no model can read.
    """
    empty = True
    for batch in _batches(x, batch_size, argument):
        empty = False
        for leaf in given(batch):
            if np.ma.is_masked(leaf):
                raise ValueError(
                    f"`{argument}` is a masked array of NumPy, whose mask Keras would "
                    "ignore. Give its values, with `.filled(...)`, and use a `Masking` "
                    "layer to leave the steps out."
                )
        inputs = keras.tree.map_structure(
            lambda leaf: None if leaf is None else to_model(leaf), batch
        )
        check(inputs, model, argument)
        yield inputs
    if empty:
        once = isinstance(x, Iterator)
        raise ValueError(
            f"`{argument}` is empty: it has no batch to run."
            + (" A generator can be read only once; make a new one." if once else "")
        )


def number_of_batches(x: Any, batch_size: int) -> int | None:
    """Returns the number of batches, or `None` if it is not known."""
    if is_arrays(x):
        return -(-max(map(samples, given(x))) // batch_size)
    if isinstance(x, keras.utils.PyDataset):
        return _length(x)
    try:
        return len(x)
    except (TypeError, NotImplementedError):
        return None


def number_of_samples(batch: Any) -> int:
    """Returns the number of samples in a batch that `iterate` yielded."""
    return max(map(samples, given(batch)))


def is_readable_again(x: Any) -> bool:
    """Returns whether `x` can be read more than once."""
    return not isinstance(x, Iterator)


def build(model: keras.Model, x: Any, batch_size: int, argument: str) -> Any:
    """Creates the weights of a model from its first batch, as `predict` does.

    Returns:
        `x`, including that batch.
    """
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    first = x
    if isinstance(x, Iterator):
        taken = list(itertools.islice(x, 1))
        first, x = iter(taken), itertools.chain(taken, x)
    batch = next(iterate(first, model, batch_size, argument))
    finish_building(model, batch)
    return x


class Kept:
    """The batches of a data set, kept so that they are the same at each reading.

    A data set may shuffle its samples, or change them at random at each reading.

    Args:
        x: As for `iterate`.
        model: As for `iterate`.
        batch_size: As for `iterate`.
        argument: As for `iterate`.
    """

    def __init__(self, x: Any, model: keras.Model, batch_size: int, argument: str):
        so_far = SoFar(number_of_batches(x, batch_size), argument)
        self._batches = []
        for batch in iterate(x, model, batch_size, argument):
            so_far.add(batch)
            self._batches.append(batch)

    def __len__(self):
        return len(self._batches)

    def __iter__(self):
        return ((batch,) for batch in self._batches)

    def fingerprint(self) -> str:
        """Returns a digest, which is the same for the same inputs."""
        digest = hashlib.sha256()
        for leaf in keras.tree.flatten(self._batches):
            if not isinstance(leaf, np.ndarray):
                leaf = keras.ops.convert_to_numpy([] if leaf is None else leaf)
            leaf = leaf.astype("U") if leaf.dtype == object else leaf
            digest.update(repr((leaf.shape, leaf.dtype)).encode())
            digest.update(leaf.tobytes())
        return digest.hexdigest()


class SoFar:
    """Counts the batches of data of unknown length, and warns if they may be endless.

    Args:
        total: The number of batches, or `None` if it is not known.
        argument: The name of the data in the warning.
    """

    def __init__(self, total: int | None, argument: str):
        self._known, self._argument = total is not None, argument
        self._batches = self._bytes = 0

    def add(self, batch: Any) -> None:
        """Counts the arrays of one more batch."""
        self._batches += 1
        leaves = keras.tree.flatten(batch)
        self._bytes += sum(getattr(leaf, "nbytes", 0) for leaf in leaves)
        much = self._batches >= MANY_BATCHES or self._bytes >= MANY_BYTES
        if much and not self._known:
            self._known = True  # Once is enough.
            warnings.warn(
                f"`{self._argument}` has yielded {self._batches} batches so far, with "
                f"{self._bytes / 1e9:.1f} GB of arrays, and does not state how many "
                "there are. If it never ends, interrupt the run, and limit the number "
                "with `itertools.islice` or `.take`.",
                stacklevel=4,
            )


# The forms of data.


def is_arrays(x: Any) -> bool:
    """Returns whether `x` is made of arrays, and is not a data set of batches."""
    if isinstance(x, keras.utils.PyDataset):
        return False
    leaves = given(x)
    return bool(leaves) and all(map(is_array, leaves))


def _batches(x, batch_size, argument):
    if is_arrays(x):
        return _slices(x, batch_size, argument)
    return (_inputs_of(batch, argument) for batch in raw(x, argument))


def raw(x: Any, argument: str) -> Iterator[Any]:
    """Returns the batches of a data set as they are, with targets and weights.

    Args:
        x: The data set.
        argument: The name of `x` in error messages.

    Raises:
        ValueError: If it is not a data set, or never ends.
    """
    if isinstance(x, keras.utils.PyDataset):
        return _of_py_dataset(x, argument)
    if not hasattr(x, "__iter__") or isinstance(x, (str, bytes, list, tuple, Mapping)):
        raise ValueError(
            f"`{argument}` must be an array, a list or dict of arrays, or a data set "
            f"that yields batches; got {type(x).__name__}. {_advice(x)}"
        )
    if _has_no_end(x):
        raise _endless(argument, "`.take(n)`" if _is_tf(x) else "`itertools.islice`")
    return iter(x)


def _advice(x) -> str:
    kinds = {cls.__name__ for cls in type(x).__mro__}
    if isinstance(x, (list, tuple)):
        return (
            "A list has one array for each input of the model; make a single array "
            "with `np.array`."
        )
    if isinstance(x, Mapping):
        return "Make a dict of arrays, with the names of the model's inputs."
    if "Dataset" in kinds:
        return "Wrap it in a `torch.utils.data.DataLoader`."
    return "Make an array with `np.array`."


def _slices(x, batch_size, argument):
    sizes = sorted({samples(leaf) for leaf in given(x)})
    if len(sizes) != 1:
        raise ValueError(
            f"The arrays in `{argument}` must have the same number of samples; "
            f"got {sizes}."
        )
    # No samples give one empty batch, whose shape `check` reports.
    x = keras.tree.map_structure(sliceable, x)
    for start in range(0, max(sizes[0], 1), batch_size):
        yield keras.tree.map_structure(
            lambda leaf, start=start: (
                leaf if leaf is None else some_samples(leaf, start, start + batch_size)
            ),
            x,
        )


def _of_py_dataset(x, argument):
    number = _length(x)
    if number is None:
        raise _endless(argument, "a `num_batches`")
    # As in `predict`: some data sets open their files there.
    x.on_epoch_begin()
    for index in range(number):
        yield x[index]
    x.on_epoch_end()


def _length(x: keras.utils.PyDataset) -> int | None:
    try:
        return x.num_batches
    except NotImplementedError:
        return None


def _is_tf(x) -> bool:
    return hasattr(x, "element_spec") and hasattr(x, "cardinality")


def _has_no_end(x) -> bool:
    """Returns whether a data set is known to be endless."""
    if _is_tf(x):
        # For a distributed data set of TensorFlow, it is a number.
        number = x.cardinality() if callable(x.cardinality) else x.cardinality
        return int(number) == -1
    if isinstance(x, itertools.repeat):
        try:
            x.__length_hint__()
        except TypeError:
            return True
    return isinstance(x, (itertools.cycle, itertools.count))


def _endless(argument, limit) -> ValueError:
    return ValueError(
        f"`{argument}` must end, but this data set never does. Limit its number of "
        f"batches with {limit}."
    )


def _inputs_of(batch, argument):
    """Returns the inputs of a batch, without its targets and weights."""
    if isinstance(batch, list):  # A PyTorch `DataLoader` yields lists for tuples.
        batch = tuple(batch)
    if isinstance(batch, tuple) and not 1 <= len(batch) <= 3:
        raise ValueError(
            f"A batch of `{argument}` must be the inputs, `(inputs,)`, `(inputs, "
            "targets)` or `(inputs, targets, weights)`; got a tuple of "
            f"{len(batch)}. If the model has several inputs, put them into a tuple of "
            "their own."
        )
    inputs = keras.utils.unpack_x_y_sample_weight(batch)[0]
    for leaf in given(inputs):
        if not (is_array(leaf) or type(leaf).__name__ == "PerReplica"):
            raise ValueError(
                f"A batch of `{argument}` must be an array, or a list or dict of "
                f"arrays, with an axis of samples; got {type(leaf).__name__}. A data "
                "set yields batches, not samples."
            )
    return inputs
