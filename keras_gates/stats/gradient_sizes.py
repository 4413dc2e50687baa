"""The size of gradients by the number of steps before the end of a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.checks import type_of
from keras_gates.stats.block_reduction import blocks
from keras_gates.trees.apply_measure import as_tree, of_each_layer
from keras_gates.trees.data_checks import check_dimensions, quoted, real_signal
from keras_gates.trees.dimensions import as_read, pieces
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray

    from keras_gates.trees.types import Gates

DIMS = (v.SAMPLE, v.TIME, v.UNIT)


def gradient_flow(gates: Gates, *, signal: str = v.HIDDEN) -> Gates:
    """Computes the size of gradients by time steps before the end of each sequence.

    It is the Euclidean norm over units of the derivative with respect to a signal,
    averaged over samples. Lag 0 is the last unmasked step that the layer reads, which
    for a backward layer is the first step of the input.

    It shows whether *learning* reaches back: steps at which the gradient vanishes
    hardly change the weights. It does not show how long the layer remembers.

    Args:
        gates: The result of `keras_gates.gradients`: a tree, the dataset of one
            layer, or the array of one signal, `(sample, time, unit)`. Or the gradients
            of a `GateRecorder`, with a dimension `step`.
        signal: The name of the signal, for a tree or a dataset.

    Returns:
        In the same kind of object, `gradient_flow` of dimensions `(lag)`, the steps
        before the last one, or `(step, lag)`. NaN at lags beyond the longest sequence.

    Raises:
        ValueError: If no layer has the signal, or the tree holds no gradients.
        TypeError: If `gates` is not an xarray object.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> dims = ("sample", "time", "unit")
        >>> hidden = xarray.DataArray([[[0.3, 0.4], [3.0, 4.0]]], dims=dims)
        >>> stats.gradient_flow(hidden).values
        array([5. , 0.5])

    Reference:
        Bengio, Simard and Frasconi (1994), Learning long-term dependencies with
        gradient descent is difficult, IEEE Transactions on Neural Networks 5(2).
    """
    import xarray

    if isinstance(gates, xarray.DataArray):
        return _flow(gates)
    if not isinstance(signal, str):
        raise TypeError(f"`signal` must be a name; got {type_of(signal)}.")
    names = dict.fromkeys(
        str(name) for node in recurrent(as_tree(gates)) for name in node.data_vars
    )
    if names and signal not in names:
        raise ValueError(
            f"`gates` must hold the `signal`, {signal!r}; it has "
            f"{', '.join(map(repr, names))}."
        )

    def measure(layer: xarray.Dataset) -> dict[str, xarray.DataArray]:
        if "derivative_of" not in layer.attrs:
            raise ValueError(
                f"`gates` must be what `keras_gates.gradients` returned; "
                f"{quoted(layer)} holds the signals themselves."
            )
        layer = as_read(layer)
        return {"gradient_flow": _flow(layer[signal])} if signal in layer else {}

    return of_each_layer(
        gates, lambda kind: (signal,), measure, DIMS, together=[(signal,)]
    )


def _flow(values: Any) -> Any:
    import xarray

    check_dimensions(values, "gates", (v.STEP, *DIMS), wanted=DIMS)
    real_signal(values, "gates")
    along = [v.STEP] if v.STEP in values.dims else []
    values = values.transpose(*along, *DIMS)
    sizes = np.concatenate(
        [
            _sizes(block)
            for piece in pieces(values)
            for (block,) in blocks([piece], piece.ndim - 1)
        ]
    ).reshape(-1, *(values.sizes[dim] for dim in DIMS[:2]))
    means = np.stack([_by_lag(of_step) for of_step in sizes])
    lags = np.arange(values.sizes[v.TIME])
    return xarray.DataArray(
        means if along else means[0],
        {
            v.LAG: (v.LAG, lags, {"long_name": "steps before the last one"}),
            **{name: c for name, c in values.coords.items() if c.dims == (v.STEP,)},
        },
        (*along, v.LAG),
        "gradient_flow",
        {"long_name": f"size of {values.attrs.get('long_name', 'the gradient')}"},
    )


def _by_lag(sizes: np.ndarray) -> np.ndarray:
    """Returns the mean over samples of sizes `(sample, time)`, of shape `(lag,)`."""
    unmasked = ~np.isnan(sizes)
    # The number of unmasked steps after each step.
    lags = np.cumsum(unmasked[:, ::-1], axis=1)[:, ::-1] - 1
    steps = sizes.shape[1]
    total = np.bincount(lags[unmasked], sizes[unmasked], minlength=steps)
    count = np.bincount(lags[unmasked], minlength=steps)
    mean = np.full(steps, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _sizes(gradients: np.ndarray) -> np.ndarray:
    """Returns the norm of each row."""
    gradients = gradients.astype(np.float64)
    return np.sqrt(np.einsum("ru,ru->r", gradients, gradients))
