"""How an image becomes a short vector: pooled pixels and wavelet moduli, of norm 1 at most."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from privagams.roles import Space
from privagams_oneshot.wavelets import ANGLES, Moduli

PIXELS, MODULI = 200, 800
"""Most entries of pooled pixels and of pooled moduli, whatever the size and the channels of images."""
PIXEL_ENERGY, MODULUS_ENERGY = 7.0, 56.0
"""Weights 0.5 and 2 at 196 and 784 entries (28 px, grey), kept for any other number of entries."""
ANCHOR = 2.0
"""A constant entry beside them: without one, a norm of 1 would hide how bright and how contrasty an image is."""
HAIR = 1e-5
"""Share of a norm of 1 that is left to float32 rounding."""


def unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """Bring whatever comes as pixels into [0, 1]: the norms must hold for any input."""
    return torch.nan_to_num(pixels.float(), nan=0.0).clamp(-1.0, 1.0) * 0.5 + 0.5


class Scattering(nn.Module):
    """phi(x) = (pixels pooled, |x * psi| pooled, constant) / its norm: orders 0 and 1 of a scattering transform.

    Pixels are pooled to p x p with p^2·channels <= 200 (14 x 14 grey, 8 x 8 colour); moduli are of the mean over
    channels, on 1 to 4 scales, pooled to g x g with 8·scales·g^2 <= 800. So phi has at most 1,001 entries for
    any image. All weights are public constants.

    Guarantee: |phi| <= 1 for every input (test_scattering_has_norm_at_most_one_for_any_input).
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.moduli = Moduli(min(4, max(1, round(math.log2(space.size / 8)))))
        self.side = min(14, space.size, math.isqrt(PIXELS // space.channels))
        self.grid = min(7, space.size // 2, math.isqrt(MODULI // (ANGLES * self.moduli.scales)))
        pixels, moduli = space.channels * self.side**2, ANGLES * self.moduli.scales * self.grid**2
        self.size = pixels + moduli + 1
        self._scale = PIXEL_ENERGY / math.sqrt(pixels), MODULUS_ENERGY / math.sqrt(moduli)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed "n c h w" in [0, 1] as float32 "n d"."""
        maps = [F.adaptive_avg_pool2d(m, self.grid) for m in self.moduli(x.mean(1, keepdim=True))]
        moduli = torch.cat([m.flatten(1) for m in maps], 1) * self._scale[1]
        pixels = F.adaptive_avg_pool2d(x, self.side).flatten(1) * self._scale[0]
        anchor = torch.full_like(pixels[:, :1], ANCHOR)
        return (1 - HAIR) * F.normalize(torch.cat([pixels, moduli, anchor], 1), dim=1)
