"""Both records of a recorder label a moment alike, wherever they are kept."""

import keras
import numpy as np
import pytest
import store_writer
import xarray
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates.recording.alarms import Alarms
from keras_gates.recording.step_series import Record
from keras_gates.recording.storage import Records
from keras_gates.stores.store import Store

pytestmark = pytest.mark.once


@pytest.fixture
def data(rng):
    return rng.normal(size=(12, 5, 2)).astype("float32"), rng.normal(size=(12, 1))


def build():
    keras.utils.set_random_seed(3)
    model = sequential(layers.LSTM(3, name="r"), layers.Dense(1), shape=(5, 2))
    model.compile("sgd", "mse")
    return model


def fit(model, data, recorder, epochs=2, **options):
    model.fit(
        *data, batch_size=4, epochs=epochs, verbose=0, callbacks=[recorder], **options
    )


def labels(tree):
    return tree["r"].step.values.tolist(), tree["r"].epoch.values.tolist()


@pytest.fixture(params=["memory", "store"])
def where(request, tmp_path):
    return {} if request.param == "memory" else {"store": tmp_path / "run.zarr"}


def test_a_label_is_the_same_moment_in_both_records(data, where):
    recorder = keras_gates.GateRecorder(data[0][:2], **where)
    model = build()
    for _ in range(2):
        fit(model, data, recorder)
    traces, statistics = recorder.traces, recorder.statistics
    assert labels(traces) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    assert labels(statistics) == ([1, 2, 3, 4], [1, 2, 3, 4])
    for tree in (traces, statistics):
        assert tree["r"].sel(step=3).epoch == 3
        indexes = tree["r"].to_dataset().xindexes
        assert "step" in indexes and "epoch" not in indexes
    forget = traces["r/forget"].mean(("sample", "time"))
    difference = forget - statistics["r/mean"].sel(signal="forget")
    assert difference.step.values.tolist() == [1, 2, 3, 4]
    by_epoch = traces["r/forget"].swap_dims(step="epoch").sel(epoch=3)
    np.testing.assert_array_equal(by_epoch, traces["r/forget"].sel(step=3))
    for path in where.values():
        plain = xarray.open_datatree(path, engine="zarr")
        assert labels(plain["traces"]) == labels(traces)
        assert labels(plain["statistics"]) == labels(statistics)
        assert plain["traces/r"].sel(step=4).epoch == 4


def test_labels_of_several_steps_an_epoch(data, where):
    recorder = keras_gates.GateRecorder(data[0][:2], record_freq=2, **where)
    fit(build(), data, recorder)
    assert labels(recorder.traces) == ([0, 1, 2, 3, 4], [0, 1, 1, 2, 2])
    assert labels(recorder.statistics) == ([1, 2, 3, 4], [1, 1, 2, 2])
    batches = recorder.traces["r"].batch
    axes = keras_gates.plots.evolution(recorder.traces["r/forget"])
    assert axes.lines[0].get_xdata().tolist() == batches.values.tolist()
    assert axes.get_xlabel() == "batches so far"
    axes = keras_gates.plots.ridges(recorder.statistics["r"], gate="forget")
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown == [str(batch) for batch in batches.values[1:]]


def test_labels_go_on_after_a_resumed_run(data, tmp_path):
    options = {"store": tmp_path / "run.zarr", "mode": "a"}
    fit(build(), data, keras_gates.GateRecorder(data[0][:2], **options))
    again = keras_gates.GateRecorder(data[0][:2], **options)
    fit(build(), data, again, epochs=3, initial_epoch=1)
    assert labels(again.traces) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert labels(again.statistics) == ([1, 2, 3], [1, 2, 3])


def test_a_gap_in_one_record_keeps_the_labels_of_both(data):
    recorder = keras_gates.GateRecorder(data[0][:2])
    model = build()
    fit(model, data, recorder, epochs=1)
    fit(model, data, recorder, epochs=6, initial_epoch=4)
    assert labels(recorder.traces) == ([0, 1, 2, 3, 4], [0, 1, 4, 5, 6])
    assert labels(recorder.statistics) == ([1, 3, 4], [1, 5, 6])


def test_without_a_probe_the_first_step_is_1(data):
    recorder = keras_gates.GateRecorder()
    fit(build(), data, recorder)
    assert labels(recorder.statistics)[0] == [1, 2]


def test_an_alarm_names_the_label(data):
    model = build()
    model.layers[0].cell.recurrent_activation = lambda x: keras.ops.zeros_like(x)
    recorder = keras_gates.GateRecorder(data[0][:2], on_alarm="warn", patience=2)
    with pytest.warns(UserWarning, match=r"since epoch 1 \(step 1\)"):
        fit(model, data, recorder)
    step = recorder.alarms[0].step
    assert step == 1 and recorder.statistics["r"].sel(step=step).epoch == 1


def test_an_alarm_counts_steps_and_not_labels(data):
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    fit(build(), data, recorder, epochs=1)
    node = recorder.statistics["r"].to_dataset().isel(step=0)
    node["left"] = xarray.ones_like(node["left"])
    tree = keras_gates.trees.tree.grow({"r": node}, {})
    alarms = Alarms("warn", 2, lower=0.1, upper=0.9)
    alarms.check(tree, 1, 1)
    assert not alarms.found
    with pytest.warns(UserWarning) as said:
        alarms.check(tree, 3, 5)
    assert any("stuck" in str(one.message) for one in said)
    assert {alarm.step for alarm in alarms.found} == {1}


def test_a_store_of_the_version_before_is_continued(tmp_path):
    path = tmp_path / "run.zarr"
    store = Store(path, {"keras_gates": "0.1.0", "format": 1})
    for name, first in (("traces", 0), ("statistics", 1)):
        record = Record(name)
        record.write_to(store)
        record._labelled = False  # As that version wrote it.
        for step in range(first, 3):
            record.append(store_writer.tree(name, step), step, 3 * step)
    store.close()
    assert "step" not in xarray.open_datatree(path, engine="zarr")["traces/a"].coords
    records = Records(path, "a", None)
    records.open(lambda: {"keras_gates": "0.2.0", "format": 2})
    for name in ("traces", "statistics"):
        assert records.append(name, store_writer.tree(name, 3), (3, 9)) == 3
    records.close()
    for name, first in (("traces", 0), ("statistics", 1)):
        node = getattr(records, name).tree()["a"]
        assert node.step.values.tolist() == list(range(first, 4))
        assert node.sel(step=3).epoch == 3
    plain = xarray.open_datatree(path, engine="zarr")
    assert plain["statistics/a"].epoch.values.tolist() == [1, 2, 3]
