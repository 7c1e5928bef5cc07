"""The way back from noise to an image, by a first- and a second-order rule."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch

Denoise = Callable[[torch.Tensor, float], torch.Tensor]
"""(x = x_0 + σ ε "n c h w", σ) → the image x_0 that is to be expected, "n c h w"."""


def ddim(x: torch.Tensor, sigmas: torch.Tensor, denoise: Denoise, tick: Callable[[], None]) -> torch.Tensor:
    """Follow dx/dσ = (x − D(x; σ)) / σ by Euler's steps from `x` at the first of the falling `sigmas` to 0.

    On x / √(1 + σ²) this is DDIM without noise: Song et al. (2021), arXiv 2010.02502.
    """
    for sigma, following in _pairs(sigmas):
        image = denoise(x, sigma)
        x = image + following / sigma * (x - image)
        tick()
    return x


def heun(x: torch.Tensor, sigmas: torch.Tensor, denoise: Denoise, tick: Callable[[], None]) -> torch.Tensor:
    """Follow the same equation by Heun's steps, of second order; the last step, to 0, is Euler's.

    Karras et al. (2022), arXiv 2206.00364, algorithm 1.
    """
    for sigma, following in _pairs(sigmas):
        slope = (x - denoise(x, sigma)) / sigma
        ahead = x + (following - sigma) * slope
        if following > 0:
            slope = (slope + (ahead - denoise(ahead, following)) / following) / 2
            ahead = x + (following - sigma) * slope
        x = ahead
        tick()
    return x


def _pairs(sigmas: torch.Tensor) -> list[tuple[float, float]]:
    values = [*sigmas.tolist(), 0.0]
    return list(pairwise(values))
