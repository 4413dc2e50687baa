"""Reads the signals of a model, batch by batch, as often as needed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import keras

from keras_gates.backend import backend
from keras_gates.capturing import kernel_choice
from keras_gates.capturing.overlapping import consumed
from keras_gates.capturing.program import Program
from keras_gates.cells import registry
from keras_gates.checks import names_of
from keras_gates.models import edit_guards, input_batches, input_checks
from keras_gates.models.find_layers import Node, select
from keras_gates.models.instrumenting import instrument_layers, layers_to_convert
from keras_gates.models.variable_copies import Copies, finish_building
from keras_gates.stores.writing import write_trees
from keras_gates.trees.joining import join
from keras_gates.trees.tree import attributes_of, to_tree

if TYPE_CHECKING:
    import xarray


class Reader:
    """Reads the signals of one model, batch by batch, as often as needed.

    The compiled function is kept, so that a second reading needs no compilation. Use a
    reader in one thread only; several readers may read one model at the same time.

    Args:
        model: As for `capture`.
        layers: As for `capture`.
        signals: As for `capture`.
        training: As for `capture`.
        fast: The paths of the layers that run in a fast kernel, if another process has
            checked that it agrees with Keras's; `None` to check it here.
    """

    def __init__(
        self,
        model,
        *,
        layers=None,
        signals=None,
        training=False,
        fast: list[str] | None = None,
    ):
        self.model = model
        nodes = select(model, layers)
        self.chosen = choose_signals(nodes, signals)
        self.nodes = [
            node for node in nodes if self.chosen & set(node.known_kind.signals)
        ]
        self._training = training
        self._layers = layers_to_convert(model, self.nodes)
        self._program: Program | None = None
        self._fast_programs: dict[frozenset, Program] = {}
        self._given_fast = fast
        self._fast: list = []
        self._deviations: dict[str, float] = {}

    def read(
        self, x, *, batch_size=32, verbose=0, argument="x"
    ) -> Generator[dict, None, None]:
        """Yields the signals of one batch after the other.

        Args:
            x: As for `capture`.
            batch_size: As for `capture`.
            verbose: As for `capture`.
            argument: The name of `x` in error messages.

        Yields:
            A dict from node paths to dicts of arrays: the signals, the initial states
            and, where there is one, the mask.
        """
        total = input_batches.number_of_batches(x, batch_size)
        progress = keras.utils.Progbar(total, verbose=verbose, unit_name="batch")
        found: set[str] = set()
        ran = 0
        so_far = input_batches.SoFar(total, argument)
        for batch, given in self._batches(x, batch_size, argument):
            with input_checks.ragged_explained(batch, argument):
                if not found:
                    run, result = self._first(batch, given, total)
                else:
                    result = run(given)
            input_checks.refuse_missing(batch, result, self.model, argument)
            so_far.add(result)
            if not found:
                self._check_complete(result)
                found = set(result)
            elif found != set(result):
                other = sorted(found.symmetric_difference(result))
                raise RuntimeError(
                    f"{other} ran in some batches and not in others, so their samples "
                    "would not line up. Name the other layers in `layers`."
                )
            progress.add(1)
            ran += input_batches.number_of_samples(batch)
            yield {path: dict(arrays) for path, arrays in result.items()}
        if found and self._program is not None:
            copies = self._program.copies
            edit_guards.require_complete(self.model, ran, copies.value_of)

    def _first(self, batch, given, number) -> tuple[Callable, dict]:
        """Runs the first batch on the model as it is now, and chooses a kernel.

        Returns:
            A function that runs the later batches, and the result of the first.
        """
        if self._program is None:
            finish_building(self.model, batch)
            self._program = self._new_program()
        edit_guards.rewind(self.model)
        program, copies = self._program, self._program.copies
        copies.take()
        layers = self._fast_layers(copies, number)
        before = copies.changing() if layers else []

        def begin(program: Program) -> tuple[Callable, dict]:
            copies.rewind(before)
            run = functools.partial(self._run, program, backend.RandomNumbers())
            return run, run(given)

        self._fast, self._deviations = layers, {}
        if layers and self._given_fast is not None:
            return begin(self._fast_program(layers, copies))
        exact = begin(program)
        if not layers:
            return exact
        fast = begin(self._fast_program(layers, copies))
        self._deviations = kernel_choice.deviations(exact[1], fast[1])
        if kernel_choice.agree(self._deviations, self.model):
            return fast
        self._fast, self._deviations = [], {}
        return begin(program)

    def _run(self, program: Program, numbers, given) -> dict:
        with instrument_layers(self.model, self._layers), numbers.apart():
            return program.run(given)

    def _fast_layers(self, copies: Copies, number: int | None) -> list:
        """Lists the layers that may run in a fast kernel."""
        if self._given_fast is not None:
            return [node.layer for node in self.nodes if node.path in self._given_fast]
        if self._training:
            return []
        return kernel_choice.fast_layers(
            self.model, self.nodes, copies.variables, number
        )

    def _fast_program(self, layers: list, copies: Copies) -> Program:
        key = frozenset(map(id, layers))
        if key not in self._fast_programs:
            self._fast_programs[key] = Program(
                self.model, self.nodes, self.chosen, False, copies, layers
            )
        return self._fast_programs[key]

    def _batches(self, x, batch_size, argument) -> Iterator[tuple[Any, Any]]:
        """Yields the inputs of each batch, and the arguments of the program for it."""
        for batch in input_batches.iterate(x, self.model, batch_size, argument):
            yield batch, batch

    def _new_program(self) -> Program:
        return Program(self.model, self.nodes, self.chosen, self._training)

    def _check_complete(self, result) -> None:
        silent = [node.path for node in self.nodes if node.path not in result]
        if len(silent) == len(self.nodes):
            raise ValueError(
                f"None of the layers {silent} ran when the model was called, or they "
                "ran inside a function that was compiled before, so there are no gates "
                "to read."
            )
        if silent:
            warnings.warn(
                f"The layers {silent} did not run when the model was called; the "
                "result does not have their gates.",
                stacklevel=4,
            )

    @property
    def fast(self) -> list[str]:
        """The paths of the layers that ran in a fast kernel in the last reading."""
        return [
            node.path
            for node in self.nodes
            if any(layer is node.layer for layer in self._fast)
        ]

    def descriptions(self) -> dict[str, dict]:
        """Returns the attributes of the data of each node, by its path."""
        return {node.path: attributes_of(node) for node in self.nodes}

    def tree(
        self, batches: Iterable[dict], number: int | None = None
    ) -> xarray.DataTree:
        """Joins the batches that `read` yields, and labels them.

        Args:
            batches: The batches.
            number: The number of batches, if it is known.
        """
        arrays = join(batches, number)
        kernels = kernel_choice.described(
            arrays, self.nodes, self._fast, self._deviations
        )
        return to_tree(arrays, self.nodes, self.model.name, kernels)

    def read_all(self, x, *, batch_size=32, **options) -> xarray.DataTree:
        """Reads all batches, and returns them as one tree.

        Args:
            x: As for `capture`.
            batch_size: As for `capture`.
            **options: As for `read`.
        """
        number = input_batches.number_of_batches(x, batch_size)
        batches = self.read(x, batch_size=batch_size, **options)
        return consumed(batches, lambda read: self.tree(read, number))

    def write_all(self, x, place, mode: str, **options) -> xarray.DataTree:
        """Reads all batches into a store, and returns the tree that reads from it.

        Args:
            x: As for `capture`.
            place: The place of the store, from `new_place`.
            mode: As for `capture`.
            **options: As for `read`.
        """

        def write(read):
            return write_trees(place, (self.tree([batch]) for batch in read), mode)

        return consumed(self.read(x, **options), write)


def choose_signals(nodes: list[Node], signals) -> set[str]:
    """Checks that the chosen layers have these signals, and returns their names."""
    available = dict.fromkeys(s for node in nodes for s in node.known_kind.signals)
    if signals is None:
        return set(available)
    signals = names_of("signals", signals)
    for signal in signals:
        if signal not in available:
            where = ", ".join(
                f"'{node.path}' ({node.known_kind.name})" for node in nodes
            )
            elsewhere = [
                k.with_article for k in registry.KINDS.values() if signal in k.signals
            ]
            hint = f", which is a signal of {elsewhere[0]}" if elsewhere else ""
            names = ", ".join(repr(name) for name in available)
            raise ValueError(
                f"`signals` must be among {names} for {where}; got {signal!r}{hint}."
            )
    return set(signals)
