"""The checks that every gate layer must pass. A new kind is a new entry in `KINDS`."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import reference
from keras import layers, ops

import keras_gates
from keras_gates import GateGRU, GateGRUCell, GateLSTM, GateLSTMCell
from keras_gates.layers.gate_layers import GATE_CELLS, GATE_LAYERS


class Kind(NamedTuple):
    """A gate layer, the stock layer it must equal, and its equations."""

    stock: type
    gate: type
    stock_cell: type
    gate_cell: type
    reference: Any
    states: Any
    """The function that derives the states from the gates."""
    keep: str | None = None


KINDS = {
    "LSTM": Kind(
        layers.LSTM,
        GateLSTM,
        layers.LSTMCell,
        GateLSTMCell,
        reference.lstm,
        reference.lstm_states,
        keep="forget",
    ),
    "GRU": Kind(
        layers.GRU,
        GateGRU,
        layers.GRUCell,
        GateGRUCell,
        reference.gru,
        reference.gru_states,
        keep="update",
    ),
    "SimpleRNN": Kind(
        layers.SimpleRNN,
        GATE_LAYERS[layers.SimpleRNN],
        layers.SimpleRNNCell,
        GATE_CELLS[layers.SimpleRNNCell],
        reference.simple_rnn,
        reference.no_states,
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)

GATED = {name: kind for name, kind in KINDS.items() if kind.keep}
EACH_GATED = pytest.mark.parametrize("kind", GATED.values(), ids=GATED)

# Keras's own operations round float64 to float32 internally, except on TensorFlow.
_ROUNDED = keras.backend.backend() != "tensorflow"
TOLERANCE = {
    "float64": 2e-6 if _ROUNDED else 1e-12,
    "float32": 2e-6,
    "mixed_float16": 1e-2,
    "mixed_bfloat16": 8e-2,
}
"""Tolerances against the float64 reference, for states of about 1 and a few steps."""

DIFFERENCE, AGREEMENT = (2e-3, 2e-3) if _ROUNDED else (1e-5, 1e-6)
"""The step of a finite difference in float64, and its tolerance to the gradient."""

FUSED = 1e-6 if keras.backend.backend() == "jax" else 0.0
"""The tolerance of an output when a compiled function also returns gates.

XLA may fuse the larger graph differently. In eager mode, and on the other backends, the
output is that of the stock layer, to the bit.
"""


def half_tanh(a):
    """Stands for a custom activation of a user."""
    return 0.5 * ops.tanh(a)


ACTIVATIONS = {
    "linear": lambda a: a,
    "silu": lambda a: a * reference.sigmoid(a),
    "hard_silu": lambda a: a * np.clip(a / 6 + 0.5, 0, 1),
    "softsign": lambda a: a / (1 + np.abs(a)),
    "tanh": np.tanh,
    "sigmoid": reference.sigmoid,
    "hard_sigmoid": lambda a: np.clip(a / 6 + 0.5, 0, 1),
    "relu": lambda a: np.maximum(a, 0),
    half_tanh: lambda a: 0.5 * np.tanh(a),
}
"""Maps activations as Keras takes them to the same functions in NumPy."""


def takes(kind, option):
    """Returns whether a kind of layer takes an option of Keras's gated layers."""
    of_gates = {"recurrent_activation", "implementation", "use_cudnn"}
    return bool(kind.keep) or option not in of_gates


def numpy(value):
    """Converts tensors to NumPy arrays, in a precision that NumPy knows."""

    def convert(tensor):
        half = keras.backend.standardize_dtype(tensor.dtype) == "bfloat16"
        return ops.convert_to_numpy(ops.cast(tensor, "float32") if half else tensor)

    return keras.tree.map_structure(convert, value)


def distinct_weights(layer, seed):
    """Gives every gate different weights, so that swapped gates are detected."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape, scale=0.7) for w in layer.weights])
    return layer.get_weights()


def assert_same(left, right):
    for a, b in zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(actual, expected, tolerance, name):
    """Compares within a tolerance, which is scaled for numbers larger than 1."""
    size = max(1.0, np.nanmax(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * size, err_msg=name
    )


def assert_all_close(left, right, tolerance, name):
    for a, b in zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, tolerance, name)


def check(
    kind,
    options,
    x,
    *,
    mask=None,
    initial=None,
    training=False,
    seed=0,
    kernel="keras",
):
    """Checks one layer with its options: the stock output and the true gates.

    Args:
        kind: One of `KINDS`.
        options: Arguments of the layer. Every layer has the same seed.
        x: Input, (batch, time, features).
        mask: (batch, time), or `None`.
        initial: The initial states in Keras's order, or `None`.
        training: Whether dropout is active.
        seed: Of the weights.
        kernel: Of the gate layer. The fast one is the stock layer within rounding.
    """
    options = {"seed": 1, **options}
    tolerance = TOLERANCE[options.get("dtype", "float32")]
    own = {} if kernel == "keras" else {"kernel": kernel}
    stock, off = kind.stock(**options), kind.gate(**options, **own)
    on = kind.gate(**options, **own, return_gates=True)
    for layer in (stock, off, on):
        layer.build(x.shape)
        weights = distinct_weights(layer, seed)
    arguments = {"mask": mask, "initial_state": initial, "training": training}
    expected = numpy(stock(x, **arguments))
    *outputs, gates = numpy(on(x, **arguments))
    for result in (numpy(off(x, **arguments)), outputs):
        if kernel == "keras":
            assert_same(result, expected)
        else:
            assert_all_close(result, expected, tolerance, "output")

    if options.get("go_backwards"):
        x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
    drawn = drawn_dropout(kind, options, x) if training else {}
    truth = true_signals(kind, options, x, weights, mask, initial, drawn)
    assert set(gates) == set(truth)
    for name, value in gates.items():
        # In the graph, a masked gate is zero; in the reference, it is NaN.
        assert_close(value, np.nan_to_num(truth[name]), tolerance, name)
    activation = ACTIVATIONS[options.get("activation", "tanh")]
    rebuilt = kind.states(gates, initial=initial, mask=mask, activation=activation)
    for name, value in rebuilt.items():
        assert_close(gates[name], value, tolerance, f"{name}, rebuilt")


def check_capture(kind, options, x, *, mask=None, initial=None, training=False):
    """Checks that `capture` returns the true gates of a stock layer.

    The arguments are those of `check`.
    """
    options = {"seed": 1, **options}
    layer = kind.stock(**options, name="layer")
    length = x.shape[1] if options.get("unroll") else None
    inputs, data = {"x": keras.Input((length, x.shape[-1]), name="x")}, {"x": x}
    arguments = {}
    if mask is not None:
        inputs["mask"] = arguments["mask"] = keras.Input(
            (length,), dtype="bool", name="mask"
        )
        data["mask"] = mask
    if initial is not None:
        data.update({f"state{i}": state for i, state in enumerate(initial)})
        states = {
            name: keras.Input((options["units"],), name=name)
            for name in data
            if name.startswith("state")
        }
        inputs.update(states)
        arguments["initial_state"] = list(states.values())
    model = keras.Model(inputs, layer(inputs["x"], **arguments))
    weights = distinct_weights(model, 0)
    before = model.predict(data, verbose=0)
    drawn = drawn_dropout(kind, options, x, layer.cell) if training else {}
    gates = keras_gates.capture(model, data, training=training)
    assert_same(model.predict(data, verbose=0), before)

    backwards = slice(None, None, -1 if options.get("go_backwards") else 1)
    x, mask = x[:, backwards], None if mask is None else mask[:, backwards]
    truth = true_signals(kind, options, x, weights, mask, initial, drawn)
    tolerance = TOLERANCE[options.get("dtype", "float32")]
    # Signals are stored in float32, for any dtype of the layer.
    tolerance = max(tolerance, TOLERANCE["float32"])
    node = gates["layer"]
    assert set(node.data_vars) - {"mask"} == set(truth)
    for name, value in truth.items():
        assert node[name].dims == ("sample", "time", "unit")
        assert node[name].dtype == "float32"
        if mask is not None:
            value = np.where(mask[..., None], value, np.nan)
        assert_close(node[name], value[:, backwards], tolerance, name)
    if kind.keep and options.get("activation") is half_tanh:
        # The activation cannot be found by its name, and `hidden` of an LSTM needs it.
        assert "half_tanh" in node.attrs["activation"]
    elif kind.keep and mask is not None and not np.any(mask):
        with pytest.warns(UserWarning, match="nothing to verify in 'layer'"):
            assert np.isnan(keras_gates.verify(gates)["layer"])
    elif not kind.keep:
        # The state cannot be computed from other signals.
        assert np.isnan(keras_gates.verify(gates)["layer"])
    else:
        size = max(1.0, float(np.nanmax(np.abs(truth["hidden"]), initial=0.0)))
        deviation = keras_gates.verify(gates)["layer"]
        assert deviation <= tolerance * size


def true_signals(kind, options, x, weights, mask, initial, drawn):
    """Returns the signals of the reference, with the dropout that Keras draws."""
    own = {name: options[name] for name in ("reset_after",) if name in options}
    return kind.reference(
        x,
        weights,
        initial=initial,
        mask=mask,
        activation=ACTIVATIONS[options.get("activation", "tanh")],
        gate=ACTIVATIONS[options.get("recurrent_activation", "sigmoid")],
        **own,
        **drawn,
    )


def drawn_dropout(kind, options, x, cell_of_layer=None):
    """Returns the dropout that a layer with the same seed draws in its next call."""
    names = ("units", "seed", "dropout", "recurrent_dropout", "implementation", "dtype")
    cell = kind.stock_cell(**{name: options[name] for name in names if name in options})
    cell.build(x[:, 0].shape)
    if cell_of_layer is not None:
        cell.seed_generator.state.assign(cell_of_layer.seed_generator.state)
    blocks = cell.kernel.shape[-1] // cell.units
    states = keras.tree.flatten(cell.get_initial_state(batch_size=len(x)))
    first = ops.cast(x[:, 0], cell.compute_dtype)
    masks = {
        "drop_inputs": cell.get_dropout_mask(first),
        "drop_hidden": cell.get_recurrent_dropout_mask(states[0]),
    }
    return {
        name: np.stack(numpy(mask if isinstance(mask, list) else [mask] * blocks))
        for name, mask in masks.items()
        if mask is not None
    }
