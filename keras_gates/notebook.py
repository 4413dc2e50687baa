"""What a notebook shows of captured layers: a small picture above the text.

Imported only when a tree is made, as it needs xarray at once.
"""

import base64
import html
import io

import xarray

from keras_gates import vocabulary as v

MOST = 6
"""A tree of more layers shows the pictures of the first ones."""


class DataTree(xarray.DataTree):
    """A tree that a notebook shows with a small picture of each captured layer."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from keras_gates.tree import recurrent

        layers = recurrent(self)
        pictures = [_picture(node.to_dataset()) for node in layers[:MOST]]
        if len(layers) > MOST:
            pictures.append(f"<p>and {len(layers) - MOST} more layers</p>")
        return "".join(pictures) + super()._repr_html_()


def _picture(layer: xarray.Dataset) -> str:
    """Returns the signals of the first sample as an image with a caption, if it can."""
    from keras_gates.heatmaps import strip

    others = {
        dim: -1 if dim == v.STEP else 0
        for dim in (v.STEP, v.FRAME)
        if layer.sizes.get(dim)
    }
    layer = layer.isel(others)
    if not all(layer.sizes.get(dim) for dim in (v.SAMPLE, v.TIME, v.UNIT)):
        return ""  # Statistics, or nothing captured.
    stream = io.BytesIO()
    strip(layer).savefig(stream, format="png", dpi=100)
    data = base64.b64encode(stream.getvalue()).decode()
    name = html.escape(str(layer.attrs.get("layer", "")))
    return (
        f'<img alt="the signals of {name}" style="max-width:100%" '
        f'src="data:image/png;base64,{data}"/>'
    )
