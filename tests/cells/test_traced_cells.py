"""Cells that nobody described: their activations, against their papers' equations."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from own_cells import CELLS, MGUCell, PeepholeCell, loop, randomise

import keras_gates

UNITS, SHAPE = 4, (6, 3)


def _masked(rng):
    """Returns inputs and their mask: padded, with a hole, and masked throughout."""
    x = rng.normal(size=(5, *SHAPE)).astype("float32")
    x[0, :2] = x[1, 4:] = x[2, 3] = x[3] = 0
    return x, (x != 0).any(-1)


def _model(cell, **options):
    layer = layers.RNN(cell, return_sequences=True, name="own", **options)
    return keras.Sequential([keras.Input(SHAPE), layers.Masking(), layer])


def _expected(name, cell, x, mask, backward=False):
    if backward:
        x, mask = x[:, ::-1], mask[:, ::-1]
    sizes = keras.tree.flatten(cell.state_size)
    found = loop(CELLS[name][1](cell), x, mask, sizes)
    found["hidden"] = found.pop("state_0")
    return {n: value[:, ::-1] if backward else value for n, value in found.items()}


@pytest.mark.parametrize("name", CELLS)
def test_signals_are_those_of_the_paper_under_a_mask(name, rng):
    cell, (x, mask) = CELLS[name][0](UNITS), _masked(rng)
    backward = name in ("JANET", "sLSTM")
    model = _model(cell, go_backwards=backward)
    randomise(model, rng)
    gates = keras_gates.capture(model, x)["own"]
    expected = _expected(name, cell, x, mask, backward)
    assert set(gates.data_vars) == {*expected, "mask"}
    for signal, values in expected.items():
        np.testing.assert_allclose(gates[signal], values, atol=2e-5, err_msg=signal)
    np.testing.assert_array_equal(gates["mask"], mask)
    assert gates.attrs["cell_type"] == type(cell).__name__


@pytest.mark.parametrize("name", CELLS)
def test_signals_in_half_precision(name, rng):
    x, mask = _masked(rng)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        cell = CELLS[name][0](UNITS)
        model = _model(cell)
    finally:
        keras.config.set_dtype_policy("float32")
    randomise(model, rng)
    gates = keras_gates.capture(model, x)["own"]
    for signal, values in _expected(name, cell, x, mask).items():
        np.testing.assert_allclose(gates[signal], values, atol=2e-2, err_msg=signal)


@pytest.mark.parametrize(
    "options", [{}, {"zero_output_for_mask": True}, {"unroll": True}]
)
def test_the_layer_returns_what_it_did(options, rng):
    x, _ = _masked(rng)
    for cells in (PeepholeCell(UNITS), [MGUCell(4), layers.GRUCell(4), MGUCell(4)]):
        model = _model(cells, **options)
        before = model.predict(x, verbose=0)
        with keras_gates.instrument(model):
            np.testing.assert_array_equal(model.predict(x, verbose=0), before)
        # While its signals are read, it runs another loop.
        collector = _collecting(model)
        with keras_gates.instrument(model), collector.active():
            outputs = ops.convert_to_numpy(model(x))
        np.testing.assert_allclose(outputs, before, atol=2e-7)
        assert collector.emissions


def _collecting(model):
    from keras_gates.layers.collect import Collector
    from keras_gates.models.find_layers import find_nodes

    return Collector([(node.layer, node.cell) for node in find_nodes(model)])


def test_cells_of_all_sorts_in_a_stack(rng):
    cells = [PeepholeCell(2), layers.LSTMCell(3), CELLS["CfC"][0](UNITS)]
    x, mask = _masked(rng)
    model = _model(cells)
    randomise(model, rng)
    gates = keras_gates.capture(model, x)["own"]
    names = list(gates.children)
    assert len(names) == 3
    first = _expected("peephole LSTM", cells[0], x, mask)
    np.testing.assert_allclose(gates[names[0]]["hidden"], first["hidden"], atol=2e-5)
    assert keras_gates.verify(gates[names[1]]).item() < 1e-5
    last = np.nan_to_num(gates[names[1]]["hidden"].values)
    expected = _expected("CfC", cells[2], last, mask)
    np.testing.assert_allclose(gates[names[2]]["tanh"], expected["tanh"], atol=2e-5)
    assert gates[names[2]]["tanh"].dims == ("sample", "time", "tanh_unit")


def test_both_directions_and_frames(rng):
    inner = layers.Bidirectional(layers.RNN(MGUCell(2), return_sequences=True))
    model = keras.Sequential(
        [keras.Input((2, *SHAPE)), layers.TimeDistributed(inner, name="frames")]
    )
    x = rng.normal(size=(3, 2, *SHAPE)).astype("float32")
    gates = keras_gates.capture(model, x)
    for layer, backward in ((inner.forward_layer, False), (inner.backward_layer, True)):
        (node,) = [n for n in gates.leaves if n.name == layer.name]
        for frame in range(2):
            expected = _expected(
                "MGU", layer.cell, x[:, frame], np.ones((3, SHAPE[0]), bool), backward
            )
            for signal, values in expected.items():
                found = node[signal].isel(frame=frame)
                np.testing.assert_allclose(found, values, atol=2e-5, err_msg=signal)


def test_training_with_dropout_inside_the_cell_counts_what_was_used(rng):
    """The signals are those of the run itself, not of a second one."""
    # On JAX, Keras itself cannot train a cell that draws random numbers.
    rate = 0.0 if keras.backend.backend() == "jax" else 0.5
    cell = CELLS["CfC"][0](UNITS, backbone_dropout=rate)
    model = keras.Sequential([keras.Input(SHAPE), layers.RNN(cell, name="own")])
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(8, *SHAPE)), rng.normal(size=(8, UNITS))
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    recorded = model.fit(x, y, epochs=2, verbose=0, callbacks=[recorder])
    assert np.isfinite(recorded.history["loss"]).all()
    statistics = recorder.statistics["own"]
    # The backbone has another width than the layer, so it is captured, not counted.
    assert list(statistics["signal"].values) == ["sigmoid", "hidden"]
    assert (statistics["count"] == 8 * SHAPE[0]).all()


def test_a_recorder_does_not_change_the_training(rng):
    x, y = rng.normal(size=(8, *SHAPE)), rng.normal(size=(8, UNITS))
    histories = []
    for callbacks in ([], [keras_gates.GateRecorder(probe=x[:2])]):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input(SHAPE), layers.RNN(SLSTM(UNITS))])
        model.compile("adam", "mse")
        fit = model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks)
        histories.append(fit.history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)


SLSTM = CELLS["sLSTM"][0]


def test_statistics_figures_and_page_take_a_traced_cell(rng, tmp_path):
    model = _model(PeepholeCell(UNITS))
    x, _ = _masked(rng)
    gates = keras_gates.capture(model, x, store=tmp_path / "own.zarr")
    assert keras_gates.stats.saturation(gates)["own/sigmoid_1"].sizes["unit"] == UNITS
    assert set(keras_gates.stats.entropy(gates)["own"].data_vars) == {
        "sigmoid",
        "sigmoid_1",
        "sigmoid_2",
    }
    with pytest.raises(ValueError, match="has layers of kind PeepholeCell only"):
        keras_gates.stats.timescale(gates)
    assert "'own'" in str(keras_gates.stats.diagnose(gates))
    titles = [a.get_title() for a in keras_gates.plots.heatmap(gates["own"]).axes]
    assert "sigmoid 1 gate" in titles
    page = tmp_path / "page.html"
    keras_gates.report(gates, page)
    assert "sigmoid_1" in page.read_text()
    assert np.isnan(keras_gates.verify(gates)["own"])


class Sided(MGUCell):
    """A cell with a second state, of another width, and an output of few units."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.state_size = [units, 2]
        self.output_size = units
        self.units = 9  # What a cell calls so need not be its output.

    def build(self, input_shape):
        self.units = self.output_size
        super().build(input_shape)
        self.units = 9

    def call(self, inputs, states):
        hidden, (after,) = super().call(inputs, states[:1])
        return hidden, [after, 0.5 * states[1] + ops.tanh(inputs[:, :2])]


def test_a_state_of_another_width(rng):
    x, y = rng.normal(size=(8, *SHAPE)), rng.normal(size=(8, UNITS))
    own = layers.RNN(Sided(UNITS), name="own")
    model = keras.Sequential([keras.Input(SHAPE), own])
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    model.fit(x, y, verbose=0, callbacks=[recorder])
    # Neither `state_1` nor the `tanh` that enters it has a value for each unit.
    counted = recorder.statistics["own/signal"].values.tolist()
    assert counted == ["sigmoid", "tanh", "hidden"]
    gates = keras_gates.capture(model, x)["own"]
    assert gates["state_1"].dims == ("sample", "time", "state_1_unit")
    assert gates["hidden"].sizes["unit"] == gates.attrs["units"] == UNITS
    found = keras_gates.gradients(model, x, y)["own"]
    assert found["state_1"].shape == (8, SHAPE[0], 2)
    flow = keras_gates.stats.gradient_flow(found.to_dataset())
    assert keras_gates.plots.gradient_flow(flow).lines
    with pytest.raises(
        ValueError, match="must have the width of its output, 3; `side`"
    ):
        keras_gates.register_cell(
            Sided,
            signals=lambda cell, inputs, states: {"a": ops.tanh(inputs)},
            step=lambda signals, states: states,
            states=["hidden", "side"],
        )


class Changing(keras.layers.LSTMCell):
    """A cell that does not compute the same twice."""

    def call(self, inputs, states, training=False):
        self.calls = getattr(self, "calls", 0) + 1
        output, after = super().call(inputs, states)
        return output * self.calls, after


class Native(MGUCell):
    """A cell with an operation of one backend only."""

    def call(self, inputs, states):
        output, _ = super().call(inputs, states)
        output = _native_sigmoid()(output)
        return output, [output]


def _native_sigmoid():
    if keras.backend.backend() == "torch":
        import torch

        return torch.sigmoid
    if keras.backend.backend() == "jax":
        import jax

        return jax.nn.sigmoid
    import tensorflow

    return tensorflow.sigmoid


class Linear(MGUCell):
    """A cell without an activation."""

    def call(self, inputs, states):
        hidden = states[0] + ops.matmul(inputs, self.of_new[: inputs.shape[-1]])
        return hidden, [hidden]


REFUSED = {
    Changing: "does not compute the same when it is called twice",
    Native: "cannot be traced: ",
    Linear: "it contains no activation",
}


@pytest.mark.parametrize("cell", REFUSED, ids=lambda cell: cell.__name__)
def test_what_cannot_be_traced_is_named(cell, rng):
    model = keras.Sequential([keras.Input(SHAPE), layers.RNN(cell(UNITS), name="odd")])
    with pytest.raises(ValueError, match=REFUSED[cell]) as error:
        keras_gates.capture(model, rng.normal(size=(2, *SHAPE)))
    assert f"register_cell({cell.__name__}, ...)" in str(error.value)


def test_a_layer_with_a_kernel_of_its_own_is_refused(rng):
    layer = layers.LSTM(UNITS, name="odd")
    layer.cell = PeepholeCell(UNITS)
    model = keras.Sequential([keras.Input(SHAPE), layer])
    with pytest.raises(ValueError, match="may run its own kernel instead of the"):
        keras_gates.capture(model, rng.normal(size=(1, *SHAPE)))
    layer.use_cudnn = False
    assert "sigmoid" in keras_gates.capture(model, np.ones((1, *SHAPE)))["odd"]


def test_tracing_leaves_the_cell_as_it_was(rng):
    cell = CELLS["CfC"][0](UNITS)
    model = _model(cell)
    inner = [one for one in cell._flatten_layers() if one is not cell]
    before = [dict(vars(one)) for one in inner]
    nodes = [len(one._inbound_nodes) for one in inner]
    keras_gates.capture(model, _masked(rng)[0])
    assert [set(vars(one)) for one in inner] == [set(kept) for kept in before]
    assert [len(one._inbound_nodes) for one in inner] == nodes


class MixingCell(MGUCell):
    """A cell in which each sample depends on the others of its batch."""

    def call(self, inputs, states):
        return super().call(inputs - ops.mean(inputs, axis=0, keepdims=True), states)


def test_a_cell_that_mixes_samples_is_read_in_its_loop(rng):
    model, plain = _model(MixingCell(UNITS)), _model(MGUCell(UNITS))
    randomise(model, rng)
    plain.set_weights(model.get_weights())
    x = rng.normal(size=(5, *SHAPE)).astype("float32")
    gates = keras_gates.capture(model, x)["own"]
    expected = keras_gates.capture(plain, x - x.mean(axis=0))["own"]
    for name, values in expected.data_vars.items():
        np.testing.assert_allclose(gates[name], values, atol=2e-6, err_msg=name)
