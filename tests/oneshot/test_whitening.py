import math

import pytest
import torch

from privagams.roles import Summary
from privagams_oneshot.whitening import MARGIN, Whitening, second_moment

D, N = 40, 20000


@pytest.fixture(scope="module")
def phi():
    """Vectors of norm 1, most of whose variance lies in a few directions."""
    rng = torch.Generator().manual_seed(0)
    scale = 0.4 * torch.arange(1, D + 1).float().pow(-0.8)
    x = 2 / math.sqrt(D) + scale * torch.randn(N, D, generator=rng)
    return (1 - 1e-5) * torch.nn.functional.normalize(x, dim=1)


def told(phi, sigma, seed=0):
    total = second_moment(phi).sum(0)
    noise = sigma * torch.randn(total.shape, generator=torch.Generator().manual_seed(seed))
    return Whitening.of(Summary((total + noise)[None, None], float(len(phi)), sigma), D)


def test_second_moments_have_norm_at_most_one():
    v = torch.nn.functional.normalize(torch.randn(100, D, generator=torch.Generator().manual_seed(0)), dim=1)
    assert 0.999 < second_moment(v).double().norm(dim=1).max() <= 1


def test_without_noise_the_mean_is_found_and_directions_are_whitened_by_a_fourth_root(phi):
    whitening = told(phi, 0.0)
    torch.testing.assert_close(whitening.mean, phi.mean(0), atol=1e-4, rtol=0)
    y = (phi - whitening.mean) @ whitening.matrix.T
    variance = y.var(0)
    plain = torch.linalg.eigvalsh(torch.cov(phi.T)).flip(0)
    root = plain / (plain + 5e-4).sqrt()
    torch.testing.assert_close(variance / variance[0], root / root[0], atol=2e-3, rtol=0.02)


@pytest.mark.parametrize("sigma", [0.0, 5.0, 50.0, 300.0])
def test_the_radius_is_about_one_whatever_the_noise(phi, sigma):
    """A radius that counts the noise among the variance leaves most of the ball empty; one too small cuts."""
    lengths = []
    for seed in range(4):
        whitening = told(phi, sigma, seed)
        y = (phi - whitening.mean) @ whitening.matrix.T
        lengths.append(float(y.square().sum(1).mean().sqrt()))
    assert 0.8 / MARGIN < sum(lengths) / 4 < 1.25 / MARGIN


def test_cut_vectors_are_within_radius_one_even_for_far_away_records(phi):
    y = told(phi, 5.0)(torch.cat([phi, 1e6 * phi[:10]]))
    assert y.double().norm(dim=1).max() <= 1


def test_an_answer_that_drowned_in_noise_still_gives_finite_coordinates(phi):
    whitening = Whitening.of(Summary(-torch.ones(1, 1, (D + 1) * (D + 2) // 2), 10.0, 1e4), D)
    assert whitening.matrix.isfinite().all()
    assert whitening(phi).isfinite().all()
