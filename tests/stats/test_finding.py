"""Searches: units that follow a label, places that are alike, and pairs of layers."""

import itertools

import keras
import numpy as np
import pandas
import pytest
import xarray
from captured import layer, tree
from scipy.signal import lfilter
from scipy.stats import wasserstein_distance
from sklearn.metrics import roc_auc_score

import keras_gates
from keras_gates import stats
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM

DIMENSIONS = ("sample", "time", "unit")
once = pytest.mark.once


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def dataset(seed=0, shape=(6, 40, 5), **signals):
    data = {name: (DIMENSIONS, values) for name, values in signals.items()}
    data = data or {"hidden": (DIMENSIONS, noise(shape, seed))}
    return xarray.Dataset(data, attrs={"cell_type": "LSTM", "layer": "lstm"})


# Units that follow a label


@once
def test_auc_is_that_of_scikit_learn():
    gates = layer(LSTM, shape=(5, 9, 4))
    labels = noise(gates["cell"].shape[:2], 1) > 0.4
    table = stats.find_units(gates, labels)
    assert len(table) == 6 * gates.sizes["unit"]
    assert not table.duplicated(["signal", "unit"]).any()
    for row in table.itertuples():
        values = gates[row.signal].isel(unit=row.unit).values
        real = ~np.isnan(values)
        assert real.sum() < real.size  # Masked steps are left out.
        expected = roc_auc_score(labels[real], values[real])
        assert row.auc == pytest.approx(expected, abs=1e-9)
    strength = (table["auc"] - 0.5).abs()
    assert strength.is_monotonic_decreasing
    assert table["p_value"].is_monotonic_increasing


@once
def test_correlation_is_that_of_numpy():
    gates = layer(GRU, shape=(5, 9, 4))
    labels = noise(gates["hidden"].shape[:2], 1)
    for row in stats.find_units(gates, labels).itertuples():
        values = gates[row.signal].isel(unit=row.unit).values
        real = ~np.isnan(values)
        expected = np.corrcoef(labels[real], values[real])[0, 1]
        assert row.correlation == pytest.approx(expected, abs=1e-6)


@once
def test_p_is_the_share_of_shifts_at_which_the_best_unit_does_as_well():
    gates = dataset(shape=(2, 10, 3))
    gates["cell"] = gates["hidden"] ** 2
    labels = noise((2, 10), 7)
    table = stats.find_units(gates, labels)  # All 19 shifts, as there are no more.
    best = []
    for shift in range(1, 20):
        shifted = np.roll(labels.ravel(), shift)
        scores = [
            np.corrcoef(shifted, signal.values[..., unit].ravel())[0, 1]
            for signal in gates.values()
            for unit in range(3)
        ]
        best.append(np.abs(scores).max())
    for row in table.itertuples():
        expected = (1 + np.sum(np.array(best) >= abs(row.correlation))) / 20
        assert row.p_value == pytest.approx(expected)


@once
def test_the_unit_that_follows_is_found_and_no_other_is_believed():
    gates = dataset(shape=(8, 60, 30))
    labels = np.repeat(noise((8, 12), 3) > 0.5, 5, axis=1)
    gates["hidden"][..., 17] -= 2 * labels  # It falls silent then.
    table = stats.find_units(gates, labels)
    assert table.loc[0, ["signal", "unit"]].tolist() == ["hidden", 17]
    assert table.loc[0, "auc"] < 0.2 and table.loc[0, "p_value"] < 0.01
    assert (table["p_value"][1:] > 0.05).all()


@once
def test_slow_units_do_not_follow_slow_labels_by_chance():
    """Shuffling single steps would find such units in nearly every trial."""
    believed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        slow = lfilter([1], [1, -0.95], rng.normal(size=(1, 400, 11)), axis=1)
        gates, label = dataset(hidden=slow[:, 100:, :10]), slow[:, 100:, 10]
        found = stats.find_units(gates, label, n_permutations=200)
        believed += found.loc[0, "p_value"] < 0.05
    assert believed <= 6


@once
@pytest.mark.parametrize("masked", [False, True])
def test_units_of_whole_samples_do_not_follow_labels_of_whole_samples_by_chance(masked):
    """Shifts would believe a fifth of such units."""
    believed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        hidden = np.repeat(rng.normal(size=(24, 1, 6)), 15, axis=1)
        hidden += 0.1 * rng.normal(size=hidden.shape)
        if masked:
            hidden[:12, 10:] = np.nan
        label = xarray.DataArray(rng.random(24) > 0.5, dims="sample")
        found = stats.find_units(dataset(hidden=hidden), label, n_permutations=200)
        believed += found.loc[0, "p_value"] < 0.05
    assert believed <= 8


@once
def test_samples_change_places_only_with_those_of_equal_masks():
    gates = dataset(shape=(8, 5, 3))
    gates["hidden"][4:, 3:] = np.nan
    labels = noise((8, 5), 2)
    found = stats.find_units(gates, labels, n_permutations=4000)
    real = gates["hidden"].notnull().values[..., 0]
    orders = [
        np.concatenate([first, np.array(second) + 4])
        for first in itertools.permutations(range(4))
        for second in itertools.permutations(range(4))
    ]
    best = [
        max(
            abs(
                np.corrcoef(labels[order][real], gates["hidden"].values[real][:, u])[
                    0, 1
                ]
            )
            for u in range(3)
        )
        for order in orders
    ]
    for row in found.itertuples():
        expected = np.mean(np.array(best) >= abs(row.correlation) - 1e-9)
        assert row.p_value == pytest.approx(expected, abs=0.04)


@once
def test_the_order_of_dimensions_does_not_matter():
    gates = dataset(shape=(6, 20, 4))
    turned = gates.transpose("time", "unit", "sample")
    labels = noise((6, 20), 1)
    assert stats.find_units(turned, labels).equals(stats.find_units(gates, labels))
    found = [
        stats.find_similar_spans(
            xarray.DataTree(children={"a": xarray.DataTree(data)}),
            layer="a",
            units=[1, 3],
            span=(4, 9),
            sample=2,
        )
        for data in (gates, turned)
    ]
    assert found[0].equals(found[1]) and len(found[0]) > 5


@once
def test_perfect_units_score_one_and_are_in_their_order():
    labels = noise((6, 40), 1) > 0
    hidden = np.repeat(labels[..., None], 4, axis=-1) * np.array([1.0, -1, 1, 1])
    table = stats.find_units(dataset(hidden=hidden), labels)
    assert table["auc"].tolist() == [1, 0, 1, 1]
    assert table["unit"].tolist() == [0, 1, 2, 3]


@once
def test_labels_may_be_named_unknown_or_given_for_some_dimensions():
    gates = dataset()
    labels = noise((6, 40), 1) > 0
    named = xarray.DataArray(labels.T, dims=("time", "sample"))
    wanted = stats.find_units(gates, labels)
    assert stats.find_units(gates, named).equals(wanted)
    assert stats.find_units(gates, labels.astype(int), measure="auc").equals(wanted)
    hours = xarray.DataArray(np.arange(40) % 24 < 8, dims="time")
    every = np.broadcast_to(hours.values, (6, 40))
    assert stats.find_units(gates, hours).equals(stats.find_units(gates, every))
    some = labels.astype(float)
    some[2:] = np.nan
    few = stats.find_units(gates.isel(sample=slice(2)), labels[:2])
    assert stats.find_units(gates, some, measure="auc").equals(few)


@once
def test_the_type_of_the_labels_or_the_caller_chooses_the_measure():
    gates = dataset()
    inside = noise((6, 40), 1) > 0
    depth = inside.astype(int)
    for values in (
        inside,
        inside.tolist(),
        xarray.DataArray(inside, dims=DIMENSIONS[:2]),
    ):
        assert "auc" in stats.find_units(gates, values)
    for values in (depth, depth.tolist(), depth * 2, depth.astype(float), depth - 1):
        assert "correlation" in stats.find_units(gates, values)
    # A slice without the deeper levels has the column of the whole.
    depth[3:] *= 2
    for part in (slice(None), slice(3)):
        found = stats.find_units(gates.isel(sample=part), depth[part])
        assert list(found) == ["layer", "signal", "unit", "correlation", "p_value"]
    by_hand = stats.find_units(gates, inside.astype(int))
    assert stats.find_units(gates, inside, measure="correlation").equals(by_hand)
    with pytest.raises(ValueError, match="for `measure='auc'`; they range from 0 to 2"):
        stats.find_units(gates, depth, measure="auc")
    with pytest.raises(ValueError, match="`measure` must be one of 'auc', 'corr"):
        stats.find_units(gates, depth, measure="AUC")


@once
def test_layers_of_a_tree_share_one_correction(tmp_path):
    gates = tree()
    shape = gates["gru/hidden"].shape[:2]
    labels = noise(shape, 1) > 0
    table = stats.find_units(gates, labels)
    assert set(table["layer"]) == {"encoder/lstm", "gru"}
    gates.to_zarr(tmp_path / "store.zarr", consolidated=False)
    lazy = xarray.open_datatree(
        tmp_path / "store.zarr", engine="zarr", chunks={}, consolidated=False
    )
    # A store lists its groups in another order, which orders equal scores.
    tables = [
        found.sort_values(["layer", "signal", "unit"], ignore_index=True)
        for found in (stats.find_units(lazy, labels), table)
    ]
    pandas.testing.assert_frame_equal(*tables)


@once
def test_constant_units_and_numbers_that_are_none_are_last():
    gates = dataset(shape=(2, 30, 4))
    gates["hidden"][..., 1] = 0.5
    gates["hidden"][0, 3, 2] = np.nan
    gates["hidden"][0, 3, 3] = np.inf
    table = stats.find_units(gates, noise((2, 30), 2))
    assert table["unit"].tolist()[0] == 0
    assert table["correlation"][1:].isna().all() and table["p_value"][1:].isna().all()
    table = stats.find_units(gates, noise((2, 30), 2) > 0).set_index("unit")
    assert table.loc[1, "auc"] == 0.5
    assert np.isnan(table.loc[2, "auc"]) and np.isfinite(table.loc[3, "auc"])


@once
def test_labels_that_nothing_can_follow_are_refused():
    gates = dataset()
    with pytest.raises(ValueError, match="they are 1 at all 240 unmasked steps"):
        stats.find_units(gates, np.ones((6, 40), bool))
    with pytest.raises(ValueError, match="known at no unmasked step"):
        stats.find_units(gates, np.full((6, 40), np.nan))
    with pytest.raises(ValueError, match="known at no unmasked step"):
        stats.find_units(gates * np.nan, noise((6, 40)))
    with pytest.raises(
        ValueError, match=r"'sample': 6, 'time': 40\}; got .* \(6, 39\)"
    ):
        stats.find_units(gates, np.ones((6, 39)))
    wrong = xarray.DataArray(np.ones(39), dims="time")
    with pytest.raises(ValueError, match=r"got the shape \{'time': 39\}"):
        stats.find_units(gates, wrong)
    infinite = np.where(noise((6, 40)) > 0, np.inf, 0)
    with pytest.raises(ValueError, match="must be finite, or NaN .* are infinite"):
        stats.find_units(gates, infinite)
    with pytest.raises(ValueError, match="shape {'a': 6, 'b': 40}"):
        stats.find_units(gates, xarray.DataArray(noise((6, 40)), dims=("a", "b")))
    dates = xarray.DataArray(noise((6, 40)), dims=("sample", "time"))
    with pytest.raises(ValueError, match="and the same coordinates"):
        stats.find_units(
            gates.assign_coords(sample=range(6)),
            dates.assign_coords(sample=range(1, 7)),
        )
    apart = {"a": dataset(), "b": dataset(shape=(6, 7, 5))}
    with pytest.raises(ValueError, match="same samples and steps; got 'a', 'b'"):
        stats.find_units(
            xarray.DataTree.from_dict(apart), xarray.DataArray(range(6), dims="sample")
        )
    with pytest.raises(TypeError, match="Compare first, such as `labels == 'holiday'`"):
        stats.find_units(gates, np.full((6, 40), "holiday"))
    with pytest.raises(TypeError, match="must be an xarray DataTree"):
        stats.find_units(gates["hidden"].values, np.ones((6, 40)))
    with pytest.raises(ValueError, match="of one moment; it has 2 steps"):
        stats.find_units(gates.expand_dims(step=2), np.ones((6, 40)))
    with pytest.raises(ValueError, match="`n_permutations` must be at least 1"):
        stats.find_units(gates, np.ones((6, 40)), n_permutations=0)


# A network that counts a^n b^n, with weights set by hand


def counter():
    """An LSTM of one unit whose cell is the number of a less the number of b."""
    model = keras.Sequential(
        [keras.Input((None, 2)), keras.layers.LSTM(1, return_sequences=True)]
    )
    kernel = np.zeros((2, 4), "float32")
    kernel[:, 2] = 20, -20  # The candidate: 1 for a, -1 for b.
    open_gates = np.array([20, 20, 0, 20], "float32")
    model.layers[0].set_weights([kernel, np.zeros((1, 4), "float32"), open_gates])
    return model


def test_what_a_counting_cell_measures():
    model = counter()
    n = 50
    words = np.eye(2, dtype="float32")[[[0] * n + [1] * n] * 2]
    gates = keras_gates.capture(model, words)
    node = gates[model.layers[0].name]
    count = np.concatenate([np.arange(1, n + 1), np.arange(n - 1, -1, -1)])
    labels = xarray.DataArray(count, dims="time")
    found = stats.find_units(node.to_dataset(), labels).set_index("signal")
    assert found.loc["cell", "correlation"] == pytest.approx(1, abs=1e-6)
    assert found.index[0] == "cell"
    # Nothing fades, so each step weighs the same: 90 of 100 steps are 90 %.
    assert np.isinf(stats.timescale(node)["forget"].item())
    assert stats.memory_horizon(node)["memory_horizon"].item() == 89
    assert stats.saturation(node)["forget"].sel(side="right").item() == 1
    assert stats.entropy(node)["forget"].item() == pytest.approx(0, abs=1e-6)
    messages = str(stats.diagnose(gates))
    assert "100 % of 'forget'" in messages and "hardly ever erases" in messages
    assert "longest time scale" not in messages


# Places that resemble each other


@once
def test_match_finds_the_smallest_distances_of_a_slow_search():
    values = noise((3, 20, 4))
    values[1, 5] = np.nan
    gates = xarray.DataTree(children={"a": xarray.DataTree(dataset(hidden=values))})
    found = stats.find_similar_spans(
        gates, layer="a", units=[0, 2], span=(3, 7), sample=2, n_spans=50
    )
    wanted = values[2, 3:7][:, [0, 2]]
    slow = {}
    for sample in range(3):
        for start in range(17):
            window = values[sample, start : start + 4][:, [0, 2]]
            slow[sample, start] = np.sqrt(np.mean((window - wanted) ** 2))
    assert found["distance"].is_monotonic_increasing
    taken = [(2, 3)]
    for row in found.itertuples():
        assert row.stop == row.start + 4
        free = {
            place: distance
            for place, distance in slow.items()
            if not np.isnan(distance)
            and all(place[0] != i or abs(place[1] - t) >= 4 for i, t in taken)
        }
        assert row.distance == pytest.approx(min(free.values()), rel=1e-5)
        assert slow[row.sample, row.start] == pytest.approx(row.distance, rel=1e-5)
        taken.append((row.sample, row.start))
    assert not any(
        not np.isnan(slow[place])
        and all(place[0] != i or abs(place[1] - t) >= 4 for i, t in taken)
        for place in slow
    )


@once
def test_match_finds_a_copy_in_a_store(tmp_path):
    values = noise((30, 50, 6))
    values[21, 30:38] = values[4, 10:18]
    gates = xarray.DataTree(children={"a": xarray.DataTree(dataset(cell=values))})
    gates.to_zarr(tmp_path / "store.zarr", consolidated=False)
    lazy = xarray.open_datatree(
        tmp_path / "store.zarr", engine="zarr", consolidated=False
    )
    options = {"layer": "a", "units": range(6), "span": (10, 18), "sample": 4}
    found = stats.find_similar_spans(lazy, signal="cell", **options)
    assert found.loc[0, ["sample", "start", "stop", "distance"]].tolist() == [
        21,
        30,
        38,
        0,
    ]
    assert found.loc[1, "distance"] > 0.5 and len(found) == 10


@once
def test_find_similar_spans_refuses_spans_that_it_cannot_find():
    values = noise((3, 20, 4))
    values[0, 5] = np.nan
    gates = xarray.DataTree(children={"a": xarray.DataTree(dataset(hidden=values))})

    def search(**options):
        options = {"layer": "a", "units": 0, "span": (3, 5)} | options
        return stats.find_similar_spans(gates, **options)

    assert len(search(span=(0, 20), sample=1)) == 1  # Sample 2; sample 0 is masked.
    with pytest.raises(ValueError, match=r"path of a layer in `gates`, 'a'; got 'b'"):
        search(layer="b")
    with pytest.raises(ValueError, match="'lstm' lacks 'cell'"):
        search(signal="cell")
    with pytest.raises(ValueError, match=r"\(3, 6\) of sample 0 in 'a' has one"):
        search(span=(3, 6))
    with pytest.raises(IndexError, match="`units` must be from 0 to 3; got 4"):
        search(units=[1, 4])
    with pytest.raises(IndexError, match="`sample` must be from 0 to 2; got 3"):
        search(sample=3)
    for span in ((5, 5), (5, 21)):
        with pytest.raises(IndexError, match="0 <= start < stop <= 20"):
            search(span=span)
    with pytest.raises(ValueError, match="`span` must be at least 0; got -2"):
        search(span=(-2, 3))
    for span in (5, slice(0, 3), (1, 2, 3)):
        with pytest.raises(TypeError, match=r"`span` must be \(start, stop\); got"):
            search(span=span)
    with pytest.raises(ValueError, match="from 1 to 4 labels; got 0"):
        search(units=[])
    tree = xarray.DataTree(children={"outer": gates.copy()})
    with pytest.raises(ValueError, match="'outer' contains 'outer/a'"):
        stats.find_similar_spans(tree, layer="outer", units=0, span=(3, 5))
    with pytest.raises(TypeError, match="`gates` must be an xarray DataTree"):
        stats.find_similar_spans(dataset(), layer="a", units=0, span=(0, 2))


# An LSTM beside a GRU


@once
def test_correspondence_is_the_distance_of_scipy():
    lstm, gru = layer(LSTM, shape=(6, 9, 4)), layer(GRU, seed=1, shape=(6, 9, 4))
    found = stats.match_units(lstm, gru)
    values = {
        "kept": (lstm["forget"], gru["update"]),
        "written": (lstm["input"], 1 - gru["update"]),
    }

    def apart(left, right):
        left, right = left.values.ravel(), right.values.ravel()
        return wasserstein_distance(left[~np.isnan(left)], right[~np.isnan(right)])

    for pair, (left, right) in values.items():
        expected = apart(left, right)
        assert found["distance"].sel(pair=pair).item() == pytest.approx(
            expected, abs=2e-3
        )
        for kind, side in (("LSTM", left), ("GRU", right)):
            np.testing.assert_allclose(
                found["quantiles"].sel(pair=pair, cell_type=kind),
                np.nanquantile(side, found["quantile"], method="inverted_cdf"),
                atol=1e-3,
            )
    for unit, (partner, distance) in enumerate(
        zip(found["matched"].values, found["matched_distance"].values, strict=True)
    ):
        assert distance == pytest.approx(
            sum(
                apart(left.isel(unit=unit), right.isel(unit=partner))
                for left, right in values.values()
            ),
            abs=4e-3,
        )


@once
def test_shuffled_units_are_matched_again():
    rng = np.random.default_rng(0)
    keep = rng.beta(*np.array([[1, 2, 5, 9], [9, 3, 2, 1]]), size=(8, 50, 4))
    gru = {"update": (DIMENSIONS, keep)}
    gru = xarray.Dataset(gru, attrs={"cell_type": "GRU", "layer": "gru"})
    order = [2, 0, 3, 1]
    lstm = dataset(forget=keep[..., order], input=1 - keep[..., order])
    found = stats.match_units(lstm, gru)
    assert found["matched"].values.tolist() == order
    np.testing.assert_allclose(found["distance"], 0, atol=2e-3)
    np.testing.assert_allclose(found["correlation"], 1, atol=1e-6)
    named = [
        data.assign_coords(unit=range(4), time=np.arange(50) + 10 * n)
        for n, data in enumerate((lstm, gru.transpose("time", "sample", "unit")))
    ]
    np.testing.assert_allclose(stats.match_units(*named)["correlation"], 1, atol=1e-6)
    fewer = stats.match_units(lstm, gru.isel(unit=slice(2), sample=slice(3)))
    assert fewer["matched"].values.tolist() == [-1, 0, -1, 1]
    assert np.isnan(fewer["matched_distance"].values[[0, 2]]).all()
    assert np.isnan(fewer["correlation"]).all()  # Other samples were read.


@once
def test_correspondence_of_constants_is_known():
    """Zero weights: forget sigmoid(1), input, update and 1 - update a half."""
    lstm = dataset(
        forget=np.full((2, 3, 2), 0.7311), input=np.full((2, 3, 2), 0.5, "float32")
    )
    gru = xarray.Dataset(
        {"update": (DIMENSIONS, np.full((2, 3, 2), 0.5))}, attrs={"cell_type": "GRU"}
    )
    found = stats.match_units(lstm, gru)
    np.testing.assert_allclose(found["distance"], [0.2311, 0], atol=2e-3)


@once
def test_what_does_not_correspond_is_refused():
    lstm, gru = layer(LSTM), layer(GRU)
    with pytest.raises(ValueError, match="`lstm` must be one layer of kind LSTM; got"):
        stats.match_units(gru, lstm)
    with pytest.raises(ValueError, match="lacks 'input'. Name them in `capture"):
        stats.match_units(lstm[["forget"]], gru)
    with pytest.raises(ValueError, match="is masked, at least for one unit"):
        stats.match_units(lstm.where(False), gru)
    with pytest.raises(ValueError, match="'update' .* must lie between 0 and 1"):
        stats.match_units(lstm, gru + 1)
    with pytest.raises(ValueError, match="of one moment; it has 2 steps"):
        stats.match_units(lstm.expand_dims(step=2), gru)
