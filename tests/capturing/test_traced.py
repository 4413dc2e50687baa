"""Layers inside functions that the backend compiles, or runs again, on its own.

Their statistics and captures are right, or a sentence says at once that they are not.
"""

import gc
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import keras_gates

BACKEND = keras.backend.backend()
SENTENCE = "The recorder cannot count the gates of 'r'"


def compiled(function):
    """Compiles a function as a user of the backend would."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.compile(function, backend="eager")


class Inside(keras.Model):
    """A model whose recurrent layer runs inside a function."""

    def __init__(self, wrap=lambda function: function):
        super().__init__()
        self.r = layers.LSTM(4, name="r")
        self.head = layers.Dense(1)
        self.helper = wrap(lambda x: self.r(x))

    def call(self, x):
        return self.head(self.helper(x))

    def build(self, shape):
        self.r.build(shape)
        self.head.build((shape[0], 4))


def build(model, **options):
    model.build((None, 5, 2))
    values = np.random.default_rng(1)
    model.set_weights([values.normal(size=w.shape) for w in model.get_weights()])
    model.compile(keras.optimizers.SGD(0.0), "mse", **options)
    return model


@pytest.fixture
def data(rng):
    return rng.normal(size=(24, 5, 2)).astype("float32"), rng.normal(size=(24, 1))


def fit(model, data, *recorders, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(*data, callbacks=[*recorders], **options)


def expected(data):
    return keras_gates.capture(build(Inside()), data[0])["r"]


def assert_right(recorder, data, steps=1, rows=24):
    """Compares statistics with the gates of the same model without any wrapping."""
    statistics = recorder.statistics["r"]
    assert statistics["count"][:, 0, 0].values.tolist() == [rows * 5] * steps
    if rows == 24:
        means = expected(data)["forget"].mean(("sample", "time"))
        for step in range(steps):
            found = statistics["mean"].sel(signal="forget")[step]
            np.testing.assert_allclose(found, means, atol=2e-6)


def with_scope():
    with keras.RematScope(mode="full"):
        return Inside()


def on_layer():
    model = Inside()
    model.r.call = compiled(model.r.call)
    return model


def on_call():
    model = Inside()
    model.call = compiled(model.call)
    return model


def own_step():
    model = Inside()
    model.train_step = compiled(model.train_step)
    return model


MODELS = {
    "helper": lambda: Inside(compiled),
    "call": on_call,
    "remat": lambda: Inside(keras.remat),
}
if BACKEND != "jax":  # Keras calls layers with words, which `jax.jit` refuses.
    MODELS["layer"] = on_layer
if BACKEND == "tensorflow":
    MODELS["step"] = own_step
if BACKEND == "torch":  # Elsewhere Keras itself fails: it gives a layer keywords.
    MODELS["scope"] = with_scope
BY_A_SENTENCE = {"helper", "call", "layer", "remat"} if BACKEND == "jax" else set()


@pytest.mark.parametrize("before", [False, True], ids=["first", "after a fit"])
@pytest.mark.parametrize("where", MODELS)
def test_statistics_are_right_or_a_sentence_says_that_they_are_not(where, before, data):
    model = build(MODELS[where]())
    if before:
        fit(model, data)
        model.predict(data[0], verbose=0)
    every = keras_gates.GateRecorder(samples_per_batch="all")
    few = keras_gates.GateRecorder(samples_per_batch=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        others, more = [], {}
        if BACKEND != "jax":  # There, such a function keeps the weights it began with.
            predicting = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda *_: model.predict(data[0], verbose=0)
            )
            others, more = [predicting], {"validation_data": data}
        fit(model, data, every, few, *others, epochs=2, **more)
        said = [str(w.message) for w in caught if SENTENCE in str(w.message)]
    if where in BY_A_SENTENCE:
        assert len(said) == 2  # Each recorder, once.
        for recorder in (every, few):
            assert (recorder.statistics["r/count"] == 0).all()
            assert recorder.statistics["r/mean"].isnull().all()
        return
    assert not said
    assert_right(every, data, steps=2)
    assert_right(few, data, steps=2, rows=6)
    # What was traced while a recorder looked on counts nothing afterwards.
    fit(model, data)
    model.predict(data[0], verbose=0)
    model.evaluate(*data, verbose=0)
    for recorder in (every, few):
        counted = recorder._step_recorder.watcher.read()["r"]
        assert counted["count"] == 0


@pytest.mark.parametrize("before", [False, True], ids=["first", "after predict"])
@pytest.mark.parametrize("where", [name for name in MODELS if name != "step"])
def test_a_capture_is_right_or_a_sentence_says_why_not(where, before, data):
    model = build(MODELS[where]())
    if before:
        model.predict(data[0], batch_size=8, verbose=0)
    if BACKEND == "jax" and where == "remat":
        with pytest.raises(ValueError, match=r"The gates of \['r'\] cannot be read"):
            keras_gates.capture(model, data[0], batch_size=8)
        return
    gates = keras_gates.capture(model, data[0], batch_size=8)["r"]
    for name, signal in expected(data).items():
        np.testing.assert_allclose(gates[name], signal, atol=1e-6)
    predicted = model.predict(data[0], batch_size=8, verbose=0)
    plain = build(Inside()).predict(data[0], batch_size=8, verbose=0)
    np.testing.assert_allclose(predicted, plain, atol=1e-6)


def loop_over(step, recorder, data, epochs=1):
    recorder.on_train_begin()
    for epoch in range(epochs):
        recorder.on_epoch_begin(epoch)
        for start in range(0, 24, 8):
            with recorder.watch():
                step(data[0][start : start + 8])
        recorder.on_epoch_end(epoch)
    recorder.on_train_end()


@pytest.mark.skipif(BACKEND == "jax", reason="`watch` says no on JAX.")
@pytest.mark.parametrize("where", ["step", "inside", "helper", "remat"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "after a step"])
def test_a_custom_loop_with_a_compiled_step(where, before, data):
    wraps = {"helper": compiled, "remat": keras.remat}
    model = build(Inside(*[wraps[where]] if where in wraps else []))

    def forward(x):
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(model(x, training=True) ** 2)
            tape.gradient(loss, model.trainable_weights)
        else:
            model(keras.ops.convert_to_tensor(x), training=True).mean().backward()

    step = compiled(forward) if where == "step" else forward
    if before:
        step(data[0][:8])
    every = keras_gates.GateRecorder(samples_per_batch="all")
    some = keras_gates.GateRecorder()  # Of three batches, the first one.
    for recorder in (every, some):
        recorder.set_model(model)
        loop_over(step, recorder, data, epochs=2)
    assert_right(every, data, steps=2)
    assert_right(some, data, steps=2, rows=8)
    step(data[0][:8])
    model.predict(data[0], verbose=0)
    for recorder in (every, some):
        assert recorder._step_recorder.watcher.read()["r"]["count"] == 0


@pytest.mark.skipif(BACKEND != "torch", reason="It is PyTorch's.")
def test_transforms_of_functions_are_named(data):
    import torch

    model = build(Inside())

    def step(x):
        torch.func.grad(lambda x: model(x, training=True).sum())(torch.as_tensor(x))

    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    recorder.set_model(model)
    said = said_in(loop_over, step, recorder, data, epochs=2)
    assert len([one for one in said if SENTENCE in one]) == 1
    assert (recorder.statistics["r/count"] == 0).all()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="It compiles the whole loop.")
def test_watch_inside_of_a_compiled_step_is_refused(data):
    model, recorder = build(Inside()), keras_gates.GateRecorder()
    recorder.set_model(model)
    recorder.on_train_begin()
    recorder.on_epoch_begin(0)

    @compiled
    def step(x):
        with recorder.watch():
            model(x)

    with pytest.raises(ValueError, match="Put `with recorder.watch"):
        step(data[0][:8])


def test_a_layer_that_the_step_does_not_run_is_named_once(data):
    class Unused(Inside):
        def call(self, x):
            return self.head(x[:, 0, :1] + keras.ops.zeros((1, 4)))

    model = Unused()
    model.r.trainable = False
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    said = said_in(fit, build(model), data, recorder, epochs=3)
    assert len([one for one in said if "counted no gates of 'r' in the" in one]) == 1
    assert recorder.statistics["r/mean"].isnull().all()


def said_in(function, *arguments, **options):
    """Returns what a call warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments, **options)
    return [str(warning.message) for warning in caught]


def around(x, layer, how):
    """Calls a layer inside of control flow that the backend traces on its own."""
    if how == "cond":
        nothing = keras.ops.zeros((keras.ops.shape(x)[0], 4))
        right = keras.ops.sum(x) > -1e9
        return keras.ops.cond(right, lambda: layer(x), lambda: nothing)
    if how == "loop":
        nothing = keras.ops.zeros((keras.ops.shape(x)[0], 4))
        return keras.ops.fori_loop(0, 1, lambda _, before: layer(x), nothing)
    return keras.ops.vectorized_map(lambda row: layer(row[None])[0], x)


@pytest.mark.parametrize("how", ["cond", "loop", "map"])
def test_control_flow_of_keras_around_a_layer(how, data):
    class Flow(Inside):
        def call(self, x):
            return self.head(around(x, self.r, how))

    model = build(Flow())
    # These two cannot be trained, with or without a recorder.
    if (how, BACKEND) not in (("loop", "jax"), ("map", "tensorflow")):
        recorder = keras_gates.GateRecorder(samples_per_batch="all")
        said = said_in(fit, model, data, recorder)
        wrong = [one for one in said if SENTENCE in one]
        assert bool(wrong) == (BACKEND == "jax" or how == "map")
        if wrong:
            assert (recorder.statistics["r/count"] == 0).all()
        else:
            assert_right(recorder, data)
    if how == "map":
        with pytest.raises(ValueError, match="cannot be read"):
            keras_gates.capture(model, data[0])
    else:
        gates = keras_gates.capture(model, data[0])["r/forget"]
        np.testing.assert_allclose(gates, expected(data)["forget"], atol=1e-6)


@pytest.mark.parametrize("how", ["map", "scan"])
def test_a_layer_that_keras_calls_row_by_row(how, data):
    """On TensorFlow, `keras.ops.map` runs the layer once more, to learn its shape."""

    class Rows(Inside):
        def call(self, x):
            def row(one):
                return self.r(one[None])[0]

            if how == "map":
                return self.head(keras.ops.map(row, x))
            start = keras.ops.zeros((4,))
            return self.head(keras.ops.scan(lambda c, one: (c, row(one)), start, x)[1])

    x, y = data[0][:8], data[1][:8]
    model = Rows()
    model.r.build((None, *x.shape[1:]))
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    said = said_in(fit, build(model), (x, y), recorder, batch_size=8)
    inside = BACKEND == "jax"
    assert bool([one for one in said if SENTENCE in one]) == inside
    steps = 0 if inside else x.shape[0] * x.shape[1]
    assert (recorder.statistics["r/count"] == steps).all()
    assert len(keras_gates.capture(model, x).children) == len(x)


def test_a_layer_that_is_called_twice_or_in_another_batch_is_no_false_alarm(data):
    class Twice(Inside):
        def call(self, x):
            return self.head(self.helper(x) + self.r(x))

    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    model = build(Twice(compiled))
    said = said_in(fit, model, data, recorder)
    if BACKEND == "jax":  # One of the calls is in the function, so both are left out.
        assert len([one for one in said if SENTENCE in one]) == 1
        assert (recorder.statistics["r/count"] == 0).all()
    else:
        assert not [one for one in said if "recorder" in one]
        assert_right(recorder, data, rows=48)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX compiles without AutoGraph.")
def test_control_flow_in_a_compiled_function(data):
    """AutoGraph turns it into operations, for the recorder too."""

    class Flow(Inside):
        def call(self, x):
            def body(x):
                if keras.ops.sum(x) > -1e9:
                    x = self.r(x)
                else:
                    x = x[:, 0, :1] * keras.ops.ones((1, 4))
                return x

            if not hasattr(self, "body"):
                self.body = compiled(body)
            return self.head(self.body(x))

    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    model = build(Flow())
    fit(model, data, recorder, epochs=2)
    assert_right(recorder, data, steps=2)
    gates = keras_gates.capture(model, data[0])["r/forget"]
    np.testing.assert_allclose(gates, expected(data)["forget"], atol=1e-6)


@pytest.mark.skipif(BACKEND == "torch", reason="It runs step by step always.")
@pytest.mark.parametrize("where", MODELS)
def test_a_model_that_runs_eagerly(where, data):
    model = build(MODELS[where](), run_eagerly=True)
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    if where in BY_A_SENTENCE:
        # JAX runs what it compiled when Keras built the model: nothing is heard.
        said = said_in(fit, model, data, recorder)
        assert len([one for one in said if "counted no gates of 'r'" in one]) == 1
        assert (recorder.statistics["r/count"] == 0).all()
        return
    fit(model, data, recorder)
    assert_right(recorder, data)


# Fits that an exception ended.


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt


def watchers_of(model):
    return getattr(model.train_function, "watchers", [])


def test_recorders_of_dead_fits_are_let_go(data, tmp_path):
    model, recorders = build(Inside()), []
    for number in range(3):
        pair = [
            keras_gates.GateRecorder(
                data[0][:2], samples_per_batch="all", store=tmp_path / f"{number}.zarr"
            ),
            keras_gates.GateRecorder(samples_per_batch="all"),
        ]
        recorders.append(pair)
        with pytest.raises(KeyboardInterrupt):
            fit(model, data, *pair, Interrupt())
        assert len(watchers_of(model)) == 2
        assert len(model.train_function._compiled) == 1
    # The store of a dead fit can be written by another recorder.
    again = keras_gates.GateRecorder(
        data[0][:2], samples_per_batch="all", store=tmp_path / "0.zarr", mode="w"
    )
    fit(model, data, again)
    assert not watchers_of(model)
    assert_right(again, data)
    assert again.traces["r"].sizes["step"] == 2
    # An interrupted one can be read, and used again.
    first, second = recorders[0]
    fit(model, data, second)
    assert_right(second, data)
    assert recorders[1][0].traces["r"].sizes["step"] == 1


def test_two_recorders_of_one_fit_keep_each_other(data):
    model = build(Inside())
    pair = [keras_gates.GateRecorder(samples_per_batch="all") for _ in range(2)]
    for _ in range(2):
        fit(model, data, *pair, epochs=2)
    for recorder in pair:
        assert_right(recorder, data, steps=4)
    assert not watchers_of(model)


def test_a_recorder_of_a_dead_custom_loop_goes_with_its_last_reference(data):
    model = build(Inside())
    for _ in range(3):
        recorder = keras_gates.GateRecorder(samples_per_batch="all")
        hooks = keras.callbacks.CallbackList([recorder], model=model)
        hooks.on_train_begin()
        hooks.on_epoch_begin(0)
        hooks.on_train_batch_begin(0)
        model.train_on_batch(data[0], data[1])
        hooks.on_train_batch_end(0)
        del hooks
        assert len(watchers_of(model)) == 1
        recorder = None
        gc.collect()
        assert not watchers_of(model)
