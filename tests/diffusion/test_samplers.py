"""Ways back from noise, against diffusers and against a density whose answer is known."""

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from privagams_diffusion.samplers import ddim, heun
from privagams_diffusion.schedule import karras_sigmas, signal_levels, to_sigma, trailing

MEAN, STD = 0.3, 0.5


def quiet():
    pass


def gaussian(x, sigma):
    """E[x_0 | x] where x_0 ~ N(MEAN, STD²)."""
    return (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)


def exact(x, sigma):
    """Where the equation leads x at σ."""
    return MEAN + (x - MEAN) * STD / (STD**2 + sigma**2) ** 0.5


def error(way, steps):
    start = torch.linspace(-160, 160, 9, dtype=torch.float64)
    sigmas = karras_sigmas(steps, 0.002, 80.0, 7.0)
    return float((way(start, sigmas, gaussian, quiet) - exact(start, 80.0)).abs().max())


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_ddim_steps_are_those_of_diffusers(schedule):
    scheduler = DDIMScheduler(
        1000, beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing",
        beta_schedule={"cosine": "squaredcos_cap_v2", "linear": "linear"}[schedule],
    )  # fmt: skip
    scheduler.set_timesteps(20)
    levels = signal_levels(schedule, 1000)
    known = to_sigma(levels)

    def epsilon(scaled, t):
        return torch.sin(3 * scaled + 0.01 * t)

    def denoise(x, sigma):
        t = int((known - sigma).abs().argmin())
        scaled = x * levels[t].sqrt()
        return (x - sigma * epsilon(scaled, t)).clamp(-1, 1)

    start = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = start
    for t in scheduler.timesteps:
        theirs = scheduler.step(epsilon(theirs, t), int(t), theirs, use_clipped_model_output=True).prev_sample
    sigmas = trailing(known, 20)
    ours = ddim(start * (1 + sigmas[0] ** 2).sqrt(), sigmas, denoise, quiet)
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("steps", [1, 7, 30])
@pytest.mark.parametrize("way", [ddim, heun])
def test_a_perfect_prediction_arrives_at_the_image(way, steps):
    image = torch.full((1, 1, 2, 2), 0.3)
    noise = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    sigmas = karras_sigmas(steps, 0.002, 80.0, 7.0)
    torch.testing.assert_close(way(image + 80 * noise, sigmas, lambda x, sigma: image, quiet), image)


@pytest.mark.parametrize(("way", "steps"), [(ddim, 200), (heun, 40)])
def test_a_gaussian_comes_out_with_its_mean_and_variance(way, steps):
    noise = torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn = way(80 * noise, karras_sigmas(steps, 0.002, 80.0, 7.0), gaussian, quiet)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.01)
    assert drawn.std() == pytest.approx(STD, rel=0.02)


def test_heuns_error_falls_with_the_square_of_the_steps_and_eulers_with_the_steps():
    euler = error(ddim, 32) / error(ddim, 64)
    second = error(heun, 32) / error(heun, 64)
    assert euler == pytest.approx(2, rel=0.15)
    assert second == pytest.approx(4, rel=0.25)
    assert error(heun, 32) < 0.5 * error(ddim, 64)


@pytest.mark.parametrize("way", [ddim, heun])
def test_each_step_is_told(way):
    told = []
    way(torch.zeros(1), karras_sigmas(6, 0.1, 2.0, 7.0), gaussian, lambda: told.append(1))
    assert len(told) == 6
