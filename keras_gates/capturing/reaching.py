"""`reach`: measures memory by swapping states between samples."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gates import edits
from keras_gates import vocabulary as v
from keras_gates.capturing.capturing import VERBOSE
from keras_gates.capturing.reader import Reader
from keras_gates.capturing.retention import Reach, Swapped, donors, measured
from keras_gates.checks import Positions, array_of, one_of, seed_of, whole_number
from keras_gates.models import input_batches
from keras_gates.models.chosen_places import chosen_places
from keras_gates.models.editing import edit
from keras_gates.models.find_layers import Layers, Node, require_call
from keras_gates.trees.tree import attributes_of, grow, tree_attributes

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray

STEPS = 5
"""The number of steps at which memory is measured by default."""


def reach(
    model: keras.Model,
    x: Any,
    *,
    layers: Layers = None,
    groups: npt.ArrayLike | None = None,
    time: Positions = None,
    seed: int = 0,
    batch_size: int = 32,
    verbose: int = 0,
) -> xarray.DataTree:
    """Measures how long the layers of a model remember, by an experiment.

    After a step, the whole state of a layer in each sample is replaced with that of
    another sample, and the inputs stay the same. The *retention* at a lag is the part
    of the difference that remains after this number of steps: 1 if all of it remains,
    and 0 if the layer has forgotten it. The *reach* is the number of steps until the
    retention falls below 1/e. The *share* is the fraction of the variance of the
    model's output that goes through the state at that step.

    The time scale of a forget gate describes how long the path through the cell keeps a
    value. The path through the recurrent weights may keep more, and a vanishing
    gradient does not mean that nothing is kept. `reach` measures what is kept.

    Args:
        model: A model as for `capture`, not stateful.
        x: As for `capture`; all of it is held in memory. Some 200 samples are enough.
        layers: As for `capture`.
        groups: The group of each sample, an array of shape `(sample,)`, or
            `(sample, time)` for a group at each step. A state is replaced with that of
            a sample of the same group. Pass groups if later inputs depend on earlier
            ones, for example the number of marks so far in an adding problem. Default:
            all samples are alike.
        time: The steps after which to measure: numbers, in the order of the input.
            Default: five, spread over the sequence.
        seed: The seed for the choice of samples and for the intervals.
        batch_size: As for `capture`.
        verbose: 1 shows a progress bar for each run of the model.

    Returns:
        A tree with a dataset for each recurrent layer: `retention` `(time, lag)`, lags
        in the direction in which the layer reads; `reach` `(time,)` in steps, infinite
        if the retention does not fall below 1/e before the sequence ends, with
        `reach_low` and `reach_high`, an interval of 95 % over pairs of samples; and
        `share` `(time,)`, with `share_low` and `share_high`.

    Raises:
        ValueError: As by `capture`; if the model is stateful, if there are fewer than
            two samples that are alike, or if `groups` has another shape.
        TypeError: If an argument has the wrong type.

    Warns:
        UserWarning: If the whole interval of a share is above 1: later inputs are then
            not independent of the state, and `groups` must state which samples are
            alike.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((30, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> x = np.random.default_rng(0).normal(size=(50, 30, 1))
        >>> found = keras_gates.reach(model, x, time=[5, 10])
        >>> found["lstm/retention"].dims, found["lstm/retention"].shape
        (('time', 'lag'), (2, 25))
        >>> bool((found["lstm/reach"] < 10).all())
        True

    Reference:
        Chien and Honey (2021), Mapping the timescale organization of neural language
        models, ICLR; Jansen (1999), Analysis of variance designs for model output,
        Computer Physics Communications 117, for the share.
    """
    require_call(model)
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    one_of("verbose", verbose, VERBOSE)
    rng = np.random.default_rng(seed_of("seed", seed))
    if not model.built:
        x = input_batches.build(model, x, batch_size, "x")
    if not input_batches.is_arrays(x):
        x = input_batches.Kept(x, model, batch_size, "x")
    reader = Reader(model, layers=layers)
    options = {"batch_size": batch_size, "verbose": verbose}
    tree = reader.read_all(x, **options)
    nodes = {node.path: node for node in reader.nodes}
    _require_one_call(tree, nodes)
    for node in reader.nodes:
        if node.layer.stateful:
            raise ValueError(
                f"The memory of '{node.path}' cannot be measured: it is stateful, so "
                "a batch continues the samples of the previous one. Use a copy of the "
                "model with `stateful=False`."
            )
    experiment = _Experiment(model, x, options)
    datasets = {}
    for path, node in nodes.items():
        layer = tree[path].to_dataset()
        steps = _steps(time, layer.sizes[v.TIME])
        alike = _groups(groups, layer.sizes[v.SAMPLE], layer.sizes[v.TIME])
        found = {
            step: measured(experiment.swap(node, layer, step, alike[:, step], rng), rng)
            for step in steps
        }
        datasets[path] = _labelled(found, attributes_of(node))
        _warn_of_shares(path, found)
    attributes = {**tree_attributes(model.name), "layers": list(datasets)}
    return grow(datasets, attributes)


class _Experiment:
    """Runs a model with swapped states.

    Args:
        model: The model.
        x: Arrays, or batches that can be read more than once.
        options: The options of each run.
    """

    def __init__(self, model, x: Any, options: dict):
        self._model, self._x, self._options = model, x, options
        self._outputs = self._predicted()
        self._readers: dict[str, Reader] = {}

    def _predicted(self) -> np.ndarray:
        options = {"verbose": self._options["verbose"]}
        if isinstance(self._x, input_batches.Kept):
            outputs = self._model.predict(iter(self._x), steps=len(self._x), **options)
        else:
            options["batch_size"] = self._options["batch_size"]
            outputs = self._model.predict(self._x, **options)
        flat = [
            np.asarray(one, "float64").reshape(len(one), -1)
            for one in keras.tree.flatten(outputs)
        ]
        return np.concatenate(flat, axis=1)

    def swap(self, node: Node, layer: Any, step: int, groups, rng) -> Swapped:
        """Swaps the state of a layer after a step, and returns the effects."""
        states = {name: layer[name].values for name in node.known_kind.states}
        hidden = layer[node.known_kind.signals[-1]].values
        unmasked = ~np.isnan(hidden).any(axis=-1)
        # A masked step has no state of its own.
        groups = np.where(
            unmasked[:, step], np.unique(groups, return_inverse=True)[1], -1
        )
        partner = donors(groups, rng)
        pairs = np.flatnonzero((partner != np.arange(len(partner))) & (groups >= 0))
        if not len(pairs):
            raise ValueError(
                f"The memory of '{node.path}' cannot be measured after step {step}: no "
                "two samples are alike there. Give more samples, or larger `groups`."
            )
        swaps = {
            f"{node.path}/{name}": edits.swap(
                np.nan_to_num(values[partner, step][:, None]), time=[step]
            )
            for name, values in states.items()
        }
        with edit(self._model, swaps):
            if node.path not in self._readers:
                self._readers[node.path] = Reader(
                    self._model,
                    layers=[node.path],
                    signals=[node.known_kind.signals[-1]],
                )
            reader = self._readers[node.path]
            again = reader.read_all(self._x, **self._options)
            outputs = self._predicted()
        now = again[node.path].to_dataset()[node.known_kind.signals[-1]].values
        backward = node.layer.go_backwards
        later = slice(step, None, -1) if backward else slice(step, None)
        own, other, new = (
            array[:, later].astype("float64")
            for array in (hidden[pairs], hidden[partner[pairs]], now[pairs])
        )
        apart = np.sum((other - own) ** 2, axis=-1)
        moved = np.where(np.isnan(apart), np.nan, np.sum((new - own) ** 2, axis=-1))
        own, other, new = (
            array.astype("float64")
            for array in (
                self._outputs[pairs],
                self._outputs[partner[pairs]],
                outputs[pairs],
            )
        )
        distances = np.stack(
            [np.sum((new - own) ** 2, axis=1), np.sum((other - own) ** 2, axis=1)],
            axis=1,
        )
        return Swapped(moved, apart, distances)


def _require_one_call(tree: Any, nodes: dict[str, Node]) -> None:
    again = [path for path in tree.attrs["layers"] if path not in nodes]
    if again:
        raise ValueError(
            f"The memory of '{v.without_call(again[0])}' cannot be measured: it is "
            "called several times, or is inside another layer. Name the other layers "
            "in `layers`."
        )


def _steps(time: Any, size: int) -> list[int]:
    if time is None:
        if size < 2:
            raise ValueError("`x` must have at least two time steps; got one.")
        number = min(STEPS, size - 1)
        spread = np.linspace(0, size, number + 2)[1:-1]
        return sorted({int(step) for step in spread})
    return sorted(set(chosen_places("time", time, size)))


def _groups(groups: Any, samples: int, steps: int) -> np.ndarray:
    """Returns the group of each sample at each step, `(sample, time)`."""
    if groups is None:
        return np.zeros((samples, steps), int)
    array = array_of("groups", groups)
    if array.shape == (samples,):
        array = np.broadcast_to(array[:, None], (samples, steps))
    if array.shape != (samples, steps):
        raise ValueError(
            f"`groups` must have the shape ({samples},) or ({samples}, {steps}), for "
            f"samples, or samples and time steps; got {array.shape}."
        )
    return array


def _labelled(found: dict[int, Reach], attributes: dict) -> Any:
    import xarray

    steps = list(found)
    longest = max(len(one.retention) for one in found.values())
    retention = np.full((len(steps), longest), np.nan)
    for row, one in enumerate(found.values()):
        retention[row, : len(one.retention)] = one.retention
    data: dict[str, Any] = {
        "retention": (
            (v.TIME, v.LAG),
            retention,
            {"long_name": "retention (1: all of the state is there)"},
        )
    }
    names = {"reach": "reach in steps", "share": "share of the output's variance"}
    for name, words in names.items():
        for column, end in enumerate(("", "_low", "_high")):
            values = [getattr(one, name)[column] for one in found.values()]
            data[name + end] = (v.TIME, values, {"long_name": words})
    coordinates = {
        v.TIME: (v.TIME, steps, {"long_name": "step after which the state is swapped"}),
        v.LAG: (v.LAG, np.arange(longest), {"long_name": "steps after the swap"}),
    }
    return xarray.Dataset(data, coordinates, attributes)


def _warn_of_shares(path: str, found: dict[int, Reach]) -> None:
    # Only if the lower end of the interval is over 1.
    over = {step: one.share for step, one in found.items() if one.share[1] > 1.0}
    if over:
        step, (share, low, high) = next(iter(over.items()))
        warnings.warn(
            f"The share of '{path}' after step {step} is {share:.2f} ({low:.2f} to "
            f"{high:.2f}), which is over 1: the state is not independent of the later "
            "inputs. Give `groups`, so that states are swapped only between samples "
            "that are alike.",
            stacklevel=3,
        )
