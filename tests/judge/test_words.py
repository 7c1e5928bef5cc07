import numpy as np
import pytest
from attrs import evolve

from privagams.evidence import Measurement
from privagams.judge.verdict import Verdict
from privagams.judge.words import adversary


def verdict(attack, low, value, high, name="auc", chance=0.5, **more):
    found = Measurement(name, value, low, high, 100, chance=chance)
    return evolve(
        Verdict(
            "r", attack, "membership", "released", "", (found,), 0.01, None, f"An adversary does {attack}.",
            f"Worst of {attack}.", (), (),
        ),
        **more,
    )  # fmt: skip


def test_the_strongest_attack_speaks_for_the_release_with_its_worst_off():
    told = adversary([verdict("weak", 0.52, 0.6, 0.7), verdict("strong", 0.8, 0.85, 0.9)])
    assert told == "The strongest of 2 attacks (strong): an adversary does strong. Worst of strong."
    assert adversary([verdict("only", 0.8, 0.85, 0.9)]).startswith("The one attack made (only): an adversary")


def test_strength_is_the_way_from_guessing_to_certainty():
    linkage = verdict("linkage", 0.55, 0.6, 0.65, "top-1", 0.01)
    assert "(linkage)" in adversary([verdict("auc", 0.6, 0.7, 0.8), linkage])
    assert "(reversed)" in adversary([verdict("auc", 0.6, 0.7, 0.8), verdict("reversed", 0.05, 0.1, 0.2)])


def test_attacks_that_guess_leave_room_that_is_stated():
    told = adversary([verdict("a", 0.4, 0.5, 0.6), verdict("b", 0.3, 0.5, 0.75)])
    assert told.startswith("None of 2 attacks did better on these patients than guessing")
    assert "up to 50 % of the way from guessing to certainty (b:" in told
    assert adversary([verdict("a", 0.4, 0.5, 0.6)]).startswith("The one attack made (a) did no better")


def test_a_low_auc_that_is_certain_leaves_no_less_room_than_a_high_one():
    low, high = verdict("x", 0.2, 0.4, 0.55), verdict("x", 0.45, 0.6, 0.8)
    ways = [adversary([one, verdict("z", 0.49, 0.5, 0.51)]).split("up to ")[1][:4] for one in (low, high)]
    assert ways == ["60 %", "60 %"]


@pytest.mark.parametrize("change", [{"interpretable": False}, {"private": False}, {"measurements": ()}])
def test_what_cannot_be_interpreted_does_not_speak_for_the_release(change):
    strong = verdict("strong", 0.8, 0.85, 0.9, **change)
    assert adversary([strong]) == "No attack on this release gave a result that can be interpreted."
    assert "(weak)" in adversary([strong, verdict("weak", 0.52, 0.6, 0.7)])


def test_a_release_of_which_only_the_worst_case_was_tested_is_summed_up_by_that(make_truth, judged):
    only = judged(
        np.eye(36, 60), make_truth(copies=True, relation="same image", holds="all images"), "linkage"
    )
    assert adversary([only]) == only.sentence
    assert only.sentence.startswith("The worst case, in which the adversary already holds the very images")


def test_a_release_is_summed_up_from_real_verdicts(make_truth, judged):
    rng = np.random.default_rng(1)
    about = make_truth(400, 200, relation="other slide", member_share=0.5)
    near = rng.normal(size=400) + about.member
    told = adversary([judged(near, about, "linkage"), judged(rng.normal(size=400), about, "membership")])
    assert told.startswith(
        "The strongest of 2 attacks (a): the release is closer to other slides of these patients"
    )
    assert "of members score above every non-member" in told
