"""One training run of a study: the data, the order of its samples, the clock."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np


class Data(NamedTuple):
    """Arrays to train on and to validate with, or structures of arrays."""

    x: Any
    y: Any
    x_val: Any
    y_val: Any


class Recipe(NamedTuple):
    """What every run of a study shares."""

    data: Data
    epochs: int
    batch_size: int


class Run(NamedTuple):
    """One training run: each list in `history` has a value for every epoch."""

    architecture: str
    seed: int
    parameters: int
    history: dict[str, list[float]]
    seconds: list[float]


def train(
    name: str,
    seed: int,
    model: keras.Model,
    recipe: Recipe,
    report: Callable[[dict], None],
) -> Run:
    """Trains one model and returns its run."""
    data, epochs, batch_size = recipe
    batches = _Batches(data.x, data.y, batch_size, seed)
    watch = _Watch(batches, report)
    result = model.fit(
        batches,
        epochs=epochs,
        # Keras would shuffle the batches once more, by the global random state.
        shuffle=False,
        validation_data=(data.x_val, data.y_val),
        validation_batch_size=batch_size,
        callbacks=[watch],
        verbose=0,
    )
    return Run(name, seed, model.count_params(), result.history, watch.seconds)


class _Batches(keras.utils.PyDataset):
    """The batches of an epoch, in an order that only the seed and the epoch decide.

    Keras's own shuffling draws from the global random state, which a model with more
    random numbers in it leaves elsewhere: no two architectures would see one order.
    """

    def __init__(self, x: Any, y: Any, batch_size: int, seed: int):
        super().__init__()
        self._x, self._y = x, y
        self._batch_size = batch_size
        self._seed = seed
        self.shuffle(0)

    def shuffle(self, epoch: int) -> None:
        """Takes the order of an epoch, counted from 0."""
        generator = np.random.default_rng((self._seed, epoch))
        self._order = generator.permutation(_count(self._x))

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        start = index * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        return rows_of(self._x, chosen), rows_of(self._y, chosen)


class _Watch(keras.callbacks.Callback):
    """Shuffles before each epoch, times its training part and reports its end.

    The epoch number comes from `fit`. Counting the calls of a PyDataset's own hooks
    would not do: Keras also calls them while it builds a model that is not built yet.
    """

    def __init__(self, batches: _Batches, report: Callable[[dict], None]):
        super().__init__()
        self._batches = batches
        self._report = report
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the order of the samples, then starts the clock."""
        self._batches.shuffle(epoch)
        self._start = time.perf_counter()

    def on_test_begin(self, logs=None):
        """Stops the clock where training ends and validation begins."""
        # Steps are queued on a device, and a value read back has waited for them.
        weights = self.model.trainable_variables
        if weights:
            smallest = min(weights, key=lambda weight: math.prod(weight.shape))
            keras.ops.convert_to_numpy(smallest)
        self.seconds.append(time.perf_counter() - self._start)

    def on_epoch_end(self, epoch, logs=None):
        """Passes the epoch's metrics on."""
        self._report(logs or {})


def checked_data(x: Any, y: Any, validation_data: Any) -> Data:
    """Returns the data as NumPy arrays, in structures that fit together."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
        got = kind_of(validation_data)
        if isinstance(validation_data, tuple | list):
            got += f" of length {len(validation_data)}"
        raise ValueError(
            "`validation_data` must be a pair (x_val, y_val), without sample weights; "
            f"got {got}. Keep some of the samples out of `x` and `y` for it."
        )
    pairs = {("x", "y"): (x, y), ("x_val", "y_val"): tuple(validation_data)}
    arrays = []
    for names, pair in pairs.items():
        part = [_arrays(*named) for named in zip(names, pair, strict=True)]
        shapes = [leaf.shape for leaf in keras.tree.flatten(part)]
        if len({shape[0] for shape in shapes}) > 1:
            raise ValueError(
                f"`{names[0]}` and `{names[1]}` must have one row for each sample; got "
                f"the shapes {', '.join(map(str, shapes))}. Cut them to the same "
                "samples."
            )
        arrays += part
    data = Data(*arrays)
    for name, training, validation in (
        ("x", data.x, data.x_val),
        ("y", data.y, data.y_val),
    ):
        ranks = [
            keras.tree.map_structure(np.ndim, part) for part in (training, validation)
        ]
        if ranks[0] != ranks[1]:
            raise ValueError(
                f"`{name}` and its part of `validation_data` must be built alike; "
                f"their numbers of dimensions are {ranks[0]} and {ranks[1]}. Take both "
                "from one array or structure of arrays."
            )
    return data


def _arrays(name: str, data: Any) -> Any:
    """Returns an array, or a structure of arrays, as NumPy arrays."""
    data = keras.tree.lists_to_tuples(data)
    if not keras.tree.flatten(data):
        raise ValueError(f"`{name}` must hold at least one array; got {data!r}.")
    return keras.tree.map_structure(lambda leaf: _array(name, leaf), data)


def _array(name: str, leaf: Any) -> np.ndarray:
    if not hasattr(leaf, "shape"):
        raise TypeError(
            f"`{name}` must be an array, or a dict, list or tuple of arrays; it holds "
            f"{kind_of(leaf)}. Turn it into arrays first, with `np.asarray`, say."
        )
    is_numpy = isinstance(leaf, np.ndarray)
    array = leaf if is_numpy else keras.ops.convert_to_numpy(leaf)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"`{name}` must have at least one sample; got an array of shape "
            f"{array.shape}."
        )
    if not np.issubdtype(array.dtype, np.floating):
        return array
    bad = np.count_nonzero(~np.isfinite(array))
    # A loss may know how to leave out targets that are NaN; no layer leaves out inputs.
    if bad and name.startswith("x"):
        raise ValueError(
            f"`{name}` must hold finite numbers; {bad} of {array.size} are NaN or "
            "infinite. Every run would diverge: fill them or leave their samples out."
        )
    return array.astype(keras.config.floatx(), copy=False)


def _count(data: Any) -> int:
    return len(keras.tree.flatten(data)[0])


def rows_of(data: Any, chosen: Any) -> Any:
    """Returns the chosen samples of every array."""
    return keras.tree.map_structure(lambda leaf: leaf[chosen], data)


def kind_of(value: Any) -> str:
    """Returns what sort of thing this is, for an error."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
