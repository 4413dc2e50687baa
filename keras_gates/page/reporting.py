"""Writes captured gates as an interactive report, in one file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_gates.checks import path_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from keras_gates.trees.types import Layer


def report(
    gates: Layer | Mapping[str, Layer],
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[Any] | npt.ArrayLike | None = None,
) -> Path:
    """Writes captured gates to one interactive HTML file that works offline.

    The page lists the findings (`stats.diagnose`), gives an overview of each layer, and
    shows every signal as a heat map in which you can hover, zoom and select the sample,
    time, unit and step of training. It sorts units by saturation, time scale or
    similarity, finds the units that stay above a threshold throughout a span of time
    and the other places where they do so, and shows two layers side by side, such as an
    LSTM and a GRU.

    All statistics are computed from all samples. The values that can be inspected step
    by step are limited to a file of about 16 MB. If they are larger, evenly spaced
    samples are chosen, and the page states this.

    Bokeh draws the figures.

    Args:
        gates: The result of `capture`, in memory or from a store, or the `traces` of a
            recorder: a tree, or the dataset of one layer, with dimensions such as
            `(sample, time, unit)` and, for a slider over training, `step`. Or a mapping
            from names to such trees or datasets, for models side by side.
        path: The file to write, which is overwritten if it exists. Its folder must
            exist.
        inputs: The inputs of the model, to be shown under the time axis: an array of
            numbers, `(sample, time)` or `(sample, time, feature)`, or for each sample a
            string (its characters are the steps) or a list of tokens. If there are
            fewer tokens than steps, they are placed at the unmasked steps.

    Returns:
        The path of the file.

    Raises:
        ValueError: If `gates` has no signal, a dimension that is not known, or a
            repeated label along a dimension, or if `inputs` do not fit any layer.
        TypeError: If `gates` or `inputs` are of another type.
        OSError: If the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> import xarray
        >>> from keras_gates import report
        >>> forget = (("sample", "time", "unit"), [[[0.5, 0.6], [0.4, 0.7]]])
        >>> layer = xarray.Dataset({"forget": forget}, attrs={"cell_type": "LSTM"})
        >>> folder = tempfile.TemporaryDirectory()
        >>> report(layer, pathlib.Path(folder.name, "report.html")).name
        'report.html'
        >>> folder.cleanup()
    """
    from keras_gates.page import document, input_rows, page_layers, thinning
    from keras_gates.page.overview import overview

    target = _target(path)
    layers, origins = page_layers.read_layers(gates)
    parts = thinning.parts(layers, thinning.BUDGET)
    read = input_rows.read_inputs(inputs, layers, parts)
    overviews = [overview(layer) for layer in layers]
    _replace(target, document.write(layers, parts, overviews, read, origins))
    return target


def _target(path: str | os.PathLike) -> Path:
    """Checks that a file can be written, before any work starts."""
    file = path_of("path", path)
    if file is None:
        raise TypeError("`path` must be the file to write, such as 'report.html'.")
    if file.is_dir():
        raise IsADirectoryError(
            f"`path` must be a file; '{file}' is a folder. Name a file in it, such as "
            f"'{file / 'report.html'}'."
        )
    if not file.parent.is_dir():
        raise FileNotFoundError(
            f"`path` must be in a folder that exists; '{file.parent}' does not exist. "
            "Create it first."
        )
    return file


def _replace(path: Path, text: str) -> None:
    """Writes a file, which appears only when it is complete."""
    handle, unfinished = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}-", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        # Only the owner can read a temporary file; this one gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(unfinished, 0o666 & ~umask)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
