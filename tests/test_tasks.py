"""The sequence tasks: exact values where there are any, and no leak across a split."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from keras_gates import tasks


def test_the_examples_run():
    assert doctest.testmod(tasks).failed == 0


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
            tasks.time_split(x, y, fraction=fraction, gap=gap)
        return
    (x_train, y_train), (x_test, y_test) = tasks.time_split(
        x, y, fraction=fraction, gap=gap
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
        (x_train, y_train), (x_test, _) = tasks.time_split(x, y, gap=gap)
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
        (lambda: tasks.sine_waves(noise=-1), ValueError, "`noise` must be a standard"),
        (
            lambda: tasks.sine_waves(noise=np.nan),
            ValueError,
            "`noise` must be a standard deviation, .* got nan",
        ),
        (
            lambda: tasks.sliding_windows(np.zeros(50), 50),
            ValueError,
            "`series` must have at least `length \\+ horizon` = 51 points.* got 50",
        ),
        (
            lambda: tasks.sliding_windows(np.zeros(9), 0),
            ValueError,
            "`length` must be at least 1; got 0",
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
                lambda fraction=fraction: tasks.time_split(
                    [1, 2], [1, 2], fraction=fraction
                ),
                ValueError,
                f"`fraction` must lie between 0 and 1, .* got {fraction}",
            )
            for fraction in (0, 1, -0.5, 80, np.nan)
        ),
        (
            lambda: tasks.time_split([1, 2], [1, 2], gap=-1),
            ValueError,
            "`gap` must be at least 0; got -1",
        ),
        (
            lambda: tasks.time_split([1, 2, 3], [1, 2]),
            ValueError,
            "`x` and `y` must be arrays with one row for each sample; "
            "got shapes \\(3,\\) and \\(2,\\)",
        ),
        (
            lambda: tasks.time_split([1, 2, 3, 4], [1, 2, 3, 4], gap=1),
            ValueError,
            "`gap=1` leave 3 samples for training and 0 for testing, out of 4",
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
