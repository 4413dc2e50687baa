"""What gates mean: measures, searches, comparisons and a diagnosis.

Measures take what `capture` and `GateRecorder` return, a tree, the dataset of one layer
or, where one gate is enough, its array, and return the same kind of object. They reduce
over samples, frames and time, and refuse a dimension that signals do not have. Data in
Dask arrays stay lazy; other data on disk are read a block at a time, as the other
functions read all data. Masked steps are NaN and are left out of everything.
"""

from keras_gates.stats.diagnosis import Diagnosis, Symptom, diagnose
from keras_gates.stats.fixed_point import ranges
from keras_gates.stats.gate_measures import entropy, half_life, saturation, timescale
from keras_gates.stats.gate_pairs import correspondence
from keras_gates.stats.gradient_sizes import gradient_flow
from keras_gates.stats.intervals import mean_interval
from keras_gates.stats.span_search import match
from keras_gates.stats.summaries import summary
from keras_gates.stats.unit_measures import dead_units, gate_correlation, memory_horizon
from keras_gates.stats.unit_search import find_units

__all__ = [
    "Diagnosis",
    "Symptom",
    "correspondence",
    "dead_units",
    "diagnose",
    "entropy",
    "find_units",
    "gate_correlation",
    "gradient_flow",
    "half_life",
    "match",
    "mean_interval",
    "memory_horizon",
    "ranges",
    "saturation",
    "summary",
    "timescale",
]


def __dir__() -> list[str]:
    return __all__
