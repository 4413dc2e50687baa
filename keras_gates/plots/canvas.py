"""The common parts of all figures: one size, one set of colours, and no pyplot."""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.checks import type_of
from keras_gates.trees import appearance
from keras_gates.trees.labels import labelled, labels_of, words

if TYPE_CHECKING:
    import xarray
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


Function = TypeVar("Function", bound=Callable)

OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
OTHER_LINES = ("-", "--", ":")


WIDTH = 7.0
"""In inches: the text width of a page and, at 100 dots per inch, of a notebook."""


def new_figure(height: float) -> Figure:
    """Returns a figure that a notebook can show, created without pyplot.

    Args:
        height: In inches.

    Example:
        >>> new_figure(height=2).get_size_inches()
        array([7., 2.])
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    # A notebook calls this method to show an object.
    figure._repr_png_ = functools.partial(_png, figure)
    return figure


def new_axes(height: float = 3.2) -> Axes:
    """Returns Axes for curves, the only ones on a new figure.

    Args:
        height: In inches.

    Example:
        >>> len(new_axes().figure.axes)
        1
    """
    figure = new_figure(height)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes._repr_png_ = figure._repr_png_
    return axes


def axes_of(ax: Any) -> Axes | None:
    """Returns the Axes of Matplotlib to draw on, or `None` for new ones."""
    from matplotlib.axes import Axes

    if not (ax is None or isinstance(ax, Axes)):
        raise TypeError(
            f"`ax` must be the Axes of Matplotlib to draw on, such as "
            f"`pyplot.gca()`, or None for new ones; got {type_of(ax)}."
        )
    return ax


def figure_of(fig: Any) -> Figure | None:
    """Returns the figure of Matplotlib to draw on, or `None` for a new one."""
    from matplotlib.figure import FigureBase

    if not (fig is None or isinstance(fig, FigureBase)):
        raise TypeError(
            f"`fig` must be the Figure of Matplotlib to draw on, such as "
            f"`pyplot.figure()`, or None for a new one; got {type_of(fig)}."
        )
    return fig


def styled(artist: str, *more: str) -> Callable[[Function], Function]:
    """Lets a function take properties of a Matplotlib artist, and checks their names.

    Args:
        artist: The class of the artist, such as "lines.Line2D".
        *more: Further arguments of the method of the Axes that draws the artist.

    Returns:
        A decorator. The function receives the properties as `**kwargs`, each under its
        full name: `linewidth` for `lw`.

    Example:
        >>> @styled("lines.Line2D")
        ... def curve(layer, **kwargs):
        ...     return kwargs
        >>> curve(None, lw=2)
        {'linewidth': 2}
        >>> curve(None, samples=2)
        Traceback (most recent call last):
        TypeError: `curve` has no argument `samples`. It has `layer`, and the \
properties of `matplotlib.lines.Line2D`.
    """

    def decorate(function: Function) -> Function:
        own = list(inspect.signature(function).parameters)[:-1]

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            style = {name: kwargs.pop(name) for name in kwargs.keys() - set(own)}
            if style:
                style = _properties(artist, style)
            for name in style.keys() - _known_properties(artist) - set(more):
                listed = ", ".join(f"`{one}`" for one in own)
                raise TypeError(
                    f"`{function.__name__}` has no argument `{name}`. It has "
                    f"{listed}, and the properties of `matplotlib.{artist}`."
                )
            return function(*args, **kwargs, **style)

        return cast(Function, checked)

    return decorate


def _class_of(artist: str) -> type[Artist]:
    module, name = artist.split(".")
    return getattr(importlib.import_module(f"matplotlib.{module}"), name)


def _properties(artist: str, style: dict[str, Any]) -> dict[str, Any]:
    from matplotlib import cbook

    return cbook.normalize_kwargs(style, _class_of(artist))


@functools.cache
def _known_properties(artist: str) -> frozenset[str]:
    from matplotlib.artist import ArtistInspector

    return frozenset(ArtistInspector(_class_of(artist)).get_setters())


def convention(attributes: Mapping[Any, Any], *shown: str) -> str:
    r"""Returns the line that states the convention of a kind, unless a label does.

    Args:
        attributes: The attributes of a layer of that kind.
        shown: The signals whose long names are on the figure.

    Example:
        >>> convention({"cell_type": "GRU"}, "hidden")
        '\nupdate: 1 keeps the old state'
        >>> convention({"cell_type": "GRU"}, "update")
        ''
    """
    known = registry.kind_from(attributes)
    if known is None or known.convention is None or known.keep in shown:
        return ""
    return f"\n{known.convention}"


def whole_numbers(axis: Axis) -> None:
    """Puts ticks at a few whole numbers only, because units and epochs are whole."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(
        MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )


def ticks_of_places(axis: Axis, data: Any, dim: str) -> None:
    """Puts ticks at a few places along a dimension: their labels, or their positions.

    Args:
        axis: An axis on which the first place is at 0, the second at 1.
        data: A DataArray or a Dataset.
        dim: The dimension.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    whole_numbers(axis)
    if not labelled(data, dim):
        return
    names = words(labels_of(data, dim))
    few = 6
    if axis.axis_name == "x":  # Long names would overlap; hours go below days.
        if data.coords[dim].dtype.kind == "M":
            names = [name.replace(" ", "\n") for name in names]
        longest = max(len(line) for name in names for line in [*name.split("\n"), " "])
        few = max(1, min(few, 28 // longest))
    nice = MaxNLocator(few, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    places = range(len(names))
    ticks = [at for at in nice.tick_values(0, len(names) - 1) if at in places]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(
        FuncFormatter(lambda at, _: plain(names[int(at)]) if at in places else "")
    )


def plain(text: str) -> str:
    r"""Returns a text in a form that is drawn literally, not as mathematics.

    Example:
        >>> plain("$x")
        '\\$x'
    """
    return text.replace("$", r"\$")


def time_label(data: Any) -> str:
    """Returns the label of a time axis, whose ticks are counted steps or labels."""
    return v.TIME if labelled(data, v.TIME) else f"{v.TIME} (step)"


def ticks_of_steps(low: float, high: float) -> list[float]:
    """Returns ticks for a logarithmic axis of steps: 1, 2, 5, 10 or, if many, 1, 10.

    Example:
        >>> ticks_of_steps(3, 60)
        [5.0, 10.0, 20.0, 50.0]
    """
    many = high > 300 * low
    ticks = [
        float(f"{digit}e{power}")
        for power in range(-3, 9)
        for digit in ((1,) if many else (1, 2, 5))
    ]
    return [tick for tick in ticks if low <= tick <= high]


def shade_masked(axes: Axes, signal: xarray.DataArray) -> None:
    """Hatches the time steps at which a signal is masked.

    Args:
        axes: Axes whose x axis counts time steps.
        signal: A signal with the dimensions (time, unit).
    """
    import numpy as np

    masked = np.isnan(signal.values).all(axis=-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], masked, [0]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        axes.axvspan(start - 0.5, stop - 0.5, zorder=0, **appearance.MASKED)


def line_styles(names: Iterable[Any]) -> dict[Any, dict[str, str]]:
    """Returns the style of each line; an architecture has the same in all figures.

    Args:
        names: The names of the lines. The kinds of cells have fixed colours.

    Example:
        >>> line_styles(["mine", "GRU"])["GRU"]
        {'color': '#D55E00'}
    """
    others = itertools.cycle(
        {"color": colour, "linestyle": line}
        for line in OTHER_LINES
        for colour in OTHER_COLOURS
    )
    return {
        name: {"color": registry.STOCK[name].colour}
        if name in registry.STOCK
        else next(others)
        for name in names
    }


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
