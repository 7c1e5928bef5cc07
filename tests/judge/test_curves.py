import numpy as np
import pytest

from privagams.judge.curves import rank, roc


def test_the_roc_passes_through_what_thresholds_give():
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    member = np.array([True, False, True, True, False, False])
    # Found alone, above the first non-member, has no place on a logarithmic axis.
    assert np.array(roc(scores, member)) * 3 == pytest.approx(
        np.array([(1, 1), (1, 2), (1, 3), (2, 3), (3, 3)])
    )


def test_ties_move_along_the_roc_together():
    assert roc(np.zeros(10), np.arange(10) < 5) == ((1.0, 1.0),)
    assert roc(np.array([1.0, 1.0, 0.0, 0.0]), np.array([True, False, True, False])) == ((0.5, 0.5), (1, 1))


def test_a_long_roc_is_thinned_evenly_over_powers_of_ten_and_never_flattered():
    rng = np.random.default_rng(1)
    member = np.arange(40000) < 20000
    scores = rng.normal(size=40000) + member
    points = roc(scores, member)
    x, y = np.array(points).T
    assert 100 < len(points) <= 200
    assert x[0] == 1 / 20000
    assert points[-1] == (1.0, 1.0)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    for share, found in points[::10]:
        threshold = np.quantile(scores[~member], 1 - share)
        assert found <= (scores[member] >= threshold).mean() + 2e-3
    assert (x < 1e-3).sum() > 15


def test_a_perfect_attack_has_a_roc_too():
    assert roc(np.arange(1000.0), np.arange(1000) >= 500)[-1] == (1.0, 1.0)
    assert len(roc(np.arange(1000.0), np.arange(1000) >= 500)) <= 200
    assert len(roc(np.r_[np.ones(500), -np.arange(500.0)], np.arange(1000) >= 500)) <= 200
    assert roc(np.arange(3.0), np.ones(3, bool)) == ()


def test_the_rank_curve_counts_patients_once_and_ties_by_expectation():
    patients = np.array(["a", "b", "c", "d"])
    everyone = np.ones(4, bool)
    scores = np.array([[9.0, 1, 1, 1], [9.0, 1, 1, 1], [1.0, 0, 0, 0]])
    points = dict(rank(scores, np.array(["a", "a", "b"]), patients, everyone))
    # a is always first; b ties for ranks 2 to 4.
    assert points == pytest.approx({1: 0.5, 2: 0.5 + 1 / 6, 3: 0.5 + 2 / 6, 4: 1.0})
    assert rank(scores, np.array(["x", "x", "x"]), patients, everyone) == ()


def test_the_rank_curve_of_guessing_is_straight_and_short():
    patients = np.array([f"p{i}" for i in range(1000)])
    points = rank(np.zeros((50, 1000)), patients[:50], patients, np.ones(1000, bool))
    assert len(points) <= 200
    assert all(found == pytest.approx(r / 1000) for r, found in points)
