"""The judge as a whole: what it makes of honest nothing, of thresholds, and of degenerate scores."""

import numpy as np
import pytest

from privagams.access import Scores
from privagams.judge import Bound, Strength, linkage_cap

LIMIT = 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def image_means(rng, k, images):
    """One score per patient: the mean over `images` correlated ones that say nothing."""
    return (rng.normal(size=(k, 1)) + rng.normal(size=(k, images))).mean(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 10])
def test_null_audits_of_the_whole_judge_raise_few_alarms(make_truth, judged, images):
    """Nominal 5 %: p-value, interval of the AUC (two-sided) and bound on ε; 1,000 audits, members by coins."""
    rng = np.random.default_rng(images)
    p_values = intervals = bounds = 0
    for seed in range(1000):
        about = make_truth(100, 50, member_share=0.5)
        about.member[:] = rng.random(100) < 0.5
        found = judged(image_means(rng, 100, images), about, epsilon=1.0, delta=1e-5, seed=seed)
        p_values += found.p_value <= 0.05
        intervals += not found.headline.low <= 0.5 <= found.headline.high
        bounds += next(m.value for m in found.measurements if m.name == "epsilon-lower-bound") > 0
    assert max(p_values, intervals, bounds) / 1000 <= LIMIT


def test_calls_above_a_threshold_are_counted_beside_the_ranking(make_truth, judged):
    about = make_truth(400, 200)
    scores = np.random.default_rng(1).normal(size=400) + 2 * about.member
    found = {m.name: m for m in judged(Scores(scores, threshold=2.0), about, "extraction").measurements}
    assert found["found"].value == (scores[:200] > 2).mean()
    assert found["control"].value == (scores[200:] > 2).mean()
    assert found["excess"].low > 0.3
    plain = judged(scores, about, "extraction")
    assert "found" not in {m.name for m in plain.measurements}
    told = judged(Scores(scores, threshold=2.0), about, "extraction").sentence
    assert told.startswith(
        "The release repeats images of members more closely than of patients who took no part"
    )
    assert told.removeprefix(plain.sentence).startswith(" By its own threshold it calls")


def test_calls_on_copies_count_a_candidate_named_by_any_group(make_truth, judged):
    about = make_truth(copies=True)
    values = np.zeros((36, 60))
    values[np.arange(18), np.arange(18)] = 1
    values[3, 50] = 1
    found = {m.name: m for m in judged(Scores(values, threshold=0.5), about, "linkage").measurements}
    assert found["found"].value == 0.5
    assert found["control"].value == pytest.approx(1 / 24)


def test_equal_scores_are_said_to_be_equal(make_truth, judged):
    for game, copies in (("membership", False), ("linkage", True)):
        verdict = judged(np.zeros((36, 60) if copies else 60), make_truth(copies=copies), game)
        assert "every score is the same" in verdict.headline.note
        assert verdict.sentence.startswith("This attack gave every patient the same score")
        assert verdict.p_value == 1
    marked = judged(np.zeros((36, 60)), make_truth(copies=True, relation="same image"), "linkage")
    assert marked.headline is None
    assert marked.measurements[0].note == "same image; every score is the same"


@pytest.mark.parametrize(
    ("count", "members", "reason"),
    [
        (5, 5, "5 members of whom images are held and no non-members"),
        (5, 0, "5 non-members of whom images are held and no members"),
        (1, 1, "more than one patient"),
        (0, 0, "more than one patient"),
    ],
)
@pytest.mark.parametrize("game", ["membership", "linkage", "extraction"])
def test_nobody_to_compare_is_said_with_the_reason(make_truth, judged, count, members, reason, game):
    verdict = judged(np.arange(count) * 1.0, make_truth(count, members, member_share=0.5), game, epsilon=1.0)
    assert verdict.sentence.startswith("Nobody could be tested:")
    assert reason in verdict.sentence
    assert (verdict.measurements, verdict.bounds, verdict.headline, verdict.p_value) == ((), (), None, None)
    assert (verdict.roc, verdict.rank, verdict.worst_off) == ((), (), "")


def test_copies_of_nobody_whom_the_adversary_knows_are_no_crash(make_truth, judged):
    for count, members in ((1, 1), (3, 0)):
        verdict = judged(np.ones((members, count)), make_truth(count, members, copies=True), "linkage")
        assert "the adversary holds images of none of the released patients" in verdict.sentence


def test_curves_come_with_the_verdict(make_truth, judged):
    drawn = judged(np.arange(60.0)[::-1], make_truth())
    assert drawn.roc[-1] == (1.0, 1.0)
    assert drawn.rank == ()
    copies = judged(np.eye(36, 60), make_truth(copies=True), "linkage")
    assert copies.rank[0] == (1.0, 1.0)
    assert copies.roc == ()


def test_the_cap_is_that_of_the_headline(make_truth, judged):
    copies = make_truth(copies=True, relation=np.where(np.arange(60) < 30, "same image", "other slide"))
    verdict = judged(np.eye(36, 60), copies, "linkage", epsilon=1.0)
    # Six probes are left for the headline.
    assert verdict.headline.n == 6
    assert verdict.cap == pytest.approx(np.e / (np.e + 5))
    assert [bound.note for bound in verdict.bounds] == ["", "same image"]
    only = judged(np.eye(36, 60), make_truth(copies=True, relation="same image"), "linkage", epsilon=1.0)
    assert only.cap is None


def test_an_honest_release_of_which_few_patients_are_probed_is_not_refused():
    """1,000 copies that say nothing; images of 20 of the patients are held, and the adversary guesses among these.

    A cap for 1,000 patients on the share of those 20 would refuse every fourth such release at the level 0.001.
    """
    rng = np.random.default_rng(2)
    refused = wrongly = 0
    for _ in range(1000):
        strength = Strength("top-1", rng.binomial(20, 1 / 20) / 20, 0.0, 20, 0)
        refused += strength.lower(0.001) > Bound("r", "a", strength, 0.0, 0.0).cap
        wrongly += strength.lower(0.001) > linkage_cap(1000, 0.0, 0.0)
    assert refused <= 5
    assert wrongly > 150
