"""The notebook view of captured layers: a small figure above the text.

It is imported only when a tree is made, as it needs xarray immediately.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

import xarray

from keras_gates import vocabulary as v
from keras_gates.trees import appearance
from keras_gates.trees.choose_layer import one_sample, sample_of
from keras_gates.trees.data_checks import quoted
from keras_gates.trees.layer_kind import kind_of_layer
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 6
"""The largest number of layers that are drawn, which are the first ones of the tree."""


class DataTree(xarray.DataTree):
    """A tree that a notebook shows with a small figure of each captured layer."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        layers = recurrent(self)
        images = [_image_of(node.to_dataset()) for node in layers[:MOST]]
        if len(layers) > MOST:
            images.append(f"<p>and {len(layers) - MOST} more layers</p>")
        return "".join(images) + super()._repr_html_()


def _image_of(layer: xarray.Dataset) -> str:
    """Returns an image of the first sample's signals with a caption, if possible."""
    others = {
        dim: -1 if dim == v.STEP else 0
        for dim in (v.STEP, v.FRAME)
        if layer.sizes.get(dim)
    }
    layer = layer.isel(others)
    if not all(layer.sizes.get(dim) for dim in (v.SAMPLE, v.TIME, v.UNIT)):
        return ""  # The layer holds statistics, or no captured signals.
    stream = io.BytesIO()
    strip(layer).savefig(stream, format="png", dpi=100)
    data = base64.b64encode(stream.getvalue()).decode()
    name = html.escape(str(layer.attrs.get("layer", "")))
    return (
        f'<img alt="the signals of {name}" style="max-width:100%" '
        f'src="data:image/png;base64,{data}"/>'
    )


def strip(layer: xarray.Dataset) -> Figure:
    """Draws the signals of a layer's first sample side by side, small.

    Args:
        layer: The dataset of a layer, of dimensions `(sample, time, unit)`.
    """
    from matplotlib.figure import Figure

    sample = one_sample(layer, None)
    figure = Figure(figsize=(7.0, 1.25), layout="constrained")
    grid = figure.subplots(1, len(sample.data_vars), squeeze=False)
    for axes, (name, signal) in zip(grid.flat, sample.items(), strict=True):
        values = signal.transpose(v.UNIT, v.TIME).values
        axes.imshow(
            values,
            origin="lower",
            aspect="auto",
            interpolation="antialiased",
            **appearance.scale(str(name), values),
        )
        axes.patch.set(**appearance.MASKED)
        axes.set_title(name, fontsize="small")
        axes.set(xticks=[], yticks=[])
    grid[0, 0].set_ylabel(v.UNIT, fontsize="small")
    grid[0, 0].set_xlabel(v.TIME, fontsize="small")
    keep = kind_of_layer(layer).keep
    title = f"{quoted(layer)} ({layer.attrs['cell_type']}), sample {sample_of(sample)}"
    title += f"; {keep}: {v.KEEP_CONVENTION}" if keep in sample else ""
    figure.suptitle(title, fontsize="small", parse_math=False)
    return figure
