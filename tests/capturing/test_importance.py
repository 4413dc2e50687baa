"""Importance is what one edit at a time does, unit by unit."""

import keras
import numpy as np
import pytest
from battery import distinct_weights
from keras import layers
from small_models import sequential

import keras_gates
from keras_gates import edits, plots
from keras_gates.capturing.unit_groups import Moments, groups_of

PADDING = 9.0
STEPS, FEATURES, SAMPLES = 6, 2, 11
traces = []


def counted_loss(truth, predicted):
    traces.append(predicted.shape)
    return keras.losses.mean_squared_error(truth, predicted)


def network():
    inputs = keras.Input((STEPS, FEATURES))
    masked = layers.Masking(PADDING)(inputs)
    both = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True, name="lstm"), name="b"
    )(masked)
    stack = layers.RNN(
        [layers.GRUCell(3, name="one"), layers.LSTMCell(2, name="two")], name="s"
    )
    model = keras.Model(inputs, layers.Dense(1)(stack(both)))
    model.compile("sgd", counted_loss)
    distinct_weights(model, seed=4)
    return model


def data():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(SAMPLES, STEPS, FEATURES)).astype("float32")
    x[2, 3:] = x[4, 1] = PADDING
    return x, rng.normal(size=(SAMPLES, 1)).astype("float32")


def losses(model, x, y):
    return np.mean((model.predict(x, verbose=0).astype("float64") - y) ** 2, axis=1)


def test_importance_is_what_one_edit_at_a_time_does():
    model, (x, y) = network(), data()
    before = model.get_weights()
    gates = keras_gates.capture(model, x)
    traces.clear()
    table = keras_gates.importance(model, x, y, batch_size=8)
    if keras.backend.backend() != "torch":
        # Two sizes of batches and four cells, each traced twice at most: one program
        # for all clamps of a cell.
        assert len(traces) <= 16
    assert len(table) > 4 * 6
    assert (table["change"].abs().diff().dropna() <= 0).all()
    plain = losses(model, x, y)
    for row in [
        *table[::7].itertuples(),
        *table[table["group"] != "unit"].itertuples(),
    ]:
        key = f"{row.layer}/{row.signal}"
        units = list(row.units)
        means = gates[key].mean(("sample", "time")).values[units]
        with keras_gates.edit(model, {key: edits.clamp(means, units=units)}):
            change = losses(model, x, y) - plain
        assert row.change == pytest.approx(change.mean(), abs=2e-6)
        error = change.std(ddof=1) / np.sqrt(SAMPLES) * 2.228138852  # Of a t table.
        assert row.change_low == pytest.approx(change.mean() - error, abs=2e-6)
        assert row.change_high == pytest.approx(change.mean() + error, abs=2e-6)
    alone = table[table["group"] == "unit"]
    assert alone["unit"].tolist() == [units[0] for units in alone["units"]]
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_number_in_an_edit_of_a_data_set():
    model, (x, y) = network(), data()
    batches = [(x[:8], y[:8]), (x[8:], y[8:])]
    chosen = {"layers": "b/forward_lstm", "signals": ["forget", "cell"]}
    with keras_gates.edit(model, {"s/one/update": edits.scale(0.5)}):
        table = keras_gates.importance(model, iter(batches), value=0.25, **chosen)
        plain = losses(model, x, y)
        key = "b/forward_lstm/forget"
        (row,) = table[
            (table["signal"] == "forget") & (table["unit"] == 1)
        ].itertuples()
    both = {key: edits.clamp(0.25, units=1), "s/one/update": edits.scale(0.5)}
    with keras_gates.edit(model, both):
        change = losses(model, x, y) - plain
    assert row.change == pytest.approx(change.mean(), abs=2e-6)
    assert set(table["signal"]) == {"forget", "cell"}


def test_the_only_unit_that_is_read_comes_first():
    layer = layers.GRU(4, name="gru", recurrent_initializer="zeros")
    dense = layers.Dense(1)
    model = sequential(layer, dense, shape=(STEPS, FEATURES))
    model.compile("sgd", "mse")
    dense.set_weights([np.array([[0.0], [0.0], [2.0], [0.0]]), np.zeros(1)])
    x, y = data()
    table = keras_gates.importance(model, x, y)
    units = table[table["group"] == "unit"]
    assert set(units["unit"].iloc[:3]) == {2}  # The reset gate has no effect.
    np.testing.assert_array_equal(units["change"][units["unit"] != 2], 0)
    axes = plots.importance(table, top=3)
    assert len(axes.patches) == 3
    assert axes.patches[0].get_width() == table["change"].iloc[0]


def test_the_first_order_answer_is_exact_where_the_output_is_linear():
    layer = layers.LSTM(3, name="r", recurrent_initializer="zeros")
    model = sequential(
        layers.Masking(PADDING), layer, layers.Dense(2), shape=(STEPS, FEATURES)
    )
    x, _ = data()
    asked = {"of": lambda outputs: outputs[:, 1], "batch_size": 4}
    asked["signals"] = ["output", "hidden", "forget"]
    exact = keras_gates.importance(model, x, **asked)
    near = keras_gates.importance(model, x, approximate=True, **asked)
    columns = ["signal", "units"]
    both = exact.merge(near, on=columns, suffixes=("", "_near"))
    assert len(both) == len(exact)
    linear = both["signal"] != "forget"
    for name in ("change", "change_low", "change_high"):
        np.testing.assert_allclose(
            both[name][linear], both[f"{name}_near"][linear], atol=1e-6
        )
    # The cell depends on a product of forgets.
    assert not np.allclose(both["change"], both["change_near"], atol=1e-6)


@pytest.mark.once
def test_units_that_go_together_are_a_group():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 8, 50))
    values = np.stack([one, two, -2 * one + 1, np.ones_like(one)], axis=-1)
    values[3, 20:] = np.nan
    moments = Moments()
    for batch in (values[:3], values[3:]):
        moments.add(batch)
    np.testing.assert_allclose(moments.mean, np.nanmean(values, axis=(0, 1)))
    rows = values.reshape(-1, 4)[:, :3]
    expected = np.corrcoef(rows[~np.isnan(rows).any(1)].T)
    np.testing.assert_allclose(moments.correlation()[:3, :3], expected, atol=1e-12)
    groups = groups_of("lstm/cell", moments)
    assert [group.units for group in groups if group.what == "similar units"] == [
        (0, 2)
    ]
    assert groups[-1] == ("lstm/cell", "all units", (0, 1, 2, 3))


def test_what_importance_refuses():
    x, y = data()
    model = network()
    with pytest.raises(ValueError, match="`y` must have a target for each"):
        keras_gates.importance(model, x, y[:5])
    with pytest.raises(ValueError, match="one number per sample"):
        keras_gates.importance(model, x, of=lambda outputs: outputs)
    with pytest.raises(ValueError, match="no unmasked step"):
        keras_gates.importance(model, np.full_like(x, PADDING), y)
    model = sequential(
        layers.TimeDistributed(layers.LSTM(2, name="r"), name="frames"),
        shape=(3, STEPS, FEATURES),
    )
    with pytest.raises(ValueError, match="'frames/r' cannot be edited"):
        keras_gates.importance(
            model, x[:, None].repeat(3, 1), of=lambda outputs: outputs[:, 0, 0]
        )
    model = keras.Sequential(
        [keras.Input(batch_shape=(1, 2, 1)), layers.LSTM(1, stateful=True, name="r")]
    )
    with pytest.raises(ValueError, match="'r' cannot be measured: it is stateful"):
        keras_gates.importance(
            model, np.ones((1, 2, 1)), of=lambda o: o[:, 0], batch_size=1
        )
