"""Finds the figures of an example, for sphinx-gallery.

The figures of keras_gates are not pyplot's, so that the scraper for those sees none.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

DOTS_PER_INCH = 150
SHOWN = "_figures_shown"
"""The name, among an example's own, under which the figures shown so far are kept."""


def scraper(block, block_vars, gallery_conf):
    """Saves every figure that a name of the example holds since this block.

    Returns:
        The reST that shows the figures: an empty string for none.
    """
    names = block_vars["example_globals"]
    shown = names.setdefault(SHOWN, [])
    paths = []
    for value in list(names.values()):
        figure = value.figure if isinstance(value, Axes) else value
        if isinstance(figure, Figure) and not any(figure is old for old in shown):
            shown.append(figure)
            paths.append(block_vars["image_path_iterator"].next())
            figure.savefig(paths[-1], dpi=DOTS_PER_INCH)
    return figure_rst(paths, gallery_conf["src_dir"])
