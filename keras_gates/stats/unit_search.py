"""A search for units that follow a label of the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.checks import array_of, one_of, seed_of, whole_number
from keras_gates.old_names import renamed
from keras_gates.stats.permutation_test import chance, p_values, score
from keras_gates.trees.apply_measure import (
    as_tree,
    called,
    signals_by_layer,
    signals_of,
)
from keras_gates.trees.data_checks import one_moment
from keras_gates.trees.dimensions import BLOCK_BYTES, in_order, pieces
from keras_gates.trees.labels import distinct, labels_of, same_labels

if TYPE_CHECKING:
    import pandas
    import xarray


AUC, CORRELATION = "auc", "correlation"


@renamed(permutations="n_permutations")
def find_units(
    gates: Any,
    labels: Any,
    *,
    measure: str | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> pandas.DataFrame:
    """Finds the units and signals that track a label of the data.

    Labels of type bool, such as "inside quotation marks", "a holiday" or "an anomaly",
    are compared with a unit by the area under the ROC curve (`auc`): the fraction of
    pairs of a true and a false step in which the true step has the higher value. It is
    0.5 by chance, and 0 for a unit that is always lower at true steps. Labels that are
    numbers are compared by Pearson's correlation (`correlation`).

    The type of the labels decides, and not their values: integers that happen to be 0
    and 1 are numbers. If they mean false and true, pass `labels == 1`, or
    `measure="auc"`.

    Many units are tried, and neighbouring steps resemble each other, so some unit
    always seems to follow the labels. The p-value takes both into account: the labels
    are assigned to other samples at random, and `p_value` is the fraction of these
    permutations in which the best of all units scores at least as high as this one.
    Only samples with the same masked steps can be exchanged. If fewer than 100
    permutations are possible, as with one long sequence, the samples are joined end to
    end and the labels are shifted along them, with the end moved to the start. This
    also applies to labels that are the same in every sample, such as the hour of day.

    Args:
        gates: A tree of layers, or the dataset of one, its signals with dimensions
            `(sample, time, unit)`, or `(sample, frame, time, unit)`. Only the signals
            that are in it are tried: `gates[["cell"]]` tries one.
        labels: A label for each step, of shape `(sample, time)`, or `(sample, frame,
            time)`. Or a DataArray with some of these dimensions. NaN if a step has no
            label.
        measure: "auc", for labels that are true and false, or 1 and 0;
            or "correlation". Default: "auc" for labels of type bool, "correlation"
            for numbers.
        n_permutations: The number of permutations or shifts to try; it is limited to
            the number of possible shifts.
        seed: The seed for the choice of the permutations or shifts.

    Returns:
        A table, best first, with the columns `layer`, `signal`, `unit`, `auc` or
        `correlation`, and `p_value`, corrected for the number of units and signals.
        `unit` is the label of the unit, or its position where units have no labels. A
        unit that is constant has an `auc` of 0.5, or a `correlation` of NaN.

    Raises:
        ValueError: If the labels have another shape than a layer, other coordinates,
            or infinite values, are the same at every unmasked step, are other numbers
            than 0 and 1 with `measure="auc"`, or if there is no signal, a dimension
            that is not named above, or two units with the same label.
        TypeError: If `gates` is neither a tree nor a dataset, or the labels are not
            numbers.

    Example:
        >>> import numpy as np
        >>> import xarray
        >>> from keras_gates import stats
        >>> hidden = np.random.default_rng(0).normal(size=(4, 50, 3))
        >>> labels = hidden[..., 1] > 0.5
        >>> layer = xarray.Dataset({"hidden": (("sample", "time", "unit"), hidden)})
        >>> table = stats.find_units(layer, labels)
        >>> table[["unit", "auc"]].values[0]
        array([1., 1.])

    Reference:
        Karpathy, Johnson and Li (2015), arXiv:1506.02078, section 4.1, found such units
        by eye. Westfall and Young (1993), Resampling-based multiple testing, for the
        largest statistic; Harris (2020), Nonsense correlations in neuroscience, for
        the shifts and their limits.
    """
    import pandas

    n_permutations = whole_number("n_permutations", n_permutations, at_least=1)
    if measure is not None:
        one_of("measure", measure, (AUC, CORRELATION))
    seed = seed_of("seed", seed)
    layers = signals_by_layer(as_tree(gates), signals_of, (v.SAMPLE, v.TIME, v.UNIT))
    for layer in layers.values():
        one_moment(layer, "gates")
        distinct(layer, v.UNIT, "gates")
    known = [
        _known(labels, layer, called(path, layer)) for path, layer in layers.items()
    ]
    first = next(iter(layers.values()))
    if len({real.shape for _, real in known}) > 1 or not all(
        same_labels(first, layer, dim)
        for layer in layers.values()
        for dim in (v.SAMPLE, v.FRAME, v.TIME)
    ):
        raise ValueError(
            "`gates` must hold layers with the same samples and steps; got "
            f"{', '.join(map(repr, layers))}. Search them one by one, such as "
            "`gates['lstm']`."
        )
    real = np.logical_and.reduce([steps for _, steps in known])
    given = labels if hasattr(labels, "dtype") else np.asarray(labels)
    truths = given.dtype == bool
    labels = np.where(real, known[0][0], 0)
    different = np.unique(labels[real])
    if len(different) < 2:
        constant = (
            f"{different[0]:g} at all {real.sum():,} unmasked steps"
            if real.any()
            else ""
        )
        raise ValueError(
            "`labels` must differ between steps, or no unit can follow them; they are "
            f"{constant or 'known at no unmasked step'}."
        )
    measure = measure or (AUC if truths else CORRELATION)
    yes_or_no = measure == AUC
    if yes_or_no and set(different) != {0, 1}:
        raise ValueError(
            "`labels` must be true and false, or 1 and 0, for `measure='auc'`; they "
            f"range from {different[0]:g} to {different[-1]:g}. Compare first, such as "
            "`labels > 0`, or use `measure='correlation'`."
        )
    null = chance(labels, real, n_permutations, np.random.default_rng(seed))
    rows, units = [], []
    best: Any = 0.0
    for path, layer in layers.items():
        name = called(path, layer)
        for signal, values in layer.items():
            units.append(pandas.Series(labels_of(values, v.UNIT)))
            for column in _columns(values, real):
                found, permuted = score(column, labels, real, null, yes_or_no)
                rows.append((name, signal, found))
                best = np.fmax(best, np.abs(permuted))
    table = pandas.DataFrame(rows, columns=["layer", "signal", measure])
    table.insert(2, "unit", pandas.concat(units, ignore_index=True))
    strength = table[measure].abs()
    table["p_value"] = p_values(np.asarray(strength), best)
    if yes_or_no:
        table[measure] = (1 + table[measure]) / 2
    order = strength.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _known(
    labels: Any, layer: xarray.Dataset, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the labels of a layer's steps, and whether a step has label and value."""
    import xarray

    signals = list(in_order(layer).values())
    signal = signals[0].isel({v.UNIT: 0}, drop=True)
    if isinstance(labels, xarray.DataArray):
        fits = set(labels.dims) <= set(signal.dims) and all(
            labels.sizes[dim] == signal.sizes[dim]
            and (
                dim not in labels.indexes
                or dim not in signal.indexes
                or labels.indexes[dim].equals(signal.indexes[dim])
            )
            for dim in labels.dims
        )
        labels = labels.drop_vars(labels.coords)
        signal = signal.drop_vars(signal.coords)
        given = labels.broadcast_like(signal).transpose(*signal.dims) if fits else None
        shape: Any = dict(labels.sizes)
        coordinates = ", and the same coordinates"
    else:
        given = array_of("labels", labels)
        fits, shape, coordinates = given.shape == signal.shape, given.shape, ""
    if not fits:
        raise ValueError(
            f"`labels` must have a value for each step of '{name}', the shape "
            f"{dict(signal.sizes)}{coordinates}; got the shape {shape}. Give the "
            "layers that the labels belong to, such as `gates['lstm']`."
        )
    given = np.asarray(given)
    if given.dtype.kind not in "biuf":
        raise TypeError(
            f"`labels` must be true or false, or numbers; got {given.dtype}. Compare "
            "first, such as `labels == 'holiday'`."
        )
    given = given.astype(np.float64)
    if np.isinf(given).any():
        raise ValueError(
            f"`labels` must be finite, or NaN at steps without a label; "
            f"{np.isinf(given).sum():,} are infinite."
        )
    real = np.logical_or.reduce(
        [
            np.concatenate([(~np.isnan(block)).any(-1) for block in pieces(values)])
            for values in signals
        ]
    )
    return given, real & ~np.isnan(given)


def _columns(signal: xarray.DataArray, real: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the values of each unit at unmasked steps, reading a few units at once."""
    number = max(BLOCK_BYTES // (real.size * signal.dtype.itemsize), 1)
    for start in range(0, signal.sizes[v.UNIT], number):
        some = in_order(signal).isel({v.UNIT: slice(start, start + number)})
        for column in some.transpose(v.UNIT, ...).values:
            yield column[real]
