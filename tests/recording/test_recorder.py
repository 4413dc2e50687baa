"""The recorder sees each epoch as capture would, and training does not notice it."""

import copy
import pickle

import keras
import numpy as np
import pytest
import xarray
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates.trees.tree_walk import recurrent


def build(recurrent_layer=layers.LSTM):
    keras.utils.set_random_seed(3)
    model = sequential(recurrent_layer(4, name="r"), layers.Dense(1), shape=(5, 2))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


@pytest.fixture
def data(rng):
    return rng.normal(size=(12, 5, 2)).astype("float32"), rng.normal(size=(12, 1))


def fit(model, data, **kwargs):
    return model.fit(*data, batch_size=4, shuffle=False, verbose=0, **kwargs)


@pytest.mark.parametrize(
    "recurrent_layer",
    [layers.LSTM, layers.GRU, keras_gates.GateLSTM, keras_gates.GateGRU],
)
def test_traces_are_what_capture_sees_after_each_epoch(recurrent_layer, data):
    probe = data[0][:3]
    model = build(recurrent_layer)
    recorder = keras_gates.GateRecorder(probe)
    fit(model, data, epochs=2, callbacks=[recorder])

    twin = build(recurrent_layer)
    captured = [keras_gates.capture(twin, probe)]
    for _ in range(2):
        fit(twin, data)
        captured.append(keras_gates.capture(twin, probe))
    for step, expected in enumerate(captured):
        node = recorder.traces["r"].isel(step=step).to_dataset()
        for name in expected["r"].data_vars:
            np.testing.assert_allclose(node[name], expected["r"][name], atol=1e-6)
    name = next(iter(recorder.traces["r"].data_vars))
    assert recorder.traces["r"][name].dims == ("step", "sample", "time", "unit")
    assert not np.allclose(*(recorder.traces["r/hidden"][step] for step in (0, 1)))


@pytest.mark.once
@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        ("on_train_begin", "`on_train_begin` was called before `set_model`"),
        ("on_epoch_begin", "`on_epoch_begin` was called before `on_train_begin`"),
        ("on_train_batch_begin", "`on_train_batch_begin` .* before `on_train_begin`"),
        ("on_epoch_end", "`on_epoch_end` was called before `on_train_begin`"),
        ("watch", "`watch` was called before `on_train_begin`"),
        ("set_model on_epoch_end", "`on_epoch_end` .* before `on_train_begin`"),
        ("set_model on_train_begin on_epoch_end", "before `on_epoch_begin`"),
        ("set_model on_train_begin on_train_batch_begin", "before `on_epoch_begin`"),
        ("set_model on_train_begin watch", "before `on_epoch_begin`"),
        (
            "set_model on_train_begin on_epoch_begin on_epoch_end on_epoch_end",
            "`on_epoch_end` was called before `on_epoch_begin`",
        ),
        (
            "set_model on_train_begin on_train_end on_epoch_begin",
            "`on_epoch_begin` was called before `on_train_begin`",
        ),
    ],
)
def test_a_method_called_too_early_is_refused(calls, sentence, data):
    if "watch" in calls and keras.backend.backend() == "jax":
        pytest.skip("On JAX, `watch` refuses every loop.")
    model = build()
    recorder = keras_gates.GateRecorder(data[0][:2])
    arguments = {
        "set_model": [model],
        "on_epoch_begin": [0],
        "on_epoch_end": [0],
        "on_train_batch_begin": [0],
    }

    def call(name):
        result = getattr(recorder, name)(*arguments.get(name, []))
        if name == "watch":
            result.__enter__()

    *rightly, last = calls.split()
    for name in rightly:
        call(name)
    with pytest.raises(ValueError, match=sentence):
        call(last)
    recorder.on_train_end()
    assert type(model.layers[0]) is layers.LSTM


@pytest.mark.once
def test_what_is_no_model_and_no_epoch_is_refused(data):
    recorder = keras_gates.GateRecorder(data[0][:2])
    recorder.set_model(3)
    with pytest.raises(ValueError, match="`model` must be a `keras.Model`; got int"):
        recorder.on_train_begin()
    recorder.set_model(build())
    recorder.on_train_begin()
    for epoch in ("a", None, -1, 0.5, True):
        with pytest.raises((TypeError, ValueError), match="`epoch` must be"):
            recorder.on_epoch_begin(epoch)
    recorder.on_train_end()


def test_training_is_the_same_to_the_bit_with_and_without(data):
    models = [build(), build()]
    fit(models[0], data, epochs=3, callbacks=[keras_gates.GateRecorder(data[0][:3])])
    fit(models[1], data, epochs=3)
    for left, right in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(left, right)
    assert type(models[0].layers[0]) is layers.LSTM


def test_repeated_fits_count_on(data):
    model, recorder = build(), keras_gates.GateRecorder(data[0][:1])
    for _ in range(2):
        fit(model, data, epochs=1, callbacks=[recorder])
    fit(model, data, epochs=2, callbacks=[recorder])
    assert list(recorder.traces["r"].epoch.values) == [0, 1, 2, 3, 4]
    fit(model, data, initial_epoch=4, epochs=6, callbacks=[recorder])
    assert list(recorder.traces["r"].epoch.values) == [0, 1, 2, 3, 4, 5, 6]
    assert (keras_gates.verify(recorder.traces.isel(step=-1)) < 1e-5).all()


@pytest.mark.once
def test_initial_epoch_of_a_first_fit_is_the_epoch(data):
    recorder = keras_gates.GateRecorder(data[0][:1])
    fit(build(), data, initial_epoch=5, epochs=7, callbacks=[recorder])
    assert list(recorder.traces["r"].epoch.values) == [5, 6, 7]


def test_logs_reach_history_and_agree_with_the_statistics(data):
    recorder = keras_gates.GateRecorder(samples_per_batch="all", log_metrics="all")
    history = fit(build(), data, epochs=2, callbacks=[recorder]).history
    statistics = recorder.statistics["r"]
    for signal in ("input", "forget", "output", "candidate", "cell", "hidden"):
        mean = statistics["mean"].sel(signal=signal)
        assert history[f"r/{signal}/mean"] == pytest.approx(mean.mean("unit").values)
        # The spread of all values together: within the units, and between them.
        variance = (statistics["std"].sel(signal=signal) ** 2).mean("unit")
        spread = np.sqrt(variance + mean.var("unit"))
        assert history[f"r/{signal}/std"] == pytest.approx(spread.values)
    for side in ("left", "right"):
        found = statistics[side].sel(signal="forget").mean("unit").values
        assert history[f"r/forget/{side}"] == pytest.approx(found)
    saturation = (statistics["left"] + statistics["right"]).mean(("signal", "unit"))
    assert history["r/saturation"] == pytest.approx(saturation.values)


@pytest.mark.once
def test_saturation_is_one_value_for_each_layer(data):
    recorder = keras_gates.GateRecorder(log_metrics="saturation")
    history = fit(build(), data, callbacks=[recorder]).history
    assert set(history) == {"loss", "r/saturation"}


@pytest.mark.once
def test_callbacks_can_watch_a_gate(data):
    recorder = keras_gates.GateRecorder(log_metrics="all")
    watching = {"monitor": "r/forget/mean", "mode": "max", "min_delta": 10.0}
    stop = keras.callbacks.EarlyStopping(**watching, patience=2)
    slow = keras.callbacks.ReduceLROnPlateau(**watching, patience=1, factor=0.5)
    model = build()
    history = fit(model, data, epochs=9, callbacks=[recorder, stop, slow])
    assert len(history.epoch) == 3
    rate = keras.ops.convert_to_numpy(model.optimizer.learning_rate)
    assert rate == pytest.approx(0.05 / 4)


@pytest.mark.once
def test_logs_are_left_alone_unless_asked(data):
    recorder = keras_gates.GateRecorder(data[0][:3])
    history = fit(build(), data, callbacks=[recorder]).history
    assert list(history) == ["loss"]


@pytest.mark.once
def test_layers_and_signals_can_be_chosen(data):
    inputs = keras.Input((5, 2))
    x = layers.LSTM(3, return_sequences=True, name="one")(inputs)
    model = keras.Model(inputs, layers.Dense(1)(layers.GRU(3, name="two")(x)))
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(data[0][:1], layers="two", signals="update")
    fit(model, data, callbacks=[recorder])
    nodes = recurrent(recorder.traces)
    assert [(node.path, list(node.data_vars)) for node in nodes] == [
        ("/two", ["update"])
    ]


def test_masked_steps_count_in_no_figure():
    model = sequential(
        layers.Masking(), layers.GRU(3, name="r"), layers.Dense(1), shape=(5, 2)
    )
    model.compile("sgd", "mse")
    probe = np.ones((2, 5, 2))
    probe[:, 2:] = 0
    recorder = keras_gates.GateRecorder(probe, samples_per_batch="all")
    model.fit(probe, np.ones(2), callbacks=[recorder], verbose=0)
    update = recorder.traces["r/update"]
    assert np.isnan(update[:, :, 2:]).all()
    statistics = recorder.statistics["r"].isel(step=0)
    assert (statistics["count"] == 4).all()
    assert (statistics["histogram"].sum("bin") == 4).sum() == 6
    # In the one batch that was trained on, the weights were those before training.
    np.testing.assert_allclose(
        statistics["mean"].sel(signal="update"),
        update[0, :, :2].mean(("sample", "time")),
        atol=1e-6,
    )


def test_validation_and_other_callbacks_go_along(data, tmp_path):
    model, recorder = build(), keras_gates.GateRecorder(data[0][:2], log_metrics="all")
    log = tmp_path / "log.csv"
    checkpoint = tmp_path / "model.keras"
    callbacks = [
        recorder,
        keras.callbacks.CSVLogger(log),
        keras.callbacks.ModelCheckpoint(checkpoint),
    ]
    history = fit(model, data, epochs=2, validation_data=data, callbacks=callbacks)
    assert "val_loss" in history.history
    assert "r/forget/mean" in log.read_text()
    loaded = keras.models.load_model(checkpoint)
    assert type(loaded.layers[0]) is layers.LSTM
    np.testing.assert_array_equal(
        loaded.predict(data[0], verbose=0), model.predict(data[0], verbose=0)
    )


def test_an_interrupted_fit_leaves_the_model_and_the_steps(data):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    model, recorder = build(), keras_gates.GateRecorder(data[0][:2])
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, epochs=5, callbacks=[recorder, Stop()])
    assert type(model.layers[0]) is layers.LSTM
    assert recorder.traces["r"].sizes["step"] == 3


@pytest.mark.once
def test_traces_go_to_zarr_and_back(data, tmp_path):
    recorder = keras_gates.GateRecorder(data[0][:2])
    fit(build(), data, callbacks=[recorder])
    recorder.traces.to_zarr(tmp_path / "t.zarr", consolidated=False)
    loaded = xarray.open_datatree(
        tmp_path / "t.zarr", engine="zarr", consolidated=False
    )
    xarray.testing.assert_equal(
        loaded["r"].to_dataset().load(), recorder.traces["r"].to_dataset()
    )


def test_a_model_that_is_built_by_fit_is_recorded(data):
    model = keras.Sequential([layers.LSTM(4, name="r"), layers.Dense(1)])
    model.compile("adam", "mse")
    recorder = keras_gates.GateRecorder(data[0][:2])
    fit(model, data, epochs=2, callbacks=[recorder])
    assert recorder.traces["r"].sizes["step"] == 3


BAD_PROBES = {
    "rank": (np.zeros((2, 5)), "`probe` must have the shape"),
    "empty": (np.zeros((0, 5, 2)), "`probe` is empty"),
    "NaN": (np.full((1, 5, 2), np.nan), "`probe` holds NaN"),
    "generator": (iter([np.zeros((1, 5, 2))]), "`probe` must be readable again"),
    "text": ("text", "`probe` must be an array"),
}


@pytest.mark.once
@pytest.mark.parametrize("case", BAD_PROBES)
def test_a_bad_probe_is_refused_before_training(case, data):
    probe, sentence = BAD_PROBES[case]
    model = build()
    before = model.get_weights()
    with pytest.raises(ValueError, match=sentence):
        fit(model, data, callbacks=[keras_gates.GateRecorder(probe)])
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert type(model.layers[0]) is layers.LSTM


@pytest.mark.once
def test_one_recorder_is_for_one_model(data):
    recorder = keras_gates.GateRecorder(data[0][:1])
    fit(build(), data, callbacks=[recorder])
    with pytest.raises(ValueError, match="steps of another model"):
        fit(build(), data, callbacks=[recorder])


@pytest.mark.once
def test_a_copy_of_a_recorder_is_for_models_with_the_same_layers(data):
    recorder = keras_gates.GateRecorder(data[0][:1])
    fit(build(), data, callbacks=[recorder])
    copied = pickle.loads(pickle.dumps(recorder))
    other = sequential(layers.LSTM(5, name="r"), layers.Dense(1), shape=(5, 2))
    other.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"LSTM\(4\).*LSTM\(5\)"):
        fit(other, data, callbacks=[copied])
    fit(build(), data, callbacks=[copied])
    assert list(copied.traces["r"].epoch.values) == [0, 1, 2]
    assert list(recorder.traces["r"].epoch.values) == [0, 1]


@pytest.mark.once
def test_a_recorder_says_that_a_tool_may_have_trained_with_a_copy(data):
    """KerasTuner and skforecast copy callbacks, and the recorder itself is empty."""
    recorder = keras_gates.GateRecorder(data[0][:1])
    copied = copy.deepcopy(recorder)
    fit(build(), data, callbacks=[copied])
    assert copied.traces["r"].sizes["step"] == 2
    for name in ("traces", "statistics"):
        with pytest.raises(ValueError, match="trains with copies of the callbacks"):
            getattr(recorder, name)


def test_a_probe_does_not_change_the_dropout_of_training(data):
    weights = []
    for callbacks in ([], [keras_gates.GateRecorder(data[0][:2])]):
        keras.utils.set_random_seed(3)
        recurrent_layer = layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2)
        model = sequential(recurrent_layer, layers.Dense(1), shape=(5, 2))
        model.compile("adam", "mse")
        fit(model, data, epochs=3, callbacks=callbacks)
        weights.append(model.get_weights())
    for left, right in zip(*weights, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.once
def test_access_before_a_recording_raises():
    with pytest.raises(ValueError, match="Nothing is recorded yet"):
        _ = keras_gates.GateRecorder(np.zeros((1, 5, 2))).traces
