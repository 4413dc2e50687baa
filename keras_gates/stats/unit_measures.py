"""Measures of a unit that combine several of its signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.checks import real_number, share_of, threshold
from keras_gates.old_names import renamed
from keras_gates.stats import dead
from keras_gates.stats.block_reduction import FOUND, reduce_blocks
from keras_gates.stats.moments import correlation, extremes, moments
from keras_gates.stats.written_weights import weights_reached
from keras_gates.trees.apply_measure import gates_of, of_each_layer
from keras_gates.trees.data_checks import check_dimensions
from keras_gates.trees.dimensions import as_read
from keras_gates.trees.layer_kind import kind_of_layer

if TYPE_CHECKING:
    import xarray

    from keras_gates.trees.types import Gates

SAMPLES = 2**20
"""The number of elements of the samples whose weights are summed at once."""


@renamed(deviation="min_std", shut="lower")
def dead_units(
    gates: Gates, *, min_std: float = dead.CONSTANT, lower: float = dead.CLOSED
) -> Gates:
    """Finds dead units, which have a constant output or a gate that never opens.

    Args:
        gates: A tree or the dataset of one layer, with `hidden`, and for an LSTM also
            `input` and `output`, of dimensions such as `(sample, time, unit)`.
        min_std: The standard deviation of `hidden` below which it counts as constant.
        lower: The value below which a gate counts as closed.

    Returns:
        The same kind of object, with booleans of dimensions `(unit)`, and `step` where
        there was one: `constant` (`hidden` hardly moves, over at least two unmasked
        steps); for an LSTM `never_shown` (the `output` gate is always closed) and
        `never_written` (the `input` gate is always closed); and `dead`, if at least one
        of them is true. All are false where every step is masked. Results that need a
        missing signal are omitted.

    Raises:
        ValueError: If no layer has one of these signals.
        TypeError: If `gates` is neither a tree nor a dataset.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> hidden = (("sample", "time", "unit"), [[[0.2, 0.1], [0.2, 0.9]]])
        >>> stats.dead_units(xarray.Dataset({"hidden": hidden}))["dead"].values
        array([ True, False])
    """
    min_std = real_number("min_std", min_std, at_least=0)
    lower = threshold("lower", lower)

    def measure(layer: xarray.Dataset) -> dict[str, xarray.DataArray]:
        holds: dict[str, xarray.DataArray] = {}
        for name, signal in layer.items():
            if name == v.HIDDEN:
                count, _, squares = moments(signal)
                spread = (squares / count.where(count > 0)) ** 0.5
                holds[v.HIDDEN] = (spread < min_std) & (count > 1)
            else:
                _, largest = extremes(signal)
                holds[str(name)] = largest < lower
        return dead.conditions(kind_of_layer(layer), holds)

    return of_each_layer(gates, lambda kind: [*dead.ways(kind).values()], measure)


def gate_correlation(gates: Gates) -> Gates:
    """Computes the correlation of each pair of gates within a unit.

    For an LSTM, it is Pearson's correlation of `input` and 1 - `forget`: at 1, the unit
    writes exactly when it forgets, as a GRU always does. For a GRU, it is that of
    `reset` and `update`.

    Args:
        gates: A tree or the dataset of one layer, with these two gates, of dimensions
            such as `(sample, time, unit)`.

    Returns:
        In the same kind of object, `gate_correlation` of dimensions `(unit)`, and
        `step` where there was one: from -1 to 1, NaN where a gate is constant or every
        step is masked.

    Raises:
        ValueError: If no layer has both gates.
        TypeError: If `gates` is neither a tree nor a dataset.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> dims = ("sample", "time", "unit")
        >>> layer = xarray.Dataset(
        ...     {
        ...         "input": (dims, [[[0.1], [0.2], [0.6]]]),
        ...         "forget": (dims, [[[0.9], [0.8], [0.4]]]),
        ...     }
        ... )
        >>> stats.gate_correlation(layer)["gate_correlation"].values.round(3)
        array([1.])

    Reference:
        Greff et al. (2017), LSTM: A search space odyssey, arXiv:1503.04069, whose
        variant CIFG couples the two gates.
    """

    def measure(layer: xarray.Dataset) -> dict[str, xarray.DataArray]:
        coupled = kind_of_layer(layer).coupled
        if coupled is None or not {coupled.first, coupled.second} <= set(layer):
            return {}
        value = correlation(moments(layer[coupled.first], layer[coupled.second]))
        # With 1 - the second gate, the correlation only changes its sign.
        value = -value if coupled.opposed else value
        label = {"long_name": "correlation of two gates", "units": "1"}
        return {"gate_correlation": value.assign_attrs(label)}

    pairs = [kind.coupled[:2] for kind in registry.KINDS.values() if kind.coupled]
    return of_each_layer(gates, gates_of, measure, together=pairs)


@renamed(share="fraction")
def memory_horizon(gates: Gates, *, fraction: float = 0.9) -> Gates:
    """Computes how far back the state of a cell reaches, by the weight of each step.

    On the path through the cell, the state of a unit after the last step is a sum over
    all steps: the value that was written at a step, times the fraction of it that all
    later steps kept. For an LSTM, the weight of a step is `input` at this step times
    the product of all later `forget` values. For a GRU, it is 1 - `update` at this step
    times the product of all later `update` values. The horizon is the smallest lag up
    to which the weights reach a given fraction of their sum.

    Unlike `timescale`, it reveals a unit that writes only occasionally: such a unit
    keeps an old value because it has written little since. Like `timescale`, it
    describes only this path. The recurrent weights may keep more, which
    `keras_gates.reach` measures.

    Args:
        gates: A tree or the dataset of one layer, with `input` and `forget`, or
            `update`, of dimensions such as `(sample, time, unit)`.
        fraction: The fraction of the sum of the weights, between 0 and 1.

    Returns:
        In the same kind of object, `memory_horizon` of dimensions `(unit)`, and `step`
        where there was one, in steps: 0 if the last step alone has this fraction. The
        fractions are averaged over the samples. It cannot exceed the length of the
        sequence. NaN if nothing was written, or every step is masked.

    Raises:
        ValueError: If no layer has these gates, or `fraction` is not between 0 and 1.
        TypeError: If `gates` is neither a tree nor a dataset.

    Example:
        An LSTM with zero weights and Keras's default bias:

        >>> import numpy as np
        >>> import xarray
        >>> from keras_gates import stats
        >>> dims, shape = ("sample", "time", "unit"), (1, 50, 1)
        >>> layer = xarray.Dataset(
        ...     {
        ...         "input": (dims, np.full(shape, 0.5)),
        ...         "forget": (dims, np.full(shape, 0.7311)),
        ...     }
        ... )
        >>> stats.memory_horizon(layer)["memory_horizon"].values
        array([7.])
    """
    fraction = share_of("fraction", fraction)

    def measure(layer: xarray.Dataset) -> dict[str, xarray.DataArray]:
        kind = kind_of_layer(layer)
        if kind.keep is None or not set(kind.memory) <= set(layer):
            return {}
        check_dimensions(layer, "gates", wanted=(v.TIME,))
        layer = as_read(layer)  # The last step is the last one that the layer read.
        # A kind of cell without a gate that writes, writes 1 - `keep`.
        signals = [layer[name] for name in (kind.keep, kind.write) if name is not None]
        found = reduce_blocks(weights_reached, *signals, whole=(v.TIME,), size=SAMPLES)
        count = found[-1]
        reached = found[:-1] / count.where(count > 0)
        # A rounding error must not make a sum that is 0.9 miss it.
        horizon = (reached >= fraction - 1e-9).argmax(FOUND).astype(np.float64)
        horizon = horizon.where(count > 0)
        label = {"long_name": "memory horizon", "units": "steps"}
        return {"memory_horizon": horizon.assign_attrs(label)}

    needed = [kind.memory for kind in registry.KINDS.values() if kind.memory]
    return of_each_layer(
        gates, lambda kind: kind.memory, measure, (v.TIME,), together=needed
    )
