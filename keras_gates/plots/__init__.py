"""Figures of the results of `capture`, `GateRecorder` and `compare`.

A function that draws one panel takes and returns an Axes, `ax`; one that draws several
takes and returns a Figure, `fig`. By default, a new one is created without pyplot: save
it with `savefig` (of an Axes, with `ax.figure.savefig`), or let a notebook show it. For
a window, pass `fig=pyplot.figure()` or `ax=pyplot.gca()`. Further keyword arguments,
such as `cmap="magma"` or `linewidth=2`, are properties of the Matplotlib artists, and
replace those that the function sets.

A signal has the same colour in all figures. Gates are drawn on a sequential scale from
0 to 1, and candidate and states on a diverging scale with zero in the middle.
"""

from keras_gates.old_names import moved
from keras_gates.plots.coloured_text import text
from keras_gates.plots.gradient_curves import gradient_flow
from keras_gates.plots.heatmaps import compare_layers, heatmap
from keras_gates.plots.importance_bars import importance
from keras_gates.plots.reach_curves import reach
from keras_gates.plots.study_plots import differences, predictions, study
from keras_gates.plots.training_curves import evolution, ridges
from keras_gates.plots.unit_curves import trajectories
from keras_gates.plots.unit_scatter import memory_horizon, saturation, timescale

__all__ = [
    "compare_layers",
    "differences",
    "evolution",
    "gradient_flow",
    "heatmap",
    "importance",
    "memory_horizon",
    "predictions",
    "reach",
    "ridges",
    "saturation",
    "study",
    "text",
    "timescale",
    "trajectories",
]


def __dir__() -> list[str]:
    return __all__


__getattr__ = moved(
    __name__,
    __all__,
    gates="heatmap",
    pair="compare_layers",
    horizon="memory_horizon",
    timescales="timescale",
)
