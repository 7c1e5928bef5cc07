import math

import numpy as np
import pytest

from privagams.judge import expected_top1, threshold_epsilon, threshold_noise
from privagams.judge.intervals import mean_interval


@pytest.mark.parametrize(("size", "released", "edge"), [(16_384, 1000, 0.247), (65_536, 30_805, 0.151)])
def test_the_edge_is_where_the_reference_computed_it(size, released, edge):
    assert threshold_epsilon(size, released, 3.0) == pytest.approx(edge, abs=6e-4)


def test_another_image_of_the_person_takes_less_noise():
    same, other = (threshold_noise(16_384, 1000, r) for r in (1.0, 0.5))
    assert other == pytest.approx(math.sqrt((16_384 * 0.25 / (2 * math.log(1000)) - 1) / 2))
    assert other < same
    assert threshold_epsilon(16_384, 1000, 3.0, 0.5) > threshold_epsilon(16_384, 1000, 3.0)


def test_where_nothing_stands_out_no_noise_is_needed():
    assert threshold_noise(10, 1000) == 0
    assert threshold_noise(16_384, 1000, 0.0) == 0
    assert threshold_epsilon(10, 1000, 3.0) == math.inf


@pytest.mark.parametrize("about", [(0, 10), (5, 1), (5, 10, 1.5), (5, 10, math.nan)])
def test_senseless_numbers_are_refused(about):
    with pytest.raises(ValueError, match="expected at least"):
        threshold_noise(*about)


def test_expected_shares_are_chance_without_correlation_and_sure_without_noise():
    assert expected_top1(4096, 200, 1.0, 0.0) == pytest.approx(1 / 200)
    assert expected_top1(4096, 200, 0.0) == pytest.approx(1.0)
    assert expected_top1(16_384, 1000, threshold_noise(16_384, 1000)) == pytest.approx(0.69, abs=0.02)


@pytest.mark.parametrize("correlation", [1.0, 0.5])
def test_simulated_linkage_rises_where_theory_says(correlation):
    """1,000 vectors of 1,024 entries clipped to ±3; 300 of them probed at each of five ε around the edge."""
    rng, size, released = np.random.default_rng(1), 1024, 1000
    edge = threshold_epsilon(size, released, 3.0, correlation)
    shares = []
    for times in (0.4, 0.7, 0.85, 1.0, 2.0):
        vectors = rng.normal(size=(released, size))
        noise = 6 / (edge * times)
        noisy = np.clip(vectors[:300], -3, 3) + rng.laplace(0, noise, (300, size))
        held = correlation * vectors + math.sqrt(1 - correlation**2) * rng.normal(size=vectors.shape)
        hits = (noisy @ held.T / np.linalg.norm(held, axis=1)).argmax(axis=1) == np.arange(300)
        low, high = mean_interval(hits.mean(), 300, 0.999)
        assert low <= expected_top1(size, released, noise, correlation) <= high
        shares.append(hits.mean())
    assert shares[0] < 0.2
    assert shares[1] < 0.5 < shares[3]
    assert shares[4] > 0.95
