import numpy as np
import pytest
from scipy.spatial.distance import cdist

from privagams_attacks import nearest as module
from privagams_attacks.nearest import nearest, nearest_distance, nearest_distance_to_others


def brute(probes, gallery, k, owners=None):
    probes, gallery = np.asarray(probes, np.float64), np.asarray(gallery, np.float64)
    squared = np.stack([((row - gallery) ** 2).sum(axis=1) for row in probes])
    if owners is not None:
        squared[owners[0][:, None] == owners[1]] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squared, order, 1)), order


def features(kind, rng, probes, gallery, d):
    a, b = rng.normal(size=(probes, d)), rng.normal(size=(gallery, d))
    if kind == "far from the origin":
        return (1e3 + 1e-3 * a).astype(np.float32), (1e3 + 1e-3 * b).astype(np.float32)
    if kind == "with many ties":
        return np.round(a), np.round(b)
    if kind == "tiny":
        return 1e-25 * a, 1e-25 * b
    if kind == "near-duplicates":
        b = np.repeat(b[: gallery // 50], 50, axis=0)[:gallery] + 1e-9 * b
        return b[rng.permutation(gallery)[:probes]] + 1e-10 * a, b
    return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["plain", "far from the origin", "with many ties", "tiny", "near-duplicates"]
)
@pytest.mark.parametrize(("d", "k"), [(1, 1), (3, 4), (40, 1), (40, 3)])
def test_neighbours_are_those_that_double_precision_finds(kind, d, k):
    rng = np.random.default_rng(d + k)
    probes, gallery = features(kind, rng, 130, 3000, d)
    expected, positions = brute(probes, gallery, k)
    distances, found = nearest(probes, gallery, k)
    assert (found == positions).all()
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    assert distances.dtype == np.float64
    assert found.dtype == np.int64


def test_single_precision_alone_would_pick_a_wrong_neighbour():
    rng = np.random.default_rng(3)
    probes, gallery = features("near-duplicates", rng, 100, 2000, 30)
    _, positions = brute(probes, gallery, 1)
    a, b = probes.astype(np.float32), gallery.astype(np.float32)
    naive = ((b * b).sum(axis=1) - 2 * a @ b.T).argmin(axis=1)
    assert (naive != positions[:, 0]).any()
    assert (nearest(probes, gallery)[1] == positions).all()


def test_a_bound_without_margin_would_not_be_exact(monkeypatch):
    rng = np.random.default_rng(4)
    probes, gallery = features("near-duplicates", rng, 100, 2000, 30)
    _, positions = brute(probes, gallery, 1)
    monkeypatch.setattr(module, "_UNIT", 0.0)
    monkeypatch.setattr(module, "_TINY", 0.0)
    assert (nearest(probes, gallery)[1] != positions).any()


def test_ties_go_to_the_lowest_position_across_blocks():
    gallery = np.tile(np.arange(5.0)[:, None], (5000, 3))
    distances, positions = nearest(gallery[:5], gallery, 3)
    assert (distances == 0).all()
    assert positions.tolist() == [[i, i + 5, i + 10] for i in range(5)]


def test_constant_features_tie_at_zero():
    same = np.full((3000, 7), 3.3, np.float32)
    distances, positions = nearest(same, same, 2)
    assert (distances == 0).all()
    assert (positions == [0, 1]).all()


@pytest.mark.parametrize("k", [1, 3])
def test_pairs_of_one_owner_do_not_count(k):
    rng = np.random.default_rng(5)
    items, owner = rng.normal(size=(2500, 6)), rng.integers(0, 40, 2500)
    expected, positions = brute(items, items, k, (owner, owner))
    distances, found = nearest(items, items, k, owners=(owner, owner))
    assert (found == positions).all()
    assert distances == pytest.approx(expected, rel=1e-12)
    assert nearest_distance_to_others(items, owner) == pytest.approx(expected[:, 0], rel=1e-12)


def test_where_there_are_too_few_the_rest_is_infinitely_far():
    one = np.zeros((1, 2))
    assert nearest_distance_to_others(one, np.array([0])).tolist() == [np.inf]
    distances, positions = nearest(one, np.ones((2, 2)), 3)
    assert positions.tolist() == [[0, 1, -1]]
    assert distances[0, 2] == np.inf
    assert nearest(np.zeros((0, 2)), one)[0].shape == (0, 1)
    assert nearest_distance(one, np.zeros((0, 2))).tolist() == [np.inf]


def test_threads_and_memory_maps_change_nothing(tmp_path):
    rng = np.random.default_rng(6)
    probes, gallery = features("plain", rng, 1500, 20_000, 16)
    np.save(tmp_path / "gallery.npy", gallery)
    alone = nearest(probes, gallery, 2)
    shared = nearest(probes, np.load(tmp_path / "gallery.npy", mmap_mode="r"), 2, threads=2)
    assert all((a == b).all() for a, b in zip(alone, shared, strict=True))
    assert alone[0] == pytest.approx(np.sort(cdist(probes, gallery), axis=1)[:, :2], rel=1e-6)


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e20])
def test_features_beyond_single_precision_are_refused(bad):
    with pytest.raises(ValueError, match="standardise"):
        nearest(np.zeros((2, 3)), np.array([[0, 0, bad]]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='expected "n d" and "m d"'):
        nearest(np.zeros((2, 3)), np.zeros((2, 4)))
