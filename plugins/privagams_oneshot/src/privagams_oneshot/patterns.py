"""Which random patterns and frequencies images are compared with: public constants that suit photographs."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

EDGE_GAIN = (8.0, 50.0)
SHADE_GAIN = (1.0, 8.0)
"""Ranges in which most responses of histology and X-rays turn a phase by 0.5 to 3 rad: less says nothing of
rare patches, more nothing at all. Found on made-up tissue. Contours are fainter than shades."""


def patterns(n: int, channels: int, side: int, rng: torch.Generator) -> torch.Tensor:
    """Draw patterns "n channels side side": every fourth sees colour and shade, the others contours only.

    Without those others speckle and blur would hardly move the features. Each is a sum of two Gabor patterns,
    since one alone cannot tell how contours meet.
    """
    size = (n, channels, side)
    weight = _uniform(n, 0, 1, rng)[:, None, None, None]
    edges = _gabors(*size, (0.5, 2.8), rng) + weight * _gabors(*size, (0.5, 2.8), rng)
    edges = (edges - edges.mean((2, 3), keepdim=True)) * _log_uniform(n, *EDGE_GAIN, rng)[:, None, None, None]
    shades = _gabors(*size, (0.1, 1.0), rng) + weight * _gabors(*size, (0.3, 2.8), rng)
    shades = shades * _log_uniform(n, *SHADE_GAIN, rng)[:, None, None, None]
    return torch.where((torch.arange(n) % 4 == 0)[:, None, None, None], shades, edges)


def frequencies(n: int, dim: int, bandwidths: tuple[float, float], rng: torch.Generator) -> torch.Tensor:
    """Draw frequencies of a mixture of Gaussian kernels, "n dim"."""
    return torch.randn(n, dim, generator=rng) / _log_uniform(n, *bandwidths, rng)[:, None]


def _gabors(
    n: int, channels: int, side: int, pitches: tuple[float, float], rng: torch.Generator
) -> torch.Tensor:
    """Draw waves under a bell of any pitch (rad per px), direction, width, place and colour; L1 norm 1."""
    px = torch.arange(side) - (side - 1) / 2
    y = px[None, :, None] - _uniform(n, -1, 1, rng)[:, None, None]
    x = px[None, None, :] - _uniform(n, -1, 1, rng)[:, None, None]
    pitch = _log_uniform(n, *pitches, rng)[:, None, None]
    angle, phase = (_uniform(n, 0, 2 * math.pi, rng)[:, None, None] for _ in range(2))
    width = _log_uniform(n, 0.5, max(0.6, side / 3), rng)[:, None, None]
    wave = torch.cos(pitch * (x * angle.cos() + y * angle.sin()) + phase)
    wave = wave * torch.exp(-(x**2 + y**2) / (2 * width**2))
    wave = wave / wave.abs().sum((1, 2), keepdim=True).clamp(min=1e-3)
    colour = F.normalize(torch.randn(n, channels, generator=rng), dim=1)
    return wave[:, None] * colour[:, :, None, None]


def _uniform(n: int, low: float, high: float, rng: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=rng)


def _log_uniform(n: int, low: float, high: float, rng: torch.Generator) -> torch.Tensor:
    return _uniform(n, math.log(low), math.log(high), rng).exp()
