"""A layer in the form for the scripts of the page: packed values and descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.page import encoding
from keras_gates.page.input_rows import Inputs
from keras_gates.page.overview import Overview
from keras_gates.page.page_layers import Layer
from keras_gates.page.thinning import Part
from keras_gates.page.unit_orders import orders
from keras_gates.trees.labels import labelled, words

if TYPE_CHECKING:
    import xarray


def pack_layer(
    index: int,
    layer: Layer,
    part: Part,
    overview: Overview,
    inputs: Inputs | None,
    blocks: dict[str, str],
) -> dict[str, Any]:
    """Packs a layer into blocks, and returns its description for the scripts."""
    data = layer.data.isel(part.of(layer))
    signals: dict[str, dict[str, Any]] = {}
    states: Any = None
    for name in layer.signals:
        values = data[name].values
        if v.STEP not in data.dims:
            values = values[None]
        packed = encoding.pack(values, gate=name in registry.gates())
        signals[name] = _signal(name, packed)
        for moment, codes in enumerate(packed.codes):
            blocks[f"signal-{index}-{name}-{moment}"] = _lines(codes, layer)
        # Kept from the last signal, which is `hidden` if it was captured.
        states = values[-1]
    masked = v.MASK in data
    if masked:
        mask = data[v.MASK]
        mask = mask.isel({v.STEP: -1}) if v.STEP in mask.dims else mask
        unmasked = mask.values if v.SAMPLE in mask.dims else mask.values[None]
        blocks[f"mask-{index}"] = _lines(unmasked.astype(np.uint8), layer)
    if inputs and inputs.numbers is not None:
        blocks[f"input-{index}"] = _lines(inputs.numbers, layer)
    return {
        "index": index,
        "name": layer.name,
        "kind": layer.kind.name,
        "convention": layer.kind.convention,
        "backward": layer.backward,
        "total": layer.size(v.UNIT),
        "units": _plain(layer.labels(v.UNIT)[part.units]),
        "steps": part.times,
        "times": words(layer.labels(v.TIME)[: part.times])
        if labelled(layer.data, v.TIME)
        else None,
        "items": _items(layer, part),
        "moments": _moments(layer, data, part),
        "signals": signals,
        "threshold": next(s for s in (layer.kind.keep, *signals) if s in signals),
        "orders": orders(overview, part.units, states),
        "masked": masked,
        "inputs": inputs
        and {
            "tokens": inputs.tokens,
            "features": inputs.features,
            "total": inputs.total,
        },
    }


def _signal(name: str, packed: encoding.Packed) -> dict[str, Any]:
    """Returns how to decode a signal, and the limits of its colour scale."""
    low = float(packed.offset.min())
    high = float((packed.offset + packed.span).max())
    unitary = name in registry.gates() and low >= 0 and high <= 1
    if name not in registry.gates():
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    elif low == high:
        high = low + 1
    return {
        "offset": packed.offset.tolist(),
        "span": packed.span.tolist(),
        "limits": [low, high],
        "unitary": unitary,
    }


def _lines(array: np.ndarray, layer: Layer) -> str:
    """Returns a line of text for each sample, or for each frame of each sample."""
    if v.FRAME in layer.data.dims:
        array = array.reshape(-1, *array.shape[2:])
    return "\n".join(map(encoding.as_text, array))


def _items(layer: Layer, part: Part) -> list[list[int | str | None]]:
    """Returns the labels, or positions, of the sample and frame of each line."""
    framed = v.FRAME in layer.data.dims
    frames: list[Any] = _plain(layer.labels(v.FRAME)[part.frames]) if framed else [None]
    samples = _plain(layer.labels(v.SAMPLE)[part.samples])
    return [[sample, frame] for sample in samples for frame in frames]


def _plain(labels: np.ndarray) -> list[int | str]:
    """Returns labels for JSON: whole numbers, or text for all other labels."""
    if labels.dtype.kind in "iu":
        return labels.tolist()
    return [*words(labels)]


def _moments(layer: Layer, data: xarray.Dataset, part: Part) -> list[str]:
    """Returns a description of each step of training on the page."""
    if v.STEP not in data.dims:
        return ["as captured"]
    if "epoch" not in data.coords:
        steps = layer.labels(v.STEP)[part.moments]
        return [f"step {step}" for step in words(steps)]
    epochs = data["epoch"].values.tolist()
    described = [f"epoch {epoch}" for epoch in epochs]
    if "batch" in data.coords:
        batches = data["batch"].values.tolist()
        described = [f"{s}, batch {b}" for s, b in zip(described, batches, strict=True)]
    # A trace that was recorded before training has the epoch 0.
    pairs = zip(described, epochs, strict=True)
    return [text if epoch else "before training" for text, epoch in pairs]
