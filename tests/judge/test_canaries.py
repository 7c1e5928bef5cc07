import json
import math

import attrs
import numpy as np
import pytest

from privagams.judge import canaries, canary_verdict, gate, guess_strength, largest_one_run, one_run
from privagams.judge.canaries import patients_as_canaries
from privagams.judge.gate import Bound
from privagams.judge.words import of_gate


def audit(mu, m=1000, epsilon=4.0, delta=1e-5, seed=1, **more):
    rng = np.random.default_rng(seed)
    included = rng.random(m) < 0.5
    return canary_verdict(
        rng.normal(size=m) + mu * included, included, release="r", attack="gradient-canaries",
        epsilon=epsilon, delta=delta, **more,
    )  # fmt: skip


def test_an_audit_shows_bounds_by_four_methods_each_with_its_assumption():
    verdict = audit(1.0)
    found = {m.name: m for m in verdict.measurements}
    assert list(found)[:4] == [
        "epsilon-lower-bound",
        "epsilon-lower-bound:f-dp",
        "epsilon-lower-bound:gaussian",
        "epsilon-lower-bound:clopper-pearson",
    ]
    for name in list(found)[:4]:
        assert (found[name].low, found[name].high) == (found[name].value, math.inf)
        assert (found[name].n, found[name].unit) == (1000, "canary")
        assert found[name].note.startswith("Holds")
    assert verdict.headline.name == "epsilon-lower-bound"
    assert (verdict.game, verdict.access, verdict.private, verdict.cap) == (
        "membership",
        "weights",
        False,
        4.0,
    )
    assert len(verdict.roc) > 50
    assert audit(1.0, private=True).private
    json.dumps(attrs.asdict(verdict))


def test_an_audit_says_in_words_what_it_found_and_could_have_found():
    quiet = audit(0.0)
    assert quiet.sentence.startswith("An audit with 1000 planted records found no leak (ε = 4 is claimed;")
    assert f"at most {largest_one_run(1000, 1e-5):.2f} could have been shown" in quiet.sentence
    loud = audit(3.0, epsilon=0.5)
    assert "shows a leak of at least ε =" in loud.sentence
    assert "more than was claimed, at 95 % confidence" in loud.sentence
    assert "nothing is claimed" in audit(3.0, epsilon=math.inf).sentence


def test_every_bound_says_what_it_could_have_shown_at_most():
    notes = {m.name: (m.value, m.note) for m in audit(30.0).measurements if m.name != "auc"}
    assert len(notes) == 4
    for value, note in notes.values():
        assert f"At most {value:.2f} could have been shown with 1000 canaries." in note
    quiet = audit(0.0).measurements[0]
    assert f"At most {largest_one_run(1000, 1e-5):.2f} could" in quiet.note


@pytest.mark.parametrize("family", [1, 20])
def test_a_smaller_delta_gives_the_gate_its_reach_and_leaves_the_printed_bound(family):
    plain = [audit(30.0, epsilon=2.0)] * family
    priced = [audit(30.0, epsilon=2.0, gate_epsilon=2.8, gate_delta=1e-9)] * family
    assert priced[0].measurements == plain[0].measurements
    assert (priced[0].sentence, priced[0].cap) == (plain[0].sentence, 2.0)
    assert not gate(plain).refused
    assert not any(test.could_refuse for test in gate(plain).tests)
    assert "none could have contradicted its claim" in of_gate(gate(plain))
    assert len(gate(priced).refused) == family
    assert all(test.could_refuse for test in gate(priced).tests)
    assert "at δ = 1e-09, where 2.8 is claimed" in of_gate(gate(priced))


def test_the_price_for_the_gate_is_given_whole_or_not_at_all():
    with pytest.raises(ValueError, match="expected both or neither"):
        audit(0.0, gate_epsilon=3.0)
    assert audit(3.0, gate_epsilon=math.inf, gate_delta=1e-9).bounds == ()


def test_canaries_enter_the_gate_and_break_a_claim_that_is_too_small():
    broken, kept = audit(3.0, epsilon=0.5), audit(3.0, epsilon=20.0)
    assert len(gate([broken]).refused) == 1
    assert "gradient-canaries on r: guesses that take an ε of at least" in of_gate(gate([broken]))
    assert not gate([kept]).refused
    test = gate([broken]).tests[0]
    assert 0.5 < test.lower == test.epsilon_shown < test.largest_epsilon
    assert test.largest_epsilon == pytest.approx(largest_one_run(1000, 1e-5, 0.001))
    assert gate([broken] * 20).tests[0].lower < test.lower
    assert gate([audit(3.0, epsilon=math.inf)]).tests == ()


def test_a_claim_kept_by_its_edge_is_seldom_refused():
    """Randomised response of ε = 1 at the level 0.05, 1,000 audits."""
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(1000):
        included = rng.random(400) < 0.5
        told = included ^ (rng.random(400) > 1 / (1 + math.exp(-1)))
        strength = guess_strength(told + 1e-3 * rng.random(400), included)
        refused += strength.lower(0.05) > 1.0
    assert 0.005 < refused / 1000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def test_the_strength_of_guesses_is_held_against_the_claim_itself():
    strength = guess_strength(np.arange(64.0), np.arange(64) >= 32)
    assert (strength.counts, strength.right) == ((2, 4, 8, 16, 32), (2, 4, 8, 16, 32))
    assert Bound("r", "a", strength, 3.0, 1e-5).cap == 3.0
    assert strength.best() == strength


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_null_audits_by_membership_coins_raise_few_alarms(share):
    """Nominal 5 %, 1,000 audits whose members are drawn with another probability than one half."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(1000):
        member = rng.random(200) < share
        alarms += patients_as_canaries(rng.normal(size=200), member, share, 0.0, rng)[0][0].value > 0
    assert alarms / 1000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def test_without_thinning_unequal_coins_raise_an_alarm_almost_always():
    """Four of five patients are members: whoever guesses "in" is right that often, and nothing leaks."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(100):
        member = rng.random(200) < 0.8
        alarms += one_run(200, 100, int(member[:100].sum()), 0.0) > 0
        assert patients_as_canaries(rng.normal(size=200), member, 0.8, 0.0, rng)[0][0].n < 130
    assert alarms > 90


def test_patients_enter_the_gate_as_canaries_where_a_smaller_delta_is_priced(make_truth, judged):
    rng = np.random.default_rng(9)
    about = make_truth(400, 200, member_share=0.5)
    scores = rng.normal(size=400) + 9 * about.member
    price = {"epsilon": 1.0, "gate_epsilon": 1.5, "gate_delta": 1e-9}
    assert [bound.note for bound in judged(scores, about, epsilon=1.0).bounds] == [""]
    assert len(judged(scores, about, "linkage", **price).bounds) == 1
    verdict = judged(scores, about, **price)
    assert [bound.note for bound in verdict.bounds] == ["", "patients as canaries"]
    assert [test.refused for test in gate([verdict]).tests] == [True, True]
    assert (verdict.bounds[1].cap, verdict.cap) == (1.5, verdict.bounds[0].cap)


def test_a_claim_kept_by_its_edge_is_seldom_refused_by_patients_of_unequal_coins():
    """Randomised response of ε = 1, seven of ten patients members; level 0.05, 1,000 releases."""
    rng, refused = np.random.default_rng(10), 0
    for _ in range(1000):
        member = rng.random(300) < 0.7
        told = member ^ (rng.random(300) > 1 / (1 + math.exp(-1)))
        strength = patients_as_canaries(told + 1e-3 * rng.random(300), member, 0.7, 0.0, rng)[1]
        refused += strength.lower(0.05) > 1.0
    assert 0.005 < refused / 1000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_patients_kept_are_members_by_a_fair_coin(monkeypatch, share):
    rng, kept = np.random.default_rng(8), []
    plain = canaries.guesses_right
    monkeypatch.setattr(canaries, "guesses_right", lambda s, i: (kept.append(i), plain(s, i))[1])
    for _ in range(100):
        member = rng.random(200) < share
        patients_as_canaries(rng.normal(size=200), member, share, 0.0, rng)
    sides = np.concatenate(kept)
    assert abs(sides.mean() - 0.5) < 3 * np.sqrt(0.25 / len(sides))
    assert len(sides) == pytest.approx(100 * 200 * 2 * min(share, 1 - share), rel=0.03)


def test_patients_as_canaries_state_what_they_could_have_shown():
    member = np.random.default_rng(5).random(400) < 0.5
    (found,), strength = patients_as_canaries(member * 1.0, member, 0.5, 0.0, np.random.default_rng(6))
    assert (found.name, found.n, found.high) == ("epsilon-lower-bound", 400, math.inf)
    assert found.value == found.low == pytest.approx(largest_one_run(400, 0.0))
    assert f"at most {found.value:.2f} could have been shown with 400 patients" in found.note
    assert "coin" in found.note
    assert patients_as_canaries(member * 1.0, member, 1.0, 0.0, np.random.default_rng(6)) == ([], None)
    assert strength.lower(0.05) == found.value, "the gate judges the same guesses by the same coins"


def test_membership_and_extraction_carry_the_bound_and_linkage_does_not(make_truth, judged):
    rng = np.random.default_rng(7)
    about = make_truth(400, 200, member_share=0.5)
    scores = rng.normal(size=400) + 3 * about.member
    for game in ("membership", "extraction"):
        verdict = judged(scores, about, game, epsilon=1.0)
        bound = next(m for m in verdict.measurements if m.name == "epsilon-lower-bound")
        assert bound.value > 1
        assert verdict.headline.name == "auc"
        assert "lower bound" not in " ".join(verdict.not_tested)
    names = {m.name for m in judged(scores, about, "linkage").measurements}
    assert "epsilon-lower-bound" not in names
    assert "lower bound" in " ".join(judged(scores, make_truth(400, 200)).not_tested)
