"""Noise levels of training and of drawing."""

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from privagams_diffusion.schedule import karras_sigmas, signal_levels, to_level, to_sigma, trailing


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("timesteps", [20, 100, 1000])
def test_signal_falls_from_nearly_all_to_nearly_none(schedule, timesteps):
    levels = signal_levels(schedule, timesteps)
    assert levels.shape == (timesteps,)
    assert (levels[1:] < levels[:-1]).all()
    assert levels[0] > 0.97
    assert 0 < levels[-1] < 0.01


@pytest.mark.parametrize(("ours", "theirs"), [("cosine", "squaredcos_cap_v2"), ("linear", "linear")])
def test_levels_are_those_of_diffusers(ours, theirs):
    scheduler = DDIMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule=theirs)
    torch.testing.assert_close(
        signal_levels(ours, 1000).float(), scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6
    )


def test_levels_and_sigmas_are_two_names_of_one_thing():
    levels = signal_levels("cosine", 100)
    torch.testing.assert_close(to_level(to_sigma(levels)), levels)
    assert to_sigma(torch.tensor(0.5)) == 1


def test_karras_grid_has_its_ends_and_its_published_middle():
    grid = karras_sigmas(18, 0.002, 80.0, 7.0)
    assert grid[0] == pytest.approx(80)
    assert grid[-1] == pytest.approx(0.002)
    assert (grid[1:] < grid[:-1]).all()
    # (80^(1/7) + 1/17 · (0.002^(1/7) − 80^(1/7)))^7, worked out by hand.
    assert grid[1] == pytest.approx(57.5859, abs=1e-3)
    assert karras_sigmas(1, 0.002, 80.0, 7.0).tolist() == pytest.approx([80])


def test_the_noisiest_level_is_the_first_of_any_number_of_steps():
    sigmas = torch.arange(1, 101, dtype=torch.float64)
    assert trailing(sigmas, 4).tolist() == [100, 75, 50, 25]
    assert trailing(sigmas, 1).tolist() == [100]
    assert trailing(sigmas, 100).tolist() == list(range(100, 0, -1))
