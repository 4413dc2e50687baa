"""The gate layers are the stock layers, and their gates are the true gates."""

import keras
import numpy as np
import pytest
from battery import (
    ACTIVATIONS,
    AGREEMENT,
    DIFFERENCE,
    EACH,
    EACH_GATED,
    FUSED,
    KINDS,
    TOLERANCE,
    assert_close,
    assert_same,
    check,
    check_capture,
    distinct_weights,
    half_tanh,
    numpy,
    takes,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_gates import GateLSTM

MASKS = {
    "padded on the right": [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]],
    "padded on the left": [[0, 1, 1, 1, 1], [0, 0, 0, 1, 1]],
    "with holes": [[1, 0, 1, 0, 1], [0, 1, 0, 0, 1]],
    "all masked": [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    "one sample masked": [[0, 0, 0, 0, 0], [1, 1, 0, 1, 0]],
    "none masked": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
}
DROPOUT = {"dropout": 0.4, "recurrent_dropout": 0.3, "return_sequences": True}

CORNERS = {
    "as it comes": {},
    "every output": {"return_sequences": True},
    "the states": {"return_state": True},
    "outputs and states": {"return_sequences": True, "return_state": True},
    "backwards": {"go_backwards": True, "return_sequences": True},
    "unrolled": {"unroll": True},
    "without bias": {"use_bias": False},
    "implementation 1": {"implementation": 1},
    "implementation 2": {"implementation": 2},
    "without cuDNN": {"use_cudnn": False},
    "hard sigmoid": {"recurrent_activation": "hard_sigmoid"},
    "relu": {"activation": "relu"},
    "a Python function": {"activation": half_tanh},
    "half precision": {"dtype": "mixed_float16"},
    "brain floats": {"dtype": "mixed_bfloat16"},
    "one unit": {"units": 1},
    "initial states": {"initial": True},
    "initial states, backwards": {"initial": True, "go_backwards": True},
    "one step": {"time": 1, "initial": True},
    "one sample": {"batch": 1},
    "dropout": {"dropout": 0.4, "training": True},
    "dropout for each block": {
        "dropout": 0.4,
        "implementation": 1,
        "use_cudnn": False,
        "training": True,
    },
    "recurrent dropout": {"recurrent_dropout": 0.4, "training": True},
    "dropout, masked, backwards": {
        **DROPOUT,
        "go_backwards": True,
        "mask": MASKS["with holes"],
        "training": True,
    },
    "dropout in half precision": {
        **DROPOUT,
        "dtype": "mixed_float16",
        "training": True,
    },
    "dropout out of training": DROPOUT,
    **{f"mask {name}": {"mask": mask} for name, mask in MASKS.items()},
    "masked outputs are zero": {
        "mask": MASKS["with holes"],
        "zero_output_for_mask": True,
        "return_sequences": True,
    },
    "masked, from initial states": {"mask": MASKS["padded on the left"], "initial": 1},
    "masked, backwards": {"mask": MASKS["padded on the right"], "go_backwards": True},
}
ONLY = {
    "LSTM": {"without unit_forget_bias": {"unit_forget_bias": False}},
    "GRU": {
        "reset before the product": {"reset_after": False},
        "reset before the product, without bias": {
            "reset_after": False,
            "use_bias": False,
        },
        "reset before the product, implementation 1, dropout": {
            **DROPOUT,
            "reset_after": False,
            "implementation": 1,
            "training": True,
        },
    },
}
"""Options that only one kind has."""


WITHOUT_GATES = (
    "outputs and states",
    "backwards",
    "unrolled",
    "without bias",
    "a Python function",
    "half precision",
    "initial states, backwards",
    "dropout, masked, backwards",
    "mask with holes",
    "mask all masked",
    "masked outputs are zero",
)
"""The corners that show something of a layer whose only signal is its output."""

CAPTURED_THE_SAME = {
    "every output": "outputs and states",
    "the states": "outputs and states",
    "implementation 1": "as it comes",
    "implementation 2": "as it comes",
    "hard sigmoid": "a Python function",
    "relu": "a Python function",
    "brain floats": "half precision",
    "initial states": "initial states, backwards",
    "dropout": "dropout, masked, backwards",
    "recurrent dropout": "dropout, masked, backwards",
    "mask padded on the right": "mask with holes",
    "mask padded on the left": "mask with holes",
    "mask one sample masked": "mask with holes",
    "mask none masked": "mask with holes",
    "masked, from initial states": "initial states, backwards",
    "masked, backwards": "dropout, masked, backwards",
}
"""Corners whose capture runs once, each to the one that stands for it elsewhere.

What differs between the two is in the layer; `test_corner` sees it on every backend.
"""
assert {*CAPTURED_THE_SAME, *CAPTURED_THE_SAME.values()} <= set(CORNERS)


def every_corner(once=()):
    return pytest.mark.parametrize(
        "kind, options",
        [
            pytest.param(
                kind,
                options,
                id=f"{name}, {corner}",
                marks=[pytest.mark.once] if corner in once else [],
            )
            for name, kind in KINDS.items()
            for corner, options in {**CORNERS, **ONLY.get(name, {})}.items()
            if kind.keep or corner in WITHOUT_GATES
        ],
    )


def drawn(kind, options, seed=0):
    """Draws an input, and initial states where asked for, for the given options."""
    options = {"units": 4, **options}
    batch, time = options.pop("batch", 2), options.pop("time", 5)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, time, 3)).astype("float32")
    mask, initial = options.pop("mask", None), None
    if options.pop("initial", False):
        cell = kind.stock_cell(options["units"])
        initial = [
            rng.normal(size=np.shape(state)).astype("float32")
            for state in keras.tree.flatten(cell.get_initial_state(batch_size=batch))
        ]
    return {
        "training": options.pop("training", False),
        "options": options,
        "x": x,
        "mask": None if mask is None else np.array(mask, bool),
        "initial": initial,
    }


@every_corner()
def test_corner(kind, options):
    """The stock output to the bit, the gates of the papers, the states from both."""
    check(kind, **drawn(kind, options))


@every_corner(once=CAPTURED_THE_SAME)
def test_capture_in_the_corner(kind, options):
    """The same gates, read from the stock layer in a compiled model."""
    check_capture(kind, **drawn(kind, options))


@EACH
def test_double_precision(kind, double_precision):
    options = {"dtype": "float64", "initial": True, "mask": MASKS["with holes"]}
    case = drawn(kind, options)
    case["x"] = case["x"].astype("float64")
    check(kind, **case)


@st.composite
def cases(draw):
    """A kind with options drawn together, an input, and perhaps a mask and states."""
    name = draw(st.sampled_from(sorted(KINDS)))
    rates = st.sampled_from([0.0, 0.0, 0.3])
    options = {
        "units": draw(st.integers(1, 4)),
        "return_sequences": draw(st.booleans()),
        "return_state": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "unroll": draw(st.booleans()),
        "use_bias": draw(st.booleans()),
        "implementation": draw(st.sampled_from([1, 2])),
        "zero_output_for_mask": draw(st.booleans()),
        "activation": draw(st.sampled_from(list(ACTIVATIONS))),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", "hard_sigmoid"])),
        "dropout": draw(rates),
        "recurrent_dropout": draw(rates),
        "training": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "mixed_float16", "mixed_bfloat16"])),
        "use_cudnn": draw(st.sampled_from(["auto", False])),
        "initial": draw(st.booleans()),
        "batch": draw(st.integers(1, 3)),
        "time": draw(st.integers(1, 6)),
    }
    options = {key: drawn for key, drawn in options.items() if takes(KINDS[name], key)}
    if name == "GRU":
        options["reset_after"] = draw(st.booleans())
    if draw(st.booleans()):
        row = st.lists(
            st.booleans(), min_size=options["time"], max_size=options["time"]
        )
        rows = st.lists(row, min_size=options["batch"], max_size=options["batch"])
        options["mask"] = draw(rows)
    return name, options


def keras_fails(name, unroll, go_backwards, dtype, use_cudnn=None, **options):
    """Tells where the stock layer of Keras 3.15 raises an error itself."""
    backend = keras.backend.backend()
    if backend == "torch" and unroll and go_backwards and "mask" in options:
        return True  # It flips a tuple of masks.
    if use_cudnn == "auto" and options["implementation"] == 1:
        only_inputs = options["dropout"] and not options["recurrent_dropout"]
        if options["training"] and only_inputs:
            return True  # It broadcasts a list of dropout masks.
    if backend == "jax" and name == "GRU" and use_cudnn == "auto":
        # It scans with a carry in another precision.
        return dtype != "float32" and not options["use_bias"]
    return False


ZEROED_AT_THE_WRONG_STEPS = {
    "units": 1,
    "return_sequences": False,
    "return_state": False,
    "go_backwards": True,
    "unroll": True,
    "use_bias": False,
    "implementation": 1,
    "zero_output_for_mask": True,
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "training": False,
    "dtype": "float32",
    "use_cudnn": "auto",
    "initial": False,
    "batch": 1,
    "time": 2,
    "mask": [[False, True]],
}
"""Found by the test below on TensorFlow, where Keras zeroes the wrong outputs."""


# JAX compiles each example, for seconds.
EXAMPLES = 10 if keras.backend.backend() == "jax" else 25


@example(("LSTM", ZEROED_AT_THE_WRONG_STEPS), 0)
@example(("GRU", ZEROED_AT_THE_WRONG_STEPS), 0)
@settings(max_examples=EXAMPLES)
@given(cases(), st.integers(0, 1000))
def test_options_together(case, seed):
    name, options = case
    assume(not keras_fails(name, **options))
    check(KINDS[name], **drawn(KINDS[name], options, seed), seed=seed)


@EACH
def test_compiled_models_predict_what_stock_models_predict(kind, rng):
    """Also when the gates are an output of the same compiled function."""
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    x[0, 4:] = x[1, 0] = 0

    def predicted(cls, **options):
        inputs = keras.Input((None, 2))
        layer = cls(4, return_sequences=True, **options)
        model = keras.Model(inputs, layer(layers.Masking()(inputs)))
        distinct_weights(model, 1)
        return model.predict(x, verbose=0)

    expected = predicted(kind.stock)
    assert_same(predicted(kind.gate), expected)
    output, gates = predicted(kind.gate, return_gates=True)
    np.testing.assert_allclose(output, expected, rtol=0, atol=FUSED)
    real = x.any(axis=-1)
    np.testing.assert_allclose(gates["hidden"][real], output[real], rtol=0, atol=FUSED)


@EACH
def test_training_goes_the_same_way(kind, rng):
    """With regularisers, constraints, dropout and a frozen layer below."""
    x = rng.normal(size=(24, 5, 3)).astype("float32")
    y = rng.normal(size=(24, 1)).astype("float32")

    def trained(cls, **options):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((5, 3))
        frozen = cls(3, return_sequences=True, trainable=False)
        layer = cls(
            4,
            kernel_regularizer="l2",
            recurrent_regularizer="l1",
            bias_regularizer="l2",
            kernel_constraint=keras.constraints.MaxNorm(0.9),
            recurrent_constraint="unit_norm",
            dropout=0.2,
            recurrent_dropout=0.2,
            seed=5,
            **options,
        )
        outputs = layer(frozen(inputs))
        if options:
            outputs = outputs[0]
        model = keras.Model(inputs, layers.Dense(1)(outputs))
        model.compile(keras.optimizers.Adam(0.01), "mse")
        history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return model.get_weights(), history.history["loss"]

    expected = trained(kind.stock)
    assert_same(trained(kind.gate), expected)
    for one, other in zip(
        keras.tree.flatten(trained(kind.gate, return_gates=True)),
        keras.tree.flatten(expected),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=FUSED)


# Keras's `SimpleRNN` takes this argument and drops it.
@EACH_GATED
def test_an_activity_regularizer_would_count_the_gates(kind):
    with pytest.raises(ValueError, match="`activity_regularizer`.*`add_loss`"):
        kind.gate(3, return_gates=True, activity_regularizer="l2")
    kind.gate(3, activity_regularizer="l2")


@EACH
def test_equal_names_shapes_and_order_of_weights(kind):
    stock, gate = kind.stock(3, name="r"), kind.gate(3, name="r")
    for layer in (stock, gate):
        layer.build((None, 5, 2))
    assert [(w.path, w.shape) for w in stock.weights] == [
        (w.path, w.shape) for w in gate.weights
    ]


@EACH
def test_equal_seeds_draw_equal_weights(kind):
    drawn = []
    for cls in (kind.stock, kind.gate):
        keras.utils.set_random_seed(7)
        layer = cls(3, kernel_initializer="he_normal", bias_initializer="uniform")
        layer.build((None, 5, 2))
        drawn.append(layer.get_weights())
    assert_same(*drawn)


@EACH
def test_config_goes_both_ways(kind):
    stock = kind.stock(3, dropout=0.2, name="r", dtype="mixed_bfloat16")
    gate = kind.gate.from_config(stock.get_config())
    assert not gate.return_gates
    assert kind.stock.from_config(gate.get_config()).get_config() == stock.get_config()
    asked = kind.gate(3, return_gates=True)
    assert kind.gate.from_config(asked.get_config()).return_gates


@EACH
@pytest.mark.parametrize("return_state", [False, True])
def test_symbolic_shapes_are_the_shapes_of_results(kind, return_state, rng):
    layer = kind.gate(3, return_gates=True, return_state=return_state)
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, list(layer(inputs)))
    # Two lengths: nothing may be compiled for the first one only.
    for time in (6, 3):
        results = model.predict(rng.normal(size=(4, time, 2)), verbose=0)
        for symbol, result in zip(
            keras.tree.flatten(model.output), keras.tree.flatten(results), strict=True
        ):
            wanted = [
                {0: 4, 1: time}[i] if n is None else n
                for i, n in enumerate(symbol.shape)
            ]
            assert list(result.shape) == wanted


class Penalised(keras.Model):
    """A subclassed model with a gate in its loss."""

    def __init__(self, recurrent, keep):
        super().__init__()
        self.recurrent = recurrent
        self.keep = keep
        self.head = layers.Dense(1)

    def call(self, x):
        output, gates = self.recurrent(x)
        self.add_loss(10.0 * ops.mean(ops.square(gates[self.keep])))
        return self.head(output)


@EACH_GATED
def test_a_gate_penalty_trains_the_gate_down(kind, rng):
    x, y = rng.normal(size=(32, 5, 2)).astype("float32"), np.zeros((32, 1))
    layer = kind.gate(3, return_gates=True)
    model = Penalised(layer, kind.keep)
    model.compile(keras.optimizers.Adam(0.05), "mse")

    def keep():
        return numpy(layer(x)[-1])[kind.keep].mean()

    before = keep()
    model.fit(x, y, epochs=20, verbose=0)
    assert keep() < before - 0.2


class Signals(keras.layers.Layer):
    """Every signal of a layer, as a function of weights, input and initial states."""

    def __init__(self, layer, x, initial, mask):
        super().__init__(dtype="float64")
        self.layer = layer
        self.mask = mask
        self.given = [
            self.add_weight(
                shape=np.shape(value),
                initializer=keras.initializers.Constant(value),
                name=f"given{index}",
            )
            for index, value in enumerate([x, *initial])
        ]

    def call(self, factors):
        x, *initial = self.given
        _, gates = self.layer(x, initial_state=initial, mask=self.mask)
        stacked = ops.stack([gates[name] for name in sorted(gates)], axis=-1)
        return ops.sum(ops.square(stacked) * factors, axis=(1, 2, 3))


@EACH_GATED
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"unroll": True}, {"go_backwards": True}])
def test_gradients_of_a_loss_on_the_gates_are_finite_differences(
    kind, masked, options, rng, double_precision
):
    """Through every signal, to weights, input and initial states, in every direction.

    Read off one step of plain gradient descent, which every backend can do.
    """
    case = drawn(
        kind,
        {
            "mask": MASKS["with holes"] if masked else None,
            "initial": True,
            "units": 3,
            **options,
        },
    )
    layer = kind.gate(3, return_gates=True, dtype="float64", **options)
    layer.build(case["x"].shape)
    signals = Signals(layer, case["x"], case["initial"], case["mask"])
    names = len(numpy(layer(case["x"])[-1]))
    factors = rng.uniform(0.5, 1.5, size=(2, 5, 3, names))
    model = keras.Sequential([keras.Input(batch_shape=factors.shape), signals])
    start = distinct_weights(model, 1)

    def loss(weights):
        model.set_weights(weights)
        return model.predict_on_batch(factors).sum()

    model.compile(
        keras.optimizers.SGD(1.0), loss=lambda y_true, y_pred: ops.sum(y_pred)
    )
    model.train_on_batch(factors, np.zeros(2))
    gradients = [old - new for old, new in zip(start, model.get_weights(), strict=True)]
    for index, gradient in enumerate(gradients):
        assert np.abs(gradient).max() > 1e-3
        for _ in range(3):
            direction = rng.normal(size=gradient.shape)
            sides = []
            for sign in (1, -1):
                moved = list(start)
                moved[index] = start[index] + sign * DIFFERENCE * direction
                sides.append(loss(moved))
            numeric = (sides[0] - sides[1]) / (2 * DIFFERENCE)
            expected = np.sum(gradient * direction)
            assert numeric == pytest.approx(expected, rel=AGREEMENT, abs=AGREEMENT)


@EACH
def test_stateful_layer_starts_the_second_batch_where_the_first_ended(kind, rng):
    x = rng.normal(size=(2, 6, 3)).astype("float32")
    layer = kind.gate(4, return_gates=True, stateful=True)
    layer.build((2, 3, 3))
    truth = kind.reference(x, distinct_weights(layer, 3))
    for _ in range(2):
        halves = [numpy(layer(part)[-1]) for part in (x[:, :3], x[:, 3:])]
        for name in truth:
            joined = np.concatenate([half[name] for half in halves], axis=1)
            assert_close(joined, truth[name], TOLERANCE["float32"], name)
        layer.reset_state()


@EACH
def test_cell_is_the_stock_cell_and_returns_its_gates(kind, rng):
    x = rng.normal(size=(2, 3)).astype("float32")
    stock, gate = kind.stock_cell(4), kind.gate_cell(4)
    for cell in (stock, gate):
        cell.build(x.shape)
    weights = distinct_weights(stock, 4)
    gate.set_weights(weights)
    states = keras.tree.flatten(stock.get_initial_state(batch_size=2))
    initial = [rng.normal(size=(2, 4)).astype("float32") for _ in states]
    expected = numpy(stock(x, initial))
    assert_same(numpy(gate(x, initial)), expected)
    output, states, gates = numpy(gate(x, initial, return_gates=True))
    assert_same((output, states), expected)
    truth = kind.reference(x[:, None], weights, initial=initial)
    assert set(gates) == set(truth)
    for name, value in truth.items():
        assert_close(gates[name], value[:, 0], TOLERANCE["float32"], name)


@EACH
def test_cells_work_inside_stock_rnn_and_stacks(kind, rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    results = []
    for cls in (kind.stock_cell, kind.gate_cell):
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


@EACH
def test_masks_go_along_with_the_gates(kind):
    """A loss or a layer behind a gate must not count padded steps."""
    tokens = keras.Input((None,))
    embedded = layers.Embedding(5, 2, mask_zero=True)(tokens)
    _, gates = kind.gate(3, return_gates=True)(embedded)
    signal = gates[kind.keep or "hidden"]
    pooled = layers.GlobalAveragePooling1D()(signal)
    model = keras.Model(tokens, [signal, pooled])
    each, mean = model.predict(np.array([[1, 2, 0, 0]]), verbose=0)
    np.testing.assert_allclose(mean, each[:, :2].mean(axis=1), atol=1e-6)
