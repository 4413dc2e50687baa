"""What gates mean: measures of single gates, of whole units, and tables.

The functions take what `capture` and `GateRecorder` return, a tree, the dataset of
one layer or, where one gate is enough, its array, and give back the same kind of
object. They reduce over every dimension but `unit` and `step`. Masked steps are NaN and
are left out. They are xarray operations throughout, so data that lie on disk stay lazy.
"""

from keras_gates.diagnosis import diagnose
from keras_gates.intervals import mean_interval
from keras_gates.measures import entropy, half_life, saturation, timescale
from keras_gates.summaries import summary
from keras_gates.units import dead_units, gate_correlation, memory_horizon

__all__ = [
    "dead_units",
    "diagnose",
    "entropy",
    "gate_correlation",
    "half_life",
    "mean_interval",
    "memory_horizon",
    "saturation",
    "summary",
    "timescale",
]
