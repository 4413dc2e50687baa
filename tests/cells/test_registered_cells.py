"""Cells that a user describes in one call."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from own_cells import (
    CELLS,
    JANETCell,
    MGUCell,
    PeepholeCell,
    SLSTMCell,
    loop,
    randomise,
)

import keras_gates
from keras_gates import plots, stats
from keras_gates.cells import registry

UNITS, SHAPE = 4, (8, 3)


def _of_mgu(cell, inputs, states):
    (hidden,) = states
    seen = ops.concatenate([inputs, hidden], -1)
    forget = ops.sigmoid(ops.matmul(seen, cell.of_gate))
    seen = ops.concatenate([inputs, forget * hidden], -1)
    return {"keep": 1 - forget, "candidate": ops.tanh(ops.matmul(seen, cell.of_new))}


def _step_of_mgu(signals, states):
    keep = signals["keep"]
    return keep * states["hidden"] + (1 - keep) * signals["candidate"]


MGU = {"signals": _of_mgu, "step": _step_of_mgu, "gates": ["keep"], "keep": "keep"}


def _of_peephole(cell, inputs, states):
    hidden, state = states
    total = ops.matmul(inputs, cell.kernel) + ops.matmul(hidden, cell.recurrent_kernel)
    write, forget, new, show = ops.split(total + cell.bias, 4, axis=-1)
    write = ops.sigmoid(write + state * cell.peepholes[0])
    forget = ops.sigmoid(forget + state * cell.peepholes[1])
    new = ops.tanh(new)
    show = ops.sigmoid(show + (forget * state + write * new) * cell.peepholes[2])
    return {"input": write, "forget": forget, "candidate": new, "output": show}


def _step_of_peephole(signals, states):
    state = signals["forget"] * states[1] + signals["input"] * signals["candidate"]
    return [signals["output"] * ops.tanh(state), state]


PEEPHOLE = {
    "signals": _of_peephole,
    "step": _step_of_peephole,
    "gates": ("input", "forget", "output"),
    "keep": "forget",
    "write": "input",
    "states": ("hidden", "cell"),
}


def _masked(rng):
    x = rng.normal(size=(5, *SHAPE)).astype("float32")
    x[0, :2] = x[1, 5:] = x[2, 3] = x[3] = 0
    return x, (x != 0).any(-1)


def _model(cell, **options):
    layer = layers.RNN(cell, return_sequences=True, name="own", **options)
    return keras.Sequential([keras.Input(SHAPE), layers.Masking(), layer])


def _expected(name, cell, x, mask):
    found = loop(CELLS[name][1](cell), x, mask, keras.tree.flatten(cell.state_size))
    return {**found, "hidden": found["state_0"]}


def test_the_mgu_has_all_that_a_cell_of_keras_has(rng, tmp_path):
    keras_gates.register_cell(MGUCell, **MGU)
    (x, mask), cell = _masked(rng), MGUCell(UNITS)
    model = _model(cell)
    randomise(model, rng)
    tree = keras_gates.capture(model, x, store=tmp_path / "mgu.zarr")
    gates = tree["own"]
    expected = _expected("MGU", cell, x, mask)
    np.testing.assert_allclose(gates["keep"], 1 - expected["sigmoid"], atol=1e-5)
    np.testing.assert_allclose(gates["candidate"], expected["tanh"], atol=1e-5)
    np.testing.assert_allclose(gates["hidden"], expected["hidden"], atol=1e-5)
    assert gates.attrs["cell_type"] == "MGU"
    assert gates["keep"].attrs["long_name"] == "keep gate (1 keeps the old state)"
    assert keras_gates.verify(tree)["own"] < 1e-5

    keep = gates["keep"].stack(all=("sample", "time")).dropna("all")
    scale = -1 / np.log(keep.astype("float64")).mean("all")
    np.testing.assert_allclose(stats.timescale(tree)["own/keep"], scale, rtol=1e-6)
    np.testing.assert_allclose(
        stats.half_life(tree)["own/keep"], np.log(2) * scale, rtol=1e-6
    )
    assert stats.memory_horizon(tree)["own/memory_horizon"].sizes == {"unit": UNITS}
    assert list(stats.saturation(tree)["own"].data_vars) == ["keep"]
    assert list(stats.entropy(tree)["own"].data_vars) == ["keep"]
    assert list(stats.dead_units(tree)["own"].data_vars) == ["constant", "dead"]
    summary = stats.summary(tree).loc["own"]
    assert list(summary.index) == ["keep", "candidate", "hidden"]
    assert "'own'" in str(stats.diagnose(tree))
    labels = np.arange(mask.size).reshape(mask.shape) % 2
    found = stats.find_units(tree, labels, n_permutations=9)
    assert set(found["signal"]) <= {"keep", "candidate", "hidden"}

    titles = [axes.get_title() for axes in plots.heatmap(gates).axes]
    assert "keep gate (1 keeps the old state)" in titles
    assert len(plots.saturation(gates).collections) == 1
    assert "keep gate" in plots.timescale(gates).get_title()
    plots.memory_horizon(gates)
    plots.trajectories(gates, units=[0, 2], signal="keep")
    plots.text(gates, "a" * SHAPE[0], signal="keep", unit=0)
    page = tmp_path / "page.html"
    keras_gates.report({"mgu": tree}, page)
    assert "1 keeps the old state" in page.read_text()
    assert "1 keeps the old state" in tree._repr_html_()


def test_the_mgu_is_recorded_in_training(rng):
    keras_gates.register_cell(MGUCell, **MGU)
    x, y = rng.normal(size=(8, *SHAPE)), rng.normal(size=(8, UNITS))
    model = keras.Sequential([keras.Input(SHAPE), layers.RNN(MGUCell(UNITS), name="m")])
    model.compile("adam", "mse")
    recorder = keras_gates.GateRecorder(
        x[:2], samples_per_batch="all", log_metrics="all"
    )
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[recorder]).history
    assert {"m/saturation", "m/keep/mean"} <= set(history)
    assert list(recorder.statistics["m/signal"].values) == [
        "keep",
        "candidate",
        "hidden",
    ]
    assert (recorder.statistics["m/count"] == 8 * SHAPE[0]).all()
    assert keras_gates.verify(recorder.traces.isel(step=-1))["m"] < 1e-5
    last = keras_gates.capture(model, x[:2])["m/keep"]
    np.testing.assert_allclose(recorder.traces["m/keep"][-1], last, atol=1e-6)


def test_several_states_by_the_names_of_the_lstm(rng):
    keras_gates.register_cell(PeepholeCell, name="peephole LSTM", **PEEPHOLE)
    (x, mask), cell = _masked(rng), PeepholeCell(UNITS)
    model = _model(cell)
    randomise(model, rng)
    tree = keras_gates.capture(model, x)
    expected = _expected("peephole LSTM", cell, x, mask)
    names = {"input": "sigmoid", "forget": "sigmoid_1", "output": "sigmoid_2"}
    names |= {"candidate": "tanh", "cell": "state_1", "hidden": "hidden"}
    assert set(tree["own"].data_vars) == {*names, "mask"}
    for signal, traced in names.items():
        np.testing.assert_allclose(
            tree["own"][signal], expected[traced], atol=1e-5, err_msg=signal
        )
    assert keras_gates.verify(tree)["own"] < 1e-5
    broken = tree.copy(deep=True)
    broken["own/forget"].values[0, 4] += 0.1
    assert keras_gates.verify(broken)["own"] > 1e-3
    horizon = stats.memory_horizon(tree)["own/memory_horizon"]
    assert (horizon >= 0).all()


def test_a_subclass_counts_as_the_cell_unless_it_changes_the_call(rng):
    keras_gates.register_cell(MGUCell, **MGU)

    class Same(MGUCell):
        pass

    class Other(MGUCell):
        def call(self, inputs, states):
            output, after = super().call(inputs, states)
            return -output, [-after[0]]

    x = rng.normal(size=(2, *SHAPE))
    assert keras_gates.capture(_model(Same(2)), x)["own"].attrs["cell_type"] == "MGU"
    other = keras_gates.capture(_model(Other(2)), x)["own"]
    assert other.attrs["cell_type"] == "Other"
    assert "sigmoid" in other


def test_data_of_another_process_describe_their_kind(rng, tmp_path):
    import xarray

    keras_gates.register_cell(MGUCell, **MGU)
    keras_gates.capture(
        _model(MGUCell(2)), rng.normal(size=(2, *SHAPE)), store=tmp_path / "m.zarr"
    )
    del registry.KINDS["MGU"]
    tree = xarray.open_datatree(tmp_path / "m.zarr", engine="zarr")
    assert stats.timescale(tree)["own/keep"].sizes == {"unit": 2}
    titles = [axes.get_title() for axes in plots.heatmap(tree["own"]).axes]
    assert "keep gate (1 keeps the old state)" in titles
    with pytest.warns(UserWarning, match="its cell, an MGU, are not in the data. Call"):
        assert np.isinf(keras_gates.verify(tree)["own"])


def _changed(**changes):
    return {**MGU, **changes}


def _under_the_name_of_the_paper(cell, inputs, states):
    found = _of_mgu(cell, inputs, states)
    return {"forget": 1 - found["keep"], "candidate": found["candidate"]}


def _step_of_the_paper(signals, states):
    forget = signals["forget"]
    return (1 - forget) * states[0] + forget * signals["candidate"]


def _renamed(name):
    def signals(cell, inputs, states):
        found = _of_mgu(cell, inputs, states)
        return {"keep": found["keep"], name: found["candidate"]}

    return signals


def _step_of(name):
    def step(signals, states):
        return signals["keep"] * states[0] + (1 - signals["keep"]) * signals[name]

    return step


class Elsewhere(MGUCell):
    """Another class, so that the names of others can be in its way."""


CONTRADICTIONS = {
    "keep that replaces": (
        {
            "signals": _under_the_name_of_the_paper,
            "step": _step_of_the_paper,
            "gates": ["forget"],
            "keep": "forget",
        },
        "With `forget` at 1 .* must return the old state; .*the complement .1 - forget",
    ),
    "a name of another sense": (
        {
            "signals": _under_the_name_of_the_paper,
            "step": _step_of_the_paper,
            "gates": ["forget"],
        },
        r"'forget' of an LSTM is the gate whose 1 keeps the old state \(`keep`\), but "
        "in an MGU it would be a gate",
    ),
    "no gate": (_changed(gates=["keep", "candidate"]), "'candidate' is not a gate in"),
    "no gate of a new name": (
        _changed(signals=_renamed("new"), step=_step_of("new"), gates=["keep", "new"]),
        "`new` is listed as a gate, but has values from -.* on random inputs; a",
    ),
    "another step": (
        _changed(step=lambda signals, states: signals["candidate"]),
        "`step` must return the states that the cell returns; .* `hidden` differs by",
    ),
    "two states": (
        _changed(step=lambda signals, states: [states[0], states[0]]),
        "`step` must return 1 states, hidden; got 2",
    ),
    "states of another name": (
        _changed(step=lambda signals, states: {"cell": states[0]}),
        "`step` must return the states hidden; got cell",
    ),
    "a step that fails": (
        _changed(step=lambda signals, states: signals["nothing"]),
        r"`step` failed on the signals keep, candidate and the states hidden .*\(Key",
    ),
    "signals that fail": (
        _changed(signals=lambda cell, inputs, states: {"keep": cell.nothing}),
        r"`signals` failed on random inputs of shape \(5, 3\) \(AttributeError",
    ),
    "signals of another width": (
        _changed(signals=lambda cell, inputs, states: {"keep": inputs[:, :1]}),
        r"`keep` has the shape \(5, 1\) for a batch of 5",
    ),
    "no dict of signals": (
        _changed(signals=lambda *_: None),
        r"`signals` must return a dict of names to tensors; got None\)",
    ),
    "signals of NumPy": (
        _changed(signals=lambda cell, inputs, states: {"keep": np.zeros((5, 3))}),
        "`signals` must return tensors, computed with `keras.ops`; `keep` is a",
    ),
    "no state": (
        _changed(step=lambda signals, states: None),
        "`step` must return tensors, .*; its `hidden` is None",
    ),
    "no signals": (_changed(signals=lambda *_: {}), "must return at least one signal"),
    "a state as a signal": (
        _changed(signals=lambda cell, inputs, states: {"hidden": states[0]}),
        "'hidden' is given twice",
    ),
    "a reserved name": (
        {**MGU, "signals": _renamed("mask"), "step": _step_of("mask")},
        "'mask' names something else in a capture",
    ),
    "the name of another derivative": (
        {**MGU, "signals": _renamed("inputs"), "step": _step_of("inputs")},
        "'inputs' names something else in a capture",
    ),
    "a path": (
        {**MGU, "signals": _renamed("a/b"), "step": _step_of("a/b")},
        "must have a name without a '/'; got 'a/b'",
    ),
    "keep that is no gate": (
        _changed(keep="candidate"),
        "`keep` must be among the gates",
    ),
    "gates that are not there": (
        _changed(gates=["open"]),
        "`gates` must be among the sig",
    ),
    "write without keep": (
        _changed(keep=None, write="keep"),
        "`write` must be a different gate from `keep`",
    ),
    "more states than the cell has": (
        _changed(states=["hidden", "cell"]),
        "`states` must name the 1 states of `MGUCell`",
    ),
    "another name for the output": (
        _changed(states=["out"]),
        "must be called 'hidden'",
    ),
    "a name that is taken": (
        _changed(name="LSTM"),
        "another kind of cell called 'LSTM'",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_gets_a_sentence_and_registers_nothing(case):
    description, sentence = CONTRADICTIONS[case]
    before = dict(registry.KINDS)
    with pytest.raises(ValueError, match=sentence):
        keras_gates.register_cell(MGUCell, **description)
    assert before == registry.KINDS


def test_a_class_is_registered_once_and_may_be_defined_again():
    keras_gates.register_cell(MGUCell, **MGU)
    with pytest.raises(ValueError, match="is already registered, as 'MGU'. To"):
        keras_gates.register_cell(MGUCell, **MGU)
    with pytest.raises(ValueError, match="another kind of cell called 'MGU', `MGUCel"):
        keras_gates.register_cell(Elsewhere, name="MGU", **MGU)

    def define():
        class AgainCell(MGUCell):
            def call(self, inputs, states):
                return super().call(inputs, states)

        return AgainCell

    for _ in range(2):  # As when a cell of a notebook runs again.
        cell = define()
        keras_gates.register_cell(cell, **MGU)
        assert registry.KINDS["Again"].cell is cell


def test_an_output_that_is_no_state_gets_a_sentence():
    class BentCell(MGUCell):
        def call(self, inputs, states):
            output, after = super().call(inputs, states)
            return ops.relu(output), after

    with pytest.raises(ValueError, match="must be its output; the output of `Bent"):
        keras_gates.register_cell(BentCell, **MGU)
    tree = keras_gates.capture(_model(BentCell(2)), np.ones((1, *SHAPE)))
    assert list(tree["own"].data_vars) == [
        *("sigmoid", "tanh", "relu", "hidden", "state_0", "mask")
    ]


def test_random_numbers_inside_the_cell(rng):
    """What is drawn again would be another number, and change the training."""
    if keras.backend.backend() == "jax":
        pytest.skip("Keras itself cannot train such a cell on JAX.")

    class DroppingCell(MGUCell):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)
            self.drop = layers.Dropout(0.5, seed=3)

        def call(self, inputs, states):
            return super().call(self.drop(inputs), states)

    x, y = rng.normal(size=(8, *SHAPE)), rng.normal(size=(8, UNITS))

    def trained(*callbacks):
        keras.utils.set_random_seed(1)
        own = layers.RNN(DroppingCell(UNITS), name="own")
        model = keras.Sequential([keras.Input(SHAPE), own])
        model.compile("sgd", "mse")
        model.fit(x, y, epochs=2, verbose=0, callbacks=list(callbacks))
        return model.get_weights()

    for one, other in zip(trained(), trained(keras_gates.GateRecorder()), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    keras_gates.register_cell(DroppingCell, **MGU)
    with pytest.raises(ValueError, match="`DroppingCell` cannot be read in training"):
        trained(keras_gates.GateRecorder())


def test_wrong_types_get_a_sentence():
    with pytest.raises(TypeError, match="`LSTM` is a layer that runs over a sequence"):
        keras_gates.register_cell(layers.LSTM, **MGU)
    with pytest.raises(TypeError, match="`cell_class` must be a class of cells"):
        keras_gates.register_cell(MGUCell(3), **MGU)
    with pytest.raises(TypeError, match="`step` must be a function; got a str"):
        keras_gates.register_cell(MGUCell, **_changed(step="keep"))
    with pytest.raises(TypeError, match="`example` must be a `MGUCell`; got a LSTM"):
        keras_gates.register_cell(MGUCell, example=layers.LSTMCell(3), **MGU)
    with pytest.raises(TypeError, match="`name` must be a word"):
        keras_gates.register_cell(MGUCell, name=3, **MGU)


def test_a_cell_that_needs_more_arguments_is_given_as_an_example(rng):
    class WideCell(MGUCell):
        def __init__(self, units, *, times, **kwargs):
            super().__init__(units * times, **kwargs)
            self.times = times

        def get_config(self):
            config = super().get_config()
            return {**config, "units": self.units // self.times, "times": self.times}

    WideCell.call = lambda self, inputs, states: MGUCell.call(self, inputs, states)
    with pytest.raises(ValueError, match=r"`WideCell\(3\)` failed .*`example=WideCell"):
        keras_gates.register_cell(WideCell, **MGU)
    example = WideCell(2, times=2)
    keras_gates.register_cell(WideCell, example=example, **MGU)
    assert not example.built
    gates = keras_gates.capture(_model(example), rng.normal(size=(1, *SHAPE)))
    assert gates["own"].attrs["cell_type"] == "Wide"


def test_a_cell_that_does_not_go_with_its_description_is_refused(rng):
    class OptionCell(MGUCell):
        def __init__(self, units, doubled=False, **kwargs):
            super().__init__(units, **kwargs)
            self.doubled = doubled

        def call(self, inputs, states):
            return super().call(inputs * 2 if self.doubled else inputs, states)

    keras_gates.register_cell(OptionCell, **MGU)
    x = rng.normal(size=(1, *SHAPE))
    keras_gates.capture(_model(OptionCell(2)), x)
    with pytest.raises(ValueError, match="'own' does not match the description"):
        keras_gates.capture(_model(OptionCell(2, doubled=True)), x)


def test_an_slstm_with_four_states(rng):
    def signals(cell, inputs, states):
        total = ops.matmul(inputs, cell.kernel) + ops.matmul(states[0], cell.recurrent)
        new, write, forget, show = ops.split(total, 4, axis=-1)
        kept = ops.log_sigmoid(forget) + states["stabiliser"]
        stabiliser = ops.maximum(kept, write)
        return {
            "written": ops.exp(write - stabiliser),
            "kept": ops.exp(kept - stabiliser),
            "candidate": ops.tanh(new),
            "shown": ops.sigmoid(show),
            "largest": stabiliser,
        }

    def step(signals, states):
        kept, written = signals["kept"], signals["written"]
        cell = kept * states["cell"] + written * signals["candidate"]
        normaliser = kept * states["normaliser"] + written
        return {
            "hidden": signals["shown"] * cell / normaliser,
            "cell": cell,
            "normaliser": normaliser,
            "stabiliser": signals["largest"],
        }

    keras_gates.register_cell(
        SLSTMCell,
        signals=signals,
        step=step,
        gates=["written", "kept", "shown"],
        keep="kept",
        write="written",
        states=["hidden", "cell", "normaliser", "stabiliser"],
    )
    (x, mask), cell = _masked(rng), SLSTMCell(UNITS)
    model = _model(cell)
    randomise(model, rng)
    tree = keras_gates.capture(model, x)
    expected = _expected("sLSTM", cell, x, mask)
    for signal, traced in {
        "kept": "exp_1",
        "normaliser": "state_2",
        "stabiliser": "state_3",
        "cell": "state_1",
        "hidden": "hidden",
    }.items():
        np.testing.assert_allclose(tree["own"][signal], expected[traced], atol=2e-5)
    assert keras_gates.verify(tree)["own"] < 1e-5


def test_half_precision(rng):
    keras_gates.register_cell(PeepholeCell, name="peephole LSTM", **PEEPHOLE)
    cell = PeepholeCell(UNITS, dtype="mixed_bfloat16")
    tree = keras_gates.capture(_model(cell, dtype="mixed_bfloat16"), _masked(rng)[0])
    assert keras_gates.verify(tree)["own"] < 3e-2


def test_janet_keeps_under_its_own_name(rng):
    """Its `forget` has the sense of the LSTM's, so it may have the name."""
    keras_gates.register_cell(
        JANETCell,
        signals=lambda cell, inputs, states: {
            "forget": cell.forget(ops.concatenate([inputs, states[0]], -1)),
            "candidate": cell.new(ops.concatenate([inputs, states[0]], -1)),
        },
        step=lambda signals, states: (
            signals["forget"] * states[0]
            + (1 - signals["forget"]) * signals["candidate"]
        ),
        gates="forget",
        keep="forget",
    )
    tree = keras_gates.capture(_model(JANETCell(2)), _masked(rng)[0])
    assert keras_gates.verify(tree)["own"] < 1e-5
    assert stats.timescale(tree)["own/forget"].sizes == {"unit": 2}
