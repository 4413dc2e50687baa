"""Capture sees the true gates of any model, and leaves it as it was."""

import keras
import numpy as np
import pytest
import reference
import xarray
from battery import distinct_weights
from keras import layers, ops
from small_models import Scaled, sequential

import keras_gates
from keras_gates.models.find_layers import walk
from keras_gates.stores.opening import open_tree
from keras_gates.stores.store import Store
from keras_gates.trees.tree_walk import recurrent

TOLERANCE = 2e-6


def assert_true(node, equations, weights, x, *, mask=None, backward=False, **options):
    """Compares one node with the reference, in input order, NaN where masked."""
    if backward:
        x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
    truth = equations(x, weights, mask=mask, **options)
    for name, value in truth.items():
        if mask is not None:
            value = np.where(mask[..., None], value, np.nan)
        value = value[:, ::-1] if backward else value
        assert node[name].dims == ("sample", "time", "unit")
        assert node[name].dtype == "float32"
        np.testing.assert_allclose(node[name], value, atol=TOLERANCE, err_msg=name)


class Subclassed(keras.Model):
    """Layers in a list and a dict, one of them called twice, and two of one name."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.stack = [
            layers.LSTM(3, return_sequences=True, name="twin"),
            layers.GRU(3, return_sequences=True, name="shared"),
        ]
        self.named = {"head": layers.LSTM(2, name="twin")}

    def call(self, x):
        x = self.stack[0](x)
        x = self.stack[1](self.stack[1](x))
        return self.named["head"](x)


@pytest.fixture
def text_model():
    """The model of the issue: embedding with a mask, bidirectional LSTM, GRU."""
    tokens = keras.Input((None,), name="tokens")
    x = layers.Embedding(20, 6, mask_zero=True, name="embedding")(tokens)
    x = layers.Bidirectional(
        layers.LSTM(5, return_sequences=True, name="lstm"), name="both"
    )(x)
    outputs = layers.Dense(1)(layers.GRU(4, name="gru")(x))
    model = keras.Model(tokens, outputs)
    distinct_weights(model, 0)
    return model


@pytest.fixture
def tokens(rng):
    x = rng.integers(1, 20, size=(7, 9))
    x[:3, 5:] = 0  # padded on the right
    x[3, :4] = 0  # on the left
    x[4, 2:4] = 0  # a hole
    x[5] = 0  # everywhere
    return x


def test_masks_and_directions_match_the_reference(text_model, tokens):
    gates = keras_gates.capture(text_model, tokens)
    assert list(gates.children) == ["both", "gru"]
    embedded = text_model.get_layer("embedding")(tokens)
    x, mask = ops.convert_to_numpy(embedded), tokens != 0
    both = text_model.get_layer("both")
    for name, layer in (
        ("forward_lstm", both.forward_layer),
        ("backward_lstm", both.backward_layer),
    ):
        assert_true(
            gates[f"both/{name}"],
            reference.lstm,
            layer.get_weights(),
            x,
            mask=mask,
            backward=name == "backward_lstm",
        )
        np.testing.assert_array_equal(gates[f"both/{name}/mask"], mask)
    inner = ops.convert_to_numpy(both(embedded))
    weights = text_model.get_layer("gru").get_weights()
    assert_true(gates["gru"], reference.gru, weights, inner, mask=mask)


def test_predictions_and_the_model_are_left_to_the_bit(text_model, tokens):
    classes = [type(layer) for _, layer in walk(text_model)]
    before = text_model.predict(tokens, verbose=0)
    keras_gates.capture(text_model, tokens)
    np.testing.assert_array_equal(text_model.predict(tokens, verbose=0), before)
    assert [type(layer) for _, layer in walk(text_model)] == classes


def test_verify_proves_a_capture(text_model, tokens):
    deviations = keras_gates.verify(keras_gates.capture(text_model, tokens))
    assert list(deviations.index) == ["both/forward_lstm", "both/backward_lstm", "gru"]
    assert (deviations < 1e-5).all()


def test_gate_layers_are_captured_like_stock_layers(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    stock = sequential(layers.LSTM(4, name="r"), shape=(5, 3))
    gate = sequential(keras_gates.GateLSTM(4, name="r"), shape=(5, 3))
    gate.set_weights(distinct_weights(stock, 1))
    left, right = (keras_gates.capture(model, x)["r"] for model in (stock, gate))
    xarray.testing.assert_identical(left.to_dataset(), right.to_dataset())


def test_a_layer_that_returns_its_gates_is_captured_too(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    inputs = keras.Input((5, 3))
    output, gates = keras_gates.GateGRU(4, return_gates=True, name="r")(inputs)
    model = keras.Model(inputs, [output, gates["reset"]])
    captured = keras_gates.capture(model, x)
    np.testing.assert_allclose(
        captured["r/reset"], model.predict(x, verbose=0)[1], atol=1e-7
    )


def test_nested_models_give_nested_paths(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    encoder = sequential(layers.LSTM(4, name="lstm"), shape=(5, 3))
    encoder.name = "encoder"
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, layers.Dense(1)(encoder(inputs)))
    weights = distinct_weights(encoder, 2)
    gates = keras_gates.capture(model, x)
    assert_true(gates["encoder/lstm"], reference.lstm, weights, x)


def test_subclassed_model_with_a_shared_layer_and_two_of_one_name(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    model = Subclassed()
    model(x)
    distinct_weights(model, 3)
    gates = keras_gates.capture(model, x)
    assert sorted(gates.children) == ["shared", "shared@2", "twin", "twin#2"]
    first = gates["twin/hidden"].values
    weights = model.stack[1].get_weights()
    assert_true(gates["shared"], reference.gru, weights, first)
    again = gates["shared/hidden"].values
    assert_true(gates["shared@2"], reference.gru, weights, again)
    assert (keras_gates.verify(gates) < 1e-5).all()


def test_encoder_decoder_starts_from_the_given_states(rng):
    x = rng.normal(size=(3, 5, 2)).astype("float32")
    source, target = keras.Input((5, 2)), keras.Input((5, 2))
    _, *states = layers.LSTM(4, return_state=True, name="encoder")(source)
    outputs = layers.LSTM(4, name="decoder")(target, initial_state=states)
    model = keras.Model([source, target], outputs)
    distinct_weights(model, 4)
    gates = keras_gates.capture(model, [x, x])
    last = [gates[f"encoder/{state}"][:, -1].values for state in ("hidden", "cell")]
    weights = model.get_layer("decoder").get_weights()
    assert_true(gates["decoder"], reference.lstm, weights, x, initial=last)
    np.testing.assert_allclose(gates["decoder"].initial_cell, last[1], atol=1e-6)


@pytest.mark.parametrize("frames", [3, None])
def test_time_distributed_has_a_frame_dimension(frames, rng):
    x = rng.normal(size=(2, 3, 5, 2)).astype("float32")
    wrapper = layers.TimeDistributed(layers.GRU(4, name="gru"), name="each")
    model = sequential(wrapper, shape=(frames, 5, 2))
    weights = distinct_weights(model, 5)
    node = keras_gates.capture(model, x)["each/gru"]
    assert node["update"].dims == ("sample", "frame", "time", "unit")
    truth = reference.gru(x.reshape(6, 5, 2), weights)
    for name, value in truth.items():
        np.testing.assert_allclose(
            node[name], value.reshape(2, 3, 5, 4), atol=TOLERANCE, err_msg=name
        )
    assert (keras_gates.verify(node.to_dataset()) < 1e-5).all()


@pytest.mark.parametrize("masked", [False, True])
def test_stacked_cells_are_seen_one_by_one(masked, rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    cells = [
        layers.LSTMCell(4, name="low"),
        layers.SimpleRNNCell(3, name="simple_rnn_cell"),
        layers.GRUCell(2, name="high", reset_after=False),
    ]
    stack = layers.RNN(cells, name="rnn", go_backwards=True)
    before = [layers.Masking()] if masked else []
    model = sequential(*before, stack, shape=(5, 3))
    distinct_weights(model, 6)
    mask = None
    if masked:
        x[0, 3:] = x[1, :2] = 0
        mask = x.any(axis=-1)
    gates = keras_gates.capture(model, x)
    low = gates["rnn/low"]
    assert_true(
        low, reference.lstm, cells[0].get_weights(), x, mask=mask, backward=True
    )
    assert list(gates["rnn"].children) == ["low", "simple_rnn_cell", "high"]
    deviations = keras_gates.verify(gates)
    assert np.isnan(deviations.pop("rnn/simple_rnn_cell"))
    assert (deviations < 1e-5).all()


def test_rnn_around_one_cell_is_one_node(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    model = sequential(layers.RNN(layers.LSTMCell(4), name="rnn"), shape=(5, 3))
    weights = distinct_weights(model, 7)
    assert_true(keras_gates.capture(model, x)["rnn"], reference.lstm, weights, x)


def test_a_subclass_of_a_stock_layer_keeps_its_own_call(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    model = sequential(Scaled(4, name="scaled"), shape=(5, 3))
    weights = distinct_weights(model, 8)
    node = keras_gates.capture(model, x)["scaled"]
    assert_true(node, reference.lstm, weights, x * 2)
    assert node.attrs["layer_class"] == "Scaled"
    assert type(model.layers[0]) is Scaled


class Gated(layers.Layer):
    """A custom layer with a recurrent layer inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.GRU(3, name="inner")

    def call(self, x):
        return self.inner(x)


def test_layers_inside_custom_layers_are_found(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    model = sequential(Gated(name="outer"), shape=(5, 3))
    assert "outer/inner" in [
        leaf.path.strip("/") for leaf in recurrent(keras_gates.capture(model, x))
    ]


def test_stateful_model_continues_from_its_states(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    recurrent = layers.LSTM(4, stateful=True, name="r")
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), recurrent])
    weights = distinct_weights(recurrent, 9)
    states = [np.full((2, 4), value, "float32") for value in (0.3, -0.2)]
    for variable, value in zip(recurrent.states, states, strict=True):
        variable.assign(value)
    gates = keras_gates.capture(model, x, batch_size=2)
    assert_true(gates["r"], reference.lstm, weights, x, initial=states)
    for variable, value in zip(recurrent.states, states, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def test_states_go_from_batch_to_batch_as_in_predict(rng):
    x = rng.normal(size=(6, 5, 3)).astype("float32")
    recurrent = layers.LSTM(4, stateful=True, return_sequences=True, name="r")
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), recurrent])
    gates = keras_gates.capture(model, x, batch_size=2)
    predicted = model.predict(x, batch_size=2, verbose=0)
    np.testing.assert_allclose(gates["r/hidden"], predicted, atol=TOLERANCE)


def test_training_mode_drops_out_and_leaves_seeds_and_statistics(rng):
    x = rng.normal(size=(4, 5, 3)).astype("float32")
    model = sequential(
        layers.BatchNormalization(),
        layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5, seed=1, name="r"),
        shape=(5, 3),
    )
    before = [ops.convert_to_numpy(variable) for variable in model.variables]
    quiet = keras_gates.capture(model, x)
    first = keras_gates.capture(model, x, training=True)
    second = keras_gates.capture(model, x, training=True)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    assert not np.allclose(first["r/forget"], quiet["r/forget"])
    np.testing.assert_array_equal(first["r/forget"], second["r/forget"])
    assert (keras_gates.verify(first) < 1e-5).all()


class Doubled(layers.TimeDistributed):
    """A user's own wrapper, with a `call` of its own."""

    def call(self, inputs, training=None, mask=None):
        return 2.0 * super().call(inputs, training=training, mask=mask)


def test_time_distributed_around_other_layers_is_left_alone(rng):
    """A masked sequence tagger: the wrapper gets a mask that Dense does not take."""
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    x[0, 3:] = 0
    model = sequential(
        layers.Masking(),
        Doubled(layers.Dense(4), name="own"),
        layers.LSTM(3, return_sequences=True, name="r"),
        layers.TimeDistributed(layers.Dense(2)),
        shape=(5, 3),
    )
    distinct_weights(model, 12)
    inner = ops.convert_to_numpy(model.get_layer("own")(x))
    gates = keras_gates.capture(model, x)
    weights = model.get_layer("r").get_weights()
    assert_true(gates["r"], reference.lstm, weights, inner, mask=x.any(axis=-1))


def test_two_layers_may_share_a_stack_of_cells(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    cells = [layers.LSTMCell(3, name="c"), layers.GRUCell(3, name="c")]
    inputs = keras.Input((5, 3))
    one = layers.RNN(cells, return_sequences=True, name="one")(inputs)
    two = layers.RNN(cells, go_backwards=True, name="two")(one)
    model = keras.Model(inputs, two)
    distinct_weights(model, 13)
    gates = keras_gates.capture(model, x)
    nodes = recurrent(gates)
    assert [(node.path, node.attrs["cell_type"]) for node in nodes] == [
        ("/one/c", "LSTM"),
        ("/one/c#2", "GRU"),
        ("/two/c", "LSTM"),
        ("/two/c#2", "GRU"),
    ]
    assert_true(gates["one/c"], reference.lstm, cells[0].get_weights(), x)
    below = gates["one/c#2/hidden"].values
    weights = cells[0].get_weights()
    assert_true(gates["two/c"], reference.lstm, weights, below, backward=True)


class Scaling(layers.GRU):
    """A user's own layer with one argument more."""

    def call(self, sequences, initial_state=None, mask=None, training=False, by=1.0):
        return super().call(sequences * by, initial_state, mask, training)


def test_a_subclass_may_take_further_arguments(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, Scaling(4, name="r")(inputs, by=3.0))
    weights = distinct_weights(model, 14)
    assert_true(keras_gates.capture(model, x)["r"], reference.gru, weights, x * 3)


class Counting(layers.Layer):
    """A layer that counts what it sees in a metric."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = keras.metrics.Sum()

    def call(self, x):
        self.seen.update_state(ops.ones(1))
        return x


def test_weights_and_metrics_that_layers_rewrite_are_put_back(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    # A metric updated in `call` fails on JAX, in Keras itself.
    counting = [] if keras.backend.backend() == "jax" else [Counting()]
    model = sequential(
        *counting,
        layers.SpectralNormalization(layers.Dense(3)),
        layers.LSTM(2),
        shape=(5, 3),
    )
    everything = [*model.variables, *model.metrics_variables]
    before = [ops.convert_to_numpy(variable).copy() for variable in everything]
    keras_gates.capture(model, x, training=True)
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def test_a_store_may_lie_at_home_and_touches_nothing_else(rng, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "gates.unfinished").mkdir()
    model = sequential(layers.LSTM(2, name="r"), shape=(5, 3))
    gates = keras_gates.capture(model, GOOD, store="~/deep/gates")
    assert gates["r/forget"].shape == (2, 5, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["deep", "gates.unfinished"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["gates"]


def test_the_name_of_a_wrapper_selects_what_is_inside(text_model, tokens):
    gates = keras_gates.capture(text_model, tokens, layers="both")
    assert list(gates.children) == ["both"]
    assert list(gates["both"].children) == ["forward_lstm", "backward_lstm"]


# Inputs of every kind that `predict` takes.


class Batches(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.x[index * 2 : index * 2 + 2], np.zeros(2)


def torch_loader(x):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(x), torch.zeros(len(x)))
    return torch.utils.data.DataLoader(data, batch_size=2)


def tensorflow_dataset(x):
    data = pytest.importorskip("tensorflow").data
    return data.Dataset.from_tensor_slices((x, np.zeros(len(x)))).batch(2)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x.astype("float64"),
        lambda x: [x],
        lambda x: {"x": x},
        ops.convert_to_tensor,
        Batches,
        tensorflow_dataset,
        torch_loader,
        lambda x: ((x[start : start + 2],) for start in (0, 2, 4)),
    ],
    ids=[
        "array",
        "list",
        "dict",
        "tensor",
        "PyDataset",
        "tf",
        "DataLoader",
        "generator",
    ],
)
def test_every_form_of_input_gives_the_same_gates(wrap, rng):
    x = rng.normal(size=(6, 5, 3)).astype("float32")
    data = wrap(x)
    inputs = keras.Input((5, 3), name="x")
    structure = {dict: {"x": inputs}, list: [inputs]}.get(type(data), inputs)
    model = keras.Model(structure, layers.LSTM(4, name="r")(inputs))
    weights = distinct_weights(model, 10)
    gates = keras_gates.capture(model, data, batch_size=2)
    assert_true(gates["r"], reference.lstm, weights, x)


@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU])
def test_batches_of_different_lengths_are_padded_and_masked(layer, rng):
    """Several lengths: from the third on, TensorFlow compiles for any length."""
    lengths = (5, 3, 4, 1)
    parts = [rng.normal(size=(2, n, 3)).astype("float32") for n in lengths]
    model = sequential(layer(4, name="r"), shape=(None, 3))
    weights = distinct_weights(model, 11)
    equations = getattr(reference, layer.__name__.lower())
    gates = keras_gates.capture(model, iter(parts))
    for number, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        node = gates["r"].isel(sample=slice(2 * number, 2 * number + 2))
        assert_true(node.isel(time=slice(0, length)), equations, weights, part)
        padding = node.isel(time=slice(length, None))
        assert padding.hidden.isnull().all() and not padding["mask"].any()
        assert node["mask"][:, :length].all()
    assert (keras_gates.verify(gates) < 1e-5).all()


def test_layers_and_signals_are_chosen_by_name_and_pattern(text_model, tokens):
    gates = keras_gates.capture(
        text_model, tokens, layers=["*/forward_*", "gru"], signals=["candidate"]
    )
    nodes = recurrent(gates)
    assert [node.path for node in nodes] == ["/both/forward_lstm", "/gru"]
    assert [list(node.data_vars) for node in nodes] == [["candidate", "mask"]] * 2


def test_store_holds_the_same_and_reads_lazily(text_model, tokens, tmp_path):
    path = tmp_path / "run.zarr"
    plain = keras_gates.capture(text_model, tokens, batch_size=3)
    stored = keras_gates.capture(text_model, tokens, batch_size=3, store=path)
    assert [n.path for n in recurrent(stored)] == [n.path for n in recurrent(plain)]
    assert not stored["gru"].to_dataset().variables["update"]._in_memory
    for leaf in recurrent(plain):
        xarray.testing.assert_identical(
            leaf.to_dataset(), stored[leaf.path].to_dataset().load()
        )
    assert (keras_gates.verify(stored) < 1e-5).all()
    with pytest.raises(FileExistsError, match="exists already"):
        keras_gates.capture(text_model, tokens, store=path)


@pytest.mark.once
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_store_is_replaced_once_the_new_one_is_complete(
    n_jobs, text_model, tokens, tmp_path, monkeypatch
):
    path = tmp_path / "run.zarr"
    keras_gates.capture(text_model, tokens, batch_size=3, store=path)
    options = {"store": path, "mode": "w", "batch_size": 3, "n_jobs": n_jobs}
    with monkeypatch.context() as broken:
        broken.setattr(Store, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            keras_gates.capture(text_model, tokens, layers="gru", **options)
    assert len(recurrent(open_tree(path))) > 1
    stored = keras_gates.capture(text_model, tokens, layers="gru", **options)
    assert [node.path for node in recurrent(stored)] == ["/gru"]
    assert [found.name for found in tmp_path.iterdir()] == ["run.zarr"]

    (path / "notes.txt").write_text("mine")
    with pytest.raises(
        ValueError, match="holds 'no.*, which keras_gates did not write"
    ):
        keras_gates.capture(text_model, tokens, **options)
    path = tmp_path / "letters"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not a store that keras_gates wrote"):
        keras_gates.capture(text_model, tokens, **(options | {"store": path}))
    assert (path / "notes.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="`mode` must be one of 'w-', 'w'; got 'a'"):
        keras_gates.capture(text_model, tokens, store=path, mode="a")


@pytest.mark.once
def test_layers_are_chosen_by_themselves(text_model, tokens):
    """As a Keras user has them at hand; a wrapper stands for what it holds."""
    both, gru = (text_model.get_layer(name) for name in ("both", "gru"))
    for layers_, names in (
        (gru, "gru"),
        (both, "both"),
        ([gru, "both"], ["both", "gru"]),
        ({both, gru}, ["both", "gru"]),
    ):
        found = keras_gates.capture(text_model, tokens, layers=layers_)
        named = keras_gates.capture(text_model, tokens, layers=names)
        xarray.testing.assert_identical(found, named)
    with pytest.raises(ValueError, match="the layer 'other' matches none of"):
        keras_gates.capture(text_model, tokens, layers=[layers.LSTM(2, name="other")])
    with pytest.raises(TypeError, match="`layers` must be a name or a list of names"):
        keras_gates.capture(text_model, tokens, layers=[gru, 3])


def test_a_failure_half_way_leaves_model_and_disk_as_they_were(tmp_path, rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    model = sequential(layers.LSTM(4, stateful=False), shape=(5, 3))

    def broken():
        yield x
        raise RuntimeError("the disk is gone")

    for store in (None, tmp_path / "run.zarr"):
        with pytest.raises(RuntimeError, match="the disk is gone"):
            keras_gates.capture(model, broken(), store=store)
        assert type(model.layers[0]) is layers.LSTM
    assert not list(tmp_path.iterdir())


def test_attributes_describe_the_values(text_model, tokens):
    gates = keras_gates.capture(text_model, tokens)
    attributes = gates["gru"].attrs
    assert attributes["cell_type"] == "GRU" and attributes["units"] == 4
    assert "update of 1 keeps the old state" in attributes["convention"]
    assert "keeps" in gates["gru/update"].attrs["long_name"]
    assert gates["both/backward_lstm"].attrs["direction"] == "backward"
    assert gates.attrs["backend"] == keras.backend.backend()


# What bad input gets.


class Unknown(layers.Layer):
    state_size = 3

    def call(self, inputs, states):
        return states[0], states


class Changed(layers.LSTMCell):
    """A cell with equations of its own, and without an activation."""

    def call(self, inputs, states, training=False):
        output = inputs @ self.kernel[:, : self.units]
        return output, [output, states[1]]


class OwnLoop(layers.LSTM):
    def inner_loop(self, sequences, initial_state, mask, training=False):
        return super().inner_loop(sequences * 2, initial_state, mask, training)


@pytest.fixture
def small():
    return sequential(layers.LSTM(4, name="lstm_1"), shape=(5, 3))


GOOD = np.zeros((2, 5, 3))
BAD_CALLS = {
    "wrong rank": (
        lambda model: keras_gates.capture(model, np.zeros((2, 5, 3, 1, 1))),
        r"`x` must have the shape \(sample, 5, 3\) for .* got \(2, 5, 3, 1, 1\)",
    ),
    "wrong features": (
        lambda model: keras_gates.capture(model, np.zeros((2, 5, 4))),
        r"`x` must have the shape \(sample, 5, 3\)",
    ),
    "empty": (
        lambda model: keras_gates.capture(model, np.zeros((0, 5, 3))),
        "`x` is empty",
    ),
    "empty data set": (lambda model: keras_gates.capture(model, iter([])), "is empty"),
    "NaN": (
        lambda model: keras_gates.capture(model, np.full((2, 5, 3), np.nan)),
        r"`x` holds NaN in 30 places, the first at index \(0, 0, 0\).*`Masking`",
    ),
    "not arrays": (lambda model: keras_gates.capture(model, "data"), "got str"),
    "two inputs": (
        lambda model: keras_gates.capture(model, [GOOD, GOOD]),
        "must hold 1 arrays",
    ),
    "different sizes": (
        lambda model: keras_gates.capture(model, [GOOD, GOOD[:1]]),
        "same number of samples",
    ),
    "no such layer": (
        lambda model: keras_gates.capture(model, GOOD, layers="gru*"),
        "`layers` must name .*'gru\\*' matches none of 'lstm_1'",
    ),
    "no such signal": (
        lambda model: keras_gates.capture(model, GOOD, signals=["update"]),
        "`signals` must be among 'input', 'forget', 'candidate', 'output', 'cell', "
        "'hidden' for 'lstm_1' .*got 'update', which is a signal of a GRU",
    ),
    "no signals": (
        lambda model: keras_gates.capture(model, GOOD, signals=[]),
        "`signals` is empty",
    ),
    "no layers": (
        lambda model: keras_gates.capture(model, GOOD, layers=[]),
        "`layers` is empty",
    ),
    "own loop": (
        lambda _: keras_gates.capture(
            sequential(OwnLoop(3, name="odd"), shape=(5, 3)), GOOD
        ),
        "equations of 'odd' are not known: its class `OwnLoop` has an `inner_loop`",
    ),
    "own wrapper": (
        lambda _: keras_gates.capture(
            sequential(Doubled(layers.GRU(2), name="odd"), shape=(3, 5, 3)),
            np.zeros((2, 3, 5, 3)),
        ),
        "'odd' is a `Doubled`, which changes the `call` of `TimeDistributed`",
    ),
    "batch size": (
        lambda model: keras_gates.capture(model, GOOD, batch_size=0),
        "`batch_size` must be at least 1",
    ),
    "a layer": (
        lambda model: keras_gates.capture(model.layers[0], GOOD),
        "`model` must be a `keras.Model`; got LSTM",
    ),
    "no recurrent layer": (
        lambda _: keras_gates.capture(sequential(layers.Dense(2), shape=(3,)), GOOD),
        "has no LSTM, GRU or SimpleRNN layer; it has 'Dense'",
    ),
    "unbuilt": (
        lambda _: keras_gates.instrument(keras.Sequential([layers.LSTM(2)])),
        "is not built yet",
    ),
    "unknown cell": (
        lambda _: keras_gates.capture(
            sequential(layers.RNN(Unknown(), name="odd"), shape=(5, 3)), GOOD
        ),
        "equations of 'odd' are not known. It is a `RNN` with a `Unknown`",
    ),
    "changed cell": (
        lambda _: keras_gates.instrument(
            sequential(layers.RNN(Changed(3), name="odd"), shape=(5, 3))
        ),
        "equations of 'odd' are not known. It is a `RNN` with a `Changed`.*no activ",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_gets_a_sentence_and_leaves_the_model(case, small):
    call, sentence = BAD_CALLS[case]
    with pytest.raises(ValueError, match=sentence):
        call(small)
    assert type(small.layers[0]) is layers.LSTM


@pytest.mark.parametrize("wrong", [{"layers": 3}, {"batch_size": None}])
def test_arguments_of_the_wrong_type_get_a_sentence(wrong, small):
    with pytest.raises(TypeError, match=f"`{next(iter(wrong))}` must be a"):
        keras_gates.capture(small, GOOD, **wrong)


def test_unknown_cells_can_be_left_out(rng):
    model = sequential(
        layers.LSTM(3, return_sequences=True, name="lstm"),
        layers.RNN(Changed(3), name="odd"),
        shape=(5, 3),
    )
    with pytest.raises(ValueError, match=r"leave it out with `layers=\['lstm'\]`"):
        keras_gates.capture(model, GOOD)
    assert list(keras_gates.capture(model, GOOD, layers="lstm").children) == ["lstm"]


class Sometimes(keras.Model):
    def __init__(self):
        super().__init__()
        self.used, self.unused = layers.LSTM(2, name="used"), layers.GRU(2, name="idle")
        self.unused.build((None, 5, 3))

    def call(self, x):
        return self.used(x)


def test_a_layer_that_does_not_run_is_named():
    model = Sometimes()
    model(GOOD)
    with pytest.warns(UserWarning, match="'idle'.* did not run"):
        assert list(keras_gates.capture(model, GOOD).children) == ["used"]
    with pytest.raises(ValueError, match="None of the layers .*'idle'.* ran"):
        keras_gates.capture(model, GOOD, layers="idle")
