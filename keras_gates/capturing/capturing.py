"""`capture`: runs a model and returns a tree of labelled signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from keras_gates.capturing import several_processes
from keras_gates.capturing.reader import Reader
from keras_gates.checks import Names, Place, flag, one_of, whole_number
from keras_gates.models import input_batches
from keras_gates.models.find_layers import Layers, require_call
from keras_gates.stores.writing import new_place

if TYPE_CHECKING:
    import xarray

VERBOSE = (0, 1, 2)
"""The values that Keras's progress bar accepts."""


def capture(
    model: keras.Model,
    x: Any,
    *,
    layers: Layers = None,
    signals: Names = None,
    batch_size: int = 32,
    training: bool = False,
    store: Place = None,
    mode: str = "w-",
    n_jobs: int = 1,
    verbose: int = 0,
) -> xarray.DataTree:
    """Runs a model and returns every gate at every time step, for every unit.

    The model does not change, even if the call fails: its layers, weights, states and
    random seeds stay the same. It runs on copies of its variables, which are made at
    the start, so other threads may use the model at the same time, and all gates belong
    to the same weights. On JAX, Keras removes the variables from the model while
    `predict` or `fit` runs, and a capture in another thread waits up to ten seconds for
    the end of the run.

    With eight batches or more, LSTM and GRU layers in float32 on a CPU run in the
    kernels of `accelerate`, which are faster, unless the model is edited or in training
    mode. The first batch also runs in Keras's kernels. If any of its signals deviates
    by more than 1e-5, there is a warning, and Keras's kernels run the other batches.
    The result of `model.predict` is not affected.

    Args:
        model: A `keras.Model` with LSTM, GRU or SimpleRNN layers, stock or gate layers,
            or with other cells in a `keras.layers.RNN`: Sequential, functional,
            subclassed or nested. A model that is not built yet is built on the first
            batch, as `predict` does.
        x: Any finite input that `model.predict` takes: an array, a list or a dict of
            arrays, with `None` for an optional input; a pandas table, a sparse array, a
            tensor of any backend; a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
            PyTorch `DataLoader`, a generator.
        layers: Names, paths or glob patterns of the layers to capture, or the layers
            themselves, one or several. Default: all.
        signals: Names of the signals to capture, one or several, among
            `input`, `forget`, `candidate`, `output`, `update`, `reset`, `cell`,
            `hidden`; for a registered cell, the names given to `register_cell`; for a
            traced cell, the names of its activations, such as `sigmoid_1`. Default:
            all.
        batch_size: Number of samples in a batch, if `x` is not already in batches.
        training: Whether the model runs in training mode, with dropout.
        store: Path of a Zarr store to write to batch by batch, instead of memory, or a
            URL that `fsspec` opens, such as `"s3://bucket/gates.zarr"`. It appears when
            it is complete, and the returned tree reads from it. Hidden folders that
            killed captures left next to a path are removed.
        mode: `"w-"` if the store must not exist yet; `"w"` to replace one at a path,
            if nothing else is in its folder, once the new one is complete.
        n_jobs: Number of processes that share the batches, and write one `store`; -1
            for one on each core. Within `joblib.parallel_config("dask")`, they are the
            workers of a Dask cluster, which must be able to reach the store. They load
            the model as Keras saves it, and check on the first batch that they compute
            the same values. The store is the same as with one process, if the model
            runs on the same number of threads.
        verbose: 1 shows a progress bar.

    Returns:
        A tree with one node for each recurrent layer, named by the path of layer
        names that leads to it; the second call of a shared layer is `"lstm@2"`, and
        the layers of a stack of cells are `"rnn/lstm_cell"`. A layer inside another
        recurrent layer of different sizes cannot be below it in a tree, and is next to
        it: `"outer.inner"`, with `"outer/inner"` as its `layer`. Each node is a dataset
        with one float32 variable for each signal, of dimensions `(sample, time, unit)`.
        Time is in the order of the input, even for a layer that reads it backwards.
        Masked steps are NaN, and if there was a mask, there is the variable `mask`,
        `(sample, time)`. Inside a `TimeDistributed`, the dimensions are `(sample,
        frame, time, unit)`. The coordinates `initial_hidden` and `initial_cell`
        `(sample, unit)` are the states before the first step. Batches of different
        lengths are padded at the end with masked steps. If a signal of a traced cell
        and the output of the cell differ in width, the signal has a dimension of its
        own instead of `unit`, such as `tanh_unit`. The attribute `kernel` of a node is
        `"fast"` or `"keras"`. For `"fast"`, or after such a layer, `kernel_deviation`
        is the largest deviation of a signal from that of Keras's kernels on the first
        batch, relative to the value if that is larger than 1.

    Raises:
        ValueError: If the model has no `call`, no recurrent layer, or one whose
            signals cannot be known; if `layers` or `signals` has a name that does not
            exist; if several processes cannot do the same as one: without `store`, with
            `training=True`, stateful layers, an edit, a model that cannot be saved; if
            `x` is empty or endless, does not fit the model, or holds NaN that reaches a
            recurrent layer at a step that is not masked; on JAX, if a layer runs inside
            `keras.remat`.
        TypeError: If an argument has the wrong type.
        FileExistsError: If `store` exists, and `mode` is "w-".
        OSError: Before the model runs, if `store` cannot be written.
        RuntimeError: On JAX, if another thread trains the model. If worker processes
            die repeatedly, or compute other values than this process.

    Warns:
        UserWarning: If a layer that was chosen did not run, a fast kernel deviates, or
            worker processes round differently from this process.

    Example:
        >>> import keras, keras_gates, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((5, 1)), keras.layers.LSTM(4, name="lstm")]
        ... )
        >>> gates = keras_gates.capture(model, np.ones((3, 5, 1)))
        >>> gates["lstm/forget"].dims, gates["lstm/forget"].shape
        (('sample', 'time', 'unit'), (3, 5, 4))
    """
    require_call(model)
    batch_size = whole_number("batch_size", batch_size, at_least=1)
    training = flag("training", training)
    one_of("verbose", verbose, VERBOSE)
    n_jobs = several_processes.number_of_jobs(n_jobs)
    several_processes.require_parts(model, n_jobs, training, store)
    store = new_place(store, mode)
    if not model.built:
        x = input_batches.build(model, x, batch_size, "x")
    options: dict[str, Any] = {"batch_size": batch_size, "verbose": verbose}
    reader = Reader(model, training=training, layers=layers, signals=signals)
    if store is None:
        return reader.read_all(x, **options)
    if n_jobs != 1:
        return several_processes.write_in_parts(
            reader, x, store, mode=mode, n_jobs=n_jobs, **options
        )
    return reader.write_all(x, store, mode, **options)
