"""Configuration of the documentation."""

import importlib.metadata
import logging
import os
import pathlib
import re
import sys

from docutils import nodes
from sphinx.domains.python import PyXRefRole

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # For `figures`.
# It warns of many small models, as pages make them, in the middle of their output.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

project = "keras_gates"
author = copyright = "The keras_gates developers"
release = importlib.metadata.version("keras-gates")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_title = f"keras_gates {release}"
html_static_path = ["static"]
html_css_files = ["wrap.css"]
templates_path = ["templates"]
# Parts of the pages of claims and costs, and what sphinx-gallery makes a page of.
exclude_patterns = ["_build", "claims", "costs", "explained", "templates"]
myst_heading_anchors = 3
default_role = "code_or_link"  # What stands in single backticks in a docstring.
autodoc_member_order = "bysource"
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
# Inventories have to be fetched, so that it needs a network. Keras publishes none.
if "READTHEDOCS" in os.environ:
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "python": ("https://docs.python.org/3", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
    }
napoleon_custom_sections = [("Call arguments", "params_style"), "Reference"]

sphinx_gallery_conf = {
    "examples_dirs": ["../examples", "explained"],
    "gallery_dirs": ["gallery", "understand"],
    "filename_pattern": r"\.py$",  # All of them run.
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("figures.scraper",),
    "capture_repr": (),  # An example prints what it wants to show, as when it is run.
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
}


def code_or_link(name, rawtext, text, lineno, inliner, options=None, content=()):
    """Shows code, and links it if it is a name of a documented package."""
    if re.fullmatch(r"(keras_gates|numpy|pandas|xarray)\.[\w.]+", text):
        return PyXRefRole()("py:obj", rawtext, text, lineno, inliner, options, content)
    return [nodes.literal(rawtext, text)], []


def name_as_listed(app, env, docnames):
    """Names gate layers as they are listed, and not as Keras's: else they are aliases.

    After the gallery has run, in which layers are named after their classes.
    """
    import keras_gates

    for name in keras_gates.__all__:
        thing = getattr(keras_gates, name)
        if isinstance(thing, type):
            thing.__name__ = name


def setup(app):
    """Makes both known to Sphinx."""
    app.connect("env-before-read-docs", name_as_listed)
    app.add_role("code_or_link", code_or_link)
