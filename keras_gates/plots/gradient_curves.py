"""Curves of the size of gradients by time steps before the end of a sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.checks import type_of
from keras_gates.plots import canvas
from keras_gates.trees.choose_layer import one_layer
from keras_gates.trees.labels import labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = 4
"""The number of steps of training for which curves are drawn."""


@canvas.styled("lines.Line2D")
def gradient_flow(flows: Any, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draws the size of gradients by time steps before the end, on a log axis.

    A falling straight line is a gradient that vanishes by the same factor at each step.
    Layers of the same kind have the same colour and differ in the style of the line.

    Args:
        flows: The result of `stats.gradient_flow`: a layer of a tree, a dataset, or an
            array; or a dict of several results, by their names in the legend, such as
            `{"LSTM, before": ..., "LSTM, trained": ...}`. If a flow has a dimension
            `step`, some of its steps are drawn, from the first one (pale) to the last
            one.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the curves, such as
            `linewidth=2`.

    Returns:
        The Axes.

    Raises:
        ValueError: If `flows` is empty, or has no `gradient_flow`.
        TypeError: If `flows` is not of these types.

    Example:
        >>> import xarray
        >>> from keras_gates import stats
        >>> hidden = xarray.DataArray(
        ...     [[[0.25], [0.5], [1.0]]], dims=("sample", "time", "unit")
        ... )
        >>> axes = gradient_flow({"one": stats.gradient_flow(hidden)})
        >>> axes.lines[0].get_ydata(), axes.get_yscale()
        (array([1.  , 0.5 , 0.25]), 'log')
    """
    ax = canvas.axes_of(ax)
    several = dict(flows) if _is_dict(flows) else {None: flows}
    if not several:
        raise ValueError("`flows` is empty: it must hold at least one gradient flow.")
    curves = {name: _curve(flow) for name, flow in several.items()}
    axes = ax or canvas.new_axes()
    seen: Counter = Counter()
    for name, (curve, kind) in curves.items():
        colour = "" if kind is None else kind.colour
        line = canvas.OTHER_LINES[seen[kind] % len(canvas.OTHER_LINES)]
        if not colour:  # Only the kinds of cells in Keras have a fixed colour.
            colour = canvas.OTHER_COLOURS[len(seen) % len(canvas.OTHER_COLOURS)]
        seen[kind] += 1
        for words, strength, values in _steps(name, curve):
            style = {"linestyle": line, "color": colour, "alpha": strength}
            style |= {"label": words, **kwargs}
            drawn = np.where(values > 0, values, np.nan)
            axes.plot(curve[v.LAG].values, drawn, **style)
    axes.set_yscale("log")
    axes.set_xlabel("steps before the last one")
    first = next(iter(curves.values()))[0]
    axes.set_ylabel(first.attrs.get("long_name", "size of the gradient"))
    canvas.whole_numbers(axes.xaxis)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
    return axes


def _steps(name: Any, curve: Any) -> Iterator[tuple[str | None, float, np.ndarray]]:
    """Yields the label, the opacity and the values of each curve of a flow."""
    words = None if name is None else str(name)
    if v.STEP not in curve.dims:
        yield words, 1.0, curve.values
        return
    number = curve.sizes[v.STEP]
    chosen = np.unique(np.linspace(0, number - 1, STEPS).round().astype(int))
    for place, strength in zip(chosen, np.linspace(0.3, 1, len(chosen)), strict=True):
        step = f"step {labels_of(curve, v.STEP)[place]}"
        both = step if words is None else f"{words}, {step}"
        yield both, float(strength), curve.isel({v.STEP: place}).values


def _is_dict(flows: Any) -> bool:
    # Trees and datasets are mappings too.
    return isinstance(flows, Mapping) and not hasattr(flows, "data_vars")


def _curve(flow: Any) -> tuple[Any, Any]:
    """Returns the curve of one layer, and its kind."""
    import xarray

    kind = None
    if not isinstance(flow, xarray.DataArray):
        if not hasattr(flow, "data_vars"):
            raise TypeError(
                "`flows` must be what `stats.gradient_flow` returned, or a dict of "
                f"such results; got {type_of(flow)}."
            )
        layer = one_layer(flow, "flows", of_signals=False)
        kind = registry.kind_from(layer.attrs)
        flow = layer.get("gradient_flow")
    if flow is None or flow.dims not in ((v.LAG,), (v.STEP, v.LAG)):
        raise ValueError(
            "`flows` must be what `stats.gradient_flow` returned, of dimensions "
            "(lag,) or (step, lag); call it on the result of `keras_gates.gradients`."
        )
    return flow, kind
