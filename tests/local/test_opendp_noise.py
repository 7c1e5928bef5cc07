"""Noise on a grid: exact, fresh, from OpenDP alone."""

import math
import random

import numpy as np
import pytest
import torch
from opendp.mod import GLOBAL_FEATURES

from privagams_dp.opendp_noise import gaussian, grid_for, laplace, stated_by

GRID = 2.0**-20


@pytest.mark.parametrize("make", [laplace, gaussian])
def test_noise_is_fresh_in_every_entry_row_and_call(make):
    noise = make(GRID, 3 / GRID)
    steps = np.zeros((3, 20_000), dtype=np.int64)  # more than one thread's piece
    with torch.random.fork_rng(devices=[]):
        state = np.random.get_state()
        found = []
        for _ in range(2):
            for seed in (np.random.seed, torch.manual_seed, random.seed):
                seed(1)
            found.append(noise.add(steps))
        np.random.set_state(state)
    every = np.concatenate([f.ravel() for f in found])
    # Of 120,000 draws from 10⁷ likely steps some coincide; a repeated draw would make thousands do.
    assert len(np.unique(every)) > 0.98 * every.size
    assert abs(np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1]) < 7 / math.sqrt(60_000)
    assert np.abs(np.corrcoef(found[0]) - np.eye(3)).max() < 7 / math.sqrt(20_000)


@pytest.mark.parametrize(("make", "variance", "fourth"), [(laplace, 2.0, 6.0), (gaussian, 1.0, 3.0)])
def test_noise_has_the_variance_and_the_tails_of_its_kind(make, variance, fourth):
    found = make(GRID, 5 / GRID).add(np.zeros(60_000, dtype=np.int64)) / 5
    square = found.var() / variance
    assert square == pytest.approx(1, abs=6 * math.sqrt((fourth - 1) / found.size))
    assert abs(found.mean()) < 6 * math.sqrt(variance / found.size)
    eighth = {laplace: math.factorial(8) / 16, gaussian: 105.0}[make]
    spread = math.sqrt((eighth - fourth**2) / found.size)
    # Of Laplace noise one draw may by itself move this by seven deviations, once in 500,000 tests.
    assert (found**4).mean() / variance**2 == pytest.approx(fourth, abs=12 * spread)


@pytest.mark.parametrize("make", [laplace, gaussian])
def test_every_value_lies_on_the_grid(make):
    found = make(0.25, 40.0).add(np.arange(-500, 500)) / 0.25
    assert np.array_equal(found, np.rint(found))


def test_the_map_is_that_of_the_textbook():
    assert laplace(GRID, 50.0).cost(100) == pytest.approx(2.0, rel=1e-15)
    assert gaussian(GRID, 50.0).cost(100.0) == pytest.approx(100**2 / (2 * 50**2), rel=1e-15)


def test_rows_of_any_shape_keep_it_and_their_place():
    steps = np.arange(6 * 9000).reshape(6, 9000) << 20
    found = laplace(1.0, 2.0).add(steps)
    assert found.shape == steps.shape
    assert np.abs(found - steps).max() < 100
    assert laplace(1.0, 2.0).add(np.zeros((0, 7), dtype=np.int64)).shape == (0, 7)


@pytest.mark.parametrize("features", [set(), {"contrib"}, {"honest-but-curious"}])
def test_features_of_opendp_are_left_as_they_were(features):
    before = set(GLOBAL_FEATURES)
    try:
        GLOBAL_FEATURES.clear()
        GLOBAL_FEATURES.update(features)
        laplace(1.0, 2.0)
        gaussian(1.0, 2.0)
        assert features == GLOBAL_FEATURES
    finally:
        GLOBAL_FEATURES.clear()
        GLOBAL_FEATURES.update(before)


def test_a_grid_is_a_power_of_two_far_below_all_sizes():
    assert grid_for(3.0, 40.0, steps=20, largest=40.0) == 2.0**-19
    assert grid_for(3.0, 3e12, steps=20, largest=3e12) == 2.0**-9  # no more than 2⁵⁰ steps


def test_the_library_and_its_version_are_stated():
    assert stated_by().startswith("OpenDP 0.16")
