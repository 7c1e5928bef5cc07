"""Gaussian noise on vectors in a ball: how much, what it costs, and how discrete noise differs from continuous."""

import math

import numpy as np
import pytest
from dp_accounting import SelfComposedDpEvent
from scipy.stats import norm

from privagams.ledger.accounting import epsilon
from privagams.ledger.events import local
from privagams_dp.ball_gaussian import BallGaussian, multiplier_for


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (0.5, 7.0318),
        (1, 3.7306),
        (2, 1.9938),
        (4, 1.0812),
        (8, 0.6002),
        (10, 0.4999),
        (50, 0.1498),
        (100, 0.0947),
    ],
)
def test_the_multiplier_is_that_of_the_analytic_gaussian_mechanism(asked, expected):
    assert multiplier_for(asked, 1e-5, 1) == pytest.approx(expected, abs=6e-5)


def test_ten_nat_need_four_deviations_for_16_coordinates_and_256_for_an_image():
    multiplier = multiplier_for(10.0, 1e-5, 1)
    for size, expected in ((16, 4.0), (256, 16.0), (65_536, 256.0)):
        noise = BallGaussian.with_multiplier(size, math.sqrt(size), multiplier)
        assert noise.scale == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("asked", "delta", "images"), [(1.0, 1e-5, 1), (8.0, 1e-6, 4), (0.1, 1e-9, 2), (300.0, 1e-5, 1)]
)
def test_images_together_cost_what_was_asked_for_by_the_accountants(asked, delta, images):
    noise = BallGaussian.with_multiplier(50, 7.3, multiplier_for(asked, delta, images))
    found, _ = epsilon([local(SelfComposedDpEvent(noise.event, images))], delta)
    assert 1 - 5e-4 < found / asked <= 1


@pytest.mark.parametrize("value", [2.0, 1e6, 1e200, math.inf])
def test_no_vector_leaves_the_ball(value):
    noise = BallGaussian.with_multiplier(4, 2.1, 1.0)
    vectors = np.array([[value] * 4, [-value, 0, 0, value], [value, 1, 0, 0], [0, 0, -value, 0]])
    length = np.linalg.norm(noise.bounded(vectors), axis=1)
    assert (length <= 2.1 * (1 + 1e-12)).all()
    assert (length > 1.9).all()  # scaled, not put to nought


def test_a_vector_in_the_ball_stays_as_it_is():
    noise = BallGaussian.with_multiplier(4, 2.1, 1.0)
    vectors = np.array([[1.0, -1.0, 1.0, 1.0], [2.1, 0, 0, 0], [0, 0, 0, 0]])
    assert np.array_equal(noise.bounded(vectors), vectors)


@pytest.mark.parametrize("radius", [1e-5, 2.1, 1e5])
@pytest.mark.parametrize("size", [1, 16, 65_536])
@pytest.mark.parametrize("multiplier", [0.01, 0.5, 3000.0])
def test_the_distance_that_is_mapped_is_the_diameter_and_the_grid(size, radius, multiplier):
    noise = BallGaussian.with_multiplier(size, radius, multiplier)
    # noise.multiplier is made from OpenDP's map
    assert 1 <= noise.multiplier / multiplier < 1 + 1e-8
    assert noise.scale >= 2 * radius * noise.multiplier
    assert noise.grid <= noise.scale * 2**-30


def test_noise_has_the_deviation_stated():
    noise = BallGaussian.with_multiplier(40_000, 100.0, 0.5)
    found = noise.add_to(np.zeros((1, 40_000)))
    assert found.std() == pytest.approx(noise.scale, rel=6 / math.sqrt(2 * 40_000))
    assert found.var() == pytest.approx(noise.variance, rel=12 / math.sqrt(2 * 40_000))


@pytest.mark.parametrize("s", [1.0, 2.0, 8.0, 40.0])
def test_discrete_noise_differs_from_rounded_noise_as_little_as_the_docstring_says(s):
    steps = np.arange(-int(12 * s), int(12 * s) + 1).astype(float)
    discrete = np.exp(-(steps**2) / (2 * s**2))
    discrete /= discrete.sum()
    # By survival functions on one side, so that the tails keep their digits.
    far = np.abs(steps)
    rounded = np.where(
        far == 0, 1 - 2 * norm.sf(0.5 / s), norm.sf((far - 0.5) / s) - norm.sf((far + 0.5) / s)
    )
    ratio = np.log(discrete / rounded)
    assert (ratio <= 1 / (24 * s**2) + 1e-9).all()
    wrapped = math.log1p(3 * math.exp(-2 * math.pi**2 * s**2))
    assert (-ratio <= steps**2 / (24 * s**4) + wrapped + 1e-9).all()
