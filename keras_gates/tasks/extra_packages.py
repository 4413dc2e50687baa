"""Functions of packages of the extra `examples`, which only some tasks need."""

import importlib
from typing import Any

PACKAGES = {"sklearn": "scikit-learn"}
"""The names of packages, where their modules have others."""


def extra(module: str, name: str) -> Any:
    """Returns what a package of the extra has under a name.

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
