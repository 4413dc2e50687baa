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


def predict(model, x):
    """Predicts with a function that is compiled for this length.

    On TensorFlow, that of several lengths loses steps in a `TimeDistributed` (seen in
    Keras 3.15.1).
    """
    model.predict_function = None
    return model.predict(x, verbose=0)


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
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    for length in (STEPS,) if make is nested else (3, STEPS):
        if make is stateful:
            model.layers[1].reset_state()
        whole = predict(model, until(x, length))
        assert_last_step(got[length - 1], whole)


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
            assert_last_step(got, predict(model, x[:, : t + 1]))
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
    np.testing.assert_allclose(got, predict(model, x), atol=1e-6)


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
    np.testing.assert_allclose(got, predict(model, x), atol=atol)
    kept = pickle.loads(pickle.dumps(stream.state))
    stream.state = kept
    assert all(value.dtype.kind in "bf" for value in kept.values())


def lstm(**options):
    return sequential(layers.LSTM(4, name="lstm", **options), layers.Dense(1))


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, STEPS, 3)).astype("float32")


def run(stream, x):
    return [stream(x[:, t]) for t in range(x.shape[1])]


def test_a_state_is_kept_and_put_back(x):
    model = lstm()
    stream = keras_gates.stream(model)
    assert stream.state is None
    run(stream, x[:, :3])
    kept = stream.state
    assert {name: value.shape for name, value in kept.items()} == {
        "started": (2,),
        "lstm/hidden": (2, 4),
        "lstm/cell": (2, 4),
    }
    rest = run(stream, x[:, 3:])
    kept = pickle.loads(pickle.dumps(kept))
    other = keras_gates.stream(model)
    for one in (stream, other):
        one.state = kept
        for got, wanted in zip(run(one, x[:, 3:]), rest, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-7)
    # What was read or set is not changed by steps, and changes none.
    kept["lstm/hidden"][:] = 5
    assert abs(stream.state["lstm/hidden"]).max() < 1
    # A single sample of a state is a state.
    stream.state = {name: value[1:] for name, value in other.state.items()}
    assert stream(x[1:, 0]).shape == (1, 1)
    stream.state = None
    np.testing.assert_allclose(run(stream, x)[-1], rest[-1], atol=1e-6)


def test_single_samples_start_a_new_sequence(x):
    stream = keras_gates.stream(branches())
    still = np.zeros((2, 2))
    for t in range(3):
        stream({"x": x[:, t], "is": still})
    stream.reset(samples=1)
    np.testing.assert_array_equal(stream.state["started"], [True, False])
    for t in range(3, STEPS):
        got = stream({"x": x[:, t], "is": still})
    first = predict(stream.model, {"x": x, "is": still})
    second = predict(stream.model, {"x": x[:, 3:], "is": still})
    np.testing.assert_allclose(got["last"][0], first["last"][0], atol=1e-6)
    np.testing.assert_allclose(got["last"][1], second["last"][1], atol=1e-6)
    stream.reset([True, True])
    assert not stream.state["started"].any()
    stream.reset()
    assert stream({"x": x[:1, 0], "is": still[:1]})["last"].shape == (1, 4)


def compare_gates(model, x):
    """Compares the gates of some steps with those of a capture."""
    tree = keras_gates.capture(model, x)
    stream = keras_gates.stream(model)
    for t in range(STEPS):
        stream(x[:, t])
        if t in (2, 3, STEPS - 1):  # They can be asked for at any step.
            gates = stream.gates
            assert gates.attrs["layers"] == tree.attrs["layers"]
            for path in tree.attrs["layers"]:
                got, wanted = gates[path].to_dataset(), tree[path].to_dataset()
                assert got["hidden"].dims == ("sample", "unit")
                assert set(got.data_vars) == set(wanted.data_vars)
                for name in wanted.data_vars:
                    np.testing.assert_allclose(
                        got[name], wanted[name].isel(time=t), atol=1e-6, err_msg=name
                    )
    return gates


def test_the_gates_are_those_of_a_capture(x):
    cells = [layers.LSTMCell(4, name="first"), layers.GRUCell(3, name="second")]
    model = sequential(
        layers.LSTM(4, name="lstm", return_sequences=True, dropout=0.2),
        layers.RNN(cells, return_sequences=True, name="rnn"),
        layers.TimeDistributed(layers.Dense(2)),
    )
    gates = compare_gates(model, x)
    assert gates["lstm"].attrs["cell_type"] == "LSTM"
    assert gates.attrs["layers"] == ["lstm", "rnn/first", "rnn/second"]


@pytest.mark.once
def test_the_gates_of_a_traced_cell_and_of_a_shared_layer(x):
    inputs = keras.Input((None, 3))
    shared = layers.GRU(3, return_sequences=True, name="gru")
    hidden = shared(shared(inputs))
    output = layers.RNN(JANETCell(3), name="own")(hidden)
    gates = compare_gates(keras.Model(inputs, output), x)
    assert gates.attrs["layers"] == ["gru", "gru@2", "own"]


@pytest.mark.once
def test_a_cell_that_is_not_known_has_no_gates(x):
    model = sequential(layers.ConvLSTM1D(2, 3), shape=(None, 4, 3))
    stream = keras_gates.stream(model)
    stream(np.zeros((1, 4, 3)))
    with pytest.raises(ValueError, match="equations of 'conv_lstm1d.*' are not known"):
        stream.gates  # noqa: B018


def test_new_weights_are_seen(x):
    model = lstm()
    stream = keras_gates.stream(model)
    stream(x[:, 0])
    model.set_weights([weight * 1.5 for weight in model.get_weights()])
    stream.reset()
    assert_last_step(run(stream, x)[-1], predict(model, x))
    assert type(model.layers[0]) is layers.LSTM


def test_a_stateful_layer_keeps_its_own_state(x):
    model = stateful()
    model.predict(x, verbose=0)
    before = [np.array(state) for state in model.layers[1].states]
    stream = keras_gates.stream(model)
    got = run(stream, x)
    for state, value in zip(model.layers[1].states, before, strict=True):
        np.testing.assert_array_equal(state, value)
    model.layers[1].reset_state()
    assert_last_step(got[-1], predict(model, x))


def refused(model, *words, x=None):
    with pytest.raises(ValueError) as caught:
        keras_gates.stream(model, x)
    for word in words:
        assert word in str(caught.value)


def sequences(*parts):
    return sequential(layers.LSTM(4, return_sequences=True), *parts)


class LongAgo(layers.Layer):
    """What was 20 steps before."""

    def call(self, inputs):
        return ops.pad(inputs, [(0, 0), (20, 0), (0, 0)])[:, :-20]


class TwiceAsLarge(layers.LSTM):
    def inner_loop(self, sequences, initial_state, mask, training=False):
        return super().inner_loop(sequences * 2, initial_state, mask, training)


REFUSED = {
    "'own', a `TwiceAsLarge`, has an `inner_loop` of its own": lambda: sequential(
        TwiceAsLarge(4, name="own")
    ),
    "'pool', a `GlobalAveragePooling1D`, pools over time": lambda: sequences(
        layers.GlobalAveragePooling1D(name="pool")
    ),
    "'conv', a `Conv1D`, sees several time steps": lambda: sequences(
        layers.Conv1D(2, 3, padding="causal", name="conv")
    ),
    "'dilated', a `Conv1D`, sees several time steps": lambda: sequences(
        layers.Conv1D(2, 2, dilation_rate=50, padding="causal", name="dilated")
    ),
    "'flat', a `Flatten`, joins all time steps": lambda: sequential(
        layers.LSTM(4, return_sequences=True),
        layers.Flatten(name="flat"),
        layers.Dense(1),
        shape=(5, 3),
    ),
    "one of its layers or operations works across time steps": lambda: sequences(
        LongAgo()
    ),
    "'again' reads the sequence from its end": lambda: sequences(
        layers.Bidirectional(layers.LSTM(2), name="again")
    ),
    "'back' reads the sequence from its end": lambda: sequences(
        layers.GRU(2, go_backwards=True, name="back")
    ),
    "no recurrent layer that carries states": lambda: sequential(layers.Dense(2)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_needs_the_whole_sequence_is_refused(words):
    refused(REFUSED[words](), words, "predict` on")


def test_an_attention_and_a_decoder_are_refused():
    inputs = keras.Input((None, 3))
    sequence = layers.GRU(4, return_sequences=True)(inputs)
    attended = layers.Attention(name="attend")([sequence, sequence])
    model = keras.Model(inputs, layers.Concatenate()([sequence, attended]))
    refused(model, "'attend', a `Attention`, sees all time steps")
    # Its initial state is what another layer has read to the end.
    _, state = layers.GRU(4, return_state=True)(inputs)
    decoded = layers.GRU(4, return_sequences=True)(inputs, initial_state=state)
    refused(keras.Model(inputs, decoded), "differs from that of `predict`")


@pytest.mark.once
def test_what_cannot_be_streamed_says_so(x):
    class Unbuilt(keras.Model):
        def call(self, inputs):
            return inputs

    refused(Unbuilt(name="mine"), "'mine' is not built yet")
    refused("model.keras", "`model` must be a `keras.Model`")
    refused(lstm(), "cannot be run on `x`", x=x[..., :2])
    refused(lstm(), "must be numbers; got an array of <U1", x="x")
    stream = keras_gates.stream(lstm())
    with pytest.raises(ValueError, match="no gates before the first step"):
        stream.gates  # noqa: B018
    with pytest.raises(ValueError, match=r"\(samples, 3\); got \(2, 7, 3\). Give one"):
        stream(x)
    with pytest.raises(ValueError, match=r"\(samples, 3\); got \(3,\)"):
        stream(x[0, 0])
    with pytest.raises(ValueError, match="must be numbers; got an array of <U1"):
        stream(np.array([["a", "b", "c"]]))
    with pytest.raises(ValueError, match="which has 0"):
        stream.reset(0)
    stream(x[:, 0])
    with pytest.raises(ValueError, match="states of 2 samples; got 1"):
        stream(x[:1, 0])
    for wrong in (2, [0.5], "a", [True], [[0]]):
        with pytest.raises(ValueError, match="must be numbers of samples"):
            stream.reset(wrong)
    with pytest.raises(ValueError, match="`state` must be what `stream.state`"):
        stream.state = {}
    with pytest.raises(
        ValueError, match=r"'lstm/cell'\]` must have the shape \(2, 4\)"
    ):
        stream.state = stream.state | {"lstm/cell": np.zeros((2, 5))}
    closed = keras_gates.edit(stream.model, {"lstm/forget": keras_gates.edits.clamp(0)})
    with closed, pytest.raises(ValueError, match="'lstm' is being edited"):
        stream(x[:, 0])
    other = keras_gates.stream(branches())
    for wrong in (x[:, 0], [x[:, 0]], {"x": x[:, 0]}):
        with pytest.raises(ValueError, match="'x', 'is'|'is', 'x'"):
            other(wrong)
    with pytest.raises(ValueError, match="the same number of samples; got"):
        other({"x": x[:, 0], "is": np.zeros((1, 2))})


@pytest.mark.once
@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="runs step by step there"
)
def test_a_model_that_decides_by_values(x):
    class Own(keras.Model):
        def __init__(self, taken_out):
            super().__init__()
            self.recurrent = layers.GRU(3)
            self.taken_out = taken_out

        def call(self, inputs):
            size = float(ops.max(inputs)) if self.taken_out else ops.max(inputs)
            return self.recurrent(inputs) * (2.0 if size > 0 else 0.5)

    for taken_out in (False, True):
        model = Own(taken_out)
        model(x[:, -1:])
        stream = keras_gates.stream(model, abs(x))
        for t in range(STEPS):
            got = stream(x[:, t] - 9 * (t == STEPS - 1))
        whole = model.recurrent(np.concatenate([x[:, :-1], x[:, -1:] - 9], axis=1))
        np.testing.assert_allclose(got, 0.5 * whole.detach(), atol=1e-6)
