"""The inputs of the model under the time axis: tokens or numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.checks import array_of
from keras_gates.page.page_layers import Layer
from keras_gates.page.thinning import Part

MOST_FEATURES = 4
"""More lines than this cannot be distinguished."""


class Inputs(NamedTuple):
    """The inputs of a layer, for the samples on the page.

    Attributes:
        tokens: For each sample (and frame), a text for each step; or `None`.
        numbers: Numbers of dimensions `(..., time, feature)`; or `None`.
        features: The positions of these features among all features.
        total: The number of all features.
    """

    tokens: list[list[str]] | None = None
    numbers: np.ndarray | None = None
    features: tuple[int, ...] = ()
    total: int = 0


def read_inputs(
    inputs: Any, layers: list[Layer], parts: list[Part]
) -> list[Inputs | None]:
    """Aligns the inputs with the layers; `None` for a layer with other steps.

    Raises:
        ValueError: If the inputs fit no layer.
        TypeError: If they are neither text nor numbers.
    """
    if inputs is None:
        return [None] * len(layers)
    reader: Callable[[Any, Layer, Part], Inputs]
    lengths: tuple[int, ...] | None = None
    if _is_text(inputs):
        reader = _tokens
        inputs = [list(map(str, tokens)) for tokens in inputs]
        got = f"{len(inputs)} texts"
    else:
        inputs = _numbers_of(inputs)
        reader, lengths = _numbers, inputs.shape
        got = f"the shape {lengths}"
    fitting = [layer for layer in layers if layer.size(v.SAMPLE) == len(inputs)]
    if not fitting:
        samples = " or ".join(
            str(size) for size in dict.fromkeys(_.size(v.SAMPLE) for _ in layers)
        )
        raise ValueError(
            f"`inputs` must have one entry for each sample of `gates`, {samples}; got "
            f"{got}. Pass the same samples as to `capture`, in the same order."
        )
    found, reasons = [], []
    for layer, part in zip(layers, parts, strict=True):
        try:
            found.append(reader(inputs, layer, part) if layer in fitting else None)
        except _OtherSteps as reason:
            found.append(None)
            reasons.append(str(reason))
    if not any(found):
        raise ValueError(reasons[0])
    return found


class _OtherSteps(Exception):
    """The steps of the inputs are not those of the layer."""


def _is_text(inputs: Any) -> bool:
    """Returns whether the samples are texts or lists of tokens."""
    if isinstance(inputs, str):
        raise TypeError(
            "`inputs` must be a list with a text for each sample; got a single text. "
            "Put it into a list."
        )
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind in "USO" and inputs.ndim == 2
    if not isinstance(inputs, (list, tuple)):
        return False
    lists = (list, tuple, np.ndarray)
    texts = [
        isinstance(entry, str)
        or (isinstance(entry, lists) and all(isinstance(t, str) for t in entry))
        for entry in inputs
    ]
    # A sample that is masked throughout may have no tokens. If no sample has any, the
    # lists are treated as numbers.
    return all(texts) and any(len(entry) for entry in inputs)


def _numbers_of(inputs: Any) -> np.ndarray:
    array = array_of("inputs", inputs)
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3, 4) or not array.size:
        raise TypeError(
            "`inputs` must be an array of numbers, (sample, time) or (sample, time, "
            "feature), or a list with a text, or a list of tokens, for each sample; "
            f"got {type(inputs).__name__} of shape {array.shape} and {array.dtype}."
        )
    return array


def _tokens(inputs: list[list[str]], layer: Layer, part: Part) -> Inputs:
    """Puts a token at each step; if there are fewer, at each unmasked step."""
    steps, frames = layer.size(v.TIME), layer.size(v.FRAME)
    if frames > 1:
        raise _OtherSteps(
            f"`inputs` of text cannot be aligned with {layer.name!r}, which has "
            f"{frames} frames of {steps} steps. Leave `inputs` out."
        )
    placed = []
    for sample, tokens in enumerate(inputs):
        places: Sequence[int] = range(steps)
        if len(tokens) != steps:
            places = np.flatnonzero(_unmasked(layer, sample)).tolist()
        if len(tokens) != len(places):
            unmasked = len(places)
            raise _OtherSteps(
                "`inputs` must have a character or token for each step, or for each "
                f"unmasked step: {layer.name!r} has {steps} steps, {unmasked} of them "
                f"unmasked, in sample {layer.word(v.SAMPLE, sample)}; got "
                f"{len(tokens)}."
            )
        line = [""] * steps
        for place, token in zip(places, tokens, strict=True):
            line[place] = token
        placed.append(line[: part.times])
    return Inputs(tokens=[placed[sample] for sample in part.samples])


def _unmasked(layer: Layer, sample: int) -> np.ndarray:
    """Returns which steps of a sample are not masked."""
    data = layer.data.isel(
        {dim: -1 if dim == v.STEP else 0 for dim in (v.STEP, v.FRAME)},
        missing_dims="ignore",
    ).isel({v.SAMPLE: sample})
    if v.MASK in data:
        return data[v.MASK].values
    return data[layer.signals[0]].notnull().any(v.UNIT).values


def _numbers(inputs: np.ndarray, layer: Layer, part: Part) -> Inputs:
    """Returns the samples, frames, steps and features of the inputs on the page."""
    wanted: tuple[int, ...] = (layer.size(v.TIME),)
    if v.FRAME in layer.data.dims:
        wanted = (layer.size(v.FRAME), *wanted)
    if inputs.shape[1 : 1 + len(wanted)] != wanted or inputs.ndim > len(wanted) + 2:
        names = "sample, frame, time" if len(wanted) == 2 else "sample, time"
        raise _OtherSteps(
            f"`inputs` must have the shape ({names}) or ({names}, feature) of the "
            f"gates: {layer.name!r} has {(layer.size(v.SAMPLE), *wanted)}; got "
            f"{inputs.shape}."
        )
    if inputs.ndim == len(wanted) + 1:
        inputs = inputs[..., None]
    total = inputs.shape[-1]
    features: Sequence[int] = range(total)
    if total > MOST_FEATURES:
        others = tuple(range(inputs.ndim - 1))
        with np.errstate(all="ignore"):
            spread = np.nan_to_num(inputs.std(others, dtype=np.float64))
        features = sorted(np.argsort(-spread, kind="stable")[:MOST_FEATURES].tolist())
    values = inputs[part.samples]
    if len(wanted) == 2:
        values = values[:, part.frames]
    values = values[..., : part.times, :][..., list(features)]
    return Inputs(numbers=values.astype("<f4"), features=tuple(features), total=total)
