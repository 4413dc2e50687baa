"""Heat maps of one sample, time by unit: for one layer, or two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import pairing, registry
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.old_names import renamed
from keras_gates.plots import canvas
from keras_gates.trees import appearance
from keras_gates.trees.choose_layer import PICTURE, one_layer, one_sample, sample_of
from keras_gates.trees.data_checks import quoted
from keras_gates.trees.labels import labelled, same_labels

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_gates.trees.types import Layer

# Two layers may differ in the number of units, but not in the number of time steps.
GRID = {"squeeze": False, "sharex": True, "sharey": "col"}


@renamed(figure="fig")
@canvas.styled("image.AxesImage", "vmin", "vmax")
def heatmap(
    node: Layer,
    *,
    sample: Any = None,
    signals: Sequence[str] | None = None,
    fig: Figure | None = None,
    **kwargs: Any,
) -> Figure:
    """Draws each signal of one layer as a heat map, for one sample.

    Time is on the horizontal axis, and units are on the vertical axis. The gates are on
    the left and share one scale from 0 (closed) to 1 (open). Candidate and states are
    on the right, each on a diverging scale with zero in the middle. Masked steps are
    hatched.

    Args:
        node: A layer of what `capture` returns: a DataTree node or a Dataset, its
            signals with dimensions `(sample, time, unit)`.
        sample: The label of the sample to draw, or its position where samples have no
            labels. Default: the first one.
        signals: The signals to draw. Default: every signal of the layer.
        fig: The figure to draw on. Default: a new one.
        **kwargs: Properties of `matplotlib.image.AxesImage` for the heat maps, such as
            `cmap="magma"`.

    Returns:
        The figure.

    Raises:
        ValueError: If a signal does not exist, or there are other dimensions.
        IndexError: If the sample does not exist.
        TypeError: If `node` is not a layer.

    Example:
        >>> import xarray
        >>> update = (("sample", "time", "unit"), [[[0.5, 0.6], [0.4, 0.7]]])
        >>> layer = xarray.Dataset({"update": update}, attrs={"cell_type": "GRU"})
        >>> heatmap(layer).axes[0].get_title()
        'update gate (1 keeps the old state)'
    """
    fig = canvas.figure_of(fig)
    dataset = one_sample(one_layer(node, "node", dims=PICTURE), sample, signals)
    left = [name for name in dataset.data_vars if name in registry.gates()]
    right = [name for name in dataset.data_vars if name not in registry.gates()]
    columns = [names for names in (left, right) if names]
    rows = max(map(len, columns))
    fig = fig or canvas.new_figure(height=1.35 * rows + 0.9)
    grid = fig.subplots(rows, len(columns), **GRID)
    for panels, names in zip(grid.T, columns, strict=True):
        _draw_column(panels, [dataset[name] for name in names], kwargs)
    kind = dataset.attrs["cell_type"]
    title = f"{quoted(dataset)} ({kind}), sample {sample_of(dataset)}"
    if dataset.attrs.get("direction") == "backward":
        title += "\nread backward, drawn in the order of the input"
    title += canvas.convention(dataset.attrs, *map(str, dataset.data_vars))
    _finish(fig, grid, title, dataset)
    return fig


@renamed(figure="fig")
@canvas.styled("image.AxesImage", "vmin", "vmax")
def compare_layers(
    lstm: Layer,
    gru: Layer,
    *,
    sample: Any = None,
    fig: Figure | None = None,
    **kwargs: Any,
) -> Figure:
    """Draws the heat maps of two layers side by side, such as an LSTM and a GRU.

    Each row shows signals with the same role, on one scale: `forget` and `update`, the
    fraction of the old state that is kept; `input` and 1 − `update`, the fraction of
    the candidate that is written (an LSTM sets the two fractions independently, and in
    a GRU one follows from the other); the two candidates; the two hidden states. The
    output gate, the reset gate and the cell state have no counterpart, and the figure
    states this.

    Args:
        lstm: An LSTM layer of what `capture` returns: a DataTree node or a Dataset,
            its signals with dimensions `(sample, time, unit)`.
        gru: A GRU layer that was captured on the same input.
        sample: The label of the sample to draw, in both, or its position where samples
            have no labels. Default: the first one of `lstm`.
        fig: The figure to draw on. Default: a new one.
        **kwargs: Properties of `matplotlib.image.AxesImage` for the heat maps, such as
            `cmap="magma"`.

    Returns:
        The figure.

    Raises:
        ValueError: If the layers are not an LSTM and a GRU in this order, their
            numbers or labels of time steps differ, or there are other dimensions.
        IndexError: If the sample does not exist.
        TypeError: If one of them is not a layer.

    Example:
        >>> import xarray
        >>> values = (("sample", "time", "unit"), [[[0.5, 0.6], [0.4, 0.7]]])
        >>> lstm = xarray.Dataset({"forget": values}, attrs={"cell_type": "LSTM"})
        >>> gru = xarray.Dataset({"update": values}, attrs={"cell_type": "GRU"})
        >>> compare_layers(lstm, gru).axes[1].get_title()
        'GRU: update gate (1 keeps the old state)'

    Reference:
        Chung, Gulcehre, Cho and Bengio (2014), Empirical Evaluation of Gated
        Recurrent Neural Networks on Sequence Modeling, arXiv:1412.3555, section 3.
    """
    fig = canvas.figure_of(fig)
    lstm = one_layer(lstm, "lstm", (LSTM.name,), dims=PICTURE)
    gru = one_layer(gru, "gru", (GRU.name,), dims=PICTURE)
    left = one_sample(lstm, sample)
    if sample is None and labelled(lstm, v.SAMPLE) and labelled(gru, v.SAMPLE):
        sample = left[v.SAMPLE].values[()]
    right = one_sample(gru, sample)
    if left.sizes[v.TIME] == right.sizes[v.TIME] and not same_labels(
        left, right, v.TIME
    ):
        raise ValueError(
            "`lstm` and `gru` must have read the same input; the labels of their time "
            "steps differ. Capture both on the same `x`."
        )
    if left.sizes[v.TIME] != right.sizes[v.TIME]:
        raise ValueError(
            f"`lstm` and `gru` must have read the same input; got {left.sizes[v.TIME]} "
            f"and {right.sizes[v.TIME]} time steps. Capture both on the same `x`."
        )
    rows = [row for row in pairing.rows(LSTM, GRU) if _values(row, (left, right))]
    fig = fig or canvas.new_figure(height=1.2 * len(rows) + 0.9)
    grid = fig.subplots(len(rows), 2, **GRID)
    for panels, row in zip(grid, rows, strict=True):
        _draw_row(panels, row, (left, right), kwargs)
    gate_rows = sum(row.gates for row in rows)
    if gate_rows:
        _colour_bar(grid[:gate_rows], appearance.GATE_LABEL)
    for number in range(gate_rows, len(rows)):
        name = rows[number].places[0].signal
        _colour_bar(grid[number : number + 1], registry.long_names()[name])
    title = f"{quoted(left)} (LSTM) and {quoted(right)} (GRU), "
    title += f"sample {sample_of(left)}"
    title += f"\n{v.FORGET} and {v.UPDATE}: {v.KEEP_CONVENTION}"
    _finish(fig, grid, title, left)
    return fig


def _draw_column(
    panels: np.ndarray, signals: list[xarray.DataArray], style: dict[str, Any]
) -> None:
    """Draws the signals of a column of `heatmap`: either gates only, or no gates."""
    for row, signal in enumerate(signals):
        name = str(signal.name)
        title = registry.long_names()[name]
        scale = appearance.scale(name, signal.values)
        _heat_map(panels[row], signal, title, scale, style)
        if signal.name not in registry.gates():
            _colour_bar(panels[row : row + 1], title)
    if signals[0].name in registry.gates():
        _colour_bar(panels[: len(signals)], appearance.GATE_LABEL)
    for axes in panels[len(signals) :]:
        axes.set_axis_off()


def _values(
    row: pairing.Row, layers: tuple[xarray.Dataset, xarray.Dataset]
) -> dict[int, xarray.DataArray]:
    """Returns the values of a row of `compare_layers`: left (0) and right (1).

    The row is empty if it would only show the complement of a gate of another row.
    """
    shown, captured = {}, False
    for side, (place, layer) in enumerate(zip(row.sides, layers, strict=True)):
        if isinstance(place, pairing.Place) and place.signal in layer:
            signal = layer[place.signal]
            shown[side] = 1 - signal if place.complement else signal
            captured = captured or not place.complement
    return shown if captured else {}


def _draw_row(
    panels: np.ndarray,
    row: pairing.Row,
    layers: tuple[xarray.Dataset, xarray.Dataset],
    style: dict[str, Any],
) -> None:
    """Draws a row of `compare_layers` on one scale; an empty side states the reason."""
    shown = _values(row, layers)
    name = row.places[0].signal
    scale = appearance.scale(name, *(signal.values for signal in shown.values()))
    for side, (axes, layer) in enumerate(zip(panels, layers, strict=True)):
        place = row.sides[side]
        words = place if isinstance(place, str) else ""
        if isinstance(place, pairing.Place):
            if side in shown:
                title = f"{layer.attrs['cell_type']}: {place.title}"
                _heat_map(axes, shown[side], title, scale, style)
                continue
            words = f"{place.name} was not captured"
        note = {"ha": "center", "va": "center", "fontsize": "small", "color": "0.35"}
        words = words.replace(": ", ":\n")
        axes.text(0.5, 0.5, words, transform=axes.transAxes, **note)
        axes.set_axis_off()


def _heat_map(
    axes: Axes,
    signal: xarray.DataArray,
    title: str,
    scale: dict[str, Any],
    style: dict[str, Any],
) -> None:
    # Cells have sharp edges, unless there are more cells than dots: then "nearest"
    # would omit some steps altogether, and steps are averaged instead.
    sharp = signal.sizes[v.TIME] <= 250 and signal.sizes[v.UNIT] <= 100
    if "norm" in style:  # A norm has its own limits.
        scale = {"cmap": scale["cmap"]}
    image_style = {
        "interpolation": "nearest" if sharp else "antialiased",
        **scale,
        **style,
    }
    values = signal.transpose(v.UNIT, v.TIME).values
    axes.imshow(values, origin="lower", aspect="auto", **image_style)
    # Masked steps, which are NaN, are not drawn, and show the hatched background.
    axes.patch.set(**appearance.MASKED)
    axes.set_title(title, fontsize="small")
    axes.set_ylabel(v.UNIT, fontsize="small")
    axes.tick_params(labelsize="small")
    canvas.ticks_of_places(axes.xaxis, signal, v.TIME)
    canvas.ticks_of_places(axes.yaxis, signal, v.UNIT)


def _colour_bar(panels: np.ndarray, label: str) -> None:
    """Draws the colour bar of rows of panels, of the same width for any number."""
    image = next(axes.images[0] for axes in panels.flat if axes.images)
    bar = image.axes.figure.colorbar(image, ax=panels, aspect=10 * len(panels))
    bar.set_label(label, fontsize="small")
    bar.ax.tick_params(labelsize="small")


def _finish(
    figure: Figure, grid: np.ndarray, title: str, dataset: xarray.Dataset
) -> None:
    """Adds the title, the labels of the time axes, and the legend of the hatching."""
    from matplotlib.patches import Patch

    for panels in grid.T:
        lowest = [axes for axes in panels if axes.images][-1]
        lowest.set_xlabel(canvas.time_label(dataset), fontsize="small")
        lowest.tick_params(labelbottom=True)
    figure.suptitle(title, fontsize="medium", parse_math=False)
    images = [image for axes in grid.flat for image in axes.images]
    if any(np.ma.is_masked(image.get_array()) for image in images):
        note = Patch(label="masked step: no value", **appearance.MASKED)
        style = {"fontsize": "small", "frameon": False}
        figure.legend(handles=[note], loc="outside lower right", **style)
