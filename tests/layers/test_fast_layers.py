"""With `kernel="fast"`, gate layers are the stock layers and their gates the true ones.

Within rounding, and through every gradient; `test_layers` is about `kernel="keras"`.
"""

import keras
import numpy as np
import pytest
from battery import (
    EACH_GATED,
    GATED,
    TOLERANCE,
    assert_all_close,
    assert_close,
    check,
    distinct_weights,
    half_tanh,
    numpy,
)
from keras import layers, ops
from test_layers import CORNERS, MASKS, ONLY, drawn

import keras_gates
from keras_gates import GateGRU, GateLSTM, edits
from keras_gates.backend import backend

pytestmark = pytest.mark.skipif(
    not backend.fast_kernels(), reason="no fast kernels on this backend"
)

REFUSED = ("unrolled", "a Python function")
"""The corners that `kernel="fast"` does not take."""

MORE = {
    "an activation without a known derivative": {"activation": "silu", "initial": 1},
    "the same, for gates": {"recurrent_activation": "hard_silu", "initial": 1},
    "linear": {"activation": "linear"},
    "softsign for gates": {"recurrent_activation": "softsign"},
    "dropout for each block, masked": {
        "dropout": 0.4,
        "implementation": 1,
        "training": True,
        "mask": MASKS["one sample masked"],
        "use_cudnn": False,
    },
    "masked outputs are zero, the last one": {
        "mask": MASKS["padded on the right"],
        "zero_output_for_mask": True,
    },
    "all masked, from initial states, the last one": {
        "mask": MASKS["one sample masked"],
        "initial": 1,
    },
    "all masked, from initial states": {
        "mask": MASKS["all masked"],
        "initial": 1,
        "return_sequences": True,
        "return_state": True,
    },
}
"""Further corners, for the kernels alone."""


def corners():
    return pytest.mark.parametrize(
        "kind, options",
        [
            pytest.param(kind, options, id=f"{name}, {corner}")
            for name, kind in GATED.items()
            for corner, options in {**CORNERS, **ONLY.get(name, {}), **MORE}.items()
            if corner not in REFUSED
        ],
    )


@corners()
def test_corner(kind, options):
    """The stock output within rounding, the gates of the papers."""
    check(kind, **drawn(kind, options), kernel="fast")


@EACH_GATED
def test_double_precision(kind, double_precision):
    """Against a float64 loop, with what only a kernel in float64 can agree with."""
    options = {"dtype": "float64", "initial": True, "mask": MASKS["with holes"]}
    case = drawn(kind, options)
    case["x"] = case["x"].astype("float64")
    check(kind, **case, kernel="fast")


GRADIENTS = {
    "as it comes": {},
    "backwards": {"go_backwards": True},
    "without bias": {"use_bias": False},
    "other activations": {"activation": "silu", "recurrent_activation": "softplus"},
    "hard sigmoid": {"recurrent_activation": "hard_sigmoid"},
}


@EACH_GATED
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_of_every_signal_are_finite_differences(
    kind, masked, options, rng, double_precision, small_chunks
):
    """Of each signal alone and of all, to weights, input and initial states."""
    differ(kind, {"mask": MASKS["with holes"] if masked else None, **options}, rng)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_where_the_reset_gate_acts_first(
    masked, bias, rng, double_precision, small_chunks
):
    options = {"reset_after": False, "use_bias": bias}
    mask = MASKS["one sample masked"] if masked else None
    differ(GATED["GRU"], {"mask": mask, **options}, rng)


@EACH_GATED
@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("recurrent", [0.0, 0.4])
def test_gradients_with_dropout(
    kind, implementation, recurrent, rng, double_precision, small_chunks
):
    options = {
        "dropout": 0.4,
        "recurrent_dropout": recurrent,
        "implementation": implementation,
        "seed": 3,
    }
    options["mask"] = MASKS["with holes"]
    # Keras's own operations, which part the inputs into blocks, may round.
    differ(kind, options, rng, training=True, step=5e-4, agreement=2e-3)


@pytest.fixture
def small_chunks(monkeypatch):
    """Lets a backward pass go through several chunks of steps, where there are any."""
    if keras.backend.backend() == "torch":
        from keras_gates.backend import torch_chunks

        monkeypatch.setattr(torch_chunks, "CHUNK", 50)


class Loss(keras.layers.Layer):
    """Signals of a layer with factors, as a function of all that they depend on."""

    def __init__(self, layer, case, given, training):
        super().__init__(dtype="float64")
        self.layer, self.case, self.training = layer, case, training
        self.given = [
            self.add_weight(
                shape=value.shape,
                initializer=keras.initializers.Constant(value),
                name=f"given{index}",
            )
            for index, value in enumerate(given)
        ]

    def call(self, factors):
        """Sums up what has a gradient also where a signal is zero, as if masked."""
        x, *initial = self.given
        # The same dropout every time.
        generator = getattr(self.layer.cell, "seed_generator", None)
        if self.training and generator is not None:
            generator.state.assign([3, 0])
        _, gates = self.layer(
            x, initial_state=initial, mask=self.case["mask"], training=self.training
        )
        return sum(
            ops.sum(ops.square(gates[name] + 1) * factors[name])
            for name in sorted(factors)
        )


def differ(kind, options, rng, training=False, step=1e-5, agreement=1e-5):
    """Compares the gradients of every signal with differences in float64."""
    case = drawn(kind, {"initial": True, "units": 3, **options})
    layer = kind.gate(
        **case["options"], return_gates=True, dtype="float64", kernel="fast"
    )
    layer.build(case["x"].shape)
    distinct_weights(layer, 1)
    given = [np.asarray(one, "float64") for one in (case["x"], *case["initial"])]
    loss = Loss(layer, case, given, training)
    names = list(numpy(layer(case["x"])[-1]))
    shape = (*case["x"].shape[:2], 3)
    factors = {name: rng.uniform(0.5, 1.5, size=shape) for name in names}
    for chosen in (*([name] for name in names), names):
        some = {name: ops.convert_to_tensor(factors[name]) for name in chosen}
        gradients = gradients_of(lambda some=some: loss(some), loss.trainable_weights)
        for variable, gradient in zip(loss.trainable_weights, gradients, strict=True):
            direction = rng.normal(size=gradient.shape)
            start, sides = numpy(variable.value).copy(), []
            for sign in (1, -1):
                variable.assign(start + sign * step * direction)
                sides.append(float(numpy(loss(some))))
            variable.assign(start)
            numeric = (sides[0] - sides[1]) / (2 * step)
            expected = np.sum(gradient * direction)
            wanted = pytest.approx(expected, rel=agreement, abs=agreement)
            assert numeric == wanted, chosen


def gradients_of(function, variables):
    """Returns the gradients of a number with respect to variables, as arrays."""
    if keras.backend.backend() == "torch":
        import torch

        values = [variable.value for variable in variables]
        found = torch.autograd.grad(function(), values, allow_unused=True)
    elif keras.backend.backend() == "jax":
        import jax

        def of(values):
            pairs = zip(variables, values, strict=True)
            with keras.StatelessScope(state_mapping=list(pairs)):
                return function()

        found = jax.grad(of)([variable.value for variable in variables])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            total = function()
        found = tape.gradient(total, [variable.value for variable in variables])
    return [
        np.zeros(variable.shape) if one is None else numpy(one)
        for one, variable in zip(found, variables, strict=True)
    ]


@EACH_GATED
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_models_of_unknown_length(kind, masked, rng):
    """Output and gates of two lengths, with the mask, as those of `kernel="keras"`."""
    results = {}
    for kernel in ("keras", "fast"):
        inputs = keras.Input((None, 2))
        layer = kind.gate(4, return_sequences=True, return_gates=True, kernel=kernel)
        outputs = layer(layers.Masking()(inputs) if masked else inputs)
        model = keras.Model(inputs, outputs)
        distinct_weights(model, 1)
        results[kernel] = []
        for time in (6, 3):
            x = np.random.default_rng(time).normal(size=(3, time, 2))
            if masked:
                x[0, 2:] = x[1, 0] = 0
            results[kernel] += [model.predict(x.astype("float32"), verbose=0)]
    assert_all_close(results["fast"], results["keras"], TOLERANCE["float32"], "all")


@EACH_GATED
@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_training_goes_the_same_way(kind, penalty, rng):
    """With regularisers, dropout, a mask, a frozen layer, and gates in the loss."""
    x = rng.normal(size=(24, 5, 3)).astype("float32")
    x[::3, 3:] = x[::4, :2] = 0
    y = rng.normal(size=(24, 1)).astype("float32")

    def trained(kernel):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((5, 3))
        options = {"return_sequences": True, "trainable": False, "kernel": kernel}
        frozen = kind.gate(3, **options)(layers.Masking()(inputs))
        layer = kind.gate(
            4,
            kernel_regularizer="l2",
            recurrent_constraint="unit_norm",
            dropout=0.2,
            recurrent_dropout=0.2,
            seed=5,
            return_gates=True,
            kernel=kernel,
        )
        output, gates = layer(frozen)
        output = Penalty(penalty)([layers.Dense(1)(output), *gates.values()])
        model = keras.Model(inputs, output)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    assert_all_close(trained("fast"), trained("keras"), 1e-5, "weights")


class Penalty(keras.layers.Layer):
    """Passes on its first input, and puts the squares of the others into the loss."""

    def __init__(self, factor):
        super().__init__()
        self.supports_masking = True
        self.factor = factor

    def call(self, values):
        output, *others = values
        self.add_loss(self.factor * sum(ops.mean(ops.square(one)) for one in others))
        return output


@EACH_GATED
def test_stateful_layer_starts_the_second_batch_where_the_first_ended(kind, rng):
    x = rng.normal(size=(2, 6, 3)).astype("float32")
    layer = kind.gate(4, return_gates=True, stateful=True, kernel="fast")
    layer.build((2, 3, 3))
    truth = kind.reference(x, distinct_weights(layer, 3))
    for _ in range(2):
        halves = [numpy(layer(part)[-1]) for part in (x[:, :3], x[:, 3:])]
        for name in truth:
            joined = np.concatenate([half[name] for half in halves], axis=1)
            assert_close(joined, truth[name], TOLERANCE["float32"], name)
        layer.reset_state()


@EACH_GATED
def test_stateful_layer_trains(kind, rng):
    x, y = rng.normal(size=(8, 4, 3)), rng.normal(size=(8, 1))

    def trained(kernel):
        keras.utils.set_random_seed(0)
        # On PyTorch, the stock kernel of `use_cudnn="auto"` fails to train a stateful
        # layer (seen in 3.15.1).
        layer = kind.gate(4, stateful=True, kernel=kernel, use_cudnn=False)
        shape = keras.Input(batch_shape=(4, 4, 3))
        model = keras.Sequential([shape, layer, layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    assert_all_close(trained("fast"), trained("keras"), 1e-5, "weights")


@EACH_GATED
def test_config_keeps_the_kernel(kind):
    stock = kind.stock(3, name="r")
    gate = kind.gate.from_config(stock.get_config())
    assert gate.kernel == "keras"
    assert kind.stock.from_config(gate.get_config()).get_config() == stock.get_config()
    fast = kind.gate(3, kernel="fast", return_gates=True)
    again = kind.gate.from_config(fast.get_config())
    assert again.kernel == "fast"
    assert again.get_config() == fast.get_config()


@EACH_GATED
def test_saved_models_and_weights_go_on(kind, tmp_path, rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")

    def model(kernel):
        layer = kind.gate(4, kernel=kernel)
        return keras.Sequential([keras.Input((5, 3)), layer])

    fast, other = model("fast"), model("keras")
    fast.save(tmp_path / "fast.keras")
    fast.save_weights(tmp_path / "fast.weights.h5")
    other.load_weights(tmp_path / "fast.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "fast.keras")
    assert loaded.layers[0].kernel == "fast"
    expected = fast.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    assert_close(other.predict(x, verbose=0), expected, TOLERANCE["float32"], "output")


@EACH_GATED
def test_captures_and_recorders_read_a_fast_layer(kind, rng):
    """Of a stack, `Bidirectional` and `TimeDistributed`, and in training."""
    x = rng.normal(size=(6, 2, 5, 3)).astype("float32")

    def captured(kernel):
        options = {"return_sequences": True, "kernel": kernel}
        one = layers.Bidirectional(kind.gate(4, **options, name="r"), name="both")
        two = kind.gate(2, name="last", kernel=kernel)
        inputs = keras.Input((2, 5, 3))
        hidden = layers.TimeDistributed(one, name="frames")(inputs)
        hidden = layers.TimeDistributed(two, name="over")(hidden)
        model = keras.Model(inputs, layers.Dense(1)(hidden))
        distinct_weights(model, 2)
        return keras_gates.capture(model, x)

    fast, expected = captured("fast"), captured("keras")
    assert set(fast.groups) == set(expected.groups)
    compared = 0
    for node in expected.leaves:
        for name, values in node.data_vars.items():
            assert_close(fast[node.path][name], values, 2e-6, name)
            compared += 1
    assert compared > 8


@EACH_GATED
def test_recorder_reads_a_fast_layer(kind, rng):
    x, y = rng.normal(size=(16, 5, 3)), rng.normal(size=(16, 1))

    def recorded(kernel):
        keras.utils.set_random_seed(0)
        layer = kind.gate(4, kernel=kernel, name="r")
        model = keras.Sequential([keras.Input((5, 3)), layer, layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        recorder = keras_gates.GateRecorder(samples_per_batch=3)
        model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[recorder])
        return recorder.statistics["r"]

    fast, expected = recorded("fast"), recorded("keras")
    for name, values in expected.data_vars.items():
        assert_close(fast[name], values, 1e-5, name)


@EACH_GATED
def test_edits_change_a_fast_layer(kind, rng):
    x = rng.normal(size=(3, 5, 2)).astype("float32")
    signal, results = kind.keep, []
    for kernel in ("keras", "fast"):
        layer = kind.gate(4, kernel=kernel, name="r")
        model = keras.Sequential([keras.Input((5, 2)), layer])
        distinct_weights(model, 2)
        with keras_gates.edit(model, {f"r/{signal}": edits.clamp(0.0)}):
            results.append(model.predict(x, verbose=0))
        changed = np.abs(model.predict(x, verbose=0) - results[-1])
        assert changed.max() > 1e-2
    assert_close(*results, TOLERANCE["float32"], "edited")


@pytest.mark.parametrize(
    "options, why",
    [
        ({"kernel": "quick"}, "`kernel` must be one of 'keras', 'fast'; got 'quick'"),
        ({"unroll": True}, "`unroll=True` requires Keras's own loop"),
        ({"use_cudnn": True}, "`use_cudnn=True` requires the kernel of cuDNN"),
        ({"dropout": 1.0}, "a dropout rate of 1"),
        ({"recurrent_dropout": 1.0}, "a dropout rate of 1"),
        ({"activation": half_tanh}, "its `activation` is `battery.half_tanh`, which"),
        ({"activation": "softmax"}, "is `softmax`, which does not act on each value"),
        ({"recurrent_activation": "glu"}, "its `recurrent_activation` is `glu`"),
        ({"activation": layers.PReLU()}, "its `activation` is `PReLU`, which has no"),
    ],
)
@EACH_GATED
def test_what_a_kernel_cannot_do_is_refused_with_the_reason(kind, options, why):
    with pytest.raises(ValueError, match=why):
        kind.gate(3, name="r", **{"kernel": "fast", **options})


@pytest.mark.parametrize("cls", [GateLSTM, GateGRU])
def test_registered_activations_are_differentiated_by_the_backend(cls, rng):
    @keras.saving.register_keras_serializable("tests_of_fast")
    def soft_tanh(values):
        return ops.tanh(values) * 0.7

    x = rng.normal(size=(2, 4, 3)).astype("float32")
    results = []
    for kernel in ("keras", "fast"):
        layer = cls(3, activation=soft_tanh, kernel=kernel)
        layer.build(x.shape)
        distinct_weights(layer, 1)
        total = gradients_of(
            lambda layer=layer: ops.sum(ops.square(layer(x))), layer.trainable_weights
        )
        results.append(total)
    assert_all_close(*results, 1e-5, "gradients")


@EACH_GATED
def test_second_derivatives(kind, rng):
    """JAX takes them from the kernels; elsewhere they are refused."""
    layer = kind.gate(3, kernel="fast")
    x = ops.convert_to_tensor(rng.normal(size=(2, 4, 3)).astype("float32"))
    layer.build(x.shape)
    distinct_weights(layer, 1)
    reason = "has no second derivatives"
    if keras.backend.backend() == "torch":
        import torch

        x.requires_grad_()
        total = ops.sum(ops.square(layer(x)))
        with pytest.raises(RuntimeError, match=reason):
            torch.autograd.grad(total, x, create_graph=True)
    elif keras.backend.backend() == "jax":
        import jax

        other = kind.gate(3)
        other.build(x.shape)
        distinct_weights(other, 1)
        found = [
            jax.hessian(lambda x, one=one: ops.sum(ops.square(one(x))))(x)
            if one is other
            else jax.jacrev(jax.grad(lambda x, one=one: ops.sum(ops.square(one(x)))))(x)
            for one in (layer, other)
        ]
        assert_all_close(*numpy(found), 1e-5, "second derivatives")
    else:
        import tensorflow as tf

        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = ops.sum(ops.square(layer(x)))
            first = ops.sum(inner.gradient(total, x))
        with pytest.raises(RuntimeError, match=reason):
            outer.gradient(first, x)


@EACH_GATED
def test_what_a_masked_step_holds_does_not_matter(kind, rng):
    """Padding may be anything, also no number."""
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    mask = np.array(MASKS["with holes"], bool)
    layer = kind.gate(4, return_gates=True, kernel="fast")
    expected = numpy(layer(x, mask=mask))
    x[~mask] = np.nan
    assert_all_close(numpy(layer(x, mask=mask)), expected, 0, "with NaN")


def test_the_states_before_the_first_step_keep_their_names(rng):
    inputs = keras.Input((4, 2)), keras.Input((3,)), keras.Input((3,))
    layer = GateLSTM(3, kernel="fast", name="r")
    model = keras.Model(inputs, layer(inputs[0], initial_state=list(inputs[1:])))
    sizes = (5, 4, 2), (5, 3), (5, 3)
    given = [rng.normal(size=size).astype("float32") for size in sizes]
    gates = keras_gates.capture(model, given)["r"]
    np.testing.assert_array_equal(gates["initial_hidden"], given[1])
    np.testing.assert_array_equal(gates["initial_cell"], given[2])
