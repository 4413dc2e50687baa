"""Figures of what `capture`, `GateRecorder` and `compare` return.

Each function draws on the `figure` or `ax` it is given, or on a new one, and returns
it. A new one is not pyplot's: save it with `savefig` (an Axes knows its `figure`), let
a notebook show it, or pass `figure=pyplot.figure()` or `ax=pyplot.gca()` for a window.

The same signal has the same colour everywhere. Gates are drawn on one sequential
scale from 0 to 1, candidate and states on a diverging one with zero in its middle.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from keras_gates import stats
from keras_gates.vocabulary import (
    CANDIDATE,
    CELL,
    FORGET,
    GATES,
    GRU,
    HIDDEN,
    INPUT,
    KEEP_CONVENTION,
    KINDS,
    LONG_NAMES,
    LSTM,
    OUTPUT,
    RESET,
    SAMPLE,
    STEP,
    TIME,
    UNIT,
    UPDATE,
    Kind,
)

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SIGNAL_COLOURS = {
    INPUT: "#E69F00",
    FORGET: "#0072B2",
    CANDIDATE: "#009E73",
    OUTPUT: "#D55E00",
    UPDATE: "#56B4E9",
    RESET: "#CC79A7",
    CELL: "#999999",
    HIDDEN: "#000000",
}
"""The palette of Okabe and Ito (2008), which suits every kind of colour vision.
`forget` and `update`, which do the same work, are both blue."""

KIND_COLOURS = {LSTM.name: "#0072B2", GRU.name: "#D55E00"}
OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")

GATE_MAP = "viridis"
GATE_LABEL = "gate (0 shut, 1 open)"
STATE_MAP = "RdBu_r"
MASKED = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": "////", "linewidth": 0}

WIDTH = 7.0
"""Inches: the text width of a page and, at 100 dots an inch, of a notebook."""

WRITTEN = f"1 − {UPDATE}"
"""What a GRU has for an input gate: the share of the candidate that is written."""

PAIRS = {
    (FORGET, UPDATE): (LONG_NAMES[FORGET], LONG_NAMES[UPDATE]),
    (INPUT, WRITTEN): ("input gate (share written)", f"{WRITTEN} (share written)"),
    (OUTPUT, RESET): ("output gate (no counterpart)", "reset gate (no counterpart)"),
    (CANDIDATE, CANDIDATE): (LONG_NAMES[CANDIDATE], LONG_NAMES[CANDIDATE]),
    (CELL, None): (
        "cell state (no counterpart)",
        "A GRU has no cell state:\nits hidden state is its memory.",
    ),
    (HIDDEN, HIDDEN): (LONG_NAMES[HIDDEN], LONG_NAMES[HIDDEN]),
}
"""The rows of `pair`, gates first: what stands side by side, and its titles."""

EPOCH = "epoch"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def gates(
    node: Any,
    *,
    sample: int = 0,
    signals: Sequence[str] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draws each signal of one layer as a heat map, for one sample.

    Time runs across and units up. The gates stand on the left and share one scale
    from 0 (shut) to 1 (open); candidate and states stand on the right, each on a
    diverging scale with zero in its middle. Masked steps are hatched.

    Args:
        node: A layer of what `capture` returns: a DataTree node or a Dataset, its
            signals with dimensions `(sample, time, unit)`.
        sample: The position of the sample to draw.
        signals: The signals to draw. Default: every signal of the layer.
        figure: The figure to draw on. Default: a new one.

    Returns:
        The figure.

    Raises:
        ValueError: If a signal is not there, or there are other dimensions.
        IndexError: If the sample is not there.
        TypeError: If `node` is not a layer.

    Example:
        >>> import xarray
        >>> update = (("sample", "time", "unit"), [[[0.5, 0.6], [0.4, 0.7]]])
        >>> layer = xarray.Dataset({"update": update}, attrs={"kind": "GRU"})
        >>> gates(layer).axes[0].get_title()
        'update gate (1 keeps the old state)'
    """
    dataset, kind = _layer(node, "node")
    values = _of_sample(dataset, _chosen(dataset, kind, signals), sample)
    columns = [
        [name for name in values if name in GATES],
        [name for name in values if name not in GATES],
    ]
    columns = [names for names in columns if names]
    rows = max(map(len, columns))
    figure = figure or _new_figure(height=1.35 * rows + 0.9)
    grid = _grid(figure, rows, len(columns))
    for names, panels in zip(columns, grid.T, strict=True):
        for name, axes in itertools.zip_longest(names, panels):
            if name is None:
                axes.set_axis_off()
                continue
            limit = None if name in GATES else _limit([values[name]])
            image = _heat_map(axes, values[name], LONG_NAMES[name], limit)
            if name not in GATES:
                _colour_bar(figure, image, axes, LONG_NAMES[name])
        if names[0] in GATES:
            _colour_bar(figure, image, panels[: len(names)], GATE_LABEL, len(names))
    title = f"{_name(dataset)} ({kind.name}), sample {sample}"
    if dataset.attrs.get("direction") == "backward":
        title += "\nread backward, drawn in the order of the input"
    if kind is GRU:
        title += f"\n{UPDATE}: {KEEP_CONVENTION}"
    _finish(figure, grid, title, values.values())
    return figure


def pair(
    lstm: Any, gru: Any, *, sample: int = 0, figure: Figure | None = None
) -> Figure:
    """Draws an LSTM and a GRU side by side, as they read the same input.

    What does the same work stands in one row, on one scale: `forget` beside `update`,
    the share of the old state that is kept; `input` beside 1 − `update`, the share of
    the candidate that is written (an LSTM sets the two freely, in a GRU one follows
    from the other); candidate beside candidate; hidden beside hidden state. The output
    gate, the reset gate and the cell state have no counterpart, and say so.

    Args:
        lstm: An LSTM layer of what `capture` returns: a DataTree node or a Dataset,
            its signals with dimensions `(sample, time, unit)`.
        gru: A GRU layer that was captured on the same input.
        sample: The position of the sample to draw, in both.
        figure: The figure to draw on. Default: a new one.

    Returns:
        The figure.

    Raises:
        ValueError: If the layers are not an LSTM and a GRU in this order, their
            numbers of steps differ, or there are other dimensions.
        IndexError: If the sample is not there.
        TypeError: If one of them is not a layer.

    Example:
        >>> import xarray
        >>> values = (("sample", "time", "unit"), [[[0.5, 0.6], [0.4, 0.7]]])
        >>> lstm = xarray.Dataset({"forget": values}, attrs={"kind": "LSTM"})
        >>> gru = xarray.Dataset({"update": values}, attrs={"kind": "GRU"})
        >>> pair(lstm, gru).axes[1].get_title()
        'GRU: update gate (1 keeps the old state)'

    Reference:
        Chung, Gulcehre, Cho and Bengio (2014), Empirical Evaluation of Gated
        Recurrent Neural Networks on Sequence Modeling, arXiv:1412.3555, section 3.
    """
    left_name, left = _side(lstm, "lstm", LSTM, sample)
    right_name, right = _side(gru, "gru", GRU, sample)
    steps = [len(next(iter(values.values()))) for values in (left, right)]
    if steps[0] != steps[1]:
        raise ValueError(
            f"`lstm` and `gru` must have read the same input; got {steps[0]} and "
            f"{steps[1]} steps of time. Capture both on the same `x`."
        )
    if UPDATE in right and INPUT in left:
        right[WRITTEN] = 1 - right[UPDATE]
    rows = [row for row in PAIRS if row[0] in left or row[1] in right]
    figure = figure or _new_figure(height=1.2 * len(rows) + 0.9)
    grid = _grid(figure, len(rows), 2)
    images = []
    for row, panels in zip(rows, grid, strict=True):
        drawn = [left.get(row[0]), right.get(row[1])]
        limit = None if row[0] in GATES else _limit(drawn)
        images.append(_pair_row(row, drawn, panels, limit))
        if row[0] not in GATES:
            _colour_bar(figure, images[-1], panels, LONG_NAMES[row[0]])
    gate_rows = sum(row[0] in GATES for row in rows)
    if gate_rows:
        _colour_bar(figure, images[0], grid[:gate_rows], GATE_LABEL, gate_rows)
    title = f"{left_name} (LSTM) beside {right_name} (GRU), sample {sample}"
    title += f"\n{FORGET} and {UPDATE} alike: {KEEP_CONVENTION}"
    _finish(figure, grid, title, [*left.values(), *right.values()])
    return figure


def evolution(gate: xarray.DataArray, *, ax: Axes | None = None) -> Axes:
    """Draws how the values of a gate, or of any signal, move over training.

    The line is the median over sample, time and unit at each recorded step; the bands
    reach from 25 to 75 % and from 5 to 95 % of the values. Masked steps are left out.

    Args:
        gate: A signal of `GateRecorder.traces`, with dimensions
            `(step, sample, time, unit)` and the coordinate `epoch` along `step`:
            finished epochs, 0 before training.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If `gate` has no dimension `step`.
        TypeError: If `gate` is not a DataArray.

    Example:
        >>> import xarray
        >>> gate = xarray.DataArray(
        ...     [[[[0.2, 0.4]]], [[[0.6, 0.8]]]],
        ...     dims=("step", "sample", "time", "unit"),
        ...     coords={"epoch": ("step", [0, 1])},
        ... )
        >>> evolution(gate).lines[0].get_ydata().round(2)
        array([0.3, 0.7])
    """
    quantiles = _quantiles(gate)
    axes = ax or _new_axes()
    name = gate.attrs.get("long_name", gate.name or "signal")
    colour = SIGNAL_COLOURS.get(gate.name, SIGNAL_COLOURS[HIDDEN])
    at = gate[EPOCH].values if EPOCH in gate.coords else range(gate.sizes[STEP])
    low, lower, median, upper, high = quantiles.transpose("quantile", STEP).values
    label = f"{name}, median"
    axes.plot(at, median, color=colour, marker="o", markersize=3, label=label)
    bands = ((lower, upper, 0.4, "25–75 %"), (low, high, 0.18, "5–95 %"))
    for bottom, top, alpha, label in bands:
        style = {"color": colour, "alpha": alpha, "linewidth": 0}
        axes.fill_between(at, bottom, top, label=label, **style)
    axes.set_xlabel("finished epochs" if EPOCH in gate.coords else "recorded step")
    axes.set_ylabel("value")
    if gate.name in GATES:
        axes.set_ylabel(GATE_LABEL)
        axes.set_ylim(0, 1)
    _whole_numbers(axes.xaxis)
    axes.legend(fontsize="small")
    return axes


def study(study: Any, *, metric: str = "val_loss", ax: Axes | None = None) -> Axes:
    """Draws learning curves: the mean over seeds and its 95 % interval.

    The interval is Student's, by `stats.mean_interval`, for each epoch by itself. A
    line ends where the first of its seeds does, or runs away to NaN.

    Args:
        study: What `compare` returns; its `history` is a Dataset with dimensions
            `(architecture, seed, epoch)`.
        metric: The variable of the history to draw.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If the metric is not in the history.

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
    history = study.history
    if metric not in history.data_vars:
        known = ", ".join(map(repr, history.data_vars))
        raise ValueError(
            f"`metric` must be in the history of the study: {known}; got {metric!r}."
        )
    values = history[metric]
    axes = ax or _new_axes()
    styles = _styles(str(name) for name in values["architecture"].values)
    mean, low, high = stats.mean_interval(values, "seed")
    epochs = values[EPOCH].values
    for position, (name, style) in enumerate(styles.items()):
        at = {"architecture": position}
        axes.plot(epochs, mean[at], marker="o", markersize=3, label=name, **style)
        if values.sizes["seed"] > 1:
            band = {"color": style["color"], "alpha": 0.2, "linewidth": 0}
            axes.fill_between(epochs, low[at], high[at], **band)
    axes.set_xlabel(EPOCH)
    axes.set_ylabel(metric)
    _whole_numbers(axes.xaxis)
    if values.min() >= 0 and axes.get_ylim()[0] < 0:
        axes.set_ylim(bottom=0)
    seeds = values.sizes["seed"]
    title = f"mean of {seeds} seeds, 95 % interval" if seeds > 1 else "one seed"
    axes.legend(title=title, fontsize="small", title_fontsize="small")
    return axes


def predictions(
    truth: Any, predictions: Mapping[str, Any], *, ax: Axes | None = None
) -> Axes:
    """Draws predictions over the truth, sample by sample.

    Args:
        truth: The true values, of shape `(sample,)` or `(sample, 1)`.
        predictions: From the name of a model to its predictions, in the shape of
            `truth`.
        ax: The Axes to draw on. Default: new ones.

    Returns:
        The Axes.

    Raises:
        ValueError: If a shape is another.
        TypeError: If `predictions` is not a mapping.

    Example:
        >>> axes = predictions([0.0, 1.0], {"LSTM": [0.1, 0.9]})
        >>> [line.get_label() for line in axes.lines]
        ['truth', 'LSTM']
    """
    if not isinstance(predictions, Mapping):
        raise TypeError(
            "`predictions` must map names to arrays, such as "
            "{'LSTM': model.predict(x)}; got " + type(predictions).__name__ + "."
        )
    truth = _column("truth", truth)
    axes = ax or _new_axes()
    axes.plot(truth, color="0.7", linewidth=3, label="truth")
    for name, style in _styles(predictions).items():
        values = _column(f"predictions[{name!r}]", predictions[name])
        if values.shape != truth.shape:
            raise ValueError(
                f"`predictions[{name!r}]` must have a value for each of the "
                f"{len(truth)} samples of `truth`; got {len(values)}."
            )
        axes.plot(values, linewidth=1.2, label=name, **style)
    axes.set_xlabel(SAMPLE)
    axes.set_ylabel("value")
    _whole_numbers(axes.xaxis)
    axes.legend(fontsize="small")
    return axes


def _layer(node: Any, argument: str) -> tuple[xarray.Dataset, Kind]:
    """Returns the dataset and the kind of a layer, or says what was given instead."""
    import xarray

    below = []
    if isinstance(node, xarray.DataTree):
        below = [child.path for child in node.descendants if child.data_vars]
        node = node.to_dataset()
    if not isinstance(node, xarray.Dataset):
        raise TypeError(
            f"`{argument}` must be one layer, a DataTree node or a Dataset, such as "
            f"`capture(model, x)['lstm']`; got {type(node).__name__}."
        )
    kind = KINDS.get(node.attrs.get("kind"))
    if kind is None:
        layers = ", ".join(repr(path.strip("/")) for path in below)
        raise ValueError(
            f"`{argument}` must be one layer, whose attribute `kind` is one of "
            f"{', '.join(KINDS)}, as `capture` writes it; got one without. "
            + (f"Choose a layer below it: {layers}." if layers else "")
        )
    return node, kind


def _side(
    node: Any, argument: str, wanted: Kind, sample: int
) -> tuple[str, dict[str, numpy.ndarray]]:
    """Returns the name and the signals of one side of a pair."""
    dataset, kind = _layer(node, argument)
    if kind is not wanted:
        raise ValueError(
            f"`{argument}` must be a layer of kind {wanted.name}; got the {kind.name} "
            f"layer {_name(dataset)}. The order is `pair(lstm, gru)`."
        )
    return _name(dataset), _of_sample(dataset, _chosen(dataset, kind, None), sample)


def _chosen(
    dataset: xarray.Dataset, kind: Kind, signals: Sequence[str] | None
) -> list[str]:
    """Returns the names of the signals to draw."""
    present = [name for name in kind.signals if name in dataset.data_vars]
    if signals is None and present:
        return present
    chosen = [signals] if isinstance(signals, str) else list(signals or ())
    unknown = [name for name in chosen if name not in present]
    if unknown or not chosen:
        known = ", ".join(map(repr, present)) or "none"
        raise ValueError(
            f"`signals` must be among those captured of the {kind.name} layer "
            f"{_name(dataset)}: {known}; got {', '.join(map(repr, unknown)) or 'none'}."
        )
    return list(dict.fromkeys(chosen))


def _of_sample(
    dataset: xarray.Dataset, names: list[str], sample: int
) -> dict[str, numpy.ndarray]:
    """Returns the signals of one sample, each of shape (time, unit)."""
    wanted = (SAMPLE, TIME, UNIT)
    for name in names:
        dims = dataset[name].dims
        for dim in dims:
            if dim not in wanted:
                raise ValueError(
                    f"The signals of {_name(dataset)} have a dimension `{dim}`, and a "
                    f"picture shows one of it: choose one with `.isel({dim}=0)`."
                )
        if len(dims) < len(wanted):
            raise ValueError(
                f"The signals of {_name(dataset)} must have the dimensions "
                f"{wanted}; {name!r} has {dims}."
            )
    size = dataset.sizes[SAMPLE]
    if not 0 <= sample < size:
        raise IndexError(
            f"`sample` must be from 0 to {size - 1}: {_name(dataset)} has {size} "
            f"samples; got {sample}."
        )
    one = dataset[names].isel({SAMPLE: sample}).compute()
    return {name: one[name].transpose(TIME, UNIT).values for name in names}


def _name(dataset: xarray.Dataset) -> str:
    layer = dataset.attrs.get("layer")
    return repr(layer) if layer else "a layer"


def _limit(arrays: Iterable[numpy.ndarray | None]) -> float:
    """Returns the end of a scale that is centred on zero and holds every value."""
    values = numpy.concatenate([a.ravel() for a in arrays if a is not None])
    return float(numpy.abs(values[numpy.isfinite(values)]).max(initial=0)) or 1.0


def _quantiles(gate: Any) -> xarray.DataArray:
    """Returns the quantiles of each recorded step, over every other dimension."""
    import warnings

    import xarray

    if not isinstance(gate, xarray.DataArray):
        raise TypeError(
            "`gate` must be one signal, such as `recorder.traces['lstm/forget']`; got "
            f"{type(gate).__name__}."
        )
    if STEP not in gate.dims:
        raise ValueError(
            f"`gate` must have the dimension `{STEP}`; got {gate.dims}. A capture is "
            "one moment of a training: record all of it with "
            "`model.fit(..., callbacks=[GateRecorder(...)])` and take "
            "`recorder.traces['lstm/forget']`."
        )
    others = [dim for dim in gate.dims if dim != STEP]
    if gate.chunks is not None:
        gate = gate.chunk(dict.fromkeys(others, -1))
    with warnings.catch_warnings():
        # A step without a value has no quantiles: NaN, and a gap in the line.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return gate.quantile(QUANTILES, others).compute()


def _column(argument: str, values: Any) -> numpy.ndarray:
    """Returns values of shape (sample,) or (sample, 1) as (sample,)."""
    values = numpy.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"`{argument}` must have the shape (sample,) or (sample, 1); got "
            f"{values.shape}. Choose one output, such as `values[:, 0]`."
        )
    return values


def _styles(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Returns colour and line style for each architecture: the same in each figure."""
    others = itertools.cycle(itertools.product(("-", "--", ":"), OTHER_COLOURS))
    styles = {}
    for name in names:
        colour = KIND_COLOURS.get(name)
        line, colour = ("-", colour) if colour else next(others)
        styles[name] = {"color": colour, "linestyle": line}
    return styles


def _new_figure(height: float) -> Figure:
    """Returns a figure that pyplot knows nothing of, and a notebook can show."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    figure._repr_png_ = functools.partial(_png, figure)
    return figure


def _new_axes() -> Axes:
    figure = _new_figure(height=3.2)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes._repr_png_ = figure._repr_png_
    return axes


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _grid(figure: Figure, rows: int, columns: int) -> numpy.ndarray:
    # The units of two layers may differ in number, the steps of time may not.
    return figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="col")


def _heat_map(
    axes: Axes, values: numpy.ndarray, title: str, limit: float | None
) -> AxesImage:
    """Draws values of shape (time, unit): on 0 to 1, or up to a limit around 0."""
    # Cells are drawn sharp, unless there are more of them than dots: then "nearest"
    # would leave out some steps altogether, and they are averaged instead.
    crisp = values.shape[0] <= 250 and values.shape[1] <= 100
    image = axes.imshow(
        numpy.ma.masked_where(numpy.isnan(values), values).T,
        origin="lower",
        aspect="auto",
        interpolation="nearest" if crisp else "antialiased",
        cmap=GATE_MAP if limit is None else STATE_MAP,
        vmin=0 if limit is None else -limit,
        vmax=1 if limit is None else limit,
    )
    # Where the image is masked, the ground of the Axes shows through.
    axes.patch.set(**MASKED)
    axes.set_title(title, fontsize="small")
    axes.set_ylabel(UNIT, fontsize="small")
    axes.tick_params(labelsize="small")
    _whole_numbers(axes.xaxis, axes.yaxis)
    return image


def _pair_row(row: tuple, values: list, panels: Any, limit: float | None) -> AxesImage:
    """Draws a row of `pair`; a side that has nothing says why."""
    for kind, name, title, side, axes in zip(
        (LSTM, GRU), row, PAIRS[row], values, panels, strict=True
    ):
        if side is not None:
            image = _heat_map(axes, side, f"{kind.name}: {title}", limit)
            continue
        axes.set_axis_off()
        words = title if name is None else f"{name} was not captured"
        style = {"ha": "center", "va": "center", "fontsize": "small", "color": "0.35"}
        axes.text(0.5, 0.5, words, transform=axes.transAxes, **style)
    return image


def _colour_bar(
    figure: Figure, image: AxesImage, panels: Any, label: str, rows: int = 1
) -> None:
    """Draws the scale of some panels, equally wide beside one row and beside many."""
    bar = figure.colorbar(image, ax=panels, aspect=10 * rows)
    bar.set_label(label, fontsize="small")
    bar.ax.tick_params(labelsize="small")


def _finish(
    figure: Figure, grid: numpy.ndarray, title: str, values: Iterable[numpy.ndarray]
) -> None:
    """Writes what belongs to the whole: title, time axes, and what hatching means."""
    from matplotlib.patches import Patch

    for panels in grid.T:
        lowest = [axes for axes in panels if axes.images][-1]
        lowest.set_xlabel("time (step)", fontsize="small")
        lowest.tick_params(labelbottom=True)
    figure.suptitle(title, fontsize="medium", parse_math=False)
    if any(numpy.isnan(array).any() for array in values):
        note = Patch(label="masked step: no value", **MASKED)
        figure.legend(
            handles=[note], loc="outside lower right", fontsize="small", frameon=False
        )


def _whole_numbers(*axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(
            MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
