"""See what the gates of recurrent Keras models do: every gate, time step and unit.

What is listed here, and in `plots`, `stats` and `tasks`, is public. Everything else is
internal and may change.
"""

from keras_gates import edits, plots, stats, tasks
from keras_gates.capturing.capturing import capture
from keras_gates.capturing.clamping import importance
from keras_gates.capturing.deriving import gradients
from keras_gates.capturing.reaching import reach
from keras_gates.capturing.streaming import Stream, stream
from keras_gates.capturing.verifying import verify
from keras_gates.cells.registering import register_cell
from keras_gates.layers.gate_layers import GateGRU, GateGRUCell, GateLSTM, GateLSTMCell
from keras_gates.models.accelerating import accelerate
from keras_gates.models.editing import edit
from keras_gates.models.instrumenting import instrument, restore
from keras_gates.models.kernel_report import Kernels, LayerKernel
from keras_gates.models.kernels_in_use import kernels
from keras_gates.page.reporting import report
from keras_gates.recording.alarms import Alarm
from keras_gates.recording.recorder import GateRecorder
from keras_gates.study.comparing import compare
from keras_gates.study.differences import Difference
from keras_gates.study.recipe import Recipe
from keras_gates.study.result import Study
from keras_gates.study.rule import RuleOfThumb, rule_of_thumb
from keras_gates.vocabulary import VERSION as __version__

__all__ = [
    "Alarm",
    "Difference",
    "GateGRU",
    "GateGRUCell",
    "GateLSTM",
    "GateLSTMCell",
    "GateRecorder",
    "Kernels",
    "LayerKernel",
    "Recipe",
    "RuleOfThumb",
    "Stream",
    "Study",
    "__version__",
    "accelerate",
    "capture",
    "compare",
    "edit",
    "edits",
    "gradients",
    "importance",
    "instrument",
    "kernels",
    "plots",
    "reach",
    "register_cell",
    "report",
    "restore",
    "rule_of_thumb",
    "stats",
    "stream",
    "tasks",
    "verify",
]


def __dir__() -> list[str]:
    return __all__
