"""Activation functions, with names by which the same function can be found again."""

from __future__ import annotations

from collections.abc import Callable

import keras

OPERATIONS = "keras.ops."
"""The prefix for functions of `keras.ops`, whose `tanh` is a different function."""


def name_of(function: Callable) -> str:
    """Returns a name for an activation.

    A function is recognised by its identity, not by its name: a user's own `tanh` must
    not be taken for Keras's.

    Args:
        function: The activation of a cell: a function, a layer, or anything else that
            can be called.

    Returns:
        The name by which `find` finds this same function. If there is none, a
        description that `find` does not know, such as "my_module.tanh".
    """
    plain = getattr(function, "__name__", None)
    if plain is not None:
        registered = keras.saving.get_registered_name(function)
        for name in (plain, registered, OPERATIONS + plain):
            if find(name) is function:
                return name
    described = type(function) if plain is None else function
    module = getattr(described, "__module__", None) or type(function).__name__
    if getattr(keras.layers, type(function).__name__, None) is described:
        return described.__name__  # For example, LeakyReLU.
    return f"{module}.{getattr(described, '__qualname__', plain)}"


def find(name: str) -> Callable | None:
    """Returns the activation function of a name, or `None`.

    Args:
        name: A name that `name_of` returned, perhaps in another process.
    """
    if name.startswith(OPERATIONS):
        function = getattr(keras.ops, name.removeprefix(OPERATIONS), None)
    elif name in ("get", "serialize", "deserialize"):
        return None  # Functions of the module that are not activations.
    else:
        # Keras's own come first, even if others are registered under their names.
        function = getattr(keras.activations, name, None)
        function = function or keras.saving.get_registered_object(name)
    is_function = callable(function) and not isinstance(function, type)
    return function if is_function else None
