"""Units of an LSTM and a GRU, matched by the distributions of their gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.stats.block_reduction import FOUND, blocks
from keras_gates.stats.moments import correlation, joined, moments_of
from keras_gates.trees.choose_layer import one_layer
from keras_gates.trees.data_checks import check_dimensions, needed
from keras_gates.trees.dimensions import pieces, pieces_together
from keras_gates.trees.labels import distinct, labelled, same_labels

if TYPE_CHECKING:
    import xarray

    from keras_gates.trees.types import Layer

PAIR, KEPT, WRITTEN = "pair", "kept", "written"
BINS = 1000
"""The number of bins of the histograms, from 0 to 1: each is 0.001 wide."""

AT_ONCE = 2**18
"""The number of values that are counted at once, before the counts are added up."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles that describe a distribution, here and in figures."""


def match_units(lstm: Layer, gru: Layer) -> xarray.Dataset:
    """Matches the units of an LSTM with those of a GRU that keep and write alike.

    `forget` is compared with `update`, the fraction of the old state that is kept, and
    `input` with 1 - `update`, the fraction of the candidate that is written. The
    distance of two distributions is Wasserstein's: 0 if they are the same, 1 if one
    gate is always open and the other always closed. Units are matched so that the sum
    of the distances of both pairs is smallest.

    Args:
        lstm: An LSTM layer of what `capture` returns: a DataTree node or a Dataset,
            with `input` and `forget` of dimensions such as `(sample, time, unit)`.
        gru: A GRU layer with `update`. It may have another number of units, and may
            have read another input.

    Returns:
        A Dataset. With the dimension `pair`, "kept" and "written": `distance` between
        the values of all units together, and `quantiles`, of dimensions
        `(pair, cell_type, quantile)`. With the dimension `unit` of the LSTM: `matched`,
        the unit of the GRU, or -1 if there are too few (if the units of the GRU have
        labels, the label, or NaN if there are too few); `matched_distance`, the sum of
        both distances, NaN without a match; and `correlation` in time of `forget` and
        `update` of matched units, which is meaningful only if both layers read the same
        input: NaN if they differ in the number of samples or steps, or in the labels
        of their samples. Distances are computed from histograms of 1,000 bins,
        and are exact to 0.002.

    Raises:
        ValueError: If the layers are not an LSTM and a GRU in this order, lack these
            gates, have no unmasked step or more than one `step` of training, or if a
            gate is not between 0 and 1.
        TypeError: If one of them is not a layer.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> dims = ("sample", "time", "unit")
        >>> lstm = {"forget": (dims, [[[0.9, 0.1]]]), "input": (dims, [[[0.1, 0.9]]])}
        >>> lstm = xarray.Dataset(lstm, attrs={"cell_type": "LSTM"})
        >>> gru = {"update": (dims, [[[0.1, 0.9]]])}
        >>> gru = xarray.Dataset(gru, attrs={"cell_type": "GRU"})
        >>> found = stats.match_units(lstm, gru)
        >>> found["matched"].values
        array([1, 0])
        >>> found["distance"].sel(pair="kept").item()
        0.0

    Reference:
        Chung, Gulcehre, Cho and Bengio (2014), arXiv:1412.3555, section 3, for the
        counterparts; Kuhn (1955), The Hungarian method for the assignment problem.
    """
    import xarray
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    lstm = one_layer(lstm, "lstm", (LSTM.name,), dims=(v.UNIT,))
    gru = one_layer(gru, "gru", (GRU.name,), dims=(v.UNIT,))
    needed(lstm, "lstm", (v.FORGET, v.INPUT))
    needed(gru, "gru", (v.UPDATE,))
    lstm, gru = lstm[[v.FORGET, v.INPUT]], gru[[v.UPDATE]]
    for layer, argument in ((lstm, "lstm"), (gru, "gru")):
        check_dimensions(layer, argument, wanted=(v.UNIT,))
        distinct(layer, v.UNIT, argument)
    update = _counts(gru, v.UPDATE)
    pairs = {
        KEPT: (_counts(lstm, v.FORGET), update),
        # The histogram of 1 - update is that of update, in reverse order.
        WRITTEN: (_counts(lstm, v.INPUT), update[:, ::-1]),
    }
    apart = sum(
        cdist(_cumulative(left), _cumulative(right), "cityblock")
        for left, right in pairs.values()
    )
    apart /= BINS
    rows, columns = linear_sum_assignment(apart)
    matched = np.full(len(apart), -1)
    matched[rows] = columns
    matched_distance = np.full(len(apart), np.nan)
    matched_distance[rows] = apart[rows, columns]
    pooled = {
        name: [_cumulative(side.sum(0, keepdims=True))[0] for side in sides]
        for name, sides in pairs.items()
    }
    return xarray.Dataset(
        {
            "distance": (
                PAIR,
                [np.abs(left - right).sum() / BINS for left, right in pooled.values()],
                {"long_name": "distance of the distributions", "units": "1"},
            ),
            "quantiles": (
                (PAIR, "cell_type", "quantile"),
                [[_quantiles(side) for side in sides] for sides in pooled.values()],
            ),
            "matched": _names(gru, matched),
            "matched_distance": (v.UNIT, matched_distance),
            "correlation": (v.UNIT, _correlation(lstm, gru, matched)),
        },
        coords={
            PAIR: list(pairs),
            "cell_type": [LSTM.name, GRU.name],
            "quantile": list(QUANTILES),
            **({v.UNIT: lstm[v.UNIT]} if labelled(lstm, v.UNIT) else {}),
        },
    )


def _names(gru: xarray.Dataset, matched: np.ndarray) -> Any:
    """Returns the labels of the matched units; their positions, if they have none."""
    import xarray

    attributes = {"long_name": "matched unit of the GRU"}
    if not labelled(gru, v.UNIT):
        return v.UNIT, matched, attributes
    labels = gru[v.UNIT].values[np.maximum(matched, 0)]
    names = xarray.DataArray(labels, dims=v.UNIT, attrs=attributes)
    # Any number may be a label, even -1.
    return names if (matched >= 0).all() else names.where(matched >= 0)


def _counts(layer: xarray.Dataset, gate: str) -> np.ndarray:
    """Returns the histogram of each unit, of shape (unit, BINS)."""
    units = layer.sizes[v.UNIT]
    # Two additional bins: one for the value 1 alone, and one for masked steps.
    width = BINS + 2
    owners = np.arange(units, dtype=np.int32) * width
    counts = np.zeros(units * width, np.int64)
    for piece in pieces(layer[gate]):
        for (block,) in blocks([piece], piece.ndim - 1, AT_ONCE):
            least, largest = (f.reduce(block, axis=None) for f in (np.fmin, np.fmax))
            if least < 0 or largest > 1:
                raise ValueError(
                    f"'{gate}' in {layer.attrs.get('layer', 'the layer')!r} must lie "
                    "between 0 and 1 to be compared as a fraction; its recurrent "
                    "activation, "
                    f"{layer.attrs.get('recurrent_activation', 'unknown')!r}, leaves "
                    "this range."
                )
            bins = block * BINS
            masked = np.isnan(block)
            if masked.any():
                np.copyto(bins, BINS + 1, where=masked)
            bins = bins.astype(np.int32)
            bins += owners
            counts += np.bincount(bins.ravel(), minlength=len(counts))
    of_units = counts.reshape(units, width)
    of_units[:, BINS - 1] += of_units[:, BINS]
    of_units = of_units[:, :BINS]
    if not of_units.sum(axis=1).all():
        raise ValueError(
            f"Every step of '{gate}' in {layer.attrs.get('layer', 'the layer')!r} is "
            "masked, at least for one unit: there is nothing to compare."
        )
    return of_units


def _cumulative(counts: np.ndarray) -> np.ndarray:
    """Returns the share of the values up to the end of each bin."""
    return np.cumsum(counts, axis=-1) / counts.sum(axis=-1, keepdims=True)


def _quantiles(shares: np.ndarray) -> np.ndarray:
    # A rounding error must not exclude a bin that just reaches the share.
    return (np.searchsorted(shares, np.array(QUANTILES) - 1e-12) + 0.5) / BINS


def _correlation(
    lstm: xarray.Dataset, gru: xarray.Dataset, matched: np.ndarray
) -> np.ndarray:
    """Returns the correlation in time of matched units, NaN where there is none."""
    import xarray

    same = all(same_labels(lstm, gru, dim) for dim in (v.SAMPLE, v.FRAME))
    # Without coordinates, which would align the units again by their labels.
    forget, update = (
        signal.drop_vars(signal.coords).transpose(..., v.UNIT)
        for signal in (lstm[v.FORGET], gru[v.UPDATE])
    )
    sizes = [dict(signal.isel({v.UNIT: 0}).sizes) for signal in (forget, update)]
    if not same or sizes[0] != sizes[1]:
        return np.full(len(matched), np.nan)
    update, partners = update.transpose(*forget.dims), np.maximum(matched, 0)
    with np.errstate(all="ignore"):
        parts = [
            moments_of(kept, np.take(updated, partners, axis=1))
            for pair in pieces_together([forget, update])
            for kept, updated in blocks(pair, forget.ndim - 1)
        ]
        found = xarray.DataArray(joined(np.stack(parts)), dims=(FOUND, v.UNIT))
    return np.where(matched >= 0, correlation(found), np.nan)
