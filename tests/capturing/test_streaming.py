"""`stream` takes one time step at a time, and returns what `predict` returns."""

import pickle

import keras
import numpy as np
import pytest
from keras import layers, ops
from own_cells import JANETCell

import keras_gates

STEPS = 7


def sequential(*parts, shape=(None, 3)):
    return keras.Sequential([keras.Input(shape), *parts])


def options():
    first = layers.LSTM(
        4, use_bias=False, recurrent_activation="hard_sigmoid", return_sequences=True
    )
    second = layers.GRU(3, reset_after=False, return_sequences=True, activation="relu")
    third = layers.SimpleRNN(4, dropout=0.5, recurrent_dropout=0.5)
    return sequential(first, second, third, layers.Dense(2, activation="tanh"))


def around():
    """Layers that work on each step alone, around a stack of cells."""
    cells = [layers.LSTMCell(4, recurrent_dropout=0.3), layers.GRUCell(3)]
    return sequential(
        layers.TimeDistributed(layers.Dense(4)),
        layers.LayerNormalization(),
        layers.RNN(cells, return_sequences=True),
        layers.Dropout(0.5),
        layers.BatchNormalization(),
        layers.UnitNormalization(),
        layers.Activation("tanh"),
        layers.GRU(2, return_sequences=True, unroll=False),
    )


def branches():
    """Two inputs, one of them without time, and two outputs, one of them without."""
    inputs = {"x": keras.Input((None, 3), name="x"), "is": keras.Input((2,), name="is")}
    shared = layers.GRU(3, return_sequences=True, name="gru")
    begin = layers.Dense(3, name="begin")(inputs["is"])
    first = shared(layers.Dense(3)(inputs["x"]), initial_state=begin)
    added = layers.Add()([first, shared(first)])
    last = layers.LSTM(2)(layers.Concatenate()([added, inputs["x"]]))
    both = layers.Concatenate()([last, inputs["is"]])
    return keras.Model(inputs, {"each": layers.Dense(2)(added), "last": both})


def nested():
    """A model within a model, both made for sequences of one length."""
    inner_input = keras.Input((STEPS, 3))
    inner = layers.LSTM(4, return_sequences=True)(inner_input)
    inner = keras.Model(inner_input, inner, name="inner")
    return sequential(inner, layers.GRU(3), shape=(STEPS, 3))


def chosen_step():
    """The last step, taken out of a sequence by an index."""
    inputs = keras.Input((None, 3))
    sequence = layers.LSTM(4, return_sequences=True)(inputs)
    return keras.Model(inputs, layers.Dense(1)(sequence[:, -1]))


def own_cell():
    return sequential(layers.RNN(JANETCell(4), return_sequences=True), layers.LSTM(2))


def gate_layer():
    inputs = keras.Input((None, 3))
    output, gates = keras_gates.GateLSTM(4, return_sequences=True, return_gates=True)(
        inputs
    )
    fast = keras_gates.GateGRU(3, kernel="fast", return_sequences=True)(output)
    return keras.Model(inputs, [fast, gates["forget"]])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.recurrent = layers.LSTM(4, return_sequences=True)
        self.dense = layers.Dense(1)

    def call(self, inputs):
        return self.dense(ops.tanh(self.recurrent(inputs["x"])))


def subclassed():
    model = Subclassed()
    model({"x": np.zeros((1, 2, 3), "float32")})
    return model


def frames():
    """A recurrent layer that reads a sequence of its own at each step."""
    inner = layers.TimeDistributed(layers.LSTM(3))
    return sequential(inner, layers.GRU(2), shape=(None, 4, 3))


def stateful():
    inputs = keras.Input(batch_shape=(2, None, 3))
    hidden = layers.LSTM(4, stateful=True, return_sequences=True)(inputs)
    return keras.Model(inputs, hidden)


def pictures():
    return sequential(layers.ConvLSTM1D(2, 3), shape=(None, 4, 3))


MODELS = [
    options,
    around,
    branches,
    nested,
    chosen_step,
    own_cell,
    gate_layer,
    subclassed,
    frames,
    stateful,
    pictures,
]


def data_for(model, rng):
    if model is branches:
        return {"x": rng.normal(size=(2, STEPS, 3)), "is": rng.normal(size=(2, 2))}
    if model is subclassed:
        return {"x": rng.normal(size=(2, STEPS, 3)).astype("float32")}
    more = (4, 3) if model in (frames, pictures) else (3,)
    return rng.normal(size=(2, STEPS, *more))


def step_of(x, t):
    if isinstance(x, dict):
        return {key: step_of(value, t) for key, value in x.items()}
    return x[:, t] if x.ndim > 2 else x


def until(x, t):
    if isinstance(x, dict):
        return {key: until(value, t) for key, value in x.items()}
    return x[:, :t] if x.ndim > 2 else x


def assert_last_step(got, whole, atol=1e-6):
    """Compares one step with the last one of a sequence that `predict` returned."""
    got, whole = keras.tree.flatten(got), keras.tree.flatten(whole)
    assert len(got) == len(whole)
    for one, sequence in zip(got, whole, strict=True):
        assert isinstance(one, np.ndarray)
        last = sequence if sequence.ndim == one.ndim else sequence[:, -1]
        np.testing.assert_allclose(one, last, atol=atol, rtol=0)


def weighted(model, rng):
    """Gives a model weights of which no two are alike, so that each one shows."""
    for weight in model.weights:
        shift = keras.ops.convert_to_numpy(weight) + rng.normal(size=weight.shape) * 0.3
        weight.assign(np.abs(shift) if "variance" in weight.path else shift)
    return model


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_each_step_is_that_of_predict(make, rng):
    model = weighted(make(), rng)
    before = [np.array(weight) for weight in model.variables]
    x = data_for(make, rng)
    stream = keras_gates.stream(model)
    got = [stream(step_of(x, t)) for t in range(STEPS)]
    for length in (STEPS,) if make is nested else (3, STEPS):
        if make is stateful:
            model.layers[1].reset_state()
        whole = model.predict(until(x, length), verbose=0)
        assert_last_step(got[length - 1], whole)
    for weight, value in zip(model.variables, before, strict=True):
        if make is not stateful:
            np.testing.assert_array_equal(weight, value)


def masking():
    first = layers.LSTM(4, return_sequences=True)
    second = layers.GRU(3, return_sequences=True, zero_output_for_mask=True)
    return sequential(layers.Masking(), first, second, layers.SimpleRNN(3))


def masked_stack():
    cells = [layers.GRUCell(4), layers.LSTMCell(4)]
    return sequential(
        layers.Masking(-1.0),
        layers.RNN(cells, return_sequences=True),
        layers.TimeDistributed(layers.Dense(2)),
    )


@pytest.mark.parametrize("make", [masking, masked_stack])
def test_a_masked_step_holds_the_state(make, rng):
    model = weighted(make(), rng)
    x = rng.normal(size=(3, STEPS, 3))
    masked = {0: [0, 3], 1: [2, 5, 6], 2: [0, 1, 6]}
    for sample, steps in masked.items():
        x[sample, steps] = model.layers[0].mask_value
    stream = keras_gates.stream(model)
    before = None
    for t in range(STEPS):
        got, states = stream(x[:, t]), stream.state
        if t in (1, STEPS - 1):
            assert_last_step(got, model.predict(x[:, : t + 1], verbose=0))
        for sample, steps in masked.items():
            if t > 0 and t in steps:
                for name, value in states.items():
                    np.testing.assert_array_equal(value[sample], before[name][sample])
        before = states
        gates = stream.gates[stream.gates.attrs["layers"][0]].to_dataset()
        is_masked = [t in steps for steps in masked.values()]
        for name in ("hidden", "candidate"):
            found = np.isnan(gates[name]).all("unit").values
            np.testing.assert_array_equal(found, is_masked)


def test_tokens(rng):
    model = sequential(
        layers.Embedding(9, 4, mask_zero=True),
        layers.LSTM(4, return_sequences=True),
        layers.Dense(9, activation="softmax"),
        shape=(None,),
    )
    x = rng.integers(0, 9, (2, STEPS))
    x[0, 2] = 0
    stream = keras_gates.stream(model)
    got = np.stack([stream(x[:, t]) for t in range(STEPS)], axis=1)
    np.testing.assert_allclose(got, model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    "dtype, atol", [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2)]
)
def test_mixed_precision(dtype, atol, rng):
    policy = keras.DTypePolicy(dtype)
    model = sequential(layers.LSTM(4, dtype=policy), layers.Dense(1, dtype=policy))
    x = rng.normal(size=(2, STEPS, 3))
    stream = keras_gates.stream(model)
    for t in range(STEPS):
        got = stream(x[:, t])
    np.testing.assert_allclose(got, model.predict(x, verbose=0), atol=atol)
    kept = pickle.loads(pickle.dumps(stream.state))
    stream.state = kept
    assert all(value.dtype.kind in "bf" for value in kept.values())
