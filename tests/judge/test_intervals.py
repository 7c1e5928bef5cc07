import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binomtest

from privagams.judge.intervals import auc, auc_bound, auc_interval, auc_variance, mean_bound, mean_interval


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (1, 30), (15, 30), (850, 1000), (7, 7)])
def test_the_interval_of_yes_no_results_is_clopper_pearsons(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="exact")
    assert mean_interval(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("n", [5, 20, 100])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("groups", [1, 4])
def test_intervals_of_means_of_patient_averages_cover_near_nought_and_one(n, p, groups):
    rng = np.random.default_rng(n)
    # Patients differ: each has a rate of its own with mean p, and `groups` tries.
    rates = rng.beta(0.5 * p, 0.5 * (1 - p), (1000, n))
    values = rng.binomial(groups, rates).mean(axis=1) / groups
    covered = np.mean([low <= p <= high for low, high in (mean_interval(value, n) for value in values)])
    assert covered >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 1000)


def test_auc_counts_ties_half_and_equals_all_pairs():
    rng = np.random.default_rng(1)
    members, others = rng.integers(0, 6, 40), rng.integers(0, 5, 30)
    pairs = members[:, None] - others[None]
    assert auc(members, others) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_delongs_variance_equals_its_definition():
    rng = np.random.default_rng(2)
    members, others = rng.normal(1, 2, 25), rng.normal(size=18)
    wins = (members[:, None] > others[None]) * 1.0
    expected = wins.mean(axis=1).var(ddof=1) / 25 + wins.mean(axis=0).var(ddof=1) / 18
    assert auc_variance(members, others) == pytest.approx(expected)


def test_perfect_separation_of_few_patients_is_not_certainty():
    low, high = auc_interval(1.0, 0.0, 5, 5)
    assert 0.5 < low < 0.75
    assert high == 1.0
    assert auc_interval(0.0, 0.0, 5, 5) == pytest.approx((0.0, 1 - low))


def test_bounds_grow_tighter_with_patients_and_looser_with_confidence():
    lows = [auc_bound(1.0, 0.0, n, n, "low", 0.025) for n in (3, 10, 30, 100, 1000)]
    assert lows == sorted(lows)
    assert auc_bound(0.8, 0.002, 60, 60, "low", 1e-4) < auc_bound(0.8, 0.002, 60, 60, "low", 0.025)
    assert mean_bound(0.5, 20, "low", 1e-4) < mean_bound(0.5, 20, "low", 0.025)


@pytest.mark.slow
def test_auc_intervals_cover_93_to_97_percent():
    """Nominal 95 %, AUC ≤ 0.9, at least 50 patients a side, two spreads; 1,500 simulations each."""
    rng = np.random.default_rng(3)
    for truth in (0.5, 0.7, 0.9):
        for spread in (1.0, 2.0):
            for m, n in ((50, 50), (120, 70)):
                shift = ndtri(truth) * np.hypot(1, spread)
                hits = 0
                for _ in range(1500):
                    members, others = rng.normal(shift, spread, m), rng.normal(size=n)
                    low, high = auc_interval(auc(members, others), auc_variance(members, others), m, n)
                    hits += low <= truth <= high
                assert 0.93 <= hits / 1500 <= 0.975, (truth, spread, m, n)


@pytest.mark.parametrize("patients", [5, 10, 25])
@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95])
def test_auc_intervals_do_not_under_cover_with_few_patients(patients, truth):
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(600):
        members, others = rng.normal(ndtri(truth) * np.sqrt(2), 1, patients), rng.normal(size=patients)
        found, variance = auc(members, others), auc_variance(members, others)
        low, high = auc_interval(found, variance, patients, patients)
        hits += low <= truth <= high
    assert hits / 600 >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 600)
