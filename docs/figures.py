"""Finds the figures of an example, for sphinx-gallery.

The figures of keras_gates are not pyplot's, so that the scraper for those sees none.
"""

import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

DOTS_PER_INCH = 150
CAPTIONED = """

.. figure:: /{place}
   :alt: {caption}
   :class: sphx-glr-single-img

   {caption}

"""
SHOWN = "_figures_shown"
"""The name, among an example's own, under which the figures shown so far are kept."""


def scraper(block, block_vars, gallery_conf):
    """Saves every figure that a name of the example holds since this block.

    Returns:
        The reST that shows the figures: an empty string for none.
    """
    names = block_vars["example_globals"]
    shown = names.setdefault(SHOWN, [])
    found = []
    for value in list(names.values()):
        figure = value.figure if isinstance(value, Axes) else value
        if isinstance(figure, Figure) and not any(figure is old for old in shown):
            shown.append(figure)
            path = block_vars["image_path_iterator"].next()
            figure.savefig(path, dpi=DOTS_PER_INCH)
            found.append(captioned(path, figure.get_label(), gallery_conf["src_dir"]))
    return "\n".join(found)


def captioned(path, caption, root):
    """Returns the reST that shows a figure, with the caption that is its label."""
    if not caption:
        return figure_rst([path], root)
    place = pathlib.Path(path).relative_to(root).as_posix()
    return CAPTIONED.format(place=place, caption=caption)
