"""Checks that errors about names changed before the first release name the new ones."""

import inspect

import numpy as np
import pytest

import keras_gates
from keras_gates import plots, stats, tasks

pytestmark = pytest.mark.once

ARGUMENTS = [
    (keras_gates.GateRecorder, "every", "record_freq"),
    (keras_gates.GateRecorder, "low", "lower"),
    (keras_gates.GateRecorder, "high", "upper"),
    (keras_gates.GateRecorder, "budget", "max_bytes"),
    (keras_gates.GateRecorder, "tensorboard", "log_dir"),
    (keras_gates.GateRecorder, "alarm_after", "patience"),
    (keras_gates.GateRecorder, "alarms", "on_alarm"),
    (keras_gates.GateRecorder, "logs", "log_metrics"),
    (keras_gates.Recipe, "front", "stem"),
    (keras_gates.compare, "builders", "models"),
    (keras_gates.compare, "folder", "directory"),
    (keras_gates.compare, "recorder", "make_recorder"),
    (keras_gates.compare, "predict", "keep_predictions"),
    (stats.saturation, "low", "lower"),
    (stats.saturation, "high", "upper"),
    (stats.dead_units, "deviation", "min_std"),
    (stats.dead_units, "shut", "lower"),
    (stats.memory_horizon, "share", "fraction"),
    (stats.diagnose, "open", "upper"),
    (stats.diagnose, "shut", "lower"),
    (stats.diagnose, "share", "min_fraction"),
    (stats.diagnose, "short", "min_memory_fraction"),
    (stats.find_units, "permutations", "n_permutations"),
    (stats.find_similar_spans, "count", "n_spans"),
    (plots.heatmap, "figure", "fig"),
    (plots.compare_layers, "figure", "fig"),
    (plots.reach, "figure", "fig"),
    (plots.text, "figure", "fig"),
    (plots.trajectories, "figure", "fig"),
    (plots.study, "along", "x"),
    (plots.predictions, "truth", "y_true"),
    (plots.predictions, "predictions", "y_pred"),
    (plots.importance, "most", "top"),
    (tasks.chronological_split, "fraction", "train_size"),
    (tasks.stratified_split, "fraction", "train_size"),
    (tasks.adding, "length", "sequence_length"),
    (tasks.characters, "length", "sequence_length"),
    (tasks.continual_reber, "length", "sequence_length"),
    (tasks.temporal_order, "length", "sequence_length"),
    (tasks.sliding_windows, "length", "sequence_length"),
]
FUNCTIONS = [
    (plots, "gates", "heatmap"),
    (plots, "pair", "compare_layers"),
    (plots, "horizon", "memory_horizon"),
    (plots, "timescales", "timescale"),
    (stats, "Symptom", "Finding"),
    (stats, "correspondence", "match_units"),
    (stats, "match", "find_similar_spans"),
    (tasks, "class_split", "stratified_split"),
    (tasks, "time_split", "chronological_split"),
]


@pytest.mark.parametrize(("function", "old", "new"), ARGUMENTS)
def test_an_old_argument_is_answered_with_the_new_one(function, old, new):
    parameters = inspect.signature(function).parameters
    assert new in parameters and old not in parameters
    sentence = f"`{function.__name__}` has no argument `{old}`. It is called `{new}`."
    with pytest.raises(TypeError, match=sentence):
        function(np.zeros((1, 1)), **{old: 1})


@pytest.mark.parametrize(("module", "old", "new"), FUNCTIONS)
def test_an_old_function_is_answered_with_the_new_one(module, old, new):
    assert callable(getattr(module, new)) and new in dir(module)
    with pytest.raises(AttributeError, match=f"{old}` is called `{new}`"):
        getattr(module, old)
    with pytest.raises(AttributeError, match=f"has no 'no_{old}'. It has: "):
        getattr(module, f"no_{old}")


def test_an_unknown_argument_is_answered_with_those_that_there_are():
    with pytest.raises(TypeError, match="no argument `log_saturation`.*`log_metrics`"):
        keras_gates.GateRecorder(log_saturation=True)


def test_too_many_arguments_by_position():
    with pytest.raises(TypeError, match="`verify` takes `gates` by position; got 2 "):
        keras_gates.verify(None, None)
    with pytest.raises(TypeError, match="`clamp` takes `value` by position; got 3 "):
        keras_gates.edits.clamp("lstm", "forget", 1.0)
    with pytest.raises(TypeError, match="`importance` has no argument `signal`. Its "):
        keras_gates.importance(None, None, None, signal="output")
