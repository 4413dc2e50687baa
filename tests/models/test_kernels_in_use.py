"""`kernels`: which kernel really runs a layer, found by running it.

No machine of the tests has a GPU: its kernels are tested with functions put in the
place of Keras's.
"""

import random
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from own_cells import MGUCell
from small_models import Scaled, sequential

import keras_gates
from keras_gates.backend import backend as seam
from keras_gates.backend import keras_sources
from keras_gates.models import kernel_timing
from keras_gates.models.kernel_report import Kernels

BACKEND = keras.backend.backend()
LOOP = {
    "tensorflow": "TensorFlow while loop",
    "jax": "XLA scan",
    "torch": "Python loop",
}[BACKEND]
FAST = "keras_gates fast kernel"


def only(name):
    return pytest.mark.skipif(name != BACKEND, reason=f"only on {name}")


def lstm(**options):
    return sequential(layers.LSTM(3, name="lstm", **options), shape=(6, 2))


def in_use(model, *arguments, **options):
    """Returns path to the kernels in inference and in training."""
    found = keras_gates.kernels(model, *arguments, **options)
    return {one.layer: (one.inference, one.training) for one in found}


def keras_functions():
    """The module of Keras's functions for recurrent layers."""
    return sys.modules[f"keras.src.backend.{BACKEND}.rnn"]


def test_each_layer_of_every_sort_has_its_kernel():
    shared = layers.GRU(3, return_sequences=True, name="shared")
    inner = sequential(layers.GRU(3, return_sequences=True, name="g"), shape=(6, 3))
    inner.name = "inner"
    inputs = keras.Input((6, 2))
    x = layers.LSTM(3, return_sequences=True, name="l")
    x = layers.Bidirectional(x, name="b")(inputs)
    x = layers.Dense(3)(x)
    x = shared(shared(inner(x)))
    x = layers.SimpleRNN(3, return_sequences=True, name="simple")(x)
    x = Scaled(3, return_sequences=True, name="own")(x)
    cells = [layers.LSTMCell(3), layers.GRUCell(3)]
    x = layers.RNN(cells, return_sequences=True, name="stack")(x)
    x = layers.RNN(MGUCell(3), return_sequences=True, name="cell")(x)
    fast = keras_gates.GateLSTM(3, kernel="fast", return_sequences=True, name="fast")
    x = fast(x)
    x = layers.Reshape((6, 3, 1))(x)
    x = layers.TimeDistributed(layers.LSTM(2, name="l"), name="frames")(x)
    found = in_use(keras.Model(inputs, x))
    loops = [
        *("b/forward_l", "b/backward_l", "inner/g", "shared", "simple", "own"),
        *("stack", "cell", "frames/l"),
    ]
    assert found == {name: (LOOP, LOOP) for name in loops} | {"fast": (FAST, FAST)}


def test_an_accelerated_and_an_instrumented_model():
    model = lstm()
    with keras_gates.instrument(model):
        assert in_use(model) == {"lstm": (LOOP, LOOP)}
    keras_gates.accelerate(model)
    found = keras_gates.kernels(model)["lstm"]
    assert (found.inference, found.training) == (FAST, FAST)
    assert not found.reasons and not found.advice
    keras_gates.restore(model)
    assert in_use(model) == {"lstm": (LOOP, LOOP)}


def test_masks_of_every_origin_arrive():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(5, 2, mask_zero=True)(inputs)
    found = keras_gates.kernels(
        keras.Model(inputs, [layers.GRU(3, name="masked")(x), layers.GRU(3)(x * 1.0)])
    )
    assert found["masked"].masked
    assert not sequential_record(layers.GRU(3)).masked
    assert sequential_record(layers.Masking(), layers.GRU(3)).masked


def sequential_record(*stack, **options):
    (record,) = keras_gates.kernels(sequential(*stack, shape=(6, 2)), **options)
    return record


@only("jax")
def test_what_a_mask_costs_is_found_by_running_without_it():
    record = sequential_record(layers.Masking(), layers.GRU(3))
    assert (
        "A mask arrives at the layer; otherwise a scan that XLA compiles that calls no "
        "cell would run it. `measure=True` measures whether that is faster."
    ) in record.reasons
    # For an LSTM, nothing else would run.
    record = sequential_record(layers.Masking(), layers.LSTM(3))
    assert not any("mask" in reason for reason in record.reasons)


@pytest.mark.parametrize(
    "option, value",
    [("recurrent_dropout", 0.2), ("reset_after", False), ("mask", None)],
)
@only("torch")
def test_what_an_argument_costs_is_found_by_running_without_it(option, value):
    """PyTorch's functions take neither; Keras runs its general loop."""
    if option == "mask":
        record = sequential_record(layers.Masking(), layers.GRU(3))
        wanted = "A mask arrives at the layer; otherwise"
    else:
        record = sequential_record(layers.GRU(3, **{option: value}))
        wanted = f"It has `{option}={value}`; otherwise"
    (reason,) = [one for one in record.reasons if one.startswith(wanted)]
    assert "a loop in Python that calls no cell would run it" in reason


def test_without_a_gpu_the_report_says_so_and_advises_what_helps():
    found = keras_gates.kernels(lstm())
    assert not found.gpu and found.backend == BACKEND
    record = found["lstm"]
    assert "There is no GPU here, and cuDNN runs on a GPU only." in record.reasons
    fast = (
        "Call `keras_gates.accelerate(model)`: then a fast kernel of keras_gates runs "
        "it."
    )
    assert record.advice == (() if BACKEND == "tensorflow" else (fast,))
    assert record.speedup == {}


def test_what_has_no_fast_kernel_says_why():
    record = sequential_record(layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)]))
    assert record.reasons[0] == (
        "Keras has no kernel for a `RNN`: it calls the cell in a loop."
    )
    if BACKEND != "tensorflow":
        assert record.reasons[1] == (
            "No fast kernel of keras_gates runs it: it runs a stack of cells."
        )
    record = sequential_record(layers.LSTM(3, use_cudnn=False))
    assert (
        "`use_cudnn=False` keeps Keras from its own faster kernels." in record.reasons
    )


def test_a_convolutional_layer_has_its_kernel():
    """The cells have states of no known size, which nobody can trace."""
    model = sequential(layers.ConvLSTM1D(2, 3, name="images"), shape=(4, 8, 2))
    assert in_use(model) == {"images": (LOOP, LOOP)}
    with pytest.warns(UserWarning, match="'images', as its cell"):
        keras_gates.accelerate(model)
    with pytest.raises(ValueError, match="states depend on those of its input"):
        keras_gates.capture(model, np.ones((2, 4, 8, 2)))


def test_a_gate_layer_is_advised_to_take_its_fast_kernel():
    record = sequential_record(keras_gates.GateGRU(3))
    wanted = 'Make the layer with `kernel="fast"`: then a fast kernel of keras_gates'
    assert [wanted in one for one in record.advice] == (
        [] if BACKEND == "tensorflow" else [True]
    )


# Fallbacks that Keras keeps to itself.


@pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU])
def test_a_refusal_is_reported_in_its_own_words(cls, monkeypatch):
    def refuse(*args, **kwargs):
        raise NotImplementedError("the moon is in the wrong house")

    name = cls.__name__.lower()
    monkeypatch.setattr(sys.modules["keras.src.backend"], name, refuse)
    record = sequential_record(cls(3))
    assert (record.inference, record.training) == (LOOP, LOOP)
    assert record.reasons[0] == (
        "Keras caught a NotImplementedError in its function `refuse`, and "
        'silently ran other code: "the moon is in the wrong house"'
    )


@pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU])
def test_what_a_function_in_the_place_of_keras_catches_is_reported(cls, monkeypatch):
    module, name = sys.modules["keras.src.backend"], cls.__name__.lower()
    original = getattr(module, name)

    def caught(*args, **kwargs):
        try:
            raise RuntimeError("no such algorithm")
        except Exception:
            return original(*args, **kwargs)

    monkeypatch.setattr(module, name, caught)
    record = sequential_record(cls(3))
    assert record.inference == LOOP
    assert any('"no such algorithm"' in one for one in record.reasons)


def test_a_refusal_of_both_directions_at_once_is_reported_for_each(monkeypatch):
    def refuse(*args, **kwargs):
        raise NotImplementedError("one at a time")

    monkeypatch.setattr(sys.modules["keras.src.backend"], "bidirectional_lstm", refuse)
    model = sequential(layers.Bidirectional(layers.LSTM(3), name="b"), shape=(6, 2))
    for record in keras_gates.kernels(model):
        assert record.inference == LOOP
        assert any('"one at a time"' in reason for reason in record.reasons)


def test_both_directions_in_one_kernel_are_seen(monkeypatch):
    """On a GPU, Keras passes by the layers of a `Bidirectional`."""

    def fused(sequences, *args, **kwargs):
        ends = keras.ops.zeros((keras.ops.shape(sequences)[0], 3))
        for _ in range(6):
            ends = keras.ops.matmul(ends, keras.ops.ones((3, 3)))
        return (ends, None, [ends, ends]), (ends, None, [ends, ends])

    monkeypatch.setattr(sys.modules["keras.src.backend"], "bidirectional_lstm", fused)
    model = sequential(
        layers.Bidirectional(layers.LSTM(3, name="l"), name="b"), shape=(6, 2)
    )
    steps = "Python loop" if BACKEND == "torch" else "unrolled steps"
    assert in_use(model) == {
        "b/forward_l": (steps, steps),
        "b/backward_l": (steps, steps),
    }


@only("torch")
@pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU])
def test_an_exception_that_keras_swallows_on_pytorch(cls, monkeypatch):
    """As from March to May 2026: cuDNN fails, and Keras runs a loop in Python."""
    import torch

    module = keras_functions()

    class OnGPU(torch.Tensor):
        device = property(lambda self: torch.device("cuda"))

    original = module.convert_to_tensor

    def convert(value, *args, **kwargs):
        return original(value, *args, **kwargs).as_subclass(OnGPU)

    def fails(*args, **kwargs):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")

    monkeypatch.setattr(module, "cudnn_ok", lambda *args, **kwargs: True)
    monkeypatch.setattr(module, "convert_to_tensor", convert)
    model = sequential(
        layers.Lambda(lambda x: x.as_subclass(OnGPU)), cls(3), shape=(6, 2)
    )
    monkeypatch.setattr(module, f"_cudnn_{cls.__name__.lower()}", fails)
    (record,) = keras_gates.kernels(model)
    assert (record.inference, record.training) == (LOOP, LOOP)
    assert record.reasons[0] == (
        f"Keras caught a RuntimeError in its function `{cls.__name__.lower()}`, and "
        'silently ran other code: "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"'
    )


@only("torch")
def test_a_kernel_whose_result_keras_drops_did_not_run_the_layer(monkeypatch):
    """What failed in 2026 came after the kernel: Keras unpacked its result wrongly."""
    import torch

    fused = torch.nn.LSTM(2, 3, batch_first=True)

    def runs(*args, **kwargs):
        fused(torch.zeros(2, 6, 2))
        raise NotImplementedError("not enough values to unpack")

    monkeypatch.setattr(sys.modules["keras.src.backend"], "lstm", runs)
    (record,) = keras_gates.kernels(lstm())
    assert record.inference == LOOP
    assert "The kernel of oneDNN ran, and Keras dropped its result." in record.reasons


@only("torch")
def test_the_fused_kernels_of_pytorch_are_seen(monkeypatch):
    import torch

    fused = torch.nn.LSTM(2, 3, batch_first=True)

    def runs(*args, **kwargs):
        outputs, (hidden, cell) = fused(torch.zeros(2, 6, 2))
        return outputs[:, -1], outputs, [hidden[0], cell[0]]

    monkeypatch.setattr(sys.modules["keras.src.backend"], "lstm", runs)
    assert in_use(lstm()) == {"lstm": ("oneDNN", "oneDNN")}


@only("torch")
def test_cudnn_on_pytorch_is_seen_by_its_operation(monkeypatch):
    import torch

    def runs(*args, **kwargs):
        torch.ops.aten._cudnn_rnn(*cudnn_arguments())
        outputs = torch.zeros(2, 6, 3)
        return outputs[:, -1], outputs, [outputs[:, -1]] * 2

    def cudnn_arguments():
        x, h = torch.zeros(6, 2, 2), torch.zeros(1, 2, 3)
        settings = 2, 3, 0, 1, False, 0.0, True, False, [], None
        return x, [h], 0, None, h, h, *settings

    library = torch.library.Library("aten", "IMPL")
    library.impl("_cudnn_rnn", lambda x, w, s, b, h, *others: (x, h, h, x, x), "CPU")
    try:
        monkeypatch.setattr(sys.modules["keras.src.backend"], "lstm", runs)
        record = sequential_record(layers.LSTM(3))
    finally:
        library._destroy()
    assert (record.inference, record.training) == ("cuDNN", "cuDNN")
    assert not record.reasons and not record.advice


@only("jax")
def test_an_exception_that_keras_swallows_on_jax(monkeypatch):
    import jax.experimental.rnn

    def fails(*args, **kwargs):
        raise RuntimeError("CUDNN_STATUS_NOT_INITIALIZED")

    monkeypatch.setattr(jax.experimental.rnn, "lstm", fails)
    monkeypatch.setattr(keras_functions(), "_is_gpu_available", lambda: True)
    (record,) = keras_gates.kernels(lstm())
    assert (record.inference, record.training) == (LOOP, LOOP)
    assert record.reasons[0] == (
        "Keras caught a NotImplementedError in its function `lstm`, and silently "
        'ran other code: "cuDNN LSTM failed: CUDNN_STATUS_NOT_INITIALIZED"'
    )


@only("jax")
def test_cudnn_on_jax_is_seen_by_its_operation(monkeypatch):
    import jax
    from jax.extend.core import Primitive

    kernel = Primitive("rnn_fwd")
    kernel.def_impl(lambda x: x)
    kernel.def_abstract_eval(lambda x: x)

    def runs(x, *args, **kwargs):
        kernel.bind(x)
        outputs = jax.numpy.zeros((2, 6, 3))
        return outputs[:, -1], outputs, [outputs[:, -1]] * 2

    monkeypatch.setattr(sys.modules["keras.src.backend"], "lstm", runs)
    assert in_use(lstm()) == {"lstm": ("cuDNN", "cuDNN")}


@only("tensorflow")
@pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU])
def test_cudnn_on_tensorflow_is_seen_and_what_keeps_it_away_is_found(cls, monkeypatch):
    monkeypatch.setattr(keras_functions(), "_is_gpu_available", lambda: True)
    layer = cls(3)
    layer.supports_jit = True
    (record,) = keras_gates.kernels(sequential(layer, shape=(6, 2)))
    assert (record.inference, record.training) == ("cuDNN", "cuDNN")
    assert not record.reasons and not record.advice
    assert layer.supports_jit  # Keras notes a run on cuDNN there.
    options = [
        ("recurrent_dropout", 0.2, 0.0),
        ("activation", "relu", "tanh"),
        ("recurrent_activation", "hard_sigmoid", "sigmoid"),
        ("use_bias", False, True),
        ("unroll", True, False),
        ("use_cudnn", False, "auto"),
        ("reset_after", False, True),
    ]
    # Half of them for each kind.
    for option, value, default in options[:3] if cls is layers.LSTM else options[3:]:
        record = sequential_record(cls(3, **{option: value}))
        assert "cuDNN" not in record.inference, option
        assert record.advice == (
            f"Make the layer with `{option}={default!r}`: then the kernel of cuDNN "
            "runs it.",
        )
    # A right-padded mask is no obstacle, and two together are named together.
    assert sequential_record(layers.Masking(), cls(3)).inference == "cuDNN"
    record = sequential_record(cls(3, use_bias=False, activation="relu"))
    assert record.advice == (
        "Make the layer with `activation='tanh'`, `use_bias=True`: then the kernel of "
        "cuDNN runs it.",
    )
    cell = layers.LSTMCell(3) if cls is layers.LSTM else layers.GRUCell(3)
    record = sequential_record(layers.RNN(cell))
    assert record.advice[0].startswith(f"Use `keras.layers.{cls.__name__}` instead")


@only("tensorflow")
def test_an_exception_that_keras_swallows_on_tensorflow(monkeypatch):
    import tensorflow as tf

    def fails(**kwargs):
        raise tf.errors.NotFoundError(None, None, "No kernel for CudnnRNNV3")

    monkeypatch.setattr(keras_functions(), "_is_gpu_available", lambda: True)
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", fails)
    (record,) = keras_gates.kernels(lstm())
    assert (record.inference, record.training) == (LOOP, LOOP)
    assert record.reasons[0] == (
        "Keras caught a NotFoundError in its function `lstm`, and silently "
        'ran other code: "No kernel for CudnnRNNV3"'
    )


@only("tensorflow")
def test_a_model_that_runs_eagerly_has_no_while_loop():
    model = lstm()
    model.compile(loss="mse", run_eagerly=True)
    assert in_use(model) == {"lstm": ("Python loop", "Python loop")}


@pytest.mark.skipif(BACKEND == "torch", reason="compiles nothing")
def test_an_unrolled_layer_is_seen():
    assert in_use(lstm(unroll=True))["lstm"] == ("unrolled steps", "unrolled steps")


def test_the_private_places_of_keras_are_where_they_were():
    """If this fails, Keras moved what `keras_sources` names: mend it there."""
    layers_folder, functions = keras_sources._places()
    assert (layers_folder / "lstm.py").is_file()
    assert len(functions) == 1, "keras.src.backend.<backend>.rnn is gone"
    (file,) = functions
    found = keras_sources.functions()
    assert [one.__name__ for one in found] == list(keras_sources.NAMES)
    assert {one.__code__.co_filename for one in found} == {file}
    # They are called as `backend.lstm`, within `inner_loop`.
    assert "lstm" in layers.LSTM.inner_loop.__code__.co_names
    assert "gru" in layers.GRU.inner_loop.__code__.co_names
    assert layers.RNN.inner_loop.__code__.co_varnames[:4] == (
        *("self", "sequences", "initial_state", "mask"),
    )


# The model is left alone.


def everything(model):
    """The values of all that running a model may change."""
    states = [
        state
        for layer in model.layers
        for state in keras.tree.flatten(getattr(layer, "states", None) or [])
    ]
    variables = [*model.variables, *model.metrics_variables, *states]
    return [np.array(keras.ops.convert_to_numpy(one)) for one in variables]


def stateful():
    inputs = keras.Input(batch_shape=(2, 6, 2))
    x = layers.BatchNormalization()(layers.Dropout(0.5, seed=1)(inputs))
    x = layers.LSTM(3, stateful=True, recurrent_dropout=0.2, return_sequences=True)(x)
    model = keras.Model(inputs, layers.Dense(1)(layers.GRU(3, dropout=0.1)(x)))
    model.compile("adam", "mse", metrics=["mae"])
    data = np.random.default_rng(0).normal(size=(2, 6, 2)), np.ones((2, 1))
    model.fit(*data, batch_size=2, verbose=0)
    return model


def test_the_model_is_left_as_it_was():
    model = stateful()
    before, draws, trace = everything(model), random.getstate(), sys.gettrace()
    numpy_draws = np.random.get_state()[1].copy()
    keras_gates.kernels(model)
    for one, other in zip(everything(model), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert random.getstate() == draws and sys.gettrace() is trace
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_draws)


def test_the_model_is_left_as_it_was_after_an_error():
    class Breaks(layers.Layer):
        broken = False

        def call(self, inputs):
            if self.broken:
                raise RuntimeError("out of order")
            return inputs

    class Cell(layers.GRUCell):
        def call(self, inputs, states, training=False):
            return breaks(super().call(inputs, states, training)[0]), states

    breaks = Breaks()
    model = sequential(layers.RNN(Cell(3, dropout=0.5)), shape=(6, 2))
    before, trace = everything(model), sys.gettrace()
    breaks.broken = True
    with pytest.raises(ValueError, match="could not be run on generated inputs"):
        keras_gates.kernels(model)
    assert sys.gettrace() is trace
    for one, other in zip(everything(model), before, strict=True):
        np.testing.assert_array_equal(one, other)
    breaks.broken = False
    model.predict(np.ones((2, 6, 2)), verbose=0)  # No tensor of the failed run is left.


def test_a_debugger_continues_afterwards():
    def trace(frame, event, value):
        return None

    model = lstm()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        keras_gates.kernels(model)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


# Inputs.


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.lstm = layers.LSTM(3, name="lstm")

    def call(self, inputs):
        return self.lstm(inputs)


def test_a_model_that_is_not_built_needs_data():
    model = Own()
    with pytest.raises(ValueError, match="is not built yet, so it has no weights"):
        keras_gates.kernels(model)
    x = np.ones((3, 5, 2), "float32")
    assert in_use(model, x) == {"lstm": (LOOP, LOOP)}
    assert in_use(model) == {"lstm": (LOOP, LOOP)}  # It knows its shape now.


def test_what_is_no_recurrent_model_is_refused():
    with pytest.raises(ValueError, match="has no recurrent layer whose kernel"):
        keras_gates.kernels(sequential(layers.Dense(1), shape=(2,)))
    with pytest.raises(ValueError, match="`x` must have the shape"):
        keras_gates.kernels(lstm(), np.ones((2, 6, 5)))


def test_several_inputs_and_a_layer_that_does_not_run():
    class Lazy(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.idle = (
                layers.GRU(3, name="used"),
                layers.GRU(3, name="idle"),
            )
            self.idle.build((None, None, 2))

        def call(self, inputs):
            return self.used(inputs["a"])

    model = Lazy()
    x = {"a": np.ones((2, 5, 2), "float32")}
    found = keras_gates.kernels(model, x)
    assert found["idle"].inference == "not run"
    assert found["idle"].reasons == ("It did not run when the model was called.",)
    with pytest.raises(ValueError, match="are not known, as it has its own `call`"):
        keras_gates.kernels(model)
    a, b = keras.Input((None, 2), name="a"), keras.Input((5, 2), name="b")
    outputs = [layers.LSTM(2, name="l")(a), layers.GRU(2, name="g")(b)]
    two = keras.Model({"a": a, "b": b}, outputs)
    assert in_use(two) == {"l": (LOOP, LOOP), "g": (LOOP, LOOP)}


# What is returned.


def test_the_report_reads_as_a_table_and_as_text():
    cells = layers.GRU(2, recurrent_dropout=0.1, name="second")
    model = sequential(
        layers.LSTM(2, return_sequences=True, name="a"),
        layers.LSTM(2, return_sequences=True, name="b"),
        cells,
        shape=(6, 2),
    )
    found = keras_gates.kernels(model)
    assert isinstance(found, Kernels) and len(found) == 3
    table = found.to_dataframe()
    assert list(table.index) == ["a", "b", "second"]
    assert table.loc["a", "inference"] == LOOP and table.loc["a", "class"] == "LSTM"
    assert table["training_speedup"].isna().all()
    lines = str(found).splitlines()
    assert lines[0] == f"Keras {keras.version()} on {BACKEND}, without a GPU"
    # What is the same for several layers is said once.
    assert lines[1] == f"'a', 'b' (LSTM): {LOOP}, in inference and in training"
    assert "&#x27;b&#x27; (LSTM)" in found._repr_html_()
    assert str(found["second"]).startswith("'second' (GRU): ")
    with pytest.raises(KeyError, match="no layer 'c'; the layers are 'a', 'b'"):
        found["c"]


def test_what_a_change_brings_is_measured(monkeypatch):
    monkeypatch.setattr(kernel_timing, "SECONDS", 0.0)
    seconds = iter(np.cumsum([0, 3.0, 0, 1.0] * 1000))
    monkeypatch.setattr(kernel_timing, "clock", lambda: next(seconds))
    record = sequential_record(layers.Masking(), layers.LSTM(3), measure=True)
    assert record.speedup == {"inference": 3.0, "training": 3.0}
    assert record.advice[-1].endswith(
        "a fast kernel of keras_gates runs it, 3 times as fast in inference and 3 "
        "times as fast in training, as measured here with inputs of shape (32, 6, 2)."
    )


def test_what_does_not_pay_is_not_advised(monkeypatch):
    monkeypatch.setattr(kernel_timing, "SECONDS", 0.0)
    seconds = iter(np.cumsum([0, 1.0, 0, 2.0] * 1000))
    monkeypatch.setattr(kernel_timing, "clock", lambda: next(seconds))
    record = sequential_record(layers.GRU(3), measure=True)
    assert record.advice == ()
    assert record.speedup == {"inference": 0.5, "training": 0.5}
    assert any(one.startswith("This is not worthwhile. Call") for one in record.reasons)


def test_kernels_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras_gates.kernels(stateful())


def test_every_kernel_that_the_seam_names_has_a_description():
    from keras_gates.backend import kernel_names

    assert set(seam.KERNEL_OPERATIONS.values()) <= set(kernel_names.DESCRIPTIONS)
