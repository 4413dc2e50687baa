"""Look inside recurrent Keras models: every gate, every step, every unit."""

from keras_gates import plots, stats, tasks
from keras_gates.layers.gate_layers import GateGRU, GateGRUCell, GateLSTM, GateLSTMCell
from keras_gates.models.instrumenting import instrument, restore
from keras_gates.page.reporting import report
from keras_gates.reading.capturing import capture
from keras_gates.reading.verifying import verify
from keras_gates.recording.recorder import GateRecorder
from keras_gates.study.comparing import compare
from keras_gates.study.guide import rule_of_thumb
from keras_gates.study.recipe import Recipe
from keras_gates.vocabulary import VERSION

__version__ = VERSION

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
