"""Layers without gates: their hidden state, read, counted and kept as any signal."""

import warnings

import keras
import numpy as np
import pytest
import xarray
from battery import distinct_weights
from keras import layers

import keras_gates
from keras_gates.cells.registry import KINDS
from keras_gates.models.find_layers import walk

TIME, FEATURES = 6, 2
PATHS = ["each/rnn", "both/forward_rnn", "both/backward_rnn", "cell", "stack/low"]


def everywhere():
    """A `SimpleRNN` in every place where a layer can be, and an LSTM above one."""
    frames = keras.Input((2, TIME, FEATURES), name="frames")
    steps = keras.Input((TIME, FEATURES), name="steps")
    one = layers.SimpleRNN(3, return_sequences=True, name="rnn")
    each = layers.TimeDistributed(one, name="each")(frames)
    masked = layers.Masking()(steps)
    both = layers.Bidirectional(
        layers.SimpleRNN(3, return_sequences=True, name="rnn"), name="both"
    )(masked)
    cell = layers.RNN(layers.SimpleRNNCell(3), return_sequences=True, name="cell")
    stack = layers.RNN(
        [layers.SimpleRNNCell(3, name="low"), layers.LSTMCell(2, name="high")],
        return_sequences=True,
        name="stack",
    )
    outputs = {"each": each, "both": both, "cell": cell(both), "stack": stack(masked)}
    return keras.Model({"frames": frames, "steps": steps}, outputs)


@pytest.fixture(scope="module")
def seen():
    """One model, what it puts out, what is captured, and what training records."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = everywhere()
    distinct_weights(model, 1)
    x = {
        "frames": rng.normal(size=(4, 2, TIME, FEATURES)).astype("float32"),
        "steps": rng.normal(size=(4, TIME, FEATURES)).astype("float32"),
    }
    x["steps"][0, 4:] = x["steps"][1, 2] = 0  # Padding, and a hole.
    classes = [type(layer) for _, layer in walk(model)]
    outputs = model.predict(x, verbose=0)
    gates = keras_gates.capture(model, x)
    assert [type(layer) for _, layer in walk(model)] == classes
    return model, x, outputs, gates


def test_every_place_is_captured_as_the_layer_put_it_out(seen):
    _, x, outputs, gates = seen
    real = x["steps"].any(-1)
    np.testing.assert_allclose(gates["each/rnn/hidden"], outputs["each"], atol=1e-6)
    both = [gates[f"both/{way}_rnn/hidden"] for way in ("forward", "backward")]
    for hidden, wanted in (
        (np.concatenate(both, axis=-1), outputs["both"]),
        (gates["cell/hidden"].values, outputs["cell"]),
        (gates["stack/high/hidden"].values, outputs["stack"]),
    ):
        np.testing.assert_allclose(hidden[real], wanted[real], atol=1e-6)
        assert np.isnan(hidden[~real]).all()
    for path in PATHS:
        assert set(gates[path].data_vars) <= {"hidden", "mask"}
        assert gates[path].attrs["cell_type"] == "SimpleRNN"


def test_there_is_nothing_to_verify_and_the_others_are_verified(seen):
    deviations = keras_gates.verify(seen[-1])
    assert set(deviations.index[deviations.isna()]) == set(PATHS)
    assert deviations["stack/high"] < 1e-5


def test_training_is_recorded_in_every_way(seen, tmp_path):
    """Statistics, traces, logs, alarms, TensorBoard and a store, in one training."""
    tensorboard = pytest.importorskip("tensorboard.backend.event_processing")
    from tensorboard.backend.event_processing import event_accumulator

    model, x, outputs, gates = seen
    options = {
        "layers": PATHS,
        "samples_per_batch": "all",
        "log_metrics": "all",
        "on_alarm": "warn",
        "patience": 1,
        "store": tmp_path / "run.zarr",
        "log_dir": tmp_path / "events",
    }
    assert tensorboard
    model.compile(keras.optimizers.SGD(0.0), "mse")
    recorder = keras_gates.GateRecorder(x, **options)
    history = fit(model, x, outputs, recorder)
    stored = xarray.open_datatree(tmp_path / "run.zarr", engine="zarr")
    for path in PATHS:
        node, hidden = recorder.statistics[path].to_dataset(), gates[path]["hidden"]
        dims = [dim for dim in hidden.dims if dim != "unit"]
        here = node.sel(signal="hidden").isel(step=0)
        assert node["signal"].values.tolist() == ["hidden"]
        np.testing.assert_array_equal(here["count"], hidden.count(dims))
        np.testing.assert_allclose(here["mean"], hidden.mean(dims), atol=2e-6)
        np.testing.assert_allclose(here["std"], hidden.std(dims), atol=2e-6)
        assert node[["left", "right", "histogram"]].isnull().all().to_array().all()
        logged = history[f"{path}/hidden/mean"]
        np.testing.assert_allclose(logged, [here["mean"].mean()], atol=1e-6)
        np.testing.assert_allclose(recorder.traces[path]["hidden"][-1], hidden)
        kept = stored["traces"][path]["hidden"]
        np.testing.assert_array_equal(kept, recorder.traces[path]["hidden"])
    assert recorder.alarms == []
    events = event_accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert set(events.Tags()["tensors"]) == {f"{path}/gates" for path in PATHS}


def fit(model, x, y, recorder, **options):
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, callbacks=[recorder], **options).history


def small(layer, rate=0.0):
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model, np.ones((4, TIME, FEATURES)), np.zeros((4, 3))


def test_a_dead_unit_of_a_layer_without_gates_is_reported_also_after_a_crash(tmp_path):
    zero = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    model, x, y = small(layers.SimpleRNN(3, name="rnn", **zero))
    for epochs in (1, 2):
        recorder = keras_gates.GateRecorder(
            x[:1], on_alarm="warn", patience=1, store=tmp_path / "a.zarr", mode="a"
        )
        with pytest.warns(UserWarning, match="`hidden` is dead in units 0, 1, 2"):
            fit(model, x, y, recorder, epochs=epochs, initial_epoch=epochs - 1)
        assert [alarm.code for alarm in recorder.alarms] == ["dead-units"]
    assert recorder.statistics["rnn"]["epoch"].values.tolist() == [1, 2]


@pytest.mark.parametrize("signals", [["hidden"], ["cell"], ["candidate", "hidden"]])
def test_signals_without_a_gate_are_recorded_with_all_that_goes_with_it(
    signals, tmp_path
):
    pytest.importorskip("tensorboard")
    model, x, y = small(layers.LSTM(3, name="lstm"))
    recorder = keras_gates.GateRecorder(
        x[:1], signals=signals, log_metrics="all", on_alarm="warn", log_dir=tmp_path
    )
    history = fit(model, x, y, recorder)
    figures = {f"lstm/{name}/{sum}" for name in signals for sum in ("mean", "std")}
    assert set(history) == {"loss", *figures}
    assert set(recorder.traces["lstm"].data_vars) == set(signals)
    assert set(recorder.statistics["lstm"]["signal"].values) == set(signals)


@pytest.mark.once
def test_results_that_stay_empty_without_a_gate_are_named(tmp_path):
    pytest.importorskip("tensorboard")
    model, x, y = small(layers.SimpleRNN(3, name="rnn"))
    for options, sentence in (
        (
            {"log_metrics": "saturation"},
            "`log_metrics='saturation'` adds nothing to the logs",
        ),
        ({"log_dir": tmp_path}, "`log_dir` shows nothing: it has histograms"),
    ):
        recorder = keras_gates.GateRecorder(**options)
        with pytest.warns(UserWarning, match=sentence):
            history = fit(model, x, y, recorder)
        assert set(history) == {"loss"}
        with warnings.catch_warnings(record=True) as again:
            fit(model, x, y, recorder)
        assert not [one for one in again if "nothing" in str(one.message)]


@pytest.mark.once
def test_a_signal_that_the_kind_has_not_is_refused_by_name():
    model, x, y = small(layers.SimpleRNN(3, name="rnn"))
    sentence = r"among 'hidden' for 'rnn' \(SimpleRNN\); got 'forget', which is a sig"
    with pytest.raises(ValueError, match=sentence):
        keras_gates.capture(model, x, signals="forget")
    with pytest.raises(ValueError, match=sentence):
        fit(model, x, y, keras_gates.GateRecorder(signals="forget"))
    assert KINDS["LSTM"].with_article == "an LSTM"
