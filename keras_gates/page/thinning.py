"""The part of each layer that fits on a page, and sentences about the rest."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.page.page_layers import Layer

BUDGET = 10 * 2**20
"""Bytes of packed values on a page. As text they take a third more, and Bokeh takes
1.3 MB: a page is smaller than 16 MB, which a browser opens in a second."""

PACKED = 2
"""Bytes of a packed value."""

SHORTEST = 256
"""The number of steps that are kept even if some units must then be left out."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of a layer that is on the page.

    Attributes:
        moments: Positions of the steps of training.
        samples: Positions of the samples.
        frames: Positions of the frames.
        times: The number of time steps, from the first on.
        units: Numbers of the units.
    """

    moments: np.ndarray
    samples: np.ndarray
    frames: np.ndarray
    times: int
    units: np.ndarray

    def of(self, layer: Layer) -> dict[str, np.ndarray | slice]:
        """Returns the arguments of `isel` that choose this part of a layer."""
        chosen: dict[str, np.ndarray | slice] = {
            v.STEP: self.moments,
            v.SAMPLE: self.samples,
            v.FRAME: self.frames,
            v.TIME: slice(self.times),
            v.UNIT: self.units,
        }
        return {dim: which for dim, which in chosen.items() if dim in layer.data.dims}


def parts(layers: list[Layer], budget: int) -> list[Part]:
    """Chooses the part of each layer that is on the page.

    Steps of training have priority, since a slider over few of them is of little use.
    Samples are spread evenly. Only if a single sample is too large, frames are left
    out, then the end of the sequence, and then units.

    Args:
        layers: All layers of the page. In layers with the same number of samples, the
            same samples are chosen, so that they can be shown side by side.
        budget: Bytes of packed values, for all layers together.
    """
    sizes = [_bytes(layer) * layer.size(v.FRAME) for layer in layers]
    slots = max(1, budget // sum(sizes))
    most = max(layer.size(v.STEP) for layer in layers)
    found = []
    for layer, size in zip(layers, sizes, strict=True):
        share = max(1, min(budget, int(budget * size / sum(sizes))))
        frames = min(layer.size(v.FRAME), max(1, share // _bytes(layer)))
        room = share // (frames * PACKED * len(layer.signals))
        times = min(layer.size(v.TIME), max(SHORTEST, room // layer.size(v.UNIT)))
        units = min(layer.size(v.UNIT), max(1, room // times))
        # Reversed, so that the last step of training is always included.
        moments = layer.size(v.STEP) - 1 - _spread(layer.size(v.STEP), slots)[::-1]
        found.append(
            Part(
                moments,
                _spread(layer.size(v.SAMPLE), slots // most),
                _spread(layer.size(v.FRAME), frames),
                times,
                _spread(layer.size(v.UNIT), units),
            )
        )
    return found


def sentences(layers: list[Layer], chosen: list[Part]) -> list[str]:
    """Returns sentences about the values that are not on the page, if there are any."""
    layers_of: dict[str, list[str]] = {}
    for layer, part in zip(layers, chosen, strict=True):
        for sentence in _left_out(layer, part):
            layers_of.setdefault(sentence, []).append(f"'{layer.name}'")
    return [
        sentence if len(names) == len(layers) else f"In {', '.join(names)}: {sentence}"
        for sentence, names in layers_of.items()
    ]


def _left_out(layer: Layer, part: Part) -> list[str]:
    """Returns sentences about the values of a layer that are not on the page."""
    kept = {
        "samples": (len(part.samples), layer.size(v.SAMPLE), "spread evenly"),
        "steps of training": (len(part.moments), layer.size(v.STEP), "spread evenly"),
        "frames": (len(part.frames), layer.size(v.FRAME), "spread evenly"),
        "time steps": (part.times, layer.size(v.TIME), "the first ones"),
        "units": (len(part.units), layer.size(v.UNIT), "spread evenly"),
    }
    return [
        f"{few:,} of {all_:,} {what} can be inspected step by step ({how}), to keep "
        "the file small; the findings, the plots of the layers and the table cover "
        "all of them."
        if what != "steps of training"
        else f"{few:,} of {all_:,} {what} are on the slider ({how}), to keep the file "
        "small."
        for what, (few, all_, how) in kept.items()
        if few < all_
    ]


def _bytes(layer: Layer) -> int:
    """Returns the packed size of one sample, or frame, at one step of training."""
    return layer.size(v.TIME) * layer.size(v.UNIT) * len(layer.signals) * PACKED


def _spread(total: int, count: int) -> np.ndarray:
    """Returns up to `count` positions, evenly from the first to the last."""
    if count >= total:
        return np.arange(total)
    return np.linspace(0, total - 1, max(1, count)).round().astype(int)
