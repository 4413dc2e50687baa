"""Files and copies: gate models and stock models stand in for each other."""

import copy
import json
import pickle
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from battery import EACH, KINDS, assert_same, distinct_weights
from keras import layers

import keras_gates
from keras_gates.models.find_layers import walk


@keras.saving.register_keras_serializable("tests")
class Registered(layers.LSTM):
    """A user's own layer, registered for saving, with an argument of its own."""

    def __init__(self, units, factor=1.0, **kwargs):
        super().__init__(units, **kwargs)
        self.factor = factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Unregistered(layers.GRU):
    """A user's own layer, whose loading needs `custom_objects`."""


def model_of(first, second):
    """A recurrent layer, and another one in both directions."""
    return keras.Sequential(
        [
            keras.Input((4, 2)),
            first(3, return_sequences=True, name="first"),
            layers.Bidirectional(second(3)),
            layers.Dense(1),
        ]
    )


@pytest.fixture
def model():
    """Layers of Keras's and of the user's own classes."""
    made = keras.Sequential(
        [
            keras.Input((4, 2)),
            Registered(3, return_sequences=True, factor=2.0),
            layers.Bidirectional(layers.GRU(3, return_sequences=True)),
            Unregistered(2),
        ]
    )
    distinct_weights(made, 0)
    return made


@pytest.fixture
def x(rng):
    return rng.normal(size=(6, 4, 2)).astype("float32")


def classes_in(path):
    """The layers that a `.keras` file asks for, wrapped ones too."""
    config = json.loads(zipfile.ZipFile(path).read("config.json"))
    found = []

    def visit(value):
        if isinstance(value, dict):
            if "registered_name" in value and "config" in value:
                found.append((value["module"], value["registered_name"]))
            value = list(value.values())
        for part in value if isinstance(value, list) else []:
            visit(part)

    visit(config)
    return found


@EACH
def test_weights_files_go_both_ways(kind, tmp_path):
    for source, target in ((kind.stock, kind.gate), (kind.gate, kind.stock)):
        saved, loaded = model_of(source, source), model_of(target, target)
        path = tmp_path / f"{source.__qualname__}.weights.h5"
        saved.save_weights(path)
        loaded.load_weights(path)
        assert_same(loaded.get_weights(), saved.get_weights())


@EACH
@pytest.mark.parametrize("return_gates", [False, True])
def test_saved_gate_models_come_back(kind, return_gates, tmp_path, x):
    layer = kind.gate(3, return_gates=return_gates)
    model = keras.Sequential([keras.Input((4, 2)), layer])
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded.layers[0]) is kind.gate
    assert loaded.layers[0].return_gates == return_gates
    assert_same(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_gate_model_file_loads_without_the_package(tmp_path, x):
    """As the README says: with the stock classes under the names in the file."""
    model = model_of(keras_gates.GateLSTM, keras_gates.GateGRU)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=x, y=model.predict(x, verbose=0))
    code = """
import sys
import keras
import numpy as np

stock = {
    "keras_gates>GateLSTM": keras.layers.LSTM,
    "keras_gates>GateGRU": keras.layers.GRU,
}
model = keras.models.load_model("model.keras", custom_objects=stock)
assert type(model.layers[0]) is keras.layers.LSTM
assert type(model.layers[1].forward_layer) is keras.layers.GRU
data = np.load("data.npz")
np.testing.assert_array_equal(model.predict(data["x"], verbose=0), data["y"])
assert "keras_gates" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_stock_model_file_becomes_a_gate_model(tmp_path, x):
    model = model_of(layers.LSTM, layers.GRU)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    keras_gates.instrument(loaded)
    assert isinstance(loaded.layers[0], keras_gates.GateLSTM)
    assert isinstance(loaded.layers[1].forward_layer, keras_gates.GateGRU)
    assert_same(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_an_instrumented_model_is_saved_as_what_it_was(model, x, tmp_path):
    expected = model.predict(x, verbose=0)
    paths = [tmp_path / name for name in ("plain.keras", "instrumented.keras")]
    model.save(paths[0])
    with keras_gates.instrument(model):
        model.save(paths[1])
    plain, instrumented = map(classes_in, paths)
    assert [name or "" for _, name in plain if "tests>" in (name or "")]
    for (module, name), (own_module, own_name) in zip(plain, instrumented, strict=True):
        # Keras writes no registered name for its own classes; its loader takes both.
        assert own_module == module
        assert own_name == name or module == "keras.layers"
    objects = {"Unregistered": Unregistered}
    loaded = keras.models.load_model(paths[1], custom_objects=objects)
    assert [type(layer) for _, layer in walk(loaded)] == [
        type(layer) for _, layer in walk(model)
    ]
    assert_same(loaded.predict(x, verbose=0), expected)


def test_a_checkpoint_of_a_recorded_training_is_a_plain_model(tmp_path, x):
    model = model_of(layers.LSTM, layers.GRU)
    model.compile("sgd", "mse")
    whole, weights = tmp_path / "model.keras", tmp_path / "model.weights.h5"
    callbacks = [
        keras_gates.GateRecorder(x[:2]),
        keras.callbacks.ModelCheckpoint(whole),
        keras.callbacks.ModelCheckpoint(weights, save_weights_only=True),
    ]
    model.fit(x, np.zeros((6, 1)), epochs=2, verbose=0, callbacks=callbacks)
    assert not any("keras_gates" in str(entry) for entry in classes_in(whole))
    loaded, fresh = keras.models.load_model(whole), model_of(layers.LSTM, layers.GRU)
    fresh.load_weights(weights)
    for copied in (loaded, fresh):
        assert type(copied.layers[0]) is layers.LSTM
        assert_same(copied.predict(x, verbose=0), model.predict(x, verbose=0))


@EACH
def test_clones_of_gate_models_are_gate_models(kind):
    model = keras.Sequential([keras.Input((4, 2)), kind.gate(3, return_gates=True)])
    clone = keras.models.clone_model(model)
    assert type(clone.layers[0]) is kind.gate
    assert clone.layers[0].return_gates


def test_clones_of_instrumented_models_are_what_they_were(model):
    """Nobody would turn the layers of the clone back."""
    with keras_gates.instrument(model):
        clone = keras.models.clone_model(model)
    assert clone.layers[0].factor == 2.0
    assert [type(layer) for _, layer in walk(clone)] == [
        type(layer) for _, layer in walk(model)
    ]


def test_a_class_that_was_defined_again_stays_the_registered_one():
    """As in a notebook, where a cell with a class in it runs twice."""

    def define():
        @keras.saving.register_keras_serializable("tests")
        class Again(layers.LSTM):
            pass

        return Again

    old = define()
    model = keras.Sequential([keras.Input((4, 2)), old(3)])
    new = define()
    with keras_gates.instrument(model):
        pass
    assert keras.saving.get_registered_object("tests>Again") is new


def test_pickled_models_come_back(x):
    """Keras pickles a model through its own file format."""
    for first in (layers.LSTM, keras_gates.GateLSTM):
        model = model_of(first, layers.GRU)
        with keras_gates.instrument(model):
            loaded = pickle.loads(pickle.dumps(model))
        assert type(loaded.layers[0]) is first
        assert_same(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        # Models are pickled on every backend above.
        pytest.param(lambda o: pickle.loads(pickle.dumps(o)), marks=pytest.mark.once),
    ],
)
def test_what_is_recorded_can_be_copied(duplicate, x):
    model = model_of(layers.LSTM, layers.GRU)
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(x[:2])
    y = np.zeros((6, 1))
    model.fit(x, y, verbose=0, callbacks=[recorder])
    gates = keras_gates.capture(model, x)
    assert duplicate(gates).identical(gates)
    copied = duplicate(recorder)
    assert copied.traces.identical(recorder.traces)
    # A copy goes on with a copy of the model.
    loaded = duplicate(model)
    loaded.fit(x, y, verbose=0, callbacks=[copied])
    assert copied.traces["first/forget"].epoch.values.tolist() == [0, 1, 2]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="SavedModel is TensorFlow's."
)
@pytest.mark.parametrize("name", KINDS)
def test_exported_models_serve_the_same(name, tmp_path, x):
    import tensorflow as tf

    kind = KINDS[name]
    inputs = keras.Input((None, 2))
    output, gates = kind.gate(3, return_gates=True)(inputs)
    # TensorFlow wants the outputs of a signature flat, so each gate is an output.
    asked = keras.Model(inputs, {"result": output, **gates})
    stock = model_of(kind.stock, kind.stock)
    keras_gates.instrument(stock)
    for number, model in enumerate((asked, stock)):
        folder = str(tmp_path / str(number))
        model.export(folder, verbose=False)
        loaded = tf.saved_model.load(folder)
        served = loaded.serve(x)
        expected = model.predict(x, verbose=0)
        for one, other in zip(
            keras.tree.flatten(served), keras.tree.flatten(expected), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)
