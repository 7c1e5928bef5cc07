"""AUC with patients as the unit."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from privagams_metrics.patient_auc import count_wins, interval


def test_it_is_the_area_under_the_curve_averaged_over_classifiers(rng):
    diseased, patient = rng.random(80) < 0.4, rng.integers(0, 25, 80)
    scores = [np.round(rng.normal(diseased, 1), 1) for _ in range(3)]  # with ties
    wins = count_wins(scores, diseased, patient)
    expected = np.mean([roc_auc_score(diseased, one) for one in scores])
    assert wins.auc(np.ones(wins.patients)) == pytest.approx(expected)


def test_weights_count_patients_several_times(rng):
    diseased, patient = rng.random(40) < 0.5, np.repeat(np.arange(10), 4)
    scores = rng.normal(diseased, 1)
    weights = rng.integers(0, 4, 10).astype(float)
    rows = np.repeat(np.arange(40), weights[patient].astype(int))
    found = count_wins([scores], diseased, patient).auc(weights)
    assert found == pytest.approx(roc_auc_score(diseased[rows], scores[rows]))


def test_chance_lies_in_the_interval_of_meaningless_scores_as_often_as_it_should():
    missed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        diseased = np.arange(60) % 2 == 0
        _, low, high = interval(count_wins([rng.normal(size=60)], diseased, np.arange(60)), 200, rng)
        missed += not low <= 0.5 <= high
    assert missed <= 10


def test_images_of_one_patient_do_not_narrow_the_interval(rng):
    diseased, scores = np.arange(60) % 2 == 0, rng.normal(np.arange(60) % 2 == 0, 1)
    one = interval(count_wins([scores], diseased, np.arange(60)), 400, np.random.default_rng(0))
    many = interval(
        count_wins([scores.repeat(9)], diseased.repeat(9), np.arange(60).repeat(9)),
        400,
        np.random.default_rng(0),
    )
    assert many == pytest.approx(one)


def test_perfect_ranking_of_few_patients_is_not_called_certain():
    diseased = np.array([True] * 5 + [False] * 5)
    value, low, high = interval(
        count_wins([diseased * 1.0], diseased, np.arange(10)), 100, np.random.default_rng(0)
    )
    assert (value, high) == (1, 1)
    assert low < 0.8


def test_one_patient_with_the_disease_is_enough_for_an_interval():
    rng = np.random.default_rng(1)
    diseased = np.arange(20) == 3
    value, low, high = interval(count_wins([rng.normal(size=20)], diseased, np.arange(20)), 200, rng)
    assert np.isfinite([value, low, high]).all()
    assert low <= value <= high
    assert high - low > 0.3


def test_one_patient_alone_still_has_an_interval():
    rng = np.random.default_rng(1)
    diseased = np.array([True, False, False])
    value, low, high = interval(count_wins([np.array([1.0, 0.5, 2.0])], diseased, np.zeros(3)), 100, rng)
    assert (value, low < 0.2, high > 0.8) == (0.5, True, True)
