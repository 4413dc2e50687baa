"""Gradients are what float64 loops say that a tiny change does."""

import keras
import numpy as np
import pytest
import reference
from battery import EACH, KINDS, distinct_weights, numpy
from keras import layers, ops
from small_models import sequential

import keras_gates
from keras_gates import edits

UNITS, STEPS, FEATURES, SAMPLES = 3, 5, 2, 4
TINY = 1e-5
PADDING = 9.0
MASK = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1] * 5], bool)
WEIGHTS = np.random.default_rng(3).normal(size=(STEPS, UNITS))

CORNERS = {
    "plain": {},
    "backward": {"go_backwards": True},
    "masked": {"mask": MASK},
    "masked backward": {"go_backwards": True, "mask": MASK},
}


def weighted(outputs):
    return ops.sum(outputs * ops.convert_to_tensor(WEIGHTS, outputs.dtype), axis=(1, 2))


def data(mask=None):
    x = np.random.default_rng(5).normal(size=(SAMPLES, STEPS, FEATURES))
    if mask is not None:
        x[~mask] = PADDING
    return x.astype("float32")


def differences(function, shape):
    """Returns central differences of what a function gives for each sample."""
    found = np.empty((SAMPLES, *shape))
    for place in np.ndindex(*shape):
        one, other = function(place, TINY), function(place, -TINY)
        found[(slice(None), *place)] = (one - other) / (2 * TINY)
    return found


@pytest.mark.parametrize("corner", CORNERS)
@EACH
def test_gradients_are_differences_of_float64_loops(kind, corner):
    options = dict(CORNERS[corner])
    mask = options.pop("mask", None)
    layer = kind.stock(UNITS, name="r", return_sequences=True, **options)
    stack = [layer] if mask is None else [layers.Masking(PADDING), layer]
    model = sequential(*stack, shape=(STEPS, FEATURES))
    distinct_weights(layer, seed=1)
    x = data(mask)
    found = keras_gates.gradients(model, x, of=weighted, batch_size=3)["r"]
    weights = [w.astype("float64") for w in layer.get_weights()]
    backward = options.get("go_backwards", False)
    own_mask = mask[:, ::-1] if backward and mask is not None else mask

    def run(x=x, change=reference.same):
        x = x.astype("float64")
        x = x[:, ::-1] if backward else x
        outputs = kind.reference(x, weights, mask=own_mask, change=change)["hidden"]
        return np.sum(outputs * WEIGHTS, axis=(1, 2))

    def of_signal(signal):
        def function(place, amount):
            def change(name, sample, step, value):
                if (name, step) != (signal, place[0]):
                    return value
                value = value.copy()
                value[place[1]] += amount
                return value

            return run(change=change)

        return function

    def of_inputs(place, amount):
        moved = x.astype("float64")
        moved[(slice(None), *place)] += amount
        return run(moved)

    signals = [name for name in found.data_vars if name not in ("mask", "inputs")]
    for signal in signals:
        expected = differences(of_signal(signal), (STEPS, UNITS))
        expected = expected[:, ::-1] if backward else expected
        _assert_close(found[signal], expected, mask)
    expected = differences(of_inputs, (STEPS, FEATURES))
    _assert_close(found["inputs"], expected, mask)
    assert found["inputs"].dims == ("sample", "time", "feature")


def _assert_close(found, expected, mask):
    if mask is not None:
        expected = np.where(mask[..., None], expected, np.nan)
    np.testing.assert_allclose(found, expected, atol=5e-6, err_msg=found.name)


def two_outputs():
    inputs = keras.Input((STEPS, FEATURES), name="series")
    lstm = layers.LSTM(UNITS, return_sequences=True, name="lstm")
    r = layers.Bidirectional(lstm, name="b")
    hidden = layers.RNN(
        [layers.GRUCell(UNITS, name="one"), layers.LSTMCell(2, name="two")], name="s"
    )(r(inputs))
    outputs = {
        "a": layers.Dense(2, name="a")(hidden),
        "c": layers.Dense(1, activation="sigmoid", name="c")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        "sgd",
        {"a": "mse", "c": keras.losses.BinaryCrossentropy()},
        loss_weights={"a": 0.5, "c": 2.0},
    )
    distinct_weights(model, seed=4)
    return model


def test_gradients_are_what_adding_a_little_does():
    model = two_outputs()
    x = data()
    y = {
        "a": np.random.default_rng(2).normal(size=(SAMPLES, 2)).astype("float32"),
        "c": np.array([[0], [1], [1], [0]], "float32"),
    }

    def losses():
        out = {name: v.astype("float64") for name, v in model.predict(x).items()}
        entropy = -np.log(np.where(y["c"] == 1, out["c"], 1 - out["c"]))
        return 0.5 * np.mean((out["a"] - y["a"]) ** 2, axis=1) + 2 * entropy[:, 0]

    model_before = model.predict(x, verbose=0)
    with keras_gates.edit(model, {"b/forward_lstm/forget": edits.scale(0.7)}):
        found = keras_gates.gradients(model, x, y, batch_size=3)
        for key in ("b/backward_lstm/cell", "s/one/reset", "s/two/hidden"):
            values = []
            for amount in (0.02, -0.02):
                with keras_gates.edit(model, {key: edits.add(amount, time=2, units=1)}):
                    values.append(losses())
            expected = (values[0] - values[1]) / 0.04
            np.testing.assert_allclose(found[key][:, 2, 1], expected, atol=3e-4)
            assert np.abs(expected).max() > 3e-3
    for name, values in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(values, model_before[name])
    assert "inputs" in found["s/one"] and "inputs" not in found["s/two"]


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_without_recurrent_weights_the_gradient_is_the_product_of_the_gates(name):
    kind = KINDS[name]
    state = {"LSTM": "cell", "GRU": "hidden"}[name]
    layer = kind.stock(UNITS, name="r", return_state=True)
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, layer(inputs))
    kernel, recurrent, *rest = layer.get_weights()
    layer.set_weights([kernel, np.zeros_like(recurrent), *rest])
    x = data()
    kept = keras_gates.capture(model, x)[f"r/{kind.keep}"]
    last = keras_gates.gradients(model, x, of=lambda outputs: outputs[-1][:, 1])
    product = np.cumprod(kept[:, ::-1, 1], axis=1)[:, ::-1]
    found = last[f"r/{state}"][..., 1]
    np.testing.assert_allclose(found[:, :-1], product[:, 1:], rtol=1e-5)
    np.testing.assert_array_equal(found[:, -1], 1)
    others = last[f"r/{state}"][..., [0, 2]]
    np.testing.assert_array_equal(others, 0)


def test_the_loss_of_a_sample_leaves_masked_steps_out():
    head = layers.Dense(1, name="head")
    model = sequential(
        layers.Masking(PADDING),
        layers.LSTM(UNITS, name="r", return_sequences=True),
        head,
        shape=(STEPS, FEATURES),
    )
    model.compile("sgd", "mse")
    x = data(MASK)
    y = np.ones((SAMPLES, STEPS, 1), "float32")
    found = keras_gates.gradients(model, x, y)["r/hidden"]
    outputs = model.predict(x, verbose=0)
    kernel = head.get_weights()[0][:, 0]
    for sample in (0, 1, 3):
        last = np.flatnonzero(MASK[sample])[-1]
        error = 2 * (outputs[sample, last] - 1) / MASK[sample].sum()
        np.testing.assert_allclose(found[sample, last], error * kernel, rtol=1e-4)
    assert np.isnan(found[2]).all()


def test_a_store_data_sets_and_chosen_signals(tmp_path):
    model = sequential(layers.GRU(UNITS, name="r"), shape=(STEPS, FEATURES))
    model.compile("sgd", "mse")
    x, y = data(), np.ones((SAMPLES, UNITS), "float32")
    whole = keras_gates.gradients(model, x, y)

    class Pairs(keras.utils.PyDataset):
        num_batches = 2

        def __getitem__(self, index):
            return x[2 * index : 2 * index + 2], y[2 * index : 2 * index + 2]

    kept = keras_gates.gradients(
        model, Pairs(), signals="update", store=tmp_path / "gradients.zarr"
    )
    assert set(kept["r"].data_vars) == {"update", "inputs"}
    np.testing.assert_allclose(kept["r/update"], whole["r/update"], atol=1e-7)
    np.testing.assert_allclose(kept["r/inputs"], whole["r/inputs"], atol=1e-7)
    assert whole.attrs["derivative_of"] == "loss"


def test_a_layer_that_is_called_twice():
    shared = layers.LSTM(UNITS, name="r")
    one, two = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    outputs = layers.Subtract()([shared(one), shared(two)])
    model = keras.Model([one, two], outputs)
    found = keras_gates.gradients(
        model, [data(), 2 * data()], of=lambda outputs: outputs[:, 0]
    )
    np.testing.assert_array_equal(found["r/hidden"][:, -1, 0], 1)
    np.testing.assert_array_equal(found["r@2/hidden"][:, -1, 0], -1)


def test_a_stateful_model_and_its_seeds_are_left_alone():
    layer = layers.LSTM(UNITS, name="r", stateful=True)
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES), batch_size=2), layer, layers.Dropout(0.5)]
    )
    model.compile("sgd", "mse")
    x, y = data(), np.ones((SAMPLES, UNITS), "float32")
    model.predict(x, batch_size=2, verbose=0)
    before = [numpy(one.value) for one in (*model.variables, *layer.states)]
    keras_gates.gradients(model, x, y, batch_size=2)
    after = [numpy(one.value) for one in (*model.variables, *layer.states)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def bad(call):
    model = sequential(layers.LSTM(UNITS, name="r"), shape=(STEPS, FEATURES))
    if call.get("compiled", True):
        model.compile("sgd", "mse")
    arguments = {name: call[name] for name in ("y", "of") if name in call}
    return keras_gates.gradients(model, data(), **arguments)


BAD = {
    "no loss": ({"compiled": False, "y": np.ones((4, 3))}, "has no compiled loss"),
    "no targets": ({}, "`y` must be given"),
    "other length": ({"y": np.ones((5, 3))}, "got 5 targets for 4 samples"),
    "both": ({"y": np.ones((4, 3)), "of": lambda outputs: outputs}, "Give one of them"),
    "not one": ({"of": lambda outputs: outputs}, r"one number per sample.*shape"),
    "nothing": ({"of": lambda outputs: None}, "one number per sample.*NoneType"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_a_sentence(case):
    call, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence):
        bad(call)


def test_layers_inside_time_distributed_have_no_gradients():
    model = sequential(
        layers.TimeDistributed(layers.LSTM(UNITS, name="inner"), name="td"),
        layers.GRU(2, name="outer"),
        shape=(3, STEPS, FEATURES),
    )
    x = np.ones((2, 3, STEPS, FEATURES), "float32")
    of = lambda outputs: outputs[:, 0]  # noqa: E731
    with pytest.raises(ValueError, match="inside the `TimeDistributed` 'td'"):
        keras_gates.gradients(model, x, of=of)
    found = keras_gates.gradients(model, x, of=of, layers="outer")
    np.testing.assert_array_equal(found["outer/hidden"][:, -1], [[1, 0], [1, 0]])


def overflowing(outputs):
    return 1e6 * ops.cast(outputs[:, 0], "float32")


def test_half_precision_that_overflows_is_refused():
    layer = layers.LSTM(UNITS, name="r", dtype="mixed_float16")
    model = sequential(layer, shape=(STEPS, FEATURES))
    with pytest.raises(ValueError, match="overflow float16"):
        keras_gates.gradients(model, data(), of=overflowing)
