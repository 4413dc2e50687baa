"""Layers for the tests of figures, and functions that read the drawn figures."""

import numpy as np
import xarray
from matplotlib.text import Text

from keras_gates.cells import registry

DIMENSIONS = ("sample", "time", "unit")


def layer(kind, *, steps=6, units=4, masked=0, signals=None, **attributes):
    """Returns a layer with different numbers in each signal and masked first steps."""
    generator = np.random.default_rng(7)
    data = {}
    for name in signals or kind.signals:
        low, high = (0, 1) if name in registry.gates() else (-2, 3)
        values = generator.uniform(low, high, (3, steps, units)).astype("float32")
        values[:, :masked] = np.nan
        data[name] = (DIMENSIONS, values, {"long_name": registry.long_names()[name]})
    mask = np.tile(np.arange(steps) >= masked, (3, 1))
    attributes = {"cell_type": kind.name, "layer": kind.name.lower()} | attributes
    return xarray.Dataset({**data, "mask": (DIMENSIONS[:2], mask)}, attrs=attributes)


def words(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def assert_legible(figure):
    """Checks sizes at the width of a page, and that nothing is cut off."""
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= 7
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 8
    # No part of the figure is outside its edges.
    box = figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0
    assert box.x1 <= figure.get_figwidth() and box.y1 <= figure.get_figheight()
