"""The gate layers and cells: Keras's own, which can also return their gates."""

from __future__ import annotations

from typing import Any

import keras

from keras_gates.cells.kind import Kind
from keras_gates.cells.registry import STOCK
from keras_gates.layers.gate_mixins import GateCell, GateRecurrence, named_as_stock


@named_as_stock
class GateLSTMCell(GateCell, keras.layers.LSTMCell):
    """`keras.layers.LSTMCell` that can return its gates.

    Takes every argument of `keras.layers.LSTMCell`, and works wherever that cell does.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[hidden, cell]`, each `(batch, units)`.
        training: Whether dropout is active.
        return_gates: Whether to return the signals too.

    Returns:
        `(output, new_states)`, or `(output, new_states, gates)` with
        `return_gates=True`, where `gates` holds `input`, `forget`, `candidate`,
        `output`, `cell` and `hidden`, each `(batch, units)`.

    Example:
        >>> import numpy as np
        >>> from keras_gates import GateLSTMCell
        >>> cell = GateLSTMCell(4)
        >>> states = cell.get_initial_state(batch_size=2)
        >>> output, states, gates = cell(np.ones((2, 3)), states, return_gates=True)
        >>> tuple(gates["forget"].shape)
        (2, 4)
    """


@named_as_stock
class GateGRUCell(GateCell, keras.layers.GRUCell):
    """`keras.layers.GRUCell` that can return its gates.

    Takes every argument of `keras.layers.GRUCell`, and works wherever that cell does.
    An `update` of 1 keeps the old state.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[hidden]` or `hidden`, `(batch, units)`.
        training: Whether dropout is active.
        return_gates: Whether to return the signals too.

    Returns:
        `(output, new_states)`, or `(output, new_states, gates)` with
        `return_gates=True`, where `gates` holds `update`, `reset`, `candidate` and
        `hidden`, each `(batch, units)`.

    Example:
        >>> import numpy as np
        >>> from keras_gates import GateGRUCell
        >>> cell = GateGRUCell(4)
        >>> states = cell.get_initial_state(batch_size=2)
        >>> output, states, gates = cell(np.ones((2, 3)), states, return_gates=True)
        >>> tuple(gates["update"].shape)
        (2, 4)
    """


@named_as_stock
class GateLSTM(GateRecurrence, keras.layers.LSTM):
    """`keras.layers.LSTM` that can return its gates.

    Takes every argument of `keras.layers.LSTM`. With `return_gates=False` it is that
    layer, to the bit, with the same weights, configuration and weights files. With
    `kernel="fast"` it computes the same within rounding (2e-6 in float32 for values of
    magnitude 1), in a kernel that returns every gate at little cost. `model.summary()`
    shows it under the stock name, `LSTM`.

    Args:
        units: Positive integer, the number of units.
        *args: As for `keras.layers.LSTM`.
        return_gates: Whether to return every signal at every step too.
        kernel: The kernel that runs the layer, "keras" or "fast". "fast" takes masks,
            dropout, initial states and any activation that has a name in Keras and acts
            on each value alone. Its gradients cannot be differentiated again, except on
            JAX.
        **kwargs: As for `keras.layers.LSTM`.

    Raises:
        ValueError: If `activity_regularizer` is given with `return_gates=True`, or if
            `kernel="fast"` is not possible with the other arguments.

    Call arguments:
        inputs: `(batch, time, features)`. All others as for `keras.layers.LSTM`.

    Returns:
        The result of `keras.layers.LSTM`, and with `return_gates=True` the gates, as
        `(output, gates)`, or `(output, hidden, cell, gates)` with
        `return_state=True`. `gates` is a dict: `input`, `forget`, `candidate`,
        `output`, `cell` and `hidden`, each `(batch, time, units)`, in the order of
        `return_sequences=True`, which is reversed with `go_backwards=True`. At a masked
        step, the states keep their values and the other signals are zero; each signal
        carries the Keras mask. Keras's wrappers (`Bidirectional`, `TimeDistributed`)
        cannot return a dict of gates: use `capture` for these.

    Example:
        >>> import numpy as np
        >>> from keras_gates import GateLSTM
        >>> output, gates = GateLSTM(4, return_gates=True)(np.ones((2, 5, 3)))
        >>> tuple(output.shape), tuple(gates["forget"].shape)
        ((2, 4), (2, 5, 4))
    """

    def __init__(self, units, *args, return_gates=False, kernel="keras", **kwargs):
        super().__init__(units, *args, **kwargs)
        self.ask_for_gates(return_gates)
        self.choose_kernel(kernel)


@named_as_stock
class GateGRU(GateRecurrence, keras.layers.GRU):
    """`keras.layers.GRU` that can return its gates.

    Takes every argument of `keras.layers.GRU`. With `return_gates=False` it is that
    layer, to the bit, with the same weights, configuration and weights files. With
    `kernel="fast"` it computes the same within rounding (2e-6 in float32 for values of
    magnitude 1), in a kernel that returns every gate at little cost. `model.summary()`
    shows it under the stock name, `GRU`. An `update` of 1 keeps the old state.

    Args:
        units: Positive integer, the number of units.
        *args: As for `keras.layers.GRU`.
        return_gates: Whether to return every signal at every step too.
        kernel: The kernel that runs the layer, "keras" or "fast". "fast" takes masks,
            dropout, initial states and any activation that has a name in Keras and acts
            on each value alone. Its gradients cannot be differentiated again, except on
            JAX.
        **kwargs: As for `keras.layers.GRU`.

    Raises:
        ValueError: If `activity_regularizer` is given with `return_gates=True`, or if
            `kernel="fast"` is not possible with the other arguments.

    Call arguments:
        inputs: `(batch, time, features)`. All others as for `keras.layers.GRU`.

    Returns:
        The result of `keras.layers.GRU`, and with `return_gates=True` the gates, as
        `(output, gates)`, or `(output, hidden, gates)` with `return_state=True`.
        `gates` is a dict: `update`, `reset`, `candidate` and `hidden`, each
        `(batch, time, units)`, in the order of `return_sequences=True`, which is
        reversed with `go_backwards=True`. At a masked step, the state keeps its value
        and the other signals are zero; each signal carries the Keras mask. Keras's
        wrappers (`Bidirectional`, `TimeDistributed`) cannot return a dict of gates: use
        `capture` for these.

    Example:
        >>> import numpy as np
        >>> from keras_gates import GateGRU
        >>> output, gates = GateGRU(4, return_gates=True)(np.ones((2, 5, 3)))
        >>> tuple(output.shape), tuple(gates["update"].shape)
        ((2, 4), (2, 5, 4))
    """

    def __init__(self, units, *args, return_gates=False, kernel="keras", **kwargs):
        super().__init__(units, *args, **kwargs)
        self.ask_for_gates(return_gates)
        self.choose_kernel(kernel)


@named_as_stock
class GateRNN(GateRecurrence, keras.layers.RNN):
    """`keras.layers.RNN` around cells of known kinds, adapted for collection."""


def _cell_of(kind: Kind) -> type:
    """Makes the gate cell of a kind that has none above."""
    name = f"Gate{kind.cell.__name__}"
    words = f"The step of {kind.with_article}, with its signals if requested."
    return named_as_stock(type(name, (GateCell, kind.cell), _described(name, words)))


def _layer_of(kind: Kind) -> type:
    """Makes the gate layer of a kind that has none above."""

    def __init__(self, units, *args, return_gates=False, **kwargs):
        super(made, self).__init__(units, *args, **kwargs)
        self.ask_for_gates(return_gates)

    name = f"Gate{kind.layer.__name__}"
    words = f"`keras.layers.{kind.layer.__name__}` that can return its signals."
    attributes = {**_described(name, words), "__init__": __init__}
    made: Any = type(name, (GateRecurrence, kind.layer), attributes)
    return named_as_stock(made)


def _described(name: str, words: str) -> dict[str, str]:
    return {"__doc__": words, "__module__": __name__, "__qualname__": name}


GATE_LAYERS: dict[type, type] = {
    cls.__bases__[1]: cls for cls in (GateLSTM, GateGRU, GateRNN)
}
"""The gate layer of each stock layer."""

GATE_CELLS: dict[type, type] = {
    cls.__bases__[1]: cls for cls in (GateLSTMCell, GateGRUCell)
}
"""The gate cell of each stock cell."""

for _kind in STOCK.values():
    if _kind.layer not in GATE_LAYERS:
        GATE_LAYERS[_kind.layer] = _layer_of(_kind)
        GATE_CELLS[_kind.cell] = _cell_of(_kind)
        # `pickle` looks for a class in its module.
        for _cls in (GATE_LAYERS[_kind.layer], GATE_CELLS[_kind.cell]):
            globals()[_cls.__qualname__] = _cls
