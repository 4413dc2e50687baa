"""Measures of gates, searches, comparisons and a diagnosis.

Measures take the results of `capture` and `GateRecorder`: a tree, the dataset of one
layer or, if one gate is enough, its array. They return the same kind of object. They
reduce over samples, frames and time, and raise an error for a dimension that signals do
not have. They keep data in Dask arrays lazy, and read other data on disk a block at a
time. The searches, comparisons and the diagnosis read all data a block at a time.
Masked steps are NaN and are always omitted.
"""

from keras_gates.old_names import moved
from keras_gates.stats.diagnosis import Diagnosis, diagnose
from keras_gates.stats.findings import Finding
from keras_gates.stats.fixed_point import ranges
from keras_gates.stats.gate_measures import entropy, half_life, saturation, timescale
from keras_gates.stats.gate_pairs import match_units
from keras_gates.stats.gradient_sizes import gradient_flow
from keras_gates.stats.intervals import mean_interval
from keras_gates.stats.span_search import find_similar_spans
from keras_gates.stats.summaries import summary
from keras_gates.stats.unit_measures import dead_units, gate_correlation, memory_horizon
from keras_gates.stats.unit_search import find_units

__all__ = [
    "Diagnosis",
    "Finding",
    "dead_units",
    "diagnose",
    "entropy",
    "find_similar_spans",
    "find_units",
    "gate_correlation",
    "gradient_flow",
    "half_life",
    "match_units",
    "mean_interval",
    "memory_horizon",
    "ranges",
    "saturation",
    "summary",
    "timescale",
]


def __dir__() -> list[str]:
    return __all__


__getattr__ = moved(
    __name__,
    __all__,
    Symptom="Finding",
    correspondence="match_units",
    match="find_similar_spans",
)
