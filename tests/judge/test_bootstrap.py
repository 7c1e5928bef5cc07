import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from privagams.judge import bootstrap
from privagams.judge.bootstrap import cluster_bootstrap_auc


def images(rng, patients, per_patient, shift=0.0, icc=0.6):
    """Scores of images, correlated within a patient."""
    member = np.arange(patients) < patients // 2
    owner = np.repeat(np.arange(patients), per_patient)
    own = np.sqrt(icc) * rng.normal(size=patients) + shift * member
    return own[owner] + np.sqrt(1 - icc) * rng.normal(size=len(owner)), owner, member


def test_one_replicate_is_the_weighted_auc(monkeypatch):
    rng = np.random.default_rng(1)
    scores, owner, member = images(rng, 20, 3)
    scores = scores.round(1)  # ties
    weights = rng.integers(0, 3, (5, 20)).astype(np.float32)
    monkeypatch.setattr(bootstrap, "_weights", lambda *_: weights)
    found = cluster_bootstrap_auc(scores, owner, member, 5, rng)
    expected = [roc_auc_score(member[owner], scores, sample_weight=w[owner]) for w in weights]
    assert found == pytest.approx(expected)


def test_each_side_is_drawn_as_often_as_it_has_patients():
    member = np.array([True] * 7 + [False] * 4)
    weights = bootstrap._weights(member, 500, np.random.default_rng(2))
    assert (weights[:, member].sum(axis=1) == 7).all()
    assert (weights[:, ~member].sum(axis=1) == 4).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.2)


def test_memory_is_bounded_and_blocks_leave_the_answer_alone(monkeypatch):
    scores, owner, member = images(np.random.default_rng(3), 30, 4)
    whole = cluster_bootstrap_auc(scores, owner, member, 300, np.random.default_rng(4))
    asked = []
    plain = bootstrap._weights
    monkeypatch.setattr(bootstrap, "_BLOCK", 1000)
    monkeypatch.setattr(bootstrap, "_weights", lambda m, n, r: (asked.append(n), plain(m, n, r))[1])
    parts = cluster_bootstrap_auc(scores, owner, member, 300, np.random.default_rng(4))
    assert max(asked) * 120 <= 1000
    assert len(parts) == 300
    assert (parts.mean(), parts.std()) == pytest.approx((whole.mean(), whole.std()), abs=0.02)


def test_images_of_one_patient_do_not_count_as_many_patients():
    scores, owner, member = images(np.random.default_rng(5), 60, 10)
    spread = cluster_bootstrap_auc(scores, owner, member, 500, np.random.default_rng(6)).std()
    alone = np.arange(len(scores))
    naive = cluster_bootstrap_auc(scores, alone, member[owner], 500, np.random.default_rng(6)).std()
    assert spread > 1.8 * naive


def test_a_side_without_images_gives_no_number():
    found = cluster_bootstrap_auc(np.arange(3.0), np.arange(3), np.ones(3, bool), 4, np.random.default_rng(0))
    assert np.isnan(found).all()


def test_the_bootstrap_covers_at_50_patients_a_side():
    """At least 92 %: images with intra-class correlation 0.6."""
    rng = np.random.default_rng(7)
    hits, runs = 0, 400
    big = images(rng, 40000, 2, shift=1.0)
    truth = roc_auc_score(big[2][big[1]], big[0])
    for _ in range(runs):
        scores, owner, member = images(rng, 100, 10, shift=1.0)
        low, high = np.quantile(cluster_bootstrap_auc(scores, owner, member, 200, rng), [0.025, 0.975])
        hits += low <= truth <= high
    assert hits / runs >= 0.92 - 2 * np.sqrt(0.92 * 0.08 / runs)
