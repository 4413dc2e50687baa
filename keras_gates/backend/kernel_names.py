"""The names of the kernels that may run a recurrent layer."""

CUDNN = "cuDNN"
MIOPEN = "MIOpen"
ONEDNN = "oneDNN"
FUSED_CELLS = "PyTorch's fused cells"
FAST = "keras_gates fast kernel"
XLA_SCAN = "XLA scan"
TENSORFLOW_LOOP = "TensorFlow while loop"
UNROLLED = "unrolled steps"
PYTHON_LOOP = "Python loop"
UNKNOWN = "unknown kernel"
NOT_RUN = "not run"

OF_GPUS = frozenset({CUDNN, MIOPEN})
"""The kernels of GPU makers, which are the fastest."""

DESCRIPTIONS = {
    CUDNN: "the kernel of cuDNN",
    MIOPEN: "the kernel of MIOpen",
    ONEDNN: "the kernel of oneDNN",
    FUSED_CELLS: "PyTorch's fused cells",
    FAST: "a fast kernel of keras_gates",
    XLA_SCAN: "a scan that XLA compiles",
    TENSORFLOW_LOOP: "a while loop of TensorFlow",
    UNROLLED: "a program in which every step is unrolled",
    PYTHON_LOOP: "a loop in Python",
    UNKNOWN: "a kernel that is not known",
}
"""The words for each kernel in a sentence."""
