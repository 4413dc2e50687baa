"""The command `keras-gates kernels`: which kernel runs each layer of a saved model."""

from __future__ import annotations

from rich.console import Console

import keras_gates
from keras_gates.cli.files import require_file
from keras_gates.cli.saved_models import import_module, load_model, read_inputs


def run(options) -> int:
    """Runs the command.

    Args:
        options: The options of `keras-gates kernels`.

    Returns:
        0.
    """
    require_file(options.model, "model")
    if options.data is not None:
        require_file(options.data, "data")
    for module in options.modules:
        import_module(module)
    model = load_model(options.model)
    x = None if options.data is None else read_inputs(options.data, model)
    found = keras_gates.kernels(model, x, measure=options.measure)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(str(found))
    return 0
