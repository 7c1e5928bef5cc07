"""Which noise levels there are: those of training, and the grid on which images are drawn."""

from __future__ import annotations

import math

import torch


def signal_levels(schedule: str, timesteps: int) -> torch.Tensor:
    """ᾱ_t, the share of signal variance at each timestep, float64 "timesteps", falling from about 1 to 0.

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
    return torch.cumprod(1 - beta, dim=0)


def karras_sigmas(steps: int, least: float, most: float, rho: float) -> torch.Tensor:
    """σ_i = (σ_max^(1/ρ) + i/(n−1) · (σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ, float64 "steps", falling.

    Karras et al. (2022), arXiv 2206.00364, equation 5.
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    highest, lowest = most ** (1 / rho), least ** (1 / rho)
    sigmas: torch.Tensor = (highest + ramp * (lowest - highest)) ** rho
    return sigmas


def to_sigma(level: torch.Tensor) -> torch.Tensor:
    """σ = √((1 − ᾱ) / ᾱ), the noise per unit of signal."""
    return ((1 - level) / level).sqrt()


def to_level(sigma: torch.Tensor) -> torch.Tensor:
    """ᾱ = 1 / (1 + σ²)."""
    return 1 / (1 + sigma**2)


def trailing(sigmas: torch.Tensor, steps: int) -> torch.Tensor:
    """`steps` of the rising `sigmas`, falling, the noisiest one first, else brightness drifts.

    Lin et al. (2023), arXiv 2305.08891.
    """
    chosen = torch.linspace(len(sigmas), 0, steps + 1).round().long()[:-1] - 1
    return sigmas[chosen]
