"""Models as people build them: captured, instrumented and recorded all the same."""

import keras
import numpy as np
import pytest
from battery import distinct_weights
from keras import layers, ops

import keras_gates
from keras_gates.models.find_layers import walk

TIME, FEATURES = 5, 3


def sequence(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def functional(build):
    """A model of one padded sequence, whose masked steps are zeros."""

    def make():
        inputs = keras.Input((None, FEATURES), name="x")
        model = keras.Model(inputs, build(layers.Masking()(inputs)))
        x = sequence(4, TIME, FEATURES)
        x[0, 3:] = x[1, :2] = x[2, 2] = 0
        return model, x

    return make


def bidirectional(**options):
    return functional(layers.Bidirectional(layers.LSTM(4, name="lstm"), **options))


def separate_directions():
    forward = layers.LSTM(4, return_sequences=True, name="there")
    backward = layers.GRU(4, return_sequences=True, go_backwards=True, name="back")
    return layers.Bidirectional(forward, backward_layer=backward, name="both")


def frozen(inputs):
    return layers.Dense(1)(layers.LSTM(4, name="lstm", trainable=False)(inputs))


def with_states(inputs):
    recurrent = layers.GRU(4, return_state=True, name="gru")
    outputs, *states = layers.Bidirectional(recurrent, name="both")(inputs)
    return layers.Dense(1)(layers.concatenate([outputs, *states]))


def time_distributed():
    inputs = keras.Input((None, TIME, FEATURES))
    each = layers.TimeDistributed(layers.LSTM(4, name="lstm"), name="each")
    return keras.Model(inputs, each(inputs)), sequence(4, 2, TIME, FEATURES)


def encoder_decoder():
    source, target = (keras.Input((None, FEATURES), name=n) for n in ("from", "to"))
    _, *states = layers.LSTM(4, return_state=True, name="encoder")(source)
    decoder = layers.LSTM(4, return_sequences=True, name="decoder")
    outputs = layers.Dense(2)(decoder(target, initial_state=states))
    x = {"from": sequence(4, TIME, FEATURES), "to": sequence(4, 3, FEATURES)}
    return keras.Model({"from": source, "to": target}, outputs), x


def several_inputs_and_outputs():
    series = keras.Input((TIME, FEATURES), name="series")
    tokens = keras.Input((None,), name="tokens", dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    read = layers.GRU(4, name="text")(embedded)
    seen = layers.LSTM(4, return_sequences=True, name="numbers")(series)
    outputs = {"each": layers.Dense(1)(seen), "all": layers.Dense(2)(read)}
    x = {
        "tokens": np.array([[1, 2, 0], [3, 0, 0], [4, 5, 6], [0, 0, 0]]),
        "series": sequence(4, TIME, FEATURES),
    }
    return keras.Model({"series": series, "tokens": tokens}, outputs), x


def inside_and_outside():
    """A layer that a nested model and the outer model share."""
    shared = layers.LSTM(FEATURES, return_sequences=True, name="shared")
    inner_inputs = keras.Input((None, FEATURES))
    inner = keras.Model(inner_inputs, shared(inner_inputs), name="inner")
    inputs = keras.Input((None, FEATURES))
    model = keras.Model(inputs, layers.Dense(1)(shared(inner(inputs))))
    return model, sequence(4, TIME, FEATURES)


def same_name_in_two_places():
    def branch(name):
        part = [keras.Input((None, FEATURES)), layers.GRU(4, name="gru")]
        return keras.Sequential(part, name=name)

    inputs = keras.Input((None, FEATURES))
    left, right = branch("left")(inputs), branch("right")(inputs)
    return keras.Model(inputs, layers.add([left, right])), sequence(4, TIME, FEATURES)


class Subclassed(keras.Model):
    """Layers in a list and a dict, one of them called twice."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.stack = [layers.LSTM(3, return_sequences=True, name=n) for n in "ab"]
        self.named = {"head": layers.GRU(2, name="head")}

    def call(self, x):
        x = self.stack[1](self.stack[0](self.stack[0](x)))
        return self.named["head"](x)


def subclassed():
    x = sequence(4, TIME, FEATURES)
    model = Subclassed()
    model(x)
    return model, x


class Doubled(layers.LSTM):
    """A user's own layer on top of the stock one."""

    def call(self, sequences, initial_state=None, mask=None, training=False):
        return super().call(sequences * 2.0, initial_state, mask, training)


class Attentive(layers.Layer):
    """A user's own layer with recurrent layers inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = {"lstm": layers.LSTM(4, return_sequences=True, name="inner")}

    def call(self, x):
        hidden = self.inner["lstm"](x)
        return ops.sum(ops.softmax(hidden, axis=1) * hidden, axis=1)


def custom_layer():
    inputs = keras.Input((TIME, FEATURES))
    outputs = Attentive(name="attentive")(inputs)
    return keras.Model(inputs, outputs), sequence(4, TIME, FEATURES)


def stateful():
    inputs = keras.Input(batch_shape=(4, TIME, FEATURES))
    outputs = layers.GRU(4, stateful=True, name="gru")(inputs)
    return keras.Model(inputs, outputs), sequence(4, TIME, FEATURES)


def stacked():
    cells = [
        layers.LSTMCell(4, name="low"),
        layers.SimpleRNNCell(3, name="middle"),
        layers.GRUCell(2, name="high"),
    ]
    return layers.RNN(cells, return_sequences=True, name="stack")


def nested_stacks():
    inner = layers.StackedRNNCells(
        [layers.GRUCell(4, name="b"), layers.LSTMCell(3, name="c")], name="inner"
    )
    cells = [layers.LSTMCell(4, name="a"), inner, layers.GRUCell(2, name="d")]
    return layers.RNN(cells, name="stack")


class FromOnes(layers.GRU):
    """A user's own layer with a default of its own for an argument of Keras's."""

    def call(self, sequences, initial_state="ones", mask=None, training=False):
        if isinstance(initial_state, str):
            initial_state = ops.ones((ops.shape(sequences)[0], self.units))
        return super().call(sequences, initial_state, mask, training)


class Contextual(layers.LSTM):
    """A user's own layer whose second argument is not the initial state."""

    def call(
        self, sequences, context=None, initial_state=None, mask=None, training=None
    ):
        if context is not None:
            sequences = sequences + context[:, None, :]
        return super().call(sequences, initial_state, mask, training)


def contextual():
    inputs = keras.Input((TIME, FEATURES), name="x"), keras.Input((FEATURES,), name="c")
    model = keras.Model(list(inputs), Contextual(4, name="contextual")(*inputs))
    return model, [sequence(4, TIME, FEATURES), sequence(4, FEATURES)]


class Renamed(layers.LSTM):
    """A user's own layer with other names of arguments, and fewer."""

    def build(self, input_shape):
        super().build(input_shape)

    def compute_output_shape(self, input_shape):
        return super().compute_output_shape(input_shape)

    def call(self, inputs, mask=None, training=None):
        return super().call(inputs * 2.0, mask=mask, training=training)


class Extended(keras.Model):
    """A functional model with a layer besides."""

    def __init__(self):
        inputs = keras.Input((TIME, FEATURES))
        hidden = layers.LSTM(3, return_sequences=True, name="body")(inputs)
        super().__init__(inputs, hidden)
        self.head = layers.GRU(2, name="head")

    def call(self, x, training=None, mask=None):
        return self.head(super().call(x, training=training, mask=mask))


def extended():
    x = sequence(4, TIME, FEATURES)
    model = Extended()
    model(x)
    return model, x


def over_units(values):
    return ops.softmax(values, axis=1)


class Attended(layers.Layer):
    """Gates used inside a layer, which a `TimeDistributed` calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras_gates.GateLSTM(
            4, return_sequences=True, return_gates=True, name="inner"
        )

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, x):
        output, gates = self.inner(x)
        return ops.sum(output * gates["output"], axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 4)


def gates_in_frames():
    inputs = keras.Input((2, TIME, FEATURES))
    each = layers.TimeDistributed(Attended(name="attended"), name="each")
    return keras.Model(inputs, each(inputs)), sequence(4, 2, TIME, FEATURES)


ONE = ["lstm"]
BOTH = ["bidirectional/forward_lstm", "bidirectional/backward_lstm"]
MODELS = {
    "sequential": (functional(layers.LSTM(4, name="lstm")), ONE),
    "frozen": (functional(frozen), ONE),
    "bidirectional concat": (bidirectional(name="bidirectional"), BOTH),
    "bidirectional sum": (
        bidirectional(merge_mode="sum", name="bidirectional"),
        BOTH,
    ),
    # Keras merges behind the layers; "sum" stands for these on the other backends.
    "bidirectional ave": pytest.param(
        (bidirectional(merge_mode="ave", name="bidirectional"), BOTH),
        marks=pytest.mark.once,
    ),
    "bidirectional mul": pytest.param(
        (bidirectional(merge_mode="mul", name="bidirectional"), BOTH),
        marks=pytest.mark.once,
    ),
    "bidirectional None": (bidirectional(merge_mode=None, name="bidirectional"), BOTH),
    "bidirectional, two layers": (
        functional(separate_directions()),
        ["both/forward_there", "both/back"],
    ),
    "bidirectional with states": (
        functional(with_states),
        ["both/forward_gru", "both/backward_gru"],
    ),
    "time distributed": (time_distributed, ["each/lstm"]),
    "one cell": (functional(layers.RNN(layers.GRUCell(4), name="rnn")), ["rnn"]),
    "gate cell": (
        functional(layers.RNN(keras_gates.GateLSTMCell(4), name="rnn")),
        ["rnn"],
    ),
    "stack": (functional(stacked()), ["stack/low", "stack/middle", "stack/high"]),
    "nested stacks": (
        functional(nested_stacks()),
        ["stack/a", "stack/inner/b", "stack/inner/c", "stack/d"],
    ),
    "encoder and decoder": (encoder_decoder, ["encoder", "decoder"]),
    "several inputs and outputs": (several_inputs_and_outputs, ["numbers", "text"]),
    "inside and outside": (inside_and_outside, ["inner/shared", "inner/shared@2"]),
    "same name in two places": (same_name_in_two_places, ["left/gru", "right/gru"]),
    "subclassed model": (subclassed, ["a", "a@2", "b", "head"]),
    "subclassed layer": (functional(Doubled(4, name="doubled")), ["doubled"]),
    "own default": (functional(FromOnes(4, name="ones")), ["ones"]),
    "own argument": (contextual, ["contextual"]),
    "own names of arguments": (functional(Renamed(4, name="renamed")), ["renamed"]),
    "functional model and more": pytest.param(
        (extended, ["body", "head"]),
        marks=pytest.mark.skipif(
            tuple(map(int, keras.version().split(".")[:2])) < (3, 15),
            reason="This Keras itself loses the layers beside the graph.",
        ),
    ),
    "softmax over the units": (
        functional(layers.LSTM(4, recurrent_activation=over_units, name="lstm")),
        ONE,
    ),
    "gates inside frames": (gates_in_frames, ["each/attended/inner"]),
    "custom layer": (custom_layer, ["attentive/inner"]),
    "stateful": (stateful, ["gru"]),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def case(request):
    make, paths = request.param
    # Made anew for each test: a layer that a test trains must not serve another.
    model, x = make()
    distinct_weights(model, 0)
    return model, x, paths


def assert_same(left, right):
    for a, b in zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True):
        np.testing.assert_array_equal(a, b)


def paths_of(gates):
    return {node.path.strip("/") for node in gates.subtree if "cell_type" in node.attrs}


def stateful_layers(model):
    return [layer for _, layer in walk(model) if getattr(layer, "stateful", False)]


def forget_states(model):
    for layer in stateful_layers(model):
        layer.reset_state()


def predict(model, x):
    forget_states(model)
    return model.predict(x, verbose=0, batch_size=4)


def test_capture_finds_every_layer_and_its_true_gates(case):
    model, x, paths = case
    classes = [type(layer) for _, layer in walk(model)]
    before = predict(model, x)
    gates = keras_gates.capture(model, x, batch_size=4)
    assert paths_of(gates) == set(paths)
    assert keras_gates.verify(gates).max() < 1e-5
    assert [type(layer) for _, layer in walk(model)] == classes
    assert_same(predict(model, x), before)


def test_instrumented_and_restored_it_predicts_the_same(case):
    model, x, _ = case
    before = predict(model, x)
    with keras_gates.instrument(model):
        assert_same(predict(model, x), before)
    assert_same(predict(model, x), before)


def test_recorded_in_training_it_trains_the_same_and_its_gates_are_the_true_ones(case):
    model, x, paths = case
    if keras.backend.backend() == "torch" and stateful_layers(model):
        pytest.skip("Keras 3.15 itself cannot train a stateful layer on PyTorch.")
    gates = keras_gates.capture(model, x, batch_size=4)
    y = keras.tree.map_structure(np.zeros_like, predict(model, x))
    start = model.get_weights()
    every = keras_gates.GateRecorder(x, batch_size=4, samples_per_batch="all")
    few = keras_gates.GateRecorder(samples_per_batch=2)
    ends = []
    for callbacks in ([], [every, few]):
        model.set_weights(start)
        forget_states(model)
        model.compile(
            keras.optimizers.SGD(0.01), loss=lambda t, p: ops.mean((p - t) ** 2)
        )
        model.fit(
            x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=callbacks
        )
        ends.append(model.get_weights())
    assert_same(*ends)
    assert paths_of(every.traces) == set(paths)
    last = every.traces.isel(step=-1, drop=True)
    assert keras_gates.verify(last).max() < 1e-5
    # In the one batch of the first epoch, the weights were those at the start.
    assert_counted(every.statistics.isel(step=0), gates, paths, slice(None))
    assert_counted(few.statistics.isel(step=0), gates, paths, [0, 2])


def assert_counted(counted, gates, paths, rows):
    """Compares the statistics of a step with those of some rows of captured gates."""
    found = paths_of(counted)
    assert found == {path for path in paths if "@" not in path}
    for path in found:
        # Every call of a shared layer counts.
        calls = [gates[p] for p in paths if p.partition("@")[0] == path]
        statistics = counted[path]
        for signal in statistics.signal.values:
            chosen = [c[signal].isel(sample=rows).values for c in calls]
            units = chosen[0].shape[-1]
            values = np.concatenate([c.reshape(-1, units) for c in chosen])
            values = values[~np.isnan(values[:, 0])]
            here = statistics.sel(signal=signal)
            assert (here["count"] == len(values)).all()
            for name in ("mean", "std"):
                expected = getattr(values, name)(0)
                np.testing.assert_allclose(here[name], expected, atol=3e-6)


@pytest.mark.parametrize(
    "layer", [FromOnes(4, name="r"), Renamed(4, name="r"), Doubled(4, name="r")]
)
def test_captured_states_are_those_that_the_layer_returned(layer):
    """`verify` would not see a layer that was called with other arguments."""
    inputs = keras.Input((TIME, FEATURES))
    model = keras.Model(inputs, layer(inputs))
    x = sequence(4, TIME, FEATURES)
    hidden = keras_gates.capture(model, x)["r/hidden"]
    np.testing.assert_allclose(hidden[:, -1], predict(model, x), atol=1e-6)


def test_frames_are_computed_one_by_one_as_in_keras():
    """A batch normalisation inside must see one frame, not all of them."""
    inner = keras.Sequential(
        [layers.BatchNormalization(), layers.LSTM(4, return_sequences=True, name="r")],
        name="inner",
    )
    inputs = keras.Input((3, TIME, FEATURES))
    model = keras.Model(inputs, layers.TimeDistributed(inner, name="each")(inputs))
    x = sequence(4, 3, TIME, FEATURES) * np.float32([1, 5, 20]).reshape(1, 3, 1, 1)
    start = model.get_weights()
    expected = ops.convert_to_numpy(model(x, training=True))
    model.set_weights(start)
    gates = keras_gates.capture(model, x, training=True)
    np.testing.assert_allclose(gates["each/inner/r/hidden"], expected, atol=1e-5)


def test_one_cell_twice_in_a_stack_is_one_node_called_twice():
    cell = layers.GRUCell(FEATURES, name="c")
    model, x = functional(layers.RNN([cell, cell], name="r"))()
    gates = keras_gates.capture(model, x)
    assert paths_of(gates) == {"r/c", "r/c@2"}
    assert keras_gates.verify(gates).max() < 1e-5


class Residual(layers.StackedRNNCells):
    """A stack of the user's own, which adds the input of each cell to its output."""

    def call(self, inputs, states, training=False, **kwargs):
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            output, state = cell(inputs, list(state), training=training)
            inputs = inputs + output
            new.append(state)
        return inputs, new


class Redrawn(layers.LSTMCell):
    """A cell of the user's own, with another dropout at every step."""

    def get_dropout_mask(self, step_input):
        return self._create_dropout_mask(step_input, self.dropout)


def test_a_stack_with_equations_of_its_own_is_refused():
    cell = Residual([layers.LSTMCell(FEATURES), layers.LSTMCell(FEATURES)])
    model, x = functional(layers.RNN(cell, name="r"))()
    with pytest.raises(ValueError, match="equations of 'r' are not known"):
        keras_gates.capture(model, x)


def test_a_cell_that_draws_random_numbers_at_every_step_is_traced_without_them():
    model, x = functional(layers.RNN(Redrawn(4, dropout=0.5), name="r"))()
    assert "sigmoid" in keras_gates.capture(model, x)["r"]
    with pytest.raises(ValueError, match="`Redrawn` cannot be traced in training"):
        keras_gates.capture(model, x, training=True)


@pytest.mark.parametrize("returns", [True, False])
def test_a_kernel_that_returns_a_backward_layer_in_the_order_of_the_input(
    returns, monkeypatch
):
    """As Keras's cuDNN kernel of an LSTM does on JAX."""
    layer = layers.LSTM(4, go_backwards=True, return_sequences=returns, name="r")
    model, x = functional(layer)()
    expected = keras_gates.capture(model, x)
    stock = layers.LSTM.inner_loop

    def inner_loop(self, *args, **kwargs):
        last, outputs, states = stock(self, *args, **kwargs)
        turned = self.go_backwards and self.return_sequences
        return last, ops.flip(outputs, axis=1) if turned else outputs, states

    monkeypatch.setattr(layers.LSTM, "inner_loop", inner_loop)
    gates = keras_gates.capture(model, x)
    assert keras_gates.verify(gates).max() < 1e-5
    for name, values in expected["r"].items():
        np.testing.assert_allclose(gates["r"][name], values, atol=1e-6)


def test_dropping_everything_out_is_refused_in_training():
    model, x = functional(layers.GRU(4, dropout=1.0, name="r"))()
    # On TensorFlow, an older Keras refuses the rate itself.
    with pytest.raises(ValueError, match=r"dropout rate of 1|range \[0, 1\)"):
        keras_gates.capture(model, x, training=True)


def test_frames_must_be_as_many_in_every_batch():
    inputs = keras.Input((None, TIME, FEATURES))
    each = layers.TimeDistributed(layers.LSTM(4), name="each")
    model = keras.Model(inputs, each(inputs))
    batches = (sequence(2, n, TIME, FEATURES) for n in (2, 3))
    with pytest.raises(ValueError, match=r"number of frames; got \[2, 3\]"):
        keras_gates.capture(model, batches)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.skipif(
    not hasattr(layers.Bidirectional, "_call_fused_lstm"),
    reason="This Keras has no fused kernel for two directions.",
)
def test_fused_bidirectional_path_does_not_swallow_gates(kind, monkeypatch):
    """On a GPU, Keras may compute both directions without calling the layers."""
    x = sequence(2, TIME, FEATURES)
    recurrent = {"lstm": layers.LSTM, "gru": layers.GRU}[kind](4, name="r")
    inputs = keras.Input((TIME, FEATURES))
    model = keras.Model(inputs, layers.Bidirectional(recurrent, name="both")(inputs))
    predict(model, x)
    called = []

    def fused(self, sequences, initial_state):
        called.append(True)
        return ops.zeros((ops.shape(sequences)[0], 8))

    monkeypatch.setattr(layers.Bidirectional, f"_call_fused_{kind}", fused)
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), 0)
    assert called
    gates = keras_gates.capture(model, x)
    assert keras_gates.verify(gates).max() < 1e-5
    with keras_gates.instrument(model):
        # Nobody collects, so the kernel is used.
        np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), 0)
