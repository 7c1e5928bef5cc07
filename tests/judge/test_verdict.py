import json
import math

import attrs
import numpy as np
import pytest
from scipy.special import ndtri

from privagams.access import Scores
from privagams.errors import PluginError
from privagams.judge import Truth, gate, judge
from privagams.judge.gate import Bound, Gate, Strength
from privagams.judge.intervals import auc, auc_variance
from privagams.judge.words import of_gate, percent


def names(count):
    return np.array([f"p{i}" for i in range(count)])


def truth(count=60, members=36, relation="other slide", copies=False):
    kinds = np.full(count, relation) if isinstance(relation, str) else np.asarray(relation)
    return Truth(names(count), np.arange(count) < members, kinds, names(members) if copies else None)


def judged(scores, about, epsilon=math.inf, delta=0.0, game="linkage", seed=0):
    return judge(
        Scores(np.asarray(scores)),
        about,
        release="r",
        attack="a",
        game=game,
        access="released",
        epsilon=epsilon,
        delta=delta,
        rng=np.random.default_rng(seed),
    )


def linkable(strength, seed=1, count=60, members=36):
    scores = np.random.default_rng(seed).normal(size=(members, count))
    scores[np.arange(members), np.arange(members)] += strength
    return scores


def test_copies_that_are_linkable_are_said_to_be_so_in_plain_words():
    verdict = judged(linkable(9), truth(copies=True))
    assert verdict.sentence.startswith(
        "An adversary who holds other slides of these patients picks the right patient first in 100 % of"
    )
    assert "guessing would give 1.7 %" in verdict.sentence
    assert verdict.headline.name == "top-1"
    assert verdict.p_value < 0.001
    assert verdict.bounds == ()
    assert verdict.cap is None


def test_linkage_no_better_than_luck_is_called_luck():
    assert "no more than luck explains" in judged(linkable(0), truth(copies=True)).sentence


def test_drawn_images_give_an_auc_and_say_what_cannot_be_ruled_out():
    about = truth(400, 200)
    verdict = judged(np.random.default_rng(2).normal(size=400), about, epsilon=8.0, delta=1e-5)
    assert "was not found closer to members" in verdict.sentence
    assert f"up to {verdict.headline.high:.2f} cannot be ruled out" in verdict.sentence
    nearer = judged(np.random.default_rng(2).normal(size=400) + about.member, about)
    assert "closer to other slides of these patients when they are members" in nearer.sentence


def test_too_few_patients_are_said_to_be_too_few():
    verdict = judged([3, 1, 2, 4, 0, 1.5, 2.5], truth(7, 4))
    assert verdict.sentence.startswith("Too few patients (7) to say")
    verdict = judged(np.eye(3, 6), truth(6, 3, copies=True))
    assert "range is too wide" in verdict.sentence


def test_parts_of_one_image_are_marked_and_never_headlined():
    relation = np.where(np.arange(60) % 2, "same image", "other image")
    verdict = judged(linkable(2), truth(relation=relation, copies=True))
    assert verdict.headline.n == 18
    marked = [m for m in verdict.measurements if m.note.startswith("same image")]
    assert [m.name for m in marked] == ["top-1", "top-5", "mrr", "r-s", "worst-off"]
    only = judged(linkable(9), truth(relation="same image", copies=True))
    assert only.headline is None
    assert only.p_value is None
    assert "counts as no result" in only.sentence


def test_nobody_to_test_is_said_plainly():
    verdict = judged(np.zeros(5), truth(5, 5))
    assert verdict.measurements == ()
    assert verdict.sentence.startswith("Nobody could be tested")


def test_what_was_not_tested_is_listed():
    missing = " ".join(judged(np.arange(60.0), truth()).not_tested)
    assert "lower bound on ε" in missing
    assert "24 non-member patients are too few" in missing


@pytest.mark.parametrize(
    ("scores", "copies"), [(np.zeros(59), False), (np.zeros((36, 59)), True), (np.zeros(60), True)]
)
def test_scores_of_the_wrong_shape_name_the_attack(scores, copies):
    with pytest.raises(PluginError, match="attack 'a': expected scores of shape"):
        judged(scores, truth(copies=copies))


def test_scores_that_are_not_finite_are_refused():
    spoilt = Scores(np.zeros(60))
    spoilt.values[0] = np.nan
    with pytest.raises(PluginError, match="found 1 that are not"):
        judge(
            spoilt, truth(), release="r", attack="a", game="membership", access="released", epsilon=1.0, delta=0.0,
            rng=np.random.default_rng(0),
        )  # fmt: skip


def test_verdicts_are_plain_values():
    verdict = judged(np.arange(60.0), truth(), epsilon=2.0, delta=1e-5)
    assert json.loads(json.dumps(attrs.asdict(verdict)))["measurements"][0]["name"] == "auc"


def test_a_release_that_leaks_more_than_its_claim_is_refused():
    verdict = judged(
        np.random.default_rng(3).normal(size=60) + 6 * truth().member, truth(), epsilon=0.5, delta=1e-5
    )
    outcome = gate([verdict])
    assert [test.bound.release for test in outcome.refused] == ["r"]
    assert outcome.refused[0].epsilon_shown > 0.5
    assert "REFUSED" in of_gate(outcome)


def test_copies_that_are_all_linked_contradict_a_small_claim():
    outcome = gate([judged(linkable(9), truth(copies=True), epsilon=1.0, delta=1e-5)])
    assert len(outcome.refused) == 1
    assert not gate([judged(linkable(9), truth(copies=True), epsilon=12.0, delta=1e-5)]).refused


def test_a_yardstick_has_no_claim_to_break():
    outcome = gate([judged(linkable(9), truth(copies=True))])
    assert outcome.tests == ()
    assert not outcome.refused
    assert "no claim was put to the test" in of_gate(outcome)


def test_more_tests_make_each_one_stricter_and_the_reach_is_stated():
    one = judged(np.random.default_rng(3).normal(size=60) + 2 * truth().member, truth(), epsilon=0.1)
    alone, together = gate([one]), gate([one] * 20)
    assert together.tests[0].lower < alone.tests[0].lower
    assert together.largest_epsilon < alone.largest_epsilon < 3
    assert f"{alone.largest_epsilon:.2g}" in of_gate(alone)


def test_an_honest_large_claim_is_neither_confirmed_nor_contradicted_by_few_patients():
    outcome = gate([judged(np.arange(60.0)[::-1], truth(), epsilon=8.0, delta=1e-5)])
    assert not outcome.refused
    assert outcome.largest_epsilon < 8.0
    assert "neither confirmed nor contradicted" in of_gate(outcome)


@pytest.mark.parametrize("patients", [8, 30, 100])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_true_claims_pass_the_gate(patients, epsilon):
    """An adversary who gets all that the claim allows: at level 2 %, at most 2 % + 2 SE are refused."""
    rng = np.random.default_rng(4)
    cap = Bound("r", "a", Strength("auc", 0.5, 0.0, patients, patients), epsilon, 0.0).cap
    shift, refused, runs = ndtri(cap) * np.sqrt(2), 0, 1000
    for _ in range(runs):
        members, others = rng.normal(shift, 1, patients), rng.normal(size=patients)
        strength = Strength("auc", auc(members, others), auc_variance(members, others), patients, patients)
        refused += strength.lower(0.02) > cap
    assert refused / runs <= 0.02 + 2 * np.sqrt(0.02 * 0.98 / runs)


def test_shares_are_never_rounded_to_nought_or_all():
    assert [percent(x) for x in (0, 1, 0.9999, 0.0001, 0.62, 0.017, 0.03)] == [
        "0 %",
        "100 %",
        "over 99 %",
        "under 0.1 %",
        "62 %",
        "1.7 %",
        "3 %",
    ]


def test_no_bounds_no_reach():
    assert Gate(0.001, ()).largest_epsilon == 0
