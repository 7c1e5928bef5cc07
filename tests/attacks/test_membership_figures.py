"""Attacks find on a fitted Gaussian what plain formulas find there; order and orientation follow."""

import math

import numpy as np
import pytest
import torch

from privagams.access import Access
from privagams.judge.intervals import auc
from privagams.settings import structure
from privagams.testing.closed_form import case, level_at, measured_auc
from privagams_attacks.membership.offers import components
from privagams_attacks.nearest import nearest_distance

OFFERS = {component.name: component for component in components()}
SEEDS = range(8)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def attack(name, **settings):
    offer = OFFERS[name]
    return offer.build(None if offer.settings is None else structure(settings, offer.settings))


def mean_auc(name, settings, kind="gaussian", **options):
    return float(np.mean([measured_auc(attack(name, **settings), kind, seed, **options) for seed in SEEDS]))


@pytest.mark.parametrize(
    ("name", "timestep", "mean", "deviation", "runs"),
    [
        ("loss", 100, 0.895, 0.026, 30),  # .818 with noises of each image's own: one for all tells more
        ("pia", 100, 0.911, 0.019, 10),
        ("pia", 200, 0.858, 0.026, 10),
        ("secmi", 100, 0.916, 0.017, 10),
        ("sima", 100, 0.911, 0.019, 10),
    ],
)
def test_the_answers_of_a_gaussian_betray_as_much_as_formulas_say(name, timestep, mean, deviation, runs):
    level = level_at(timestep)
    settings = {"levels": [level]} if name == "loss" else {"level": level}
    # Three standard errors of both means: of the figure over its own runs, and of these.
    tolerance = 3 * deviation * math.sqrt(1 / runs + 1 / len(SEEDS))
    assert mean_auc(name, settings, reference=0, released=1) == pytest.approx(mean, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "mean", "deviation", "runs"),
    [
        ("calibrated-distance", 0.698, 0.032, 30),
        ("monte-carlo", 0.632, 0.035, 10),
        ("domias", 0.967, 0.015, 10),
    ],
)
def test_the_release_of_a_gaussian_betrays_as_much_as_formulas_say(name, mean, deviation, runs):
    tolerance = 3 * deviation * math.sqrt(1 / runs + 1 / len(SEEDS))
    assert mean_auc(name, {}) == pytest.approx(mean, abs=tolerance)


def test_density_beats_calibrated_beats_plain_distance_on_a_gaussian():
    found = []
    for seed in SEEDS:
        made = case("gaussian", Access.RELEASED, seed)
        features = [made.world.features(None, r) for r in (made.world.candidates, made.target.released)]
        plain = -nearest_distance(*features)
        found.append(auc(plain[made.member], plain[~made.member]))
    assert mean_auc("domias", {}) > mean_auc("calibrated-distance", {}) + 0.1
    assert mean_auc("calibrated-distance", {}) > np.mean(found) + 0.01


def test_kernels_hide_less_of_single_images_than_a_gaussian():
    shown = [
        mean_auc("domias", {"density": density}, "kde", released=1000, reference=1000)
        for density in ("kde", "gaussian")
    ]
    assert shown[0] > shown[1] + 0.1


def test_sixteen_noises_tell_more_than_one():
    levels = [level_at(100)]
    few = mean_auc("loss", {"levels": levels, "noises": 1}, reference=0, released=1)
    many = mean_auc("loss", {"levels": levels}, reference=0, released=1)
    assert many > few + 0.1


def test_the_likelihood_of_a_gaussian_betrays_as_much_as_formulas_say():
    found = mean_auc("likelihood", {}, reference=0, released=1)
    assert found == pytest.approx(0.861, abs=3 * 0.024 * math.sqrt(1 / 30 + 1 / len(SEEDS)))
