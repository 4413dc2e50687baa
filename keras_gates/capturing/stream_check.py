"""Checks that a model can run one time step at a time, by running it in this way."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np

from keras_gates.backend import backend
from keras_gates.capturing.kernel_choice import rounding
from keras_gates.capturing.stream_inputs import Inputs
from keras_gates.capturing.stream_program import StepProgram
from keras_gates.capturing.stream_suspects import steps_to_see, suspects
from keras_gates.models.find_layers import walk

STEPS, SHORT = 5, 3
"""The lengths of the sequences of the check, if the model takes any length."""

LATER = 1e-3
"""The tolerance after more than `STEPS` steps, over which rounding errors grow."""


def carrying_layers(model) -> dict[str, Any]:
    """Returns the recurrent layers that carry states from step to step, by path.

    A layer inside a `TimeDistributed`, or inside the cell of another layer, reads a
    sequence of its own at each step.

    Raises:
        ValueError: If there is no such layer, or one needs the whole sequence.
    """
    layers: dict[str, Any] = {}
    apart: set[int] = set()
    wrappers = keras.layers.TimeDistributed, keras.layers.RNN
    for path, layer in walk(model):
        if isinstance(layer, wrappers):
            apart.update(id(inner) for _, inner in walk(layer))
        if id(layer) in apart:
            continue
        backward = isinstance(layer, keras.layers.Bidirectional)
        if backward or getattr(layer, "go_backwards", False):
            raise ValueError(
                f"The model '{model.name}' cannot run one time step at a time: "
                f"'{path}' reads the sequence from its end. Run `predict` on a window "
                "of the latest time steps, or train the model with a forward layer in "
                "its place."
            )
        if isinstance(layer, keras.layers.RNN):
            layers[path] = layer
    if not layers:
        raise ValueError(
            f"The model '{model.name}' has no recurrent layer that carries states from "
            "one time step to the next one, so there is nothing to stream. Run "
            "`predict` on the latest data."
        )
    return layers


def check(
    model, program: StepProgram, inputs: Inputs, x=None
) -> tuple[dict, list[bool]]:
    """Compares a model on whole sequences with the same model step by step.

    Args:
        model: The model.
        program: The program that runs single steps.
        inputs: The inputs of the model.
        x: A few sequences; `None` for random ones.

    Returns:
        The shape and the type of each state, without the axis of samples; and for each
        output, whether it has an axis of time.

    Raises:
        ValueError: If the results differ, or if one of the two cannot run.
    """
    arrays = _random(model, inputs) if x is None else inputs.of_sequence(x)
    steps = _steps(model, inputs, arrays)
    lengths = {steps} if x is not None or inputs.length else {steps, SHORT}
    try:
        wholes = {
            length: _arrays(program.whole(inputs.packed(_part(inputs, arrays, length))))
            for length in lengths
        }
    except Exception as error:  # Custom layers may raise anything.
        raise ValueError(
            f"The model '{model.name}' cannot be run on "
            f"{'random sequences' if x is None else '`x`'}, for a comparison with "
            "single time steps. Give a few of your own sequences as `x`. "
            f"{_words(error)}"
        ) from error
    try:
        shapes, outputs = _run(program, inputs, arrays, steps)
    except Exception as error:
        raise _refusal(model, "a single time step cannot be run", error) from error
    in_time = [
        one.ndim > 2 if steps == 1 else one.shape[1:2] == (1,) and whole.shape[1] > 1
        for one, whole in zip(outputs[0], wholes[steps], strict=True)
    ]
    near = max(map(rounding, _dtypes(model)))
    for length, whole in wholes.items():
        for number, (timed, wanted) in enumerate(zip(in_time, whole, strict=True)):
            steps_of = [one[number] for one in outputs[:length]]
            got = np.concatenate(steps_of, axis=1) if timed else steps_of[-1]
            if timed:
                _compare(model, got[:, :STEPS], wanted[:, :STEPS], near)
            tolerance = near if length <= STEPS else max(near, LATER)
            _compare(model, got, wanted, tolerance)
    return shapes, in_time


def _run(program: StepProgram, inputs: Inputs, arrays: list, steps: int) -> tuple:
    """Runs sequences step by step, and returns the shapes of states and the outputs."""
    first = inputs.packed(_part(inputs, arrays, 1))
    states = {
        name: keras.ops.convert_to_numpy(state)
        for name, state in program.begin(first).items()
    }
    shapes = {name: (state.shape[1:], state.dtype) for name, state in states.items()}
    samples = len(arrays[0])
    # The states that are passed for a sample that begins are not used.
    carried: Any = {
        name: np.full((samples, *shape), np.nan, dtype)
        for name, (shape, dtype) in shapes.items()
    }
    outputs = []
    for step in range(steps):
        now = inputs.packed(_part(inputs, arrays, slice(step, step + 1)))
        fresh = np.full(samples, step == 0)
        result, carried, _ = program.step(now, carried, fresh)
        outputs.append(_arrays(result))
    return shapes, outputs


def _compare(model, got: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    if got.shape != wanted.shape:
        raise _refusal(
            model,
            f"step by step, it returns the shape {got.shape} in place of "
            f"{wanted.shape}",
        )
    if not wanted.size:
        return
    size = max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0)))
    if np.allclose(got, wanted, rtol=0.0, atol=tolerance * size, equal_nan=True):
        return
    difference = float(np.nanmax(np.abs(got - wanted), initial=0.0))
    raise _refusal(
        model,
        "step by step, its output differs from that of `predict` on the sequence so "
        f"far by up to {difference:.2g}",
    )


def _steps(model, inputs: Inputs, arrays: list) -> int:
    lengths = {
        array.shape[1]
        for one, array in zip(inputs.flat, arrays, strict=True)
        if one.in_time
    }
    if len(lengths) != 1:
        raise ValueError(
            f"The model '{model.name}' cannot run one time step at a time: "
            + (
                f"its inputs have sequences of different lengths, {sorted(lengths)}."
                if lengths
                else "none of its inputs has an axis of time."
            )
        )
    return lengths.pop()


def _part(inputs: Inputs, arrays: list, steps: int | slice) -> list:
    steps = steps if isinstance(steps, slice) else slice(steps)
    return [
        array[:, steps] if one.in_time else array
        for one, array in zip(inputs.flat, arrays, strict=True)
    ]


def _arrays(outputs) -> list[np.ndarray]:
    found = [
        keras.ops.convert_to_numpy(one).astype("float64")
        for one in keras.tree.flatten(outputs)
    ]
    return [one.reshape(-1) if one.ndim == 0 else one for one in found]


def _dtypes(model) -> set[str]:
    return {"float32"} | {layer.compute_dtype for _, layer in walk(model)}


def _random(model, inputs: Inputs) -> list[np.ndarray]:
    """Returns random sequences, with masked steps if the model masks steps."""
    rng = np.random.default_rng(0)
    samples = inputs.samples or 2
    steps = inputs.length or max(STEPS, steps_to_see(model))
    arrays = []
    for one in inputs.flat:
        length = (one.shape[1] or steps,) if one.in_time else ()
        rest = one.shape[2 if one.in_time else 1 :]
        # An unknown size after the axis of time is a size of an image.
        shape = (samples, *length, *(size or 4 for size in rest))
        array: np.ndarray
        if one.tokens:
            array = rng.integers(1 if one.tokens > 1 else 0, one.tokens, shape)
        else:
            array = rng.normal(size=shape)
        arrays.append(array.astype(one.dtype))
    for masked in _masked_values(model):
        for one, array in zip(inputs.flat, arrays, strict=True):
            if one.in_time and bool(one.tokens) == isinstance(masked, int):
                _mask(array, masked, backend.is_on_accelerator(model.variables[0]))
    return arrays


def _masked_values(model) -> list:
    """Lists the values that mark a masked step: a value of features, or the token 0."""
    found: list = []
    for _, layer in walk(model):
        if isinstance(layer, keras.layers.Masking):
            found.append(float(np.asarray(layer.mask_value)))
        elif isinstance(layer, keras.layers.Embedding) and layer.mask_zero:
            found.append(0)
    return found


def _mask(array: np.ndarray, value, at_end: bool) -> None:
    """Masks a few steps of sequences; for cuDNN, only steps at the end."""
    array[0, -1:] = value
    if not at_end:
        array[0, 1] = array[-1, 0] = value


def _refusal(model, observed: str, error: Exception | None = None) -> ValueError:
    found = suspects(model)
    why = "; ".join(found) or (
        "one of its layers or operations works across time steps, or draws random "
        "numbers"
    )
    message = (
        f"The model '{model.name}' cannot run one time step at a time: {why}. A "
        f"test run shows this: {observed}. Run `predict` on a window of the latest "
        "time steps; or stream the part of the model before that layer, "
        "`keras.Model(model.input, layer.input)`."
    )
    return ValueError(message if error is None else f"{message} {_words(error)}")


def _words(error: Exception) -> str:
    """Returns the message of an error, without the additions of Keras."""
    words = re.sub(r"\x1b\[\d*m", "", str(error))
    return words.partition("\n\nArguments received")[0].replace("\n\n", " ")
