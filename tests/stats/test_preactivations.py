"""`stats.ranges` finds what enters each activation, of the model and its data."""

import keras
import numpy as np
import pytest
import reference
from keras import layers
from own_cells import JANETCell

import keras_gates
from keras_gates import edits, stats

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 2)).astype("float32")
X[0, 4:] = 0  # Two masked steps.
REAL = (X != 0).any(axis=-1)
SHARP = 30.0
"""What makes gates of exactly 1, from which no inverse finds the pre-activation."""


def model_of(layer, *more):
    model = keras.Sequential([keras.Input((6, 2)), layers.Masking(), layer, *more])
    for one in (layer, *more):
        for weight in one.weights:
            weight.assign(SHARP * RNG.normal(size=weight.shape))
    return model


def arguments_of(loop, names, weights, mask=REAL, x=X, **options):
    """Returns, of each signal, all that entered its activation in a float64 loop."""
    seen = {"gate": [], "activation": []}

    def noted(which, function):
        def apply(values):
            seen[which].append(values)
            return function(values)

        return apply

    functions = {"activation": noted("activation", np.tanh)}
    if loop is not reference.simple_rnn:
        functions["gate"] = noted("gate", reference.sigmoid)
    weights = [np.asarray(weight, "float64") for weight in weights]
    loop(x.astype("float64"), weights, mask=mask, **functions, **options)
    gates = names["gate"]
    found = {name: seen["gate"][k :: len(gates)] for k, name in enumerate(gates)}
    # The LSTM's activation is of the candidate, and then of the cell state.
    calls = 2 if loop is reference.lstm else 1
    return {**found, names["activation"]: seen["activation"][::calls]}


CASES = {
    "LSTM": (layers.LSTM, {}, reference.lstm, ("input", "forget", "output")),
    "GRU": (layers.GRU, {}, reference.gru, ("update", "reset")),
    "GRU of 2014": (
        layers.GRU,
        {"reset_after": False},
        reference.gru,
        ("update", "reset"),
    ),
    "SimpleRNN": (layers.SimpleRNN, {}, reference.simple_rnn, ()),
}


def compare(table, arguments, width=16):
    for name, values in arguments.items():
        row = table.loc[f"{name}_preactivation"]
        values = np.array(values)
        ends = [values.min(), values.max()]
        np.testing.assert_allclose(row[["min", "max"]].astype(float), ends, rtol=1e-4)
        steps = 2.0 ** row["fraction_bits"]
        assert np.rint(values * steps).min() >= -(2 ** (width - 1))
        assert np.rint(values * steps).max() < 2 ** (width - 1)
        assert 0.3 / steps < row["rounding_error"] <= 0.5 / steps


@pytest.mark.parametrize("name", CASES)
def test_what_enters_the_activations_is_that_of_a_float64_loop(name):
    layer_class, options, loop, gates = CASES[name]
    layer = layer_class(3, name="layer", return_sequences=True, **options)
    model = model_of(layer)
    table = stats.ranges(keras_gates.capture(model, X), model=model, x=X)
    last = "candidate" if gates else "hidden"
    names = {"gate": gates, "activation": last}
    arguments = arguments_of(loop, names, layer.get_weights(), **options)
    assert len(arguments["candidate" if gates else "hidden"]) == REAL.sum()
    compare(table.loc["layer"], arguments)
    signals = list(table.loc["layer"].index)
    assert (
        len(signals)
        == len(set(signals))
        == len(gates) + len(arguments) + ({"LSTM": 3, "SimpleRNN": 1}.get(name, 2))
    )
    assert abs(table.loc[("layer", f"{last}_preactivation"), "max"]) > 17


def test_layers_in_a_fast_kernel_backwards_and_after_others():
    layer = keras_gates.GateLSTM(3, kernel="fast", go_backwards=True, name="first")
    model = keras.Sequential([keras.Input((6, 2)), layer])
    for weight in layer.weights:
        weight.assign(RNG.normal(size=weight.shape))
    table = stats.ranges(keras_gates.capture(model, X), model=model, x=X, width=8)
    names = {"gate": ("input", "forget", "output"), "activation": "candidate"}
    found = arguments_of(
        reference.lstm, names, layer.get_weights(), mask=None, x=X[:, ::-1]
    )
    compare(table.loc["first"], found, width=8)
    assert layer.kernel == "fast"

    first = layers.LSTM(3, return_sequences=True, name="first")
    model = model_of(
        layers.Bidirectional(first, name="both"), layers.GRU(2, name="gru")
    )
    gates = keras_gates.capture(model, X, layers="gru")
    table = stats.ranges(gates, model=model, x=X)
    assert set(table.index.get_level_values("layer")) == {"gru"}
    gates = keras_gates.capture(model, X)
    table = stats.ranges(gates, model=model, x=X)
    layer_names = table.index.get_level_values("layer")
    # The rows of a layer stay together, in the order of the model.
    assert list(dict.fromkeys(layer_names)) == gates.attrs["layers"]
    assert (layer_names == "gru").sum() == 7
    assert not table.isna().any(axis=None)
    same = stats.ranges(gates)
    assert table.loc[same.index].equals(same)


def test_what_is_not_known_is_refused_in_a_sentence():
    model = model_of(layers.GRU(3, name="gru"))
    gates = keras_gates.capture(model, X)
    with pytest.raises(ValueError, match="`model` and `x` must be given together"):
        stats.ranges(gates, model=model)
    with pytest.raises(ValueError, match="together.*got only `x`"):
        stats.ranges(gates, x=X)
    other = model_of(layers.GRU(3, name="other"))
    with pytest.raises(ValueError, match="must be the model that was captured"):
        stats.ranges(gates, model=other, x=X)
    change = {"gru/update": edits.clamp(0.5)}
    with (
        keras_gates.edit(model, change),
        pytest.raises(ValueError, match="'gru' is being edited"),
    ):
        stats.ranges(gates, model=model, x=X)
    own = keras.Sequential([keras.Input((6, 2)), layers.RNN(JANETCell(3), name="own")])
    gates = keras_gates.capture(own, X)
    assert len(stats.ranges(gates))
    with pytest.raises(ValueError, match="are not known, because their cells are not"):
        stats.ranges(gates, model=own, x=X)
