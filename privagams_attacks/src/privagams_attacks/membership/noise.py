"""Which timesteps and noises a diffusion model is asked for, and one figure per image from its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from privagams.oracle import Denoiser, Oracle
from privagams.records import Records

Statistic = Callable[[Denoiser, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""(noise prediction, images "n c h w" in [-1, 1], labels "n" or None) → one figure per image, "n"."""


def timestep_at(denoiser: Denoiser, level: float) -> int:
    """The timestep whose share of signal ᾱ is nearest to `level`, but never the first: it adds next to no noise."""
    nearest = int((denoiser.levels - level).abs().argmin())
    return min(max(1, nearest), len(denoiser.levels) - 1)


def timesteps_at(denoiser: Denoiser, levels: Iterable[float]) -> list[int]:
    """Each timestep once, in order."""
    return sorted({timestep_at(denoiser, level) for level in levels})


def fixed_noises(count: int, like: torch.Tensor, seed: int) -> torch.Tensor:
    """`count` noises for one image of `like` "n c h w", "count c h w": each is used for every image."""
    return torch.randn((count, *like.shape[1:]), generator=torch.Generator().manual_seed(seed))


def noised(image: torch.Tensor, noise: torch.Tensor, denoiser: Denoiser, timestep: int) -> torch.Tensor:
    """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε."""
    level = denoiser.levels[timestep]
    return level.sqrt() * image + (1 - level).sqrt() * noise


def per_image(oracle: Oracle, records: Records, statistic: Statistic) -> np.ndarray:
    """`statistic` of each record, float64 "n"; `NotApplicable` unless the model is a diffusion model."""
    denoiser = oracle.denoiser()
    found = np.empty(len(records))
    for rows, batch in oracle.batches(records):
        found[rows] = statistic(denoiser, batch["pixels"], batch.get("labels")).double().numpy()
    return found
