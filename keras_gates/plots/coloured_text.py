"""A text, coloured by the value of a unit at each character or word."""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.checks import one_of, type_of
from keras_gates.old_names import renamed
from keras_gates.plots import canvas
from keras_gates.trees import appearance
from keras_gates.trees.choose_layer import PICTURE, one_layer, one_sample, sample_of
from keras_gates.trees.data_checks import needed, quoted
from keras_gates.trees.labels import labels_of, place_of, word, words

if TYPE_CHECKING:
    import xarray
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    from keras_gates.trees.types import Layer

COLUMNS = 80
"""The number of characters in a line."""

SHOWN = {"\n": "↵", "\r": "←", "\t": "→", " ": " "}
"""The symbols for invisible characters."""

FONT = "DejaVu Sans Mono"
ADVANCE = 0.602
"""The width of a character of this font, in font sizes."""

GREY = "0.93"


@renamed(figure="fig")
@canvas.styled("text.Text")
def text(
    layer: Layer,
    tokens: str | Sequence[str],
    *,
    unit: Any,
    signal: str = v.HIDDEN,
    sample: Any = None,
    fig: Figure | None = None,
    **kwargs: Any,
) -> Figure:
    """Draws a text with the value of one unit as the colour behind each token.

    A notebook shows it as HTML, with the value of the token under the pointer.

    Args:
        layer: A layer of what `capture` returns: a DataTree node or a Dataset, its
            signals with dimensions `(sample, time, unit)`.
        tokens: The tokens that the layer read in this sample: a string, with a
            character for each step, or the words. For a padded sample, the tokens of
            the unmasked steps are enough.
        unit: The label of the unit, or its position where units have no labels.
        signal: The signal to draw.
        sample: The label of the sample, or its position. Default: the first one.
        fig: The figure to draw on. Default: a new one of the height that the text
            needs.
        **kwargs: Properties of `matplotlib.text.Text` for the letters, such as
            `fontweight="bold"`.

    Returns:
        The figure. Words are separated by spaces; a line feed is drawn as ↵ and ends
        the line. Masked steps are grey.

    Raises:
        ValueError: If the signal is missing, if the number of tokens is not the number
            of steps, or if two units or samples have the given label.
        IndexError: If there is no such unit or sample.
        TypeError: If `layer` is not a layer, or a token is not a string.

    Example:
        >>> import xarray
        >>> hidden = (("sample", "time", "unit"), [[[0.1], [0.9], [-0.9]]])
        >>> layer = xarray.Dataset({"hidden": hidden}, attrs={"cell_type": "GRU"})
        >>> figure = text(layer, "a b", unit=0)
        >>> [character.get_text() for character in figure.axes[0].texts]
        ['a', ' ', 'b']

    Reference:
        Karpathy, Johnson and Li (2015), Visualizing and Understanding Recurrent
        Networks, arXiv:1506.02078, figure 2.
    """
    layer = one_layer(layer, "layer", dims=PICTURE)
    fig = canvas.figure_of(fig)
    one_of("signal", signal, registry.signals())
    needed(layer, "layer", (signal,))
    sequence = one_sample(layer, sample, [signal])[signal]
    place = place_of("unit", unit, sequence, v.UNIT)
    tokens, steps = _tokens_and_steps(tokens, sequence)
    values = sequence.isel({v.UNIT: place}).values[steps]
    scale = _scale(signal, values)
    name = registry.long_names()[signal]
    label = f"{name} of unit {word(sequence, v.UNIT, place)} in {quoted(layer)} "
    label += f"({layer.attrs['cell_type']}), sample {sample_of(sequence)}"
    label += canvas.convention(layer.attrs, signal)
    fig = _draw(tokens, values, scale, label, fig, kwargs)
    # A notebook calls this method to show an object, and prefers HTML to an image.
    names = words(labels_of(sequence, v.TIME)[steps])
    fig._repr_html_ = functools.partial(_html, tokens, names, values, scale, label)
    return fig


def _tokens_and_steps(
    tokens: str | Sequence[str], sequence: xarray.DataArray
) -> tuple[list[str], np.ndarray]:
    """Returns the tokens and the step of each."""
    if isinstance(tokens, (Sequence, np.ndarray)) and np.iterable(tokens):
        wrong = [token for token in tokens if not isinstance(token, str)]
    else:
        wrong = [] if isinstance(tokens, str) else [tokens]
    if wrong:
        raise TypeError(
            "`tokens` must be a string, or strings, one for each step; got "
            f"{type_of(wrong[0])}. Convert codes back to words first."
        )
    real = sequence.notnull().any(v.UNIT).values
    steps = np.flatnonzero(real) if len(tokens) == real.sum() else np.arange(len(real))
    if len(tokens) != len(steps):
        raise ValueError(
            f"`tokens` must have one token for each of the {len(real)} steps of the "
            f"sample, or for each of its {real.sum()} unmasked steps; got "
            f"{len(tokens)}."
        )
    return list(map(str, tokens)), steps


def _scale(signal: str, values: np.ndarray) -> ScalarMappable:
    """Returns the colours of the values of a signal."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = appearance.scale(signal, values)
    limits = Normalize(scale["vmin"], scale["vmax"])
    return ScalarMappable(limits, colormaps[scale["cmap"]])


def _colours(scale: ScalarMappable, value: float) -> tuple[str, str]:
    """Returns the background colour, and a text colour that can be read on it."""
    from matplotlib.colors import to_hex

    if np.isnan(value):
        return to_hex(GREY), "#000000"
    ground = scale.to_rgba(value)
    light = np.dot(ground[:3], (0.299, 0.587, 0.114))
    return to_hex(ground), "#000000" if light > 0.5 else "#ffffff"


def _places(tokens: list[str]) -> list[tuple[int, int]]:
    """Returns the line and the column at which each token begins."""
    gap = int(any(len(token) > 1 for token in tokens))  # A space between words.
    places, line, column = [], 0, 0
    for token in tokens:
        if column and column + len(token) > COLUMNS:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(token) + gap
        if token.endswith("\n"):
            line, column = line + 1, 0
    return places


def _draw(
    tokens: list[str],
    values: np.ndarray,
    scale: ScalarMappable,
    label: str,
    figure: Figure | None,
    properties: dict[str, Any],
) -> Figure:
    from matplotlib.patches import Rectangle

    places = _places(tokens)
    lines = 1 + max((line for line, _ in places), default=0)
    figure = figure or canvas.new_figure(height=0.19 * lines + 0.75)
    axes = figure.subplots()
    width = max(COLUMNS, *map(len, tokens), 0)
    size = 0.97 * figure.get_figwidth() * 72 / width / ADVANCE
    for token, value, (line, column) in zip(tokens, values, places, strict=True):
        ground, ink = _colours(scale, value)
        corner = (column, line - 0.5)
        axes.add_patch(Rectangle(corner, len(token), 1, facecolor=ground, linewidth=0))
        shown = "".join(SHOWN.get(character, character) for character in token)
        letter_style = {
            "fontfamily": FONT,
            "fontsize": size,
            "color": ink,
            "parse_math": False,
        }
        letter_style |= {"horizontalalignment": "center", "verticalalignment": "center"}
        axes.text(column + len(token) / 2, line, shown, **letter_style | properties)
    axes.set(xlim=(0, width), ylim=(lines - 0.5, -0.5))
    axes.set_axis_off()
    thick = 0.09 / figure.get_figheight()  # The same for any number of lines.
    gap = 0.04 / figure.get_figheight()
    style = {"orientation": "horizontal", "aspect": 60, "pad": gap}
    bar = figure.colorbar(scale, ax=axes, fraction=thick, **style)
    bar.set_label(label, fontsize="small", parse_math=False)
    bar.ax.tick_params(labelsize="small")
    return figure


def _html(
    tokens: list[str],
    names: list[str],
    values: np.ndarray,
    scale: ScalarMappable,
    label: str,
) -> str:
    gap = " " if any(len(token) > 1 for token in tokens) else ""
    spans = []
    for name, token, value in zip(names, tokens, values, strict=True):
        ground, ink = _colours(scale, value)
        shown = html.escape(
            "".join(SHOWN.get(character, character) for character in token)
        )
        shown += "\n" if token.endswith("\n") else ""
        number = "no value" if np.isnan(value) else f"{value:.4f}"
        spans.append(
            f'<span title="step {html.escape(name)}: {number}" '
            f'style="background:{ground};color:{ink}">{shown}</span>'
        )
    low, high = scale.get_clim()
    ends = [
        f'<span style="background:{_colours(scale, end)[0]};'
        f'color:{_colours(scale, end)[1]}">&nbsp;{end:.2g}&nbsp;</span>'
        for end in (low, high)
    ]
    words = html.escape(label).replace("\n", "; ")
    caption = f"{ends[0]} to {ends[1]}: {words}"
    return (
        '<figure style="margin:0"><pre style="white-space:pre-wrap;line-height:1.5">'
        f"{gap.join(spans)}</pre><figcaption>{caption}</figcaption></figure>"
    )
