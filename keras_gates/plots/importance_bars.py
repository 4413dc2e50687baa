"""The importance of units: a bar for each clamp, the largest change first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates.checks import type_of, whole_number
from keras_gates.old_names import renamed
from keras_gates.plots import canvas
from keras_gates.trees import appearance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR = 0.22
"""The height of a figure for each bar, in inches."""


@renamed(most="top")
@canvas.styled("patches.Rectangle")
def importance(
    table: Any, *, top: int = 20, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draws the units whose clamping changes the loss most, from `importance`.

    A bar is one clamp, in the colour of its signal: one unit, a group of similar units,
    or all units of the signal. The line over it is the 95 % interval of the mean over
    samples. The numbers are those of `keras_gates.importance`.

    Args:
        table: The result of `keras_gates.importance`, or some of its rows, such as
            `table[table["group"] == "unit"]`. They are drawn in their order.
        top: The largest number of rows to draw.
        ax: The Axes to draw on. Default: new ones.
        **kwargs: Properties of `matplotlib.patches.Rectangle` for the bars, such as
            `color="grey"`.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no row, or a column is missing.
        TypeError: If `table` is not a table.

    Example:
        >>> import pandas
        >>> table = pandas.DataFrame(
        ...     {
        ...         "layer": ["lstm", "lstm"],
        ...         "signal": ["cell", "forget"],
        ...         "group": ["unit", "all units"],
        ...         "units": [(2,), (0, 1, 2)],
        ...         "change": [0.5, 0.1],
        ...         "change_low": [0.4, 0.0],
        ...         "change_high": [0.6, 0.2],
        ...     }
        ... )
        >>> [label.get_text() for label in importance(table).get_yticklabels()]
        ['lstm/cell, unit 2', 'lstm/forget, all units']
    """
    import pandas

    if not isinstance(table, pandas.DataFrame):
        raise TypeError(
            "`table` must be what `keras_gates.importance` returned; got "
            f"{type_of(table)}."
        )
    wanted = ["layer", "signal", "group", "units", "change", "change_low"]
    wanted += ["change_high"]
    missing = [name for name in wanted if name not in table]
    if missing or table.empty:
        defect = f"no column '{missing[0]}'" if missing else "no row"
        raise ValueError(
            f"`table` must be what `keras_gates.importance` returned; it has {defect}."
        )
    ax = canvas.axes_of(ax)
    top = whole_number("top", top, at_least=1)
    rows = table.head(top)
    axes = ax or canvas.new_axes(height=0.8 + BAR * max(len(rows), 4))
    places = np.arange(len(rows))
    change, low, high = (
        rows[name].to_numpy(float) for name in ("change", "change_low", "change_high")
    )
    colours = [appearance.colour_of(signal) for signal in rows["signal"]]
    style = {"height": 0.7, "color": colours, "alpha": 0.75, **kwargs}
    axes.barh(places, change, **style)
    known = ~np.isnan(low)  # A single sample has no interval.
    axes.errorbar(
        change[known],
        places[known],
        xerr=[(change - low)[known], (high - change)[known]],
        fmt="none",
        ecolor="0.2",
        elinewidth=0.9,
        capsize=2,
    )
    axes.axvline(0, color="0.4", linewidth=0.8)
    names = zip(
        rows["layer"], rows["signal"], rows["group"], rows["units"], strict=True
    )
    axes.set_yticks(places, [canvas.plain(_name(*row)) for row in names])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("change when clamped, mean over samples, 95 % interval")
    return axes


def _name(layer: str, signal: str, group: str, units: tuple[int, ...]) -> str:
    """Returns the name of the clamped signal and units."""
    key = f"{layer}/{signal}"
    if len(units) == 1:
        return f"{key}, unit {units[0]}"
    if group == "all units":
        return f"{key}, all units"
    if len(units) > 4:
        return f"{key}, {len(units)} similar units"
    return f"{key}, units {', '.join(map(str, units))}"
