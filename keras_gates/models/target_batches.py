"""The targets of a model, in the same batches as its inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import keras

from keras_gates.models import input_batches
from keras_gates.models.input_arrays import samples, some_samples, to_model
from keras_gates.models.input_checks import given


def with_targets(
    x: Any, y: Any, model: keras.Model, batch_size: int
) -> Iterator[tuple[Any, Any]]:
    """Yields the inputs and the targets batch by batch.

    Args:
        x: As for `input_batches.iterate`.
        y: An array for each output of the model, or `None` for those that come with
            the batches of `x`.
        model: The model that they are for.
        batch_size: Number of samples in a batch of arrays.

    Raises:
        ValueError: If there are no targets, or if their number is different.
    """
    if y is None:
        yield from _of_data_set(x, model, batch_size)
        return
    sizes = sorted({samples(leaf) for leaf in given(y)})
    if len(sizes) != 1:
        raise ValueError(
            f"The arrays in `y` must have the same number of samples; got {sizes}."
        )
    if input_batches.is_arrays(x) and sizes[0] != samples(given(x)[0]):
        raise _other_length(sizes[0], samples(given(x)[0]))
    start = 0
    for inputs in input_batches.iterate(x, model, batch_size, "x"):
        stop = start + input_batches.number_of_samples(inputs)
        if stop > sizes[0]:
            raise _other_length(sizes[0], f"{stop} or more")
        yield inputs, _some(y, start, stop)
        start = stop
    if start != sizes[0]:
        raise _other_length(sizes[0], start)


def _some(y: Any, start: int, stop: int) -> Any:
    def part(leaf):
        return leaf if leaf is None else to_model(some_samples(leaf, start, stop))

    return keras.tree.map_structure(part, y)


def _other_length(targets: int, inputs: Any) -> ValueError:
    return ValueError(
        f"`y` must have a target for each sample of `x`; got {targets} targets for "
        f"{inputs} samples."
    )


def _of_data_set(x: Any, model, batch_size: int) -> Iterator[tuple[Any, Any]]:
    targets: deque = deque()

    def inputs():
        for batch in input_batches.raw(x, "x"):
            batch = tuple(batch) if isinstance(batch, list) else batch
            _, own, _ = keras.utils.unpack_x_y_sample_weight(batch)
            if own is None:
                raise ValueError(
                    "`y` must be given, as the batches of `x` have no targets. Or "
                    "choose a number of the outputs with `of`, such as "
                    "`of=lambda outputs: outputs[:, 0]`."
                )
            targets.append(own)
            yield batch

    if input_batches.is_arrays(x):
        raise ValueError(
            "`y` must be given, for the loss of each sample. Or choose a number of the "
            "outputs with `of`, such as `of=lambda outputs: outputs[:, 0]`."
        )
    for batch in input_batches.iterate(inputs(), model, batch_size, "x"):
        yield (
            batch,
            keras.tree.map_structure(
                lambda leaf: leaf if leaf is None else to_model(leaf), targets.popleft()
            ),
        )
