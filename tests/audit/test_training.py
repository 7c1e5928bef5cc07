"""What an audit is: one training as for a release, canaries by coins of their own, and nothing left behind."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from privagams.audit import audit_mechanism
from privagams.audit.canaries import CanaryScores, Directions, evidence, flip_coins, sorted_by_score
from privagams.audit.door import CanaryMechanism
from privagams.audit.invented import invented_patients
from privagams.errors import StageError
from privagams.judge import audit_bounds
from privagams.judge.intervals import auc
from privagams.training import train
from privagams_dp.noisy_sum import GaussianSum
from privagams_dp.one_sum import OneSum


def told_apart(canaries):
    return auc(canaries.scores[canaries.included], canaries.scores[~canaries.included])


def test_coins_are_fair_independent_and_follow_no_seed():
    flips = []
    with torch.random.fork_rng(devices=[]):
        before = np.random.get_state()
        for _ in range(400):
            torch.manual_seed(1)
            np.random.seed(1)
            flips.append(flip_coins(101))
        np.random.set_state(before)
    flips = np.array(flips)
    assert flips.shape == (400, 101)
    assert 1e-7 < binom(flips.size, 0.5).cdf(flips.sum()) < 1 - 1e-7
    # Were halves balanced, the number of heads would not vary; were coins tied, it would vary more.
    assert abs(flips.sum(axis=1).var() / (101 / 4) - 1) < 6 * np.sqrt(2 / 400)
    assert len({row.tobytes() for row in flips}) == 400


def test_two_audits_of_one_seed_flip_different_coins(kit):
    first, second = (kit.audit(kit.noisy_sum()).canaries[0] for _ in range(2))
    assert not np.array_equal(first.included, second.included)
    assert not np.array_equal(first.scores, second.scores)


def test_the_audit_costs_and_claims_what_the_release_does(kit):
    found = kit.audit(kit.dp_sgd(8.0))
    assert 7.99 < found.claim.epsilon <= 8.0
    assert (found.sampling_rate, found.steps, found.clip_norm) == (12 / kit.patients, 60, 1.0)
    assert found.public_patients == kit.patients
    (noise,) = found.noise_multipliers
    assert found.noise_found[0] == pytest.approx(noise, rel=0.05)
    assert found.contribution == pytest.approx(1.0, abs=0.2)
    assert found.patients == "64 invented patients"


def test_canaries_of_one_noisy_sum_are_told_apart_as_well_as_theory_says(kit):
    found = kit.audit(kit.noisy_sum(8.0), canaries=2000)
    mu = 1 / found.noise_multipliers[0]
    assert told_apart(found.canaries[0]) == pytest.approx(norm.cdf(mu / np.sqrt(2)), abs=0.045)
    usual, sure = (
        {bound.method: bound.epsilon for bound in audit_bounds(
            found.canaries[0].scores, found.canaries[0].included, found.claim.delta, miss
        )}
        for miss in (0.05, 1e-8)
    )  # fmt: skip
    # Seven deviations apart in this order; f-dp and gaussian are only five.
    assert 1.5 < usual["one-run"] < min(usual["f-dp"], usual["gaussian"])
    assert max(sure.values()) < found.claim.epsilon


def test_canaries_of_a_noisy_training_are_told_apart(kit):
    found = kit.audit(kit.dp_sgd(8.0))
    assert 0.6 < told_apart(found.canaries[0]) < 0.95  # 0.77 ± 0.022 by coins and noise
    assert abs(told_apart(found.canaries[1]) - 0.5) < 0.25, "noise of ε = 8 hides single images"


@pytest.mark.parametrize(("rate", "noise"), [(1.0, 0.7), (0.2, 1.5)])
def test_evidence_is_the_logarithm_of_the_likelihood_ratio(rate, noise):
    x = np.linspace(-3, 5, 50)
    taken, left = norm(1, noise).pdf(x), norm(0, noise).pdf(x)
    np.testing.assert_allclose(
        evidence(x, noise, rate), np.log((1 - rate) + rate * taken / left), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("count", [7, 40])
def test_directions_are_unit_vectors_and_read_back_what_was_put_along_them(count, rng):
    like = [torch.zeros(3, 4), torch.zeros(8)]
    directions = Directions(like, count, rng)
    vectors = directions.vectors(np.arange(count), 2.0)
    assert [tuple(part.shape[1:]) for part in vectors] == [(3, 4), (8,)]
    flat = torch.cat([part.flatten(1) for part in vectors], dim=1)
    np.testing.assert_allclose(flat.norm(dim=1), 2.0, rtol=1e-6)
    read = np.stack([directions.along([part[i] for part in vectors]) for i in range(count)])
    np.testing.assert_allclose(np.diag(read), 2.0, rtol=1e-5)
    if count < 20:  # as many coordinates: each canary has its own
        np.testing.assert_array_equal(read, 2 * np.eye(count))


def test_more_canaries_than_coordinates_share_them_and_an_honest_mechanism_is_let_go(kit):
    found = kit.audit(kit.dp_sgd(8.0), canaries=3000)
    assert found.faults == ()
    assert told_apart(found.canaries[0]) > 0.6


def test_the_loop_never_sees_a_canary(kit, rng):
    mechanism = kit.dp_sgd(8.0, patients_per_step=kit.patients)
    watched = CanaryMechanism(mechanism, np.ones(50, dtype=bool), kit.patients, 0)
    door = watched.noisy_sum([torch.zeros(200)], 1e-6, kit.patients)
    for _ in range(3):
        np.testing.assert_array_equal(np.sort(door.sample(10)), np.arange(10))
        (total,) = door.release()
        assert float(total.norm()) == pytest.approx(np.sqrt(50), rel=1e-3), (
            "canaries stay in what is learnt from"
        )


def test_facts_do_not_tell_which_canaries_took_part(kit):
    found = kit.audit(kit.dp_sgd(8.0))
    facts = json.loads(json.dumps(found.to_facts(), allow_nan=False))
    assert [each["kind"] for each in facts["canaries"]] == ["gradient", "input"]
    for each, canaries in zip(facts["canaries"], found.canaries, strict=True):
        assert each["scores"] == sorted(canaries.scores.tolist())
        known = dict(zip(canaries.scores.tolist(), canaries.included.tolist(), strict=True))
        assert [known[score] for score in each["scores"]] == each["included"]
    assert "scores" not in repr(found.canaries[0])
    assert "included" not in repr(found.canaries[0])


def test_canaries_of_equal_score_are_written_in_random_order():
    """An order by coins would make of scores that say nothing the best or the worst of guesses."""
    included = np.arange(400) < 200
    canaries = CanaryScores("gradient", "", np.repeat([0.0, 1.0], 200), np.roll(included, 100))
    orders = [sorted_by_score(canaries) for _ in range(20)]
    ones = [sum(each["included"][:100]) for each in orders]
    assert all(each["scores"] == sorted(each["scores"]) for each in orders)
    assert len({tuple(each["included"]) for each in orders}) == 20
    # Half of 200 equal scores are included: the first 100 hold 50 of them, with a deviation of 3.5.
    assert abs(np.mean(ones) - 50) < 6 * 3.6 / np.sqrt(20)


def test_an_audit_leaves_nothing_behind(kit, tmp_path):
    kit.audit(kit.dp_sgd(8.0))
    assert list(tmp_path.iterdir()) == []
    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks  # torch hides the module
    assert not hooks


def test_reference_patients_are_trained_on_where_there_are_some(kit):
    people = invented_patients(kit.space, 150, seed=5)
    found = kit.audit(kit.dp_sgd(8.0), patients=people)
    assert found.patients == f"{kit.patients} reference patients", "never more than a release would have"
    assert found.faults == ()


def test_invented_patients_have_the_size_channels_and_labels_asked_for(kit):
    people = invented_patients(kit.space, 9, seed=1)
    assert people.shape == (8, 8, 1)
    assert len(people.patients) == 9
    assert set(people.column("label")) <= set(kit.space.classes)
    assert people.read().std() > 20
    np.testing.assert_array_equal(people.read(), invented_patients(kit.space, 9, seed=1).read())


def test_an_input_canary_that_is_learnt_scores_higher(kit, tmp_path, monkeypatch):
    """Next to no noise, and a model that learns each image: the loss tells who took part."""
    monkeypatch.setattr("privagams.training.train.plan_noise", _hardly_any_noise(train.plan_noise))
    mechanism = kit.dp_sgd(8.0, patients_per_step=kit.patients, clip_norm=1.0)
    generator = kit.Generator(300)
    people = invented_patients(kit.space, 4, seed=1)
    found = audit_mechanism(
        generator, mechanism, kit.space, kit.patients, people, 24, 0, tmp_path, lambda done, total: None
    )
    assert told_apart(found.canaries[1]) > 0.8


def _hardly_any_noise(plan):
    def planned(*given):
        from attrs import evolve

        return [evolve(dose, noise_multiplier=1e-3) for dose in plan(*given)]

    return planned


def test_phases_that_move_the_same_parameters_are_each_held_to_their_own_sums(kit):
    generator = kit.Generator(20, data=("members", "reference", "members"))
    found = kit.audit(kit.dp_sgd(8.0), generator=generator)
    assert found.faults == ()
    assert (found.steps, len(found.noise_multipliers)) == (40, 2)


def test_an_audit_without_canaries_is_refused(kit):
    with pytest.raises(StageError, match="expected at least one canary"):
        kit.audit(kit.noisy_sum(), canaries=0)


class UnclippedBlocks(GaussianSum):
    def add_blocks(self, vectors, patients, blocks):
        (total,) = self._parts()
        total.index_add_(0, blocks, vectors.double())


class SumWithoutClipping(OneSum):
    def noisy_sum(self, like, noise_multiplier, patients):
        return UnclippedBlocks(like, self.clip_norm, noise_multiplier, 1.0)


def test_canaries_come_by_the_way_that_patients_came(kit):
    """A sum by blocks that does not clip lets a canary in at its whole length, many times the clip norm."""
    found = kit.audit(kit.noisy_sum(made=SumWithoutClipping), canaries=64)
    assert found.contribution > 10
    assert kit.audit(kit.noisy_sum(), canaries=64).contribution < 3
