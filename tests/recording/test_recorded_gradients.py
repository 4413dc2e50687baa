"""The gradients of a probe are those of the model after each epoch."""

import pickle

import numpy as np
import pytest
import xarray
from keras import layers
from small_models import build, fit

import keras_gates
from keras_gates import plots, stats


@pytest.fixture
def data(rng):
    x = rng.normal(size=(12, 5, 2)).astype("float32")
    return x, rng.normal(size=(12, 1)).astype("float32")


@pytest.mark.parametrize("layer", [layers.LSTM, keras_gates.GateGRU])
def test_gradients_are_those_of_the_model_after_each_epoch(layer, data, tmp_path):
    probe = tuple(array[:5] for array in data)
    model, twin = (build(layer=layer, rate=0.2) for _ in range(2))
    recorder = keras_gates.GateRecorder(
        probe, gradients=True, batch_size=2, store=tmp_path / "run.zarr"
    )
    fit(model, data, recorder, epochs=2)
    expected = [keras_gates.gradients(twin, *probe)]
    for _ in range(2):
        twin.fit(*data, batch_size=4, shuffle=False, verbose=0)
        expected.append(keras_gates.gradients(twin, *probe))
    for step, tree in enumerate(expected):
        for name, values in tree["r"].data_vars.items():
            found = recorder.gradients["r"].isel(step=step)[name]
            np.testing.assert_allclose(found, values, atol=1e-6)
    assert recorder.gradients["r"].sizes["step"] == 3
    np.testing.assert_array_equal(recorder.gradients["r/step"], [0, 1, 2])
    np.testing.assert_array_equal(recorder.traces["r/step"], [0, 1, 2])
    np.testing.assert_array_equal(recorder.statistics["r/step"], [1, 2])
    stored = xarray.open_datatree(tmp_path / "run.zarr", engine="zarr")
    xarray.testing.assert_identical(
        stored["gradients/r"].to_dataset(inherit=False).load(),
        recorder.gradients["r"].to_dataset().load(),
    )
    flow = stats.gradient_flow(recorder.gradients)
    one = stats.gradient_flow(expected[1])
    np.testing.assert_allclose(
        flow["r"].isel(step=1)["gradient_flow"], one["r/gradient_flow"], rtol=1e-4
    )
    axes = plots.gradient_flow(flow["r"])
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["step 0", "step 1", "step 2"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), flow["r/gradient_flow"][1])


def test_gradients_change_no_record_and_no_training(data):
    models = [build(rate=0.2) for _ in range(2)]
    probe = tuple(array[:5] for array in data)
    rows = {"samples_per_batch": "all"}
    plain = keras_gates.GateRecorder(probe[0], **rows)
    both = keras_gates.GateRecorder(probe, gradients=True, units=[1, 3], **rows)
    for model, recorder in zip(models, (plain, both), strict=True):
        fit(model, data, recorder, epochs=2)
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, values in plain.statistics["r"].data_vars.items():
        np.testing.assert_array_equal(both.statistics["r"][name], values)
    np.testing.assert_array_equal(
        both.traces["r/forget"], plain.traces["r/forget"][..., [1, 3]]
    )
    assert both.gradients["r/forget"].coords["unit"].values.tolist() == [1, 3]
    assert both.gradients["r/inputs"].shape == (3, 5, 5, 2)
    again = pickle.loads(pickle.dumps(both))
    xarray.testing.assert_identical(
        again.gradients["r"].to_dataset(), both.gradients["r"].to_dataset()
    )


def test_what_cannot_be_recorded_is_refused_before_training(data, tmp_path):
    x, y = data
    with pytest.raises(
        ValueError, match=r"a `probe` with targets: give `probe=\(x, y\)`"
    ):
        keras_gates.GateRecorder(gradients=True)
    with pytest.raises(ValueError, match=r"`gradients` needs a `probe` of"):
        keras_gates.GateRecorder(x, gradients=True)
    model = build()
    with pytest.raises(ValueError, match="a target for each sample"):
        fit(model, data, keras_gates.GateRecorder((x, y[:3]), gradients=True))
    with pytest.raises(ValueError, match="no gradients"):
        recorder = keras_gates.GateRecorder(x)
        fit(model, data, recorder)
        _ = recorder.gradients
    store = tmp_path / "run.zarr"
    fit(model, data, keras_gates.GateRecorder((x, y), gradients=True, store=store))
    for other in ((x, y + 1), (x, y[::-1])):
        recorder = keras_gates.GateRecorder(
            other, gradients=True, store=store, mode="a"
        )
        with pytest.raises(ValueError, match="probe"):
            fit(model, data, recorder, initial_epoch=1, epochs=2)
