"""A check of recorded numbers: the states, derived again from the gates."""

import warnings
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np

from keras_gates import vocabulary as v
from keras_gates.activations import find
from keras_gates.layerwise import as_tree
from keras_gates.tree import depth_first, source_of

if TYPE_CHECKING:
    import pandas
    import xarray


def verify(gates) -> "pandas.Series":
    """Derives the states again from the recorded gates, and compares.

    The recorded hidden state is what Keras's own kernel produced. Here it is computed
    a second time, in float64, from nothing but the recorded gates, the candidate and
    the initial states, from the first step to the last:

    - LSTM: `cell = forget * cell + input * candidate`, `hidden = output *
      activation(cell)`;
    - GRU: `hidden = update * hidden + (1 - update) * candidate`.

    So a wrong weight block, a shift by one step, a forgotten mask or a lost initial
    state shows. It is a check and no proof. It cannot see:

    - an LSTM's `input` and `candidate` under each other's names, since only their
      product enters;
    - a wrong `reset` gate of a GRU, which acts inside the candidate;
    - what is masked: no values are recorded there;
    - whether `x` and the weights were those that you meant.

    A layer that cannot be verified never looks verified, and a warning states the
    reason: its deviation is infinite if values are NaN or infinite at unmasked steps,
    as in a store that is damaged; if there are values at masked steps; or if the
    activation of an LSTM cannot be found again by its name, such as a function that
    is not registered, or a layer. The other layers are verified all the same.

    Args:
        gates: What `capture` returned, or one node of it, with all of its signals and
            time steps.

    Returns:
        For each layer, the largest absolute deviation of a recorded state from the
        derived one, over every sample, step and unit that is not masked. For states
        of the size of 1 it is typically below 1e-6 for float32 layers, 1e-3 for
        float16 and 1e-2 for bfloat16. It grows with the states: compare it with their
        size. It is infinite where the layer could not be verified, and NaN where
        there is nothing to verify, because every step is masked.

    Raises:
        ValueError: If there is no recurrent layer in `gates`, or signals of one are
            missing.
        TypeError: If `gates` is neither a tree nor a dataset.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.GRU(4, name="gru")]
        ... )
        >>> gates = keras_gates.capture(model, np.ones((3, 5, 1)))
        >>> bool(keras_gates.verify(gates)["gru"] < 1e-5)
        True
    """
    import pandas

    checks = checks_of(gates)
    for check in checks.values():
        if check.reason:
            warnings.warn(check.reason, stacklevel=2)
    deviations = {layer: check.deviation for layer, check in checks.items()}
    return pandas.Series(
        deviations, name="largest deviation", dtype="float64"
    ).rename_axis("layer")


class Check(NamedTuple):
    """What the check of one layer found.

    Attributes:
        deviation: As `verify` returns it.
        tolerance: The deviation that rounding explains, at most.
        reason: Why the layer could not be verified; otherwise `None`.
    """

    deviation: float
    tolerance: float = 0.0
    reason: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the layer was verified, and deviates by rounding only."""
        return self.reason is None and self.deviation <= self.tolerance


class _Unverified(Exception):
    """Why a layer cannot be verified, and what is known of its deviation."""

    def __init__(self, reason: str, deviation: float = np.inf):
        super().__init__(reason)
        self.deviation = deviation


def checks_of(gates) -> dict[str, Check]:
    """Checks every layer of a tree; see `verify`."""
    tree = as_tree(gates)
    nodes = [node for node in depth_first(tree) if _is_layer(node)]
    if not nodes:
        raise ValueError(
            "`gates` must be what `capture` returned, or a node of it; got a tree "
            "with no recurrent layer in it."
        )
    names = [node.attrs.get("layer", node.path.strip("/")) for node in nodes]
    if len(set(names)) < len(names):  # Several captures in one tree.
        names = [node.path.strip("/") for node in nodes]
    return {
        name: _check(name, node.to_dataset(), source_of(node))
        for name, node in zip(names, nodes, strict=True)
    }


def _is_layer(node: "xarray.DataTree") -> bool:
    # Also without its attributes, which operations on xarray objects may drop.
    return "kind" in node.attrs or any(name in v.SIGNALS for name in node.data_vars)


def _check(name: str, layer: "xarray.Dataset", source: str | None) -> Check:
    kind = v.KINDS.get(layer.attrs.get("kind"))
    if kind is None or "direction" not in layer.attrs:
        reason = (
            f"'{name}' could not be verified: its attributes `kind` and `direction` "
            "are missing. Pass the tree that `capture` returned; operations on xarray "
            "objects drop attributes unless `keep_attrs=True`."
        )
        return Check(np.inf, reason=reason)
    wanted = (*kind.signals, *(v.initial(state) for state in kind.states))
    missing = [signal for signal in wanted if signal not in layer.variables]
    if missing:
        raise ValueError(
            f"`gates` must hold every signal of '{name}'; {missing} were not captured. "
            "Call `capture` without `signals`."
        )
    try:
        arrays = _read(name, layer, kind, source)
        deviation = _deviation(name, arrays, layer.attrs, kind)
    except _Unverified as problem:
        return Check(problem.deviation, reason=str(problem))
    return Check(deviation, _tolerance(arrays, layer.attrs, kind))


class _Arrays(NamedTuple):
    """The numbers of a layer, in the order in which it read its input."""

    signals: dict[str, np.ndarray]
    """Each `(time, ..., unit)`, float64."""

    initial: dict[str, np.ndarray]
    """Each `(..., unit)`, float64."""

    unmasked: np.ndarray
    """Boolean, `(time, ...)`."""


def _read(name, layer, kind, source) -> _Arrays:
    """Reads a layer, and checks that values are where the mask says, and only there."""
    hidden = layer[v.HIDDEN]
    others = [dim for dim in hidden.dims if dim not in (v.TIME, v.UNIT)]
    dims = (v.TIME, *others, v.UNIT)
    for signal in kind.signals:
        if set(layer[signal].dims) != set(dims):
            raise _Unverified(
                f"'{name}' could not be verified: `{signal}` has the dimensions "
                f"{layer[signal].dims}, and `hidden` has {hidden.dims}. Pass the tree "
                "that `capture` returned."
            )
    if layer.attrs["direction"] == "backward":
        layer = layer.isel({v.TIME: slice(None, None, -1)})
    try:
        signals = {
            signal: _values(layer[signal].transpose(*dims), "float64")
            for signal in kind.signals
        }
        first = layer[v.HIDDEN].isel({v.TIME: 0}, drop=True)
        initial = {
            state: _values(_like(layer[v.initial(state)], first, dims[1:]), "float64")
            for state in kind.states
        }
        unmasked = np.ones(signals[v.HIDDEN].shape[:-1], bool)
        if v.MASK in layer:
            steps = layer[v.HIDDEN].isel({v.UNIT: 0}, drop=True)
            unmasked = _values(_like(layer[v.MASK], steps, dims[:-1]), "bool")
    # Zarr has no error of its own: each of its codecs raises another one.
    except Exception as error:
        where = f"the store '{source}', which is damaged" if source else "`gates`"
        raise _Unverified(
            f"'{name}' could not be verified: its values cannot be read from {where} "
            f"({type(error).__name__}: {error})."
        ) from error
    arrays = _Arrays(signals, initial, unmasked)
    _refuse_gaps(name, arrays, v.MASK in layer, source)
    return arrays


def _values(array: "xarray.DataArray", dtype: str) -> np.ndarray:
    """Returns the values in a dtype, if none of them changes by that."""
    return array.values.astype(dtype, casting="safe")


def _like(array, other, dims) -> "xarray.DataArray":
    """Broadcasts an array to another one, with the dimensions in an order."""
    if not set(array.dims) <= set(other.dims):
        raise ValueError(f"`{array.name}` has the dimensions {array.dims}")
    return array.broadcast_like(other).transpose(*dims)


def _refuse_gaps(name: str, arrays: _Arrays, masked: bool, source: str | None) -> None:
    damaged = f", or values are missing from the store '{source}'" if source else ""
    broken = {
        state: int((~np.isfinite(values)).any(axis=-1).sum())
        for state, values in arrays.initial.items()
    }
    if any(broken.values()):
        states = ", ".join(f"`{v.initial(state)}`" for state in broken if broken[state])
        raise _Unverified(
            f"'{name}' could not be verified: {states} is NaN or infinite in "
            f"{max(broken.values())} places. The model was given such a state{damaged}."
        )
    gaps, filled = {}, {}
    for signal, values in arrays.signals.items():
        gaps[signal] = arrays.unmasked & ~np.isfinite(values).all(axis=-1)
        filled[signal] = ~arrays.unmasked & ~np.isnan(values).all(axis=-1)
    signals = _listed(signal for signal, where in gaps.items() if where.any())
    if signals:
        number = int(np.logical_or.reduce(list(gaps.values())).sum())
        lost = "" if masked else ", or its `mask` was left out"
        raise _Unverified(
            f"'{name}' could not be verified: {signals} is NaN or infinite at {number} "
            f"of {int(arrays.unmasked.sum())} unmasked steps. The model has diverged, "
            f"or its input has such values{damaged}{lost}."
        )
    signals = _listed(signal for signal, where in filled.items() if where.any())
    if signals:
        number = int(np.logical_or.reduce(list(filled.values())).sum())
        raise _Unverified(
            f"'{name}' could not be verified: {signals} has values at {number} masked "
            "steps, where nothing was computed. The mask or the values were changed"
            f"{damaged}."
        )


def _listed(signals) -> str:
    return ", ".join(f"`{signal}`" for signal in signals)


def _deviation(name: str, arrays: _Arrays, attributes: dict, kind: v.Kind) -> float:
    if not arrays.unmasked.any():
        raise _Unverified(
            f"There is nothing to verify in '{name}': it has no unmasked step.", np.nan
        )
    # A GRU's activation acts inside the candidate, which is recorded.
    activation = _activation(name, attributes) if kind is v.LSTM else None
    states = dict(arrays.initial)
    largest = dict.fromkeys(states, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # Comes out as a deviation.
        for step, counts in enumerate(arrays.unmasked[..., None]):
            now = {signal: values[step] for signal, values in arrays.signals.items()}
            derived = _STEPS[kind.name](now, states, activation)
            for state, value in derived.items():
                states[state] = np.where(counts, value, states[state])
                error = np.abs(states[state] - now[state])
                error = np.where(counts, error, 0.0).max(initial=0.0)
                # `np.maximum`, as NaN must come out: it is no small deviation.
                largest[state] = float(np.maximum(largest[state], error))
    if kind is v.LSTM and activation is None:
        raise _Unverified(
            f"`hidden` of '{name}' could not be verified: its activation "
            f"'{attributes.get('activation')}' cannot be found again by that name; "
            f"`cell` deviates by {largest[v.CELL]:.1e}. Give a function to "
            "`keras.saving.register_keras_serializable()` before the capture; a layer "
            "used as an activation cannot be looked up."
        )
    worst = max(largest.values())
    return worst if all(map(np.isfinite, largest.values())) else np.inf


def _lstm_step(now, states, activation):
    cell = now[v.FORGET] * states[v.CELL] + now[v.INPUT] * now[v.CANDIDATE]
    if activation is None:
        return {v.CELL: cell}
    return {v.CELL: cell, v.HIDDEN: now[v.OUTPUT] * activation(cell)}


def _gru_step(now, states, activation):
    keep = now[v.UPDATE]
    return {v.HIDDEN: keep * states[v.HIDDEN] + (1 - keep) * now[v.CANDIDATE]}


_STEPS = {v.LSTM.name: _lstm_step, v.GRU.name: _gru_step}


def _activation(name: str, attributes: dict):
    """Returns the activation as a function of NumPy arrays, or `None`."""
    called = attributes.get("activation", "")
    if called == "tanh":
        return np.tanh
    function = find(called)
    if function is None:
        return None

    def apply(cell):
        try:
            return keras.ops.convert_to_numpy(function(cell))
        except Exception as error:  # A user's function may raise anything.
            raise _Unverified(
                f"`hidden` of '{name}' could not be verified: its activation "
                f"'{called}' failed ({type(error).__name__}: {error})."
            ) from error

    return apply


_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The relative error of a rounding in half precision."""


def _tolerance(arrays: _Arrays, attributes: dict, kind: v.Kind) -> float:
    """Returns how far rounding may take the states of a layer."""
    size = max(
        np.abs(arrays.signals[state][arrays.unmasked]).max() for state in kind.states
    )
    epsilon = _EPSILON.get(attributes.get("compute_dtype"), 2.0**-23)
    # Roundings of many steps add up like a random walk, in a state that is kept.
    walk = 4 * epsilon * np.sqrt(len(arrays.unmasked))
    return float(max(walk, 1e-5) * max(size, 1.0))
