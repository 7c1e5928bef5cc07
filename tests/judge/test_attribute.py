import numpy as np
import pytest

from privagams.access import Scores
from privagams.judge.attribute import guessed


def scores_for(rng, truth, options, strength):
    """Noise, and `strength` (one number, or one per patient) more for the true option."""
    values = rng.normal(size=(len(truth), len(options)))
    values[np.arange(len(truth)), [options.index(v) for v in truth]] += strength
    return values


def measured(values, options, truth, member, seed=0, permutations=500):
    found, p_value, _, _ = guessed(
        values, options, np.asarray(truth), member, np.random.default_rng(seed), permutations
    )
    return {m.name: m for m in found}, p_value


SEX = ("f", "m")


def test_what_holds_for_everybody_is_no_excess():
    rng = np.random.default_rng(1)
    sex, member = rng.choice(SEX, 600), np.arange(600) < 300
    found, p_value = measured(scores_for(rng, sex.tolist(), SEX, 2.0), SEX, sex, member)
    assert found["accuracy"].value > 0.85
    assert found["control"].value > 0.85
    assert found["excess"].low == 0
    assert found["auc"].low < 0.5 < found["auc"].high
    assert found["accuracy"].chance == pytest.approx(0.5, abs=0.05)
    assert p_value > 0.05


def test_what_is_learned_of_members_alone_shows_as_excess():
    rng = np.random.default_rng(2)
    sex, member = rng.choice(SEX, 600), np.arange(600) < 300
    found, p_value = measured(scores_for(rng, sex.tolist(), SEX, 2.0 * member), SEX, sex, member)
    assert found["excess"].low > 0.5
    assert found["auc"].low > 0.7
    assert p_value < 0.01
    assert next(iter(found)) == "excess"


def test_patients_whose_value_is_not_known_or_no_option_are_left_out():
    sex = np.array(["f", "m", "", "x"] * 25)
    member = np.arange(100) % 8 < 4
    values = np.stack([sex == "f", sex == "m"], axis=1) * 1.0
    found, _ = measured(values, SEX, sex, member)
    assert (found["accuracy"].n + found["control"].n, found["auc"].n) == (50, 50)


def test_a_tie_is_no_right_guess_and_chance_follows_the_majority():
    sex = np.array(["f"] * 90 + ["m"] * 10)
    member = np.arange(100) % 2 == 0
    found, _ = measured(np.zeros((100, 2)), SEX, sex, member)
    assert found["accuracy"].value == 0
    always_f = np.tile([1.0, 0.0], (100, 1))
    found, _ = measured(always_f, SEX, sex, member)
    assert found["accuracy"].value == pytest.approx(0.9)
    assert found["accuracy"].chance == pytest.approx(0.9, abs=0.01)


def test_an_option_that_always_scores_high_does_not_hide_the_others_in_the_auc():
    rng = np.random.default_rng(3)
    sex, member = rng.choice(SEX, 400), np.arange(400) < 200
    values = scores_for(rng, sex.tolist(), SEX, 1.0 * member)
    plain, _ = measured(values, SEX, sex, member)
    moved, _ = measured(values * [1, 50] + [0, 1000], SEX, sex, member)
    assert moved["auc"].value == pytest.approx(plain["auc"].value)


def test_null_attacks_on_attributes_raise_few_alarms():
    rng = np.random.default_rng(4)
    alarms = 0
    for seed in range(1000):
        sex, member = rng.choice(SEX, 60), rng.random(60) < 0.5
        values = scores_for(rng, sex.tolist(), SEX, 1.0)
        alarms += measured(values, SEX, sex, member, seed, 199)[1] <= 0.05
    assert alarms / 1000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def test_the_verdict_says_in_words_whether_members_are_worse_off(make_truth, judged):
    rng = np.random.default_rng(5)
    sex = rng.choice(SEX, 800)
    about = make_truth(800, 400, attributes={"sex": sex})
    fair = Scores(scores_for(rng, sex.tolist(), SEX, 1.0), attribute="sex", options=SEX)
    verdict = judged(fair, about, "attribute", epsilon=1.0)
    assert verdict.sentence.startswith(
        "An adversary learns the sex of members no better than of patients who took no part"
    )
    assert verdict.headline.name == "excess"
    assert verdict.cap is None
    assert [bound.strength.statistic for bound in verdict.bounds] == ["auc"]
    leak = Scores(scores_for(rng, sex.tolist(), SEX, 2.0 * about.member), attribute="sex", options=SEX)
    assert "teaches the sex of members beyond" in judged(leak, about, "attribute").sentence


def test_an_attribute_that_nobody_knows_is_said_to_be_so(make_truth, judged):
    scores = Scores(np.zeros((60, 2)), attribute="sex", options=SEX)
    verdict = judged(scores, make_truth(), "attribute")
    assert verdict.measurements == ()
    assert verdict.sentence == "Nobody could be tested: the sex is known of no member, or of no non-member."
