"""Recorded numbers prove themselves: the states, derived again from the gates."""

from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.layerwise import as_tree
from keras_gates.tree import recurrent

if TYPE_CHECKING:
    import pandas


def verify(gates) -> "pandas.Series":
    """Derives the states again from the recorded gates, and compares.

    The recorded hidden state is what Keras's own kernel produced. Here it is computed
    a second time, in float64, from nothing but the recorded gates, the candidate and
    the initial states, from the first step to the last:

    - LSTM: `cell = forget * cell + input * candidate`, `hidden = output *
      activation(cell)`;
    - GRU: `hidden = update * hidden + (1 - update) * candidate`.

    So a wrong weight block, a shift by one step, a forgotten mask or a lost initial
    state shows. Two things cannot show in the states: an LSTM's `input` and
    `candidate` under each other's names, since only their product enters, and a GRU's
    `reset` gate, which acts inside the candidate.

    Args:
        gates: What `capture` returned, or one node of it, with all of its signals.

    Returns:
        For each layer, the largest absolute deviation of a recorded state from the
        derived one, over every sample, step and unit that is not masked. For states
        of the size of 1, about 1e-6 or less for float32 layers, 1e-3 for float16 and
        1e-2 for bfloat16. It grows with the states: judge it beside their size. NaN
        where every step is masked.

    Raises:
        ValueError: If signals are missing, or an activation is not known by name.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.GRU(4, name="gru")]
        ... )
        >>> gates = keras_gates.capture(model, np.ones((3, 5, 1)))
        >>> bool(keras_gates.verify(gates)["gru"] < 1e-5)
        True
    """
    import pandas

    nodes = [node.to_dataset() for node in recurrent(as_tree(gates))]
    if not nodes:
        raise ValueError(
            "`gates` must be what `capture` returned, or a node of it; got a tree "
            "with no recurrent layer in it."
        )
    deviations = {node.attrs["layer"]: _deviation(node) for node in nodes}
    return pandas.Series(deviations, name="largest deviation").rename_axis("layer")


def _deviation(node) -> float:
    kind = v.KINDS[node.attrs["kind"]]
    wanted = (*kind.signals, *(v.initial(state) for state in kind.states))
    missing = [name for name in wanted if name not in node.variables]
    if missing:
        raise ValueError(
            f"`gates` must hold every signal of '{node.attrs['layer']}'; {missing} "
            "were not captured. Call `capture` without `signals`."
        )
    backward = node.attrs["direction"] == "backward"
    if backward:
        node = node.isel({v.TIME: slice(None, None, -1)})
    signals = {
        name: node[name].transpose(v.TIME, ..., v.UNIT).values.astype("float64")
        for name in kind.signals
    }
    states = {
        name: node[v.initial(name)].values.astype("float64") for name in kind.states
    }
    # A GRU's activation acts inside the candidate, which is recorded.
    activation = _activation(node.attrs) if kind is v.LSTM else None
    real = np.ones(signals[v.HIDDEN].shape, bool)
    if v.MASK in node:
        real &= node[v.MASK].transpose(v.TIME, ...).values[..., None]
    if not real.any():
        return np.nan  # Nothing is proved where every step is masked.
    largest = 0.0
    for step, counts in enumerate(real):
        now = {name: signal[step] for name, signal in signals.items()}
        derived = _STEPS[kind.name](now, states, activation)
        for name in states:
            states[name] = np.where(counts, derived[name], states[name])
            error = np.abs(states[name] - now[name])[counts]
            # `np.maximum`, as NaN must come out: it is no small deviation.
            largest = np.maximum(largest, error.max(initial=0.0))
    return float(largest)


def _lstm_step(now, states, activation):
    cell = now[v.FORGET] * states[v.CELL] + now[v.INPUT] * now[v.CANDIDATE]
    return {v.CELL: cell, v.HIDDEN: now[v.OUTPUT] * activation(cell)}


def _gru_step(now, states, activation):
    keep = now[v.UPDATE]
    return {v.HIDDEN: keep * states[v.HIDDEN] + (1 - keep) * now[v.CANDIDATE]}


_STEPS = {v.LSTM.name: _lstm_step, v.GRU.name: _gru_step}


def _activation(attributes):
    name = attributes["activation"]
    if name == "tanh":
        return np.tanh
    function = keras.saving.get_registered_object(name)
    try:
        function = function or keras.activations.get(name)
    except ValueError:
        raise ValueError(
            f"`verify` does not know the activation '{name}' of "
            f"'{attributes['layer']}'. Register the function with "
            "`keras.saving.register_keras_serializable()` before the capture; a layer "
            "used as an activation cannot be looked up."
        ) from None
    return lambda cell: keras.ops.convert_to_numpy(function(cell))
