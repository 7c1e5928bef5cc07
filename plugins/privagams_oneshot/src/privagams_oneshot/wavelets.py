"""Which wavelets images are compared with: Morlet filters at eight angles, and how coarser scales are reached."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

ANGLES = 8
"""Directions, evenly over half a turn."""
SLANT = 0.5
"""How much longer a wavelet's bell is along its stripes' normal than across."""
FINEST = (0.8, 3 * math.pi / 4, 7)
COARSER = (1.6, 3 * math.pi / 8, 11)
"""Width of the bell (px), pitch (rad per px), side (px, odd)."""


def morlets(width: float, pitch: float, side: int) -> torch.Tensor:
    """Morlet wavelets of zero mean and L1 norm 1, real parts then imaginary ones, "2·angles 1 side side".

    psi(u) = (exp(i·pitch·u_1) - beta) · exp(-(u_1^2 + (slant·u_2)^2) / 2·width^2), u turned by each angle.
    """
    px = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    turn = (torch.arange(ANGLES, dtype=torch.float64) * math.pi / ANGLES)[:, None, None]
    along = px[None, None, :] * turn.cos() + px[None, :, None] * turn.sin()
    across = px[None, :, None] * turn.cos() - px[None, None, :] * turn.sin()
    bell = torch.exp(-(along.square() + (SLANT * across).square()) / (2 * width**2))
    wave = torch.polar(bell, pitch * along)
    wave = wave - bell * (wave.sum((1, 2), keepdim=True) / bell.sum((1, 2), keepdim=True))
    wave = wave / wave.abs().sum((1, 2), keepdim=True)
    return torch.cat([wave.real, wave.imag])[:, None].float()


class Moduli(nn.Module):
    """|x * psi| for each scale and angle: how much of each contour there is around each place.

    Mallat (2012), arXiv 1101.2286: moduli of wavelets move little when an image is bent a little. Scales beyond the
    second are the second's wavelets on an image pooled by two.
    """

    def __init__(self, scales: int) -> None:
        super().__init__()
        self.scales = scales
        # Public constants: what is saved stays small.
        self.register_buffer("finest", morlets(*FINEST), persistent=False)
        self.register_buffer("coarser", morlets(*COARSER), persistent=False)

    def forward(self, grey: torch.Tensor) -> list[torch.Tensor]:
        """Return a map "n angles h w" for each scale; `grey` is "n 1 h w" in [0, 1]."""
        maps = []
        for scale in range(self.scales):
            filters = self.get_buffer("coarser" if scale else "finest")
            grey = F.avg_pool2d(grey, 2) if scale > 1 else grey
            real, imaginary = F.conv2d(grey, filters, stride=2, padding=filters.shape[-1] // 2).chunk(2, 1)
            # The little that is added keeps the root's slope finite.
            maps.append((real.square() + imaginary.square() + 1e-8).sqrt())
        return maps
