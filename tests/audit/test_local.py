"""Whether the audit of a local mechanism finds every flaw it is there for, and accuses no sound one."""

import json

import numpy as np
import pytest

from privagams.audit import local
from privagams.audit.local import CANDIDATES
from privagams.errors import StageError
from privagams.judge import audit_bounds, local_verdicts
from privagams.judge.bounds import LOWER_BOUND
from privagams_dp.latent_gaussian import LatentGaussian
from privagams_dp.latent_laplace import LatentLaplace
from privagams_dp.latent_topk import LatentTopk
from privagams_dp.local_settings import LatentGaussianSettings, LatentLaplaceSettings, LatentTopkSettings

SIZE = 16_384
LINKAGE = "linkage of invented vectors"
HONEST = {
    "latent-laplace": lambda epsilon: LatentLaplace(LatentLaplaceSettings(epsilon=epsilon)),
    "latent-gaussian": lambda epsilon: LatentGaussian(LatentGaussianSettings(epsilon=epsilon, delta=1e-5)),
    "latent-topk": lambda epsilon: LatentTopk(LatentTopkSettings(epsilon=epsilon, delta=1e-5)),
}


def bounds(found):
    verdicts = local_verdicts(found.to_facts(), release="r")
    return {v.attack: next(m.value for m in v.measurements if m.name == LOWER_BOUND) for v in verdicts}


@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_the_flawed_cadp_rule_is_caught_by_linkage_and_by_coins(local_kit, epsilon):
    found = local_kit.audit(local_kit.cadp(epsilon), size=SIZE, patients=512)
    assert found.linkage.candidates == CANDIDATES == 1000
    share = found.linkage.right / found.linkage.trials
    assert share == pytest.approx({1.0: 0.735, 2.0: 1.0}[epsilon], abs=0.12)  # six deviations of 512 trials
    shown = bounds(found)
    assert shown[LINKAGE] > 7 > epsilon
    assert {LINKAGE, "every coordinate canaries", "smallest vector canaries"} <= local_kit.refused(found)


@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_a_norm_over_the_batch_alone_is_caught(local_kit, epsilon):
    found = local_kit.audit(local_kit.cadp(epsilon, factor=2), size=SIZE, patients=512)
    assert "every coordinate canaries" in local_kit.refused(found)
    assert "smallest vector canaries" not in local_kit.accused(found)


@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_a_missing_factor_of_two_alone_is_caught(local_kit, epsilon):
    found = local_kit.audit(local_kit.cadp(epsilon, per_image=True), size=SIZE, patients=1024)
    assert {"smallest vector canaries", "one coordinate canaries"} <= local_kit.refused(found)


@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_the_rule_with_both_put_right_is_not_accused(local_kit, epsilon):
    found = local_kit.audit(local_kit.cadp(epsilon, per_image=True, factor=2), size=SIZE, patients=128)
    assert local_kit.accused(found) == set()
    assert found.faults == ()


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_mechanism_is_not_accused(local_kit, name):
    found = local_kit.audit(HONEST[name](4.0), size=128, patients=32)
    assert local_kit.accused(found) == set()
    assert found.faults == ()
    assert found.claim.adjacency == "replace-one"
    assert 3.99 < found.claim.epsilon <= 4


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 8.0])  # and 4 above
@pytest.mark.parametrize("name", HONEST)
def test_no_honest_mechanism_is_accused_at_any_level(local_kit, name, epsilon):
    found = local_kit.audit(HONEST[name](epsilon), size=512, patients=128, classes=2, images=2)
    assert local_kit.accused(found) == set()
    assert found.faults == ()
    assert found.claim.epsilon <= epsilon


def test_a_short_vector_shows_nearly_all_that_is_claimed(local_kit, monkeypatch):
    """So that a claim of half of what is spent is found out, where one rule makes noise for vectors of any length."""
    monkeypatch.setattr(local, "MANY", 3000)
    canaries = local_kit.audit(HONEST["latent-laplace"](1.0), size=64, patients=8).canaries[0].found
    assert canaries.kind == "smallest vector"
    shown = {
        miss: next(
            b for b in audit_bounds(canaries.scores, canaries.included, 0.0, miss) if b.method == "one-run"
        )
        for miss in (0.05, 1e-8)
    }
    assert shown[0.05].epsilon > 0.45
    assert shown[1e-8].epsilon < 1.0


def test_vectors_that_are_not_clipped_are_caught(local_kit):
    found = local_kit.audit(local_kit.toy(1.0, clip=lambda rows: rows), patients=256)
    caught = {"smallest vector canaries", "every coordinate canaries", "one coordinate canaries"}
    assert caught <= local_kit.refused(found)


def test_noise_that_follows_the_data_is_caught(local_kit):
    found = local_kit.audit(
        local_kit.toy(2.0, scale=lambda rows, size, epsilon: max(np.ptp(rows), 1e-3) * size / epsilon)
    )
    assert "magnitude canaries" in local_kit.refused(found)


def test_a_row_that_changes_the_next_one_is_caught(local_kit):
    def together(rows):
        return rows * min(3 / np.abs(rows).max(initial=1e-9), 1.0)

    def loud(rows, size, epsilon):
        return 1e-3 if len(rows) > 1 else 6 * size / epsilon

    found = local_kit.audit(local_kit.toy(2.0, clip=together, scale=loud))
    assert "magnitude canaries" in local_kit.refused(found)


def test_labels_in_clear_are_caught_and_randomised_ones_are_not(local_kit):
    honest = local_kit.audit(local_kit.toy(1.0, label_epsilon=0.5), classes=2, images=2)
    assert honest.claim.epsilon == pytest.approx(1 + 2 * 0.5)
    assert local_kit.accused(honest) == set()
    assert honest.faults == ()
    clear = local_kit.toy(1.0, label_epsilon=0.5)
    made = clear.randomiser
    clear.randomiser = lambda *about: Clear(made(*about))
    assert "label canaries" in local_kit.refused(local_kit.audit(clear, classes=2))


class Clear:
    """Passes labels through."""

    def __init__(self, inner):
        self.event, self.per_element_epsilon, self.randomise = inner.event, None, inner.randomise

    def labels(self, labels, rng):
        return labels


def test_withheld_labels_give_no_canaries_and_no_fault(local_kit):
    found = local_kit.audit(local_kit.toy(1.0), classes=3)
    assert "label" not in {each.found.kind for each in found.canaries}
    assert found.faults == ()


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"refuses_nan": False}, "a vector that holds a NaN is not refused"),
        (
            {"noise": lambda rows, scale: np.random.default_rng().laplace(0, scale, (1, rows.shape[1]))},
            "images that are randomised together share noise",
        ),
        (
            {
                "noise": lambda rows, scale: (
                    np.random.default_rng().laplace(0, scale, rows.shape) * (np.arange(rows.shape[1]) > 4)
                )
            },
            "5 of 64 coordinates are released without any noise, or with the same every time",
        ),
        (
            {"noise": lambda rows, scale: np.random.default_rng(1).laplace(0, scale, rows.shape)},
            "noise starts over whenever the mechanism is made anew",
        ),
        ({"label_epsilon": 0.5, "seeded_labels": True}, "labels are randomised by a seed"),
        (
            {"cost": lambda epsilon, calls=[]: calls.append(1) or epsilon / len(calls)},
            "the stated cost changes",
        ),
        ({"clip": lambda rows: rows * np.inf}, "a vector of very large numbers comes out as no numbers"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_each_broken_promise_is_told(local_kit, parts, fault):
    with np.errstate(invalid="ignore", over="ignore"):
        found = local_kit.audit(local_kit.toy(1.0, **parts), patients=4, classes=3)
    assert any(text.startswith(fault) for text in found.faults), found.faults


def test_facts_of_a_local_audit_do_not_tell_the_coins(local_kit):
    found = local_kit.audit(local_kit.toy(4.0), patients=100)
    facts = json.loads(json.dumps(found.to_facts(), allow_nan=False))
    for kind, canaries in zip(facts["canaries"], found.canaries, strict=True):
        assert kind["scores"] == sorted(kind["scores"])
        assert sum(kind["included"]) == canaries.found.included.sum()
        assert kind["included"] != canaries.found.included.tolist()
    assert facts["linkage"] == {
        "right": found.linkage.right, "trials": 100, "candidates": 1000, "epsilon": 4.0, "delta": 0.0
    }  # fmt: skip
    assert "64 entries" in facts["dealings"]
    assert "100 every coordinate canaries" in facts["dealings"]


def test_coins_and_noise_of_a_local_audit_follow_no_seed(local_kit):
    one, other = (local_kit.audit(local_kit.toy(1.0), patients=100).canaries for _ in range(2))
    for first, second in zip(one, other, strict=True):
        assert (first.found.included != second.found.included).any()
        assert (first.found.scores != second.found.scores).any()


def test_all_images_of_a_patient_are_in_the_claim_and_in_the_trial(local_kit):
    found = local_kit.audit(local_kit.toy(3.0), images=3)
    assert found.claim.epsilon == pytest.approx(3.0)
    greedy = local_kit.toy(3.0)
    greedy.randomiser = lambda coordinates, classes, images: local_kit.toy(3.0).randomiser(
        coordinates, classes, 1
    )
    assert local_kit.audit(greedy, images=3).claim.epsilon == pytest.approx(9.0)


def test_the_linkage_verdict_is_held_against_the_number_of_candidates(local_kit):
    verdict = local_verdicts(
        local_kit.audit(local_kit.cadp(2.0), size=SIZE, patients=48).to_facts(), release="r"
    )[-1]
    assert (verdict.attack, verdict.headline.n, verdict.headline.chance) == (LINKAGE, 48, 1e-3)
    assert verdict.cap == pytest.approx(np.e**2 / (np.e**2 + 999))
    assert "each drawn from 1000" in verdict.sentence
    assert not verdict.private


def test_an_audit_of_nobody_is_refused(local_kit):
    with pytest.raises(StageError, match="at least one entry, one image and one patient"):
        local_kit.audit(local_kit.toy(1.0), patients=0)
