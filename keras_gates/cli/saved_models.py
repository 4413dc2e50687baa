"""A saved model and its data, read from files for the command line."""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_gates.checks import type_of
from keras_gates.cli.errors import brief
from keras_gates.cli.files import NUMBERS, read_arrays, require_numbers


def import_module(name: str) -> None:
    """Imports a module of the user, or explains why that failed."""
    if "" not in sys.path:
        # As with `python -m`, modules in the current folder can be imported.
        sys.path.insert(0, "")
    try:
        importlib.import_module(name)
    # A script may raise any error when it is imported, or exit.
    except (Exception, SystemExit) as error:
        raise ImportError(
            "--import must name a module that can be imported, such as my_layers for a "
            "file my_layers.py in the current folder; importing "
            f"{name!r} failed: {brief(error)}"
        ) from error


def load_model(path: Path) -> keras.Model:
    """Loads a saved model, or explains why that failed."""
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        # Keras would report such a file as missing.
        raise ValueError(
            f"'{path}' could not be loaded as a Keras model: it is not a .keras file, "
            "or is truncated. Give a file written by `model.save(...)`."
        )
    try:
        # Losses and optimizers are not needed, and may fail to load.
        model = keras.saving.load_model(path, compile=False)
    # A damaged file raises errors of zipfile, zlib, h5py, json, Keras or Python.
    except Exception as error:
        raise ValueError(
            f"'{path}' could not be loaded as a Keras model: "
            f"{brief(error).rstrip('.')}. {_way_out(path)}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"'{path}' must hold a model; it holds {type_of(model)}. Put it into a "
            "`keras.Sequential`, and save that model."
        )
    return model


def _way_out(path: Path) -> str:
    version = _version_of(path)
    if version.startswith(("1.", "2.")):
        return (
            f"It was saved by Keras {version}, and this is Keras {keras.version()}. "
            "Load it with the package `tf_keras`, build the same model from layers of "
            "Keras 3, copy the weights with `new.set_weights(old.get_weights())`, and "
            "save it as a .keras file."
        )
    return (
        "Give a file written by `model.save(...)`. If the model has custom objects, "
        "use --import to name the module that registers them."
    )


def _version_of(path: Path) -> str:
    """Returns the version of Keras that saved a file, or "" if it is not known."""
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            version = file.attrs["keras_version"]
            return version.decode() if isinstance(version, bytes) else str(version)
    except Exception:  # The file is damaged; the error of loading it is shown anyway.
        return ""


def read_inputs(path: Path, model: keras.Model):
    """Reads the inputs of a model from a .npy or .npz file."""
    loaded = read_arrays(path)
    inputs = {tensor.name: tensor for tensor in getattr(model, "inputs", None) or []}
    if isinstance(loaded, np.ndarray):
        chosen = {path.name: loaded}
    elif inputs and set(inputs) <= set(loaded):
        chosen = {name: loaded[name] for name in inputs}
    elif len(inputs) < 2 and (len(loaded) == 1 or "x" in loaded):
        name = "x" if "x" in loaded else next(iter(loaded))
        chosen = {name: loaded[name]}
    else:
        raise ValueError(
            f"'{path}' must hold an array for each input of the model, "
            f"{list(inputs)}; it holds {list(loaded)}."
        )
    text = any(tensor.dtype == "string" for tensor in inputs.values())
    for name, array in chosen.items():
        require_numbers(path, name, array, NUMBERS + "SU" if text else NUMBERS)
    arrays = list(chosen.values())
    return arrays if len(arrays) > 1 else arrays[0]
