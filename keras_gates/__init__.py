"""Look inside recurrent Keras models: every gate, every step, every unit."""

from keras_gates import plots, stats, tasks
from keras_gates.capture import capture
from keras_gates.compare import compare
from keras_gates.guide import rule_of_thumb
from keras_gates.instrument import instrument, restore
from keras_gates.layers import GateGRU, GateGRUCell, GateLSTM, GateLSTMCell
from keras_gates.recipe import Recipe
from keras_gates.recorder import GateRecorder
from keras_gates.report import report
from keras_gates.verify import verify

__version__ = "0.1.0"

__all__ = [
    "GateGRU",
    "GateGRUCell",
    "GateLSTM",
    "GateLSTMCell",
    "GateRecorder",
    "Recipe",
    "capture",
    "compare",
    "instrument",
    "plots",
    "report",
    "restore",
    "rule_of_thumb",
    "stats",
    "tasks",
    "verify",
]
