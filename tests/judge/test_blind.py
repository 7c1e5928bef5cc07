import time

import numpy as np
import pytest

from privagams.evidence import Measurement
from privagams.judge.blind import Blind, _smoother, blind_baseline, plain_features


def images(rng, k, per_patient, shift=0.0, d=30):
    """Features of correlated images; those of members shifted."""
    member = rng.random(k) < 0.5
    owner = np.repeat(np.arange(k), per_patient)
    own = rng.normal(size=(k, d)) + shift * member[:, None]
    return own[owner] + rng.normal(size=(len(owner), d)), owner, member


def test_a_difference_without_any_release_is_found():
    blind = blind_baseline(*images(np.random.default_rng(1), 120, 4, shift=0.6), np.random.default_rng(2))
    assert blind.measurement.value > 0.8
    assert blind.measurement.low > 0.5
    assert blind.beats_chance


def test_blind_alarms_are_rare_also_with_ten_correlated_images_a_patient():
    """Nominal 5 %, 1,000 null baselines; members and non-members by coins."""
    rng = np.random.default_rng(3)
    p = [blind_baseline(*images(rng, 60, 10, d=20), rng).p_value for _ in range(1000)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)
    assert np.mean(np.array(p) <= 0.01) <= 0.01 + 2 * np.sqrt(0.01 * 0.99 / 1000)


def test_no_prediction_has_seen_its_own_patient():
    means = np.random.default_rng(4).normal(size=(40, 10))
    predicts = _smoother(means, np.random.default_rng(5))
    assert np.diag(predicts) == pytest.approx(0)
    # Calling everybody a member predicts nothing.
    assert predicts @ np.ones(40) == pytest.approx(np.zeros(40))


def test_a_thousand_permutations_take_well_under_a_second():
    rng = np.random.default_rng(6)
    features, owner, member = images(rng, 300, 2, d=200)
    start = time.process_time()
    blind_baseline(features, owner, member, rng)
    assert time.process_time() - start < 2


def test_too_few_patients_say_nothing():
    blind = blind_baseline(
        np.zeros((3, 2)), np.arange(3), np.array([True, False, False]), np.random.default_rng(0)
    )
    assert (blind.p_value, blind.measurement.low, blind.measurement.high) == (1.0, 0.0, 1.0)
    flat = blind_baseline(np.ones((20, 3)), np.arange(20), np.arange(20) < 10, np.random.default_rng(0))
    assert (flat.measurement.value, flat.p_value) == (0.5, 1.0)


def test_plain_features_are_what_they_are_called():
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (5000, 16, 24, 3), dtype=np.uint8)
    features = plain_features(pixels)
    assert (features.shape, features.dtype) == ((5000, 3 * 4 + 64), np.float32)
    assert features[7, :3] == pytest.approx(pixels[7].mean(axis=(0, 1)) / 255, abs=1e-5)
    assert features[7, 3:6] == pytest.approx(pixels[7].std(axis=(0, 1)) / 255, abs=1e-5)
    assert features[7, 12] == pytest.approx(pixels[7, :2, :3].mean() / 255, abs=1e-5)
    flat = plain_features(np.full((1, 8, 8, 1), 51, np.uint8))
    assert flat[0, 2:4] == pytest.approx([0, 0])
    assert plain_features(np.zeros((2, 5, 3, 1), np.uint8)).shape == (2, 4 + 15)
    assert plain_features(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 76)


def found(beats):
    return Blind(Measurement("blind-auc", 0.8, 0.7, 0.9, 60, chance=0.5), 0.001 if beats else 0.4)


@pytest.mark.parametrize("game", ["membership", "extraction", "linkage"])
def test_a_blind_attack_that_succeeds_makes_a_result_uninterpretable(make_truth, judged, game):
    about = make_truth()
    scores = np.random.default_rng(8).normal(size=60) + 6 * about.member
    verdict = judged(scores, about, game, epsilon=0.5, blind=found(True))
    assert not verdict.interpretable
    assert verdict.bounds == ()
    assert verdict.cap is None
    assert verdict.worst_off == ""
    assert verdict.sentence.startswith("Not interpretable: members differ from non-members already without")
    assert "blind-auc 0.80" in verdict.sentence
    plain = judged(scores, about, game, epsilon=0.5, blind=found(False))
    assert plain.interpretable
    assert len(plain.bounds) == 1


def test_the_blind_baseline_stands_beside_the_result_and_is_missed_only_without_it(make_truth, judged):
    scores = np.arange(60.0)
    without, beside = judged(scores, make_truth()), judged(scores, make_truth(), blind=found(False))
    assert "a blind baseline" in " ".join(without.not_tested)
    assert "a blind baseline" not in " ".join(beside.not_tested)
    assert "blind-auc" in {m.name for m in beside.measurements}


def test_linkage_of_copies_asks_no_blind_baseline(make_truth, judged):
    verdict = judged(np.eye(36, 60), make_truth(copies=True), "linkage", epsilon=1.0, blind=found(True))
    assert verdict.interpretable
    assert len(verdict.bounds) == 1
    assert "a blind baseline" not in " ".join(verdict.not_tested)
