"""Statistics of training are those of the gates that the training step computed.

What every style of model gives is in `test_models`; here are the numbers themselves,
what is looked at and when, and every way in which Keras trains.
"""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import build, fit, sequential

import keras_gates

SIGNALS = ("input", "forget", "output", "candidate", "cell", "hidden")
BACKEND = keras.backend.backend()


@pytest.fixture
def data(rng):
    return rng.normal(size=(24, 5, 2)).astype("float32"), rng.normal(size=(24, 1))


def assert_of(statistics, gates, *, count):
    """Compares statistics of one step with those of captured gates."""
    for signal in statistics.signal.values:
        values = gates[signal].values.astype("float64")
        values = values[~np.isnan(values).any(axis=-1)]
        here = statistics.sel(signal=signal)
        assert (here["count"] == count).all() and len(values) == count
        np.testing.assert_allclose(here["mean"], values.mean(0), atol=2e-6)
        np.testing.assert_allclose(here["std"], values.std(0), atol=2e-6)
        np.testing.assert_allclose(here["min"], values.min(0), atol=2e-6)
        np.testing.assert_allclose(here["max"], values.max(0), atol=2e-6)
        if signal not in ("input", "forget", "output", "update", "reset"):
            assert here[["left", "right", "histogram"]].isnull().all().to_array().all()
            continue
        np.testing.assert_allclose(here["left"], (values < 0.3).mean(0))
        np.testing.assert_allclose(here["right"], (values > 0.6).mean(0))
        for unit in range(values.shape[1]):
            counts, _ = np.histogram(values[:, unit], bins=7, range=(0, 1))
            np.testing.assert_array_equal(here["histogram"][unit], counts)


@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU])
@pytest.mark.parametrize("rows", ["all", 3])
def test_numbers_are_those_of_the_gates(layer, rows, data):
    options = {"lower": 0.3, "upper": 0.6, "bins": 7}
    recorder = keras_gates.GateRecorder(samples_per_batch=rows, **options)
    model = build(layer=layer)
    x = data[0] * 3
    fit(model, (x, data[1]), recorder, batch_size=8, epochs=2)
    # Spread evenly: of eight rows, 0, 8/3 and 16/3.
    chosen = x if rows == "all" else x.reshape(3, 8, 5, 2)[:, [0, 2, 5]]
    gates = keras_gates.capture(model, chosen.reshape(-1, 5, 2))["r"]
    statistics = recorder.statistics["r"].to_dataset()
    assert statistics["mean"].dims == ("step", "signal", "unit")
    assert statistics["histogram"].dims == ("step", "signal", "unit", "bin")
    np.testing.assert_allclose(statistics.bin, (np.arange(7) + 0.5) / 7)
    assert statistics.epoch.values.tolist() == [1, 2]
    assert statistics.batch.values.tolist() == [3, 6]
    for step in range(2):
        here = statistics.isel(step=step)
        assert_of(here, gates, count=len(chosen.reshape(-1, 5, 2)) * 5)


DROPOUT, BOTH = {"dropout": 0.5}, {"dropout": 0.5, "recurrent_dropout": 0.4}


@pytest.mark.parametrize(
    "layer, dropout",
    [
        pytest.param(keras_gates.GateLSTM, DROPOUT, id="LSTM, dropout"),
        pytest.param(keras_gates.GateLSTM, BOTH, id="LSTM, both"),
        # On the other backends, the LSTM and "both" stand for it.
        pytest.param(
            keras_gates.GateGRU, DROPOUT, id="GRU, dropout", marks=pytest.mark.once
        ),
        pytest.param(keras_gates.GateGRU, BOTH, id="GRU, both"),
    ],
)
@pytest.mark.parametrize("sequences", [True, False])
def test_dropout_is_that_of_the_training_step(layer, dropout, sequences, data):
    """The gates that the same forward pass returned are the witness."""
    inputs = keras.Input((5, 2))
    recurrent = layer(
        3, return_gates=True, return_sequences=sequences, name="r", **dropout
    )
    output, gates = recurrent(inputs)
    keep = "forget" if "forget" in gates else "update"
    model = keras.Model(inputs, {"y": layers.Dense(1)(output), "gate": gates[keep]})

    def unit_1(_, gate):
        return ops.mean(gate[..., 1], axis=-1)

    y = {"y": np.zeros((24, 5, 1) if sequences else (24, 1)), "gate": data[0][..., :1]}
    y["gate"] = np.zeros((24, 5, 3))
    losses = {"y": "mse", "gate": None}
    model.compile(keras.optimizers.SGD(0.5), losses, metrics={"gate": [unit_1]})
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    history = fit(model, (data[0], y), recorder, epochs=3).history
    mean = recorder.statistics["r/mean"].sel(signal=keep, unit=1)
    np.testing.assert_allclose(mean, history["gate_unit_1"], atol=2e-6)
    silent = keras_gates.capture(model, data[0])[f"r/{keep}"][..., 1].mean()
    assert abs(mean[-1] - silent) > 1e-5


@pytest.mark.parametrize("sequences", [True, False])
def test_few_rows_have_their_own_dropout(sequences, data):
    """Every row is the same, and so is every dropout mask of a row looked at."""
    x = np.repeat(data[0][:1], 24, axis=0)
    options = {"dropout": 0.5, "recurrent_dropout": 0.4}
    model = build(return_sequences=sequences, seed=5, **options)
    few = keras_gates.GateRecorder(samples_per_batch=4)
    every = keras_gates.GateRecorder(samples_per_batch="all")
    y = np.zeros((24, 5, 1) if sequences else (24, 1))
    fit(model, (x, y), [few, every], batch_size=4, epochs=2)
    for name in ("mean", "std", "min", "max", "left", "histogram"):
        np.testing.assert_allclose(
            few.statistics[f"r/{name}"], every.statistics[f"r/{name}"], atol=1e-6
        )


def test_a_gate_that_hardly_moves_has_its_true_spread(data):
    """In float32, a plain sum of squares would give 0, or nothing, here."""
    model = build(rate=0.0)
    kernel, recurrent_kernel, bias = model.layers[0].get_weights()
    bias[4:8] = 7.0  # The forget gates are at 0.999.
    model.layers[0].set_weights([kernel * 0.1, recurrent_kernel, bias])
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    fit(model, data, recorder, batch_size=2)
    gates = keras_gates.capture(model, data[0])["r/forget"].astype("float64")
    spread = gates.std(("sample", "time"))
    assert (spread < 1e-3).all()
    found = recorder.statistics["r/std"].sel(signal="forget").isel(step=0)
    np.testing.assert_allclose(found, spread, rtol=1e-3)


@pytest.mark.once
def test_by_default_eight_rows_of_every_16th_batch_are_looked_at(data):
    recorder = keras_gates.GateRecorder()
    fit(build(), data, recorder, batch_size=1)  # Of 24 batches, two.
    assert (recorder.statistics["r/count"] == 2 * 5).all()
    recorder = keras_gates.GateRecorder()
    fit(build(), data, recorder, batch_size=12)
    assert (recorder.statistics["r/count"] == 8 * 5).all()
    # Every step has something to tell of.
    recorder = keras_gates.GateRecorder(record_freq=5)
    fit(build(), data, recorder, batch_size=2, epochs=2)
    counts = recorder.statistics["r/count"][:, 0, 0].values
    assert counts.tolist() == [10, 10, 10, 10, 10, 10]


@pytest.mark.parametrize("rows", [2, "all"])
def test_rows_of_frames_whose_number_is_unknown(rows, rng):
    """On TensorFlow, such frames are folded into the batch."""
    inputs = keras.Input((None, 5, 2))
    each = layers.TimeDistributed(layers.LSTM(3, name="r"), name="each")
    model = keras.Model(inputs, layers.Dense(1)(each(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = rng.normal(size=(4, 6, 5, 2)).astype("float32")
    batches = [(x, np.zeros((4, 6, 1))), (x[:3, :2], np.zeros((3, 2, 1)))]
    data = (batch for batch in batches)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        shapes = (None, None, 5, 2), (None, None, 1)
        specs = tuple(tf.TensorSpec(shape) for shape in shapes)
        data = tf.data.Dataset.from_generator(lambda: batches, output_signature=specs)
    recorder = keras_gates.GateRecorder(samples_per_batch=rows, lower=0.3, upper=0.6)
    model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False, callbacks=[recorder])
    chosen = [x[[0, 2]], x[:3, :2][[0, 1]]] if rows == 2 else [x, x[:3, :2]]
    found = [keras_gates.capture(model, one)["each/r/forget"] for one in chosen]
    values = np.concatenate([one.values.reshape(-1, 3) for one in found])
    statistics = recorder.statistics["each/r"].isel(step=0).sel(signal="forget")
    assert (statistics["count"] == len(values)).all()
    np.testing.assert_allclose(statistics["mean"], values.mean(0), atol=2e-6)
    np.testing.assert_allclose(statistics["std"], values.std(0), atol=2e-6)


def test_means_are_fetched_and_joined(data, monkeypatch):
    whole = keras_gates.GateRecorder(samples_per_batch="all")
    fit(build(), data, whole)
    monkeypatch.setattr("keras_gates.recording.step_recorder.OFTEN_ENOUGH", 2)
    parts = keras_gates.GateRecorder(samples_per_batch="all")
    fit(build(), data, parts)
    for name in whole.statistics["r"].data_vars:
        found = parts.statistics[f"r/{name}"]
        np.testing.assert_allclose(found, whole.statistics[f"r/{name}"], atol=1e-6)


def test_counts_do_not_overflow(data):
    """As if 999 batches of 2.2 million values had been counted before."""
    before = 999 * 2_200_000
    recorder = keras_gates.GateRecorder(samples_per_batch="all", bins=1)

    class Begin(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            ((_, variables),) = recorder._step_recorder.watcher._kept.values()
            for name in ("count", "histogram", "right"):
                low, high = variables[name], variables[f"{name}_carried"]
                low.assign(np.full(low.shape, before % 2**30, "int32"))
                high.assign(np.full(high.shape, before // 2**30, "int32"))

    fit(build(), data, [recorder, Begin()])
    statistics = recorder.statistics["r"].isel(step=0)
    assert before + 120 > 2**31
    assert (statistics["count"] == before + 120).all()
    gates = statistics.sel(signal="forget")
    assert (gates["histogram"] == before + 120).all()
    assert (gates["right"] >= before / (before + 120)).all()


def test_counts_are_carried(data, monkeypatch):
    whole = keras_gates.GateRecorder(samples_per_batch="all")
    fit(build(), data, whole)
    monkeypatch.setattr("keras_gates.recording.running_statistics.CARRY", 7)
    carried = keras_gates.GateRecorder(samples_per_batch="all")
    fit(build(), data, carried)
    for name in whole.statistics["r"].data_vars:
        found = carried.statistics[f"r/{name}"]
        np.testing.assert_allclose(found, whole.statistics[f"r/{name}"], atol=1e-6)


@pytest.mark.once
def test_layers_and_signals_are_chosen(data):
    inputs = keras.Input((5, 2))
    hidden = layers.LSTM(3, return_sequences=True, name="one")(inputs)
    model = keras.Model(inputs, layers.Dense(1)(layers.GRU(3, name="two")(hidden)))
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(signals=["hidden", "forget"], layers="one")
    fit(model, data, recorder)
    assert list(recorder.statistics.children) == ["one"]
    assert list(recorder.statistics["one"].signal.values) == ["forget", "hidden"]
    recorder = keras_gates.GateRecorder(signals="update")
    fit(model, data, recorder)
    assert list(recorder.statistics.children) == ["two"]


# When.


def test_steps_come_every_so_many_batches_and_at_the_end_of_an_epoch(data):
    options = {"record_freq": 4, "samples_per_batch": "all"}
    recorder = keras_gates.GateRecorder(data[0][:2], **options)
    fit(build(rate=0.1), data, recorder, epochs=2)
    statistics, traces = recorder.statistics["r"], recorder.traces["r"]
    assert statistics.batch.values.tolist() == [4, 6, 10, 12]
    assert statistics.epoch.values.tolist() == [1, 1, 2, 2]
    assert statistics["count"][:, 0, 0].values.tolist() == [80, 40, 80, 40]
    assert traces.batch.values.tolist() == [0, 4, 6, 10, 12]
    assert traces.epoch.values.tolist() == [0, 1, 1, 2, 2]
    assert (
        abs(traces["forget"].diff("step")).max(("sample", "time", "unit")) > 0
    ).all()


def test_traces_between_epochs_are_those_of_the_weights_then(data):
    recorder = keras_gates.GateRecorder(data[0][:2], record_freq=4)
    fit(build(rate=0.1), data, recorder)
    twin = build(rate=0.1)
    fit(twin, (data[0][:16], data[1][:16]), [])
    expected = keras_gates.capture(twin, data[0][:2])["r"]
    for signal in SIGNALS:
        found = recorder.traces[f"r/{signal}"].isel(step=1)
        np.testing.assert_allclose(found, expected[signal], atol=1e-6)


def test_data_of_unknown_length_are_counted(data):
    def batches():
        for start in range(0, 24, 4):
            yield data[0][start : start + 4], data[1][start : start + 4]

    recorder = keras_gates.GateRecorder(record_freq=4, samples_per_batch="all")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        options = {"shuffle": False, "verbose": 0}
        build().fit(batches(), epochs=1, callbacks=[recorder], **options)
    assert recorder.statistics["r"].batch.values.tolist() == [4, 6]


# Wherever Keras trains.


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on PyTorch.")
def test_several_steps_in_one_execution(data):
    model = build()
    model.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=4)
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    fit(model, data, recorder, epochs=2)
    statistics = recorder.statistics["r"]
    assert statistics.batch.values.tolist() == [6, 12]
    gates = keras_gates.capture(model, data[0])["r"]
    np.testing.assert_allclose(
        statistics["mean"].sel(signal="forget")[1],
        gates["forget"].mean(("sample", "time")),
        atol=1e-6,
    )
    assert (statistics["count"] == 120).all()


COMPILED = {
    "eager": {"run_eagerly": True},
    "jit": {"jit_compile": True},
    "no jit": {"jit_compile": False},
    "weighted": {"weighted_metrics": ["mae"]},
}


@pytest.mark.filterwarnings("ignore::")  # PyTorch's compiler warns of itself.
@pytest.mark.parametrize("how", COMPILED)
def test_every_way_to_compile(how, data):
    model = build()
    model.compile(keras.optimizers.SGD(0.0), "mse", **COMPILED[how])
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    more = {"class_weight": {0: 1.0, 1: 2.0}} if how == "weighted" else {}
    y = np.arange(24) % 2
    fit(model, (data[0], y), recorder, validation_data=(data[0], y), **more)
    gates = keras_gates.capture(model, data[0])["r"]
    mean = recorder.statistics["r/mean"].isel(step=0)
    for signal in SIGNALS:
        expected = gates[signal].mean(("sample", "time"))
        np.testing.assert_allclose(mean.sel(signal=signal), expected, atol=1e-6)


def test_a_loop_of_train_on_batch(data):
    model = build(rate=0.1)
    recorder = keras_gates.GateRecorder(data[0][:2], samples_per_batch="all")
    hooks = keras.callbacks.CallbackList([recorder], model=model)
    hooks.on_train_begin()
    for epoch in range(2):
        hooks.on_epoch_begin(epoch)
        for batch in range(6):
            rows = slice(4 * batch, 4 * batch + 4)
            hooks.on_train_batch_begin(batch)
            logs = model.train_on_batch(data[0][rows], data[1][rows], return_dict=True)
            hooks.on_train_batch_end(batch, logs)
        hooks.on_epoch_end(epoch)
    hooks.on_train_end()

    twin = build(rate=0.1)
    of_fit = keras_gates.GateRecorder(data[0][:2], samples_per_batch="all")
    fit(twin, data, of_fit, epochs=2)
    for name in ("mean", "std", "count", "histogram"):
        np.testing.assert_allclose(
            recorder.statistics[f"r/{name}"], of_fit.statistics[f"r/{name}"], atol=1e-6
        )
    np.testing.assert_allclose(
        recorder.traces["r/forget"], of_fit.traces["r/forget"], atol=1e-6
    )


def test_a_loop_with_gradients_by_hand(data):
    model = build()
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    recorder.set_model(model)
    recorder.on_train_begin()
    if BACKEND == "jax":
        with pytest.raises(ValueError, match="On JAX, a custom training loop"):
            recorder.watch().__enter__()
        return
    for epoch in range(2):
        recorder.on_epoch_begin(epoch)
        for batch in range(6):
            with recorder.watch():
                model(data[0][4 * batch : 4 * batch + 4], training=True)
        recorder.on_epoch_end(epoch)
    recorder.on_train_end()
    statistics = recorder.statistics["r"]
    assert (statistics["count"] == 120).all()
    assert statistics.batch.values.tolist() == [6, 12]
    expected = keras_gates.capture(model, data[0])["r/forget"].mean(("sample", "time"))
    found = statistics["mean"].sel(signal="forget")
    np.testing.assert_allclose(found[1], expected, atol=1e-6)
    assert type(model.layers[0]) is layers.LSTM


class OwnStep(keras.Model):
    """A model with a training step of its own, around Keras's."""

    steps = 0

    def train_step(self, *arguments):
        OwnStep.steps += 1
        return super().train_step(*arguments)


def test_a_custom_train_step(data):
    inputs = keras.Input((5, 2))
    model = OwnStep(inputs, layers.Dense(1)(layers.LSTM(4, name="r")(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    fit(model, data, recorder)
    assert OwnStep.steps
    assert (recorder.statistics["r/count"] == 120).all()


def test_frozen_layers_and_a_model_compiled_again(data):
    model = build(rate=0.1)
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    fit(model, data, recorder)
    model.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.1), "mse")
    fit(model, data, recorder, epochs=2)
    mean = recorder.statistics["r/mean"].sel(signal="forget")
    assert recorder.statistics["r"].epoch.values.tolist() == [1, 2, 3]
    assert abs(mean[0] - mean[1]).max() > 1e-5
    np.testing.assert_allclose(mean[1], mean[2], atol=1e-6)


def test_repeated_fits_do_not_compile_again(data):
    class Counted(layers.Layer):
        traced = 0

        def call(self, x):
            Counted.traced += 1
            return x

    model = sequential(Counted(), layers.LSTM(3, name="r"), shape=(5, 2))
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    y = np.zeros((24, 3))
    fit(model, (data[0], y), recorder)
    first = Counted.traced
    for _ in range(2):
        fit(model, (data[0], y), recorder)
    again = Counted.traced - first
    assert again == (0 if BACKEND != "torch" else 12)
    assert recorder.statistics["r"].epoch.values.tolist() == [1, 2, 3]


def test_training_is_the_same_with_and_without(rng):
    """To the bit on TensorFlow and PyTorch; on JAX, XLA may fuse differently."""
    x = rng.normal(size=(400, 5, 2)).astype("float32")
    y = x.sum((1, 2))[:, None]
    weights = []
    for recorder in ([], [keras_gates.GateRecorder(samples_per_batch="all")]):
        keras.utils.set_random_seed(1)
        stack = (
            layers.Masking(),
            layers.LSTM(6, return_sequences=True, dropout=0.1),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(1),
        )
        model = sequential(*stack, shape=(5, 2))
        model.compile(keras.optimizers.Adam(0.01), "mse")
        fit(model, (x, y), recorder, shuffle=True)  # A hundred steps.
        weights.append(model.get_weights())
    for left, right in zip(*weights, strict=True):
        if BACKEND == "jax":
            np.testing.assert_allclose(left, right, atol=1e-6)
        else:
            np.testing.assert_array_equal(left, right)


# Interruptions.


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt


def test_an_interrupted_fit_leaves_the_model_as_it_was(data):
    model = build(rate=0.1)
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    variables = [variable.path for variable in model.variables]
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, [recorder, Interrupt()])
    assert type(model.layers[0]) is layers.LSTM
    assert [variable.path for variable in model.variables] == variables
    # Nobody looks on in a later fit, and the recorder can go on.
    fit(model, data, [])
    with pytest.raises(ValueError, match="Nothing is recorded yet"):
        _ = recorder.statistics
    fit(model, data, recorder)
    assert (recorder.statistics["r/count"] == 120).all()
    # Three batches of the fit that was interrupted, and six.
    assert recorder.statistics["r"].batch.values.tolist() == [9]
    assert type(model.layers[0]) is layers.LSTM


class Failing(layers.Layer):
    """Fails while the training step is traced, or run."""

    fails = False

    def call(self, x):
        if self.fails:
            raise RuntimeError("broken")
        return x


def test_an_error_inside_the_step_leaves_the_model_as_it_was(data):
    failing = Failing()
    model = sequential(layers.LSTM(3, name="r"), failing, shape=(5, 2))
    model.compile("sgd", "mse")
    failing.fails = True
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    y = np.zeros((24, 3))
    with pytest.raises(RuntimeError, match="broken"):
        fit(model, (data[0], y), recorder)
    failing.fails = False
    assert type(model.layers[0]) is layers.LSTM
    fit(model, (data[0], y), [])
    fit(model, (data[0], y), recorder)
    assert (recorder.statistics["r/count"] == 120).all()


# Alarms.


def alarmed(model, data, **options):
    recorder = keras_gates.GateRecorder(samples_per_batch="all", **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(model, data, recorder, epochs=5)
    said = [str(w.message) for w in caught if w.category is UserWarning]
    return recorder, said, len(history.epoch)


def stuck(bias):
    model = build()
    kernel, recurrent_kernel, biases = model.layers[0].get_weights()
    biases[5] = bias  # The forget gate of unit 1.
    model.layers[0].set_weights([kernel, recurrent_kernel, biases])
    return model


@pytest.mark.parametrize(
    "bias, what, threshold",
    [
        (30, "stuck open", 0.9),
        pytest.param(-30, "stuck closed", 0.1, marks=pytest.mark.once),
    ],
)
def test_a_stuck_gate_is_reported_after_the_patience(bias, what, threshold, data):
    recorder, said, epochs = alarmed(stuck(bias), data, on_alarm="warn", patience=2)
    assert epochs == 5
    assert said == [f"'r': `forget` is {what} in unit 1, since epoch 1 (step 1)."]
    (alarm,) = recorder.alarms
    assert alarm == keras_gates.Alarm(
        code=what.replace(" ", "-"),
        layer="r",
        signal="forget",
        units=(1,),
        value=pytest.approx(float(bias > 0), abs=1e-6),
        threshold=threshold,
        severity=0.25,
        message=said[0],
        step=1,
        epoch=1,
    )
    assert str(recorder.alarms) == f"- {said[0]}"
    table = recorder.alarms.to_dataframe()
    assert table[["code", "units", "step"]].values.tolist() == [[alarm.code, (1,), 1]]


@pytest.mark.once
def test_an_alarm_can_stop_training(data):
    recorder, said, epochs = alarmed(stuck(30), data, on_alarm="stop", patience=3)
    assert epochs == 3
    assert said[0].endswith("Training stops.")


@pytest.mark.once
def test_dead_units_are_reported(data):
    model = build(layer=layers.GRU)
    model.layers[0].set_weights([w * 0 for w in model.layers[0].get_weights()])
    _, said, _ = alarmed(model, data, on_alarm="warn", patience=1)
    assert said == [
        "'r': `hidden` is dead in units 0, 1, 2, 3, since epoch 1 (step 1)."
    ]


@pytest.mark.once
@pytest.mark.parametrize("gate, number", [("input", 0), ("output", 3)])
def test_a_unit_that_is_never_written_or_never_shown_is_dead(gate, number, data):
    """As `stats.dead_units` defines it; its `hidden` need not be constant."""
    model = build()
    kernel, recurrent_kernel, biases = model.layers[0].get_weights()
    biases[4 * number + 1] = -30
    model.layers[0].set_weights([kernel, recurrent_kernel, biases])
    recorder, said, _ = alarmed(model, data, on_alarm="warn", patience=1)
    assert {(a.signal, a.code, a.units) for a in recorder.alarms} == {
        (gate, "stuck-closed", (1,)),
        ("hidden", "dead-units", (1,)),
    }
    assert "'r': `hidden` is dead in unit 1, since epoch 1 (step 1)." in said


def test_nan_is_reported_at_once(data):
    model = build()
    weights = model.layers[0].get_weights()
    weights[0][0, 6] = np.nan  # The forget gate of unit 2.
    model.layers[0].set_weights(weights)
    recorder, said, _ = alarmed(model, data, on_alarm="stop")
    (of_forget,) = (a for a in recorder.alarms if a.signal == "forget")
    assert (of_forget.code, of_forget.step, of_forget.epoch) == ("not-finite", 1, 1)
    assert 2 in of_forget.units and len(said) == len(SIGNALS)
    assert recorder.statistics["r"].sizes["step"] == 1
    # At the first time step the other units were still sound; a NaN is in no bin.
    counts = recorder.statistics["r/histogram"].isel(step=0).sel(signal="forget")
    assert counts.sum("bin").values.tolist() == [4, 4, 0, 4]


@pytest.mark.once
def test_a_healthy_layer_raises_no_alarm(data):
    recorder, said, _ = alarmed(build(), data, on_alarm="warn", patience=1)
    assert not said and not recorder.alarms
    assert "code" in recorder.alarms.to_dataframe()


# What bad input gets.

BAD = {
    "every": ({"record_freq": 0}, ValueError, "`record_freq` must be at least 1"),
    "every word": ({"record_freq": "step"}, TypeError, "whole number or 'epoch'"),
    "rows": ({"samples_per_batch": -1}, ValueError, "`samples_per_batch` must be at"),
    "rows word": ({"samples_per_batch": "few"}, TypeError, "or 'all'"),
    "nothing": ({"samples_per_batch": 0}, ValueError, "There is nothing to record"),
    "thresholds": ({"lower": 0.9, "upper": 0.1}, ValueError, "0 <= lower < upper <= 1"),
    "lower": ({"lower": "a"}, TypeError, "`lower` must be a threshold"),
    "no units": ({"units": []}, ValueError, "`units` is empty"),
    "budget": ({"max_bytes": "2GB"}, TypeError, "`max_bytes` must be a finite number"),
    "budget NaN": ({"max_bytes": np.nan}, ValueError, "or None for no limit; got nan"),
    "store": ({"store": 3}, TypeError, "`store` must be a path"),
    "bins": ({"bins": 0}, ValueError, "`bins` must be at least 1"),
    "logs": (
        {"log_metrics": "some"},
        ValueError,
        "`log_metrics` must be one of None, 'saturation'",
    ),
    "alarms": ({"on_alarm": True}, ValueError, "`on_alarm` must be one of"),
    "mode": ({"mode": "r"}, ValueError, "`mode` must be one of"),
    "units": ({"units": 1}, ValueError, "which need a `probe`"),
    "logs of nothing": (
        {"log_metrics": "all", "samples_per_batch": 0, "probe": np.zeros((1, 5, 2))},
        ValueError,
        "`log_metrics` needs the statistics",
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_at_once(case):
    arguments, error, sentence = BAD[case]
    with pytest.raises(error, match=sentence):
        keras_gates.GateRecorder(**arguments)


BAD_AT_FIT = {
    "signals": ({"signals": "update"}, "`signals` must be among"),
    "layers": ({"layers": "nowhere"}, "`layers` must name recurrent layers"),
    "units": ({"units": [0, 4]}, "`units` must be below 4"),
    "budget": ({"max_bytes": 1000}, "`max_bytes` is 1 kB"),
}


@pytest.mark.once
@pytest.mark.parametrize("case", BAD_AT_FIT)
def test_bad_arguments_are_refused_before_the_first_batch(case, data):
    arguments, sentence = BAD_AT_FIT[case]
    model = build(rate=0.1)
    before = model.get_weights()
    with pytest.raises(ValueError, match=sentence):
        fit(model, data, keras_gates.GateRecorder(data[0][:2], **arguments))
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.once
def test_units_of_the_traces_are_chosen_and_keep_their_numbers(data):
    recorder = keras_gates.GateRecorder(data[0][:2], units=[3, 1])
    model = build()
    fit(model, data, recorder)
    gates = keras_gates.capture(model, data[0][:2])["r/forget"]
    found = recorder.traces["r/forget"].isel(step=1)
    np.testing.assert_allclose(found.sel(unit=1), gates.isel(unit=1), atol=1e-6)
    np.testing.assert_allclose(found.isel(unit=0), gates.isel(unit=3), atol=1e-6)


@pytest.mark.once
def test_the_budget_counts_every_step(data):
    # 2 samples, 5 steps, 4 units, 6 signals and 2 initial states, float32.
    one = 2 * 5 * 4 * 6 * 4 + 2 * 4 * 2 * 4
    steps = 1 + 3 * 2
    probe = data[0][:2]
    recorder = keras_gates.GateRecorder(probe, record_freq=3, max_bytes=steps * one)
    fit(build(), data, recorder, epochs=3)
    recorder = keras_gates.GateRecorder(probe, record_freq=3, max_bytes=steps * one - 1)
    with pytest.raises(ValueError, match="of 7 steps will take .* after 3 more epochs"):
        fit(build(), data, recorder, epochs=3)


@pytest.mark.parametrize(
    "layer", [pytest.param(layers.LSTM, marks=pytest.mark.once), layers.SimpleRNN]
)
def test_a_layer_of_which_no_gate_is_recorded_is_counted(layer, data):
    model = build(layer=layer)
    recorder = keras_gates.GateRecorder(samples_per_batch="all", signals=["hidden"])
    fit(model, data, recorder)
    gates = keras_gates.capture(model, data[0])["r"].to_dataset()
    statistics = recorder.statistics["r"].to_dataset().isel(step=0)
    assert_of(statistics, gates, count=24 * 5)
