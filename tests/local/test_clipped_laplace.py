"""Laplace noise on clipped vectors: how much, and what it costs."""

import math

import numpy as np
import pytest

from privagams.errors import ConfigError
from privagams_dp.clipped_laplace import ClippedLaplace

IMAGE = 256 * 256


def test_a_total_of_10_on_a_256_px_image_needs_a_scale_of_39322():
    noise = ClippedLaplace.of_vector(IMAGE, 3.0, 10.0)
    assert noise.scale == pytest.approx(39_321.6, rel=1e-6)
    assert noise.event.epsilon == pytest.approx(10.0, rel=1e-9)
    assert noise.per_element_epsilon == pytest.approx(10 / IMAGE, rel=1e-9)


def test_an_epsilon_of_1_per_element_is_65536_for_a_256_px_image():
    noise = ClippedLaplace.of_elements(IMAGE, 3.0, 1.0)
    assert noise.scale == pytest.approx(6.0, rel=1e-6)
    assert noise.per_element_epsilon == pytest.approx(1.0, rel=1e-9)
    assert noise.event.epsilon == pytest.approx(IMAGE, rel=1e-9)
    assert noise.event.delta == 0


@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 0.3, 1.0, 7.7, 100.0, 1e9, 1e14])
@pytest.mark.parametrize("clip", [1e-6, 0.7, 3.0, 1e6])
@pytest.mark.parametrize("size", [1, 3, 16_384])
def test_the_cost_is_never_above_what_was_asked_for_and_hardly_below(size, clip, epsilon):
    noise = ClippedLaplace.of_vector(size, clip, epsilon)
    assert 1 - 1e-9 < noise.event.epsilon / epsilon <= 1
    # The clip on the grid is at most c, and the scale belongs to that clip; both to 2⁻²⁰, or 2⁻⁵⁰ of the noise.
    rounded = max(3e-6, 2.0**-49 * noise.scale / clip)
    assert noise.scale == pytest.approx(2 * clip * size / epsilon, rel=rounded)


def test_the_distance_that_is_mapped_is_the_largest_there_is():
    noise = ClippedLaplace.of_vector(5, 0.7, 2.0)
    far = np.array([[0.7] * 5, [-0.7] * 5, [1e300] * 5, [-math.inf] * 5])
    steps = noise.steps(far)
    widest = np.abs(steps[:, None] - steps[None]).sum(axis=2).max()
    assert widest / (noise.scale / noise.grid) == pytest.approx(noise.event.epsilon, rel=1e-12)


@pytest.mark.parametrize("value", [3.1, 1e6, 1e300, math.inf, np.nextafter(3.0, 4)])
def test_exploding_vectors_are_clipped(value):
    noise = ClippedLaplace.of_vector(3, 3.0, 1.0)
    assert np.array_equal(noise.steps(np.full((1, 3), value)), noise.steps(np.full((1, 3), 3.0)))
    assert np.array_equal(noise.steps(np.full((1, 3), -value)), noise.steps(np.full((1, 3), -3.0)))


def test_what_lies_within_the_clip_is_kept_to_a_millionth():
    noise = ClippedLaplace.of_elements(1000, 3.0, 2.0)
    vectors = np.random.default_rng(0).uniform(-3, 3, (2, 1000))
    assert np.abs(noise.steps(vectors) * noise.grid - vectors).max() < 3e-6


def test_noise_has_the_scale_stated():
    noise = ClippedLaplace.of_elements(40_000, 3.0, 2.0)
    found = noise.add_to(np.zeros((1, 40_000)))
    assert np.abs(found).mean() == pytest.approx(noise.scale, rel=6 / math.sqrt(40_000))
    assert found.var() == pytest.approx(noise.variance, rel=6 * math.sqrt(5 / 40_000))


@pytest.mark.parametrize("epsilon", [1e-300, 5e-324])
def test_an_epsilon_that_needs_boundless_noise_is_refused_in_words(epsilon):
    with pytest.raises(ConfigError, match=r"epsilon: expected noise of a scale below .* take a larger"):
        ClippedLaplace.of_vector(1000, 3.0, epsilon)
