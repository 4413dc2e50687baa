"""The gate layers are the stock layers, and their gates are the true gates."""

import keras
import numpy as np
import pytest
import reference
from hypothesis import assume, given
from hypothesis import strategies as st
from keras import layers, ops

from keras_gates import GateGRU, GateGRUCell, GateLSTM, GateLSTMCell

PAIRS = {
    "LSTM": (layers.LSTM, GateLSTM, reference.lstm),
    "GRU": (layers.GRU, GateGRU, reference.gru),
}
CELLS = {
    "LSTM": (layers.LSTMCell, GateLSTMCell, reference.lstm),
    "GRU": (layers.GRUCell, GateGRUCell, reference.gru),
}
BOTH = pytest.mark.parametrize("kind", ["LSTM", "GRU"])
TOLERANCE = 2e-6
"""float32 against float64, for states of at most a few units."""


def numpy(value):
    return keras.tree.map_structure(ops.convert_to_numpy, value)


def distinct_weights(layer, seed):
    """Gives every gate its own weights: with equal ones a swap would not show."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape, scale=0.7) for w in layer.weights])
    return layer.get_weights()


def assert_same(left, right):
    for a, b in zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True):
        np.testing.assert_array_equal(a, b)


@st.composite
def cases(draw):
    """A layer with options drawn together, an input, and perhaps a mask and states."""
    kind = draw(st.sampled_from(["LSTM", "GRU"]))
    options = {
        "units": draw(st.integers(1, 4)),
        "return_sequences": draw(st.booleans()),
        "return_state": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "unroll": draw(st.booleans()),
        "use_bias": draw(st.booleans()),
        "implementation": draw(st.sampled_from([1, 2])),
        "zero_output_for_mask": draw(st.booleans()),
    }
    if kind == "GRU":
        options["reset_after"] = draw(st.booleans())
    batch, time = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.normal(size=(batch, time, draw(st.integers(1, 3)))).astype("float32")
    mask = None
    if draw(st.booleans()):
        mask = np.array(
            draw(
                st.lists(
                    st.lists(st.booleans(), min_size=time, max_size=time),
                    min_size=batch,
                    max_size=batch,
                )
            )
        )
        # Keras 3.15 itself fails here on PyTorch: it flips a tuple.
        assume(not (options["unroll"] and options["go_backwards"]))
    initial = None
    if draw(st.booleans()):
        initial = [
            rng.normal(size=(batch, options["units"])).astype("float32")
            for _ in range(2 if kind == "LSTM" else 1)
        ]
    return kind, options, x, mask, initial


@given(cases(), st.integers(0, 1000))
def test_output_is_stock_to_the_bit_and_gates_are_the_reference(case, seed):
    kind, options, x, mask, initial = case
    stock_class, gate_class, equations = PAIRS[kind]
    stock = stock_class(**options)
    stock.build(x.shape)
    weights = distinct_weights(stock, seed)
    off, on = gate_class(**options), gate_class(**options, return_gates=True)
    kwargs = {"mask": mask, "initial_state": initial}
    expected = numpy(stock(x, **kwargs))
    for layer in (off, on):
        layer.build(x.shape)
        layer.set_weights(weights)
    assert_same(numpy(off(x, **kwargs)), expected)
    *outputs, gates = numpy(on(x, **kwargs))
    assert_same(outputs, expected)

    if options["go_backwards"]:
        x = x[:, ::-1]
        mask = None if mask is None else mask[:, ::-1]
    extra = {"reset_after": options["reset_after"]} if kind == "GRU" else {}
    truth = equations(x, weights, initial=initial, mask=mask, **extra)
    assert set(gates) == set(truth)
    for name, value in gates.items():
        # In the graph a masked gate is zero; the reference says NaN: not computed.
        np.testing.assert_allclose(
            value, np.nan_to_num(truth[name]), atol=TOLERANCE, err_msg=name
        )


@BOTH
def test_equal_names_shapes_and_order_of_weights(kind):
    stock, gate = (cls(3, name="r") for cls in PAIRS[kind][:2])
    for layer in (stock, gate):
        layer.build((None, 5, 2))
    assert [(w.path, w.shape) for w in stock.weights] == [
        (w.path, w.shape) for w in gate.weights
    ]


@BOTH
def test_config_goes_both_ways(kind):
    stock_class, gate_class, _ = PAIRS[kind]
    stock = stock_class(3, dropout=0.2, name="r", dtype="mixed_bfloat16")
    gate = gate_class.from_config(stock.get_config())
    assert not gate.return_gates
    assert stock_class.from_config(gate.get_config()).get_config() == stock.get_config()
    asked = gate_class(3, return_gates=True)
    assert gate_class.from_config(asked.get_config()).return_gates


@BOTH
def test_weights_files_go_both_ways(kind, tmp_path):
    def model(cls):
        return keras.Sequential([keras.Input((4, 2)), cls(3), layers.Dense(1)])

    stock_class, gate_class, _ = PAIRS[kind]
    for source, target in ((stock_class, gate_class), (gate_class, stock_class)):
        saved, loaded = model(source), model(target)
        path = tmp_path / f"{source.__qualname__}.weights.h5"
        saved.save_weights(path)
        loaded.load_weights(path)
        assert_same(loaded.get_weights(), saved.get_weights())


@BOTH
@pytest.mark.parametrize("return_gates", [False, True])
def test_saved_models_come_back(kind, return_gates, tmp_path, rng):
    x = rng.normal(size=(2, 4, 2)).astype("float32")
    layer = PAIRS[kind][1](3, return_gates=return_gates)
    model = keras.Sequential([keras.Input((4, 2)), layer])
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded.layers[0]) is PAIRS[kind][1]
    assert_same(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@BOTH
@pytest.mark.parametrize("return_state", [False, True])
def test_symbolic_shapes_are_the_shapes_of_results(kind, return_state, rng):
    layer = PAIRS[kind][1](3, return_gates=True, return_state=return_state)
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, list(layer(inputs)))
    results = model.predict(rng.normal(size=(4, 6, 2)), verbose=0)
    for symbol, result in zip(
        keras.tree.flatten(model.output), keras.tree.flatten(results), strict=True
    ):
        wanted = [
            {0: 4, 1: 6}[i] if n is None else n for i, n in enumerate(symbol.shape)
        ]
        assert list(result.shape) == wanted


class Penalised(keras.Model):
    """A subclassed model with a gate in its loss."""

    def __init__(self, recurrent):
        super().__init__()
        self.recurrent = recurrent
        self.head = layers.Dense(1)

    def call(self, x):
        output, gates = self.recurrent(x)
        keep = gates["forget" if "forget" in gates else "update"]
        self.add_loss(10.0 * ops.mean(ops.square(keep)))
        return self.head(output)


@BOTH
def test_a_gate_penalty_trains_the_gate_down(kind, rng):
    x, y = rng.normal(size=(32, 5, 2)).astype("float32"), np.zeros((32, 1))
    layer = PAIRS[kind][1](3, return_gates=True)
    model = Penalised(layer)
    model.compile(keras.optimizers.Adam(0.05), "mse")

    def keep():
        gates = numpy(layer(x)[-1])
        return gates["forget" if kind == "LSTM" else "update"].mean()

    before = keep()
    model.fit(x, y, epochs=20, verbose=0)
    assert keep() < before - 0.2


@BOTH
def test_gradients_of_a_loss_on_the_gates_are_finite_differences(kind, rng):
    """Through the weights and through the states, on every backend, by one SGD step."""
    x = rng.normal(size=(2, 4, 2)).astype("float32")
    inputs = keras.Input((4, 2))
    layer = PAIRS[kind][1](3, return_gates=True)
    _, gates = layer(inputs)
    total = layers.Lambda(
        lambda g: ops.sum(ops.square(ops.stack(g, -1)), axis=(1, 2, 3))[:, None],
        output_shape=(1,),
    )([gates[name] for name in sorted(gates)])
    model = keras.Model(inputs, total)
    start = distinct_weights(model, 1)

    def loss(weights):
        model.set_weights(weights)
        return float(model.predict(x, verbose=0).mean())

    model.set_weights(start)
    model.compile(
        keras.optimizers.SGD(1e-3), loss=lambda y_true, y_pred: ops.mean(y_pred)
    )
    model.fit(x, np.zeros((2, 1)), batch_size=2, verbose=0)
    after = model.get_weights()
    for index, (old, new) in enumerate(zip(start, after, strict=True)):
        gradient = (old - new) / 1e-3
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        sides = []
        for sign in (1, -1):
            moved = [w.copy() for w in start]
            moved[index][place] += sign * 1e-2
            sides.append(loss(moved))
        numeric = (sides[0] - sides[1]) / 2e-2
        assert gradient[place] == pytest.approx(numeric, rel=2e-2)


@BOTH
def test_dropout_gates_belong_to_the_output_of_the_same_pass(kind, rng):
    """Rebuilds the states from the gates: other masks would give other states."""
    x = rng.normal(size=(3, 6, 4)).astype("float32")
    layer = PAIRS[kind][1](
        5, return_gates=True, return_sequences=True, dropout=0.4, recurrent_dropout=0.4
    )
    output, gates = numpy(layer(x, training=True))
    np.testing.assert_array_equal(gates["hidden"], output)
    hidden = np.zeros((3, 5))
    cell = np.zeros((3, 5))
    for t in range(6):
        now = {name: value[:, t] for name, value in gates.items()}
        if kind == "LSTM":
            cell = now["forget"] * cell + now["input"] * now["candidate"]
            hidden = now["output"] * np.tanh(cell)
        else:
            hidden = now["update"] * hidden + (1 - now["update"]) * now["candidate"]
        np.testing.assert_allclose(hidden, output[:, t], atol=TOLERANCE)
    assert not np.allclose(output, numpy(layer(x)[0]))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
@BOTH
def test_mixed_precision_gates_are_near_the_reference(kind, dtype, rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    _, gate_class, equations = PAIRS[kind]
    layer = gate_class(4, return_gates=True, dtype=dtype)
    layer.build(x.shape)
    truth = equations(x, distinct_weights(layer, 2))
    _, gates = layer(x)
    for name, value in gates.items():
        assert keras.backend.standardize_dtype(value.dtype) == dtype[6:]
        value = ops.convert_to_numpy(ops.cast(value, "float32"))
        atol = 5e-3 if dtype == "mixed_float16" else 5e-2
        np.testing.assert_allclose(value, truth[name], atol=atol, err_msg=name)


@BOTH
def test_stateful_layer_starts_the_second_batch_where_the_first_ended(kind, rng):
    x = rng.normal(size=(2, 6, 3)).astype("float32")
    _, gate_class, equations = PAIRS[kind]
    layer = gate_class(4, return_gates=True, stateful=True)
    layer.build((2, 3, 3))
    truth = equations(x, distinct_weights(layer, 3))
    halves = [numpy(layer(part)[-1]) for part in (x[:, :3], x[:, 3:])]
    for name in truth:
        joined = np.concatenate([half[name] for half in halves], axis=1)
        np.testing.assert_allclose(joined, truth[name], atol=TOLERANCE, err_msg=name)


@BOTH
def test_cell_is_the_stock_cell_and_tells_its_gates(kind, rng):
    stock_class, gate_class, equations = CELLS[kind]
    x = rng.normal(size=(2, 3)).astype("float32")
    stock, gate = stock_class(4), gate_class(4)
    for cell in (stock, gate):
        cell.build(x.shape)
    weights = distinct_weights(stock, 4)
    gate.set_weights(weights)
    initial = [rng.normal(size=(2, 4)).astype("float32") for _ in stock_states(stock)]
    expected = numpy(stock(x, initial))
    assert_same(numpy(gate(x, initial)), expected)
    output, states, gates = numpy(gate(x, initial, return_gates=True))
    assert_same((output, states), expected)
    truth = equations(x[:, None], weights, initial=initial)
    for name, value in truth.items():
        np.testing.assert_allclose(gates[name], value[:, 0], atol=TOLERANCE)


def stock_states(cell):
    return keras.tree.flatten(cell.get_initial_state(batch_size=2))


@BOTH
def test_cells_work_inside_stock_rnn_and_stacks(kind, rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    stock_class, gate_class, _ = CELLS[kind]
    results = []
    for cls in (stock_class, gate_class):
        for cell in (cls(4), [cls(4), cls(2)]):
            layer = layers.RNN(cell)
            layer.build(x.shape)
            distinct_weights(layer, 5)
            results.append(numpy(layer(x)))
    assert_same(results[:2], results[2:])


def test_zero_weights_give_the_known_forget_gate():
    """Keras's default bias: the forget gate of an untrained unit is sigmoid(1)."""
    layer = GateLSTM(
        3,
        kernel_initializer="zeros",
        recurrent_initializer="zeros",
        return_gates=True,
    )
    _, gates = numpy(layer(np.ones((1, 4, 2))))
    np.testing.assert_allclose(gates["forget"], 0.7310586, atol=1e-7)
    np.testing.assert_allclose(gates["input"], 0.5, atol=1e-7)


@BOTH
def test_masks_go_along_with_the_gates(kind):
    """A loss or a layer behind a gate must not count padded steps."""
    tokens = keras.Input((None,))
    embedded = layers.Embedding(5, 2, mask_zero=True)(tokens)
    _, gates = PAIRS[kind][1](3, return_gates=True)(embedded)
    keep = gates["forget" if kind == "LSTM" else "update"]
    pooled = layers.GlobalAveragePooling1D()(keep)
    model = keras.Model(tokens, [keep, pooled])
    each, mean = model.predict(np.array([[1, 2, 0, 0]]), verbose=0)
    np.testing.assert_allclose(mean, each[:, :2].mean(axis=1), atol=1e-6)
