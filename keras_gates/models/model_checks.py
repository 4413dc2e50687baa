"""Checks that a model can be read, with advice for objects that are not models."""

from __future__ import annotations

import os

import keras


def require_model(model) -> None:
    """Raises an error for an object that is not a model."""
    if isinstance(model, keras.Model):
        return
    if isinstance(model, type) and issubclass(model, keras.Model):
        got, way_out = (
            f"the class {model.__name__}",
            "Give an instance of it, with weights.",
        )
    elif isinstance(model, (str, os.PathLike)):
        got, way_out = (
            repr(os.fspath(model)),
            ("Load the file first, with `keras.saving.load_model`."),
        )
    elif isinstance(model, keras.layers.Layer):
        got = type(model).__name__
        way_out = "Put a single layer into a `keras.Sequential` first."
    else:
        got = type(model).__name__
        way_out = _from_elsewhere(model) or "Give a model made of `keras.layers`."
    raise ValueError(f"`model` must be a `keras.Model`; got {got}. {way_out}")


_KERAS_2 = (
    "tf_keras.",
    "keras.engine.",
    "keras.src.engine.",
    "tensorflow.python.keras.",
)


def _from_elsewhere(model) -> str | None:
    """Returns the advice for a model of another library, recognised by its module."""
    for cls in type(model).__mro__:
        module = f"{cls.__module__}."
        if module.startswith(_KERAS_2):
            return (
                "This is a model of Keras 2. Rebuild it with Keras 3, from the same "
                "code with `import keras` and without TF_USE_LEGACY_KERAS=1 in the "
                "environment, and load its weights."
            )
        if module.startswith("torch.nn."):
            return (
                "This is a module of PyTorch. keras_gates reads the recurrent layers "
                "of Keras: build the model from layers of `keras.layers`, which run on "
                "PyTorch too."
            )
        if module.startswith(("flax.", "equinox.", "haiku.")):
            return (
                f"This is a model of {module.partition('.')[0]}. keras_gates reads the "
                "recurrent layers of Keras: build the model from layers of "
                "`keras.layers`, which run on JAX too."
            )
    return None


def has_call(model: keras.Model) -> bool:
    """Returns whether a model can be run as a whole."""
    return getattr(model.call, "__func__", None) is not keras.Model.call
