"""Cells as users write them, and the equations of their papers in float64.

Each function `of_NAME` takes a cell, and returns a function of the inputs and the
states of one step. That function returns the signals, by their names in a trace, and
the new states.
"""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("own_cells")
class MGUCell(keras.layers.Layer):
    """The minimal gated unit. Source: Zhou et al. (2016), arXiv:1603.09420."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape):
        shape = (input_shape[-1] + self.units, self.units)
        self.of_gate = self.add_weight(shape=shape, name="of_gate")
        self.of_new = self.add_weight(shape=shape, name="of_new")

    def call(self, inputs, states):
        (hidden,) = states
        seen = ops.concatenate([inputs, hidden], -1)
        forget = ops.sigmoid(ops.matmul(seen, self.of_gate))
        seen = ops.concatenate([inputs, forget * hidden], -1)
        candidate = ops.tanh(ops.matmul(seen, self.of_new))
        hidden = (1 - forget) * hidden + forget * candidate
        return hidden, [hidden]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("own_cells")
class JANETCell(keras.layers.Layer):
    """Just another network. Source: van der Westhuizen and Lasenby (2018)."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units
        # In half precision, the layers inside the cell stay in single precision.
        self.forget = keras.layers.Dense(units, "sigmoid", dtype="float32")
        self.new = keras.layers.Dense(units, keras.activations.tanh, dtype="float32")

    def build(self, input_shape):
        shape = (None, input_shape[-1] + self.units)
        self.forget.build(shape)
        self.new.build(shape)

    def call(self, inputs, states):
        seen = keras.layers.concatenate([inputs, states[0]])
        forget = ops.cast(self.forget(seen), self.compute_dtype)
        candidate = ops.cast(self.new(seen), self.compute_dtype)
        hidden = forget * states[0] + (1 - forget) * candidate
        return hidden, hidden


@keras.saving.register_keras_serializable("own_cells")
class PeepholeCell(keras.layers.LSTMCell):
    """An LSTM with peepholes. Source: Gers, Schraudolph and Schmidhuber (2002)."""

    def build(self, input_shape):
        super().build(input_shape)
        self.peepholes = self.add_weight(shape=(3, self.units), name="peepholes")

    def call(self, inputs, states, training=False):
        hidden, cell = states
        total = ops.matmul(inputs, self.kernel) + self.bias
        total = total + ops.matmul(hidden, self.recurrent_kernel)
        write, forget, new, show = ops.split(total, 4, axis=-1)
        of_write, of_forget, of_show = (self.peepholes[number] for number in range(3))
        write = self.recurrent_activation(write + cell * of_write)
        forget = self.recurrent_activation(forget + cell * of_forget)
        cell = forget * cell + write * self.activation(new)
        show = self.recurrent_activation(show + cell * of_show)
        hidden = show * self.activation(cell)
        return hidden, [hidden, cell]


@keras.saving.register_keras_serializable("own_cells")
class NormalisedCell(keras.layers.Layer):
    """An LSTM with layer normalisation. Source: Ba et al. (2016), arXiv:1607.06450."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = [units, units]
        self.norms = [keras.layers.LayerNormalization() for _ in range(3)]

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 4 * self.units))
        self.recurrent = self.add_weight(shape=(self.units, 4 * self.units))
        self.norms[0].build((None, 4 * self.units))
        self.norms[1].build((None, 4 * self.units))
        self.norms[2].build((None, self.units))

    def call(self, inputs, states):
        hidden, cell = states
        total = self.norms[0](ops.matmul(inputs, self.kernel))
        total = total + self.norms[1](ops.matmul(hidden, self.recurrent))
        write, forget, new, show = ops.split(total, 4, axis=-1)
        cell = ops.sigmoid(forget) * cell + ops.sigmoid(write) * ops.tanh(new)
        hidden = ops.sigmoid(show) * ops.tanh(self.norms[2](cell))
        return hidden, [hidden, cell]


@keras.saving.register_keras_serializable("own_cells")
class SLSTMCell(keras.layers.Layer):
    """The sLSTM with its stabiliser. Source: Beck et al. (2024), arXiv:2405.04517."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = [units] * 4
        self.output_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 4 * self.units))
        self.recurrent = self.add_weight(shape=(self.units, 4 * self.units))

    def call(self, inputs, states):
        hidden, cell, normaliser, stabiliser = states
        total = ops.matmul(inputs, self.kernel) + ops.matmul(hidden, self.recurrent)
        new, write, forget, show = ops.split(total, 4, axis=-1)
        kept = ops.log_sigmoid(forget) + stabiliser
        stabiliser = ops.maximum(kept, write)
        write = ops.exp(write - stabiliser)
        forget = ops.exp(kept - stabiliser)
        cell = forget * cell + write * ops.tanh(new)
        normaliser = forget * normaliser + write
        hidden = ops.sigmoid(show) * (cell / normaliser)
        return hidden, [hidden, cell, normaliser, stabiliser]


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def _array(weight):
    return ops.convert_to_numpy(weight).astype("float64")


def of_mgu(cell):
    gate, new = _array(cell.of_gate), _array(cell.of_new)

    def step(inputs, states):
        (hidden,) = states
        forget = sigmoid(np.concatenate([inputs, hidden], -1) @ gate)
        candidate = np.tanh(np.concatenate([inputs, forget * hidden], -1) @ new)
        hidden = (1 - forget) * hidden + forget * candidate
        return {"sigmoid": forget, "tanh": candidate}, [hidden]

    return step


def of_janet(cell):
    (gate, bias), (new, shift) = (
        map(_array, layer.weights) for layer in (cell.forget, cell.new)
    )

    def step(inputs, states):
        seen = np.concatenate([inputs, states[0]], -1)
        forget, candidate = sigmoid(seen @ gate + bias), np.tanh(seen @ new + shift)
        hidden = forget * states[0] + (1 - forget) * candidate
        return {"sigmoid": forget, "tanh": candidate}, [hidden]

    return step


def of_peephole(cell):
    kernel, recurrent, bias, peepholes = map(
        _array, (cell.kernel, cell.recurrent_kernel, cell.bias, cell.peepholes)
    )

    def step(inputs, states):
        hidden, state = states
        total = inputs @ kernel + hidden @ recurrent + bias
        write, forget, new, show = np.split(total, 4, axis=-1)
        write = sigmoid(write + peepholes[0] * state)
        forget = sigmoid(forget + peepholes[1] * state)
        new = np.tanh(new)
        state = forget * state + write * new
        show = sigmoid(show + peepholes[2] * state)
        signals = {
            "sigmoid": write,
            "sigmoid_1": forget,
            "tanh": new,
            "sigmoid_2": show,
        }
        signals["tanh_1"] = np.tanh(state)
        return signals, [show * np.tanh(state), state]

    return step


def of_normalised(cell):
    kernel, recurrent = _array(cell.kernel), _array(cell.recurrent)

    def norm(number, values):
        layer = cell.norms[number]
        mean = values.mean(-1, keepdims=True)
        spread = np.sqrt(values.var(-1, keepdims=True) + layer.epsilon)
        return (values - mean) / spread * _array(layer.gamma) + _array(layer.beta)

    def step(inputs, states):
        hidden, state = states
        total = norm(0, inputs @ kernel) + norm(1, hidden @ recurrent)
        write, forget, new, show = np.split(total, 4, axis=-1)
        state = sigmoid(forget) * state + sigmoid(write) * np.tanh(new)
        shown = np.tanh(norm(2, state))
        signals = {"sigmoid": sigmoid(forget), "sigmoid_1": sigmoid(write)}
        signals |= {"tanh": np.tanh(new), "sigmoid_2": sigmoid(show), "tanh_1": shown}
        return signals, [sigmoid(show) * shown, state]

    return step


def of_slstm(cell):
    kernel, recurrent = _array(cell.kernel), _array(cell.recurrent)

    def step(inputs, states):
        hidden, state, normaliser, stabiliser = states
        total = inputs @ kernel + hidden @ recurrent
        new, write, forget, show = np.split(total, 4, axis=-1)
        logarithm = -np.log1p(np.exp(-forget))
        largest = np.maximum(logarithm + stabiliser, write)
        write = np.exp(write - largest)
        forget = np.exp(logarithm + stabiliser - largest)
        state = forget * state + write * np.tanh(new)
        normaliser = forget * normaliser + write
        signals = {"log_sigmoid": logarithm, "exp": write, "exp_1": forget}
        signals |= {"tanh": np.tanh(new), "sigmoid": sigmoid(show)}
        return signals, [sigmoid(show) * state / normaliser, state, normaliser, largest]

    return step


def of_cfc(cell):
    dense = [one for one in cell.backbone_fn.layers if one.weights]
    kernels = [[_array(weight) for weight in one.weights] for one in dense]
    first, second, after, before = (
        [_array(weight) for weight in pair]
        for pair in (
            (cell.ff1_kernel, cell.ff1_bias),
            (cell.ff2_kernel, cell.ff2_bias),
            cell.time_a.weights,
            cell.time_b.weights,
        )
    )

    def step(inputs, states):
        seen, signals = np.concatenate([inputs, states[0]], -1), {}
        for number, (kernel, bias) in enumerate(kernels):
            bent = np.tanh(0.666 * (seen @ kernel + bias))
            signals["tanh" + (f"_{number}" if number else "")] = bent
            seen = 1.7159 * bent
        one, other, fast, slow = (
            seen @ kernel + bias for kernel, bias in (first, second, after, before)
        )
        share = sigmoid(slow - fast)
        hidden = one * (1 - share) + share * other
        return {**signals, "sigmoid": share}, [hidden]

    return step


def cfc_cell(units, **kwargs):
    from ncps.keras import CfCCell

    return CfCCell(units, backbone_units=6, backbone_layers=2, **kwargs)


CELLS = {
    "MGU": (MGUCell, of_mgu),
    "JANET": (JANETCell, of_janet),
    "peephole LSTM": (PeepholeCell, of_peephole),
    "normalised LSTM": (NormalisedCell, of_normalised),
    "sLSTM": (SLSTMCell, of_slstm),
    "CfC": (cfc_cell, of_cfc),
}
"""Maps a name to a function that makes a cell with some units, and its equations."""


def randomise(layer, rng):
    """Gives a layer weights that are not zero and differ from each other."""
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(scale=0.5, size=variable.shape))


def loop(step, x, mask, sizes):
    """Runs the equations over sequences, in float64.

    Args:
        step: A function of one step, with the equations of a cell.
        x: `(batch, time, features)`, in the order in which the cell reads.
        mask: `(batch, time)`, true at unmasked steps.
        sizes: The sizes of the states.

    Returns:
        A dict from names to arrays `(batch, time, width)`, NaN at masked steps; the
        states are `state_0` and so on in the order of Keras.
    """
    states = [np.zeros((len(x), size)) for size in sizes]
    steps = []
    for time in range(x.shape[1]):
        seen = mask[:, time, None]
        with np.errstate(all="ignore"):
            signals, after = step(x[:, time].astype("float64"), states)
        states = [np.where(seen, a, b) for a, b in zip(after, states, strict=True)]
        signals |= {f"state_{number}": state for number, state in enumerate(states)}
        steps.append({n: np.where(seen, value, np.nan) for n, value in signals.items()})
    return {name: np.stack([step[name] for step in steps], 1) for name in steps[0]}
