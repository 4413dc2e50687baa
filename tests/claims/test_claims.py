"""`keras-gates compare`: the studies it runs, and what it says of the claims."""

import dataclasses
import functools
import pathlib
import re

import keras
import numpy as np
import pandas
import pytest
import xarray

from keras_gates import tasks
from keras_gates.claims import catalogue, claim_studies, learning, resources
from keras_gates.cli import main
from keras_gates.study import prepared_tasks
from keras_gates.study.builders import builders_of
from keras_gates.study.study_data import checked_data


@pytest.fixture
def file(tmp_path):
    """Data of a user's own."""
    x, y = tasks.adding(40, sequence_length=5)
    path = tmp_path / "mine.npz"
    np.savez(path, x=x[:30], y=y[:30], x_val=x[30:], y_val=y[30:])
    return path


SMALL = ["--units", "2", "--seeds", "2", "--epochs", "2", "--learning-rates", "0.01"]


# A study from the command line


@pytest.mark.once
def test_a_study_needs_no_line_of_code(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["compare", str(file), *SMALL]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "keras-gates-mine"
    assert "LSTM - GRU" in printed and "Written to keras-gates-mine" in printed
    names = {path.name for path in out.iterdir()}
    assert names == {"study.md", "runs.csv", "history.csv", "study.png", "runs"}
    runs = pandas.read_csv(out / "runs.csv")
    assert runs["architecture"].tolist() == ["LSTM", "GRU"] * 2
    assert len(pandas.read_csv(out / "history.csv")) == 2 * 2 * 2
    assert "LSTM - GRU" in (out / "study.md").read_text()

    # Asked again, nothing is trained again; more seeds go on.
    assert main.main(["compare", str(file), *SMALL]) == 0
    again = pandas.read_csv(out / "runs.csv")
    pandas.testing.assert_frame_equal(again, runs)
    assert "finished before" in capsys.readouterr().out
    assert main.main(["compare", str(file), *SMALL, "--seeds", "3"]) == 0
    assert len(pandas.read_csv(out / "runs.csv")) == 6


@pytest.mark.once
def test_bad_words_get_a_sentence(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def said(*words):
        assert main.main(["compare", *words]) == 2
        return capsys.readouterr().err

    assert "no task 'sinus'. Choose one of sine, digits" in said("sinus")
    np.savez(tmp_path / "half.npz", x=np.zeros((3, 4, 1)), y=np.zeros((3, 1)))
    assert "it lacks x_val, y_val" in said("half.npz")
    assert "There is no data file 'nowhere.npz'" in said("nowhere.npz")
    (tmp_path / "cut.npz").write_bytes(file.read_bytes()[:90])
    assert "could not be read as NumPy data" in said("cut.npz")
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert "has other files in it" in said(str(file), "--out", "full")
    for number in ("-1", "0"):
        words = f"must be at least 1; got {number}"
        assert f"--units {words}" in said(str(file), "--units", number)
        assert f"--epochs {words}" in said(str(file), "--epochs", number)
    assert "--jobs must be from 1 to" in said(str(file), "--jobs", "0")
    assert "each architecture only once" in said(
        str(file), "--architectures", "GRU", "GRU"
    )
    assert "'letter.txt' is a file" in said(str(file), "--out", "letter.txt")
    assert "leave 'digits' out" in said("digits", "--claims")
    assert "must be at least 2, for an interval" in said("--claims", "--seeds", "1")


@pytest.mark.once
@pytest.mark.parametrize("name", prepared_tasks.PREPARED)
def test_every_task_is_ready_for_a_study(name):
    problem = prepared_tasks.PREPARED[name]()
    data = checked_data(*problem.train, problem.test)
    (build,) = builders_of(["GRU"], problem.recipe, data).values()
    model = build()
    few = [part[:4] for part in problem.train]
    assert np.isfinite(model.evaluate(*few, verbose=0, return_dict=True)["loss"])
    few = [part[:4] for part in problem.test]
    result = model.evaluate(*few, verbose=0, return_dict=True)
    assert problem.metric.removeprefix("val_") in result
    assert problem.title and problem.split


@pytest.mark.once
def test_the_parts_of_the_text_do_not_overlap():
    problem = prepared_tasks.characters()
    alphabet = "".join(sorted(set(tasks.python_documentation())))

    def words(codes):
        return {"".join(alphabet[code] for code in row) for row in codes}

    assert not words(problem.train[0]) & words(problem.test[0])
    text = tasks.python_documentation()
    for word in list(words(problem.test[0]))[:20]:
        assert word in text[int(0.8 * len(text)) :]


# Claims


def small(question):
    """The same question of so few data that it is answered at once."""

    def make():
        problem = question.make()
        return problem._replace(
            epochs=2,
            train=tuple(part[:16] for part in problem.train),
            test=tuple(part[:16] for part in problem.test),
        )

    return question._replace(make=make, rates=None)


@pytest.mark.once
def test_claims_are_answered_with_figures(tmp_path, monkeypatch, capsys):
    quick = {
        name: small(question) for name, question in claim_studies.QUESTIONS.items()
    }
    monkeypatch.setattr(claim_studies, "QUESTIONS", quick)
    monkeypatch.setattr(learning, "TASKS", ["digits", claim_studies.COUNTING])
    monkeypatch.setattr(learning, "LENGTHS", (12, 25))
    names = ["parameters", "speed", "forgetting", "enough"]
    words = ["compare", "--claims", *names, "--seeds", "2", "--out", str(tmp_path)]
    assert main.main(words) == 0
    backend = keras.backend.backend()
    page = (tmp_path / f"claims-{backend}.md").read_text()
    assert page in capsys.readouterr().out
    for name in names:
        assert f'"{catalogue.CLAIMS[name].words}"' in page
    table = pandas.read_csv(tmp_path / f"claims-{backend}.csv")
    assert set(table["claim"]) == set(names) and set(table["backend"]) == {backend}
    assert (table["claim"] == "speed").sum() == 6
    assert (table["claim"] == "forgetting").sum() == 6
    measured = table[table["claim"] != "parameters"].dropna()
    assert (measured["low"] <= measured["value"]).all()
    assert (measured["value"] <= measured["high"]).all()


@pytest.mark.once
def test_parameters_are_those_of_the_formula():
    finding = resources.parameters(None)
    rows = {row.of: row for row in finding.rows}
    for inputs, units in ((1, 8), (64, 64), (300, 512)):
        row = rows[f"layer: {inputs} inputs, {units} units"]
        ratio = 4 * (inputs + units + 1) / (3 * (inputs + units + 2))
        assert row.value == pytest.approx(100 * (ratio - 1))
        assert row.verdict == ("about 30 %" if row.value >= 25 else "less")
    assert {f"model: {name}" for name in prepared_tasks.PREPARED} <= set(rows)


@pytest.mark.once
def test_memory_is_measured_in_new_processes(monkeypatch, tmp_path):
    size = "20 steps, 4 inputs, 8 units"
    small = functools.partial(claim_studies.noise, 4, 20, 4, 8)
    monkeypatch.setattr(resources, "SIZES", dict.fromkeys(("left out", size), small))
    said = []
    bench = claim_studies.Bench(tmp_path, 2, said.append)
    (row,) = resources.memory(bench).rows
    assert row.of == size
    assert row.low <= row.value <= row.high
    assert "new process" in said[0]


@pytest.mark.parametrize(
    ("module", "judge", "low", "high", "verdict"),
    [
        ("costs", "_faster", -9, -1, "slower"),
        ("costs", "_faster", -1, 9, "no difference shown"),
        ("costs", "_faster", 1, 24, "faster, by less"),
        ("costs", "_faster", 21, 34, "faster, as taught"),
        ("costs", "_faster", 1, 99, "faster, unclear by how much"),
        ("costs", "_faster", 31, 50, "faster, by more"),
        ("costs", "_less", 1, 2, "less"),
        ("costs", "_less", -1, 2, "no difference shown"),
        ("costs", "_less", -2, -1, "more"),
        ("abilities", "_remembered", 51, 99, "remembers"),
        ("abilities", "_remembered", 10, 49, "does not remember"),
        ("abilities", "_remembered", 10, 99, "unclear"),
        ("abilities", "_better", 1, 2, "better"),
        ("abilities", "_better", -1, 2, "no difference shown"),
        ("abilities", "_better", -2, -1, "worse"),
    ],
)
def test_verdicts_follow_from_the_ends(module, judge, low, high, verdict):
    judges = {"costs": resources, "abilities": learning}
    assert getattr(judges[module], judge)(low, high) == verdict


def test_a_claim_holds_where_the_rows_say_so():
    def rows(*verdicts):
        return [claim_studies.Measurement("", 0, 0, 0, verdict) for verdict in verdicts]

    assert claim_studies.holds(rows("less", "less"), "less") == "Holds here (less: 2)"
    some = claim_studies.holds(rows("less", "more", "less"), "less")
    assert some == "Holds in 2 of 3 (less: 2; more: 1)"
    assert claim_studies.holds(rows("more"), "less") == "Not shown here (more: 1)"


@pytest.mark.once
def test_an_interval_of_a_bounded_score_is_cut_at_the_bounds():
    free = claim_studies.judged("", [100, 100, 40], learning._remembered)
    cut = claim_studies.judged("", [100, 100, 40], learning._remembered, (0, 100))
    assert free.high > 100 and free.low < 0
    assert (cut.low, cut.high) == (0, 100)
    assert cut.value == free.value == 80


def test_what_is_not_known_is_not_judged():
    row = claim_studies.judged("", [1.0, np.nan], resources._faster)
    assert row.verdict == "not known"


def test_the_lower_error_is_that_of_the_paired_difference():
    from small_studies import study_of

    study = study_of({"LSTM": [0.9, 1.0, 1.1], "GRU": [1.9, 2.0, 2.13]})
    row = claim_studies.lower_error("", study)
    difference = study.difference("GRU", "LSTM")
    assert (row.value, row.low) == (difference.mean, difference.low)
    assert row.value > 0 and row.verdict == "better"
    assert "LSTM 1, GRU 2.01" in row.of
    swapped = study_of({"GRU": [0.9, 1.0, 1.1], "LSTM": [1.9, 2.0, 2.13]})
    assert claim_studies.lower_error("", swapped).verdict == "worse"


def test_the_longest_word_is_the_last_before_the_first_mistake():
    _, scores = prepared_tasks.anbn(8).test
    assert claim_studies.longest_word(scores) == 8
    # After an `a` nobody can know what follows: an answer there is no mistake.
    unsure = scores.copy()
    unsure[4, :5] = 1 - unsure[4, :5]
    assert claim_studies.longest_word(unsure) == 8
    early = scores.copy()
    early[5, 11] = [1, 0, 0]  # The end, one b too early.
    assert claim_studies.longest_word(early) == 5
    late = scores.copy()
    late[5, 12] = [0, 0, 1]  # And no end.
    assert claim_studies.longest_word(late) == 5
    first = scores.copy()
    first[0, 2] = [0, 1, 0]
    assert claim_studies.longest_word(first) == 0


class FakeBench:
    """Answers with made-up values for each architecture, whatever is asked."""

    seeds = 3

    def __init__(self, metric="val_loss", predictions=None, **values):
        self.metric, self.values, self.predictions = metric, values, predictions

    def study(self, name):
        from small_studies import study_of

        study = study_of(self.values)
        if self.metric != "val_loss":
            study.runs[self.metric] = study.runs["val_loss"]
            if self.metric == "epoch_seconds":
                study.runs["inference_seconds"] = study.runs["val_loss"]
        return dataclasses.replace(study, predictions=self.predictions)


def test_speed_is_what_the_gru_saves():
    bench = FakeBench("epoch_seconds", LSTM=[10.0, 10.2, 9.8], GRU=[7.3, 7.3, 7.2])
    finding = resources.speed(bench)
    assert finding.rows[0].value == pytest.approx(27.3, abs=0.2)
    assert finding.verdict.startswith("Holds here (faster, as taught: 3)")
    slow = FakeBench("epoch_seconds", GRU=[10.0, 10.2, 9.8], LSTM=[7.3, 7.3, 7.2])
    assert resources.speed(slow).verdict.startswith("Not shown here (slower: 3)")


@pytest.mark.parametrize(
    ("basic", "gru", "outcome"),
    [
        ([1.0, 0.99, 1.0], [1.0, 1.0, 0.99], "refuted: 4."),
        ([0.25, 0.26, 0.24], [1.0, 1.0, 0.99], "holds: 4."),
        ([0.25, 0.26, 0.24], [0.25, 0.26, 0.24], "undecided: 4."),
        ([1.0, 0.2, 1.0], [1.0, 1.0, 0.99], "undecided: 4."),
    ],
)
def test_what_nothing_learned_is_no_evidence_of_forgetting(basic, gru, outcome):
    bench = FakeBench("val_accuracy", SimpleRNN=basic, GRU=gru, LSTM=[0.2, 0.3, 0.25])
    finding = learning.forgetting(bench)
    assert finding.verdict.endswith(outcome)
    assert [row.of for row in finding.rows[:2]] == [
        "SimpleRNN: at least 10 steps",
        "GRU: at least 10 steps",
    ]


def test_long_sequences_are_judged_by_losses_and_by_counting():
    _, scores = prepared_tasks.anbn(8).test
    short = scores.copy()
    short[3, 5] = [0, 1, 0]  # Words up to n = 3 are right.
    predictions = xarray.DataArray(
        np.stack([[scores, scores, short], [short] * 3]),
        dims=("architecture", "seed", "sample", "time", "symbol"),
        coords={"architecture": ["LSTM", "GRU"]},
    )
    losses = {"LSTM": [1.0, 1.1, 1.2], "GRU": [2.0, 2.11, 2.22]}
    finding = learning.long_sequences(FakeBench(predictions=predictions, **losses))
    assert [row.verdict for row in finding.rows] == ["better"] * 3 + [
        "no difference shown"
    ]
    assert finding.rows[3].value == pytest.approx((5 + 5 + 0) / 3)
    assert finding.verdict.startswith("Holds in 3 of 4")


def test_enough_counts_what_is_known():
    losses = {"LSTM": [1.0, 1.1, 1.2], "GRU": [2.0, 2.11, 2.22]}
    assert "on 0 of 8 tasks, 0 %" in learning.enough(FakeBench(**losses)).verdict
    swapped = {"GRU": losses["LSTM"], "LSTM": losses["GRU"]}
    found = learning.enough(FakeBench(**swapped)).verdict
    assert "on 8 of 8 tasks, 100 %, and for tasks like these 63 to 100 %" in found
    unknown = {"LSTM": [1.0, 1.1, 1.2], "GRU": [np.nan, np.nan, 2.22]}
    assert learning.enough(FakeBench(**unknown)).verdict.startswith("Not known")


def test_the_page_of_claims_is_in_the_words_of_the_command():
    folder = pathlib.Path(__file__).parents[2] / "docs" / "claims"
    for backend in ("jax", "tensorflow", "torch"):
        page = (folder / f"claims-{backend}.md").read_text()
        assert page.startswith(f"Backend {backend}, Keras ")
        for claim in ("parameters", "speed", "memory"):
            assert f'### "{catalogue.CLAIMS[claim].words}"' in page
        verdicts = re.findall(r"^\*\*(.*)\*\*$", page, re.M)
        assert len(verdicts) == page.count("### ")
        for verdict in verdicts[:3]:
            assert re.match(
                r"(Holds|Not shown) (here|in \d+ of \d+) \(.+: \d+", verdict
            )
