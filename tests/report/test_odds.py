import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privagams.report.data import Claim
from privagams.report.odds import (
    best_guess,
    claim_sentence,
    delta_warning,
    exact_sentence,
    most_found,
    percent_at_most,
    strength,
    strength_sentence,
)


def randomised_response(epsilon, delta):
    """The worst release that (ε, δ) allows: chances of its four outcomes if used, and if not used."""
    yes = (1 - delta) * math.exp(epsilon) / (1 + math.exp(epsilon))
    no = (1 - delta) / (1 + math.exp(epsilon))
    return [delta, yes, no, 0.0], [0.0, no, yes, delta]


@given(st.floats(0, 20), st.floats(0, 0.5))
def test_the_worst_release_that_a_claim_allows_reaches_the_best_guess_exactly(epsilon, delta):
    used, unused = randomised_response(epsilon, delta)
    right = sum(max(a, b) for a, b in zip(used, unused, strict=True)) / 2
    assert best_guess(Claim(epsilon, delta)) == pytest.approx(right, abs=1e-12)


@given(st.floats(0, 10), st.floats(0, 0.2), st.floats(0.001, 0.5))
def test_no_test_of_the_worst_release_finds_more_than_stated(epsilon, delta, alarms):
    used, unused = randomised_response(epsilon, delta)
    left, found = alarms, 0.0
    for a, b in sorted(zip(used, unused, strict=True), key=lambda pair: -pair[0] / max(pair[1], 1e-300)):
        share = min(1.0, left / b) if b > 0 else 1.0
        found, left = found + share * a, left - share * b
    assert most_found(Claim(epsilon, delta), alarms) == pytest.approx(found, abs=1e-9)


@given(st.floats(0, 12), st.floats(0, 0.9))
def test_the_sentence_never_promises_more_than_the_claim(epsilon, delta):
    claim = Claim(epsilon, delta)
    words = claim_sentence(claim)
    if delta > 0:
        # Certainty after one outcome may pass the limit with a probability above δ; only guesses are bounded.
        assert "sure" not in words
    if "at most" in words:
        stated = float(words.split("at most ")[1].split(" %")[0])
        assert stated >= 100 * best_guess(claim) - 1e-6


def test_the_sentence_for_epsilon_one_and_eight_is_as_known():
    assert "at most 73.2 % sure" in claim_sentence(Claim(1.0, 0.0))
    assert "guess right at most 99.97 % of the time" in claim_sentence(Claim(8.0, 1e-5))


def test_an_unbounded_claim_is_called_no_protection():
    for claim in (Claim(math.inf, 0.0), Claim(1.0, 1.0), Claim("inf", 0.0)):
        assert claim_sentence(claim).startswith("No mathematical protection")
        assert strength(claim) == "none"
        assert "no bound" in exact_sentence(claim)
        assert best_guess(claim) == most_found(claim, 0.01) == 1.0


def test_a_huge_epsilon_is_said_to_promise_almost_nothing():
    assert "almost nothing" in claim_sentence(Claim(800.0, 0.0))
    assert most_found(Claim(800.0, 1e-5), 0.01) == 1.0


def test_epsilon_of_five_and_more_is_called_weak_and_measurements_no_promise():
    assert strength(Claim(5.0, 1e-5)) == "weak on paper"
    assert "not a promise" in strength_sentence(Claim(5.0, 1e-5))
    assert strength(Claim(4.9, 1e-5)) == "moderate on paper"
    assert strength(Claim(1.0, 1e-5)) == "strong on paper"
    assert strength(Claim(1.0, 0.05)) == "weak on paper"


def test_a_replace_one_claim_speaks_of_one_patient_and_nobody_else_in_the_data():
    words = claim_sentence(Claim(2.0, 0.0, adjacency="replace-one"))
    assert (
        "whether the copies of one patient were made from this patient's images or from given others" in words
    )


def test_a_claim_for_another_unit_does_not_speak_of_patients():
    assert "patient" not in claim_sentence(Claim(2.0, 0.0, unit="image"))


def test_percentages_are_rounded_up():
    assert percent_at_most(0.5) == "50.0 %"
    assert percent_at_most(0.73101) == "73.2 %"
    assert percent_at_most(0.99961) == "99.97 %"
    assert percent_at_most(0.99995) == "more than 99.99 %"


def test_a_delta_that_allows_one_whole_patient_is_warned_about():
    assert "1/400" in delta_warning(Claim(1.0, 0.0025), 400)
    assert delta_warning(Claim(1.0, 0.0024), 400) is None
    assert delta_warning(Claim(math.inf, 1.0), 400) is None


@pytest.mark.parametrize(("epsilon", "delta"), [(math.nan, 0.0), (-1.0, 0.0), (1.0, 1.5), (1.0, -0.1)])
def test_a_claim_that_makes_no_sense_is_refused(epsilon, delta):
    with pytest.raises(ValueError, match=r"epsilon|delta"):
        Claim(epsilon, delta)
