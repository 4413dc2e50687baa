"""A bad value is refused at once, in a sentence that names the argument.

The functions are those of the package, and the parameters those of their signatures. If
a public function or a parameter is missing in `bad_values`, a test fails.
"""

import inspect
import math

import bad_values
import keras
import numpy as np
import pytest
import xarray
from bad_values import CALLS
from hypothesis import given
from hypothesis import strategies as st

import keras_gates
from keras_gates import edits, plots, stats, tasks
from keras_gates.study.differences import Difference
from keras_gates.study.result import Study

FREE = {"args", "kwargs", "self"}
CELLS = {"GateLSTMCell", "GateGRUCell"}
"""These take the arguments of Keras's cells, which Keras checks."""

OF_A_MODEL = [name for name in CALLS if "." not in name and name != "rule_of_thumb"]
OTHERS = [name for name in CALLS if name not in OF_A_MODEL]


def cases(names):
    return [
        pytest.param(name, parameter, id=f"{name}-{parameter}")
        for name in names
        for parameter, kind in CALLS[name][2].items()
        if kind is not None
    ]


RESULTS = {"Alarm", "Difference", "RuleOfThumb", "Study", "__version__"}
RESULTS |= {"Kernels", "LayerKernel", "Stream"}
RESULTS |= {"stats.Diagnosis", "stats.Finding", "edits.Edit"}
"""Results of functions, which users do not call."""


def public_functions():
    names = {name for name in keras_gates.__all__ if name not in CELLS}
    modules = {"edits": edits, "plots": plots, "stats": stats, "tasks": tasks}
    names -= set(modules)
    for module, part in modules.items():
        names |= {f"{module}.{name}" for name in part.__all__}
    names -= RESULTS
    for part in (Study, Difference):
        names |= {
            f"{part.__name__}.{name}"
            for name, value in vars(part).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }
    return names


@pytest.fixture
def nothing_runs(monkeypatch, tmp_path):
    """Makes training and prediction fail, and checks that no file was written."""

    def ran(*args, **kwargs):
        raise AssertionError("The model ran before the argument was refused.")

    bad_values.pool()
    for name in ("fit", "predict", "predict_on_batch", "train_on_batch"):
        monkeypatch.setattr(keras.Model, name, ran)
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def state_of(model):
    return [
        (type(layer), getattr(layer, "return_sequences", None), layer.get_weights())
        for layer in model.layers
    ]


def offences(name, parameter):
    """Returns the bad values that were not refused as required, with the results."""
    function, rightly, kinds = CALLS[name]
    kind, found = kinds[parameter], []
    for label, value in kind.bad().items():
        try:
            function(**{**rightly(), parameter: value})
        except kind.errors as error:
            message = str(error)
            if f"`{parameter}`" not in message and f"`{parameter}[" not in message:
                found.append(f"{label}: {type(error).__name__}: {message[:150]!a}")
        except BaseException as error:
            found.append(f"{label}: {type(error).__name__}: {str(error)[:150]!a}")
        else:
            found.append(f"{label}: accepted")
    return found


def check(name, parameter):
    before = state_of(bad_values.model())
    found = offences(name, parameter)
    assert not found, "\n".join([f"{len(found)} values of {parameter}", *found])
    after = state_of(bad_values.model())
    for (kind, returns, weights), (kind_2, returns_2, weights_2) in zip(
        before, after, strict=True
    ):
        assert kind is kind_2 and returns == returns_2
        for left, right in zip(weights, weights_2, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.once
@pytest.mark.parametrize(("name", "parameter"), cases(OF_A_MODEL))
def test_a_bad_value_is_refused_before_a_model_runs(name, parameter, nothing_runs):
    check(name, parameter)


@pytest.mark.once
@pytest.mark.parametrize(("name", "parameter"), cases(OTHERS))
def test_a_bad_value_is_refused(name, parameter, nothing_runs):
    check(name, parameter)


@pytest.mark.once
def test_the_table_knows_every_public_function():
    assert set(CALLS) == public_functions()


@pytest.mark.once
@pytest.mark.parametrize("name", CALLS)
def test_the_table_knows_every_parameter(name):
    function, rightly, kinds = CALLS[name]
    wanted = set(inspect.signature(function).parameters) - FREE
    assert set(kinds) == wanted
    assert set(rightly()) <= wanted | {"self"}


EDGE = st.sampled_from([0.0, 1.0, -0.0, 0.1, 0.9, 5e-324, 1 - 2**-53, 1 + 2**-52])
NUMBER = st.one_of(st.floats(), EDGE, EDGE, st.integers(-1, 2))
VALUES = np.linspace(0, 1, 12).reshape(2, 3, 2)
GATE = xarray.DataArray(VALUES, dims=("sample", "time", "unit"), name="forget")
UNITS = xarray.Dataset({name: GATE for name in ("input", "forget", "output", "hidden")})


def call_or_refuse(allowed, names, call):
    """Returns the result of a call with allowed numbers; others must be refused."""
    if allowed:
        return call()
    with pytest.raises(ValueError, match="|".join(f"`{name}`" for name in names)):
        call()
    return None


@pytest.mark.once
@given(low=NUMBER, high=NUMBER)
def test_saturation_takes_thresholds_in_order_and_no_others(low, high):
    found = call_or_refuse(
        0 <= low < high <= 1,
        ("lower", "upper"),
        lambda: stats.saturation(GATE, lower=low, upper=high),
    )
    if found is not None:
        both = [low > VALUES, high < VALUES]
        np.testing.assert_array_equal(found, [side.mean((0, 1)) for side in both])


@pytest.mark.once
@given(closed=NUMBER, wide=NUMBER)
def test_diagnose_takes_thresholds_in_order_and_no_others(closed, wide):
    call_or_refuse(
        0 <= closed < wide <= 1,
        ("lower", "upper"),
        lambda: stats.diagnose(UNITS, lower=closed, upper=wide),
    )


@pytest.mark.once
@pytest.mark.parametrize(
    "name", ["min_fraction", "min_memory_fraction", "correlation", "entropy"]
)
@given(number=NUMBER)
def test_diagnose_takes_limits_of_0_or_more(name, number):
    call_or_refuse(
        0 <= number < math.inf, (name,), lambda: stats.diagnose(UNITS, **{name: number})
    )


@pytest.mark.once
@given(share=NUMBER)
def test_a_share_is_between_0_and_1(share):
    for name, call in {
        "fraction": lambda: stats.memory_horizon(UNITS, fraction=share),
        "level": lambda: stats.mean_interval(GATE, "sample", level=share),
    }.items():
        call_or_refuse(0 < share < 1, (name,), call)


@pytest.mark.once
@given(deviation=NUMBER, closed=NUMBER)
def test_dead_units_takes_a_deviation_and_a_threshold(deviation, closed):
    found = call_or_refuse(
        0 <= deviation < math.inf and 0 <= closed <= 1,
        ("min_std", "lower"),
        lambda: stats.dead_units(UNITS, min_std=deviation, lower=closed),
    )
    if found is not None:
        spread = VALUES.std((0, 1)) < deviation
        np.testing.assert_array_equal(found["constant"], spread)
        np.testing.assert_array_equal(found["never_shown"], VALUES.max((0, 1)) < closed)


LAYERS_OF_CALLS = ("gates", "layer", "node", "lstm")
"""The names of parameters that take a layer."""

OF_LAYERS = [
    name
    for name in OTHERS
    if set(LAYERS_OF_CALLS) & set(CALLS[name][2])
    and name not in ("stats.ranges", "stats.summary", "plots.ridges")
    and name != "stats.find_similar_spans"
]


def cut(**places):
    return lambda layer: layer.isel(places)


CUTS = {
    "no time": cut(time=0),
    "no sample": cut(sample=0),
    "no unit": cut(unit=0),
    "empty time": cut(time=slice(0)),
    "empty sample": cut(sample=slice(0)),
    "empty unit": cut(unit=slice(0)),
    "renamed": lambda layer: layer.rename(unit="neuron"),
    "objects": lambda layer: layer.astype(object),
    "a kind that is a list": lambda layer: layer.assign_attrs(kind=["LSTM"]),
    "an unknown kind": lambda layer: layer.assign_attrs(kind="x"),
}


@pytest.mark.once
@pytest.mark.parametrize("change", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("name", OF_LAYERS)
def test_a_layer_that_is_not_whole_is_measured_or_refused(name, change, nothing_runs):
    function, rightly, _ = CALLS[name]
    arguments = rightly()
    parameter = next(name for name in LAYERS_OF_CALLS if name in arguments)
    layer = change(bad_values.layer().assign_attrs(bad_values.layer().attrs))
    try:
        function(**{**arguments, parameter: layer})
    except (ValueError, TypeError) as error:
        message = str(error)
        assert f"`{parameter}`" in message or "`labels`" in message, message
