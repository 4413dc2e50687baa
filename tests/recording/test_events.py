"""What TensorBoard is given is what was recorded; its own reader reads it back."""

import io
import sys

import keras
import matplotlib.image
import numpy as np
import pytest
from keras import layers
from small_models import build, fit, sequential

import keras_gates


@pytest.fixture
def data(rng):
    return rng.normal(size=(12, 5, 2)).astype("float32"), rng.normal(size=(12, 1))


def read(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    accumulator = event_accumulator.EventAccumulator(
        str(folder), size_guidance={"tensors": 0}
    )
    accumulator.Reload()
    return {
        tag: [
            (event.step, tensor_util.make_ndarray(event.tensor_proto))
            for event in accumulator.Tensors(tag)
        ]
        for tag in accumulator.Tags()["tensors"]
    }


def test_event_files_hold_the_histograms_and_a_heat_map(data, tmp_path):
    recorder = keras_gates.GateRecorder(data[0][:2], log_dir=tmp_path)
    fit(build(rate=0.1), data, recorder, epochs=3)
    events = read(tmp_path)
    gates = {f"r/{gate}" for gate in ("input", "forget", "output")}
    assert set(events) == {*gates, "r/gates"}
    counts = recorder.statistics["r/histogram"].sel(signal="forget").sum("unit")
    for number, (step, buckets) in enumerate(events["r/forget"]):
        assert step == number + 1
        np.testing.assert_allclose(buckets[:, 0], np.arange(20) / 20)
        np.testing.assert_allclose(buckets[:, 1], np.arange(1, 21) / 20)
        np.testing.assert_array_equal(buckets[:, 2], counts[number])
    assert [step for step, _ in events["r/gates"]] == [1, 2, 3]
    width, height, png = events["r/gates"][0][1]
    image = matplotlib.image.imread(io.BytesIO(png))
    assert image.shape[:2] == (int(height), int(width))
    assert image[..., :3].std() > 0.1


def test_steps_between_epochs_are_numbered_by_batches(data, tmp_path):
    recorder = keras_gates.GateRecorder(record_freq=2, log_dir=tmp_path)
    fit(build(), data, recorder, epochs=2)
    events = read(tmp_path)
    assert [step for step, _ in events["r/forget"]] == [2, 3, 5, 6]
    assert "r/gates" not in events


def test_without_tensorboard_it_raises_before_training(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer", None)
    recorder = keras_gates.GateRecorder(log_dir=tmp_path)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        fit(build(), data, recorder)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="Keras's callback writes by TensorFlow.",
)
def test_keras_tensorboard_callback_shows_the_logs(data, tmp_path):
    recorder = keras_gates.GateRecorder(log_metrics="all")
    callback = keras.callbacks.TensorBoard(tmp_path)
    model = sequential(layers.LSTM(4, name="r"), layers.Dense(1), shape=(5, 2))
    model.compile("sgd", "mse")
    history = fit(model, data, [recorder, callback], epochs=2).history
    events = read(tmp_path / "train")
    shown = [float(value) for _, value in events["epoch_r/forget/mean"]]
    np.testing.assert_allclose(shown, history["r/forget/mean"], rtol=1e-6)
