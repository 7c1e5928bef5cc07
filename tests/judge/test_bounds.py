import numpy as np
import pytest

from privagams.judge.bounds import (
    audit_bounds,
    clopper_pearson,
    gaussian_dp,
    gaussian_epsilon,
    guess_counts,
    guesses_right,
    largest_one_run,
    one_run,
    one_run_fdp,
)

METHODS = ("one-run", "f-dp", "gaussian", "clopper-pearson")
DELTA = 1e-5


def canaries(rng, m, mu=0.0):
    """Scores of the Gaussian mechanism, whose ε is known: N(μ, 1) if included, else N(0, 1)."""
    included = rng.random(m) < 0.5
    return rng.normal(size=m) + mu * included, included


def shown(scores, included, delta=DELTA, miss=0.05):
    return {bound.method: bound.epsilon for bound in audit_bounds(scores, included, delta, miss)}


@pytest.mark.parametrize(
    ("counts", "delta", "epsilon"),
    [
        ((1000, 600, 600), 1e-5, 5.2704),
        ((1000, 1000, 1000), 1e-5, 5.7823),
        ((1000, 100, 100), 1e-5, 3.4654),
        ((1000, 100, 90), 0.0, 1.6308),
        ((10000, 1000, 900), 1e-5, 2.0152),
    ],
)
def test_one_run_bounds_are_the_known_ones(counts, delta, epsilon):
    assert one_run(*counts, delta, 0.05) == pytest.approx(epsilon, abs=6e-5)


@pytest.mark.parametrize(
    ("corners", "best", "steinke", "best_fdp", "mahloujifar"),
    [
        (386, (3376, 2807), 1.13346, (406, 379), 2.164749),
        (374, (4666, 4499), 2.311945, (938, 934), 4.7218075),
        (140, (8233, 8223), 4.395568, (5436, 5436), 9.133752),
    ],
)
def test_bounds_on_exact_normal_scores_are_those_of_the_reference_implementation(
    corners, best, steinke, best_fdp, mahloujifar
):
    """Normal quantiles, shifted by 1, 2 and 4, 10,000 a side, δ = 1e-6.

    The ROC's hull has so many corners, each tested at 0.05 / corners; guesses and right ones at the best corner.
    """
    assert one_run(20000, *best, 1e-6, 0.05 / corners) == pytest.approx(steinke, abs=2e-6)
    assert one_run_fdp(20000, *best_fdp, 1e-6, 0.05 / corners) == pytest.approx(mahloujifar, abs=2e-6)


@pytest.mark.parametrize(
    ("n", "miss", "epsilon"),
    [
        (500, 0.01, 4.541915810224), (100, 0.01, 2.9112), (1000, 0.01, 5.2377), (5000, 0.01, 6.8493),
        (100, 0.05, 3.2813), (500, 0.05, 4.9056), (1000, 0.05, 5.6006),
    ],
)  # fmt: skip
def test_clopper_pearson_of_perfect_guesses_is_the_known_one(n, miss, epsilon):
    assert clopper_pearson(0, n, 0, n, 0.0, miss) == pytest.approx(epsilon, abs=6e-5)


def test_clopper_pearson_takes_the_better_of_two_directions():
    assert clopper_pearson(400, 500, 0, 500, 0.0) == clopper_pearson(0, 500, 400, 500, 0.0) > 3
    assert clopper_pearson(250, 500, 250, 500, 0.0) == 0
    assert clopper_pearson(500, 500, 0, 500, 0.0) == clopper_pearson(0, 0, 0, 0, 0.0) == 0


@pytest.mark.parametrize(
    ("mu", "epsilon"), [(0.25, 0.926), (0.5, 1.993), (1, 4.377), (2, 9.997), (3, 16.675)]
)
def test_gaussian_epsilon_is_the_known_one(mu, epsilon):
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(epsilon, abs=6e-4)


def test_a_tiny_mu_is_no_leak_and_no_crash():
    assert [gaussian_epsilon(mu, 1e-5) for mu in (-3.0, 0.0, 1e-12, 1e-3)] == [0, 0, 0, 0]
    assert gaussian_dp(50, 100, 50, 100, 1e-5) == 0
    assert gaussian_dp(100, 100, 0, 100, 1e-5) == 0


def test_gaussian_methods_are_left_out_where_no_gaussian_mechanism_is_pure():
    with pytest.raises(ValueError, match="delta"):
        gaussian_epsilon(1.0, 0.0)
    assert set(shown(*canaries(np.random.default_rng(1), 100), delta=0.0)) == {"one-run", "clopper-pearson"}


@pytest.mark.parametrize("bound", [one_run, one_run_fdp])
def test_impossible_counts_are_refused(bound):
    for counts in ((10, 11, 5), (10, 5, 6), (10, 5, -1)):
        with pytest.raises(ValueError, match="right ≤ guesses ≤ canaries"):
            bound(*counts, 1e-5)


def test_guess_counts_rest_on_the_number_of_canaries_alone():
    assert guess_counts(1000) == (31, 62, 125, 250, 500)
    assert guess_counts(40) == (1, 2, 5, 10, 20)
    assert [guess_counts(m) for m in (1, 2, 3, 4)] == [(1,), (1,), (1,), (1, 2)]


def test_the_top_is_guessed_in_and_the_bottom_out():
    scores, included = np.arange(64.0), np.arange(64) >= 32
    assert guesses_right(scores, included) == ((2, 4, 8, 16, 32), (2, 4, 8, 16, 32))
    assert guesses_right(scores, ~included)[1] == (0, 0, 0, 0, 0)
    middling = np.arange(64) >= 63
    assert guesses_right(scores, middling)[1] == (2, 3, 5, 9, 17)


def test_ties_do_not_follow_the_order_in_which_canaries_came():
    included = np.arange(1000) < 500
    _, right = guesses_right(np.zeros(1000), included)
    assert abs(right[-1] - 250) < 60
    assert max(shown(np.zeros(1000), included).values()) == 0


def test_an_audit_says_what_it_could_have_shown_at_most():
    assert largest_one_run(38, 0.0) == pytest.approx(one_run(38, 19, 19, 0.0, 0.01))
    always_right = np.arange(1000) < 500
    found = shown(always_right * 1.0, always_right)["one-run"]
    assert found == pytest.approx(largest_one_run(1000, DELTA))
    assert largest_one_run(0, 0.0) == 0
    assert largest_one_run(100, 0.0) < largest_one_run(1000, 0.0) < largest_one_run(10000, 0.0)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_very_few_canaries_show_nothing_and_break_nothing(m):
    for included in (np.zeros(m, bool), np.ones(m, bool)):
        assert max(shown(np.arange(m) * 1.0, included).values()) == 0


def alarms(audit, m, true_epsilon, runs=1000, seed=1, noise="normal", shift=0.0):
    """Share of audits whose bound exceeds the true ε, by method."""
    rng = np.random.default_rng(seed)
    count = {}
    for _ in range(runs):
        included = rng.random(m) < 0.5
        scores = getattr(rng, noise)(size=m) + shift * included
        for method, epsilon in audit(scores, included).items():
            count[method] = count.get(method, 0) + (epsilon > true_epsilon)
    return {method: number / runs for method, number in count.items()}


LIMIT = 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("m", [100, 1000])
def test_null_audits_raise_few_alarms_by_every_method(m):
    """Nominal 5 %, 1,000 audits of nothing."""
    found = alarms(shown, m, 0.0)
    assert set(found) == set(METHODS)
    assert max(found.values()) <= LIMIT


@pytest.mark.parametrize("m", [100, 1000])
def test_true_claims_of_a_gaussian_mechanism_are_seldom_exceeded(m):
    found = alarms(shown, m, gaussian_epsilon(1.0, DELTA), runs=100, shift=1.0)
    assert max(found.values()) <= 0.05


def test_only_bounds_that_assume_a_gaussian_mechanism_fail_on_another_one():
    """A Laplace mechanism of ε = 1: the assumption printed with two of the bounds is no formality."""
    found = alarms(shown, 1000, 1.0, runs=100, noise="laplace", shift=1.0)
    assert max(found["one-run"], found["clopper-pearson"]) <= 0.05
    assert min(found["f-dp"], found["gaussian"]) > 0.5


def test_the_null_audits_do_catch_a_bound_that_takes_the_best_of_all_guess_counts():
    """What other tools do: the largest bound over every number guessed in, each at 5 %."""

    def naive(scores, included):
        right = np.cumsum(included[np.argsort(-scores)]).tolist()
        # One bound of many suffices to be wrong; only those that can exceed 0 are computed.
        wrong = any(
            one_run(len(scores), r, v, 0.0, 0.05) > 0 for r, v in enumerate(right, 1) if v > 0.5 * r + 0.8 * r**0.5
        )  # fmt: skip
        return {"naive": float(wrong)}

    for m in (100, 1000):
        assert alarms(naive, m, 0.0, runs=400)["naive"] > 0.15


@pytest.mark.parametrize(
    ("mu", "m", "least"),
    [
        (1, 200, {"one-run": 0.68, "f-dp": 1.00, "gaussian": 1.1, "clopper-pearson": 0.33}),
        (1, 1000, {"one-run": 1.33, "f-dp": 1.83, "gaussian": 2.9, "clopper-pearson": 1.0}),
        (1, 4000, {"one-run": 1.73, "f-dp": 2.23, "gaussian": 3.5, "clopper-pearson": 1.5}),
        (2, 1000, {"one-run": 2.81, "f-dp": 4.20, "gaussian": 7.6, "clopper-pearson": 2.4}),
        (3, 4000, {"one-run": 4.55, "f-dp": 7.04, "gaussian": 14.6, "clopper-pearson": 4.4}),
    ],
)
def test_bounds_are_as_strong_as_they_should_be(mu, m, least):
    """Mean ε shown of the Gaussian mechanism, δ = 1e-5, 25 audits."""
    rng = np.random.default_rng(2)
    found = [shown(*canaries(rng, m, mu)) for _ in range(25)]
    for method, floor in least.items():
        assert np.mean([one[method] for one in found]) >= floor, method


def test_each_bound_says_what_it_assumes():
    for bound in audit_bounds(*canaries(np.random.default_rng(3), 64), DELTA):
        assert bound.assumption.startswith("Holds")
        assert "coin" in bound.assumption or "trial" in bound.assumption
