"""Imports from the packages of the extra `examples`, which only some tasks need."""

import importlib
from typing import Any

PACKAGES = {"sklearn": "scikit-learn"}
"""The names of packages that differ from those of their modules."""


def extra(module: str, name: str) -> Any:
    """Imports a name from a module of the extra packages.

    Raises:
        ImportError: If it cannot be imported.
    """
    root = module.split(".")[0]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ImportError(
            f"This needs the package `{PACKAGES.get(root, root)}`, which could not be "
            f"imported: {error}. Install it with "
            '`pip install "keras-gates[examples]"`.'
        ) from error
