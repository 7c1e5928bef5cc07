import numpy as np
import pytest

from privagams.judge.family import best_of


def nulls(rng, k, attacks, shared):
    """Attacks that know nothing and agree with each other as far as `shared` says."""
    common = rng.normal(size=k)
    return {
        f"a{i}": np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=k) for i in range(attacks)
    }


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_the_best_of_ten_null_attacks_raises_few_alarms(shared):
    """Nominal 5 %, 1,000 families: adjusted p of any attack, and the bound on the best."""
    rng = np.random.default_rng(1)
    tests = bounds = naive = 0
    for run in range(1000):
        member = rng.random(80) < 0.5
        family = best_of(nulls(rng, 80, 10, shared), member, rng, permutations=299)
        tests += min(family.adjusted_p.values()) <= 0.05
        bounds += family.low > 0.5
        if run < 100:
            alone = [best_of({n: s}, member, rng, 299) for n, s in nulls(rng, 80, 10, shared).items()]
            naive += min(a.adjusted_p[a.best] for a in alone) <= 0.05
    limit = 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)
    assert tests / 1000 <= limit
    assert bounds / 1000 <= limit
    # Without the correction the same attacks do alarm.
    assert naive / 100 > limit


def test_correlated_attacks_cost_less_than_as_many_independent_ones():
    member = np.arange(200) < 100
    rng = np.random.default_rng(2)
    signal = rng.normal(size=200) + 0.45 * member
    apart = nulls(rng, 200, 30, 0.0) | {"good": signal}
    copies = {f"c{i}": signal + 0.05 * rng.normal(size=200) for i in range(30)} | {"good": signal}
    assert best_of(copies, member, rng).adjusted_p["good"] < best_of(apart, member, rng).adjusted_p["good"]
    assert best_of(copies, member, rng).low > best_of(apart, member, rng).low


def test_the_best_attack_is_found_and_bounded_below_its_own_auc():
    rng = np.random.default_rng(3)
    member = np.arange(200) < 100
    family = best_of(nulls(rng, 200, 9, 0.0) | {"good": rng.normal(size=200) + 2 * member}, member, rng)
    assert family.best == "good"
    assert family.adjusted_p["good"] < 0.01
    assert 0.8 < family.low < 0.93
    assert min(p for name, p in family.adjusted_p.items() if name != "good") > 0.01


def test_bounds_hold_after_choosing_the_best_of_equal_attacks():
    rng = np.random.default_rng(4)
    missed, truth = 0, 0.7602  # Φ(1/√2)
    for _ in range(400):
        member = np.arange(120) < 60
        scores = {f"a{i}": rng.normal(size=120) + member for i in range(10)}
        missed += best_of(scores, member, rng, permutations=199).low > truth
    assert missed / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_constant_scores_and_a_single_attack_are_no_trouble():
    rng = np.random.default_rng(5)
    member = np.arange(20) < 10
    family = best_of({"flat": np.zeros(20)}, member, rng)
    assert (family.best, family.adjusted_p["flat"]) == ("flat", 1.0)
    assert family.low < 0.5
    with pytest.raises(ValueError, match="found 1, 20 and 0"):
        best_of({"flat": np.zeros(20)}, np.ones(20, bool), rng)


def test_an_attack_that_is_always_wrong_is_found_as_well_as_one_that_is_always_right():
    rng = np.random.default_rng(6)
    member = np.arange(200) < 100
    scores = nulls(rng, 200, 9, 0.0) | {"wrong": rng.normal(size=200) - 2 * member}
    family = best_of(scores, member, rng)
    assert (family.best, family.direction) == ("wrong", "lower")
    assert family.adjusted_p["wrong"] < 0.01
    assert 0.8 < family.low < 0.93
    scores["wrong"] *= -1
    right = best_of(scores, member, rng)
    assert right.direction == "higher"
    assert right.low == pytest.approx(family.low, abs=0.02)
