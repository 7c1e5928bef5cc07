import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from privagams.judge.membership import membership_like, resolves


def measured(scores, is_member, seed=0, permutations=2000):
    scores, is_member = np.asarray(scores, float), np.asarray(is_member)
    rng = np.random.default_rng(seed)
    found, p_value = membership_like(scores, is_member, rng, permutations=permutations)
    return {m.name: m for m in found}, p_value


def gaussian(rng, members, others, shift):
    scores = np.concatenate([rng.normal(shift, 1, members), rng.normal(size=others)])
    return scores, np.arange(members + others) < members


def test_the_gaussian_mechanism_is_attacked_as_well_as_theory_says():
    """μ = 1: AUC Φ(μ/√2) = 0.7602, TPR 0.3891 at FPR 0.1 and 0.0924 at 0.01."""
    found, p_value = measured(*gaussian(np.random.default_rng(1), 4000, 4000, 1.0))
    assert found["auc"].value == pytest.approx(0.7602, abs=0.01)
    assert found["tpr@0.1"].value == pytest.approx(0.3891, abs=0.03)
    assert found["tpr@0.01"].value == pytest.approx(0.0924, abs=0.025)
    assert found["tpr@0.1"].low < 0.3891 < found["tpr@0.1"].high
    assert p_value < 0.001


def test_constant_scores_tell_nothing():
    found, p_value = measured(np.ones(200), np.arange(200) < 100)
    assert (found["auc"].value, found["tpr@0.1"].value, found["worst-off"].value) == (0.5, 0, 0)
    assert p_value == 1


def test_low_false_positive_rates_are_reported_only_where_resolved():
    assert not resolves(41, 0.1)
    assert resolves(42, 0.1)
    found, _ = measured(*gaussian(np.random.default_rng(2), 60, 41, 1.0))
    assert set(found) == {"auc", "worst-off"}
    found, _ = measured(*gaussian(np.random.default_rng(2), 60, 60, 1.0))
    assert set(found) == {"auc", "tpr@0.1", "worst-off"}


def test_without_members_or_without_nonmembers_there_are_no_figures():
    assert measured(np.arange(5), np.ones(5, bool)) == ({}, 1.0)
    assert measured(np.arange(5), np.zeros(5, bool)) == ({}, 1.0)


def test_one_patient_a_side_gives_an_interval_that_admits_ignorance():
    found, _ = measured([1, 0], [True, False])
    assert found["auc"].high - found["auc"].low > 0.7


@pytest.mark.slow
def test_without_leakage_alarms_are_as_rare_as_they_should_be():
    """Nominal 5 %: the lower 97.5 % bound above one half, and the permutation p; 1,000 null audits."""
    rng = np.random.default_rng(3)
    bounds = tests = 0
    for seed in range(1000):
        found, p_value = measured(*gaussian(rng, 15, 12, 0.0), seed, permutations=199)
        bounds += found["auc"].low > 0.5
        tests += p_value <= 0.05
    assert bounds / 1000 <= 0.025 + 2 * np.sqrt(0.025 * 0.975 / 1000)
    assert tests / 1000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_tpr_intervals_cover_although_the_threshold_is_estimated(shift):
    rng = np.random.default_rng(4)
    truth = ndtr(shift + ndtri(0.1))
    hits = 0
    for seed in range(400):
        found, _ = measured(*gaussian(rng, 50, 60, shift), seed, permutations=1)
        hits += found["tpr@0.1"].low <= truth <= found["tpr@0.1"].high
    assert hits / 400 >= 0.95


def test_chance_of_tpr_and_worst_off_is_what_permutation_gives():
    found, _ = measured(*gaussian(np.random.default_rng(5), 80, 100, 1.0))
    assert found["tpr@0.1"].chance == pytest.approx(11 / 101, abs=0.01)
    assert found["worst-off"].chance == pytest.approx(1 / 101, abs=0.005)


def test_a_single_exposed_member_shows_among_the_worst_off():
    rng = np.random.default_rng(6)
    scores, is_member = gaussian(rng, 100, 100, 0.0)
    scores[:10] = 50
    found, _ = measured(scores, is_member)
    assert found["worst-off"].value >= 0.1
    assert found["worst-off"].low > found["worst-off"].chance


def test_members_who_score_lower_are_as_unlikely_by_luck_as_members_who_score_higher():
    scores, is_member = gaussian(np.random.default_rng(4), 60, 60, 1.0)
    higher, lower = measured(scores, is_member)[1], measured(-scores, is_member)[1]
    assert max(higher, lower) < 0.01
