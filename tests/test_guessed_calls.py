"""Twenty calls as readers of the reference page wrote them, without having seen code.

They knew Keras, xarray and scikit-learn, and of this package only the text of
`docs/reference.md` with the first lines of the docstrings.
"""

import keras
import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure

import keras_gates as kg
from keras_gates import edits, plots, stats, tasks

pytestmark = pytest.mark.once


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(40, 8, 1)).astype("float32")


@pytest.fixture
def y(x):
    return x.sum(axis=1)


def trained(layer):
    model = keras.Sequential([keras.Input((8, 1)), layer, keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=["mae"])
    return model


@pytest.fixture
def model():
    return trained(keras.layers.LSTM(9, name="lstm"))


@pytest.fixture
def gates(model, x):
    return kg.capture(model, x)


def test_gates_are_captured_selected_and_verified(gates):
    assert gates["lstm/forget"].mean("sample").sizes == {"time": 8, "unit": 9}
    assert kg.verify(gates, atol=1e-6)["lstm"] < 1e-6


def test_training_is_recorded(model, x, y, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for mode in ("w-", "w"):
        recorder = kg.GateRecorder(
            probe=x[:16], record_freq=100, store="run.zarr", mode=mode
        )
        model.fit(x, y, epochs=2, callbacks=[recorder], verbose=0)
    assert recorder.traces["lstm/forget"].sizes["sample"] == 16
    recorder = kg.GateRecorder(
        lower=0.05,
        upper=0.95,
        log_metrics="saturation",
        on_alarm="stop",
        patience=5,
    )
    history = model.fit(x, y, epochs=2, callbacks=[recorder], verbose=0)
    assert len(history.history["lstm/saturation"]) == 2
    means = recorder.statistics["lstm/mean"].sel(signal="forget")
    assert means.sizes == {"step": 2, "unit": 9}


def test_gates_are_measured(gates, x):
    assert "forget" in stats.saturation(gates, lower=0.05, upper=0.95)["lstm"]
    assert stats.timescale(gates)["lstm/forget"].sizes == {"unit": 9}
    assert isinstance(stats.diagnose(gates).to_dataframe(), pandas.DataFrame)
    labels = (x[..., 0] > 0).astype(int)
    assert "p_value" in stats.find_units(gates, labels, n_permutations=20)
    gru_gates = kg.capture(trained(keras.layers.GRU(9, name="gru")), x)
    stats.match_units(gates["lstm"], gru_gates["gru"])


def test_gates_are_changed(model, x, y):
    with kg.edit(model, {"lstm/forget": edits.clamp(1.0, units=[3, 7])}):
        predictions = model.predict(x, verbose=0)
    assert not np.allclose(predictions, model.predict(x, verbose=0))
    assert set(kg.importance(model, x, y, signals="forget")["signal"]) == {"forget"}


def test_architectures_are_compared(x, y, tmp_path):
    (x_train, y_train), (x_val, y_val) = tasks.chronological_split(x, y, train_size=0.8)
    study = kg.compare(
        ["LSTM", "GRU"],
        x_train,
        y_train,
        validation_data=(x_val, y_val),
        seeds=2,
        epochs=1,
        directory=tmp_path / "runs",
        n_jobs=1,
    )
    assert len(study.runs) == 4
    assert plots.study(study, metric="val_loss").lines


def test_gates_are_drawn(gates, x, tmp_path):
    figure = Figure()
    assert plots.heatmap(gates["lstm"], sample=3, fig=figure) is figure
    page = kg.report(gates, tmp_path / "report.html", inputs=x)
    assert page.exists()
