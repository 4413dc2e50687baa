"""A study that is tuned, kept, resumed, spread over processes, and asked questions."""

import json
import os
import shutil
import signal

import joblib
import keras
import numpy as np
import pytest
import scipy.stats
from small_studies import (
    SAMPLES,
    VALIDATION,
    X,
    Y,
    build_dense,
    build_lstm,
    compiled,
    draw,
    run,
    study_of,
)

import keras_gates
from keras_gates import Recipe
from keras_gates.study.builders import builders_of
from keras_gates.study.study_data import checked_data

BACKEND = keras.backend.backend()


def losses(study):
    return study.runs[["architecture", "seed", "loss", "val_loss"]].to_dict("list")


# Architectures by name


def built(names=("LSTM", "GRU", "SimpleRNN"), x=X, y=Y, **options):
    data = checked_data(x, y, (x, y))
    return builders_of(names, Recipe(**options), data)


@pytest.mark.once
def test_named_architectures_differ_in_their_layer_only():
    layers = keras.layers
    for name, build in built(units=3, layers=2).items():
        model = build()
        first, second, head = model.layers
        assert type(first) is type(second) is getattr(layers, name)
        assert (first.units, second.units) == (3, 3)
        assert first.return_sequences and not second.return_sequences
        assert head.units == 1
        assert model.loss == "mse"


@pytest.mark.once
def test_matched_by_parameters_no_other_number_of_units_comes_closer():
    for units, depth in ((8, 1), (5, 2)):
        builders = built(units=units, layers=depth, match="parameters")
        wanted = builders["LSTM"]().count_params()
        assert builders["LSTM"].units == units
        for name in ("GRU", "SimpleRNN"):
            chosen = builders[name].units
            gap = abs(builders[name]().count_params() - wanted)
            for other in (chosen - 1, chosen + 1):
                model = built((name,), units=other, layers=depth)[name]()
                assert abs(model.count_params() - wanted) >= gap
            assert chosen > units


@pytest.mark.once
@pytest.mark.parametrize(
    ("x", "y", "outputs", "loss"),
    [
        (X, Y, (None, 1), "mse"),
        (X, Y[:, 0], (None, 1), "mse"),
        (X, np.arange(SAMPLES) % 4, (None, 4), "sparse_categorical_crossentropy"),
        (X, draw(SAMPLES, 5, 2), (None, 5, 2), "mse"),
        (
            np.arange(SAMPLES * 5).reshape(SAMPLES, 5) % 7,
            np.arange(SAMPLES * 5).reshape(SAMPLES, 5) % 3,
            (None, 5, 3),
            "sparse_categorical_crossentropy",
        ),
    ],
)
def test_the_recipe_follows_from_the_data(x, y, outputs, loss):
    model = built(("GRU",), x, y, units=2)["GRU"]()
    assert model.output_shape == outputs
    assert model.loss == loss
    assert np.isfinite(model.evaluate(x, y, verbose=0, return_dict=True)["loss"])


@pytest.mark.once
def test_a_head_and_a_loss_of_ones_own():
    def head():
        return [keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)]

    def optimizer():
        return keras.optimizers.SGD(0.3)

    options = {"head": head, "loss": "mae", "metrics": ["mse"], "optimizer": optimizer}
    study = run(["LSTM", "GRU"], recipe=Recipe(units=2, **options))
    assert {"mse", "val_mse"} <= set(study.runs)
    assert study.runs["learning_rate"].values == pytest.approx(0.3)


# Learning rates


def test_each_architecture_gets_the_rate_with_which_it_learns():
    # One has inputs a hundred times as large, and a rate that suits it is small.
    def build(scale):
        def builder():
            layers = [keras.layers.Flatten(), keras.layers.Rescaling(scale)]
            return compiled([*layers, keras.layers.Dense(1)])

        return builder

    rates = [1e-1, 1e-5]  # The first lets the one with large inputs diverge.
    y = X.sum((1, 2))[:, None]
    study = run(
        {"small": build(1), "large": build(100)},
        y=y,
        validation_data=(X, y),
        learning_rates=rates,
        epochs=3,
    )
    assert len(study.trials) == 4
    chosen = study.runs.groupby("architecture")["learning_rate"].agg(set)
    for name in ("small", "large"):
        trials = study.trials[study.trials["architecture"] == name]
        best = trials.loc[trials["val_loss"].idxmin(), "learning_rate"]
        assert chosen[name] == {best}
    assert chosen["small"] == {1e-1} and chosen["large"] == {1e-5}
    # Chosen with another seed than those that are reported.
    assert not set(study.trials["seed"]) & set(study.runs["seed"])
    assert "Learning rates, chosen by validation loss: small 0.1, large" in str(study)


@pytest.mark.once
@pytest.mark.parametrize(
    ("rates", "error", "sentence"),
    [
        (0.1, TypeError, "`learning_rates` must be a list of numbers"),
        ([], ValueError, "must hold at least one number"),
        ([0.1, -1], ValueError, "each above 0"),
        ([1e30, 1e31], ValueError, "must hold a rate with which 'a' learns"),
    ],
)
def test_bad_learning_rates_get_a_sentence(rates, error, sentence):
    with pytest.raises(error, match=sentence):
        run({"a": build_dense}, learning_rates=rates, epochs=3)


def test_a_schedule_is_not_overwritten():
    def build():
        schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
        return build_dense(optimizer=keras.optimizers.SGD(schedule))

    with pytest.raises(ValueError, match="whose learning rate follows a schedule"):
        run({"a": build}, learning_rates=[0.1, 0.2])
    assert run({"a": build}).runs["learning_rate"].item() == pytest.approx(0.1)


# Measures


def test_what_is_measured_is_plausible():
    study = run({"LSTM": build_lstm}, epochs=3, seeds=2)
    row = study.runs.iloc[0]
    assert 0 < row.inference_seconds < 1
    assert 1e7 < row.peak_memory < 1e11
    validation = study.history["val_loss"].sel(seed=0, architecture="LSTM")
    assert row.best_epoch == 1 + int(validation.values.argmin())
    assert study.history["updates"].values.tolist() == [3, 6, 9]
    np.testing.assert_allclose(
        study.history["elapsed"], study.history["seconds"].cumsum("epoch")
    )


@pytest.mark.once
def test_the_time_to_a_target_is_that_of_the_first_epoch_there():
    study = run({"dense": build_dense}, epochs=4, seeds=2)
    for seed in range(2):
        values = study.history["loss"].sel(architecture="dense", seed=seed).values
        target = values[2]
        first = int(np.argmax(values <= target))
        row = study.time_to(target, "loss").loc["dense", seed]
        assert row["epochs"] == first + 1
        assert row["updates"] == 3 * (first + 1)
        elapsed = study.history["seconds"].sel(seed=seed)[0, : first + 1].sum()
        assert row["seconds"] == pytest.approx(float(elapsed))
    assert study.time_to(-1.0).isna().all(axis=None)
    with pytest.raises(ValueError, match="`metric` must be one of the metrics"):
        study.time_to(0, "val_accuracy")


def test_predictions_are_those_of_the_trained_models():
    models = {}
    study = run(
        {"a": build_dense, "b": build_lstm},
        seeds=2,
        keep_predictions=True,
        on_run_end=lambda name, seed, model: models.update({(name, seed): model}),
    )
    assert study.predictions.dims == ("architecture", "seed", "sample", "output_0")
    for (name, seed), model in models.items():
        expected = model.predict(VALIDATION[0], verbose=0)
        found = study.predictions.sel(architecture=name, seed=seed)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gates_are_recorded_for_each_run():
    def recorder(name, seed):
        return keras_gates.GateRecorder(X[:2], samples_per_batch="all")

    study = run({"LSTM": build_lstm}, seeds=2, epochs=2, make_recorder=recorder)
    assert list(study.gates) == [("LSTM", 0), ("LSTM", 1)]
    traces, statistics = (
        [next(iter(gates[name].children.values())) for gates in study.gates.values()]
        for name in ("traces", "statistics")
    )
    assert traces[0]["forget"].sizes["step"] == 3
    assert not np.allclose(traces[0]["forget"], traces[1]["forget"])
    assert statistics[0]["mean"].sizes["step"] == 2


# Answers


@pytest.mark.once
def test_the_test_and_the_probability_are_those_of_student():
    a, b = np.array([0.3, 0.1, 0.4, 0.15]), np.array([0.35, 0.3, 0.38, 0.4])
    difference = study_of({"a": a, "b": b}).difference("a", "b")
    assert difference.p_value == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue)
    # One more pair, drawn many times from what Student's t predicts.
    rng = np.random.default_rng(0)
    pairs = a - b
    deviations = pairs.std(ddof=1) * np.sqrt(3 / rng.chisquare(3, 200_000))
    means = rng.normal(pairs.mean(), deviations / 2)
    next_pair = rng.normal(means, deviations)
    assert difference.prob_a_better == pytest.approx((next_pair < 0).mean(), abs=0.005)
    turned = study_of({"a": a, "b": b}).difference("b", "a")
    assert turned.prob_a_better == pytest.approx(1 - difference.prob_a_better)


@pytest.mark.once
def test_higher_is_better_for_some_metrics():
    study = study_of({"a": [0.1, 0.2, 0.3], "b": [0.3, 0.5, 0.45]})
    study.runs["val_accuracy"] = study.runs["val_loss"]
    assert study.difference("a", "b").prob_a_better > 0.9
    assert study.difference("a", "b", "val_accuracy").prob_a_better < 0.1
    lower = study.difference("a", "b", "val_accuracy", mode="min")
    assert lower.prob_a_better > 0.9
    with pytest.raises(ValueError, match="`mode` must be one of 'auto', 'min', 'max'"):
        study.difference("a", "b", mode="best")


@pytest.mark.once
def test_pairs_that_are_equal_are_no_evidence():
    difference = study_of({"a": [0.1, 0.2], "b": [0.1, 0.2]}).difference("a", "b")
    assert (difference.p_value, difference.prob_a_better) == (1.0, 0.5)
    assert "no difference shown" in str(difference)


@pytest.mark.once
def test_the_seeds_needed_are_those_that_find_it_in_simulations():
    rng = np.random.default_rng(1)
    pairs = rng.normal(0, 1, 20)
    difference = study_of({"a": pairs, "b": 0 * pairs}).difference("a", "b")
    seeds = difference.seeds_needed(0.8)

    def found(seeds):
        draws = rng.normal(0.8, difference.std, (20_000, seeds))
        return (scipy.stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()

    assert found(seeds) > 0.78
    assert found(seeds - 1) < 0.81
    assert difference.seeds_needed(-0.8) == seeds
    assert difference.seeds_needed(0.08) > 50 * seeds
    with pytest.raises(ValueError, match="`size` must be a finite number, not 0"):
        difference.seeds_needed(0)
    with pytest.raises(ValueError, match="`power` must lie between 0 and 1"):
        difference.seeds_needed(1, power=2)


@pytest.mark.once
def test_markdown_has_the_figures_of_the_table():
    study = study_of({"LSTM": [0.11, 0.13], "GRU": [0.2, 0.3]})
    rows = [line for line in study.to_markdown().splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[0].split("|")[1:3]] == [
        "architecture",
        "parameters",
    ]
    assert len(rows) == 4
    assert [cell.strip() for cell in rows[2].split("|")][1:6:4] == ["LSTM", "0.12"]


# Kept, and continued


class Stop(Exception):
    pass


def stop_after(count, calls):
    def on_run_end(name, seed, model):
        calls.append((name, seed))
        if len(calls) > count:
            raise Stop

    return on_run_end


@pytest.mark.once
def test_an_interrupted_study_resumes_where_it_stopped(tmp_path):
    builders = {"LSTM": build_lstm, "a/b: *": build_dense}
    options = {
        "seeds": 2,
        "epochs": 2,
        "keep_predictions": True,
        "learning_rates": [0.1, 0.01],
    }
    whole = run(builders, **options)
    calls = []
    with pytest.raises(Stop):
        run(builders, directory=tmp_path, on_run_end=stop_after(2, calls), **options)
    again = []
    study = run(
        builders, directory=tmp_path, on_run_end=stop_after(99, again), **options
    )
    # The third was cut off before it was kept; the first two are not repeated.
    assert again == [("LSTM", 1), ("a/b: *", 1)]
    assert losses(study) == losses(whole)
    np.testing.assert_array_equal(study.predictions, whole.predictions)
    assert study.trials["val_loss"].tolist() == whole.trials["val_loss"].tolist()
    nothing = []
    run(builders, directory=tmp_path, on_run_end=stop_after(0, nothing), **options)
    assert not nothing


@pytest.mark.once
def test_a_study_begins_where_its_writer_was_killed_at_once(tmp_path):
    (tmp_path / ".study.json").write_text("{")
    assert len(run({"a": build_dense}, directory=tmp_path).runs) == 1


@pytest.mark.once
def test_more_seeds_go_on_with_a_study(tmp_path):
    run({"a": build_dense}, directory=tmp_path, seeds=2)
    calls = []
    study = run(
        {"a": build_dense}, directory=tmp_path, seeds=3, on_run_end=stop_after(9, calls)
    )
    assert calls == [("a", 2)] and len(study.runs) == 3


@pytest.mark.once
def test_a_study_of_something_else_is_refused_and_not_mixed(tmp_path):
    run({"a": build_dense}, directory=tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    wide = draw(SAMPLES, 5, 1) + 1
    for change, words in (
        ({"epochs": 2}, "its epochs was 1, and is now 2"),
        ({"x": wide}, "its data have changed"),
        ({"batch_size": 4}, "its batch_size was 8"),
        ({"models": {"a": build_lstm}}, "its architecture 'a' has changed"),
        ({"models": {"b": build_dense}}, "its architectures were a, and are now b"),
        (
            {"models": {"a": lambda: build_dense(optimizer="adam")}},
            "its architecture 'a' has changed",
        ),
        ({"learning_rates": [0.1]}, "its learning_rates was"),
    ):
        arguments = {"models": {"a": build_dense}, "directory": tmp_path, **change}
        with pytest.raises(ValueError, match=f"cannot be continued: {words}"):
            run(**arguments)
    about = json.loads((tmp_path / "study.json").read_text())
    about["keras_gates"] = "0.0.1"
    (tmp_path / "study.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="its keras_gates was '0.0.1', and is now"):
        run({"a": build_dense}, directory=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.once
def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="`directory` must be new, empty or that of a"):
        run({"a": build_dense}, directory=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"head": lambda: 3},
            TypeError,
            "`head` must be a function .* returned an int",
        ),
        ({"stem": lambda: [None]}, TypeError, "`stem` must .* returned None"),
        ({"optimizer": lambda: "adam"}, TypeError, "`optimizer` must .* a str"),
    ],
)
def test_a_recipe_whose_functions_return_something_else(options, error, sentence):
    with pytest.raises(error, match=sentence):
        run(["LSTM"], recipe=Recipe(units=2, **options))


@pytest.mark.once
def test_a_recorder_that_is_none_is_refused():
    with pytest.raises(TypeError, match="`make_recorder` must .* returned an int"):
        run({"LSTM": build_lstm}, make_recorder=lambda name, seed: 3)


def test_data_that_do_not_fit_the_model_are_refused():
    with pytest.raises(ValueError, match=r"`x` must fit the model of `models\['a'"):
        run({"a": lambda: build_lstm_of(3)})
    wide = np.repeat(VALIDATION[0], 2, -1)
    with pytest.raises(ValueError, match="`x_val` of `validation_data` must fit"):
        run({"a": lambda: build_lstm_of(1)}, validation_data=(wide, VALIDATION[1]))
    two = np.repeat(VALIDATION[1].reshape(-1, 1), 2, -1)
    with pytest.raises(ValueError, match="`y_val` of `validation_data` must have"):
        y = Y.reshape(-1, 1)
        run({"a": build_lstm}, y=y, validation_data=(VALIDATION[0], two))


def build_lstm_of(features):
    model = keras.Sequential(
        [
            keras.Input((None, features)),
            keras.layers.LSTM(2),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model


@pytest.mark.once
def test_a_file_of_the_users_that_is_called_study_json_is_left_alone(tmp_path):
    (tmp_path / "study.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="'.*study.json' is not the .* of a study"):
        run({"a": build_dense}, directory=tmp_path)
    assert (tmp_path / "study.json").read_text() == '{"mine": 1}'


@pytest.mark.once
@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\xff", "[" * 99_999])
@pytest.mark.parametrize("with_runs", [True, False])
def test_a_damaged_study_is_named(text, with_runs, tmp_path):
    if with_runs:
        (tmp_path / "a-0-12345678").mkdir()
    (tmp_path / "study.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="'.*study.json' is not the .* of a study"):
        run({"a": build_dense}, directory=tmp_path)
    assert (tmp_path / "study.json").read_bytes() == text.encode("latin-1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a study with two runs, and its predictions."""
    folder = tmp_path_factory.mktemp("study") / "kept"
    run({"a": build_dense}, directory=folder, seeds=2, keep_predictions=True)
    return folder


DAMAGES = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "not UTF-8": lambda text: b"\xff",
    "a key less": lambda text: changed(text, seconds=None),
    "a key more": lambda text: changed(text, more=1),
    "another seed": lambda text: changed(text, seed=7),
    "another architecture": lambda text: changed(text, architecture="b"),
    "seed of text": lambda text: changed(text, seed="0"),
    "seconds of text": lambda text: changed(text, seconds=["a"]),
    "no seconds": lambda text: changed(text, seconds=[]),
    "a number for the history": lambda text: changed(text, history=3),
    "text in the history": lambda text: changed(text, history={"loss": ["a"]}),
    "no val_loss": lambda text: changed(text, history={"loss": [1.0]}),
    "epochs too many": lambda text: changed(text, history={"val_loss": [1.0] * 3}),
    "parameters of text": lambda text: changed(text, parameters="many"),
    "true updates": lambda text: changed(text, updates=True),
    "memory of text": lambda text: changed(text, peak_memory="all"),
    "inference of None": lambda text: changed(text, inference_seconds=[]),
}


def changed(text, **changes):
    fields = json.loads(text) | changes
    return json.dumps({k: value for k, value in fields.items() if value is not None})


@pytest.mark.once
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_named(damage, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    file = next(folder.glob("a-0-*")) / "run.json"
    text = damage(file.read_text())
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"'.*a-0-.*run.json' .*[Rr]emove .*a-0-"):
        run({"a": build_dense}, directory=folder, seeds=2, keep_predictions=True)


@pytest.mark.once
@pytest.mark.parametrize("damage", ["missing", "truncated", "of objects", "no rows"])
def test_damaged_predictions_are_named(damage, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    file = next(folder.glob("a-0-*")) / "predictions.npy"
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "of objects":
        np.save(file, np.array([{}], object), allow_pickle=True)
    else:
        np.save(file, np.zeros((0, 1)))
    with pytest.raises(ValueError, match=r"'.*predictions.npy' .*[Rr]emove .*a-0-"):
        run({"a": build_dense}, directory=folder, seeds=2, keep_predictions=True)


@pytest.mark.once
def test_the_runs_of_another_study_are_refused(finished, tmp_path):
    """Of the same architecture, seed and learning rate, so of the same name."""
    other = {"epochs": 2, "seeds": 2, "keep_predictions": True}
    run({"a": build_dense}, directory=tmp_path, **other)
    for place in finished.glob("a-0-*"):
        shutil.rmtree(tmp_path / place.name)
        shutil.copytree(place, tmp_path / place.name)
    with pytest.raises(ValueError, match=r"run.json' .* another study.*[Rr]emove"):
        run({"a": build_dense}, directory=tmp_path, **other)


@pytest.mark.once
@pytest.mark.parametrize("place", ["file", "file/below", "link"])
def test_a_folder_that_cannot_be_one_is_refused(place, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="`directory` must be a folder"):
        run({"a": build_dense}, directory=tmp_path / place)


def test_recorded_gates_are_kept(tmp_path):
    def recorder(name, seed):
        return keras_gates.GateRecorder(X[:2])

    for _ in range(2):
        study = run({"LSTM": build_lstm}, directory=tmp_path, make_recorder=recorder)
        (layer,) = study.gates["LSTM", 0]["traces"].children.values()
        assert layer["forget"].shape == (2, 2, 5, 2)


# Spread over processes


def study_in(n_jobs, **options):
    return run(
        {"LSTM": build_lstm, "dense": build_dense},
        seeds=2,
        epochs=2,
        n_jobs=n_jobs,
        learning_rates=[0.1, 0.01],
        **options,
    )


def test_two_processes_give_the_same_numbers_in_the_same_order():
    one, two = study_in(1), study_in(2)
    assert losses(one) == losses(two)
    assert one.trials["val_loss"].tolist() == two.trials["val_loss"].tolist()


def killer(home, marker):
    def build():
        # The second run of it, in a worker, kills that worker, once.
        if os.getpid() != home and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return build_dense()

    return build


@pytest.mark.once
def test_a_worker_that_dies_is_reported_and_finished_runs_are_kept(tmp_path):
    marker, folder = tmp_path / "killed", tmp_path / "study"
    builders = {"a": build_dense, "killer": killer(os.getpid(), marker)}
    options = {"n_jobs": 2, "seeds": 3, "directory": folder}
    with pytest.raises(
        RuntimeError, match="A worker process died.*the same `directory`"
    ):
        run(builders, **options)
    kept = len(list(folder.glob("*/run.json")))
    calls = []
    study = run(builders, **{**options, "n_jobs": 1}, on_run_end=stop_after(9, calls))
    assert len(study.runs) == 6 and len(calls) == 6 - kept


@pytest.mark.once
def test_dask_workers_give_the_same_numbers_and_one_may_die(tmp_path):
    distributed = pytest.importorskip("distributed")
    marker = tmp_path / "killed"
    builders = {"a": build_lstm, "killer": killer(os.getpid(), marker)}
    alone = run(builders, seeds=3)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        spread = run(builders, seeds=3, directory=tmp_path / "study")
    assert marker.exists()
    assert losses(spread) == losses(alone)


@pytest.mark.once
def test_unknown_names_are_answered_with_the_known_ones():
    for builders, sentence in (
        (["LSTM", "Transformer"], "`models` must be one of 'LSTM', 'GRU', 'Simple"),
        (["LSTM", "LSTM"], "`models` must hold each name once"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run(builders)
    with pytest.raises(ValueError, match="`recipe` applies only to architectures that"):
        run({"a": build_dense}, recipe=Recipe())
    with pytest.raises(TypeError, match="`recipe` must be a keras_gates.Recipe"):
        run(["LSTM"], recipe={"units": 3})
    with pytest.raises(ValueError, match=r"`x` must have the shape \(sample, time, f"):
        run(["LSTM"], X[..., 0], validation_data=(X[..., 0], Y))
    with pytest.raises(TypeError, match="`head` must be a function that returns new"):
        Recipe(head=keras.layers.Dense(1))
    with pytest.raises(TypeError, match="`optimizer` must be a name, or a function"):
        Recipe(optimizer=keras.optimizers.SGD())
    with pytest.raises(ValueError, match="`match` must be one of 'units', 'param"):
        Recipe(match="size")


# What is around the recurrent layers, and their names


@pytest.mark.once
def test_a_custom_stem_is_before_the_recurrent_layers():
    padded = np.concatenate([X, np.zeros_like(X)], axis=1)
    options = {"units": 2, "stem": keras.layers.Masking}
    model = built(("LSTM",), padded, **options)["LSTM"]()
    assert type(model.layers[0]) is keras.layers.Masking
    short = built(("LSTM",), X, **options)["LSTM"]()
    short.set_weights(model.get_weights())
    expected = short.predict(X, verbose=0)
    np.testing.assert_allclose(model.predict(padded, verbose=0), expected, atol=1e-6)
    with pytest.raises(TypeError, match="`stem` must be a function that returns new"):
        Recipe(stem=keras.layers.Masking())


@pytest.mark.once
def test_layers_have_the_same_names_in_every_model():
    builders = built(units=2, layers=2)
    for _ in range(2):
        names = {
            name: [layer.name for layer in build().layers[:2]]
            for name, build in builders.items()
        }
        assert names["LSTM"] == ["lstm", "lstm_1"]
        assert names["GRU"] == ["gru", "gru_1"]


def test_sequences_to_validate_with_may_be_longer():
    longer = draw(6, 9, 1), draw(6, 1)
    assert np.isfinite(run(["GRU"], validation_data=longer).runs["val_loss"]).all()


@pytest.mark.once
def test_a_live_table_keeps_tuning_out_of_its_means():
    from rich.console import Console

    from keras_gates.study.scheduling import Progress
    from keras_gates.study.training import TUNING_SEED, Run

    def ended(seed, loss):
        return Run("GRU", seed, 0.1, 9, 1, {"val_loss": [loss]}, [2.0], 0.1, 9)

    progress = Progress(["GRU", "LSTM"], 4, shown=False)
    console = Console(record=True, width=80, force_terminal=True)
    for run_ in (ended(TUNING_SEED, 70.0), ended(0, 1.0), ended(1, 2.0)):
        progress.ended(run_)
    console.print(progress._table())
    text = console.export_text()
    (row,) = [line for line in text.splitlines() if "GRU" in line]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "GRU",
        "3",
        "2",
        "1.5",
        "6",
    ]
    assert "3 of 4 runs" in text


# The rule of thumb


@pytest.mark.once
@pytest.mark.parametrize(
    ("timesteps", "samples", "priority", "architecture"),
    [
        (501, 10**6, "accuracy", "LSTM"),
        (501, 10, "speed", "LSTM"),
        (500, 999, "accuracy", "GRU"),
        (500, 999, "speed", "GRU"),
        (500, 1000, "speed", "GRU"),
        (500, 1000, "accuracy", "LSTM"),
    ],
)
def test_the_rule_of_thumb_is_the_one_that_is_taught(
    timesteps, samples, priority, architecture
):
    said = keras_gates.rule_of_thumb(
        timesteps=timesteps, samples=samples, priority=priority
    )
    assert said.architecture == architecture
    assert "folklore" in str(said)
    assert all(reason in str(said) for reason in said.reasons)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"timesteps": 0}, ValueError, "`timesteps` must be at least 1; got 0"),
        ({"samples": 1.5}, TypeError, "`samples` must be a whole number; got 1.5"),
        ({"priority": "fun"}, ValueError, "'speed', 'accuracy'; got 'fun'"),
    ],
)
def test_the_rule_of_thumb_asks_for_what_it_knows(options, error, sentence):
    with pytest.raises(error, match=sentence):
        keras_gates.rule_of_thumb(**{"timesteps": 9, "samples": 9, **options})


@pytest.mark.once
@pytest.mark.parametrize(
    ("lstm", "outcome"),
    [
        ([1.0, 1.1, 1.2], "LSTM; the measurement agrees."),
        ([3.0, 3.1, 3.2], "LSTM; the measurement disagrees: GRU is better."),
        ([1.0, 3.1, 2.2], "LSTM; the measurement shows no difference."),
    ],
)
def test_a_study_says_whether_the_measurement_agreed(lstm, outcome):
    study = study_of({"GRU": [2.0, 2.11, 2.22], "LSTM": lstm})
    assert "Rule of thumb" not in str(study)  # Nothing is known of its data.
    study.history.attrs.update(timesteps=40, samples=5000)
    assert f"Rule of thumb (folklore): {outcome}" in str(study)


@pytest.mark.once
def test_what_the_rule_asks_for_is_kept_with_a_study():
    history = run(["GRU"]).history
    assert (history.attrs["timesteps"], history.attrs["samples"]) == (5, SAMPLES)


# What a table says beside its numbers


@pytest.mark.once
def test_a_difference_that_is_not_shown_comes_with_the_seeds_it_would_take():
    study = study_of({"a": [1.0, 2.0, 3.0, 2.0], "b": [1.5, 1.8, 3.4, 1.7]})
    difference = study.difference("a", "b")
    assert not difference.significant and difference.better is None
    seeds = difference.seeds_needed(difference.mean)
    assert f"About {seeds:,} seeds would show a difference of 0.1." in str(study)
    shown = study_of({"a": [1.0, 2.0, 3.0], "b": [2.0, 3.1, 4.2]})
    assert "seeds would show" not in str(shown)
    equal = study_of({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    assert "seeds would show" not in str(equal)
    unknown = study_of({"a": [1.0, np.nan], "b": [1.0, 2.0]})
    assert "seeds would show" not in str(unknown)


@pytest.mark.once
def test_a_difference_knows_its_pairs_and_who_is_better():
    study = study_of({"a": [1.0, 2.0, 3.0], "b": [2.0, 3.1, 4.2]})
    difference = study.difference("a", "b")
    assert difference.pairs == pytest.approx((-1.0, -1.1, -1.2))
    assert difference.significant
    assert difference.better == "a"
    assert study.difference("b", "a").better == "a"
    assert study.difference("a", "b", mode="max").better == "b"


@pytest.mark.once
def test_the_seeds_needed_are_the_fewest():
    difference = study_of({"a": [1.0, 2.0, 4.0], "b": [2.0, 2.5, 2.0]}).difference(
        "a", "b"
    )
    for size in (0.01, 0.1, 1.0, 10.0):
        seeds = difference.seeds_needed(size)
        ratio = size / difference.std

        def power(seeds, ratio=ratio):
            edge = scipy.stats.t.ppf(0.975, seeds - 1)
            return scipy.stats.nct.sf(edge, seeds - 1, ratio * seeds**0.5)

        assert power(seeds) >= 0.8
        assert seeds == 2 or power(seeds - 1) < 0.8


@pytest.mark.once
def test_units_and_the_remaining_difference_in_parameters_are_printed():
    study = run(["LSTM", "GRU"], recipe=Recipe(units=8, match="parameters"), seeds=2)
    units = study.history["units"].to_series()
    counts = study.runs.groupby("architecture")["parameters"].first()
    more = counts["GRU"] / counts["LSTM"] - 1
    words = f"Units: LSTM 8, GRU {units['GRU']} ({more:+.1%} parameters)."
    assert units["GRU"] > 8
    assert words in str(study) and words in study.to_markdown()


@pytest.mark.once
def test_markdown_lists_differences():
    study = study_of({"a": [1.0, 2.0], "b": [2.0, 1.0], "c": [2.0, 3.5]})
    lines = study.to_markdown().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("- a - b"))
    assert lines[first - 1] == ""
    assert lines[first + 1].startswith("- a - c")
    assert lines[first + 2].startswith("  ") and "seeds would show" in lines[first + 2]


# Data that do not suit a recipe


@pytest.mark.once
@pytest.mark.parametrize(
    ("x", "y", "validation_data", "error", "sentence"),
    [
        (
            X,
            np.full(SAMPLES, -1),
            None,
            ValueError,
            "codes from 0 on; the smallest is -1",
        ),
        (X, np.eye(2, dtype=int)[np.arange(SAMPLES) % 2], None, ValueError, "one-hot"),
        (
            X,
            np.full(SAMPLES, "cat"),
            None,
            TypeError,
            "must hold real numbers; got <U3",
        ),
        (X, Y, (draw(6, 5, 2), draw(6, 1)), ValueError, "`x` and its part"),
        (
            X,
            Y,
            (draw(6, 5, 1), draw(6, 2)),
            ValueError,
            "`y_val` of `validation_data` must have the shape of `y`",
        ),
    ],
)
def test_data_that_do_not_suit_a_recipe_get_a_sentence(
    x, y, validation_data, error, sentence
):
    with pytest.raises(error, match=sentence):
        run(["GRU"], x, y, validation_data=validation_data or (x, y))


@pytest.mark.once
def test_a_folder_in_which_nothing_was_finished_is_free(tmp_path):
    def broken(name, seed, model):
        raise Stop

    with pytest.raises(Stop):
        run({"a": build_lstm}, directory=tmp_path, on_run_end=broken)
    assert len(run({"a": build_dense}, directory=tmp_path, epochs=2).runs) == 1
    with pytest.raises(ValueError, match="cannot be continued"):
        run({"a": build_dense}, directory=tmp_path, epochs=3)


@pytest.mark.once
def test_what_is_not_known_neither_agrees_nor_disagrees():
    study = study_of({"GRU": [2.0, np.nan], "LSTM": [1.0, 1.1]})
    study.history.attrs.update(timesteps=40, samples=5000)
    assert "LSTM; the measurement is not known." in str(study)
