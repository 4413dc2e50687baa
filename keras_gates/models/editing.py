"""Editing the signals of a model for the time of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_gates.cells.known_cells import cells_of
from keras_gates.checks import type_of
from keras_gates.layers.signal_changes import LayerEdit, PlaceData, Rows
from keras_gates.models import edit_guards
from keras_gates.models.edit_places import Dense, dense, joined, rounded_up
from keras_gates.models.edits import Edit
from keras_gates.models.find_layers import Node, find_nodes, require_call, walk
from keras_gates.models.instrumenting import instrument_layers, layers_to_convert

FUNCTIONS = ("train_function", "test_function", "predict_function")
"""What Keras compiles for a model."""

KEPT = 8
"""For how many groups of edited signals the compiled functions are kept."""

Plan = dict[str, tuple[Node, str, list[Dense]]]
"""For each key: where it is, which signal, and what is done to it."""


def edit(model: keras.Model, changes: Mapping[str, Edit | list[Edit]]) -> Edited:
    """Changes signals of a model while it runs, within a `with` block.

    A signal is changed right after it is computed and before it is used, and all later
    steps follow from it. Within the block `predict`, `evaluate`, `fit`, `capture`, a
    `GateRecorder` and a plain call use the edited model; behind it the model is what
    it was, also after an error. Gradients flow through edits: `fit` trains the weights
    with, say, a forget gate clamped to 1. Masked steps stay masked. What `edit`
    changes is data: moving an edit to another unit, step or value compiles nothing
    anew, in a block inside this one or after it.

    A function that you compiled yourself around the model (`tf.function`, `jax.jit`)
    may have run before, and then does not see the edit.

    Args:
        model: A model with recurrent layers that are built.
        changes: `"path/signal"`, as in a capture, to an edit of `keras_gates.edits`, or
            to a list of edits of different places. An edit of a layer that is called
            several times acts on each call.

    Returns:
        A context manager, which gives the model. Several blocks may be nested, if no
        two of their edits overlap.

    Raises:
        KeyError: If a key names no layer or signal of the model.
        IndexError: If a unit or a time step is not there.
        ValueError: If two edits overlap, if an edit chooses nothing, if its values have
            another shape, or exceed the precision of the layer, or if the layer is
            inside a `TimeDistributed`. Within the block: if `fit` meets an edit of
            chosen samples, or the data have another number of samples than the values
            of an edit; if the model is compiled, or another model runs that holds it.
        RuntimeError: Within the block, if another thread runs the model.
        TypeError: If an argument has the wrong type.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> from keras_gates import edits
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.GRU(4, name="gru")]
        ... )
        >>> x = np.ones((2, 5, 1))
        >>> with keras_gates.edit(model, {"gru/update": edits.clamp(1.0)}):
        ...     kept = model.predict(x, verbose=0)  # Nothing is ever taken in.
        >>> float(abs(kept).max())
        0.0
    """
    require_call(model)
    return Edited(model, _planned(model, changes))


class Edited:
    """The block of an edit. Use it as a context manager."""

    def __init__(self, model: keras.Model, plan: Plan):
        self.model = model
        self._plan = plan
        self._stack: contextlib.ExitStack | None = None

    def __enter__(self) -> keras.Model:
        if self._stack is not None:
            raise ValueError("This block is open already. Call `edit` once for each.")
        outer = edit_guards.block_of(self.model)
        plan = _together(outer.plan, self._plan) if outer is not None else self._plan
        programs = _programs_of(self.model)
        program = programs.program(plan)
        with contextlib.ExitStack() as stack:
            nodes = [node for node, _, _ in plan.values()]
            layers = layers_to_convert(self.model, nodes)
            stack.enter_context(instrument_layers(self.model, layers))
            program.assign(plan)
            for layer, layer_edit in program.edits:
                stack.enter_context(layer_edit.in_force(layer))
            block = edit_guards.Block(self.model, plan, program.rows)
            stack.enter_context(edit_guards.guarding(block))
            stack.enter_context(program.functions_in_place(self.model))
            self._stack = stack.pop_all()
        return self.model

    def __exit__(self, *error):
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(*error)


def _planned(model: keras.Model, changes: Any) -> Plan:
    """Checks what is to be edited, and lays it out."""
    if not isinstance(changes, Mapping):
        raise TypeError(
            "`changes` must be a dict of 'path/signal' to edits, such as "
            f"{{'lstm/forget': edits.clamp(1.0)}}; got {type_of(changes)}."
        )
    if not changes:
        raise ValueError(
            "`changes` is empty, so nothing would be edited. Name a signal in it, such "
            "as 'lstm/forget'."
        )
    nodes = {node.path: node for node in find_nodes(model)}
    plan: Plan = {}
    for key, given in changes.items():
        node, signal = _found(key, nodes, model)
        several = given if isinstance(given, (list, tuple)) else [given]
        for one in several:
            if not isinstance(one, Edit):
                raise TypeError(
                    f"The edit of '{key}' must be made by `keras_gates.edits`, such as "
                    f"`edits.clamp(1.0)`; got {type_of(one)}."
                )
        if not several:
            raise ValueError(f"The list of edits of '{key}' is empty.")
        width = node.known_kind.widths.get(signal, node.units)
        steps = _steps_of(node.layer)
        laid = [dense(key, _looked_up(key, one), width, steps) for one in several]
        whole = joined(key, laid)
        _require_range(key, whole, node)
        plan[key] = node, signal, [rounded_up(whole, steps)]
    _require_one_count(plan)
    return plan


def _found(key: Any, nodes: dict[str, Node], model) -> tuple[Node, str]:
    if not isinstance(key, str):
        raise TypeError(
            f"A key of `changes` must be a string 'path/signal'; got {type_of(key)}."
        )
    path, _, signal = key.rpartition("/")
    if path not in nodes:
        again = path.rpartition("@")[0]
        if again in nodes:
            raise KeyError(
                f"'{key}' names one call of a layer that is called several times. An "
                f"edit acts on each call: name it '{again}/{signal}'."
            )
        there = ", ".join(f"'{path}'" for path in nodes) or "none"
        raise KeyError(
            f"A key of `changes` must be 'path/signal' with the path of a recurrent "
            f"layer of '{model.name}', which are: {there}; got {key!r}."
        )
    node = nodes[path]
    if node.kind is None or signal not in node.kind.signals:
        names = () if node.kind is None else node.kind.signals
        there = ", ".join(map(repr, names)) or "none that are known"
        raise KeyError(f"The signals of '{path}' are {there}; got {signal!r}.")
    if not node.layer.built:
        raise ValueError(
            f"The layer '{path}' is not built yet. Call the model once on a batch."
        )
    for place, layer in walk(model):
        if isinstance(layer, keras.layers.TimeDistributed) and any(
            inner is node.layer for _, inner in walk(layer)
        ):
            raise ValueError(
                f"'{path}' cannot be edited: it is inside the `TimeDistributed` "
                f"'{place}', where a row of the batch is no sample. Edit a model of "
                "this layer alone."
            )
    return node, signal


def _looked_up(key: str, one: Edit) -> Edit:
    """Finds the values of a swap in a tree."""
    if one.action != "swap" or not hasattr(one.value, "data_vars"):
        return one
    path, _, signal = key.rpartition("/")
    tree = one.value
    place = key if hasattr(tree, "subtree") else signal
    try:
        values = tree[place]
    except KeyError:
        raise ValueError(
            f"The values for '{key}' are a tree that has no '{place}', so it is of "
            "another model. Give a capture of one with the same layers, or an array."
        ) from None
    return Edit(one.action, values, one.samples, one.time, one.units)


def _steps_of(layer) -> int | None:
    """Returns how many time steps a layer has, where that is known."""
    built = layer.get_build_config() or {}
    shape = built.get("input_shape")
    if shape is None:  # With initial states among its inputs.
        shape = next(iter(built.get("shapes_dict", {}).values()), None)
    while shape is not None and len(shape) and isinstance(shape[0], (list, tuple)):
        shape = shape[0]
    return shape[1] if shape is not None and len(shape) > 1 else None


def _require_range(key: str, whole: Dense, node: Node) -> None:
    dtype = node.cell.compute_dtype
    if dtype != "float16":
        return
    with np.errstate(over="ignore"):
        fits = [np.isfinite(array.astype(dtype)).all() for array in whole[:2]]
    if not all(fits):
        raise ValueError(
            f"The values for '{key}' exceed what float16 holds, in which '{node.path}' "
            "computes: 65504. Use smaller ones."
        )


def _require_one_count(plan: Plan) -> None:
    counts = {key: one.samples for key, (_, _, (one,)) in plan.items() if one.samples}
    if len(set(counts.values())) > 1:
        raise ValueError(
            "The values of edits must all be for the same number of samples; got "
            + ", ".join(f"{count} for '{key}'" for key, count in counts.items())
            + "."
        )


def _together(outer: Plan, inner: Plan) -> Plan:
    """Joins the edits of two blocks."""
    plan = dict(outer)
    for key, (node, signal, parts) in inner.items():
        if key in plan:
            parts = [joined(key, [*plan[key][2], *parts])]
        plan[key] = node, signal, parts
    _require_one_count(plan)
    return plan


class _Program:
    """The variables of some edited signals, and what Keras compiled with them."""

    def __init__(self, plan: Plan):
        self.rows = Rows()
        self._variables: dict[str, tuple[Any, Any]] = {}
        self.functions: dict[str, Any] = {}
        layers: dict[int, tuple[Any, str, list[PlaceData]]] = {}
        for key, (node, signal, (one,)) in plan.items():
            dtype = "float64" if node.cell.compute_dtype == "float64" else "float32"
            pair = [
                keras.Variable(
                    np.zeros(one.touched.shape, dtype),
                    trainable=False,
                    dtype=dtype,
                    name="edit_data",
                )
                for _ in range(2)
            ]
            self._variables[key] = pair[0], pair[1]
            cells = [id(cell) for _, cell in cells_of(node.layer)]
            place = cells.index(id(node.cell)), signal
            _, _, parts = layers.setdefault(id(node.layer), (node.layer, node.path, []))
            parts.append(PlaceData(place, pair[0], pair[1], one.steps))
        self.edits = [
            (layer, LayerEdit(path, parts, self.rows))
            for layer, path, parts in layers.values()
        ]

    def assign(self, plan: Plan) -> None:
        """Takes the values of edits of the same signals."""
        self.rows.rewind()
        ones = {key: one for key, (_, _, (one,)) in plan.items()}
        self.rows.keys = [key for key, one in ones.items() if len(one.touched) > 1]
        counts = {one.samples for one in ones.values()} - {None}
        self.rows.samples = next(iter(counts), None)
        for key, one in ones.items():
            factor, summand = self._variables[key]
            factor.assign(one.factor.astype(factor.dtype))
            summand.assign(one.summand.astype(summand.dtype))

    @contextlib.contextmanager
    def functions_in_place(self, model):
        """Puts what was compiled for the edits in place of what the model has."""
        before = {name: getattr(model, name, None) for name in FUNCTIONS}
        for name in FUNCTIONS:
            setattr(model, name, self.functions.get(name))
        try:
            yield
        finally:
            self.functions = {name: getattr(model, name, None) for name in FUNCTIONS}
            for name, function in before.items():
                setattr(model, name, function)


class _Programs:
    """The programs of a model, while it stays compiled as it is."""

    def __init__(self):
        self._compiled: Any = None
        self._kept: dict[tuple, _Program] = {}

    def __reduce__(self):
        return _Programs, ()  # A copy of a model compiles for itself.

    def of(self, model) -> _Programs:
        """Forgets everything if the model was compiled anew."""
        # Private to Keras, which makes a new one with each `compile`. If it is renamed,
        # a model that is compiled anew between two blocks runs as it was compiled.
        compiled = getattr(model, "_compiled_trainable_state", None)
        if compiled is not self._compiled:
            self._compiled, self._kept = compiled, {}
        return self

    def program(self, plan: Plan) -> _Program:
        """Returns the program for a plan, made now if there is none."""
        key = tuple(
            (path, one.touched.shape, one.steps, id(node.layer), type(node.layer))
            for path, (node, _, (one,)) in sorted(plan.items())
        )
        program = self._kept.pop(key, None) or _Program(plan)
        self._kept[key] = program
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return program


def _programs_of(model) -> _Programs:
    # On the model, since what is compiled holds the model: kept anywhere else, it would
    # hold it for ever.
    return vars(model).setdefault("_keras_gates_edits", _Programs()).of(model)
