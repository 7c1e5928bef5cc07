"""Noise levels, and the way back from noise."""

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from privagams_diffusion.schedule import ddim, signal_levels


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("timesteps", [20, 100, 1000])
def test_signal_falls_from_nearly_all_to_nearly_none(schedule, timesteps):
    levels = signal_levels(schedule, timesteps)
    assert levels.shape == (timesteps,)
    assert (levels[1:] < levels[:-1]).all()
    assert levels[0] > 0.97
    assert 0 < levels[-1] < 0.01


@pytest.mark.parametrize(("ours", "theirs"), [("cosine", "squaredcos_cap_v2"), ("linear", "linear")])
def test_levels_and_steps_are_those_of_diffusers(ours, theirs):
    scheduler = DDIMScheduler(
        1000, beta_start=1e-4, beta_end=0.02, beta_schedule=theirs, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(20)
    levels = signal_levels(ours, 1000)
    torch.testing.assert_close(levels, scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6)

    def epsilon(x, t):
        return torch.sin(3 * x + 0.01 * t)

    def predict(x, t):
        level = levels[t][:, None, None, None]
        image = ((x - (1 - level).sqrt() * epsilon(x, t[0])) / level.sqrt()).clamp(-1, 1)
        return image, (x - level.sqrt() * image) / (1 - level).sqrt()

    start = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    x = start
    for t in scheduler.timesteps:
        x = scheduler.step(epsilon(x, t), int(t), x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(ddim(start, levels, 20, predict, lambda: None), x, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("steps", [1, 7, 30])
def test_a_perfect_prediction_arrives_at_the_image(steps):
    levels, image = signal_levels("cosine", 100), torch.full((1, 1, 2, 2), 0.3)

    def predict(x, t):
        level = levels[t][:, None, None, None]
        return image, (x - level.sqrt() * image) / (1 - level).sqrt()

    torch.testing.assert_close(ddim(torch.randn(1, 1, 2, 2), levels, steps, predict, lambda: None), image)
