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
from keras_gates import GateGRU, GateLSTM
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
        "mask": MASKS["with holes"],
        "zero_output_for_mask": True,
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
    differ(kind, {"mask": MASKS["with holes"], **options}, rng, training=True)


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
        """Sums up the weighted squares of the signals whose factors are not `None`."""
        x, *initial = self.given
        # The same dropout every time.
        generator = getattr(self.layer.cell, "seed_generator", None)
        if self.training and generator is not None:
            generator.state.assign([3, 0])
        _, gates = self.layer(
            x, initial_state=initial, mask=self.case["mask"], training=self.training
        )
        return sum(
            ops.sum(ops.square(gates[name]) * factors[name]) for name in sorted(factors)
        )


def differ(kind, options, rng, training=False):
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
                variable.assign(start + sign * 1e-5 * direction)
                sides.append(float(numpy(loss(some))))
            variable.assign(start)
            numeric = (sides[0] - sides[1]) / 2e-5
            expected = np.sum(gradient * direction)
            assert numeric == pytest.approx(expected, rel=1e-5, abs=1e-7), chosen


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
