"""A model that is sent to another process, with everything that it needs there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_gates.cells import registry
from keras_gates.cells.error_words import words_of
from keras_gates.cells.kind import Kind
from keras_gates.models.find_layers import walk
from keras_gates.models.instrumenting import Holder, Instrumented, fast_paths

_HERE = uuid.uuid4().hex
"""An id of this process, in which joblib may run a task instead of in a worker."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """A model as it is sent.

    Attributes:
        home: The process that sends it.
        name: The name of the model.
        file: The file as which Keras saves it.
        registered: The classes and functions that are registered with Keras here.
        classes: The other classes of layers that are not Keras's own.
        kinds: The kinds of cells that are registered here.
        fast: The paths of the layers that `accelerate` runs in a fast kernel.
        eagerly: Whether it runs without being compiled.
        weights: A digest of each weight.
        backend: The backend of Keras.
        settings: The settings in the configuration of Keras.
    """

    home: str
    name: str
    file: bytes
    registered: dict[str, Any]
    classes: dict[str, Any]
    kinds: list[Kind]
    fast: list[str]
    eagerly: bool
    weights: list[str]
    backend: str
    settings: dict[str, Any]

    def load(self) -> keras.Model:
        """Rebuilds the model, within `in_force`.

        Raises:
            ValueError: If Keras cannot load it.
            RuntimeError: If it is not the same.
        """
        if self.home != _HERE:
            for name, one in self.registered.items():
                if keras.saving.get_registered_object(name) is not one:
                    _register(name, one)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            path.write_bytes(self.file)
            try:
                # Not in safe mode, like a pickle, as this is the user's own model.
                model = keras.saving.load_model(path, compile=False, safe_mode=False)
            except Exception as error:  # Classes of the user's own raise anything.
                raise _not_loaded(self.name, error) from error
        if self.eagerly:
            model.run_eagerly = True
        if _digests(model) != self.weights:
            raise RuntimeError(
                f"`n_jobs` needs a model that is the same after it was saved and "
                f"loaded, but the weights of '{self.name}' differ. Save the state of "
                "its layers in their `save_own_variables`, or leave `n_jobs` out."
            )
        layers = dict(walk(model))
        fast = [layers[path] for path in self.fast]
        Instrumented(model, fast, Holder(lasting=True, fast=True))
        return model

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Applies the settings of the process that sent the model within the block.

        Raises:
            RuntimeError: If Keras has another backend here.
        """
        if keras.backend.backend() != self.backend:
            raise RuntimeError(
                f"A worker process runs Keras on {keras.backend.backend()}, but "
                f"'{self.name}' is a model on {self.backend}. Set "
                f"KERAS_BACKEND={self.backend} in the environment of this process and "
                "of the workers, before they start."
            )
        if self.home == _HERE:
            with keras.saving.custom_object_scope(self.classes):
                yield
            return
        known, settings = dict(registry.KINDS), _settings()
        added = {
            kind.name: kind
            for kind in self.kinds
            if kind.name not in known or known[kind.name].cell is not kind.cell
        }
        registry.KINDS.update(added)
        _set(self.settings)
        try:
            with keras.saving.custom_object_scope(self.classes):
                yield
        finally:
            _set(settings)
            for name in added:
                if name in known:
                    registry.KINDS[name] = known[name]
                else:
                    registry.KINDS.pop(name, None)


def pack(model: keras.Model) -> np.ndarray:
    """Returns a model as bytes, from which `unpack` restores it in another process.

    Raises:
        ValueError: If Keras cannot save it, or what it needs cannot be pickled.
    """
    import cloudpickle

    kinds = [
        kind for kind in registry.KINDS.values() if kind.name not in registry.STOCK
    ]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            with warnings.catch_warnings():
                # Only this package loads it, and only now.
                warnings.filterwarnings("ignore", message="The object being serialized")
                model.save(path)
            file = path.read_bytes()
        sent = Sent(
            _HERE,
            model.name,
            file,
            _sendable(keras.saving.get_custom_objects()),
            _sendable(_classes(model)),
            kinds,
            fast_paths(model),
            bool(getattr(model, "run_eagerly", False)),
            _digests(model),
            keras.backend.backend(),
            _settings(),
        )
        packed = cloudpickle.dumps(sent)
    except Exception as error:  # Classes of the user's own raise anything.
        raise ValueError(
            f"`n_jobs` needs a model that can be saved and sent to other processes; "
            f"'{model.name}' cannot ({words_of(error)}). Give its classes a "
            "`get_config` that returns every argument of their `__init__`, or leave "
            "`n_jobs` out."
        ) from error
    # An array, as joblib sends large arrays once for any number of tasks.
    return np.frombuffer(packed, np.uint8)


def unpack(name: str, packed: np.ndarray) -> Sent:
    """Restores the result of `pack`.

    Raises:
        ValueError: If a class or function cannot be found here.
    """
    import cloudpickle

    try:
        return cloudpickle.loads(packed.tobytes())
    except Exception as error:  # Modules of the user's own raise anything.
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"`n_jobs` needs a model that other processes can load; '{name}' cannot be "
        f"({words_of(error)}). Register its classes and functions with "
        "`keras.saving.register_keras_serializable`, give the classes a `get_config` "
        "that returns every argument of their `__init__`, or leave `n_jobs` out."
    )


def _classes(model) -> dict[str, type]:
    """Returns the classes of layers that are not Keras's own, by their Keras names."""
    found: dict[str, type] = {}
    for layer in (model, *(layer for _, layer in walk(model))):
        cls = getattr(type(layer), "stock_class", type(layer))
        if cls.__module__.partition(".")[0] != "keras":
            found[keras.saving.get_registered_name(cls)] = cls
    return found


def _sendable(objects: dict[str, Any]) -> dict[str, Any]:
    """Returns the objects that can be sent; the others may not concern the model."""
    import cloudpickle

    sent = {}
    for name, one in objects.items():
        with contextlib.suppress(Exception):
            cloudpickle.dumps(one)
            sent[name] = one
    return sent


def _register(name: str, one: Any) -> None:
    """Registers a class or function as it is in the process that sent it."""
    package, _, own = name.rpartition(">")
    if package:
        keras.saving.register_keras_serializable(package, own)(one)
    else:
        keras.saving.get_custom_objects()[name] = one


def _digests(model) -> list[str]:
    """Returns a digest of each weight, sorted, as Keras may change their order."""
    arrays = map(keras.ops.convert_to_numpy, model.weights)
    return sorted(
        hashlib.sha256(repr((a.shape, a.dtype)).encode() + a.tobytes()).hexdigest()
        for a in arrays
    )


def _settings() -> dict[str, Any]:
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.dtype_policies.serialize(keras.config.dtype_policy()),
    }


def _set(settings: dict[str, Any]) -> None:
    policy = keras.dtype_policies.deserialize(settings["dtype_policy"])
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_epsilon(settings["epsilon"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(policy)
