"""`verify`: checks recorded states by deriving them again from the gates."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.capturing.rederive import Arrays, Unverified, deviation_of
from keras_gates.cells import registry
from keras_gates.cells.kind import Kind
from keras_gates.checks import real_number
from keras_gates.old_names import renamed
from keras_gates.trees.apply_measure import as_tree
from keras_gates.trees.dimensions import as_read
from keras_gates.trees.tree_walk import depth_first
from keras_gates.trees.why_missing import causes_of_gaps, damage_named

if TYPE_CHECKING:
    import pandas
    import xarray


@renamed()
def verify(gates: Any, *, atol: float | None = None) -> pandas.Series:
    """Recomputes the states from captured gates, and returns the largest errors.

    The recorded hidden state is the one that Keras's own kernel produced. `verify`
    computes it a second time, in float64, only from the recorded gates, the candidate
    and the initial states, from the first step to the last:

    - LSTM: `cell = forget * cell + input * candidate`, `hidden = output *
      activation(cell)`;
    - GRU: `hidden = update * hidden + (1 - update) * candidate`.

    This reveals a wrong weight block, a shift by one step, a forgotten mask or a lost
    initial state. It is a check, not a proof. It cannot detect:

    - that `input` and `candidate` of an LSTM are interchanged, because only their
      product is used;
    - a wrong `reset` gate of a GRU, which acts inside the candidate;
    - errors at masked steps, where no values are recorded;
    - that `x` or the weights are not the intended ones.

    If a layer cannot be verified, its deviation is infinite, and a warning states the
    reason. This is the case if values are NaN or infinite at unmasked steps, as in a
    store that is damaged; if there are values at masked steps; or if the activation of
    an LSTM cannot be found again by its name, such as a function that is not
    registered, or a layer. The other layers are verified nevertheless.

    Args:
        gates: The result of `capture`, or one node of it, with all of its signals and
            time steps.
        atol: The largest absolute error to accept, for tests: above it, an
            `AssertionError` is raised. Default: no error is raised.

    Returns:
        For each layer, the largest absolute deviation of a recorded state from the
        derived one, over every sample, step and unit that is not masked. For states of
        magnitude 1, it is typically below 1e-6 for float32 layers, 1e-3 for float16 and
        1e-2 for bfloat16. It grows with the states: compare it with their magnitude. It
        is infinite if the layer could not be verified, and NaN if there is nothing to
        verify: every step is masked, or the layer is a `SimpleRNN` or has a traced
        cell, whose equations are not known.

    Raises:
        AssertionError: If the error of a layer is above `atol`.
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

    if atol is not None:
        atol = real_number("atol", atol, at_least=0, or_else="None for no limit")
    checks = checks_of(gates)
    for check in checks.values():
        if check.reason and check.applies:
            warnings.warn(check.reason, stacklevel=3)
    deviations = {layer: check.deviation for layer, check in checks.items()}
    if atol is not None:
        above = [f"'{n}' by {one:.1e}" for n, one in deviations.items() if one > atol]
        if above:
            raise AssertionError(
                "The recorded states deviate from those that follow from the gates by "
                f"more than atol={atol:g}: {', '.join(above)}."
            )
    return pandas.Series(deviations, name="max_abs_error", dtype="float64").rename_axis(
        "layer"
    )


class Check(NamedTuple):
    """The result of the check of one layer.

    Attributes:
        deviation: As `verify` returns it.
        tolerance: The largest deviation that rounding explains.
        reason: Why the layer could not be verified; otherwise `None`.
        applies: Whether a layer of its kind can be verified.
    """

    deviation: float
    tolerance: float = 0.0
    reason: str | None = None
    applies: bool = True

    @property
    def passed(self) -> bool:
        """Whether the layer was verified, and rounding explains its deviation."""
        return self.reason is None and self.deviation <= self.tolerance


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
    return {name: _check(name, node) for name, node in zip(names, nodes, strict=True)}


def _is_layer(node: xarray.DataTree) -> bool:
    # The attributes may be missing: operations on xarray objects may drop them.
    return "cell_type" in node.attrs or any(
        name in registry.signals() for name in node.data_vars
    )


def _check(name: str, node: xarray.DataTree) -> Check:
    layer = node.to_dataset()
    kind = registry.kind_from(layer.attrs)
    if kind is None or "direction" not in layer.attrs:
        reason = (
            f"'{name}' could not be verified: its attributes `cell_type` and "
            "`direction` are missing. Pass the tree that `capture` returned; "
            "operations on xarray objects drop attributes unless `keep_attrs=True`."
        )
        return Check(np.inf, reason=reason)
    if kind.step is None and kind.blocks and not kind.traced:
        reason = (
            f"'{name}' could not be verified: the equations of its cell, "
            f"{kind.with_article}, are not in the data. Call "
            "`keras_gates.register_cell` in this process too."
        )
        return Check(np.inf, reason=reason)
    if kind.step is None:
        reason = (
            f"There is nothing to verify in '{name}': no signals are known from which "
            f"the state of {kind.with_article} follows."
        )
        return Check(np.nan, reason=reason, applies=False)
    wanted = (*kind.signals, *(v.initial(state) for state in kind.states))
    missing = [signal for signal in wanted if signal not in layer.variables]
    if missing:
        raise ValueError(
            f"`gates` must hold every signal of '{name}'; {missing} were not captured. "
            "Call `capture` without `signals`."
        )
    try:
        with damage_named(name, node):
            layer = layer.compute()
        arrays = _read(name, layer, kind)
        _refuse_gaps(name, arrays, causes_of_gaps(node))
        deviation = deviation_of(name, arrays, layer.attrs, kind)
    except Unverified as problem:
        return Check(problem.deviation, reason=str(problem))
    # The other layers are verified, whatever the error.
    except Exception as error:
        reason = f"'{name}' could not be verified ({type(error).__name__}): {error}"
        return Check(np.inf, reason=reason)
    return Check(deviation, _tolerance(arrays, layer.attrs, kind))


def _read(name: str, layer: xarray.Dataset, kind: Kind) -> Arrays:
    hidden = layer[v.HIDDEN]
    others = [dim for dim in hidden.dims if dim not in (v.TIME, v.UNIT)]
    dims = (v.TIME, *others, v.UNIT)
    for signal in kind.signals:
        if set(layer[signal].dims) != set(dims):
            raise Unverified(
                f"'{name}' could not be verified: `{signal}` has the dimensions "
                f"{layer[signal].dims}, and `hidden` has {hidden.dims}. Pass the tree "
                "that `capture` returned."
            )
    layer = as_read(layer)
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
    return Arrays(signals, initial, unmasked)


def _values(array: xarray.DataArray, dtype: str) -> np.ndarray:
    """Returns the values in a dtype that can hold all of them without a change."""
    return array.values.astype(dtype, casting="safe")


def _like(array, other, dims) -> xarray.DataArray:
    """Broadcasts an array to another one, with the dimensions in a given order."""
    if not set(array.dims) <= set(other.dims):
        raise ValueError(f"`{array.name}` has the dimensions {array.dims}")
    return array.broadcast_like(other).transpose(*dims)


def _refuse_gaps(name: str, arrays: Arrays, causes: str) -> None:
    """Checks that there are values at all unmasked steps, and only there."""
    broken = [
        v.initial(state)
        for state, values in arrays.initial.items()
        if not np.isfinite(values).all()
    ]
    if broken:
        raise Unverified(
            f"'{name}' could not be verified: {_listed(broken)} is NaN or infinite: "
            f"{causes}."
        )
    gaps, filled = {}, {}
    for signal, values in arrays.signals.items():
        where = arrays.unmasked & ~np.isfinite(values).all(axis=-1)
        if where.any():
            gaps[signal] = where
        where = ~arrays.unmasked & ~np.isnan(values).all(axis=-1)
        if where.any():
            filled[signal] = where
    if gaps:
        number = int(np.logical_or.reduce(list(gaps.values())).sum())
        raise Unverified(
            f"'{name}' could not be verified: {_listed(gaps)} is NaN or infinite at "
            f"{number} of {int(arrays.unmasked.sum())} unmasked steps: {causes}."
        )
    if filled:
        number = int(np.logical_or.reduce(list(filled.values())).sum())
        raise Unverified(
            f"'{name}' could not be verified: {_listed(filled)} has values at {number} "
            "masked steps, where nothing was computed. The mask or the values have "
            "changed since the capture."
        )


def _listed(signals) -> str:
    return ", ".join(f"`{signal}`" for signal in signals)


_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The relative error of a rounding in half precision."""


def _tolerance(arrays: Arrays, attributes: dict, kind: Kind) -> float:
    """Returns the largest deviation of the states that rounding explains."""
    size = max(
        np.abs(arrays.signals[state][arrays.unmasked]).max() for state in kind.states
    )
    epsilon = _EPSILON.get(str(attributes.get("compute_dtype")), 2.0**-23)
    # In a state that is kept, the rounding errors of many steps add up like a random
    # walk.
    walk = 4 * epsilon * np.sqrt(len(arrays.unmasked))
    return float(max(walk, 1e-5) * max(size, 1.0))
