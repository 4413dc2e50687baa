"""The recipe by which models are built, the same around each kind of layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_gates.checks import function_of, one_of, type_of, whole_number
from keras_gates.old_names import renamed

MATCHES = ("units", "parameters")
NEW_LAYERS = (
    "that returns new layers, since each model needs its own, such as "
    "`lambda: keras.layers.Dense(1)`"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How `compare(["LSTM", "GRU"], ...)` builds a model around each kind of layer.

    The layers are called "lstm", "lstm_1" and so on, as Keras would call them. The last
    one returns its whole sequence if the targets have a time axis of the same length as
    the inputs. The model takes sequences of any length if the training and validation
    sequences differ in length.

    Attributes:
        units: Units of each recurrent layer; with `match="parameters"`, of the first
            architecture.
        layers: The number of stacked recurrent layers.
        stem: A function that returns a new layer, or a list of new layers, to put
            before the first recurrent layer, such as `keras.layers.Masking`. By
            default, an `Embedding` of `units` for integer inputs of shape
            `(sample, time)`, and nothing for others.
        head: A function that returns a new layer, or a list of new layers, to put after
            the last recurrent layer. By default, a `Dense` layer: with a softmax over
            the classes for integer targets, and linear for others.
        loss: For `model.compile`. By default, "sparse_categorical_crossentropy" for
            integer targets, and "mse" for others.
        metrics: For `model.compile`. By default, "accuracy" for integer targets.
        optimizer: The name of an optimizer, or a function that returns a new one.
        match: "units" gives all architectures the same number of units. "parameters"
            finds the units that bring the parameters of each model closest to those of
            the first one.

    Raises:
        ValueError: If a number is below 1, `match` has another value, or Keras does
            not know the loss, the metric or the optimizer.
        TypeError: If `stem`, `head`, `loss`, `metrics` or `optimizer` has another
            type.

    Example:
        >>> import keras_gates
        >>> keras_gates.Recipe(units=16, match="parameters").layers
        1
    """

    units: int = 32
    layers: int = 1
    stem: Callable[[], Any] | None = None
    head: Callable[[], Any] | None = None
    loss: Any = None
    metrics: Sequence[Any] | None = None
    optimizer: str | Callable[[], keras.optimizers.Optimizer] = "adam"
    match: str = "units"

    def __post_init__(self):
        whole_number("units", self.units, at_least=1)
        whole_number("layers", self.layers, at_least=1)
        one_of("match", self.match, MATCHES)
        for name, make in (("stem", self.stem), ("head", self.head)):
            function_of(name, make, NEW_LAYERS)
        made = isinstance(self.optimizer, keras.optimizers.Optimizer)
        if made or not (isinstance(self.optimizer, str) or callable(self.optimizer)):
            raise TypeError(
                "`optimizer` must be a name, or a function that returns a new "
                "optimizer, since each model needs its own; got "
                f"{type_of(self.optimizer)}. Use `lambda: keras.optimizers.Adam(1e-3)`."
            )
        if self.metrics is not None and not isinstance(self.metrics, list | tuple):
            raise TypeError(
                "`metrics` must be a list of metrics, such as ['accuracy']; got "
                f"{type_of(self.metrics)}."
            )
        _known_to_keras("optimizer", [self.optimizer], keras.optimizers.get)
        if self.loss is not None:
            _known_to_keras("loss", [self.loss], keras.losses.get)
        _known_to_keras("metrics", self.metrics or (), _metric)


Recipe.__init__ = renamed(front="stem")(Recipe.__init__)  # type: ignore[method-assign]


def _metric(name: str) -> Any:
    # `model.compile` also takes these words, whose meaning depends on the loss.
    words = ("accuracy", "acc", "crossentropy", "ce")
    return name if name in words else keras.metrics.get(name)


def _known_to_keras(argument: str, given: Sequence[Any], get: Callable) -> None:
    """Refuses names that Keras does not know, and objects of other types."""
    for entry in given:
        if isinstance(entry, str):
            try:
                get(entry)
            except ValueError:
                raise ValueError(
                    f"`{argument}` must be a name that Keras knows; got {entry!r}."
                ) from None
        elif not callable(entry) or isinstance(entry, keras.Layer):
            raise TypeError(
                f"`{argument}` must be a name or a function; got {type_of(entry)}."
            )
