"""The report of `kernels`: a record for each layer, with sentences about it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import keras

from keras_gates.backend import kernel_names as names
from keras_gates.models.shown_text import ShownAsText
from keras_gates.models.watched_runs import Caught, Run

if TYPE_CHECKING:
    import pandas

LENGTH = 400
"""The number of characters that are shown of an exception's message."""


@dataclasses.dataclass(frozen=True)
class LayerKernel(ShownAsText):
    """The kernel that runs one recurrent layer.

    Attributes:
        layer: The path of the layer, as in a capture.
        cls: The class of the layer.
        inference: The name of the kernel that runs it in inference, such as "cuDNN",
            "XLA scan", "TensorFlow while loop", "Python loop" or "keras_gates fast
            kernel"; several, joined by " and ", if its calls run in several.
        training: The same for training.
        masked: Whether a mask arrives at the layer.
        reasons: Sentences that state why no faster kernel runs it.
        advice: Sentences that state how to get a faster kernel.
        speedup: The measured speedup by the best change, a dict with the ratio for
            "inference" and "training". Empty without `measure=True`, and if there is
            nothing to compare with.
    """

    layer: str
    cls: str
    inference: str
    training: str
    masked: bool
    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    speedup: dict[str, float] = dataclasses.field(default_factory=dict)

    def __str__(self):
        return _paragraph([self])


@dataclasses.dataclass(frozen=True)
class Kernels(ShownAsText):
    """The kernel that runs each recurrent layer of a model: `print` it.

    Attributes:
        layers: A record for each layer, in the order of the model.
        backend: The backend of Keras.
        gpu: Whether the backend has a GPU here.
    """

    layers: tuple[LayerKernel, ...]
    backend: str
    gpu: bool

    def __iter__(self) -> Iterator[LayerKernel]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, path: str) -> LayerKernel:
        for one in self.layers:
            if one.layer == path:
                return one
        known = ", ".join(f"'{one.layer}'" for one in self.layers)
        raise KeyError(f"There is no layer {path!r}; the layers are {known}.")

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a table with a row for each layer, by its path.

        Returns:
            The columns are `class`, `inference`, `training`, `masked`, `reasons` and
            `advice`, each in one string, `inference_speedup` and `training_speedup`.
        """
        import pandas

        rows = [
            {
                "layer": one.layer,
                "class": one.cls,
                "inference": one.inference,
                "training": one.training,
                "masked": one.masked,
                "reasons": " ".join(one.reasons),
                "advice": " ".join(one.advice),
                "inference_speedup": one.speedup.get("inference", float("nan")),
                "training_speedup": one.speedup.get("training", float("nan")),
            }
            for one in self.layers
        ]
        return pandas.DataFrame(rows).set_index("layer")

    def __str__(self):
        where = "with a GPU" if self.gpu else "without a GPU"
        head = f"Keras {keras.version()} on {self.backend}, {where}"
        # Layers with the same sentences are listed together.
        same = itertools.groupby(self.layers, lambda one: _sentences(one))
        return "\n".join([head, *(_paragraph(list(some)) for _, some in same)])


def _sentences(one: LayerKernel) -> list[str]:
    if one.inference == one.training == names.NOT_RUN:
        does = "did not run"
    elif one.inference == one.training:
        does = f"{one.inference}, in inference and in training"
    else:
        does = f"{one.inference} in inference, {one.training} in training"
    return [f"({one.cls}): {does}", *one.reasons, *one.advice]


def _paragraph(same: list[LayerKernel]) -> str:
    head, *others = _sentences(same[0])
    paths = ", ".join(f"'{one.layer}'" for one in same)
    return "\n".join([f"{paths} {head}", *(f"  - {one}" for one in others)])


def joined(runs: list[Run]) -> str:
    """Returns the names of the kernels of several runs, each once."""
    kernels = dict.fromkeys(run.kernel for run in runs)
    return " and ".join(kernels) or names.NOT_RUN


def described(run: Run) -> str:
    """Returns a description of the kernel that runs a layer."""
    what = names.DESCRIPTIONS[run.kernel]
    if run.kernel not in (names.XLA_SCAN, names.TENSORFLOW_LOOP, names.PYTHON_LOOP):
        return what
    calls = "calls the cell at every step" if run.cell_calls else "calls no cell"
    return f"{what} that {calls}"


def caught_by_keras(runs: list[Run]) -> list[str]:
    """Returns a sentence for each exception that Keras caught in these runs."""
    sentences = [
        f"The kernel of {name} ran, and Keras dropped its result."
        for run in runs
        for name in run.dropped
    ]
    for run in runs:
        inner = {
            id(below) for one in run.errors for below in list(_below(one.error))[1:]
        }
        sentences += [
            _sentence(one) for one in run.errors if id(one.error) not in inner
        ]
    return list(dict.fromkeys(sentences))


def _sentence(caught: Caught) -> str:
    for error in _below(caught.error):
        words = one_line(error)
        if words:
            return (
                f"Keras caught a {type(error).__name__} in its function "
                f'`{caught.function}`, and silently ran other code: "{words}"'
            )
    return (
        f"Keras called its function `{caught.function}` first, which raised a "
        f"{type(caught.error).__name__} without a reason."
    )


def _below(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception, its cause, the cause of this, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def one_line(error: BaseException) -> str:
    """Returns the message of an exception, without Keras's colours."""
    plain = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split())
    return plain if len(plain) <= LENGTH else f"{plain[: LENGTH - 3]}..."
