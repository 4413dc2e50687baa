"""Recorded numbers prove themselves, and false ones give themselves away."""

import keras
import numpy as np
import pytest
from battery import distinct_weights
from keras import layers, ops
from test_capture import sequential

import keras_gates
from keras_gates import equations


@pytest.fixture
def gates(rng):
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    x[0, 4:] = x[1, :2] = 0
    model = sequential(
        layers.Masking(),
        layers.LSTM(4, return_sequences=True, name="lstm"),
        layers.GRU(4, return_sequences=True, go_backwards=True, name="gru"),
        shape=(6, 2),
    )
    distinct_weights(model, 0)
    return keras_gates.capture(model, x)


def swap(one, other):
    def change(node):
        return node.assign({one: node[other], other: node[one]})

    return change


def shift(name):
    return lambda node: node.assign({name: node[name].roll(time=1)})


MUTATIONS = {
    "input and forget swapped": ("lstm", swap("input", "forget")),
    "output and candidate swapped": ("lstm", swap("output", "candidate")),
    "forget shifted by a step": ("lstm", shift("forget")),
    "cell shifted by a step": ("lstm", shift("cell")),
    "final state in place of all": (
        "lstm",
        lambda node: node.assign(hidden=node.hidden * 0 + node.hidden.isel(time=-1)),
    ),
    "initial state lost": (
        "lstm",
        lambda node: node.assign_coords(initial_cell=node.initial_cell + 0.5),
    ),
    "mask ignored": (
        "lstm",
        lambda node: node.fillna(0.5).assign(mask=node["mask"] | True),
    ),
    "update and reset swapped": ("gru", swap("update", "reset")),
    "update taken for its opposite": (
        "gru",
        lambda node: node.assign(update=1 - node["update"]),
    ),
    "candidate shifted by a step": ("gru", shift("candidate")),
    "NaN in a real step": (
        "gru",
        lambda node: node.assign(update=node["update"].where(node["update"] < 0.5)),
    ),
}


def test_true_gates_deviate_by_rounding_only(gates):
    assert (keras_gates.verify(gates) < 1e-6).all()


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_false_gates_are_found(mutation, gates):
    layer, change = MUTATIONS[mutation]
    node = gates[layer].to_dataset()
    deviation = keras_gates.verify(change(node))[layer]
    assert not deviation < 1e-3


def blocks_with(change):
    """Blocks computed from changed weights or states, or under other names."""
    return {
        name: lambda inputs, hidden, weights, of=of: change(of, inputs, hidden, weights)
        for name, of in equations.BLOCKS.items()
    }


def without_bias(blocks, inputs, hidden, weights):
    return blocks(inputs, hidden, weights._replace(bias=None))


def opposite_update(blocks, inputs, hidden, weights):
    computed = blocks(inputs, hidden, weights)
    if "update" in computed:
        computed["update"] = 1 - computed["update"]
    return computed


def swapped_kernels(blocks, inputs, hidden, weights):
    """The columns of the first two gates exchanged: in a GRU, update and reset."""
    units = weights.recurrent_kernel.shape[0]
    order = [*range(units, 2 * units), *range(units)]
    order += range(2 * units, weights.recurrent_kernel.shape[1])
    changed = {
        name: ops.take(getattr(weights, name), np.array(order), axis=-1)
        for name in ("kernel", "recurrent_kernel", "bias")
    }
    return blocks(inputs, hidden, weights._replace(**changed))


MISTAKES = {
    "two gates swapped": ("BLOCKS", blocks_with(swapped_kernels)),
    "h[t] taken for h[t-1]": ("before", lambda sequence, first: sequence),
    "a bias dropped": ("BLOCKS", blocks_with(without_bias)),
    "the mask ignored": ("hold", lambda sequence, first, mask: sequence),
    "update taken for 1 - update": ("BLOCKS", blocks_with(opposite_update)),
    "the initial state forgotten": (
        "before",
        lambda sequence, first, before=equations.before: before(
            sequence, ops.zeros_like(first)
        ),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU])
def test_the_mistakes_that_people_make_are_found(layer, mistake, rng, monkeypatch):
    """Each is made while the gates are computed, beside Keras's true states."""
    if layer is layers.LSTM and mistake == "update taken for 1 - update":
        pytest.skip("An LSTM has no update gate.")
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    x[0, :2] = x[1, 3] = 0
    inputs = keras.Input((None, 2))
    mask = ops.any(ops.not_equal(inputs, 0), axis=-1)
    _, *states = layer(4, return_state=True, name="before")(inputs)
    recurrent = layer(4, return_sequences=True, zero_output_for_mask=True, name="r")
    model = keras.Model(inputs, recurrent(inputs, mask=mask, initial_state=states))
    distinct_weights(model, 1)
    assert keras_gates.verify(keras_gates.capture(model, x))["r"] < 1e-6
    name, replacement = MISTAKES[mistake]
    monkeypatch.setattr(equations, name, replacement)
    assert keras_gates.verify(keras_gates.capture(model, x))["r"] > 1e-2


def test_other_activations_are_taken_by_name(rng):
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    model = sequential(
        layers.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid"),
        shape=(6, 2),
    )
    assert (keras_gates.verify(keras_gates.capture(model, x)) < 1e-6).all()


def test_a_nameless_activation_gets_a_sentence(rng):
    x = rng.normal(size=(3, 6, 2)).astype("float32")

    def squash(value):
        return keras.ops.tanh(value) * 0.5

    model = sequential(layers.LSTM(4, activation=squash, name="odd"), shape=(6, 2))
    gates = keras_gates.capture(model, x)
    with pytest.raises(ValueError, match="activation 'squash' of 'odd'"):
        keras_gates.verify(gates)


@keras.saving.register_keras_serializable("test_verify")
def halved(value):
    return keras.ops.tanh(value) * 0.5


def test_a_registered_activation_is_found(rng):
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    model = sequential(layers.LSTM(4, activation=halved), shape=(6, 2))
    assert (keras_gates.verify(keras_gates.capture(model, x)) < 1e-6).all()


def test_a_gru_needs_no_activation_to_be_verified(rng):
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    activation = layers.LeakyReLU()
    model = sequential(layers.GRU(4, activation=activation), shape=(6, 2))
    assert (keras_gates.verify(keras_gates.capture(model, x)) < 1e-6).all()


def test_missing_signals_and_foreign_trees_get_a_sentence(gates):
    with pytest.raises(ValueError, match=r"every signal of 'lstm'; \['cell'\]"):
        keras_gates.verify(gates["lstm"].to_dataset().drop_vars("cell"))
    with pytest.raises(ValueError, match="no recurrent layer"):
        keras_gates.verify(type(gates)())


def test_every_step_masked_proves_nothing(rng):
    model = sequential(layers.Masking(), layers.GRU(2, name="gru"), shape=(4, 2))
    gates = keras_gates.capture(model, np.zeros((2, 4, 2)))
    assert np.isnan(keras_gates.verify(gates)["gru"])
