"""What the network is asked to predict."""

import math

import pytest
import torch

from privagams_diffusion import DiffusionSettings
from privagams_diffusion.objective import c_noise, objective

PREDICTIONS = ["v", "epsilon", "edm"]


def made(prediction, **settings):
    return objective(DiffusionSettings(prediction=prediction, **settings))


def test_edm_preconditioning_has_its_published_values():
    sigma = torch.tensor([0.5])
    scales = made("edm", sigma_data=0.5).scales(sigma)
    found = [float(each) for each in (scales.skip, scales.out, scales.into, c_noise(sigma))]
    assert found == pytest.approx([0.5, math.sqrt(2) / 4, math.sqrt(2), -0.1732868], rel=1e-6)


def test_edm_noise_levels_are_lognormal():
    drawn = made("edm", p_mean=-0.7, p_std=0.9).draw(50_000, torch.Generator().manual_seed(0)).log()
    assert drawn.mean() == pytest.approx(-0.7, abs=0.02)
    assert drawn.std() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_each_timestep_is_as_likely_as_any_other_and_told_as_itself(prediction):
    target = made(prediction, timesteps=10, sampling_steps=5)
    drawn = target.draw(20_000, torch.Generator().manual_seed(0))
    steps = target.condition(drawn) / 100
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    shares = torch.bincount(steps.round().long(), minlength=10) / len(drawn)
    assert shares.shape == (10,)
    torch.testing.assert_close(shares, torch.full((10,), 0.1), rtol=0, atol=0.01)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_the_network_is_told_rises_with_the_noise_between_timesteps_too(prediction):
    target = made(prediction, timesteps=20, sampling_steps=5)
    between = torch.logspace(math.log10(target.sigmas[0]), math.log10(target.sigmas[-1]), 300)
    told = target.condition(between)
    assert (told[1:] > told[:-1]).all()


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_aim_is_the_answer_that_denoises_perfectly(prediction):
    target, rng = made(prediction), torch.Generator().manual_seed(0)
    sigma = target.draw(200, rng).double()[:, None]
    image, noise = (torch.randn(200, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    scales = target.scales(sigma)
    denoised = scales.skip * (image + sigma * noise) + scales.out * target.aim(image, noise, sigma)
    torch.testing.assert_close(denoised, image, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("prediction", ["v", "edm"])
def test_input_and_aim_have_unit_variance_at_any_noise(prediction):
    target, rng = made(prediction), torch.Generator().manual_seed(0)
    data = 0.5 if prediction == "edm" else 1.0
    for level in (0.01, 0.3, 1.0, 20.0):
        sigma = torch.tensor(level)
        image, noise = data * torch.randn(100_000, generator=rng), torch.randn(100_000, generator=rng)
        assert (target.scales(sigma).into * (image + sigma * noise)).std() == pytest.approx(1, abs=0.02)
        assert target.aim(image, noise, sigma).std() == pytest.approx(1, abs=0.02)
