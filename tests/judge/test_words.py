import numpy as np
import pytest
from attrs import evolve

from privagams.evidence import Measurement
from privagams.judge.gate import Bound, Gate, Strength
from privagams.judge.gate import Tested as OneTest
from privagams.judge.membership import membership_like
from privagams.judge.verdict import Verdict
from privagams.judge.words import About, adversary, of_gate, sentence


def verdict(attack, low, value, high, name="auc", chance=0.5, p=0.01, **more):
    found = Measurement(name, value, low, high, 100, chance=chance)
    return evolve(
        Verdict(
            "r", attack, "membership", "released", "", (found,), p, None, f"An adversary does {attack}.",
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
    assert told.startswith(
        "None of 2 attacks, counted together, could be shown to do better on these patients"
    )
    assert "up to 50 % of the way from guessing to certainty (b:" in told
    assert adversary([verdict("a", 0.4, 0.5, 0.6)]).startswith("The one attack made (a) could not be shown")


def test_few_patients_of_whom_nothing_is_known_are_not_told_as_safe():
    few = verdict("a", 0.39, 0.81, 0.96, p=0.06)
    for told in (adversary([few]), adversary([few, verdict("b", 0.2, 0.5, 0.8, p=0.5)])):
        assert told.endswith("These are too few patients to tell.")
        assert "did no better" not in told
    assert "too few" not in adversary([verdict("a", 0.4, 0.5, 0.6, p=0.5)])
    assert "too few" not in adversary([few, verdict("b", 0.4, 0.5, 0.6, p=0.5)])


def test_few_patients_who_are_told_apart_are_not_told_as_too_few_to_say():
    about = About("membership", False, "", False)
    sure = [Measurement("auc", 0.85, 0.55, 0.97, 20, chance=0.5)]
    assert sentence(about, sure, (), 0.01).startswith("An adversary can tell members from non-members")
    open_ = [Measurement("auc", 0.85, 0.45, 0.97, 20, chance=0.5)]
    assert sentence(about, open_, (), 0.01).startswith("Too few patients (20)")


def null_report(rng, attacks=14):
    found, member = [], np.arange(40) < 20
    for at in range(attacks):
        measurements, p = membership_like(rng.normal(size=40), member, rng, permutations=399)
        found.append(evolve(verdict(f"a{at}", 0, 0, 0, p=p), measurements=tuple(measurements)))
    return found


def test_fourteen_attacks_that_know_nothing_seldom_succeed():
    """Nominal 5 %, 400 reports; by the intervals alone about every second one would tell of a success."""
    rng = np.random.default_rng(5)
    claimed = intervals = 0
    for _ in range(400):
        report = null_report(rng)
        claimed += not adversary(report).startswith("None of 14 attacks, counted together, could be shown")
        intervals += any(not v.headline.low <= 0.5 <= v.headline.high for v in report)
    assert claimed / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    assert intervals / 400 > 0.3


@pytest.mark.parametrize("sign", [1, -1])
def test_a_plain_leak_is_claimed_among_fourteen_whichever_way_it_points(make_truth, judged, sign):
    rng, about = np.random.default_rng(6), make_truth(100, 50)
    leak = evolve(judged(sign * (rng.normal(size=100) + 1.5 * about.member), about), attack="leak")
    told = adversary([*null_report(rng, 13), leak])
    assert told.startswith("The strongest of 14 attacks (leak): ")


def test_a_p_value_counts_once_for_every_attack():
    lucky = verdict("lucky", 0.55, 0.7, 0.85, p=0.02)
    assert "(lucky)" in adversary([lucky, verdict("b", 0.4, 0.5, 0.6)])
    told = adversary([lucky, verdict("b", 0.4, 0.5, 0.6), verdict("c", 0.4, 0.5, 0.6)])
    assert told.startswith("None of 3 attacks")


def test_the_easy_case_of_the_very_images_is_told_beside_the_headline(make_truth, judged):
    relation = np.where(np.arange(60) % 2, "same image", "other image")
    scores = np.random.default_rng(7).normal(size=(36, 60))
    scores[np.arange(1, 36, 2), np.arange(1, 36, 2)] += 9
    copies = judged(scores, make_truth(relation=relation, copies=True), "linkage")
    told = adversary([copies])
    assert told.startswith("The one attack made (a) could not be shown to do better")
    assert "In the easy case, where the adversary holds the very images" in told
    assert "a reaches top-1 1.00" in told
    luck = judged(
        np.random.default_rng(8).normal(size=(36, 60)), make_truth(relation=relation, copies=True), "linkage"
    )
    assert "easy case" not in adversary([luck])


def test_of_drawn_images_all_images_make_a_headline_that_says_so(make_truth, judged):
    about = make_truth(400, 200, holds="all images")
    found = judged(np.random.default_rng(9).normal(size=400) + 3 * about.member, about, "linkage")
    assert found.headline.name == "auc"
    assert "closer to all images of these patients, the training images among them, when" in adversary(
        [found]
    )


def some_tests(epsilon, count=1, largest=2.0):
    bound = Bound("r", "a", Strength("auc", 0.5, 0.0, 50, 50), epsilon, 0.0)
    return [OneTest(bound, 0.4, bound.cap, 0.0, largest)] * count


def test_tests_that_could_refuse_nothing_are_never_told_as_passed():
    none = of_gate(Gate(0.001, tuple(some_tests(8.0, 25))))
    assert "none could have contradicted its claim" in none
    assert "none contradicts" not in none
    assert "passed" not in none
    some = of_gate(Gate(0.001, (*some_tests(1.0, 3), *some_tests(8.0, 22))))
    assert "none contradicts its claim; for 3 of 25 the claim is low enough that they could have" in some
    assert "neither confirmed nor contradicted" in some
    assert "neither" not in of_gate(Gate(0.001, tuple(some_tests(1.0, 3))))


def test_a_fault_of_a_mechanism_is_told_apart_from_measured_bounds():
    for gate in (Gate(0.001, ()), Gate(0.001, tuple(some_tests(1.0)))):
        assert "REFUSED" not in of_gate(gate)
        assert "REFUSED apart from measured bounds: the mechanism of 2 releases was found at" in of_gate(
            gate, faults=2
        )


def test_attacks_that_cannot_be_interpreted_are_not_told_as_attacks_not_made():
    told = of_gate(Gate(0.001, ()), uninterpretable=4)
    assert "No release with a finite claim was attacked" not in told
    assert "for 4 attacks members differ from non-members already without any release" in told
    assert "Besides, for 1 attack members differ" in of_gate(
        Gate(0.001, tuple(some_tests(1.0))), uninterpretable=1
    )


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


def test_the_easy_case_stands_beside_a_headline_that_succeeds():
    easy = Measurement("auc", 1.0, 0.97, 1.0, 40, chance=0.5, note="same image")
    strong = verdict("strong", 0.6, 0.7, 0.8)
    both = evolve(strong, measurements=(*strong.measurements, easy), p_same_image=0.001)
    told = adversary([both])
    assert told.startswith(
        "The one attack made (strong): an adversary does strong. Worst of strong. In the easy case"
    )
    assert told.endswith("strong reaches auc 1.00 (95 % interval 0.97–1.00; guessing 0.50).")
    assert "easy case" not in adversary([evolve(both, p_same_image=0.06)])
