"""The arguments with which `test_bad_values` calls every public function.

`pool` holds a value of every sort. The kind of an argument lists the values of the pool
that it accepts, and further values that it must refuse. `CALLS` has a correct call of
each public function, and the kind of each of its parameters.
"""

import dataclasses
import fractions
import functools
from typing import Any

import keras
import numpy as np
import pandas
import xarray
from matplotlib.figure import Figure
from own_cells import JANETCell

import keras_gates
from keras_gates import edits, plots, stats, tasks
from keras_gates.study.differences import Difference
from keras_gates.study.result import Study

X = np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32)
Y = X.sum((1, 2))[:, None]


@functools.cache
def model():
    """Returns a model with an LSTM and a GRU that read the same input."""
    inputs = keras.Input((6, 2))
    lstm = keras.layers.LSTM(3, name="lstm")(inputs)
    gru = keras.layers.GRU(3, name="gru")(inputs)
    both = keras.layers.Concatenate()([lstm, gru])
    made = keras.Model(inputs, keras.layers.Dense(1)(both))
    made.compile(loss="mse", optimizer="sgd")
    return made


@functools.cache
def gates():
    return keras_gates.capture(model(), X)


@functools.cache
def derivatives():
    return keras_gates.gradients(model(), X, Y)["lstm"].to_dataset()


@functools.cache
def measured():
    return keras_gates.reach(model(), X, time=[1, 2])["lstm"].to_dataset()


@functools.cache
def ranked():
    return keras_gates.importance(model(), X, Y, signals=["cell"])


@functools.cache
def recorder():
    kept = keras_gates.GateRecorder(X[:2])
    model().fit(X, Y, epochs=1, batch_size=2, verbose=0, callbacks=[kept])
    return kept


@functools.cache
def study():
    labels = {"architecture": ["LSTM", "GRU"], "seed": [0, 1], "epoch": [1, 2]}
    losses = np.arange(8.0).reshape(2, 2, 2)
    names = ("val_loss", "seconds", "elapsed")
    history = xarray.Dataset({name: (tuple(labels), losses) for name in names}, labels)
    history = history.assign_coords(updates=("epoch", [2, 4]))
    runs = pandas.DataFrame(
        {
            "architecture": ["LSTM", "LSTM", "GRU", "GRU"],
            "seed": [0, 1, 0, 1],
            "parameters": 9,
            "first_epoch_seconds": 1.0,
            "epoch_seconds": 0.5,
            "val_loss": [1.0, 3.0, 5.0, 8.0],
            "diverged": False,
        }
    )
    return Study(runs, history)


@functools.cache
def difference():
    return study().difference("LSTM", "GRU")


def build():
    return keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(2)])


def compiled():
    made = keras.Sequential(
        [keras.Input((6, 2)), keras.layers.LSTM(2), keras.layers.Dense(1)]
    )
    made.compile(loss="mse", optimizer="sgd")
    return made


@functools.cache
def pool() -> dict[str, Any]:
    """Returns a value of every sort, by name."""
    derivatives(), measured(), ranked()  # Called here, while models may run.
    figure = Figure()
    return {
        "None": None,
        "True": True,
        "np.True_": np.True_,
        "0": 0,
        "1": 1,
        "-1": -1,
        "10 ** 30": 10**30,
        "0.5": 0.5,
        "2.5": 2.5,
        "1/2": fractions.Fraction(1, 2),
        "NaN": float("nan"),
        "infinity": float("inf"),
        "-infinity": -np.inf,
        "1j": 1j,
        "np.complex64": np.complex64(1 + 1j),
        "date": np.datetime64("2020-01-01"),
        "text": "nonsense",
        "no text": "",
        "digit": "1",
        "bytes": b"nonsense",
        "NUL": "a\0b",
        "long text": "x" * 5000,
        "surrogate": "\ud800",
        "no list": [],
        "[1]": [1],
        "[True]": [True],
        "[NaN]": [float("nan")],
        "[text]": ["nonsense"],
        "[None]": [None],
        "[[1], [1, 2]]": [[1], [1, 2]],
        "(0.1, 0.9)": (0.1, 0.9),
        "no dict": {},
        "{'a': 1}": {"a": 1},
        "set": {1},
        "object": object(),
        "array": np.array([0.25, 0.75]),
        "0-d array": np.array(0.5),
        "array of complex": np.array([0.5j, 1]),
        "array of texts": np.array(["a", "b"]),
        "no array": np.zeros(0),
        "function": build,
        "class": dict,
        "model": model(),
        "layer": keras.layers.Dense(1),
        "capture": gates(),
        "traces": recorder().traces,
        "statistics": recorder().statistics,
        "no tree": xarray.DataTree(),
        "node": gates()["lstm"],
        "LSTM": gates()["lstm"].to_dataset(),
        "GRU": gates()["gru"].to_dataset(),
        "forget": gates()["lstm/forget"],
        "update": gates()["gru/update"],
        "layer of statistics": recorder().statistics["lstm"].to_dataset(),
        "array of statistics": recorder().statistics["lstm/mean"],
        "no dataset": xarray.Dataset(),
        "dataset of others": xarray.Dataset({"a": ("b", [1.0])}),
        "DataArray of others": xarray.DataArray([1.0, 2.0], dims="b"),
        "DataArray of texts": gates()["lstm/forget"].astype(str),
        "DataArray of complex": gates()["lstm/forget"] * 1j,
        "table": pandas.DataFrame({"a": [1]}),
        "figure": figure,
        "axes": figure.subplots(),
        "array of axes": Figure().subplots(2),
        "study": study(),
        "recorder": recorder(),
    }


@dataclasses.dataclass(frozen=True)
class Kind:
    """The values of the pool that an argument accepts, and others that it must refuse.

    Attributes:
        takes: The names of the values that it accepts.
        refuses: Further bad values.
        errors: The errors that may be raised.
    """

    takes: frozenset[str] = frozenset()
    refuses: tuple = ()
    errors: tuple[type[Exception], ...] = (ValueError, TypeError)

    def and_takes(self, *names: str) -> "Kind":
        return dataclasses.replace(self, takes=self.takes | set(names))

    def bad(self) -> dict[str, Any]:
        """Returns the bad values by name."""
        unknown = self.takes - set(pool())
        assert not unknown, unknown
        bad = {name: v for name, v in pool().items() if name not in self.takes}
        return bad | {repr(value)[:40]: value for value in self.refuses}


def takes(*names: str, refuses: tuple = ()) -> Kind:
    return Kind(frozenset(names), refuses)


def count(least: int) -> Kind:
    numbers = {name: int(name) for name in ("0", "1")}
    large = {name for name, number in numbers.items() if number >= least}
    return Kind(frozenset(large), (least - 1, np.float64(least), [least], 3.0))


ELSEWHERE = None
"""The kind of arguments that other tests check, or Keras itself."""

SIZE = takes("0", "1", "0.5", "2.5", "1/2", "0-d array", "10 ** 30")
SHARE = takes("0.5", "1/2", "0-d array", refuses=(1, 0))
LOW = takes("0", "0.5", "1/2", "0-d array", refuses=(1.5, np.float32("nan")))
HIGH = takes("1", "0.5", "1/2", "0-d array", refuses=(1.5, np.float32("nan")))
SEED = takes("0", "1", refuses=(2**32, "0", 1.0, np.random.default_rng(0)))
FLAG = takes("True", "np.True_")
PATH = Kind(
    frozenset({"text", "digit"}),
    ("a/" + "x" * 300, "~nobody-of-this-name/x", "a/b\0c"),
    (ValueError, TypeError, OSError),
)
NAMES = takes("None", refuses=([1, "lstm"], ["lstm", None], "lstm/nonsense"))
LAYER_NAMES = NAMES.and_takes("model")  # A layer that holds all of them.
ANY_NAME = ("text", "no text", "digit", "NUL", "long text", "surrogate", "[text]")
SOME_NAMES = takes("None", *ANY_NAME)
AX, FIGURE = takes("None", "axes"), takes("None", "figure")
MODEL = takes("model")
TREE = takes("capture", "traces", "node")
LAYERS = takes("capture", "traces", "node", "LSTM", "GRU")
MOMENT = takes("capture", "node", "LSTM", "GRU")
MEASURED = LAYERS.and_takes(
    "forget", "update", "array of statistics", "DataArray of others"
)
LSTM, GRU = takes("node", "LSTM"), takes("GRU")
LAYER = takes("node", "LSTM", "GRU")
POSITION = Kind(
    frozenset({"0", "1"}),
    (7, -7, 1.0, "0", slice(1), [0.0]),
    (ValueError, TypeError, IndexError),
)
POSITIONS = POSITION.and_takes("[1]", "set")
WORD = takes(refuses=(["val_loss"], "VAL_LOSS", b"val_loss"))
FUNCTION = takes("None", "function", "class")
STUDY = takes("study")
ARRAY = takes(
    "forget", "update", "DataArray of texts", "DataArray of complex", refuses=(X[:3],)
)


DATA = ("capture", "traces", "statistics", "no tree", "node", "LSTM", "GRU")
DATA += ("layer of statistics", "no dataset", "dataset of others")
"""Trees and datasets."""
EDIT_VALUES = takes(
    *("0", "1", "-1", "0.5", "2.5", "[1]", "(0.1, 0.9)", "array", "0-d array"),
    *("forget", "update", "array of statistics", "DataArray of others", "no array"),
    *("True", "np.True_", "[True]", "no list", "table"),
)


def layer(name="lstm"):
    return gates()[name].to_dataset()


def register_rightly():
    return {
        "cell_class": JANETCell,
        "signals": lambda cell, inputs, states: {
            "forget": cell.forget(keras.layers.concatenate([inputs, states[0]])),
            "candidate": cell.new(keras.layers.concatenate([inputs, states[0]])),
        },
        "step": lambda signals, states: (
            signals["forget"] * states[0]
            + (1 - signals["forget"]) * signals["candidate"]
        ),
        "gates": "forget",
        "keep": "forget",
    }


def compare_rightly():
    return {
        "models": {"a": compiled, "b": compiled},
        "x": X,
        "y": Y,
        "validation_data": (X, Y),
        "seeds": 1,
        "epochs": 1,
    }


Call = tuple[Any, Any, dict[str, Kind | None]]

CALLS: dict[str, Call] = {
    "capture": (
        keras_gates.capture,
        lambda: {"model": model(), "x": X},
        {
            "model": MODEL,
            "x": ELSEWHERE,
            "layers": LAYER_NAMES,
            "signals": NAMES,
            "batch_size": count(1),
            "training": FLAG,
            "store": PATH.and_takes("None"),
            "mode": WORD,
            # More than one process needs a store.
            "n_jobs": takes("1", refuses=(2, 1.0, "2", [1])),
            "verbose": takes("0", "1", "True", "np.True_"),
        },
    ),
    "register_cell": (
        keras_gates.register_cell,
        register_rightly,
        {
            "cell_class": Kind(),
            "signals": Kind(),
            "step": Kind(),
            "gates": takes("no list"),
            "keep": takes("None"),
            "write": takes("None"),
            "states": Kind(),
            "name": takes("None", "text", "digit", "NUL", "long text", "surrogate"),
            "example": takes("None"),
        },
    ),
    "edit": (
        keras_gates.edit,
        lambda: {"model": model(), "changes": {"lstm/forget": edits.clamp(1.0)}},
        {"model": MODEL, "changes": Kind()},
    ),
    **{
        f"edits.{function.__name__}": (
            function,
            lambda argument=argument: {argument: 1.0},
            {
                argument: EDIT_VALUES,
                # The sizes are known only when the edit is used.
                "samples": ELSEWHERE,
                "time": ELSEWHERE,
                "units": ELSEWHERE,
            },
        )
        for function, argument in (
            (edits.clamp, "value"),
            (edits.scale, "factor"),
            (edits.add, "amount"),
        )
    },
    "edits.swap": (
        edits.swap,
        lambda: {"array": np.ones((6, 3))},
        {
            "array": EDIT_VALUES.and_takes(*DATA, "NaN", "[NaN]"),
            "samples": ELSEWHERE,
            "time": ELSEWHERE,
            "units": ELSEWHERE,
        },
    ),
    "gradients": (
        keras_gates.gradients,
        lambda: {"model": model(), "x": X, "y": Y},
        {
            "model": MODEL,
            "x": ELSEWHERE,
            "y": ELSEWHERE,
            "of": FUNCTION,
            "layers": LAYER_NAMES,
            "signals": NAMES,
            "batch_size": count(1),
            "store": PATH.and_takes("None"),
            "mode": WORD,
            "verbose": takes("0", "1", "True", "np.True_"),
        },
    ),
    "importance": (
        keras_gates.importance,
        lambda: {"model": model(), "x": X, "y": Y},
        {
            "model": MODEL,
            "x": ELSEWHERE,
            "y": ELSEWHERE,
            "of": FUNCTION,
            "layers": LAYER_NAMES,
            "signals": NAMES,
            "value": takes(
                "0", "1", "-1", "0.5", "2.5", "1/2", "0-d array", "10 ** 30"
            ),
            "approximate": FLAG,
            "batch_size": count(1),
            "verbose": takes("0", "1", "True", "np.True_"),
        },
    ),
    "plots.importance": (
        plots.importance,
        lambda: {"table": ranked()},
        {"table": Kind(), "top": count(1), "ax": AX},
    ),
    "reach": (
        keras_gates.reach,
        lambda: {"model": model(), "x": X},
        {
            "model": MODEL,
            "x": ELSEWHERE,
            "layers": LAYER_NAMES,
            "groups": ELSEWHERE,
            "time": ELSEWHERE,
            "seed": SEED,
            "batch_size": count(1),
            "verbose": takes("0", "1", "True", "np.True_"),
        },
    ),
    "stats.gradient_flow": (
        stats.gradient_flow,
        lambda: {"gates": derivatives()},
        {"gates": takes("forget", "update"), "signal": Kind()},
    ),
    "plots.gradient_flow": (
        plots.gradient_flow,
        lambda: {"flows": stats.gradient_flow(derivatives())},
        {"flows": Kind(), "ax": AX},
    ),
    "plots.reach": (
        plots.reach,
        lambda: {"layer": measured()},
        {
            "layer": Kind(),
            "gates": takes("None", "node", "LSTM", "GRU"),
            "fig": FIGURE,
        },
    ),
    "accelerate": (
        keras_gates.accelerate,
        lambda: {"model": model()},
        {"model": MODEL},
    ),
    "kernels": (
        keras_gates.kernels,
        lambda: {"model": model()},
        {"model": MODEL, "x": ELSEWHERE, "measure": FLAG},
    ),
    "stream": (
        keras_gates.stream,
        lambda: {"model": model()},
        {"model": MODEL, "x": ELSEWHERE},
    ),
    "instrument": (
        keras_gates.instrument,
        lambda: {"model": model()},
        {"model": MODEL},
    ),
    "restore": (keras_gates.restore, lambda: {"model": model()}, {"model": MODEL}),
    "GateRecorder": (
        keras_gates.GateRecorder,
        lambda: {"probe": X},
        {
            "probe": ELSEWHERE,
            # The names are known only when training begins.
            "layers": SOME_NAMES.and_takes("model", "layer"),
            "signals": SOME_NAMES,
            "units": takes(
                "None", "0", "1", "[1]", "set", "table", refuses=([1.5], [-1])
            ),
            # True is also refused, because the probe has no targets.
            "gradients": Kind(),
            "record_freq": count(1),
            "samples_per_batch": count(0).and_takes("None"),
            "lower": LOW,
            "upper": HIGH,
            "bins": count(1),
            "log_metrics": WORD.and_takes("None"),
            "on_alarm": WORD.and_takes("None"),
            "patience": count(1),
            "store": PATH.and_takes("None"),
            "mode": WORD,
            "max_bytes": SIZE.and_takes("None"),
            "log_dir": PATH.and_takes("None"),
            "batch_size": count(1),
        },
    ),
    "Recipe": (
        keras_gates.Recipe,
        dict,
        {
            "units": count(1),
            "layers": count(1),
            "stem": FUNCTION,
            "head": FUNCTION,
            "loss": takes("None", "function", "class"),
            "metrics": takes("None", "no list", refuses=("accuracy", ["accuracyy"])),
            "optimizer": takes("function", "class", refuses=("adamm",)),
            "match": WORD,
        },
    ),
    "compare": (
        keras_gates.compare,
        compare_rightly,
        {
            "models": takes(
                refuses=({"a": lambda: 3}, {"a": build}, {1: compiled}, ["LSTM", 3])
            ),
            "x": takes(refuses=(X * 1j, X + np.nan, X * np.inf, X.astype(str), X[:3])),
            "y": takes(refuses=(Y * 1j, Y + np.nan, Y + np.inf, Y.astype(str), Y[:3])),
            "validation_data": takes(
                refuses=(
                    (X,),
                    (X, Y, Y),
                    (X, Y[:1]),
                    (X[..., 0], Y),
                    (X[..., :1], Y),
                    (X, Y + np.nan),
                    (X * 1j, Y),
                    (None, None),
                )
            ),
            "seeds": takes(
                "1",
                "[1]",
                "set",
                refuses=([0, 0], [-1], [0.5], [True], [2**32], "01", {"a": 1}),
            ),
            "epochs": count(1),
            "batch_size": count(1),
            "recipe": takes("None"),
            "learning_rates": takes(
                "None", "[1]", "(0.1, 0.9)", "array", refuses=([0.1, 0.1], [0], ["a"])
            ),
            "directory": PATH.and_takes("None"),
            "n_jobs": takes("None", "1", "-1", refuses=(1.0, "2")),
            "make_recorder": FUNCTION,
            "keep_predictions": FLAG,
            "verbose": takes("0", "1", "True", "np.True_"),
            "on_run_end": FUNCTION,
        },
    ),
    "report": (
        keras_gates.report,
        lambda: {"gates": gates(), "path": "report.html"},
        {
            "gates": LAYERS,
            "path": PATH,
            "inputs": takes(
                "None",
                "forget",
                "update",
                refuses=(X[:1], X[:, :1], X * 1j, X.astype(str), ["a"] * 4),
            ),
        },
    ),
    "rule_of_thumb": (
        keras_gates.rule_of_thumb,
        lambda: {"timesteps": 5, "samples": 5},
        {"timesteps": count(1), "samples": count(1), "priority": WORD},
    ),
    "verify": (
        keras_gates.verify,
        lambda: {"gates": gates()},
        {"gates": LAYERS, "atol": SIZE.and_takes("None")},
    ),
    "stats.saturation": (
        stats.saturation,
        lambda: {"gates": gates()},
        {"gates": MEASURED, "lower": LOW, "upper": HIGH},
    ),
    "stats.entropy": (
        stats.entropy,
        lambda: {"gates": gates()},
        {"gates": MEASURED},
    ),
    "stats.timescale": (
        stats.timescale,
        lambda: {"gates": gates()},
        {"gates": MEASURED},
    ),
    "stats.half_life": (
        stats.half_life,
        lambda: {"gates": gates()},
        {"gates": MEASURED},
    ),
    "stats.dead_units": (
        stats.dead_units,
        lambda: {"gates": gates()},
        {"gates": LAYERS, "min_std": SIZE, "lower": HIGH.and_takes("0")},
    ),
    "stats.gate_correlation": (
        stats.gate_correlation,
        lambda: {"gates": gates()},
        {"gates": LAYERS},
    ),
    "stats.memory_horizon": (
        stats.memory_horizon,
        lambda: {"gates": gates()},
        {"gates": LAYERS, "fraction": SHARE},
    ),
    "stats.ranges": (
        stats.ranges,
        lambda: {"gates": gates(), "model": model(), "x": X},
        {
            "gates": TREE,
            "width": Kind(refuses=(1, 65, 16.0, "16")),
            "model": MODEL,
            "x": ELSEWHERE,
        },
    ),
    "stats.summary": (stats.summary, lambda: {"gates": gates()}, {"gates": TREE}),
    "stats.diagnose": (
        stats.diagnose,
        lambda: {"gates": gates()},
        {
            "gates": MOMENT,
            "upper": HIGH,
            "lower": LOW,
            "min_fraction": SIZE,
            "reach": takes("None"),
            "min_memory_fraction": SIZE,
            "correlation": SIZE,
            "entropy": SIZE,
        },
    ),
    "stats.match_units": (
        stats.match_units,
        lambda: {"lstm": layer(), "gru": layer("gru")},
        {"lstm": LSTM, "gru": GRU},
    ),
    "stats.find_units": (
        stats.find_units,
        lambda: {"gates": gates(), "labels": X[..., 0] > 0},
        {
            "gates": MOMENT,
            "labels": takes(
                refuses=(
                    X,
                    X[..., 0] * 1j,
                    X[..., 0] * np.inf,
                    X[:1, :, 0],
                    X[..., 0] * 0,
                )
            ),
            "measure": WORD.and_takes("None"),
            "n_permutations": count(1),
            "seed": SEED,
        },
    ),
    "stats.find_similar_spans": (
        stats.find_similar_spans,
        lambda: {"gates": gates(), "layer": "lstm", "units": [0], "span": (1, 3)},
        {
            "gates": takes("capture"),
            "layer": WORD,
            "units": POSITIONS,
            "span": Kind(refuses=((0, 9), (3, 1), (1, 1)), errors=POSITION.errors),
            "sample": POSITION.and_takes("None"),
            "signal": WORD,
            "n_spans": count(1),
        },
    ),
    "stats.mean_interval": (
        stats.mean_interval,
        lambda: {"data": study().history, "dim": "seed"},
        {
            "data": takes(refuses=(study().history["val_loss"].astype(str),)),
            "dim": WORD,
            "level": SHARE,
        },
    ),
    "plots.evolution": (
        plots.evolution,
        lambda: {"gate": recorder().traces["lstm/forget"]},
        {"gate": takes("array of statistics"), "ax": AX},
    ),
    "plots.ridges": (
        plots.ridges,
        lambda: {"layer": recorder().statistics["lstm"], "gate": "forget"},
        {"layer": takes("layer of statistics"), "gate": WORD, "ax": AX},
    ),
    "plots.trajectories": (
        plots.trajectories,
        lambda: {"layer": layer(), "units": [0, 1]},
        {
            "layer": LAYER,
            "units": POSITIONS,
            "signal": WORD,
            "sample": POSITION.and_takes("None"),
            "inputs": takes("None", refuses=(X, X[0] * 1j, X[0].astype(str))),
            "fig": FIGURE,
        },
    ),
    "plots.saturation": (
        plots.saturation,
        lambda: {"layer": layer()},
        {"layer": LAYER, "ax": AX},
    ),
    "plots.timescale": (
        plots.timescale,
        lambda: {"layer": layer()},
        {"layer": LAYER, "ax": AX},
    ),
    "plots.memory_horizon": (
        plots.memory_horizon,
        lambda: {"layer": layer()},
        {"layer": LAYER, "ax": AX},
    ),
    "plots.heatmap": (
        plots.heatmap,
        lambda: {"node": layer()},
        {
            "node": LAYER,
            "sample": POSITION.and_takes("None"),
            "signals": NAMES,
            "fig": FIGURE,
        },
    ),
    "plots.compare_layers": (
        plots.compare_layers,
        lambda: {"lstm": layer(), "gru": layer("gru")},
        {
            "lstm": LSTM,
            "gru": GRU,
            "sample": POSITION.and_takes("None"),
            "fig": FIGURE,
        },
    ),
    "plots.study": (
        plots.study,
        lambda: {"study": study()},
        {"study": STUDY, "metric": WORD, "x": WORD, "ax": AX},
    ),
    "plots.differences": (
        plots.differences,
        lambda: {"study": study()},
        {"study": STUDY, "metric": WORD, "ax": AX},
    ),
    "plots.predictions": (
        plots.predictions,
        lambda: {"y_true": [0.0, 1.0], "y_pred": {"a": [0.5, 0.5]}},
        {
            "y_true": takes("(0.1, 0.9)", "array", "DataArray of others"),
            "y_pred": takes(
                refuses=({"a": 3}, {"a": ["x", "y"]}, {"a": [1j, 2]}, {1: [0.0, 1.0]})
            ),
            "ax": AX,
        },
    ),
    "plots.text": (
        plots.text,
        lambda: {"layer": layer(), "tokens": "abcdef", "unit": 0},
        {
            "layer": LAYER,
            "tokens": takes(refuses=(["a"] * 5 + [3], b"abcdef", "abc")),
            "unit": POSITION,
            "signal": WORD,
            "sample": POSITION.and_takes("None"),
            "fig": FIGURE,
        },
    ),
    "tasks.adding": (
        tasks.adding,
        dict,
        {"samples": count(1), "sequence_length": count(2), "seed": SEED},
    ),
    "tasks.temporal_order": (
        tasks.temporal_order,
        dict,
        {"samples": count(1), "sequence_length": count(10), "seed": SEED},
    ),
    "tasks.copy_memory": (
        tasks.copy_memory,
        dict,
        {"samples": count(1), "delay": count(1), "seed": SEED},
    ),
    "tasks.anbn": (
        tasks.anbn,
        dict,
        {"samples": count(1), "smallest": count(1), "largest": count(1), "seed": SEED},
    ),
    "tasks.embedded_reber": (
        tasks.embedded_reber,
        dict,
        {"samples": count(1), "seed": SEED},
    ),
    "tasks.continual_reber": (
        tasks.continual_reber,
        lambda: {"samples": 2},
        {"samples": count(1), "sequence_length": count(1), "seed": SEED},
    ),
    "tasks.characters": (
        tasks.characters,
        lambda: {"text": "abcd" * 50},
        {
            "samples": count(1),
            "sequence_length": count(1),
            "text": takes("None", "long text"),
            "alphabet": takes("None", refuses=("abc", "aabcd", list("abcd"))),
            "seed": SEED,
        },
    ),
    "tasks.digits_by_row": (tasks.digits_by_row, dict, {"seed": SEED}),
    "tasks.python_documentation": (tasks.python_documentation, dict, {}),
    "tasks.electricity_demand": (tasks.electricity_demand, dict, {}),
    "tasks.electrocardiogram": (tasks.electrocardiogram, dict, {}),
    "tasks.japanese_vowels": (tasks.japanese_vowels, dict, {}),
    "tasks.stock_index": (tasks.stock_index, dict, {"name": WORD}),
    "tasks.ventilation": (
        tasks.ventilation,
        dict,
        {"machine": takes("0", "1", refuses=(2, 1.0))},
    ),
    "tasks.sine_waves": (
        tasks.sine_waves,
        dict,
        {"points": count(1), "noise": SIZE, "seed": SEED},
    ),
    "tasks.sliding_windows": (
        tasks.sliding_windows,
        lambda: {"series": np.arange(100.0)},
        {
            "series": takes(refuses=([1, np.inf] * 50, [1j] * 100, ["1"] * 100)),
            "sequence_length": count(1),
            "horizon": count(1),
        },
    ),
    "tasks.chronological_split": (
        tasks.chronological_split,
        lambda: {"x": X, "y": Y},
        {
            "x": ARRAY,
            "y": ARRAY,
            "train_size": SHARE,
            "gap": count(0),
        },
    ),
    "tasks.stratified_split": (
        tasks.stratified_split,
        lambda: {"x": X, "y": [0, 1, 0, 1], "train_size": 0.5},
        {
            "x": ARRAY,
            "y": takes(refuses=([0, 1, 2, 3], Y, [0, 1, 0])),
            "train_size": SHARE,
            "seed": SEED,
        },
    ),
    "Study.difference": (
        Study.difference,
        lambda: {"self": study(), "a": "LSTM", "b": "GRU"},
        {"a": WORD, "b": WORD, "metric": WORD, "mode": WORD},
    ),
    "Study.time_to": (
        Study.time_to,
        lambda: {"self": study(), "target": 1.0},
        {
            "target": SIZE.and_takes("-1", "10 ** 30", "infinity", "-infinity"),
            "metric": WORD,
        },
    ),
    "Study.to_markdown": (
        Study.to_markdown,
        lambda: {"self": study()},
        {"metric": WORD},
    ),
    "Study.to_string": (
        Study.to_string,
        lambda: {"self": study()},
        {"metric": WORD},
    ),
    "Study.summary": (Study.summary, lambda: {"self": study()}, {"metric": WORD}),
    "Difference.seeds_needed": (
        Difference.seeds_needed,
        lambda: {"self": difference(), "size": 1.0},
        {
            "size": takes("1", "-1", "0.5", "2.5", "1/2", "0-d array", "10 ** 30"),
            "power": SHARE,
        },
    ),
} | {
    name: (
        getattr(keras_gates, name),
        lambda: {"units": 2},
        {"units": ELSEWHERE, "return_gates": FLAG, "kernel": WORD},
    )
    for name in ("GateLSTM", "GateGRU")
}
