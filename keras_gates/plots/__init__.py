"""Figures of what `capture`, `GateRecorder` and `compare` return.

Each function draws on the `figure` or `ax` it is given, or on a new one, and returns
it. A new one is not pyplot's: save it with `savefig` (an Axes knows its `figure`), let
a notebook show it, or pass `figure=pyplot.figure()` or `ax=pyplot.gca()` for a window.

The same signal has the same colour everywhere. Gates are drawn on one sequential
scale from 0 to 1, candidate and states on a diverging one with zero in its middle.
"""

from keras_gates.plots.coloured_text import text
from keras_gates.plots.gradient_curves import gradient_flow
from keras_gates.plots.heatmaps import gates, pair
from keras_gates.plots.importance_bars import importance
from keras_gates.plots.reach_curves import reach
from keras_gates.plots.study_plots import differences, predictions, study
from keras_gates.plots.training_curves import evolution, ridges
from keras_gates.plots.unit_curves import trajectories
from keras_gates.plots.unit_scatter import horizon, saturation, timescales

__all__ = [
    "differences",
    "evolution",
    "gates",
    "gradient_flow",
    "horizon",
    "importance",
    "pair",
    "predictions",
    "reach",
    "ridges",
    "saturation",
    "study",
    "text",
    "timescales",
    "trajectories",
]


def __dir__() -> list[str]:
    return __all__
