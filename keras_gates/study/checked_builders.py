"""The architectures of a study: functions that build models for one task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_gates.checks import type_of
from keras_gates.study.builders import builders_of
from keras_gates.study.recipe import Recipe
from keras_gates.study.study_data import TRAINING, VALIDATION, Data
from keras_gates.study.training import new_model


def checked_builders(
    builders: Any, recipe: Recipe | None, data: Data
) -> Mapping[str, Callable[[], keras.Model]]:
    """Returns the function that builds the model of each name."""
    if recipe is not None and not isinstance(recipe, Recipe):
        raise TypeError(
            "`recipe` must be a keras_gates.Recipe, such as `Recipe(units=16)`; got "
            f"{type_of(recipe)}."
        )
    named = isinstance(builders, list | tuple) and builders
    if named and all(isinstance(name, str) for name in builders):
        return builders_of(builders, recipe or Recipe(), data)
    if not isinstance(builders, Mapping):
        raise TypeError(
            "`models` must map names to functions that return a compiled model, or "
            f"be a list of names such as ['LSTM', 'GRU']; got {type_of(builders)}. Use "
            "a dict such as {'LSTM': build_lstm}."
        )
    if recipe is not None:
        raise ValueError(
            "`recipe` applies only to architectures that are given by name, such as "
            "['LSTM', 'GRU']; functions build the whole model. Leave `recipe` out."
        )
    if not builders:
        raise ValueError(
            "`models` must hold at least one architecture; it is empty. Use a dict "
            "such as {'LSTM': build_lstm, 'GRU': build_gru}."
        )
    for name, build in builders.items():
        if not isinstance(name, str):
            raise TypeError(
                f"`models` must have names as keys; got {name!r}, {type_of(name)}. "
                "Use a str."
            )
        if isinstance(build, keras.Model) or not callable(build):
            raise TypeError(
                f"`models[{name!r}]` must be a function without arguments that "
                f"returns a compiled model; got {type_of(build)}. Put the lines that "
                "build and compile the model into a function, and pass the function."
            )
    return dict(builders)


def one_task(
    builders: Mapping[str, Callable[[], keras.Model]], x: Any, x_val: Any
) -> dict[str, keras.Model]:
    """Builds every architecture twice, and refuses models of different tasks.

    Returns:
        A model of each architecture.
    """
    shapes = [
        [leaf.shape[1:] for leaf in keras.tree.flatten(part)] for part in (x, x_val)
    ]
    alike = shapes[0] == shapes[1]
    models: list[keras.Model] = []
    tasks: dict[str, Any] = {}
    for name, build in (*builders.items(), *builders.items()):
        try:
            model = new_model(name, build)
            outputs = _outputs(name, model, x, TRAINING[0])
            if not alike:
                _outputs(name, model, x_val, VALIDATION[0])
            _check_own(name, model, models)
        except Exception as error:
            error.add_note(f"This happened with {name!r}, before any training.")
            raise
        models.append(model)
        shapes = keras.tree.map_structure(lambda out: tuple(out.shape[1:]), outputs)
        tasks[name] = shapes, _loss_name(model)
    (first, (shapes, loss)), *others = tasks.items()
    for name, (other_shapes, other_loss) in others:
        if other_shapes != shapes:
            raise ValueError(
                "`models` must return models for one task; the outputs of a sample "
                f"have shape {shapes} from {first!r} but {other_shapes} from {name!r}. "
                "Give the models the same last layer."
            )
        if loss and other_loss and loss != other_loss:
            raise ValueError(
                "`models` must return models for one task; they are compiled with "
                f"the loss {loss} in {first!r} but {other_loss} in {name!r}. Compile "
                "all models with the same loss."
            )
    return dict(zip(builders, models, strict=False))


def _outputs(name: str, model: keras.Model, x: Any, argument: str) -> Any:
    """Calls a model on a batch, or reports that the two do not fit together."""
    try:
        return model(x)
    except Exception as error:
        raise ValueError(
            f"{argument} must fit the model of `models[{name!r}]`; calling the model "
            f"on a batch of it failed: {error}"
        ) from error


def _check_own(name: str, model: keras.Model, others: list[keras.Model]) -> None:
    """Refuses a model that shares trained objects with one that was built before."""
    if any(model is other for other in others):
        raise ValueError(
            f"`models[{name!r}]` must return a new model on every call; it returned "
            f"{model.name!r}, which an earlier call had returned. Build the model "
            "inside the function."
        )
    taken = {
        id(thing)
        for other in others
        for thing in (other.optimizer, *other.trainable_variables)
        if thing is not None
    }
    if any(
        id(thing) in taken for thing in (model.optimizer, *model.trainable_variables)
    ):
        raise ValueError(
            f"`models[{name!r}]` must return a model of its own; {model.name!r} "
            "shares its optimizer or trainable weights with an earlier one. Make the "
            "optimizer and the layers inside the function, or set "
            "`layer.trainable = False` for a layer that is meant to be shared."
        )


def _loss_name(model: keras.Model) -> str | None:
    """Returns the loss that a model was compiled with by name, in its long form."""
    if not isinstance(model.loss, str):
        return None  # Objects and functions cannot be compared.
    # For "mse" Keras returns a function, and for the name of a class an object.
    loss = keras.losses.get(model.loss)
    return getattr(loss, "__name__", None) or loss.name
