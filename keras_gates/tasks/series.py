"""A series for forecasts, and windows over a series."""

import numpy as np
from numpy.typing import ArrayLike

from keras_gates.checks import real_number, real_numbers, seed_of, whole_number
from keras_gates.old_names import renamed


def sine_waves(points: int = 5000, *, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """Returns the sum of a slow and a slower sine wave, with Gaussian noise.

    The value at time `t` is `sin(0.02 t) + sin(0.005 t) + noise`: periods of 314 and
    1,257 points. Nothing predicts the noise, so the mean squared error of a forecast
    cannot fall below about `noise ** 2`.

    Args:
        points: The number of points, at least 1.
        noise: Standard deviation of the noise, in the units of the series, where each
            wave has an amplitude of 1. With 0 the series is exact.
        seed: Seed of the noise.

    Returns:
        A float32 array of shape `(points,)`.

    Raises:
        ValueError: `points` is below 1, or `noise` is negative or not finite.

    Example:
        >>> from keras_gates import tasks
        >>> series = tasks.sine_waves(1000, noise=0.05, seed=1)
        >>> series.shape
        (1000,)
    """
    points = whole_number("points", points, at_least=1)
    noise = real_number("noise", noise, at_least=0)
    time = np.arange(points)
    waves = np.sin(0.02 * time) + np.sin(0.005 * time)
    series = waves + np.random.default_rng(seed_of("seed", seed)).normal(
        0.0, noise, points
    )
    return series.astype(np.float32)


@renamed(length="sequence_length")
def sliding_windows(
    series: ArrayLike, sequence_length: int = 50, *, horizon: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a series into overlapping windows, each with the value to forecast.

    Window `i` contains the points `i` to `i + sequence_length - 1`. Its target is the
    point `horizon` steps after the last of them.

    Split the windows *in time order*, with `chronological_split`, never at random:
    neighbouring windows share all but one of their points, so a random split puts the
    points of the test windows, and their answers, into the training windows.

    Args:
        series: Numbers in time order, of shape `(time,)`, or `(time, feature)` for
            several series measured together.
        sequence_length: The number of points in a window, at least 1.
        horizon: The number of steps from the end of the window to the target, at least
            1.

    Returns:
        `(x, y)`, both float32: `x` of shape `(sample, sequence_length, feature)`, `y`
        of shape `(sample, feature)`, with `time - sequence_length - horizon + 1`
        samples. A series of shape `(time,)` gives one feature.

    Raises:
        ValueError: `series` has another rank, is too short for one window and its
            target, or holds a value that is not finite; `sequence_length` or
            `horizon` is below 1.

    Example:
        >>> from keras_gates import tasks
        >>> x, y = tasks.sliding_windows([0, 1, 2, 3, 4], 3)
        >>> x[..., 0].tolist(), y[..., 0].tolist()
        ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [3.0, 4.0])
    """
    sequence_length = whole_number("sequence_length", sequence_length, at_least=1)
    horizon = whole_number("horizon", horizon, at_least=1)
    series = real_numbers("series", series).astype(np.float32)
    if series.ndim not in (1, 2):
        raise ValueError(
            "`series` must have the shape (time,) or (time, feature); got "
            f"{series.shape}. Cut several recordings one by one and join the windows."
        )
    if len(series) < sequence_length + horizon:
        raise ValueError(
            "`series` must have at least `sequence_length + horizon` = "
            f"{sequence_length + horizon} points, for one window and its target; got "
            f"{len(series)}. Use a longer series or a smaller `sequence_length`."
        )
    _require_finite("series", series)
    columns = series.reshape(len(series), -1)
    windows = np.lib.stride_tricks.sliding_window_view(columns, sequence_length, axis=0)
    x = np.moveaxis(windows[: len(series) - sequence_length - horizon + 1], -1, 1)
    # A copy: the view above shares its memory between windows, so that a change to
    # one sample would change its neighbours.
    return np.array(x), columns[sequence_length + horizon - 1 :].copy()


def _require_finite(name: str, values: np.ndarray) -> None:
    """Raises a ValueError that counts the values that are not finite."""
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        first = int(np.argwhere(~np.isfinite(values))[0][0])
        raise ValueError(
            f"`{name}` must hold finite numbers; {bad} of {values.size} are NaN or "
            f"infinite, the first at time {first}. Fill or cut them out first: each of "
            "them makes every window that contains it useless."
        )
