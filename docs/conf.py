"""Configuration of the documentation."""

import importlib.metadata

project = "keras_gates"
author = "The keras_gates developers"
release = importlib.metadata.version("keras-gates")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
html_theme = "furo"
exclude_patterns = ["_build", "claims"]  # The parts of the page of claims.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_custom_sections = [("Call arguments", "params_style"), "Reference"]
