"""Configuration of the documentation."""

import importlib.metadata
import logging
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # For `figures`.
# It warns of many small models, as pages make them, in the middle of their output.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

project = "keras_gates"
author = copyright = "The keras_gates developers"
release = importlib.metadata.version("keras-gates")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["wrap.css"]
# Parts of the pages of claims and costs, and what sphinx-gallery makes a page of.
exclude_patterns = ["_build", "claims", "costs", "explained"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
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
