"""Whatever `predict` takes is taken, with the same gates, or gets a sentence."""

import itertools
import types

import keras
import numpy as np
import pandas
import pytest
import scipy.sparse
import xarray
from battery import distinct_weights
from keras import layers, ops
from small_models import sequential

import keras_gates
from keras_gates.models import input_batches
from keras_gates.models.find_layers import find_nodes
from keras_gates.trees.tree_walk import recurrent

BACKEND = keras.backend.backend()
SAMPLES, TIME, FEATURES = 6, 5, 3
X = np.random.default_rng(0).normal(size=(SAMPLES, TIME, FEATURES)).astype("float32")
FLAT = np.where(X > 0.5, X, 0).reshape(SAMPLES, -1)
PARTS = (slice(0, 2), slice(2, 4), slice(4, 6))


def library(name):
    return pytest.importorskip(name)


def dense(**options):
    first = keras.Input((TIME, FEATURES), name="x", **options)
    return keras.Model(first, layers.LSTM(4, name="r")(first))


def flat(**options):
    first = keras.Input((TIME * FEATURES,), name="x", **options)
    series = layers.Reshape((TIME, FEATURES))(layers.Dense(TIME * FEATURES)(first))
    return keras.Model(first, layers.LSTM(4, name="r")(series))


class Batches(keras.utils.PyDataset):
    """Batches as a function makes them of arrays; `number` of them."""

    def __init__(self, make=lambda x: (x, np.zeros(len(x))), number=3, **options):
        super().__init__(**options)
        self.make, self.number = make, number
        self.epochs = []

    @property
    def num_batches(self):
        return self.number

    def __getitem__(self, index):
        return self.make(X[PARTS[index % 3]])

    def on_epoch_begin(self):
        self.epochs.append("begin")

    def on_epoch_end(self):
        self.epochs.append("end")


def tensorflow_dataset(*parts):
    data = library("tensorflow").data.Dataset
    return data.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(2)


def loader(samples, **options):
    options = {"batch_size": 2, **options}
    return library("torch").utils.data.DataLoader(samples, **options)


def torch_pairs():
    torch = library("torch")
    return torch.utils.data.TensorDataset(torch.tensor(X), torch.zeros(SAMPLES))


def half_precision(name):
    """Returns numbers that bfloat16 holds exactly, in the tensor of a library."""
    whole = np.round(X).astype("float32")
    if name == "torch":
        return library("torch").tensor(whole).to(library("torch").bfloat16)
    if name == "tensorflow":
        return library("tensorflow").constant(whole, "bfloat16")
    return library("jax").numpy.asarray(whole, "bfloat16")


# Each form to what it holds.
FORMS = {
    "float64": (lambda: X.astype("float64"), X),
    "float16": (lambda: X.astype("float16"), X.astype("float16")),
    "int": (lambda: np.round(X).astype("int64"), np.round(X)),
    "bool": (lambda: X > 0, X > 0),
    "Fortran order": (lambda: np.asfortranarray(X), X),
    "list": (lambda: [X], X),
    "tuple": (lambda: (X,), X),
    "dict": (lambda: {"x": X}, X),
    "xarray": (lambda: xarray.DataArray(X), X),
    "Keras variable": (lambda: keras.Variable(X), X),
    "tensor": (lambda: ops.convert_to_tensor(X), X),
    "PyTorch": (lambda: library("torch").tensor(X), X),
    "gradient": (lambda: library("torch").tensor(X, requires_grad=True), X),
    "PyTorch bfloat16": (lambda: half_precision("torch"), np.round(X)),
    "TensorFlow": (lambda: library("tensorflow").constant(X), X),
    "TensorFlow variable": (lambda: library("tensorflow").Variable(X), X),
    "TensorFlow bfloat16": (lambda: half_precision("tensorflow"), np.round(X)),
    "JAX": (lambda: library("jax").numpy.asarray(X), X),
    "JAX bfloat16": (lambda: half_precision("jax"), np.round(X)),
    "PyDataset": (Batches, X),
    "PyDataset, x alone": (lambda: Batches(lambda x: x), X),
    "PyDataset, (x,)": (lambda: Batches(lambda x: (x,)), X),
    "PyDataset, list": (lambda: Batches(lambda x: [x, np.zeros(len(x))]), X),
    "PyDataset, dict": (lambda: Batches(lambda x: {"x": x}), X),
    "PyDataset, weights": (lambda: Batches(lambda x: (x, x, np.ones(len(x)))), X),
    "PyDataset, threads": (lambda: Batches(workers=2), X),
    "tf.data": (lambda: tensorflow_dataset(X), X),
    "tf.data, weights": (lambda: tensorflow_dataset(X, X, np.ones(SAMPLES)), X),
    "tf.data, dict": (lambda: tensorflow_dataset({"x": X}), X),
    "tf.data, iterator": (lambda: iter(tensorflow_dataset(X)), X),
    "tf.data, no length": (lambda: tensorflow_dataset(X).filter(lambda _: True), X),
    "DataLoader": (lambda: loader(torch_pairs()), X),
    "DataLoader, x alone": (lambda: loader(library("torch").tensor(X)), X),
    "DataLoader, dict": (lambda: loader([{"x": sample} for sample in X]), X),
    "generator": (lambda: (X[part] for part in PARTS), X),
    "generator, (x,)": (lambda: ((X[part],) for part in PARTS), X),
    "generator, dict": (lambda: (({"x": X[part]}, 0) for part in PARTS), X),
    "iterator": (lambda: iter([(X[part], 0) for part in PARTS]), X),
    "islice": (lambda: itertools.islice(itertools.cycle([X[:2]]), 3), [*X[:2]] * 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_batches_as_an_array(form):
    make, held = FORMS[form]
    model = dense()
    got = list(input_batches.iterate(make(), model, 2, "x"))
    wanted = np.asarray(held, "float32").reshape(3, 2, TIME, FEATURES)
    assert len(got) == 3
    for left, right in zip(got, wanted, strict=True):
        (leaf,) = keras.tree.flatten(left)
        assert isinstance(leaf, np.ndarray)
        assert leaf.dtype == "float32" or leaf.dtype.kind in "biu"
        np.testing.assert_array_equal(leaf, right)


def test_a_gate_is_the_same_from_a_tensor_of_half_precision():
    """All the way: bfloat16 is no type of NumPy's own."""
    model = dense()
    given = half_precision(
        {"tensorflow": "tensorflow", "jax": "jax"}.get(BACKEND, "torch")
    )
    gates = keras_gates.capture(model, given)
    wanted = keras_gates.capture(model, np.round(X))
    xarray.testing.assert_identical(gates["r"].to_dataset(), wanted["r"].to_dataset())


TABLES = {
    "DataFrame": lambda: pandas.DataFrame(FLAT, index=range(9, 3, -1)),
    "DataFrame of several types": lambda: pandas.DataFrame(FLAT).astype({0: "float16"}),
    "scipy CSR": lambda: scipy.sparse.csr_matrix(FLAT),
    "scipy COO": lambda: scipy.sparse.coo_array(FLAT),
    "scipy CSC": lambda: scipy.sparse.csc_array(FLAT),
    "tf.SparseTensor": lambda: library("tensorflow").sparse.from_dense(FLAT),
    "tf.data, sparse": lambda: tensorflow_dataset(
        library("tensorflow").sparse.from_dense(FLAT)
    ),
    "BCOO": lambda: library("jax.experimental.sparse").BCOO.fromdense(FLAT),
    "BCSR": lambda: library("jax.experimental.sparse").BCSR.fromdense(FLAT),
    "BCOO, batched": lambda: library("jax.experimental.sparse").BCOO.fromdense(
        FLAT, n_batch=1
    ),
    "PyTorch, sparse": lambda: iter(
        [library("torch").tensor(FLAT[part]).to_sparse() for part in PARTS]
    ),
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_and_sparse_arrays_hold_the_same_rows(form):
    wanted = FLAT.astype("float16") if "several" in form else FLAT
    got = list(input_batches.iterate(TABLES[form](), flat(), 2, "x"))
    assert [tuple(batch.shape) for batch in got] == [(2, 15)] * 3
    got = np.concatenate([ops.convert_to_numpy(batch) for batch in got])
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, FLAT, atol=0 if wanted is FLAT else 1e-3)


def test_a_column_of_a_table_is_one_feature():
    column = pandas.Series([0.5, 1.5, 2.5], index=[7, 8, 9])
    model = sequential(layers.Reshape((1, 1)), layers.GRU(2), shape=(1,))
    (first, second) = input_batches.iterate(column, model, 2, "x")
    np.testing.assert_array_equal(
        np.concatenate([first, second]), [[0.5], [1.5], [2.5]]
    )


def test_sparse_inputs_reach_a_sparse_model_as_in_predict():
    model = flat(sparse=BACKEND != "torch")
    given = scipy.sparse.csr_matrix(FLAT)
    gates = keras_gates.capture(model, given, batch_size=4)
    wanted = keras_gates.capture(model, FLAT, batch_size=4)
    np.testing.assert_allclose(gates["r/forget"], wanted["r/forget"], atol=1e-6)
    np.testing.assert_allclose(
        gates["r/hidden"][:, -1], model.predict(given, verbose=0), atol=1e-6
    )


@pytest.mark.skipif(BACKEND == "torch", reason="It has no sparse tensors in Keras.")
def test_sparse_batches_stay_sparse():
    (batch, *_) = input_batches.iterate(scipy.sparse.csr_matrix(FLAT), flat(), 4, "x")
    assert not isinstance(batch, np.ndarray) and ops.is_tensor(batch)


def ragged():
    return library("tensorflow").ragged.constant([[1, 2], [3], [4, 5, 6], [7]])


def test_ragged_tensors_are_padded_or_refused_as_in_predict():
    tokens = keras.Input((None,), name="tokens", dtype="int32")
    embedded = layers.Embedding(9, 3, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.LSTM(4, name="r")(embedded))
    given = ragged()
    if BACKEND == "tensorflow":
        with pytest.raises(
            ValueError, match=r"ragged tensor in `x`.*`predict`.*to_ten"
        ):
            keras_gates.capture(model, given)
        given = given.to_tensor()
    gates = keras_gates.capture(model, given, batch_size=2)
    padded = keras_gates.capture(model, ragged().to_tensor().numpy())
    xarray.testing.assert_allclose(gates["r"].to_dataset(), padded["r"].to_dataset())


class Sum(layers.Layer):
    """Adds what it is given."""

    def call(self, one, other=None):
        return one if other is None else one + other

    def compute_output_shape(self, one_shape, other_shape=None):
        return one_shape


def with_optional():
    one = keras.Input((TIME, FEATURES), name="a")
    other = keras.Input((TIME, FEATURES), name="b", optional=True)
    return keras.Model([one, other], layers.LSTM(4, name="r")(Sum()(one, other)))


def test_an_optional_input_may_be_left_out():
    model = with_optional()
    distinct_weights(model, 0)
    with_zeros = keras_gates.capture(model, [X, np.zeros_like(X)])
    forms = [
        [X, None],
        {"a": X, "b": None},
        Batches(lambda x: ((x, None), np.zeros(len(x)))),
    ]
    first = keras_gates.capture(model, forms[0])
    xarray.testing.assert_allclose(
        first["r"].to_dataset(), with_zeros["r"].to_dataset(), atol=1e-6
    )
    for form in forms[1:]:
        for batch in input_batches.iterate(form, model, 2, "x"):
            kept = [leaf is None for leaf in keras.tree.flatten(batch)]
            assert kept == [False, True]
    with pytest.raises(ValueError, match="`x` is None for the input 'a' .* optional"):
        keras_gates.capture(model, [None, X])
    with pytest.raises(ValueError, match="`x` holds no array: every input is None"):
        list(input_batches.iterate(iter([((None, None),)]), model, 2, "x"))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras reads text on TensorFlow.")
@pytest.mark.parametrize(
    "form",
    [
        lambda text: text,
        lambda text: text.astype(object),
        lambda text: text.astype("S"),
        lambda text: ops.convert_to_tensor(text),
        lambda text: tensorflow_dataset(text),
        lambda text: pandas.Series(text),
    ],
)
def test_text_is_taken_where_the_model_reads_it(form):
    words = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    first = keras.Input((1,), dtype="string", name="text")
    series = layers.Embedding(5, 3)(words(first))
    model = keras.Model(first, layers.LSTM(2, name="r")(series))
    text = np.array(["a b", "b", "a"])
    (one, two) = input_batches.iterate(form(text), model, 2, "x")
    np.testing.assert_array_equal(
        words(np.concatenate([one, two]).reshape(-1, 1)), words(text[:, None])
    )
    with pytest.raises(ValueError, match="`x` must hold strings for the input 'text'"):
        keras_gates.capture(model, np.zeros((3, 1)))


def test_a_data_set_hears_of_the_epoch_as_in_predict():
    data = Batches()
    list(input_batches.iterate(data, dense(), 2, "x"))
    assert data.epochs == ["begin", "end"]


# NaN.


class KnownOnly(layers.Layer):
    """Masks the steps that hold NaN, and fills them in or leaves them."""

    def __init__(self, fill, **options):
        super().__init__(**options)
        self.fill, self.supports_masking = fill, True

    def compute_mask(self, x, mask=None):
        return ops.logical_not(ops.any(ops.isnan(x), axis=-1))

    def call(self, x):
        return ops.where(ops.isnan(x), 0.0, x) if self.fill else x + 0.0

    def compute_output_shape(self, shape):
        return shape


def with_gaps():
    gaps = X.copy()
    gaps[0, 2], gaps[1, 3:], gaps[2, :2] = np.nan, np.nan, np.nan
    return gaps


@pytest.mark.parametrize("fill", [True, False])
def test_nan_that_the_model_masks_is_taken(fill):
    model = sequential(KnownOnly(fill), layers.GRU(4, name="r"), shape=X.shape[1:])
    gaps = with_gaps()
    gates = keras_gates.capture(model, gaps)
    known = ~np.isnan(gaps).any(axis=-1)
    np.testing.assert_array_equal(gates["r/mask"], known)
    np.testing.assert_array_equal(gates["r/update"].notnull().all("unit"), known)
    hidden = gates["r/hidden"].values
    last = [states[mask][-1] for states, mask in zip(hidden, known, strict=True)]
    np.testing.assert_allclose(last, model.predict(gaps, verbose=0), atol=1e-6)
    assert keras_gates.verify(gates)["r"] < 1e-5


def test_nan_that_reaches_a_layer_is_refused():
    """A `Masking` layer with NaN masks nothing: NaN is not equal to itself."""
    model = sequential(
        layers.Masking(mask_value=np.nan), layers.GRU(4, name="r"), shape=X.shape[1:]
    )
    sentence = (
        r"`x` holds NaN in 15 places, the first at index \(0, 2, 0\).* the layer 'r' "
        "at a step that is not masked.*`Masking`"
    )
    with pytest.raises(ValueError, match=sentence):
        keras_gates.capture(model, with_gaps())


def test_nan_that_reaches_no_recurrent_layer_is_taken():
    one, other = keras.Input(X.shape[1:]), keras.Input((2,))
    head = layers.Dense(1)(other)
    model = keras.Model([one, other], [layers.LSTM(4, name="r")(one), head])
    gates = keras_gates.capture(model, [X, np.full((SAMPLES, 2), np.nan)])
    assert gates["r/hidden"].notnull().all()


def with_tokens():
    tokens, rates = keras.Input((TIME,), name="tokens"), keras.Input((2,), name="rates")
    series = layers.LSTM(2, name="r")(layers.Embedding(5, 3)(tokens))
    return keras.Model([tokens, rates], [series, layers.Dense(1)(rates)])


def test_nan_that_an_embedding_would_hide_is_refused():
    """It makes a whole number of it, and nothing of it shows in the gates."""
    model = with_tokens()
    tokens, rates = np.ones((2, TIME)), np.ones((2, 2))
    gaps = [np.where(np.arange(a.shape[1]) == 1, np.nan, a) for a in (tokens, rates)]
    with pytest.raises(ValueError, match="`x` holds NaN in 2 .* an `Embedding` would"):
        next(input_batches.iterate([gaps[0], rates], model, 2, "x"))
    next(input_batches.iterate([tokens, gaps[1]], model, 2, "x"))
    alone = sequential(layers.Embedding(5, 3), layers.LSTM(2), shape=(TIME,))
    for nested in (alone, sequential(alone, shape=(TIME,))):
        with pytest.raises(ValueError, match="an `Embedding` would read"):
            next(input_batches.iterate(gaps[0], nested, 2, "x"))


def test_nan_in_training_is_not_attributed_to_the_probe():
    """A loss of NaN makes every weight NaN."""
    model = sequential(KnownOnly(False), layers.GRU(2, name="r"), shape=X.shape[1:])
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(with_gaps(), samples_per_batch=0)
    model.fit(X, np.full((SAMPLES, 2), np.nan), verbose=0, callbacks=[recorder])
    assert recorder.traces["r/update"].notnull().any(("sample", "time", "unit"))[0]
    assert recorder.traces["r/update"][1].isnull().all()


def test_statistics_of_training_leave_masked_nan_out():
    recurrent_layer = layers.GRU(2, name="r", trainable=False)
    model = sequential(
        KnownOnly(False), recurrent_layer, layers.Dense(1), shape=X.shape[1:]
    )
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(with_gaps(), samples_per_batch="all")
    model.fit(with_gaps(), np.zeros(SAMPLES), verbose=0, callbacks=[recorder])
    means = recorder.statistics["r/mean"].sel(signal="update").isel(step=0)
    wanted = recorder.traces["r/update"][0].mean(("sample", "time"))
    np.testing.assert_allclose(means, wanted, atol=1e-6)


# Models in unusual states.


class Lazy(keras.Model):
    """Has no weights until it is called."""

    def __init__(self, **options):
        super().__init__()
        self.r = layers.LSTM(4, name="r", **options)

    def call(self, x):
        return self.r(x)


@pytest.mark.parametrize(
    "make",
    [Lazy, lambda: keras.Sequential([layers.LSTM(4, name="r")])],
    ids=["subclass", "Sequential"],
)
def test_a_model_that_is_not_built_is_built_as_by_predict(make):
    model = make()
    gates = keras_gates.capture(model, (X[part] for part in PARTS))
    assert model.built and gates.sizes == {} and gates["r"].sizes["sample"] == SAMPLES
    np.testing.assert_allclose(
        gates["r/hidden"][:, -1], model.predict(X, verbose=0), atol=1e-6
    )


def test_building_leaves_the_state_of_a_stateful_layer():
    model = Lazy(stateful=True)
    gates = keras_gates.capture(model, X, batch_size=SAMPLES)
    assert not gates["r"].initial_hidden.any()
    assert not any(ops.convert_to_numpy(state).any() for state in model.r.states)


class Trainable(keras.Model):
    """Has steps of its own, and no `call`: an autoencoder as Keras's examples do it."""

    def __init__(self):
        super().__init__(name="autoencoder")
        self.encoder = dense()
        self.decoder = sequential(layers.Dense(2), shape=(4,))

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = ops.mean((self.decoder(self.encoder(x)) - y) ** 2)
            gradients = tape.gradient(loss, self.trainable_weights)
            self.optimizer.apply_gradients(
                zip(gradients, self.trainable_weights, strict=True)
            )
        else:
            self.zero_grad()
            loss = ops.mean((self.decoder(self.encoder(x)) - y) ** 2)
            loss.backward()
            weights = list(self.trainable_weights)
            gradients = [weight.value.grad for weight in weights]
            import torch

            with torch.no_grad():
                self.optimizer.apply(gradients, weights)
        return {"loss": loss}


def test_a_model_without_call_says_what_can_be_captured():
    model = Trainable()
    sentence = "'autoencoder' has no `call`.*such as `model.get_layer"
    with pytest.raises(ValueError, match=sentence):
        keras_gates.capture(model, X)
    assert list(keras_gates.capture(model.encoder, X).children) == ["r"]
    with keras_gates.instrument(model):
        assert isinstance(model.encoder.layers[-1], keras_gates.GateLSTM)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras on JAX builds it by its `call`.")
def test_a_model_without_call_is_recorded_in_training():
    model = Trainable()
    # Without it, Keras on PyTorch wants to build the model by its `call`.
    model.built = True
    model.compile("sgd")
    recorder = keras_gates.GateRecorder(samples_per_batch="all")
    data = X, np.zeros((SAMPLES, 2), "float32")
    model.fit(*data, batch_size=3, verbose=0, callbacks=[recorder])
    (statistics,) = recurrent(recorder.statistics)
    assert (statistics["count"] == SAMPLES * TIME).all()
    with pytest.raises(ValueError, match="no `call`.*Leave `probe` out"):
        model.fit(*data, verbose=0, callbacks=[keras_gates.GateRecorder(X)])


def foreign(module, name="Model"):
    return type(name, (), {"__module__": module})()


OTHERS = {
    "tf_keras": (lambda: foreign("tf_keras.src.engine.training"), "Keras 2.*Keras 3"),
    "Keras 2": (lambda: foreign("keras.engine.functional", "Functional"), "Keras 2"),
    "Keras 2.15": (lambda: foreign("keras.src.engine.training"), "TF_USE_LEGACY_KERAS"),
    "tensorflow.keras": (lambda: foreign("tensorflow.python.keras.engine"), "Keras 2"),
    "PyTorch": (
        lambda: library("torch").nn.LSTM(2, 2),
        "module of PyTorch",
    ),
    "flax": (lambda: foreign("flax.linen.module"), "model of flax"),
    "class": (lambda: Lazy, "got the class Lazy. Give an instance"),
    "path": (lambda: "model.keras", "got 'model.keras'.*`keras.saving.load_model`"),
    "layer": (lambda: layers.LSTM(2), "got LSTM. Put a single layer into"),
    "nothing": (lambda: None, "got NoneType. Give a model made of"),
}


@pytest.mark.once
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_model_is_named_as_what_it_is(other):
    make, sentence = OTHERS[other]
    for use in (
        lambda model: keras_gates.capture(model, X),
        keras_gates.instrument,
        keras_gates.restore,
    ):
        with pytest.raises(
            ValueError, match=f"`model` must be a `keras.Model`.*{sentence}"
        ):
            use(make())


# What is refused.


def masked_array():
    return np.ma.masked_array(X, X > 1)


REFUSED = {
    "endless PyDataset": (lambda: Batches(number=None), "never does.*a `num_batches`"),
    "PyDataset of no length": (
        lambda: type("NoLength", (keras.utils.PyDataset,), {})(),
        "never does.*`num_batches`",
    ),
    "endless tf.data": (lambda: tensorflow_dataset(X).repeat(), r"never.*`.take\(n\)`"),
    "cycle": (lambda: itertools.cycle([X]), "never does.*`itertools.islice`"),
    "repeat": (lambda: itertools.repeat(X), "never does"),
    "empty PyDataset": (lambda: Batches(number=0), "`x` is empty: it has no batch"),
    "used up": (lambda: iter(()), "is empty.*generator can be read only once"),
    "no samples": (lambda: X[:0], r"`x` is empty: its shape is \(0, 5, 3\)"),
    "None": (lambda: None, "got NoneType. Make an array with"),
    "numbers": (lambda: X.tolist(), "got list. A list has one array for each input"),
    "scalar": (lambda: np.float32(1), "got float32"),
    "mapping": (
        lambda: types.MappingProxyType({"x": X}),
        "got mappingproxy. Make",
    ),
    "PyTorch Dataset": (torch_pairs, "got TensorDataset. Wrap it in a `torch"),
    "samples, not batches": (
        lambda: library("tensorflow").data.Dataset.from_tensor_slices(X),
        r"must have the shape \(sample, 5, 3\).*got \(5, 3\). The axis of samples",
    ),
    "numbers, not batches": (
        lambda: iter(range(3)),
        "A batch of `x` .*got int",
    ),
    "names, not batches": (lambda: iter("abc"), "A batch of `x` must be .*got str"),
    "four in a batch": (
        lambda: iter([(X, X, X, X)]),
        "`x`.*got a tuple of 4",
    ),
    "two inputs": (lambda: iter([((X, X), 0)]), "must hold 1 arrays.*got 2"),
    "different sizes": (lambda: {"x": X, "y": X[:2]}, r"same number.*got \[2, 6\]"),
    "object": (lambda: X.astype(object), "must hold numbers.*dtype object.*`np.array"),
    "dates": (lambda: X.astype("datetime64[s]"), "must hold numbers.*datetime64"),
    "strings": (lambda: X.astype(str), "strings.*`keras.layers.StringLookup`"),
    "complex": (lambda: X + 1j, "real numbers; got complex.*imaginary part would be"),
    "masked array": (masked_array, "masked array of NumPy.*`Masking`"),
}


def refused(case):
    """Only TensorFlow knows strings: what is said of the others is said anywhere."""
    marks = [] if case == "strings" else [pytest.mark.once]
    return pytest.param(case, marks=marks)


@pytest.mark.parametrize("case", [refused(case) for case in REFUSED])
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_what_cannot_be_read_gets_a_sentence(case):
    make, sentence = REFUSED[case]
    model = dense()
    for argument in ("x", "probe"):
        with pytest.raises(ValueError, match=sentence.replace("`x`", f"`{argument}`")):
            list(input_batches.iterate(make(), model, 2, argument))
    with pytest.raises(ValueError, match=sentence):
        keras_gates.capture(model, make())


@pytest.mark.once
def test_data_without_a_length_and_an_end_warn_after_a_while(monkeypatch):
    monkeypatch.setattr(input_batches, "MANY_BATCHES", 3)

    def endless():
        while True:
            yield X

    with pytest.raises(UserWarning, match="`x` has yielded 3 batches.*islice"):
        keras_gates.capture(dense(), endless())
    assert len(keras_gates.capture(dense(), X, batch_size=1)["r"].sample) == SAMPLES


# The probe of a recorder.


def trained(probe):
    keras.utils.set_random_seed(0)
    model = sequential(layers.LSTM(2, name="r"), shape=X.shape[1:])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    recorder = keras_gates.GateRecorder(probe, samples_per_batch=0)
    model.fit(X, np.zeros((SAMPLES, 2)), epochs=2, verbose=0, callbacks=[recorder])
    return recorder.traces["r/hidden"]


def test_a_probe_that_shuffles_is_the_same_at_each_step():
    """The weights do not change here, so neither may the traces."""
    draws = np.random.default_rng(0)
    plain = trained(X)
    drawn = trained(Batches(lambda x: draws.permutation(x)))
    assert drawn.sizes == plain.sizes
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    np.testing.assert_allclose(drawn.sum("sample"), plain.sum("sample"), atol=1e-5)


PROBES = {
    "generator": (
        lambda: (X for _ in range(2)),
        "`probe` must be readable again",
    ),
    "endless": (lambda: Batches(number=None), "`probe` must end, but"),
    "NaN": (lambda: np.full_like(X, np.nan), "`probe` holds NaN in 90 places"),
    "shape": (lambda: X[:, :, :2], r"`probe` must have the shape \(sample, 5, 3\)"),
}


@pytest.mark.once
@pytest.mark.parametrize("probe", PROBES)
def test_errors_about_a_probe_name_it(probe):
    make, sentence = PROBES[probe]
    with pytest.raises(ValueError, match=sentence):
        trained(make())


def test_a_probe_builds_a_model_that_is_not_built():
    model = Lazy()
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(Batches())
    model.fit(X, np.zeros((SAMPLES, 4)), verbose=0, callbacks=[recorder])
    assert recorder.traces["r"].sizes["sample"] == SAMPLES


# Layers inside layers.


class Outer(layers.LSTM):
    """A recurrent layer that reads its input through another one."""

    def __init__(self, units, inner, every=1, **options):
        super().__init__(units, **options)
        self.inner, self.every = inner, every

    def build(self, shape):
        if not self.inner.built:
            self.inner.build(shape)
        super().build((*shape[:2], self.inner.units))

    def call(self, sequences, initial_state=None, mask=None, training=False):
        inner = self.inner(sequences[:, :: self.every])
        if self.every > 1:
            inner = ops.repeat(inner, self.every, axis=1)[:, : sequences.shape[1]]
        return super().call(inner, initial_state, mask, training)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        return (*sequences_shape[:2], self.units)


def nested(units, every=1, layer=layers.LSTM):
    inner = layer(units, return_sequences=True, name="inner")
    return sequential(
        Outer(4, inner, every, name="outer", return_sequences=True),
        layers.GRU(2, name="last"),
        shape=X.shape[1:],
    )


@pytest.mark.parametrize(
    ("units", "every", "place"),
    [(4, 1, "outer/inner"), (3, 1, "outer.inner"), (4, 2, "outer.inner")],
    ids=["same sizes", "other width", "other length"],
)
def test_a_layer_inside_another_has_a_place(units, every, place, tmp_path):
    model = nested(units, every)
    distinct_weights(model, 0)
    gates = keras_gates.capture(model, X, batch_size=4)
    assert gates.attrs["layers"] == ["outer", place, "last"]
    assert gates[place].attrs["layer"] == "outer/inner"
    assert list(keras_gates.verify(gates).index) == ["outer", "outer/inner", "last"]
    assert (keras_gates.verify(gates) < 1e-5).all()
    if every == 1 and units == 3:
        stored = keras_gates.capture(model, X, batch_size=4, store=tmp_path / "s")
        xarray.testing.assert_identical(stored.load(), gates)
    assert list(
        keras_gates.capture(model, X, layers="outer/inner").attrs["layers"]
    ) == ["outer/inner"]


@pytest.mark.once
def test_a_recorder_places_such_a_layer_too(tmp_path):
    model = nested(3, layer=layers.GRU)
    model.compile("sgd", "mse")
    recorder = keras_gates.GateRecorder(X, log_metrics="all", store=tmp_path / "s")
    history = model.fit(X, np.zeros((SAMPLES, 2)), verbose=0, callbacks=[recorder])
    assert "outer/inner/update/mean" in history.history
    for tree in (recorder.traces, recorder.statistics):
        assert tree.attrs["layers"] == ["outer", "outer.inner", "last"]
        assert tree["outer.inner"].attrs["layer"] == "outer/inner"


@pytest.mark.once
def test_the_memory_of_such_a_layer_is_refused_by_its_name():
    with pytest.raises(ValueError, match="memory of 'outer.inner' cannot be measured"):
        keras_gates.reach(nested(3), X)


class Attending(layers.LSTMCell):
    """A cell that runs a layer of its own at each step."""

    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.inner = layers.GRU(units, name="inner")

    def call(self, inputs, states, training=False):
        read = self.inner(ops.expand_dims(inputs, 1))
        return super().call(read, states, training)


def test_a_layer_inside_the_loop_of_another_is_refused():
    cell = Attending(3, name="cell")
    model = sequential(
        layers.LSTM(3, return_sequences=True, name="first"),
        layers.RNN(cell, name="rnn"),
        shape=X.shape[1:],
    )
    paths = [node.path for node in find_nodes(model)]
    assert paths == ["first", "rnn", "rnn/cell/inner"]
    with pytest.raises(ValueError, match="'rnn/cell/inner'.*cell of 'rnn' runs"):
        keras_gates.capture(model, X, layers="inner")
    assert list(keras_gates.capture(model, X, layers="first").children) == ["first"]


@pytest.mark.once
def test_a_layer_without_the_chosen_signals_is_left_out():
    first = keras.Input(X.shape[1:])
    series = layers.LSTM(3, return_sequences=True, name="lstm")(first)
    model = keras.Model(first, layers.GRU(2, name="gru")(series))
    gates = keras_gates.capture(model, X, signals="update")
    assert list(gates.children) == ["gru"]


# Advice that can be followed where it is given.


class Linear(layers.LSTMCell):
    """A cell without an activation, which cannot be traced."""

    def call(self, inputs, states, training=False):
        output = inputs @ self.kernel[:, : self.units]
        return output, [output, states[1]]


class OwnFrames(layers.TimeDistributed):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask)


@pytest.mark.once
def test_errors_of_instrument_name_no_argument_that_it_lacks():
    model = sequential(
        layers.LSTM(3, return_sequences=True, name="known"),
        layers.RNN(Linear(3), name="odd"),
        shape=X.shape[1:],
    )
    sentence = r"`capture` and `GateRecorder` leave it out with `layers=\['known'\]`"
    with pytest.raises(ValueError, match=sentence):
        keras_gates.instrument(model)


@pytest.mark.once
def test_instrument_says_the_same_of_a_wrapper():
    model = sequential(OwnFrames(layers.GRU(2), name="odd"), shape=(2, TIME, FEATURES))
    sentence = "`capture` and `GateRecorder` leave it out if `layers` names other"
    with pytest.raises(ValueError, match=sentence):
        keras_gates.instrument(model)
