"""The sequence tasks: exact values where there are any, and no leak across a split."""

import collections
import inspect
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from keras_gates import tasks

pytestmark = pytest.mark.once

# Sine waves


def test_sine_waves_without_noise_are_the_sum_of_the_two_sines():
    series = tasks.sine_waves(2000, noise=0)
    expected = [np.sin(0.02 * t) + np.sin(0.005 * t) for t in range(2000)]
    assert series.shape == (2000,)
    assert series.dtype == np.float32
    np.testing.assert_allclose(series, expected, atol=1e-6)


def test_sine_waves_have_noise_of_the_given_deviation():
    noise = tasks.sine_waves(20_000, noise=0.3) - tasks.sine_waves(20_000, noise=0)
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(0.3, rel=0.03)


def test_sine_waves_follow_their_seed():
    np.testing.assert_array_equal(
        tasks.sine_waves(9, seed=3), tasks.sine_waves(9, seed=3)
    )
    assert (tasks.sine_waves(9, seed=3) != tasks.sine_waves(9, seed=4)).any()


# Sliding windows


@given(
    length=some.integers(1, 12),
    horizon=some.integers(1, 6),
    extra=some.integers(0, 12),
    features=some.integers(0, 3),
)
def test_each_window_holds_its_points_and_each_target_what_follows(
    length, horizon, extra, features
):
    points = length + horizon + extra
    shape = (points, features) if features else (points,)
    series = np.arange(np.prod(shape)).reshape(shape)
    x, y = tasks.sliding_windows(series, length, horizon=horizon)
    assert x.shape == (extra + 1, length, features or 1)
    assert y.shape == (extra + 1, features or 1)
    assert x.dtype == y.dtype == np.float32
    for sample in range(extra + 1):
        window = series[sample : sample + length].reshape(length, -1)
        target = series[sample + length - 1 + horizon].reshape(-1)
        np.testing.assert_array_equal(x[sample], window)
        np.testing.assert_array_equal(y[sample], target)


def test_windows_do_not_share_their_memory():
    # A change to one sample, such as standardising in place, must not reach another.
    x, _ = tasks.sliding_windows(np.zeros(10), 4)
    x[0] = 1
    assert (x[1:] == 0).all()


# Digits


def test_digits_are_the_real_images_with_their_labels():
    from sklearn.datasets import load_digits

    x, y = tasks.digits_by_row()
    assert (x.shape, x.dtype, y.shape, y.dtype) == (
        (1797, 8, 8),
        np.float32,
        (1797,),
        np.int64,
    )
    assert (x.min(), x.max()) == (0, 1)
    bundled = load_digits()
    pairs = sorted(zip(map(bytes, (x * 16).astype("uint8")), y, strict=True))
    expected = sorted(
        zip(map(bytes, bundled.images.astype("uint8")), bundled.target, strict=True)
    )
    assert pairs == expected


def test_digits_are_shuffled_by_their_seed():
    labels = [tasks.digits_by_row(seed=seed)[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(labels[0], labels[1])
    assert (labels[0] != labels[2]).any()
    # The bundled order counts 0 to 9 over and over: not the order to train in.
    assert labels[0][:10].tolist() != list(range(10))


# Splitting


@given(
    samples=some.integers(2, 60),
    fraction=some.floats(0.05, 0.95),
    gap=some.integers(0, 10),
)
def test_a_time_split_keeps_the_order_and_the_pairs(samples, fraction, gap):
    x = np.arange(samples * 2).reshape(samples, 2)
    y = np.arange(samples)
    train = round(fraction * samples)
    if train == 0 or train + gap >= samples:
        with pytest.raises(ValueError, match="each part needs at least one"):
            tasks.chronological_split(x, y, train_size=fraction, gap=gap)
        return
    (x_train, y_train), (x_test, y_test) = tasks.chronological_split(
        x, y, train_size=fraction, gap=gap
    )
    assert y_train.tolist() == list(range(train))
    assert y_test.tolist() == list(range(train + gap, samples))
    np.testing.assert_array_equal(x_train, x[y_train])
    np.testing.assert_array_equal(x_test, x[y_test])


@given(length=some.integers(1, 8), horizon=some.integers(1, 5))
def test_the_documented_gap_is_the_smallest_that_leaks_no_point(length, horizon):
    # A series of its own time stamps shows which points a window was cut from.
    x, y = tasks.sliding_windows(np.arange(80), length, horizon=horizon)

    def shared(gap):
        (x_train, y_train), (x_test, _) = tasks.chronological_split(x, y, gap=gap)
        return {*x_train.flat, *y_train.flat} & set(x_test.flat)

    gap = length + horizon - 1
    assert not shared(gap)
    assert shared(gap - 1)


# Bad input


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: tasks.sine_waves(0), ValueError, "`points` must be at least 1; got 0"),
        (lambda: tasks.sine_waves(2.5), TypeError, "`points` must be a whole number"),
        (
            lambda: tasks.sine_waves(noise=-1),
            ValueError,
            "`noise` must be a finite",
        ),
        (
            lambda: tasks.sine_waves(noise=np.nan),
            ValueError,
            "`noise` must be a finite number of 0 or more; got nan",
        ),
        (
            lambda: tasks.sliding_windows(np.zeros(50), 50),
            ValueError,
            "`series` must have at least `sequence_length .*` = 51 points.* got 50",
        ),
        (
            lambda: tasks.sliding_windows(np.zeros(9), 0),
            ValueError,
            "`sequence_length` must be at least 1; got 0",
        ),
        (
            lambda: tasks.sliding_windows(np.zeros(9), 3, horizon=0),
            ValueError,
            "`horizon` must be at least 1; got 0",
        ),
        (
            lambda: tasks.sliding_windows([0, 1, np.nan, np.inf], 2),
            ValueError,
            "`series` must hold finite numbers; 2 of 4 .* the first at time 2",
        ),
        (
            lambda: tasks.sliding_windows(np.zeros((9, 2, 2)), 3),
            ValueError,
            "`series` must have the shape \\(time,\\) or .* got \\(9, 2, 2\\)",
        ),
        *(
            (
                lambda fraction=fraction: tasks.chronological_split(
                    [1, 2], [1, 2], train_size=fraction
                ),
                ValueError,
                f"`train_size` must lie between 0 and 1, .* got {fraction}",
            )
            for fraction in (0, 1, -0.5, 80, np.nan)
        ),
        (
            lambda: tasks.chronological_split([1, 2], [1, 2], gap=-1),
            ValueError,
            "`gap` must be at least 0; got -1",
        ),
        (
            lambda: tasks.chronological_split([1, 2, 3], [1, 2]),
            ValueError,
            "`x` and `y` must be arrays with one row for each sample; "
            "got shapes \\(3,\\) and \\(2,\\)",
        ),
        (
            lambda: tasks.chronological_split([1, 2, 3, 4], [1, 2, 3, 4], gap=1),
            ValueError,
            "`gap=1` leave 3 samples for training and 0 for testing, out of 4",
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


# Puzzles


def test_adding_marks_one_number_in_each_half_and_asks_for_their_sum():
    x, y = tasks.adding(500, sequence_length=11, seed=3)
    numbers, marks = x[..., 0], x[..., 1]
    assert set(np.unique(marks)) == {0, 1}
    assert (marks[:, :5].sum(1) == 1).all()
    assert (marks[:, 5:].sum(1) == 1).all()
    for row in range(500):
        assert y[row, 0] == pytest.approx(numbers[row][marks[row] == 1].sum())
    assert 0 <= numbers.min() < 0.01 and 0.99 < numbers.max() < 1
    # Every step of a half is marked at some time.
    assert (marks.sum(0) > 0).all()


def test_the_do_nothing_error_of_adding_is_a_sixth():
    _, y = tasks.adding(20_000, sequence_length=2)
    assert ((y - 1) ** 2).mean() == pytest.approx(1 / 6, rel=0.03)


def test_temporal_order_has_a_class_for_each_order_of_two_symbols():
    x, y = tasks.temporal_order(400, sequence_length=50, seed=1)
    assert (x.sum(-1) == 1).all()
    for row, answer in zip(x, y, strict=True):
        word = "".join("abcdXYBE"[code] for code in row.argmax(-1))
        assert word[0] == "B" and word[-1] == "E"
        marked = [(step, symbol) for step, symbol in enumerate(word) if symbol in "XY"]
        (first, one), (second, two) = marked
        assert 5 <= first < 10 and 25 <= second < 30
        assert ["XX", "XY", "YX", "YY"][answer] == one + two
    assert np.bincount(y).min() > 70


def test_copy_memory_asks_for_the_first_ten_symbols_at_the_end():
    x, y = tasks.copy_memory(50, delay=7, seed=2)
    codes = x.argmax(-1)
    assert x.shape == (50, 27, 10) and y.shape == (50, 27)
    assert (x.sum(-1) == 1).all()
    assert (codes[:, :10] < 8).all() and set(np.unique(codes[:, :10])) == set(range(8))
    assert (codes[:, 10:16] == 8).all() and (codes[:, 17:] == 8).all()
    assert (codes[:, 16] == 9).all()  # The signal, right before the copy begins.
    assert (y[:, :17] == 8).all()
    np.testing.assert_array_equal(y[:, 17:], codes[:, :10])


# Grammars


def test_anbn_holds_words_of_the_language_and_their_next_symbols():
    x, y = tasks.anbn(300, smallest=2, largest=6, seed=1)
    found = set()
    for row, target in zip(x, y, strict=True):
        steps = int(row.sum())
        assert (row[:steps].sum(-1) == 1).all() and (row[steps:] == 0).all()
        word = "".join("$ab"[code] for code in row[:steps].argmax(-1))
        n = word.count("a")
        assert word == "$" + "a" * n + "b" * n
        following = "".join("$ab"[code] for code in target[:steps].argmax(-1))
        assert following == word[1:] + "$"
        assert (target[steps:] == 0).all()
        found.add(n)
    assert found == {2, 3, 4, 5, 6}


# Written as an expression, to check the automaton by other means.
LOOP = "(?:XT*VP)*(?:S|XT*VV)"
REBER = f"B(?:TS*X{LOOP}|PT*V(?:V|P{LOOP}))E"
WORD = f"(?:BT{REBER}TE|BP{REBER}PE)"


def reber_text(codes):
    return "".join("BTPSXVE"[code] for code in codes)


def test_reber_words_are_in_the_language_with_all_that_may_follow():
    x, y = tasks.embedded_reber(3000, seed=4)
    legal, followed = {}, collections.defaultdict(set)
    for row, targets in zip(x, y, strict=True):
        steps = int(row.sum())
        assert (row[steps:] == 0).all() and (targets[steps:] == 0).all()
        word = reber_text(row[:steps].argmax(-1)) + "E"
        assert re.fullmatch(WORD, word), word
        for step in range(steps):
            prefix = word[: step + 1]
            legal[prefix] = {"BTPSXVE"[code] for code in np.flatnonzero(targets[step])}
            followed[prefix].add(word[step + 1])
    for prefix, symbols in followed.items():
        assert symbols <= legal[prefix]
        if len(prefix) < 6:  # Seen so often that all that may follow has followed.
            assert symbols == legal[prefix], prefix
    # The one that must be remembered.
    assert legal["BPBTXSE"] == {"P"} and legal["BTBTXSE"] == {"T"}


def test_a_continual_stream_is_word_after_word():
    x, y = tasks.continual_reber(5, sequence_length=200, seed=1)
    assert (x.sum(-1) == 1).all()
    for row, targets in zip(x, y, strict=True):
        text = reber_text(row.argmax(-1))
        words = re.match(f"({WORD})+", text)
        assert words and len(text) - words.end() < 60
        # What comes next is among what may come next.
        following = row[1:].argmax(-1)
        assert (targets[np.arange(199), following] == 1).all()
        assert (targets.sum(-1) <= 2).all()


# Text


def test_characters_are_windows_over_the_text_and_what_follows():
    text = "to be, or not to be"
    x, y = tasks.characters(200, sequence_length=4, text=text, seed=5)
    alphabet = sorted(set(text))
    for codes, following in zip(x, y, strict=True):
        window = "".join(alphabet[code] for code in codes)
        assert window in text
        assert text.find(window + alphabet[following[-1]]) >= 0
        np.testing.assert_array_equal(codes[1:], following[:-1])
    # The last window is drawn too.
    assert any("".join(alphabet[c] for c in codes) == "to b" for codes in x)
    assert any(alphabet[codes[-1]] == "e" and alphabet[codes[0]] == "o" for codes in y)


def test_two_parts_of_a_text_share_an_alphabet():
    x, _ = tasks.characters(5, sequence_length=2, text="bab", alphabet="cab")
    assert set(x.ravel().tolist()) == {1, 2}
    with pytest.raises(ValueError, match="every character of the text; 'z' is not"):
        tasks.characters(5, sequence_length=2, text="abz", alphabet="ab")


def test_the_text_that_ships_with_python_is_a_text():
    text = tasks.python_documentation()
    assert len(text) > 100_000
    x, _ = tasks.characters(10)
    assert x.shape == (10, 60) and x.max() < len(set(text))


# Splits


def test_a_split_by_class_keeps_the_shares_and_every_sample():
    x = np.arange(100)
    y = np.repeat([0, 1, 2], [70, 20, 10])
    (x_train, y_train), (x_test, y_test) = tasks.stratified_split(x, y, train_size=0.7)
    assert np.bincount(y_train).tolist() == [49, 14, 7]
    assert np.bincount(y_test).tolist() == [21, 6, 3]
    assert sorted([*x_train, *x_test]) == x.tolist()
    np.testing.assert_array_equal(y[x_train], y_train)
    assert (tasks.stratified_split(x, y, seed=1)[0][0] != x_train[:1]).any()


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: tasks.adding(0), ValueError, "`samples` must be at least 1"),
        (
            lambda: tasks.adding(sequence_length=1),
            ValueError,
            "`sequence_length` must be at least 2",
        ),
        (
            lambda: tasks.temporal_order(sequence_length=9),
            ValueError,
            "`sequence_length` must be at le",
        ),
        (lambda: tasks.copy_memory(delay=0), ValueError, "`delay` must be at least 1"),
        (
            lambda: tasks.anbn(smallest=4, largest=3),
            ValueError,
            "`largest` must be at least `smallest`, 4",
        ),
        (
            lambda: tasks.characters(text="abc", sequence_length=3),
            ValueError,
            "longer than `sequence_length`, which is 3; it has 3 characters",
        ),
        (lambda: tasks.characters(text=b"abc"), TypeError, "`text` must be a str"),
        (
            lambda: tasks.stratified_split([1, 2], [[1], [2]]),
            ValueError,
            "`y` must hold a class for each sample",
        ),
        (
            lambda: tasks.stratified_split([1, 2, 3], [0, 0, 1]),
            ValueError,
            "`x` and `y` cannot be split by class: .* Use more samples",
        ),
        (
            lambda: tasks.stratified_split([1, 2], [0, 0], train_size=1),
            ValueError,
            "`train_size` must lie between 0 and 1",
        ),
    ],
)
def test_a_task_that_cannot_be_made_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


SEEDED = [
    name
    for name in tasks.__all__
    if "seed" in inspect.signature(getattr(tasks, name)).parameters
    and name not in ("sine_waves", "stratified_split")
]


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_decides_all(name):
    task = getattr(tasks, name)
    first, again, other = (task(seed=seed) for seed in (1, 1, 2))
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[1], other[1])
