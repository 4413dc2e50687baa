"""Figures of a study: learning curves, differences, and predictions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import stats
from keras_gates.checks import one_of, real_numbers, type_of
from keras_gates.old_names import renamed
from keras_gates.plots import canvas
from keras_gates.vocabulary import EPOCH, SAMPLE

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

ALONG = (EPOCH, "updates", "elapsed")


@renamed(along="x")
@canvas.styled("lines.Line2D")
def study(
    study: Any,
    *,
    metric: str = "val_loss",
    x: str = EPOCH,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draws the learning curves of a study: the mean over seeds with its interval.

    The interval is Student's, computed by `stats.mean_interval` for each epoch
    separately. A line ends when the first of its seeds ends or diverges to NaN.

    Args:
        study: The result of `compare`; its `history` is a Dataset with dimensions
            `(architecture, seed, epoch)`.
        metric: The variable of the history to draw.
        x: The horizontal axis: "epoch"; "updates", the batches so far; or
            "elapsed", the seconds of training so far, as a mean over the seeds. The
            first epoch includes compilation.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the curves, such as
            `linewidth=2`.

    Returns:
        The Axes.

    Raises:
        ValueError: If the metric is not in the history, or `x` is another word.

    Example:
        >>> import types
        >>> import xarray
        >>> losses = (("architecture", "seed", "epoch"), [[[3.0, 2.0], [5.0, 2.5]]])
        >>> history = xarray.Dataset(
        ...     {"val_loss": losses},
        ...     coords={"architecture": ["LSTM"], "seed": [0, 1], "epoch": [1, 2]},
        ... )
        >>> axes = study(types.SimpleNamespace(history=history))
        >>> axes.lines[0].get_ydata()
        array([4.  , 2.25])
    """
    history = _history(study)
    ax = canvas.axes_of(ax)
    if not isinstance(metric, str) or metric not in history.data_vars:
        known = ", ".join(map(repr, history.data_vars))
        raise ValueError(
            f"`metric` must be in the history of the study: {known}; got {metric!r}."
        )
    one_of("x", x, ALONG)
    values = history[metric]
    seeds = values.sizes["seed"]
    mean, low, high = stats.mean_interval(values, "seed")
    places = history[x].broadcast_like(values).mean("seed", skipna=False)
    axes = ax or canvas.new_axes()
    styles = canvas.line_styles(values["architecture"].values.tolist())
    for index, (name, style) in enumerate(styles.items()):
        at = {"architecture": index}
        along = places[at].values
        line_style = {"marker": "o", "markersize": 3, "label": name, **style, **kwargs}
        axes.plot(along, mean[at], **line_style)
        if seeds > 1:
            band = {"color": line_style["color"], "alpha": 0.2, "linewidth": 0}
            axes.fill_between(along, low[at], high[at], **band)
    axes.set_xlabel("training time, s" if x == "elapsed" else x)
    axes.set_ylabel(_in_words(metric))
    if x != "elapsed":
        canvas.whole_numbers(axes.xaxis)
    if values.min() >= 0 > axes.get_ylim()[0]:
        # Only an interval is below zero. Shared axes can still grow.
        axes.set_ylim(bottom=0, auto=None)
    title = f"mean of {seeds} seeds, 95 % interval" if seeds > 1 else "one seed"
    axes.legend(title=title, fontsize="small", title_fontsize="small")
    return axes


@canvas.styled("lines.Line2D")
def differences(
    study: Any, *, metric: str = "val_loss", ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draws the paired differences of a study: a dot with its interval for each pair.

    The numbers are those of `Study.difference`. The small dots are the seeds. An
    interval that crosses the line at zero shows no difference, and is drawn grey.

    Args:
        study: The result of `compare`, with at least two architectures and two seeds.
        metric: A numeric column of `Study.runs`, such as "epoch_seconds".
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the dots of the means,
            such as `markersize=8`.

    Returns:
        The Axes, with a row for each pair, the first at the top.

    Raises:
        ValueError: If there is one architecture or one seed only, or no such metric.

    Example:
        >>> from keras_gates import compare, tasks
        >>> x, y = tasks.adding(8, sequence_length=4)
        >>> (x, y), validation_data = tasks.chronological_split(x, y)
        >>> study = compare(
        ...     ["LSTM", "GRU"],
        ...     x,
        ...     y,
        ...     validation_data=validation_data,
        ...     seeds=2,
        ...     epochs=1,
        ... )
        >>> [label.get_text() for label in differences(study).get_yticklabels()]
        ['LSTM - GRU']
    """
    ax = canvas.axes_of(ax)
    names = _history(study)["architecture"].values.tolist()
    if len(names) < 2:
        raise ValueError(
            "A difference needs two architectures; this study has one. Draw its curve "
            "with `plots.study`."
        )
    pairs = [
        study.difference(a, b, metric) for a, b in itertools.combinations(names, 2)
    ]
    axes = ax or canvas.new_axes(height=1.2 + 0.45 * len(pairs))
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    for row, pair in enumerate(pairs):
        colour = "black" if pair.significant else "0.5"
        # Below the mean, so that both are visible.
        seeds = [row + 0.2] * len(pair.pairs)
        axes.plot(pair.pairs, seeds, "o", color=colour, alpha=0.35, markersize=3)
        ends = [[pair.mean - pair.low], [pair.high - pair.mean]]
        dot = {"color": colour, "linestyle": "none", "marker": "o", "markersize": 6}
        axes.errorbar([pair.mean], [row], xerr=ends, capsize=3, **{**dot, **kwargs})
    axes.set_yticks(range(len(pairs)), [f"{pair.a} - {pair.b}" for pair in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    number = study.history.sizes["seed"]
    axes.set_xlabel(f"difference in {_in_words(metric)}, {number} seeds, 95 % interval")
    return axes


@renamed(truth="y_true", predictions="y_pred")
@canvas.styled("lines.Line2D")
def predictions(
    y_true: Any, y_pred: Any, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draws predictions and true values, sample by sample.

    Args:
        y_true: The true values, of shape `(sample,)` or `(sample, 1)`.
        y_pred: A dict from the name of a model to its predictions, in the shape of
            `y_true`. Or `Study.predictions`: the line is then the median over the
            seeds, and the band reaches from the lowest seed to the highest.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.lines.Line2D` for the predicted curves, such
            as `linewidth=2`.

    Returns:
        The Axes.

    Raises:
        ValueError: If an array has another shape.
        TypeError: If `y_pred` is neither a dict nor such predictions.

    Example:
        >>> axes = predictions([0.0, 1.0], {"LSTM": [0.1, 0.9]})
        >>> [line.get_label() for line in axes.lines]
        ['truth', 'LSTM']
    """
    ax = canvas.axes_of(ax)
    by_seed = _by_seed(y_pred)
    if not by_seed:
        raise ValueError(
            "`y_pred` must hold predictions of at least one model; it is empty."
        )
    y_true = _column("y_true", y_true)
    axes = ax or canvas.new_axes()
    axes.plot(y_true, color="0.7", linewidth=3, label="truth")
    for name, style in canvas.line_styles(by_seed).items():
        runs = [_column(f"y_pred[{name!r}]", values) for values in by_seed[name]]
        if len(runs[0]) != len(y_true):
            raise ValueError(
                f"`y_pred[{name!r}]` must have a value for each of the "
                f"{len(y_true)} samples of `y_true`; got {len(runs[0])}."
            )
        line_style = {"linewidth": 1.2, "label": name, **style, **kwargs}
        axes.plot(np.median(runs, axis=0), **line_style)
        if len(runs) > 1:
            band = {"color": line_style["color"], "alpha": 0.2, "linewidth": 0}
            ends = np.min(runs, axis=0), np.max(runs, axis=0)
            axes.fill_between(range(len(y_true)), *ends, **band)
    axes.set_xlabel(SAMPLE)
    axes.set_ylabel("value")
    canvas.whole_numbers(axes.xaxis)
    seeds = max(map(len, by_seed.values()))
    title = f"median of {seeds} seeds, lowest to highest" if seeds > 1 else None
    axes.legend(title=title, fontsize="small", title_fontsize="small")
    return axes


def _history(study: Any) -> xarray.Dataset:
    """Returns the history of a study, or raises an error if `study` is not one."""
    import xarray

    history = getattr(study, "history", None)
    if not isinstance(history, xarray.Dataset) or "seed" not in history.dims:
        raise TypeError(
            f"`study` must be a Study, as `compare` returns it; got {type_of(study)}."
        )
    return history


def _by_seed(predictions: Any) -> dict[str, list]:
    """Returns a list of predictions, one for each seed, for each architecture."""
    import xarray

    # A Dataset and a tree are mappings, too.
    labelled = isinstance(predictions, xarray.Dataset | xarray.DataTree)
    if isinstance(predictions, Mapping) and not labelled:
        if not all(isinstance(name, str) for name in predictions):
            raise TypeError("The keys of `y_pred` must be names. Use a str.")
        return {name: [values] for name, values in predictions.items()}
    if isinstance(predictions, xarray.DataArray) and predictions.dims[:2] == (
        "architecture",
        "seed",
    ):
        names = predictions["architecture"].values.tolist()
        return dict(zip(names, map(list, predictions.values), strict=True))
    raise TypeError(
        "`y_pred` must map names to arrays, such as {'LSTM': model.predict(x)}, "
        "or be the `predictions` of a study that was made with "
        f"`keep_predictions=True`; got {type_of(predictions)}."
    )


def _in_words(metric: str) -> str:
    """Returns "validation loss" for "val_loss"."""
    before = "validation " if metric.startswith("val_") else ""
    return before + metric.removeprefix("val_").replace("_", " ")


def _column(argument: str, values: Any) -> np.ndarray:
    """Returns values of shape (sample,) or (sample, 1) as (sample,)."""
    values = real_numbers(argument, values)
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"`{argument}` must have the shape (sample,) or (sample, 1); got "
            f"{values.shape}. Choose one output, such as `values[:, 0]`."
        )
    return values
