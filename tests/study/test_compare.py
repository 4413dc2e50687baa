"""The paired study: fair by construction, honest in what it reports."""

import math
import re
import types

import keras
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as some
from small_studies import (
    SAMPLES,
    X_VAL,
    Y_VAL,
    X,
    Y,
    build_dense,
    build_lstm,
    build_rival,
    compiled,
    draw,
    run,
    study_of,
)

SEEDS = [3, 1]


def of(runs, name):
    """The rows of one architecture."""
    return runs[runs["architecture"] == name]


@pytest.fixture(scope="module")
def study():
    builders = {"LSTM": build_lstm, "rival": build_rival, "LSTM again": build_lstm}
    return run(builders, seeds=SEEDS, epochs=3, batch_size=10)


# Fairness


def recorder(log):
    """A layer that notes the first feature of every sample it is trained on."""

    class Recorder(keras.layers.Layer):
        def call(self, inputs, training=None):
            if training:
                log.append(keras.ops.convert_to_numpy(inputs)[:, 0].astype(int))
            return inputs

        def compute_output_spec(self, inputs, training=None):
            return keras.KerasTensor(inputs.shape, inputs.dtype)

    return Recorder()


def test_every_architecture_sees_the_same_samples_in_the_same_order():
    # Keras draws its own order from the global random state, which differs as soon as
    # one model has more weights, and it touches the data while it builds a model.
    x = np.arange(SAMPLES, dtype="float32")[:, None]
    batches = {"built": [], "not built": [], "random": []}

    def build(name, *before):
        layers = [*before, recorder(batches[name]), keras.layers.Dense(1)]
        return compiled(layers, run_eagerly=True)

    def build_random():
        np.random.default_rng().normal(size=9)
        keras.random.normal((9,))
        return build("random", keras.layers.Identity(), keras.layers.Dropout(0))

    builders = {
        "built": lambda: build("built", keras.Input((1,))),
        "not built": lambda: build("not built"),
        "random": build_random,
    }
    run(builders, x, Y, validation_data=(x, Y), seeds=SEEDS, epochs=2)
    expected = [
        np.random.default_rng((seed, epoch)).permutation(SAMPLES)
        for seed in SEEDS
        for epoch in range(2)
    ]
    for name, seen in batches.items():
        assert [len(batch) for batch in seen] == [8, 8, 4] * 2 * len(SEEDS), name
        np.testing.assert_array_equal(np.concatenate(seen), np.concatenate(expected))


def test_an_architecture_against_itself_differs_by_exactly_nothing(study):
    for metric in ("val_loss", "val_mae", "loss"):
        first, again = (
            of(study.runs, name)[metric].tolist() for name in ("LSTM", "LSTM again")
        )
        assert first == again
        difference = study.difference("LSTM", "LSTM again", metric)
        assert (difference.mean, difference.low, difference.high) == (0, 0, 0)


def test_seeds_make_runs_differ(study):
    # Were the seed not used, every interval would be empty and every claim "shown".
    assert of(study.runs, "LSTM")["val_loss"].nunique() == 2


def test_a_study_repeats_itself_whatever_was_drawn_before(study):
    keras.random.normal((5,))
    repeated = run({"LSTM": build_lstm}, seeds=SEEDS[1:], epochs=3, batch_size=10)
    expected = of(study.runs, "LSTM")["val_loss"].tolist()
    assert repeated.runs["val_loss"].tolist() == expected[1:]


@pytest.mark.once
def test_the_runs_of_a_seed_come_before_those_of_the_next_and_are_handed_over():
    calls = []
    builders = {"b": build_dense, "a": build_dense}
    run(builders, seeds=2, on_run_end=lambda *run: calls.append(run))
    assert [call[:2] for call in calls] == [("b", 0), ("a", 0), ("b", 1), ("a", 1)]
    models = [call[2] for call in calls]
    assert len(set(map(id, models))) == 4
    assert all(model.optimizer.iterations == 3 for model in models)


# What is measured


def test_runs_hold_a_row_for_each_architecture_and_seed(study):
    runs = study.runs
    assert runs.columns.tolist() == [
        "architecture",
        "seed",
        "learning_rate",
        "parameters",
        "first_epoch_seconds",
        "epoch_seconds",
        "inference_seconds",
        "peak_memory",
        "best_epoch",
        "loss",
        "mae",
        "val_loss",
        "val_mae",
        "diverged",
    ]
    assert runs["architecture"].tolist() == ["LSTM", "rival", "LSTM again"] * 2
    assert runs["seed"].tolist() == np.repeat(SEEDS, 3).tolist()
    # An LSTM of two units on one input, then a Dense layer; a Dense layer on five.
    parameters = {"LSTM": 4 * 2 * (1 + 2 + 1) + 3, "rival": 5 + 1}
    for name, expected in parameters.items():
        assert set(of(runs, name)["parameters"]) == {expected}
    assert not runs["diverged"].any()


def test_the_history_is_labelled_and_ends_where_the_runs_do(study):
    history = study.history
    assert dict(history.sizes) == {"architecture": 3, "seed": 2, "epoch": 3}
    assert history["epoch"].values.tolist() == [1, 2, 3]
    assert history["seed"].values.tolist() == SEEDS
    assert history["val_loss"].attrs["long_name"] == "validation loss"
    assert history["seconds"].attrs["units"] == "s"
    assert history.attrs["backend"] == keras.backend.backend()
    for row in study.runs.itertuples():
        here = history.sel(architecture=row.architecture, seed=row.seed)
        assert float(here["val_mae"][-1]) == row.val_mae
        assert float(here["seconds"][0]) == row.first_epoch_seconds
        assert float(here["seconds"][1:].mean()) == pytest.approx(row.epoch_seconds)
        assert (here["seconds"] > 0).all()


def test_the_clock_runs_while_training_and_not_while_validating(monkeypatch):
    # A slow validation charged to training would hide what is compared.
    now = [0]

    class Slow(keras.Sequential):
        def train_step(self, *arguments):
            now[0] += 1
            return super().train_step(*arguments)

        def test_step(self, *arguments):
            now[0] += 1000
            return super().test_step(*arguments)

    def build():
        model = Slow([keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile(optimizer="sgd", loss="mse", run_eagerly=True)
        return model

    clock = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("keras_gates.study.clocks.time", clock)
    study = run({"slow": build}, epochs=3)
    assert now[0] > 3000
    assert study.history["seconds"].values.tolist() == [[[3, 3, 3]]]


def test_inputs_and_targets_stay_paired_in_structures_of_tensors():
    x = {"left": draw(40, 1), "right": 2 * draw(40, 1)}
    x["left"] = keras.ops.convert_to_tensor(x["left"])
    y = [3 * draw(40, 1), -draw(40, 1)]  # Lists, as Keras takes them.

    def build():
        inputs = {name: keras.Input((1,), name=name) for name in x}
        joined = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
        outputs = [keras.layers.Dense(1)(joined), keras.layers.Dense(1)(joined)]
        model = keras.Model(inputs, outputs)
        model.compile(optimizer=keras.optimizers.SGD(0.05), loss=["mse", "mse"])
        return model

    study = run({"linear": build}, x, y, validation_data=(x, y), epochs=40)
    # Targets out of step with their inputs would leave a loss near 10.
    assert study.runs["val_loss"].item() < 1e-3


@pytest.mark.once
def test_automatic_metric_names_are_one_column():
    # Keras calls the AUC of the second model "auc_1", of the third "auc_2": a column
    # for each run, and no metric to compare.
    def build():
        metrics = [
            keras.metrics.AUC(),
            keras.metrics.MeanAbsoluteError(name="error_of_10"),
            keras.metrics.AUC(),
        ]
        layers = [keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")]
        return compiled(layers, loss="binary_crossentropy", metrics=metrics)

    answers = (Y > 0).astype("float32"), (Y_VAL > 0).astype("float32")
    study = run(
        {"a": build, "b": build}, X, answers[0], validation_data=(X_VAL, answers[1])
    )
    names = ["auc", "auc_1", "error_of_10"]
    assert set(study.history.data_vars) == {
        "loss",
        "val_loss",
        "seconds",
        "elapsed",
        *names,
        *(f"val_{name}" for name in names),
    }
    assert not study.runs[names].isna().any(axis=None)


def test_a_diverged_run_is_kept_and_marked():
    def build(learning_rate):
        return lambda: build_dense(optimizer=keras.optimizers.SGD(learning_rate))

    builders = {"steady": build(0.01), "wild": build(1e30)}
    study = run(builders, seeds=2)
    assert study.runs["diverged"].tolist() == [False, True, False, True]
    summary = study.summary()
    assert summary["diverged"].tolist() == [0, 2]
    assert np.isfinite(
        summary.loc["steady", ["mean", "low", "high"]].astype(float)
    ).all()
    assert summary.loc["wild", ["mean", "low", "high"]].isna().all()
    assert math.isnan(study.difference("steady", "wild").mean)
    text = str(study)
    assert "Diverged (a loss was NaN or infinite)" in text
    assert "wild, seed 0\n  wild, seed 1" in text
    assert "steady - wild: not known, because a value is not finite" in text


# Intervals


@pytest.mark.once
@given(
    some.integers(2, 6).flatmap(
        lambda seeds: some.lists(
            some.lists(some.floats(0, 9), min_size=seeds, max_size=seeds),
            min_size=2,
            max_size=2,
        )
    )
)
def test_intervals_are_those_of_student(losses):
    a, b = map(np.array, losses)
    study = study_of({"LSTM": a, "GRU": b})
    difference = study.difference("LSTM", "GRU")
    pairs = a - b
    expected = scipy.stats.t.interval(
        0.95, len(a) - 1, loc=pairs.mean(), scale=max(scipy.stats.sem(pairs), 1e-300)
    )
    assert difference.mean == pytest.approx(pairs.mean(), abs=1e-12)
    assert (difference.low, difference.high) == pytest.approx(expected, abs=1e-9)
    assert difference.seeds == len(a)
    turned = study.difference("GRU", "LSTM")
    assert (turned.low, turned.high) == (-difference.high, -difference.low)


def test_the_difference_is_taken_within_pairs(study):
    runs = study.runs.pivot(index="seed", columns="architecture", values="val_mae")
    test = scipy.stats.ttest_rel(runs["LSTM"], runs["rival"])
    expected = test.confidence_interval(0.95)
    difference = study.difference("LSTM", "rival", "val_mae")
    assert difference.mean == pytest.approx((runs["LSTM"] - runs["rival"]).mean())
    assert (difference.low, difference.high) == pytest.approx(tuple(expected))


def test_the_summary_is_in_the_order_of_the_builders(study):
    summary = study.summary("val_mae")
    assert summary.index.tolist() == ["LSTM", "rival", "LSTM again"]
    assert summary["parameters"].tolist() == [35, 6, 35]
    for name, row in summary.iterrows():
        runs = of(study.runs, name)
        expected = scipy.stats.t.interval(
            0.95,
            len(runs) - 1,
            loc=runs["val_mae"].mean(),
            scale=scipy.stats.sem(runs["val_mae"]),
        )
        assert (row["low"], row["high"]) == pytest.approx(expected)
        assert row["mean"] == pytest.approx(runs["val_mae"].mean())
        for seconds in ("first_epoch_seconds", "epoch_seconds"):
            assert row[seconds] == pytest.approx(runs[seconds].mean())


@pytest.fixture(scope="module")
def one_seed():
    return run({"dense": build_dense, "too": build_dense})


@pytest.mark.once
@pytest.mark.parametrize(
    "ask",
    [lambda study: study.difference("dense", "too"), lambda study: study.summary()],
)
def test_one_seed_has_no_interval(one_seed, ask):
    with pytest.raises(ValueError, match="An interval over seeds needs at least two"):
        ask(one_seed)


@pytest.mark.once
def test_a_single_seed_and_epoch_are_printed_without_what_they_lack(one_seed):
    text = str(one_seed)
    assert "One seed: no interval, and no difference can be shown." in text
    assert "Differences" not in text
    assert f"{one_seed.runs['val_loss'][0]:.4g}" in text
    assert text.startswith("2 architectures, 1 seed, 1 epoch\n")
    assert math.isnan(one_seed.runs["epoch_seconds"][0])


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("LSTM", "RNN"),
            "`b` must be one of the architectures of this study, 'LSTM', 'GRU'; "
            "got 'RNN'.",
        ),
        (("gru", "LSTM"), "`a` must be one of the architectures of this study"),
        (
            ("LSTM", "GRU", "val_accuracy"),
            "`metric` must be one of the metrics of this study, 'parameters', "
            "'first_epoch_seconds', 'epoch_seconds', 'val_loss'; got 'val_accuracy'.",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        study_of({"LSTM": [1, 2], "GRU": [1, 2]}).difference(*arguments)


# Printing


@pytest.mark.once
def test_the_printed_table_says_it_all():
    study = study_of(
        {"LSTM": [0.11, 0.12, 0.13], "GRU": [0.21, 0.22, 0.24], "RNN": [0.1, 0.2, 0.3]}
    )
    lines = str(study).splitlines()
    assert lines[0] == "3 architectures, 3 seeds, 2 epochs"
    row = next(line for line in lines if line.strip().startswith("LSTM "))
    low, high = scipy.stats.t.interval(0.95, 2, loc=0.12, scale=0.01 / math.sqrt(3))
    expected = ["LSTM", "1,234", "2", "0.25", "0.12", f"{low:.3g}", "to", f"{high:.3g}"]
    assert row.split() == expected
    assert sum("LSTM - GRU: -0.103 (" in line for line in lines) == 1
    assert any(line.endswith("): LSTM is lower") for line in lines)
    assert any(
        "LSTM - RNN" in line and line.endswith("): no difference shown")
        for line in lines
    )
    assert sum(" - " in line for line in lines) == 3


@pytest.mark.once
def test_the_printed_table_suits_a_log():
    # No colour codes, no characters that an old terminal lacks, no markup eaten.
    names = ["GRU [bold]", "an architecture whose name goes on and on and on and on"]
    text = str(study_of({name: [1.23456e-5, 2.34567e-5] for name in names}))
    assert text.isascii()
    assert "\x1b" not in text
    table = text.split("Differences")[0]
    assert "GRU [bold]" in table
    assert max(map(len, table.splitlines())) <= 80
    assert not any(line != line.rstrip() for line in text.splitlines())


@pytest.mark.once
def test_the_printed_table_never_cuts_a_number_short():
    losses = {"LSTM": [-1.2345e-11, -3.4567e-11], "a" * 99: [0, 0]}
    low, high = scipy.stats.t.interval(0.95, 1, loc=-2.3456e-11, scale=1.1111e-11)
    row = next(line for line in str(study_of(losses)).splitlines() if "LSTM" in line)
    assert row.split()[-4:] == ["-2.346e-11", f"{low:.3g}", "to", f"{high:.3g}"]


@pytest.mark.once
def test_progress_is_shown_when_asked_and_only_then(capsys):
    builders = {"GRU [fast]": build_dense}
    run(builders)
    assert capsys.readouterr() == ("", "")
    run(builders, verbose=1, seeds=2)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    for seed, line in enumerate(lines):
        pattern = (
            rf"{seed + 1} of 2 runs: GRU \[fast\], seed {seed}, learning rate 0.01"
        )
        assert re.match(pattern + r": val_loss [\d.]+, [\d.]+ s$", line)
    assert len(lines) == 2


# Bad input


def uncompiled():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])


def always(value):
    return lambda: value


def sharing():
    """A builder whose layers were made outside of it."""
    dense = keras.layers.Dense(1)
    dense.build((None, 5))
    return lambda: compiled([keras.layers.Flatten(), dense])


def sharing_optimizer():
    optimizer = keras.optimizers.SGD()
    return lambda: build_dense(optimizer=optimizer)


def two_outputs():
    return compiled([keras.layers.Flatten(), keras.layers.Dense(2)])


def other_loss():
    return build_dense(loss="mae")


@pytest.mark.once
@pytest.mark.parametrize(
    ("builders", "error", "sentence"),
    [
        ([build_dense], TypeError, "`models` must map names .*; got a list"),
        ({}, ValueError, "`models` must hold at least one architecture; it is empty"),
        ({1: build_dense}, TypeError, "must have names as keys; got 1, an int"),
        (
            {"LSTM": "LSTM"},
            TypeError,
            r"`models\['LSTM'\]` must be a function .*; got a str",
        ),
        (
            {"a": lambda: None},
            TypeError,
            r"`models\['a'\]` must return a compiled keras.Model; it returned None",
        ),
        (
            {"a": uncompiled},
            ValueError,
            r"`models\['a'\]` must return a compiled model; .* Call `model.compile",
        ),
        (
            {"a": sharing()},
            ValueError,
            "shares its optimizer or trainable weights with an earlier one",
        ),
        (
            {"a": sharing_optimizer()},
            ValueError,
            "shares its optimizer or trainable weights with an earlier one",
        ),
        (
            {"a": build_dense, "b": two_outputs},
            ValueError,
            r"models for one task; .* have shape \(1,\) from 'a' but \(2,\) from 'b'",
        ),
        (
            {"a": build_dense, "b": other_loss},
            ValueError,
            "the loss mean_squared_error in 'a' but mean_absolute_error in 'b'",
        ),
    ],
)
def test_bad_builders_get_a_sentence_before_anything_is_trained(
    builders, error, sentence
):
    trained = []
    with pytest.raises(error, match=sentence):
        run(builders, on_run_end=lambda name, *_: trained.append(name))
    assert not trained


@pytest.mark.once
def test_a_model_returned_twice_is_refused():
    model = build_dense()
    for builders in ({"a": always(model)}, {"a": always(model), "b": always(model)}):
        with pytest.raises(ValueError, match="must return a new model on every call"):
            run(builders)


@pytest.mark.once
def test_two_names_of_one_loss_are_one_task():
    losses = ["mse", "mean_squared_error", "MeanSquaredError"]
    builders = {loss: lambda loss=loss: build_dense(loss=loss) for loss in losses}
    assert run(builders).runs["val_loss"].nunique() == 1


def test_a_frozen_layer_may_be_shared():
    # A normalization adapted to the training data is nothing that runs could pass on.
    shared = keras.layers.Dense(3)
    shared.build((None, 5))
    shared.trainable = False
    layers = [keras.layers.Flatten, lambda: shared, lambda: keras.layers.Dense(1)]
    study = run({"a": lambda: compiled([make() for make in layers])})
    assert len(study.runs) == 1


@pytest.mark.once
def test_an_error_inside_a_builder_names_the_architecture():
    def build():
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer") as caught:
        run({"broken": build})
    assert "'broken'" in caught.value.__notes__[0]


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"seeds": 0}, ValueError, "`seeds` must be at least 1; got 0"),
        ({"seeds": []}, ValueError, "`seeds` must hold at least one seed"),
        ({"seeds": [1, 1]}, ValueError, r"each only once; got \[1, 1\]"),
        ({"seeds": [-1, 1]}, ValueError, "`seeds` must be at least 0; got -1"),
        ({"seeds": "ab"}, TypeError, "`seeds` must be a number of seeds or a sequence"),
        ({"seeds": 1.5}, TypeError, "`seeds` must be a number of seeds or a sequence"),
        ({"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1; got 0"),
        ({"verbose": 2}, ValueError, "`verbose` must be one of 0, 1; got 2"),
        ({"on_run_end": 3}, TypeError, "`on_run_end` must be a function of"),
        (
            {"validation_data": None},
            ValueError,
            r"`validation_data` must be a pair \(x_val, y_val\), .*; got None",
        ),
        (
            {"validation_data": (X_VAL, Y_VAL, Y_VAL)},
            ValueError,
            "without sample weights; got a tuple of length 3",
        ),
        (
            {"validation_data": (X_VAL, Y_VAL[:-1])},
            ValueError,
            r"`x_val` and `y_val` of .* must have one row .* \(6, 5, 1\), \(5, 1\)",
        ),
        (
            {"validation_data": (X_VAL[..., 0], Y_VAL)},
            ValueError,
            "`x` and its part of `validation_data` must be built alike; .* 3 and 2",
        ),
        (
            {"validation_data": ({"x": X_VAL}, Y_VAL)},
            ValueError,
            "`x` and its part of `validation_data` must be built alike",
        ),
        ({"y": Y[:-1]}, ValueError, r"`x` and `y` must have one row for each sample"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "`x` must have at least one sample"),
        ({"y": None}, TypeError, "`y` must be an array, .*; it holds None"),
        ({"y": Y.tolist()}, TypeError, "`y` must be an array, .*; it holds a float"),
        ({"x": {}}, ValueError, "`x` must hold at least one array"),
        (
            {"x": np.where(X > 2, np.nan, X)},
            ValueError,
            "`x` must hold finite numbers; . of 100 are NaN or infinite",
        ),
    ],
)
def test_bad_arguments_get_a_sentence(options, error, sentence):
    with pytest.raises(error, match=sentence):
        run({"dense": build_dense}, **options)
