"""True gates pass the check, false ones do not, and neither do those it cannot see."""

import dataclasses
import functools
import re
import shutil

import keras
import numpy as np
import pytest
import xarray
from battery import distinct_weights
from keras import layers, ops
from small_models import sequential

import keras_gates
from keras_gates.capturing.verifying import checks_of
from keras_gates.cells import known_cells, shared_equations
from keras_gates.layers import replay
from keras_gates.stores.opening import open_tree


@pytest.fixture(scope="module")
def gates():
    x = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")
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


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:.*could not be verified")
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_false_gates_are_found(mutation, gates):
    layer, change = MUTATIONS[mutation]
    node = gates[layer].to_dataset()
    deviation = keras_gates.verify(change(node))[layer]
    assert not deviation < 1e-3


def computing_with(change):
    """Blocks computed from changed weights or states, or under other names."""

    def changed(cell):
        kind = known_cells.kind_of(cell)
        compute = functools.partial(change, kind.compute)
        return dataclasses.replace(kind, compute=compute)

    return replay, "kind_of", changed


def without_bias(blocks, inputs, hidden, weights, *change):
    return blocks(inputs, hidden, weights._replace(bias=None), *change)


def opposite_update(blocks, inputs, hidden, weights, *change):
    computed = blocks(inputs, hidden, weights, *change)
    if "update" in computed:
        computed["update"] = 1 - computed["update"]
    return computed


def swapped_kernels(blocks, inputs, hidden, weights, *change):
    """The columns of the first two gates exchanged: in a GRU, update and reset."""
    units = weights.recurrent_kernel.shape[0]
    order = [*range(units, 2 * units), *range(units)]
    order += range(2 * units, weights.recurrent_kernel.shape[1])
    changed = {
        name: ops.take(getattr(weights, name), np.array(order), axis=-1)
        for name in ("kernel", "recurrent_kernel", "bias")
    }
    return blocks(inputs, hidden, weights._replace(**changed), *change)


MISTAKES = {
    "two gates swapped": computing_with(swapped_kernels),
    "h[t] taken for h[t-1]": (
        shared_equations,
        "before",
        lambda sequence, first: sequence,
    ),
    "a bias dropped": computing_with(without_bias),
    "the mask ignored": (
        shared_equations,
        "hold",
        lambda sequence, first, mask: sequence,
    ),
    "update taken for 1 - update": computing_with(opposite_update),
    "the initial state forgotten": (
        shared_equations,
        "before",
        lambda sequence, first, before=shared_equations.before: before(
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
    module, name, replacement = MISTAKES[mistake]
    monkeypatch.setattr(module, name, replacement)
    assert keras_gates.verify(keras_gates.capture(model, x))["r"] > 1e-2


def test_other_activations_are_taken_by_name(rng):
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    model = sequential(
        layers.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid"),
        shape=(6, 2),
    )
    assert (keras_gates.verify(keras_gates.capture(model, x)) < 1e-6).all()


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


@pytest.mark.once
def test_missing_signals_and_foreign_trees_get_a_sentence(gates):
    with pytest.raises(ValueError, match=r"every signal of 'lstm'; \['cell'\]"):
        keras_gates.verify(gates["lstm"].to_dataset().drop_vars("cell"))
    with pytest.raises(ValueError, match="no recurrent layer"):
        keras_gates.verify(type(gates)())


def test_a_layer_with_nothing_to_verify_neither_passes_nor_accuses(rng):
    model = sequential(layers.Masking(), layers.GRU(2, name="gru"), shape=(4, 2))
    gates = keras_gates.capture(model, np.zeros((2, 4, 2)))
    with pytest.warns(UserWarning, match="nothing to verify in 'gru': it has no unm"):
        deviation = keras_gates.verify(gates)
    assert np.isnan(deviation["gru"]) and not deviation.max() < 1e-5


GAPS = {
    "NaN": lambda node: node.assign(cell=node["cell"].where(node["cell"] < 0.1)),
    "infinite": lambda node: node.assign(
        forget=node["forget"].where(node["forget"] != node["forget"].max(), np.inf)
    ),
    "all of a sample": lambda node: node.where(node["sample"] != 1).assign(
        mask=node["mask"]
    ),
    "all": lambda node: node.where(False).assign(mask=node["mask"] | True),
    "a lost mask": lambda node: node.drop_vars("mask"),
    "values where masked": lambda node: node.fillna(0.0),
    "one value where masked": lambda node: node.assign(input=node["input"].fillna(0)),
    "initial state": lambda node: node.assign_coords(
        initial_cell=node["initial_cell"] * np.nan
    ),
    "reset, which no equation has": None,
    "shapes": lambda node: node.assign(forget=node["forget"].mean("sample")),
    "no kind": lambda node: node.drop_attrs(),
    "mask of numbers": lambda node: node.assign(mask=node["mask"] * 0.5),
}


@pytest.mark.once
@pytest.mark.parametrize("gap", GAPS)
def test_what_cannot_be_verified_does_not_look_verified(gap, gates):
    """And a warning states why; the other layer is verified all the same."""
    layer, change = "lstm", GAPS[gap]
    if change is None:
        layer, change = "gru", lambda node: node.assign(reset=node["reset"] * np.nan)
    node = gates[layer].to_dataset()
    node = node.assign_coords(sample=np.arange(3))
    damaged = change(node)
    gates = gates.copy()
    gates[layer] = type(gates)(damaged)
    with pytest.warns(UserWarning, match=f"'{layer}' could not be verified") as said:
        deviations = keras_gates.verify(gates)
    assert len(said) == 1
    assert deviations[layer] == np.inf and not deviations.max() < 1e-5
    other = "gru" if layer == "lstm" else "lstm"
    assert deviations[other] < 1e-6


def test_an_infinite_input_does_not_look_verified(rng):
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    x[1, 2] = np.inf
    model = sequential(layers.LSTM(4, name="lstm"), shape=(6, 2))
    distinct_weights(model, 0)
    gates = keras_gates.capture(model, x)
    with pytest.warns(UserWarning, match="is NaN or infinite at 4 of 18 unmasked st"):
        assert not keras_gates.verify(gates).max() < 1e-5
    first, *_ = keras_gates.stats.diagnose(gates).findings
    assert "NaN or infinite: the model has diverged, its input has" in first.message


@pytest.mark.once
def test_two_captures_in_one_tree_are_both_verified(gates):
    wrong = gates.copy()
    wrong["lstm"] = type(gates)(shift("forget")(gates["lstm"].to_dataset()))
    both = type(gates)(children={"first": wrong.copy(), "second": gates.copy()})
    with pytest.warns(UserWarning, match="'first/lstm' could not be verified"):
        deviations = keras_gates.verify(both)
    assert len(deviations) == 4 and deviations["first/lstm"] == np.inf
    assert deviations.drop("first/lstm").max() < 1e-6


@pytest.fixture(scope="module")
def captured_store(tmp_path_factory):
    """A store of two batches, the first of which is masked in half of its steps."""
    x = np.random.default_rng(0).normal(size=(8, 6, 2)).astype("float32")
    x[:4, 3:] = 0
    model = sequential(
        layers.Masking(),
        layers.LSTM(4, return_sequences=True, name="lstm"),
        layers.GRU(4, name="gru"),
        shape=(6, 2),
    )
    store = tmp_path_factory.mktemp("captured") / "run.zarr"
    keras_gates.capture(model, x, batch_size=4, store=store)
    return store


@pytest.fixture
def stored(captured_store, tmp_path):
    return shutil.copytree(captured_store, tmp_path / "run.zarr")


def chunks_of(store, layer):
    files = (path for path in (store / layer).rglob("*") if path.is_file())
    found = sorted(path for path in files if path.name != "zarr.json")
    assert found
    return found


def assert_named_as_damaged(store):
    for opened in (
        open_tree(store),
        xarray.open_datatree(store, engine="zarr"),
        open_tree(store)["lstm"],
        xarray.open_dataset(store, group="lstm", engine="zarr"),
    ):
        with pytest.warns(UserWarning, match=f"store '{store}'"):
            deviations = keras_gates.verify(opened)
        assert deviations["lstm"] == np.inf and not deviations.max() < 1e-5
        assert deviations.drop("lstm").max() < 1e-6 or len(deviations) == 1


@pytest.mark.once
@pytest.mark.parametrize("which", ["every", "first batch", "mask", "signals", "each"])
def test_a_store_with_missing_chunks_is_named(which, stored):
    chunks = chunks_of(stored, "lstm")
    if which == "each":  # Whichever is missing, it shows.
        for chunk in chunks:
            kept = chunk.read_bytes()
            chunk.unlink()
            with pytest.warns(UserWarning, match="'lstm' could not be verified: "):
                assert keras_gates.verify(open_tree(stored))["lstm"] == np.inf
            chunk.write_bytes(kept)
        return
    for chunk in chunks:
        batch = chunk.relative_to(stored).parts[3]
        if (
            which == "every"
            or (which == "first batch" and batch == "0")
            or (which == "mask" and "mask" in chunk.parts)
            or (which == "signals" and "mask" not in chunk.parts)
        ):
            chunk.unlink()
    assert_named_as_damaged(stored)
    first, *_ = keras_gates.stats.diagnose(open_tree(stored)).findings
    assert (
        first.layer == "lstm" and f"missing from the store '{stored}" in first.message
    )


@pytest.mark.once
@pytest.mark.parametrize("content", [b"", b"no chunk", "cut"])
def test_a_store_with_broken_chunks_is_named(content, stored):
    chunk = next(c for c in chunks_of(stored, "lstm") if "hidden" in c.parts)
    chunk.write_bytes(chunk.read_bytes()[:-9] if content == "cut" else content)
    assert_named_as_damaged(stored)
    with pytest.raises(
        OSError, match=f"'lstm' cannot be read from the store '{stored}"
    ):
        keras_gates.stats.diagnose(open_tree(stored))


# Activations. Two of them have names of Keras's own functions, and are others.


def tanh(value):
    return ops.tanh(value) * 0.5


def relu(value):
    return ops.relu(value) * 0.9


@keras.saving.register_keras_serializable("test_verify", name="tanh")
def registered_tanh(value):
    return ops.tanh(value) * 0.7


class Squash(layers.Layer):
    def call(self, value):
        return ops.tanh(value) * 0.5


FOUND = {
    "name": ("tanh", "tanh"),
    "function": (keras.activations.softsign, "softsign"),
    "none": (None, "linear"),
    "another name": ("swish", "silu"),
    "operation": (ops.tanh, "keras.ops.tanh"),
    "operation unlike the activation": (ops.gelu, "keras.ops.gelu"),
    "registered": (registered_tanh, "test_verify>tanh"),
}
NOT_FOUND = {
    "called tanh": (tanh, "test_verify.tanh"),
    "called relu": (relu, "test_verify.relu"),
    "lambda": (lambda value: ops.tanh(value) * 0.5, "test_verify.<lambda>"),
    "partial": (functools.partial(ops.multiply, 0.5), "functools.partial"),
    "layer of Keras": (layers.LeakyReLU(), "LeakyReLU"),
    "layer that holds an activation": (layers.Activation("tanh"), "Activation"),
    "layer of one's own": (Squash(), "test_verify.Squash"),
    "method": (Squash().call, "test_verify.Squash.call"),
}


@pytest.mark.parametrize("case", FOUND)
@pytest.mark.parametrize(
    "layer",
    [layers.LSTM, pytest.param(keras_gates.GateLSTM, marks=pytest.mark.once)],
)
def test_an_activation_that_is_found_by_its_name_is_verified(layer, case, rng):
    function, name = FOUND[case]
    gates = captured(layer(4, activation=function, name="lstm"), rng)
    assert gates["lstm"].attrs["activation"] == name
    assert keras_gates.verify(gates)["lstm"] < 1e-6


@pytest.mark.once
@pytest.mark.parametrize("case", NOT_FOUND)
def test_a_function_is_known_by_what_it_is_and_not_by_its_name(case, rng):
    """One that cannot be found again is neither accused nor passed."""
    function, name = NOT_FOUND[case]
    odd = layers.LSTM(4, activation=function, return_sequences=True, name="odd")
    gates = captured(odd, rng, layers.GRU(4, name="gru"))
    assert gates["odd"].attrs["activation"] == name
    sentence = (
        f"`hidden` of 'odd' could not be verified: its activation '{name}' cannot be "
        "found again by that name; `cell` deviates by "
    )
    with pytest.warns(UserWarning, match=re.escape(sentence)):
        deviations = keras_gates.verify(gates)
    assert deviations["odd"] == np.inf and deviations["gru"] < 1e-6


@pytest.mark.once
@pytest.mark.parametrize("case", NOT_FOUND)
@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU])
def test_a_recurrent_activation_need_not_be_found(layer, case, rng):
    function, name = NOT_FOUND[case]
    gates = captured(layer(4, recurrent_activation=function, name="r"), rng)
    assert gates["r"].attrs["recurrent_activation"] == name
    assert keras_gates.verify(gates)["r"] < 1e-6


@pytest.mark.once
def test_a_name_in_a_scope_does_not_stand_for_another_function_later(rng):
    with keras.saving.custom_object_scope({"tanh": tanh}):
        gates = captured(layers.LSTM(4, activation=tanh, name="odd"), rng)
    with pytest.warns(UserWarning, match="could not be verified"):
        assert keras_gates.verify(gates)["odd"] == np.inf


def test_an_activation_that_fails_later_gets_a_sentence(rng, monkeypatch):
    gates = captured(layers.LSTM(4, activation=registered_tanh, name="odd"), rng)

    def fails(value):
        raise RuntimeError("no such device")

    monkeypatch.setitem(keras.saving.get_custom_objects(), "test_verify>tanh", fails)
    with pytest.warns(UserWarning, match=r"failed \(RuntimeError: no such device\)"):
        assert keras_gates.verify(gates)["odd"] == np.inf


@pytest.mark.once
@pytest.mark.parametrize("activation", ["tanh", "relu", "softmax", "registered"])
def test_some_units_are_verified_unless_the_activation_needs_all(activation, rng):
    function = registered_tanh if activation == "registered" else activation
    gates = captured(layers.LSTM(4, activation=function, name="lstm"), rng)
    assert keras_gates.verify(gates)["lstm"] < 1e-6
    some = gates["lstm"].to_dataset().isel(unit=[1, 3])
    if activation == "softmax":
        with pytest.warns(UserWarning, match="'softmax' needs all 4 units, and 2 of"):
            assert keras_gates.verify(some)["lstm"] == np.inf
    else:
        assert keras_gates.verify(some)["lstm"] < 1e-6


def captured(layer, rng, *others):
    x = rng.normal(size=(3, 6, 2)).astype("float32")
    model = sequential(layer, *others, shape=(6, 2))
    return keras_gates.capture(model, x)


@pytest.mark.once
@pytest.mark.parametrize("wrong", [None, 3, "gates", [1.0]])
def test_what_is_no_tree_gets_a_sentence(wrong):
    with pytest.raises(TypeError, match="`gates` must be an xarray DataTree or Dat"):
        keras_gates.verify(wrong)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_the_tolerance_is_that_of_the_precision_of_the_layer(dtype, rng):
    gates = captured(layers.LSTM(4, dtype=dtype, name="lstm"), rng)
    (check,) = checks_of(gates).values()
    assert check.passed and check.deviation < check.tolerance
    node = gates["lstm"].to_dataset()
    (check,) = checks_of(node.assign(forget=1 - node["forget"])).values()
    assert not check.passed and check.deviation > check.tolerance


@pytest.mark.once
def test_an_error_above_the_accepted_one_is_raised(gates):
    found = keras_gates.verify(gates, atol=1e-5)
    assert found.name == "max_abs_error" and found.index.name == "layer"
    wrong = gates.copy()
    wrong["lstm"] = xarray.DataTree(swap("input", "forget")(gates["lstm"].to_dataset()))
    with pytest.raises(AssertionError, match=r"more than atol=1e-05: 'lstm' by \d"):
        keras_gates.verify(wrong, atol=1e-5)
    with pytest.raises(TypeError, match="`atol` must be a finite number"):
        keras_gates.verify(gates, atol="small")
