"""What is measured in blocks is what the plain formula gives, wherever the data lie."""

import tracemalloc

import numpy as np
import pytest
import xarray
from captured import DIMENSIONS, layer

from keras_gates import stats
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.stats import unit_measures, written_weights
from keras_gates.stats.block_reduction import reduce_blocks
from keras_gates.stats.moments import moments
from keras_gates.trees import dimensions

pytestmark = pytest.mark.once

STEPPED = ("step", *DIMENSIONS)
FRAMED = ("sample", "frame", "time", "unit")


def signal(dims, shape, dtype="float32", seed=0):
    """Values of a gate, some of them 0 or 1, with masked steps."""
    rng = np.random.default_rng(seed)
    values = rng.random(shape).astype(dtype)
    values[rng.random(shape) < 0.1] = 0
    values[rng.random(shape) < 0.1] = 1
    array = xarray.DataArray(values, dims=dims)
    steps = [dim for dim in dims if dim not in ("step", "unit")]
    masked = rng.random([array.sizes[dim] for dim in steps]) < 0.3
    return array.where(~xarray.DataArray(masked, dims=steps)).transpose(*dims)


def rows(gate):
    """The values in float64, of shape (row, step, unit)."""
    gate = gate if "step" in gate.dims else gate.expand_dims("step")
    flat = gate.transpose(..., "step", "unit").values.astype("float64")
    return flat.reshape(-1, *flat.shape[-2:])


def plain_entropy(gate):
    p = rows(gate)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -np.where(p > 0, p * np.log2(p), 0)
        bits -= np.where(p < 1, (1 - p) * np.log2(1 - p), 0)
    return np.nanmean(np.where(np.isnan(p), np.nan, bits), axis=0)


def plain_timescale(gate):
    with np.errstate(divide="ignore"):
        return -1 / np.nanmean(np.log(rows(gate)), axis=0)


def plain_saturation(gate):
    p = rows(gate)
    known = np.isfinite(p).sum(axis=0)
    return np.stack([(p < 0.1).sum(axis=0), (p > 0.9).sum(axis=0)]) / known


SHAPES = [
    (DIMENSIONS, (4, 7, 3)),
    (DIMENSIONS, (1, 1, 1)),
    (DIMENSIONS, (1, 9, 1)),
    (DIMENSIONS, (70, 300, 5)),  # More than a block.
    (DIMENSIONS, (3, 200, 700)),  # A row is wider than those that are put together.
    (DIMENSIONS, (1, 9, 70_000)),  # And than a block.
    (FRAMED, (2, 3, 5, 4)),
    (STEPPED, (3, 2, 6, 4)),
    (("unit", "time", "sample"), (4, 6, 3)),
    (("time", "step", "unit"), (6, 2, 3)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("dims", "shape"), SHAPES)
def test_measures_of_a_gate_are_the_plain_formula(dims, shape, dtype):
    gate = signal(dims, shape, dtype)
    gate[{dim: 0 for dim in dims if dim not in ("step", "unit")}] = 0.25
    orders = [gate, gate.copy(data=np.asfortranarray(gate.values))]
    orders += [gate.isel({dim: slice(None, None, -1) for dim in ("time", "unit")})]
    close = {"rtol": 1e-6 if dtype == "float32" else 1e-12}
    for given in orders:
        for measure, plain in (
            (stats.entropy, plain_entropy),
            (stats.timescale, plain_timescale),
            (stats.saturation, plain_saturation),
        ):
            found = measure(given)
            expected = plain(given)
            if "step" not in dims:
                expected = expected[..., 0, :]
            assert found.dims[-1] == "unit"
            np.testing.assert_allclose(found.values, expected, **close)


@pytest.mark.parametrize("dims", [("sample", "time"), ("unit",), ("step", "unit")])
def test_a_gate_may_lack_dimensions(dims):
    gate = xarray.DataArray(np.full((2, 3)[: len(dims)], 0.5), dims=dims)
    found = stats.entropy(gate)
    assert found.dims == tuple(dim for dim in dims if dim in ("step", "unit"))
    assert (found == 1).all()


def test_labels_of_units_and_steps_stay_and_those_of_samples_do_not():
    labels = {"unit": [4, 7, 9], "step": [1, 5], "epoch": ("step", [1, 2])}
    gate = signal(STEPPED, (2, 3, 4, 3)).assign_coords(sample=list("abc"), **labels)
    found = stats.entropy(gate)
    assert set(found.coords) == {"unit", "step", "epoch"}
    assert found["unit"].values.tolist() == [4, 7, 9]


def test_moments_are_of_the_steps_that_are_known_in_both():
    shape = (70, 300, 5)
    a, b = signal(DIMENSIONS, shape), signal(DIMENSIONS, shape, seed=1)
    a[3:5, :, 2] = np.nan  # Of one unit of one signal alone.
    a += 1000  # Where sums of squares would lose their digits.
    # The same, whatever the order of the dimensions.
    found = moments(a, b.transpose("time", "unit", "sample"))
    for unit in range(5):
        pair = np.stack([x.values[..., unit].ravel().astype("float64") for x in (a, b)])
        pair = pair[:, ~np.isnan(pair).any(axis=0)]
        count, one, two, *products = found.values[:, unit]
        assert count == pair.shape[1]
        np.testing.assert_allclose([one, two], pair.mean(axis=1), rtol=1e-12)
        expected = np.cov(pair, ddof=0)[[0, 1, 0], [0, 1, 1]]
        np.testing.assert_allclose(np.array(products) / count, expected, rtol=1e-9)


def test_a_signal_that_lacks_a_dimension_is_the_same_along_it():
    a = signal(DIMENSIONS, (3, 4, 2))
    b = a.isel(sample=0, drop=True)
    both = xarray.broadcast(a, b)
    np.testing.assert_array_equal(moments(a, b), moments(*both))


@pytest.mark.parametrize("kind", [LSTM, GRU])
@pytest.mark.parametrize("masked", ["none", "steps", "units"])
@pytest.mark.parametrize("shape", [(5, 7, 4), (3, 200, 40), (2, 8, 3), (1, 1, 1)])
def test_the_horizon_does_not_depend_on_the_blocks(kind, masked, shape, monkeypatch):
    gates = layer(kind, shape=shape).fillna(0.5)
    holes = np.random.default_rng(0).random(shape) < 0.3
    holes[:, -1] = False
    if masked != "none":
        holes = xarray.DataArray(holes, dims=DIMENSIONS)
        gates = gates.where(~(holes if masked == "units" else holes.isel(unit=0)))
    once = stats.memory_horizon(gates, fraction=0.8)
    # Few samples and units at a time, and the samples in several parts.
    monkeypatch.setattr(written_weights, "BLOCK", 16)
    monkeypatch.setattr(written_weights, "NARROW", 2)
    monkeypatch.setattr(unit_measures, "SAMPLES", 2 * shape[1] * shape[2])
    xarray.testing.assert_identical(stats.memory_horizon(gates, fraction=0.8), once)
    # The plain formula.
    keep = gates[kind.keep].values.astype("float64")
    write = 1 - keep if kind.write is None else gates[kind.write].values.astype(float)
    shares = np.zeros(shape)
    for sample, unit in np.ndindex(shape[0], shape[2]):
        known = ~np.isnan(keep[sample, :, unit])
        kept, written = (x[sample, known, unit][::-1] for x in (keep, write))
        weight = np.cumsum(written * np.cumprod([1, *kept[:-1]])[: len(written)])
        weight = np.pad(weight / weight[-1], (0, shape[1] - len(weight)), mode="edge")
        shares[sample, :, unit] = weight
    expected = (shares.mean(axis=0) >= 0.8 - 1e-9).argmax(axis=0)
    np.testing.assert_array_equal(once["memory_horizon"], expected)


def test_samples_without_a_weight_do_not_count_in_the_horizon():
    gates = layer(LSTM, shape=(3, 20, 3)).fillna(0.5)
    three, two = (stats.memory_horizon(gates[{"sample": slice(n)}]) for n in (3, 2))
    gates["input"][2, :, 0] = 0  # Nothing was written.
    gates["input"][2, 4, 1] = np.inf  # The weight has no finite sum.
    found, three, two = (
        data["memory_horizon"].values
        for data in (stats.memory_horizon(gates), three, two)
    )
    assert (two > 0).all()
    assert found.tolist() == [*two[:2], three[2]]


@pytest.mark.parametrize(("value", "middle"), [(1, 0.9995), (0, 0.0005)])
def test_a_gate_that_is_exactly_0_or_1_is_in_the_outermost_bin(value, middle):
    still = np.full((2, 5, 3), value, "float32")
    still[0, 1] = np.nan  # A masked step is in no bin.
    lstm = xarray.Dataset({name: (DIMENSIONS, still) for name in ("input", "forget")})
    gru = xarray.Dataset({"update": (DIMENSIONS, still)}, attrs={"cell_type": "GRU"})
    found = stats.match_units(lstm.assign_attrs(cell_type="LSTM"), gru)
    np.testing.assert_allclose(found["quantiles"].sel(pair="kept"), middle)
    assert found["distance"].sel(pair="kept") == 0
    # Written is 1 - update: the other end.
    np.testing.assert_allclose(found["distance"].sel(pair="written"), 0.999)
    assert np.isnan(found["correlation"]).all()


# Where the data lie

CAPTURE = [
    stats.saturation,
    stats.entropy,
    stats.timescale,
    stats.memory_horizon,
    stats.gate_correlation,
    stats.dead_units,
    lambda gates: stats.gradient_flow(gates.assign_attrs(derivative_of="loss")),
    lambda gates: stats.summary(xarray.DataTree(gates)),
    lambda gates: stats.ranges(xarray.DataTree(gates)),
    lambda gates: stats.match_units(gates, GATED),
]
GATED = layer(GRU, shape=(200, 200, 64)).fillna(0.5)
NAMES = "saturation entropy timescale memory_horizon gate_correlation dead_units"
EACH = pytest.mark.parametrize(
    "measure",
    CAPTURE,
    ids=[*NAMES.split(), "gradient_flow", "summary", "ranges", "match_units"],
)


@EACH
@pytest.mark.parametrize("masked", [False, True])
def test_no_measure_needs_room_for_another_signal(measure, masked):
    gates = layer(LSTM, shape=(200, 200, 64)).drop_vars("mask")
    gates = gates if masked else gates.fillna(0.5)
    measure(gates.isel(sample=slice(2)))  # What is imported is not measured.
    tracemalloc.start()
    measure(gates)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 0.8 * gates["hidden"].nbytes


@EACH
def test_what_is_on_disk_is_read_a_few_samples_at_a_time(
    measure, tmp_path, monkeypatch
):
    gates = layer(LSTM, shape=(200, 200, 64)).isel(time=slice(50))
    gates.chunk(sample=50).to_zarr(tmp_path / "a.zarr", consolidated=False)
    stored = xarray.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False)
    monkeypatch.setattr(dimensions, "BLOCK_BYTES", 50 * gates["hidden"][0].nbytes)
    found = measure(stored)
    assert not any(array.variable._in_memory for array in stored.values())
    expected = measure(gates)
    if isinstance(expected, xarray.Dataset):
        xarray.testing.assert_allclose(found, expected, rtol=1e-12)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_many_blocks_are_joined_in_turns():
    values = np.arange(1200.0).reshape(40, 10, 3)
    gate = xarray.DataArray(values, dims=DIMENSIONS)
    found = reduce_blocks(lambda block: block[None].sum(axis=1), gate, size=3)
    np.testing.assert_array_equal(found[0], values.sum(axis=(0, 1)))


@pytest.mark.parametrize("shape", [(300, 2, 3, 4), (3, 40, 600, 4)])
@pytest.mark.parametrize("measure", [stats.entropy, stats.gate_correlation])
def test_every_step_of_training_is_measured_by_itself(measure, shape):
    gates = xarray.Dataset(
        {name: signal(STEPPED, shape, seed=n) for n, name in enumerate(LSTM.gates)},
        attrs={"cell_type": "LSTM"},
    )
    found = measure(gates)
    for step in (0, 1, shape[0] - 1):
        alone = measure(gates.isel(step=step))
        xarray.testing.assert_allclose(found.isel(step=step), alone, rtol=1e-12)


def test_chunks_are_reduced_one_by_one():
    array = pytest.importorskip("dask.array")
    read = []

    def of_block(values):
        read.append(len(values))
        return values.sum(axis=0, keepdims=True)

    chunked = xarray.DataArray(
        array.ones((4, 6, 1000), chunks=(2, 3, 500), dtype="float32"), dims=DIMENSIONS
    )
    found = reduce_blocks(of_block, chunked)
    assert max(read, default=0) <= 1  # A single row says what is found.
    read.clear()
    assert (found.compute(scheduler="synchronous") == 24).all()
    assert read == [6] * 8
