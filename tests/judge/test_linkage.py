import numpy as np
import pytest

from privagams.judge import Strength, linkage_cap
from privagams.judge.intervals import mean_bound, mean_interval
from privagams.judge.linkage import linkage, linkage_bound, rank_probes


def names(count):
    return np.array([f"p{i}" for i in range(count)])


def measured(scores, truth, patients, wanted=None, seed=0):
    wanted = np.ones(len(patients), bool) if wanted is None else wanted
    found, p_value = linkage(rank_probes(scores, truth, patients, wanted), np.random.default_rng(seed))
    return {m.name: m for m in found}, p_value


def test_a_perfect_attack_scores_one_and_its_interval_does_not_collapse():
    found, p_value = measured(np.eye(20), names(20), names(20))
    assert [found[name].value for name in ("top-1", "top-5", "mrr")] == [1, 1, 1]
    assert found["top-1"].low == pytest.approx(0.025 ** (1 / 20))
    assert found["top-1"].n == 20
    assert p_value < 0.001


def test_constant_scores_are_a_guess_at_random():
    found, p_value = measured(np.zeros((30, 40)), names(40)[:30], names(40))
    assert found["top-1"].value == pytest.approx(1 / 40)
    assert found["top-5"].value == pytest.approx(5 / 40)
    for name in ("top-1", "top-5", "mrr", "worst-off"):
        assert found[name].value == pytest.approx(found[name].chance)
    assert p_value == 1


def test_ties_count_by_their_expectation():
    # The true patient ties with one other for the first place: top-1 half the time, mean reciprocal rank 3/4.
    scores = np.array([[2.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    found, _ = measured(scores, names(1), names(7))
    assert found["top-1"].value == pytest.approx(0.5)
    assert found["mrr"].value == pytest.approx(0.75)


def test_ranks_agree_with_breaking_ties_at_random():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 4, (10, 12)).astype(float)
    found, _ = measured(scores, names(10), names(12))
    jittered = [
        measured(scores + 1e-6 * rng.random(scores.shape), names(10), names(12))[0] for _ in range(60)
    ]
    for name in ("top-1", "top-5", "mrr"):
        assert np.mean([run[name].value for run in jittered]) == pytest.approx(found[name].value, abs=0.04)


def test_patients_count_once_however_many_groups_they_have():
    # One patient with 99 groups, always found; one with a single group, never found.
    truth = np.array(["p0"] * 99 + ["p1"])
    scores = np.zeros((100, 8))
    scores[:, 0] = 1
    found, _ = measured(scores, truth, names(8))
    assert (found["top-1"].value, found["top-1"].n) == (0.5, 2)


def test_one_right_group_of_many_is_enough_for_the_risk_of_a_patient():
    """R_s counts patients with at least one success; by luck alone it grows with the number of groups."""
    scores = np.zeros((8, 10))
    scores[:, 9] = 1
    scores[0, 0] = 2
    found, _ = measured(scores, np.array(["p0"] * 4 + ["p1"] * 4), names(10))
    assert found["top-1"].value == pytest.approx(1 / 8)
    assert found["r-s"].value == pytest.approx(1 / 2)
    # Of ten candidates, one is named by all eight groups and one more by a single one.
    assert found["r-s"].chance == pytest.approx((2 + 1) / 20)
    ties, _ = measured(np.zeros((8, 10)), np.array(["p0"] * 4 + ["p1"] * 4), names(10))
    assert (ties["r-s"].value, ties["r-s"].chance) == pytest.approx((1 - 0.9**4,) * 2)


def test_patients_of_whom_the_adversary_holds_nothing_are_no_probes():
    truth = np.array(["p0", "unheard of", "p1"])
    found, _ = measured(np.eye(3, 6), truth, names(6))
    assert found["top-1"].n == 2
    wanted = np.array([True, False, True, True, True, True])
    assert measured(np.eye(3, 6), truth, names(6), wanted)[0]["top-1"].n == 1


def test_nobody_to_probe_gives_no_figures():
    assert measured(np.zeros((1, 4)), np.array(["nobody"]), names(4)) == ({}, 1.0)
    assert measured(np.zeros((0, 4)), np.array([], dtype=str), names(4)) == ({}, 1.0)


def test_chance_is_the_mean_of_the_simulated_null():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(25, 40))
    probes = rank_probes(scores, names(25), names(40), np.ones(40, bool))
    found = {m.name: m for m in linkage(probes, rng)[0]}
    rows = np.arange(25)
    simulated = [probes.top1[rows, rng.permutation(40)[probes.own]].mean() for _ in range(4000)]
    assert np.mean(simulated) == pytest.approx(found["top-1"].chance, abs=0.003)
    assert found["top-1"].chance == pytest.approx(1 / 40)


@pytest.mark.slow
def test_without_linkage_alarms_are_as_rare_as_they_should_be():
    """Nominal 5 %, 1,000 null audits with four correlated groups a patient."""
    rng = np.random.default_rng(5)
    alarms = 0
    for seed in range(1000):
        scores = np.repeat(rng.normal(size=(12, 20)), 4, axis=0) + 0.5 * rng.normal(size=(48, 20))
        probes = rank_probes(scores, np.repeat(names(12), 4), names(20), np.ones(20, bool))
        alarms += linkage(probes, np.random.default_rng(seed), permutations=199)[1] <= 0.05
    assert alarms / 1000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def test_top_1_intervals_cover_the_rate_of_the_attack():
    rng = np.random.default_rng(6)
    hits, runs, strength = 0, 400, 2.0
    truth = (strength + rng.normal(size=(200000, 1)) > rng.normal(size=(200000, 29))).all(axis=1).mean()
    for _ in range(runs):
        scores = rng.normal(size=(20, 30))
        scores[np.arange(20), np.arange(20)] += strength
        probes = rank_probes(scores, names(20), names(30), np.ones(30, bool))
        low, high = mean_interval(probes.top1[np.arange(20), probes.own].mean(), 20)
        hits += low <= truth <= high
    assert hits / runs >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / runs)


def test_the_worst_off_are_shown_beside_an_average_that_hides_them():
    scores = np.random.default_rng(7).normal(size=(60, 80))
    scores[np.arange(6), np.arange(6)] += 100
    found, _ = measured(scores, names(60), names(80))
    assert found["top-1"].value < 0.15
    assert found["worst-off"].value == pytest.approx(1)
    assert found["worst-off"].n == 6
    assert found["worst-off"].chance < 0.5
    assert found["worst-off"].chance < found["worst-off"].low < 1


def test_the_linkage_bound_is_that_of_the_lower_end_of_the_share():
    share, n, delta = 0.735, 1000, 1e-3
    found = linkage_bound(Strength("top-1", share, 0.0, n, 0), delta, "same image")
    low = mean_bound(share, n, "low", 0.05)
    assert found.value == found.low == pytest.approx(np.log((low - delta) * (n - 1) / (1 - low)))
    assert 7.5 < found.value < np.log(share * (n - 1) / (1 - share))
    assert (found.name, found.n, found.high) == ("epsilon-lower-bound", n, np.inf)
    assert found.note.startswith("same image; at most 12.7")  # ln(0.05^(1/n) · 999 / (1 − 0.05^(1/n)))


def test_who_always_names_the_same_patient_shows_nothing():
    for n in (1, 2, 20):
        assert linkage_bound(Strength("top-1", 1 / n, 0.0, n, 0), 0.0).value == 0


@pytest.mark.parametrize(("n", "epsilon"), [(50, 2.0), (20, 5.0), (300, 0.5)])
def test_a_linkage_bound_seldom_exceeds_a_true_claim(n, epsilon):
    """Each patient's name, randomised by n-ary randomised response, which reaches all that ε allows."""
    rng = np.random.default_rng(n)
    right = rng.binomial(n, linkage_cap(n, epsilon, 0.0), 2000) / n
    above = [linkage_bound(Strength("top-1", share, 0.0, n, 0), 0.0).value > epsilon for share in right]
    assert np.mean(above) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


def test_copies_with_a_claim_get_a_bound_for_headline_and_same_image_and_yardsticks_none(make_truth, judged):
    copies = make_truth(copies=True, relation=np.where(np.arange(60) < 30, "same image", "other slide"))
    verdict = judged(np.eye(36, 60), copies, "linkage", epsilon=1.0)
    headed, marked = [m for m in verdict.measurements if m.name == "epsilon-lower-bound"]
    assert (headed.n, marked.n) == (6, 30)
    assert marked.note.startswith("same image; ")
    assert verdict.headline.name == "top-1"
    assert not any("lower bound" in text for text in verdict.not_tested)
    only = judged(np.eye(36, 60), make_truth(copies=True, relation="same image"), "linkage", epsilon=1.0)
    assert not any("lower bound" in text for text in only.not_tested)
    free = judged(np.eye(36, 60), copies, "linkage")
    assert "epsilon-lower-bound" not in {m.name for m in free.measurements}
    assert any("lower bound" in text for text in free.not_tested)
