"""Edits: the edited network is the one of a float64 loop, and no edit is ignored."""

import gc
import pickle
import threading
import weakref

import keras
import numpy as np
import own_cells
import pytest
import reference
from battery import EACH, EACH_GATED, KINDS, distinct_weights, numpy, takes
from keras import layers, ops
from small_models import sequential

import keras_gates
from keras_gates import edits
from keras_gates.cells import registry
from keras_gates.models.edit_guards import WATCHED

UNITS, STEPS, FEATURES, SAMPLES = 4, 6, 3, 5

MASKS = {
    "gaps": [[1, 1, 0, 1, 0, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]],
    "whole": [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1]],
}
PADDING = 9.0

CORNERS = {
    "sequences": {"return_sequences": True},
    "last": {},
    "backward": {"return_sequences": True, "go_backwards": True},
    "masked": {"return_sequences": True, "mask": "gaps"},
    "masked backward": {"go_backwards": True, "mask": "gaps"},
    "masked whole": {"mask": "whole", "return_sequences": True},
    "zero output": {
        "mask": "gaps",
        "return_sequences": True,
        "zero_output_for_mask": True,
    },
    "reset before": {"reset_after": False, "return_sequences": True},
    "no bias": {"use_bias": False},
    "unrolled": {"unroll": True, "mask": "gaps"},
    "implementation 1": {"implementation": 1},
    "activations": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
}


def data(mask=None, samples=SAMPLES):
    x = np.random.default_rng(5).normal(size=(samples, STEPS, FEATURES))
    if mask is not None:
        chosen = np.resize(np.array(MASKS[mask], bool), (samples, STEPS))
        x[~chosen] = PADDING
        return x.astype("float32"), chosen
    return x.astype("float32"), None


def model_of(layer, masked=False, **options):
    stack = [layers.Masking(PADDING)] if masked else []
    model = sequential(*stack, layer, shape=(STEPS, FEATURES))
    distinct_weights(layer, seed=2)
    model.compile(keras.optimizers.SGD(0.1), "mse", **options)
    return model


def one_of_each(signals):
    """Returns an edit of each signal, each at places of its own, and as a function."""
    made, changed = {}, {}
    for number, name in enumerate(signals):
        unit, step = number % UNITS, number % (STEPS - 1)
        amount = 0.3 + 0.1 * number
        make = (edits.clamp, edits.scale, edits.add)[number % 3]
        made[f"r/{name}"] = make(amount, units=[unit], time=slice(step, step + 2))
        changed[name] = make.__name__, amount, unit, (step, step + 1)

    def change(name, sample, step, value):
        what, amount, unit, steps = changed.get(name, ("", 0, 0, ()))
        if step in steps:
            value = value.copy()
            if what == "clamp":
                value[unit] = amount
            elif what == "scale":
                value[unit] *= amount
            else:
                value[unit] += amount
        return value

    return made, change


def expected_of(kind, layer, x, mask=None, change=None, **others):
    """Runs the float64 loop, in the order in which the layer works."""
    options = {
        name: others[name]
        for name in ("reset_after",)
        if name in others and kind is KINDS["GRU"]
    }
    if "activation" in others:
        options["activation"] = lambda a: np.maximum(a, 0)
        options["gate"] = lambda a: np.clip(a / 6 + 0.5, 0, 1)
    backward = others.get("go_backwards", False)

    def turned(name, sample, step, value):
        return change(name, sample, STEPS - 1 - step if backward else step, value)

    if backward:
        x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
    weights = [w.astype("float64") for w in layer.get_weights()]
    return kind.reference(
        x.astype("float64"), weights, mask=mask, change=turned, **options
    )


@pytest.mark.parametrize("corner", CORNERS)
@EACH
def test_edited_layers_are_float64_loops(kind, corner):
    options = dict(CORNERS[corner])
    mask = options.pop("mask", None)
    if any(not takes(kind, o) for o in options) or (
        "reset_after" in options and kind is not KINDS["GRU"]
    ):
        pytest.skip("Keras's layer does not take this option.")
    layer = kind.stock(UNITS, name="r", **options)
    model = model_of(layer, masked=mask is not None)
    x, unmasked = data(mask)
    before = model.predict(x, verbose=0)
    signals = keras_gates.capture(model, x)["r"].data_vars
    made, change = one_of_each([name for name in signals if name != "mask"])
    expected = expected_of(kind, layer, x, unmasked, change, **options)
    with keras_gates.edit(model, made):
        predicted = model.predict(x, batch_size=2, verbose=0)
        called = numpy(model(x))
        gates = keras_gates.capture(model, x, batch_size=3)
    hidden = expected["hidden"].copy()
    if options.get("zero_output_for_mask"):
        hidden[~unmasked] = 0
    elif unmasked is not None:
        hidden, predicted, called = _without_masked(
            hidden, [predicted, called], unmasked, options
        )
    if not options.get("return_sequences"):
        hidden = hidden[:, -1]
    np.testing.assert_allclose(predicted, hidden, atol=2e-6)
    np.testing.assert_allclose(called, hidden, atol=2e-6)
    for key in made:
        name = key.removeprefix("r/")
        values = expected[name]
        if options.get("go_backwards"):
            values = values[:, ::-1]
        if unmasked is not None:
            values = np.where(unmasked[..., None], values, np.nan)
        np.testing.assert_allclose(gates[key], values, atol=2e-6, err_msg=name)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def _without_masked(hidden, outputs, unmasked, options):
    """Leaves out masked steps, where the backends differ in what they return."""
    if not options.get("return_sequences"):
        return hidden, *outputs
    return tuple(
        np.where(unmasked[..., None], values, 0) for values in (hidden, *outputs)
    )


@EACH
def test_own_values_swapped_in_change_nothing(kind):
    layer = kind.stock(UNITS, name="r", return_sequences=True)
    model = model_of(layer, masked=True)
    x, _ = data("gaps")
    gates = keras_gates.capture(model, x)
    before = model.predict(x, verbose=0)
    names = [name for name in gates["r"].data_vars if name != "mask"]
    with keras_gates.edit(model, {f"r/{name}": edits.swap(gates) for name in names}):
        after = model.predict(x, batch_size=2, verbose=0)
    np.testing.assert_allclose(after, before, atol=1e-6)


@EACH
def test_states_of_another_sample_give_the_rest_of_its_sequence(kind):
    layer = kind.stock(UNITS, name="r", return_sequences=True)
    model = model_of(layer)
    x, _ = data()
    states = [name for name in ("cell", "hidden")]
    gates = keras_gates.capture(model, x)
    states = [name for name in states if name in gates["r"]]
    mixed = x.copy()
    mixed[0, 3:] = x[4, 3:]
    swaps = {
        f"r/{name}": edits.swap(gates[f"r/{name}"].isel(sample=4), time=2, samples=0)
        for name in states
    }
    with keras_gates.edit(model, swaps):
        predicted = model.predict(mixed, batch_size=2, verbose=0)
    np.testing.assert_allclose(predicted[0, 3:], model.predict(x)[4, 3:], atol=1e-6)
    np.testing.assert_allclose(predicted[1:], model.predict(x)[1:], atol=1e-6)


class Counting(layers.Layer):
    """Counts how often its Python code runs: each time a program is made."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


def test_moving_an_edit_compiles_nothing():
    counter = Counting()
    layer = layers.LSTM(UNITS, name="r", return_sequences=True)
    model = sequential(layer, counter, layers.Dense(1), shape=(STEPS, FEATURES))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, _ = data()
    y = np.zeros((SAMPLES, STEPS, 1), "float32")

    def use(one):
        with keras_gates.edit(model, {"r/forget": one}):
            model.fit(x, y, verbose=0)
            model.evaluate(x, y, verbose=0)
            return model.predict(x, verbose=0)

    model.predict(x, verbose=0)
    results = [use(edits.clamp(1.0, units=[3], time=slice(1, 3)))]
    counter.calls = 0
    results.append(use(edits.clamp(1.0, units=[2], time=slice(1, 3))))
    results.append(use(edits.scale(0.5, units=[2, 3], time=[4])))
    model.predict(x, verbose=0)
    # Eager code runs at each batch; what is compiled does not run again.
    eager = keras.backend.backend() == "torch"
    assert counter.calls == (7 if eager else 0)
    assert len({result.tobytes() for result in results}) == 3


def test_moving_an_edit_of_samples_compiles_nothing():
    counter = Counting()
    layer = layers.GRU(UNITS, name="r")
    model = sequential(layer, counter, shape=(None, FEATURES))
    x, _ = data()
    plain = model.predict(x, verbose=0)
    with keras_gates.edit(model, {"r/update": edits.clamp(1.0, samples=1, time=2)}):
        model.predict(x, verbose=0)
    counter.calls = 0
    for sample in (0, 3, 4):
        one = edits.clamp(1.0, samples=sample, time=slice(sample, None))
        with keras_gates.edit(model, {"r/update": one}):
            edited = model.predict(x, verbose=0)
        changed = np.abs(edited - plain).max(axis=1) > 1e-4
        assert np.flatnonzero(changed).tolist() == [sample]
    assert counter.calls == (3 if keras.backend.backend() == "torch" else 0)


def test_edits_of_samples_stay_with_them_across_batches():
    layer = layers.LSTM(UNITS, name="r")
    model = model_of(layer)
    x, _ = data(samples=7)
    y = np.random.default_rng(1).normal(size=(7, UNITS)).astype("float32")
    plain = model.predict(x, verbose=0)
    with keras_gates.edit(model, {"r/output": edits.clamp(0.0, samples=[2, 5])}):
        for size in (2, 3, 7):
            edited = model.predict(x, batch_size=size, verbose=0)
            np.testing.assert_array_equal(edited[[2, 5]], 0)
            others = [0, 1, 3, 4, 6]
            np.testing.assert_allclose(edited[others], plain[others], atol=1e-6)
        gates = keras_gates.capture(model, x, batch_size=2)
        loss = model.evaluate(x, y, batch_size=3, verbose=0)
        called = numpy(model(x))
        with pytest.raises(ValueError, match="`fit` cannot use the edit of 'r/output'"):
            model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(called, edited)
    zero = (gates["r/output"] == 0).all(("time", "unit"))
    assert np.flatnonzero(zero).tolist() == [2, 5]
    assert loss == pytest.approx(np.mean((edited - y) ** 2), rel=1e-5)


def test_values_for_other_samples_are_refused():
    layer = layers.LSTM(UNITS, name="r")
    model = model_of(layer)
    x, _ = data()
    gates = keras_gates.capture(model, x)
    swap = {"r/cell": edits.swap(gates["r/cell"])}
    with (
        pytest.raises(ValueError, match="are for 5 samples, but the model ran on 3"),
        keras_gates.edit(model, swap),
    ):
        model.predict(x[:3], verbose=0)
    with (
        pytest.raises(ValueError, match="are for 5 samples, but the model ran on 4"),
        keras_gates.edit(model, swap),
    ):
        keras_gates.capture(model, x[:4])
    with (
        pytest.raises(ValueError, match="are for 5 samples, but the model ran on 6"),
        keras_gates.edit(model, swap),
    ):
        model(np.zeros((6, STEPS, FEATURES), "float32"))
    with keras_gates.edit(model, swap):
        model.predict(x, verbose=0)


def test_values_that_were_masked_are_not_put_in_where_steps_are_unmasked():
    layer = layers.GRU(UNITS, name="r")
    model = model_of(layer, masked=True)
    x, _ = data("gaps")
    gates = keras_gates.capture(model, x)
    whole = np.where(x == PADDING, 0.5, x)
    runs = (
        lambda: model.predict(whole, batch_size=2, verbose=0),
        lambda: keras_gates.capture(model, whole),
        lambda: model(whole),
    )
    for run in runs:
        with (
            pytest.raises(ValueError, match="masked in the run they were taken"),
            keras_gates.edit(model, {"r/update": edits.swap(gates)}),
        ):
            run()
    with keras_gates.edit(model, {"r/update": edits.swap(gates)}):
        for run in (lambda: model.predict(x), lambda: keras_gates.capture(model, x)):
            run()


@EACH_GATED
def test_training_goes_through_edits(kind):
    layer = kind.stock(UNITS, name="r")
    model = model_of(layer)
    x, _ = data()
    y = np.random.default_rng(1).normal(size=(SAMPLES, UNITS)).astype("float32")
    before = layer.get_weights()
    signals = list(keras_gates.capture(model, x)["r"].data_vars)
    with keras_gates.edit(model, {f"r/{kind.keep}": edits.clamp(0.9)}):
        history = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert history[2] < history[1] < history[0]
    block = signals.index(kind.keep)
    for old, new in zip(before, layer.get_weights(), strict=True):
        blocks = len(signals) - (2 if kind is KINDS["LSTM"] else 1)
        moved = np.abs(
            np.split(new, blocks, axis=-1) - np.array(np.split(old, blocks, axis=-1))
        )
        # A clamped gate has no gradient; the other ones have.
        assert moved[block].max() == 0
        assert all(part.max() > 0 for n, part in enumerate(moved) if n != block)


def test_a_recorder_sees_the_edited_model():
    model = model_of(layers.LSTM(UNITS, name="r"))
    x, _ = data()
    y = np.zeros((SAMPLES, UNITS), "float32")
    recorder = keras_gates.GateRecorder(probe=x[:2])
    with keras_gates.edit(model, {"r/forget": edits.clamp(0.75, units=1)}):
        model.fit(x, y, epochs=1, verbose=0, callbacks=[recorder])
    mean = recorder.statistics["r/mean"].sel(signal="forget")[-1]
    assert float(mean[1]) == pytest.approx(0.75)
    assert abs(float(mean[0]) - 0.75) > 1e-3
    np.testing.assert_array_equal(recorder.traces["r/forget"][-1, ..., 1], 0.75)


def test_blocks_are_nested():
    model = model_of(layers.GRU(UNITS, name="r"))
    x, _ = data()
    plain = model.predict(x, verbose=0)
    with keras_gates.edit(model, {"r/update": edits.clamp(1.0, units=0)}):
        outer = model.predict(x, verbose=0)
        with keras_gates.edit(model, {"r/update": edits.clamp(1.0, units=[1])}):
            both = model.predict(x, verbose=0)
        with (
            pytest.raises(ValueError, match="Two edits of 'r/update' overlap"),
            keras_gates.edit(model, {"r/update": edits.add(1.0, time=0)}),
        ):
            pass
        np.testing.assert_array_equal(model.predict(x, verbose=0), outer)
    assert np.flatnonzero(np.all(outer == 0, axis=0)).tolist() == [0]
    assert np.flatnonzero(np.all(both == 0, axis=0)).tolist() == [0, 1]
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain)


def test_a_backward_layer_is_edited_in_the_order_of_the_input():
    inner = layers.LSTM(UNITS, return_sequences=True, name="lstm")
    model = sequential(layers.Bidirectional(inner, name="b"), shape=(STEPS, FEATURES))
    x, _ = data()
    shown = edits.clamp(0.0, time=[1])
    with keras_gates.edit(
        model, {"b/forward_lstm/output": shown, "b/backward_lstm/output": shown}
    ):
        outputs = model.predict(x, verbose=0)
    zero = np.all(outputs == 0, axis=(0, 2))
    assert np.flatnonzero(zero).tolist() == [1]


def test_cells_of_a_stack_are_edited():
    cells = [layers.LSTMCell(3, name="one"), layers.GRUCell(2, name="two")]
    model = sequential(layers.RNN(cells, name="r"), shape=(STEPS, FEATURES))
    x, _ = data()
    whole = {
        "r/one/hidden": edits.clamp([0.1, 0.2, 0.3]),
        "r/two/update": edits.clamp(0.0),
    }
    with keras_gates.edit(model, whole):
        gates = keras_gates.capture(model, x)
        outputs = model.predict(x, verbose=0)
    np.testing.assert_allclose(gates["r/one/hidden"][0, 0], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(outputs, gates["r/two/candidate"][:, -1], atol=1e-6)


def test_mixed_precision():
    layer = layers.LSTM(UNITS, name="r", dtype="mixed_float16")
    model = model_of(layer)
    x, _ = data()
    with pytest.raises(ValueError, match="exceed 65504, the largest value of float16"):
        keras_gates.edit(model, {"r/cell": edits.clamp(1e6)})
    with keras_gates.edit(model, {"r/hidden": edits.clamp(0.5)}):
        np.testing.assert_array_equal(model.predict(x, verbose=0), 0.5)


WRONG = {
    "no dict": ([], TypeError, "`changes` must be a dict"),
    "empty": ({}, ValueError, "`changes` is empty"),
    "layer": ({"s/forget": edits.clamp(1.0)}, ValueError, "Those of .* are: 'r'"),
    "signal": ({"r/update": edits.clamp(1.0)}, ValueError, "'forget'.*got 'update'"),
    "no edit": ({"r/forget": 1.0}, TypeError, "made by `keras_gates.edits`"),
    "unit": ({"r/forget": edits.clamp(1.0, units=4)}, IndexError, "from 0 to 3; got 4"),
    "time": ({"r/forget": edits.clamp(1.0, time=[6])}, IndexError, "`time` must be"),
    "no time": ({"r/forget": edits.clamp(1.0, time=slice(7, 9))}, ValueError, "none"),
    "no unit": ({"r/forget": edits.clamp(1.0, units=[])}, ValueError, "at least one"),
    "word": ({"r/forget": edits.clamp(1.0, units="a")}, TypeError, "whole number"),
    "shape": (
        {"r/forget": edits.clamp([1.0, 2.0])},
        ValueError,
        "1 or 4, along",
    ),
    "samples": (
        {"r/forget": edits.clamp(1.0, samples=-1)},
        ValueError,
        "cannot be counted from the end",
    ),
    "overlap": (
        {"r/forget": [edits.clamp(1.0, units=1), edits.scale(1.0, time=2)]},
        ValueError,
        "overlap, for example at time step 2 of sample 0 in unit 1",
    ),
    "masked": (
        {"r/cell": edits.swap(np.full((STEPS, UNITS), np.nan))},
        ValueError,
        "the steps were masked there",
    ),
    "samples differ": (
        {
            "r/cell": edits.swap(np.ones((4, STEPS, UNITS))),
            "r/hidden": edits.swap(np.ones((5, STEPS, UNITS))),
        },
        ValueError,
        "4 for 'r/cell', 5 for 'r/hidden'",
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_edits_are_refused_before_anything_runs(wrong):
    model = sequential(layers.LSTM(UNITS, name="r"), shape=(STEPS, FEATURES))
    changes, error, sentence = WRONG[wrong]
    before = vars(model).copy()
    with pytest.raises(error, match=sentence):
        keras_gates.edit(model, changes)
    assert vars(model) == before


@pytest.mark.once
def test_one_call_of_a_layer_that_is_called_twice_is_refused():
    shared, x = layers.GRU(3, return_sequences=True, name="r"), keras.Input((5, 3))
    model = keras.Model(x, shared(shared(x)))
    assert keras_gates.capture(model, np.ones((2, 5, 3))).attrs["layers"][1] == "r@2"
    with pytest.raises(ValueError, match="every call: use the key 'r/update'"):
        keras_gates.edit(model, {"r@2/update": edits.clamp(1.0)})


def test_wrong_values_are_refused():
    for make, name in ((edits.clamp, "value"), (edits.scale, "factor")):
        with pytest.raises(ValueError, match=f"`{name}` must be finite"):
            make(np.nan)
        with pytest.raises(TypeError, match=f"`{name}` must hold real numbers"):
            make("one")
    with pytest.raises(ValueError, match="`array` must be finite"):
        edits.swap([np.inf])


def test_a_layer_inside_time_distributed_is_refused():
    inner = layers.LSTM(UNITS, name="lstm")
    model = sequential(
        layers.TimeDistributed(inner, name="td"), shape=(2, STEPS, FEATURES)
    )
    with pytest.raises(ValueError, match="inside the `TimeDistributed` 'td'"):
        keras_gates.edit(model, {"td/lstm/forget": edits.clamp(1.0)})


def test_what_would_ignore_an_edit_is_refused():
    inner = model_of(layers.LSTM(UNITS, name="r"))
    outer = keras.Sequential([keras.Input((STEPS, FEATURES)), inner], name="outer")
    x, _ = data()
    plain = outer.predict(x, verbose=0)
    caught = []

    def elsewhere():
        for run in (lambda: inner.predict(x, verbose=0), lambda: inner(x)):
            try:
                run()
            except RuntimeError as error:
                caught.append(str(error))

    with keras_gates.edit(inner, {"r/output": edits.clamp(0.0)}):
        with pytest.raises(ValueError, match="'outer' holds layers of '.*', which is"):
            outer.predict(x, verbose=0)
        np.testing.assert_array_equal(numpy(outer(x)), 0)
        np.testing.assert_array_equal(
            keras_gates.capture(outer, x)[f"{inner.name}/r/output"], 0
        )
        with pytest.raises(ValueError, match="cannot be compiled while it is edited"):
            inner.compile("sgd", "mse")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert len(caught) == 2
    assert all("in another thread" in sentence for sentence in caught)
    np.testing.assert_array_equal(outer.predict(x, verbose=0), plain)
    with keras_gates.edit(outer, {f"{inner.name}/r/output": edits.clamp(0.0)}):
        np.testing.assert_array_equal(outer.predict(x, verbose=0), 0)


def test_the_model_is_what_it_was_after_an_error():
    model = model_of(layers.LSTM(UNITS, name="r"))
    x, _ = data()
    plain = model.predict(x, verbose=0)
    methods = {name: getattr(keras.Model, name) for name in WATCHED}
    kept, listed = model.predict_function, [id(one) for one in model.variables]
    with (
        pytest.raises(ZeroDivisionError),
        keras_gates.edit(model, {"r/output": edits.clamp(0.0)}),
    ):
        model.predict(x, verbose=0)
        raise ZeroDivisionError
    assert model.predict_function is kept
    assert type(model.get_layer("r")) is layers.LSTM
    assert [id(one) for one in model.variables] == listed
    assert {name: getattr(keras.Model, name) for name in WATCHED} == methods
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain)


def of_peephole(x, weights, change):
    """Gers et al. (2002), with the names that a trace gives its signals."""
    kernel, recurrent, bias, peepholes = (w.astype("float64") for w in weights)
    h = c = np.zeros((len(x), UNITS))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + bias + h @ recurrent, 4, axis=-1)
        i = change("sigmoid", t, reference.sigmoid(i + c * peepholes[0]))
        f = change("sigmoid_1", t, reference.sigmoid(f + c * peepholes[1]))
        c = change("state_1", t, f * c + i * change("tanh", t, np.tanh(g)))
        o = change("sigmoid_2", t, reference.sigmoid(o + c * peepholes[2]))
        h = change("hidden", t, o * change("tanh_1", t, np.tanh(c)))
        outputs.append(h)
    return np.stack(outputs, axis=1)


def of_mgu(x, weights, change):
    """Zhou et al. (2016); the gate was registered as the share that is kept."""
    of_gate, of_new = (w.astype("float64") for w in weights)
    h = np.zeros((len(x), UNITS))
    outputs = []
    for t in range(x.shape[1]):
        seen = np.concatenate([x[:, t], h], axis=-1)
        forget = change("replace", t, reference.sigmoid(seen @ of_gate))
        seen = np.concatenate([x[:, t], forget * h], axis=-1)
        new = change("candidate", t, np.tanh(seen @ of_new))
        h = change("hidden", t, (1 - forget) * h + forget * new)
        outputs.append(h)
    return np.stack(outputs, axis=1)


class RegisteredCell(own_cells.MGUCell):
    def call(self, inputs, states):
        return super().call(inputs, states)


def signals_of_mgu(cell, inputs, states):
    seen = ops.concatenate([inputs, states[0]], -1)
    forget = ops.sigmoid(ops.matmul(seen, cell.of_gate))
    seen = ops.concatenate([inputs, forget * states[0]], -1)
    return {"replace": forget, "candidate": ops.tanh(ops.matmul(seen, cell.of_new))}


def step_of_mgu(signals, states):
    forget = signals["replace"]
    return (1 - forget) * states["hidden"] + forget * signals["candidate"]


@pytest.fixture
def registered():
    keras_gates.register_cell(
        RegisteredCell,
        signals=signals_of_mgu,
        step=step_of_mgu,
        gates=["replace"],
        name="edited MGU",
    )
    yield
    del registry.KINDS["edited MGU"]


@pytest.mark.parametrize(
    "cell, equations",
    [(own_cells.PeepholeCell, of_peephole), (RegisteredCell, of_mgu)],
    ids=["traced", "registered"],
)
def test_cells_of_ones_own_are_edited(cell, equations, registered):
    layer = layers.RNN(cell(UNITS), name="r", return_sequences=True)
    model = sequential(layer, shape=(STEPS, FEATURES))
    distinct_weights(layer, seed=2)
    x, _ = data()
    names = [*keras_gates.capture(model, x)["r"].data_vars]
    for name in names:
        amount = 0.3 if "tanh" in name else 0.6

        def change(signal, step, value, name=name, amount=amount):
            if (signal, step) == (name, 2):
                value = value.copy()
                value[:, 1] = amount
            return value

        with keras_gates.edit(
            model, {f"r/{name}": edits.clamp(amount, time=2, units=1)}
        ):
            outputs = numpy(model(x))
        expected = equations(x.astype("float64"), layer.get_weights(), change)
        np.testing.assert_allclose(outputs, expected, atol=3e-6, err_msg=name)
    assert len(names) == (7 if cell is own_cells.PeepholeCell else 3)


@EACH_GATED
def test_initial_states_and_dropout(kind):
    layer = kind.stock(UNITS, name="r", dropout=0.4, recurrent_dropout=0.3)
    inputs = keras.Input((STEPS, FEATURES))
    first = [keras.Input((UNITS,)) for _ in np.ravel(layer.cell.state_size)]
    model = keras.Model([inputs, *first], layer(inputs, initial_state=first))
    distinct_weights(layer, seed=2)
    x, _ = data()
    rng = np.random.default_rng(3)
    states = [rng.normal(size=(SAMPLES, UNITS)).astype("float32") for _ in first]
    names = [*keras_gates.capture(model, [x, *states])["r"].data_vars]
    made, change = one_of_each([n for n in names if n not in ("cell", "hidden")])
    weights = [w.astype("float64") for w in layer.get_weights()]
    expected = kind.reference(
        x.astype("float64"), weights, initial=states, change=change
    )
    with keras_gates.edit(model, made):
        outputs = model.predict([x, *states], verbose=0)
        gates = keras_gates.capture(model, [x, *states], training=True)
    np.testing.assert_allclose(outputs, expected["hidden"][:, -1], atol=2e-6)
    # In training there is dropout, and the states follow from the changed gates.
    assert np.abs(gates["r/candidate"] - expected["candidate"]).max() > 0.01
    values = {name: gates[f"r/{name}"].values for name in names}
    derived = kind.states(values, initial=states)
    np.testing.assert_allclose(values["hidden"], derived["hidden"], atol=3e-6)
    np.testing.assert_array_equal(values[names[0]][:, :2, 0], np.float32(0.3))


def test_gate_layers_return_the_edited_gates():
    layer = keras_gates.GateLSTM(UNITS, name="r", return_gates=True)
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, layer(inputs))
    x, _ = data()
    with keras_gates.edit(model, {"r/forget": edits.clamp(0.25, units=2)}):
        output, gates = model.predict(x, verbose=0)
    np.testing.assert_array_equal(gates["forget"][..., 2], 0.25)
    np.testing.assert_array_equal(gates["hidden"][:, -1], output)
    assert type(layer) is keras_gates.GateLSTM


def test_a_fused_kernel_does_not_pass_by_an_edit(monkeypatch):
    def fused(self, *args, **kwargs):
        raise AssertionError("The fused kernel ran.")

    for name in dir(layers.Bidirectional):
        if name.startswith("_call_fused_"):
            monkeypatch.setattr(layers.Bidirectional, name, fused)
        if name.startswith("_can_attempt_fused_"):
            monkeypatch.setattr(
                layers.Bidirectional, name, lambda self, *args, **kwargs: True
            )
    model = sequential(
        layers.Bidirectional(layers.LSTM(UNITS, name="lstm"), name="b"),
        shape=(STEPS, FEATURES),
    )
    x, _ = data()
    with keras_gates.edit(model, {"b/forward_lstm/output": edits.clamp(0.0)}):
        outputs = model.predict(x, verbose=0)
    np.testing.assert_array_equal(outputs[:, :UNITS], 0)
    assert np.abs(outputs[:, UNITS:]).max() > 0


def test_a_stateful_layer_continues_from_edited_states():
    layer = layers.GRU(UNITS, name="r", stateful=True)
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES), batch_size=SAMPLES), layer]
    )
    x, _ = data()
    with keras_gates.edit(model, {"r/hidden": edits.clamp(0.5, time=-1)}):
        model(x)  # On JAX, `predict` loses the states of stateful layers.
    np.testing.assert_allclose(numpy(layer.states[0].value), 0.5)


def test_a_model_is_saved_and_copied_as_what_it_is(tmp_path):
    model = model_of(layers.GRU(UNITS, name="r"))
    x, _ = data()
    plain = model.predict(x, verbose=0)
    with keras_gates.edit(model, {"r/update": edits.clamp(1.0)}):
        model.predict(x, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    copied = pickle.loads(pickle.dumps(model))
    for other in (loaded, copied):
        assert type(other.get_layer("r")) is layers.GRU
        assert other.compiled
        np.testing.assert_array_equal(other.predict(x, verbose=0), plain)


def test_a_model_that_was_edited_is_not_kept_for_ever():
    model = model_of(layers.GRU(UNITS, name="r"))
    x, _ = data()
    with keras_gates.edit(model, {"r/update": edits.clamp(1.0)}):
        model.predict(x, verbose=0)
    gone = weakref.ref(model)
    del model
    gc.collect()
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


def test_a_model_that_is_compiled_again_keeps_its_edits():
    model = model_of(layers.GRU(UNITS, name="r"))
    x, _ = data()
    one = {"r/update": edits.clamp(1.0)}
    y = np.full((SAMPLES, UNITS), 2.0, "float32")
    losses = []
    for loss in ("mse", "mae"):
        model.compile("sgd", loss)
        with keras_gates.edit(model, one):
            losses.append(model.evaluate(x, y, verbose=0))
    assert losses == [4.0, 2.0]
