"""A capture of many batches runs in fast kernels, as long as they are right."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates import edits
from keras_gates.capturing import kernel_choice
from keras_gates.layers import fast_loop
from keras_gates.trees.tree_walk import recurrent


@pytest.fixture
def every_capture(monkeypatch):
    """Lets a capture of any number of batches run in fast kernels."""
    monkeypatch.setattr(kernel_choice, "FEWEST_BATCHES", 1)


def in_many_ways():
    """A model with masks, both directions, a shared layer, frames and a state kept."""
    keras.utils.set_random_seed(3)
    x = keras.Input((5, 2), batch_size=4)
    shared = layers.LSTM(3, return_sequences=True, name="shared")
    both = layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both")
    hidden = shared(both(layers.Masking()(x)))
    hidden = layers.Dense(6)(hidden)
    hidden = shared(hidden)
    kept = layers.GRU(2, stateful=True, reset_after=False, name="kept")(hidden)
    frames = layers.Reshape((2, 2, 1))(layers.RepeatVector(2)(kept))
    inside = layers.TimeDistributed(layers.LSTM(2, name="inner"), name="frames")(frames)
    own = layers.SimpleRNN(2, name="simple")(hidden)
    return keras.Model(x, [inside, kept, own])


@pytest.fixture
def x(rng):
    x = rng.normal(size=(12, 5, 2)).astype("float32")
    x[1, 3:] = x[2, :2] = x[5] = 0
    return x


def test_it_is_within_rounding_of_the_slow_one(x, monkeypatch):
    model = in_many_ways()
    before = model.predict(x, batch_size=4, verbose=0)
    model.get_layer("kept").reset_state()
    slow = keras_gates.capture(model, x, batch_size=4)
    monkeypatch.setattr(kernel_choice, "FEWEST_BATCHES", 3)
    fast = keras_gates.capture(model, x, batch_size=4)
    kernels = {}
    assert fast.attrs == slow.attrs
    for node in recurrent(slow):
        other = fast[node.path]
        assert node.attrs["kernel"] == "keras"
        assert "kernel_deviation" not in node.attrs
        kernels[node.path] = other.attrs["kernel"]
        assert 0 <= other.attrs["kernel_deviation"] < 1e-6
        for name, values in node.variables.items():
            np.testing.assert_allclose(other[name], values, atol=2e-6, err_msg=name)
    keras_names = [path for path, kernel in kernels.items() if kernel == "keras"]
    assert keras_names == ["/simple"]
    assert len(kernels) == 7
    # And the model computes what it did, to the bit.
    after = model.predict(x, batch_size=4, verbose=0)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not hasattr(model.get_layer("shared"), "kernel")


def test_the_first_batch_counts_once_in_a_stateful_layer(x, monkeypatch):
    model = in_many_ways()
    options = {"batch_size": 4, "layers": "kept"}
    slow = keras_gates.capture(model, x, **options)["kept/initial_hidden"]
    monkeypatch.setattr(kernel_choice, "FEWEST_BATCHES", 1)
    gates = keras_gates.capture(model, x, **options)["kept"]
    assert gates.attrs["kernel"] == "fast"
    np.testing.assert_array_equal(gates["initial_hidden"][:4], np.zeros((4, 2)))
    # On JAX, Keras loses the states of a compiled step.
    assert bool((slow[4:] == 0).all()) == (keras.backend.backend() == "jax")
    np.testing.assert_allclose(gates["initial_hidden"], slow, atol=1e-6)
    states = keras.ops.convert_to_numpy(model.get_layer("kept").states[0])
    np.testing.assert_array_equal(states, np.zeros((4, 2)))


def few(*, name="lstm", **options):
    return sequential(layers.LSTM(3, name=name, **options), shape=(5, 2))


@pytest.mark.parametrize("signals", [None, "forget"])
def test_a_kernel_that_is_wrong_is_not_used(x, every_capture, monkeypatch, signals):
    right = fast_loop.backend.fast_kernels()

    def wrong(*arguments):
        signals, last = right["LSTM"](*arguments)
        return [2e-5 + one for one in signals], last

    monkeypatch.setattr(
        fast_loop.backend, "fast_kernels", lambda: {**right, "LSTM": wrong}
    )
    model = few()
    options = {"batch_size": 4, "signals": signals}
    with pytest.warns(UserWarning, match=r"'lstm' .* deviate by 2\.0e-05 .* 1e-05"):
        gates = keras_gates.capture(model, x, **options)
    assert gates["lstm"].attrs["kernel"] == "keras"
    monkeypatch.setattr(kernel_choice, "FEWEST_BATCHES", 8)
    keras_own = keras_gates.capture(model, x, **options)
    assert gates.identical(keras_own)


def test_where_a_fast_kernel_is_not_used(x, every_capture, monkeypatch):
    def kernel(model, x=x, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras_gates.capture(model, x, **options)["lstm"].attrs["kernel"]

    assert kernel(few(dropout=0.5), training=True) == "keras"
    assert kernel(few(dtype="mixed_float16")) == "keras"
    assert kernel(few(unroll=True)) == "keras"
    model = few()
    with keras_gates.edit(model, {"lstm/forget": edits.clamp(1.0)}):
        assert kernel(model) == "keras"
    assert kernel(model) == "fast"
    monkeypatch.setattr(kernel_choice, "FEWEST_BATCHES", 8)
    assert kernel(model) == "keras"
    keras_gates.accelerate(model)
    assert kernel(model) == "fast"
    keras_gates.restore(model)
    many = iter([x] * 8)
    assert kernel(model, many) == "fast"  # Nobody knows how many.


def test_gradients_run_as_they_did(x, every_capture):
    found = keras_gates.gradients(few(), x, of=lambda outputs: outputs[:, 0])
    assert found["lstm"].attrs["kernel"] == "keras"


def test_a_store_says_which_kernel_it_was(x, every_capture, tmp_path):
    gates = keras_gates.capture(few(), x, batch_size=4, store=tmp_path / "gates")
    assert gates["lstm"].attrs["kernel"] == "fast"
    assert gates["lstm"].attrs["kernel_deviation"] < 1e-6
    assert keras_gates.verify(gates).max() < 1e-6


def arrays(**changes):
    made = {
        "cell": np.array([[1.0, np.nan], [100.0, -0.5]], "float32"),
        "mask": np.array([True, False]),
    }
    return {"lstm": {**made, **changes}}


@pytest.mark.once
@pytest.mark.parametrize(
    ("changed", "deviation"),
    [
        ({}, 0.0),
        ({"cell": np.array([[1.0, np.nan], [100.5, -0.5]], "float32")}, 0.005),
        ({"cell": np.array([[1.0, np.nan], [100.0, -0.75]], "float32")}, 0.25),
        ({"cell": np.array([[1.0, 0.0], [100.0, -0.5]], "float32")}, np.inf),
        ({"cell": np.array([[np.nan, np.nan], [100.0, -0.5]], "float32")}, np.inf),
        ({"cell": np.array([[np.inf, np.nan], [100.0, -0.5]], "float32")}, np.inf),
        ({"mask": np.array([True, True])}, np.inf),
        ({"cell": np.ones((2, 3), "float32")}, np.inf),
    ],
)
def test_deviations(changed, deviation):
    found = kernel_choice.deviations(arrays(), arrays(**changed))
    assert found == {"lstm": pytest.approx(deviation)}
