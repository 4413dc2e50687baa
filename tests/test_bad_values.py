"""A bad value is refused at once, in a sentence that names the argument.

The list of functions is taken from the package, and that of parameters from their
signatures: a public function, or a parameter, that `bad_values` says nothing of fails.
"""

import inspect

import bad_values
import keras
import numpy as np
import pytest
from bad_values import CALLS

import keras_gates
from keras_gates import plots, stats, tasks
from keras_gates.differences import Difference
from keras_gates.study import Study

FREE = {"args", "kwargs", "self"}
CELLS = {"GateLSTMCell", "GateGRUCell"}
"""They take what Keras's cells take, which Keras checks."""

OF_A_MODEL = [name for name in CALLS if "." not in name and name != "rule_of_thumb"]
OTHERS = [name for name in CALLS if name not in OF_A_MODEL]


def cases(names):
    return [
        pytest.param(name, parameter, id=f"{name}-{parameter}")
        for name in names
        for parameter, kind in CALLS[name][2].items()
        if kind is not None
    ]


def public_functions():
    names = {name for name in keras_gates.__all__ if name not in CELLS}
    modules = {"plots": plots, "stats": stats, "tasks": tasks}
    names -= set(modules)
    for module, part in modules.items():
        names |= {f"{module}.{name}" for name in part.__all__}
    for part in (Study, Difference):
        names |= {
            f"{part.__name__}.{name}"
            for name, value in vars(part).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }
    return names


@pytest.fixture
def nothing_runs(monkeypatch, tmp_path):
    """Makes training and prediction fail, and leaves nothing in this folder."""

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
    """Returns what came of the bad values that were not refused as they should be."""
    function, rightly, kinds = CALLS[name]
    kind, found = kinds[parameter], []
    for label, value in kind.bad().items():
        try:
            function(**{**rightly(), parameter: value})
        except kind.errors as error:
            said = str(error)
            if f"`{parameter}`" not in said and f"`{parameter}[" not in said:
                found.append(f"{label}: {type(error).__name__}: {said[:150]!a}")
        except BaseException as error:
            found.append(f"{label}: {type(error).__name__}: {str(error)[:150]!a}")
        else:
            found.append(f"{label}: taken")
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
