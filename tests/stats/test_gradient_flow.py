"""The size of gradients by steps before the end, and its figure."""

import numpy as np
import pytest
import xarray
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates import plots, stats


@pytest.mark.once
def test_steps_are_counted_from_the_last_unmasked_one():
    nan = np.nan
    values = [
        [[3.0, 4.0], [nan, nan], [0.0, 2.0], [nan, nan]],
        [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [4.0, 0.0]],
        [[nan, nan]] * 4,
    ]
    hidden = xarray.DataArray(values, dims=("sample", "time", "unit"))
    flow = stats.gradient_flow(hidden)
    np.testing.assert_allclose(flow, [3.0, 3.0, 1.0, 1.0])
    np.testing.assert_array_equal(flow["lag"], [0, 1, 2, 3])


def test_at_default_weights_the_gradient_falls_with_the_forget_gate():
    model = sequential(
        layers.LSTM(1, name="r", return_state=True, kernel_initializer="zeros"),
        shape=(30, 1),
    )
    layer = model.get_layer("r")
    kernel, recurrent, bias = layer.get_weights()
    layer.set_weights([kernel, np.zeros_like(recurrent), bias])
    found = keras_gates.gradients(
        model, np.ones((2, 30, 1)), of=lambda outputs: outputs[2][:, 0]
    )
    flow = stats.gradient_flow(found, signal="cell")["r/gradient_flow"]
    slope = np.diff(np.log(flow))
    np.testing.assert_allclose(slope, np.log(0.7311), atol=1e-4)


def test_a_backward_layer_ends_at_the_first_step():
    inner = layers.GRU(2, name="gru")
    model = sequential(layers.Bidirectional(inner, name="b"), shape=(5, 1))
    x = np.random.default_rng(0).normal(size=(3, 5, 1))
    found = keras_gates.gradients(model, x, of=lambda outputs: outputs[:, 2])
    flow = stats.gradient_flow(found)["b/backward_gru"].to_dataset()
    sizes = np.linalg.norm(found["b/backward_gru/hidden"], axis=-1).mean(axis=0)
    np.testing.assert_allclose(flow["gradient_flow"], sizes, rtol=1e-6)
    assert flow["gradient_flow"][0] == 1
    axes = plots.gradient_flow(flow)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), sizes, rtol=1e-6)


@pytest.mark.once
def test_several_networks_are_in_one_figure():
    def flow(kind, factor):
        hidden = factor ** np.arange(4.0)[::-1].reshape(1, 4, 1)
        layer = xarray.Dataset(
            {"hidden": (("sample", "time", "unit"), hidden)},
            attrs={"cell_type": kind, "derivative_of": "loss", "layer": "r"},
        )
        return stats.gradient_flow(layer)

    axes = plots.gradient_flow(
        {
            "LSTM, before": flow("LSTM", 0.9),
            "LSTM, trained": flow("LSTM", 0.99),
            "GRU": flow("GRU", 0.5),
        }
    )
    one, two, other = axes.lines
    assert one.get_color() == two.get_color() != other.get_color()
    assert one.get_linestyle() != two.get_linestyle()
    np.testing.assert_allclose(other.get_ydata(), [1, 0.5, 0.25, 0.125])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["LSTM, before", "LSTM, trained", "GRU"]
    assert axes.get_yscale() == "log"


@pytest.mark.once
def test_bad_input_gets_a_sentence():
    hidden = (("sample", "time", "unit"), np.ones((1, 2, 1)))
    layer = xarray.Dataset({"hidden": hidden}, attrs={"cell_type": "GRU", "layer": "r"})
    with pytest.raises(ValueError, match="'r' holds the signals themselves"):
        stats.gradient_flow(layer)
    with pytest.raises(TypeError, match="`signal` must be a name"):
        stats.gradient_flow(layer, signal=3)
    with pytest.raises(TypeError, match="must be what `stats.gradient_flow` returned"):
        plots.gradient_flow([1.0])
    with pytest.raises(ValueError, match="`flows` is empty"):
        plots.gradient_flow({})
    with pytest.raises(ValueError, match="must be what `stats.gradient_flow` returned"):
        plots.gradient_flow(layer)
