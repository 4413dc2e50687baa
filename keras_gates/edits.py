"""Edits of a signal: `clamp`, `scale`, `add` and `swap`.

Each returns an edit for `keras_gates.edit`, as in
`edit(model, {"lstm/forget": clamp(1.0)})`. It is applied to a signal right after it is
computed and before it is used, for the selected samples, time steps and units, and all
later values follow from it. Samples are counted from 0 in the data of a call. Time
steps are counted in the order of the input, as in a capture.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_gates.checks import Positions, real_numbers, type_of
from keras_gates.old_names import renamed

__all__ = ["Edit", "add", "clamp", "scale", "swap"]


@dataclasses.dataclass(frozen=True, eq=False)
class Edit:
    """A change of a signal, and where it acts.

    Attributes:
        action: "clamp", "scale", "add" or "swap".
        value: The value of the action, or a tree from which the signal is taken.
        samples: Which samples, or `None` for all.
        time: Which time steps, or `None` for all.
        units: Which units, or `None` for all.
    """

    action: str
    value: Any
    samples: Any = None
    time: Any = None
    units: Any = None


@renamed()
def clamp(
    value: Any,
    *,
    samples: Positions = None,
    time: Positions = None,
    units: Positions = None,
) -> Edit:
    """Sets a signal to a value. No gradient flows through it there.

    Args:
        value: A number, or an array that broadcasts to `(sample, time, unit)`, or to
            the selected part of it.
        samples: Which samples: a number, a list of numbers, or a slice. Default: all.
        time: Which time steps, in the order of the input. Default: all.
        units: Which units. Default: all.

    Returns:
        An edit for `keras_gates.edit`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is NaN or infinite.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> from keras_gates import edits
        >>> model = keras.Sequential(
        ...     [keras.Input((9, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> open_gate = edits.clamp(1.0, units=[3], time=slice(5, 9))
        >>> with keras_gates.edit(model, {"lstm/forget": open_gate}):
        ...     gates = keras_gates.capture(model, np.ones((2, 9, 1)))
        >>> float(gates["lstm/forget"][0, 5, 3])
        1.0
    """
    return Edit("clamp", _finite("value", value), samples, time, units)


@renamed()
def scale(
    factor: Any,
    *,
    samples: Positions = None,
    time: Positions = None,
    units: Positions = None,
) -> Edit:
    """Multiplies a signal by a factor.

    Args:
        factor: As `value` of `clamp`.
        samples: As for `clamp`.
        time: As for `clamp`.
        units: As for `clamp`.

    Returns:
        An edit for `keras_gates.edit`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is NaN or infinite.

    Example:
        >>> from keras_gates import edits
        >>> edits.scale(0.5, units=slice(0, 2)).action
        'scale'
    """
    return Edit("scale", _finite("factor", factor), samples, time, units)


@renamed()
def add(
    amount: Any,
    *,
    samples: Positions = None,
    time: Positions = None,
    units: Positions = None,
) -> Edit:
    """Adds an amount to a signal.

    Args:
        amount: As `value` of `clamp`.
        samples: As for `clamp`.
        time: As for `clamp`.
        units: As for `clamp`.

    Returns:
        An edit for `keras_gates.edit`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is NaN or infinite.

    Example:
        >>> from keras_gates import edits
        >>> edits.add(0.1, time=-1).time
        -1
    """
    return Edit("add", _finite("amount", amount), samples, time, units)


@renamed()
def swap(
    array: Any,
    *,
    samples: Positions = None,
    time: Positions = None,
    units: Positions = None,
) -> Edit:
    """Replaces a signal with the values of another capture (activation patching).

    Args:
        array: Values of another run, such as `gates["lstm/cell"]`, or a whole tree of
            `capture`, from which the signal of the same name is taken. A DataArray is
            aligned by the names of its dimensions. If it has a single sample, that
            sample is used for all. If it has several, the data must have the same
            number of samples. Steps that were masked in the other capture (NaN) are not
            changed, unless `time` selects them.
        samples: As for `clamp`.
        time: As for `clamp`.
        units: As for `clamp`.

    Returns:
        An edit for `keras_gates.edit`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is infinite.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> from keras_gates import edits
        >>> model = keras.Sequential(
        ...     [keras.Input((9, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> x = np.random.default_rng(0).normal(size=(6, 9, 1))
        >>> gates = keras_gates.capture(model, x)
        >>> last = gates["lstm/hidden"].isel(sample=5)
        >>> with keras_gates.edit(model, {"lstm/hidden": edits.swap(last, time=-1)}):
        ...     predicted = model.predict(x, verbose=0)
        >>> bool(np.allclose(predicted, last[-1]))
        True
    """
    if hasattr(array, "subtree") or hasattr(array, "data_vars"):  # A tree, a dataset.
        return Edit("swap", array, samples, time, units)
    values = real_numbers("array", array)
    if np.isinf(values).any():
        raise ValueError(
            "`array` must be finite, or NaN where steps were masked; got an infinite "
            "value."
        )
    named = hasattr(array, "dims")
    return Edit("swap", array if named else values, samples, time, units)


def _finite(name: str, value: Any) -> Any:
    values = real_numbers(name, value)
    if not np.isfinite(values).all():
        raise ValueError(
            f"`{name}` must be finite; got {type_of(value)} that contains NaN or "
            "infinity. For values of a capture, which are NaN where masked, use "
            "`edits.swap`."
        )
    return value if hasattr(value, "dims") else values


def __dir__() -> list[str]:
    return __all__
