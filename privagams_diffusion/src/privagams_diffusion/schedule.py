"""How much noise each timestep carries, and the way back from noise to an image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Predict = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(noisy image x_t "n c h w", timestep t "n") → (image x_0, noise ε)."""


def signal_levels(schedule: str, timesteps: int) -> torch.Tensor:
    """ᾱ_t, the share of signal variance at each timestep, float32 "timesteps", falling from about 1 to 0.

    "cosine": Nichol and Dhariwal (2021), arXiv 2102.09672. "linear": Ho et al. (2020), arXiv 2006.11239, with
    β scaled so that fewer timesteps end in as much noise.
    """
    if schedule == "cosine":
        edges = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
        level = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
        beta = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    else:
        scale = 1000 / timesteps
        beta = torch.linspace(1e-4 * scale, 0.02 * scale, timesteps, dtype=torch.float64).clamp(max=0.999)
    return torch.cumprod(1 - beta, dim=0).float()


def ddim(
    noise: torch.Tensor, levels: torch.Tensor, steps: int, predict: Predict, tick: Callable[[], None]
) -> torch.Tensor:
    """Turn `noise` "n c h w" into images in [-1, 1] by `steps` deterministic steps.

    x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s) ε̂, from the noisiest timestep down; Song et al. (2021), arXiv 2010.02502.
    The first timestep is the noisiest one ("trailing": Lin et al. 2023, arXiv 2305.08891), else brightness
    drifts.
    """
    timesteps = torch.linspace(len(levels), 0, steps + 1).round().long()[:-1] - 1
    following = torch.cat([levels[timesteps[1:]], levels.new_ones(1)])
    x = noise
    for timestep, level in zip(timesteps.tolist(), following, strict=True):
        image, direction = predict(x, torch.full((len(x),), timestep, device=x.device))
        x = level.sqrt() * image + (1 - level).sqrt() * direction
        tick()
    return x
