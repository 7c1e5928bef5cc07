"""What is asked of members the second time: blocks of features, as vectors for records and as parts for the fit."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from privagams.roles import Space
from privagams_oneshot import isometry
from privagams_oneshot.patterns import frequencies
from privagams_oneshot.scatter_features import HAIR, Scattering, unit_range
from privagams_oneshot.whitening import Whitening

CONSTANT, LINEAR, QUADRATIC, FOURIER, PIXELS = 0.02, 0.28, 0.28, 0.28, 0.14
"""Shares of the squared norm; without the quadratic block the others grow in proportion."""
BANDWIDTHS = 0.3, 0.8
"""Of the kernels that the random frequencies stand for; records lie within radius 1."""
PIXEL_RADIUS = 0.35
"""Pixels and their squares are scaled to norm 1 from this share of their largest norm on: a constant."""
DIRECTIONS = (8, 16, 32, 64, 128, 256)
"""Sizes of groups of directions, by falling variance; what is left is the last group."""


class Blocks(nn.Module):
    """e(x) = [1, y, y (x) y, cos and sin of w'y, x and x^2], each block times the root of its share.

    y: the whitened phi(x). The quadratic block tells how directions vary together; the random Fourier features
    tell of clusters; every pixel's mean and variance are there so that no pixel stays unobserved.

    Guarantee: |e| <= 1 for every input and any whitening (test_blocks_have_norm_at_most_one_for_any_input), and row
    i depends on record i alone (test_a_records_features_do_not_depend_on_other_records).
    """

    def __init__(self, space: Space, features: int, quadratic: bool, rng: torch.Generator) -> None:
        super().__init__()
        self.phi = Scattering(space)
        self.quadratic = quadratic
        d, pixels = self.phi.size, 2 * space.channels * space.size**2
        shares = torch.tensor([CONSTANT, LINEAR, QUADRATIC * quadratic, FOURIER, PIXELS])
        self.roots = [math.sqrt((1 - HAIR) * share) for share in (shares / shares.sum()).tolist()]
        self.sizes = [1, d, isometry.size(d) * quadratic, 2 * features, pixels]
        # The seed gives them back: what is saved stays small.
        self.register_buffer("waves", frequencies(features, d, BANDWIDTHS, rng), persistent=False)

    def vectors(self, pixels: torch.Tensor, whitening: Whitening) -> torch.Tensor:
        """Embed float "n c h w" in [-1, 1] as float32 "n d", the whole vector."""
        x = unit_range(pixels)
        y = whitening(self.phi(x))
        out = y.new_empty(len(y), sum(self.sizes))
        constant, linear, quadratic, fourier, rest = torch.split(out, self.sizes, dim=1)
        constant[:] = self.roots[0]
        torch.mul(y, self.roots[1], out=linear)
        if self.quadratic:
            isometry.write_outer(y * math.sqrt(self.roots[2]), quadratic)
        fourier[:] = self._circle(y) * self.roots[3]
        rest[:] = _pixels(x) * self.roots[4]
        return out

    def parts(self, pixels: torch.Tensor, whitening: Whitening) -> tuple[torch.Tensor, torch.Tensor]:
        """Return y "n d" times the fourth root of the quadratic block's share, and all shorter blocks "n e"."""
        x = unit_range(pixels)
        y = whitening(self.phi(x))
        short = (y * self.roots[1], self._circle(y) * self.roots[3], _pixels(x) * self.roots[4])
        return y * math.sqrt(self.roots[2]), torch.cat(short, 1)

    def _circle(self, y: torch.Tensor) -> torch.Tensor:
        phase = y @ self.get_buffer("waves").T
        return torch.cat([phase.cos(), phase.sin()], 1) / math.sqrt(phase.shape[1])


def _pixels(x: torch.Tensor) -> torch.Tensor:
    both = torch.cat([x.flatten(1), x.flatten(1).square()], 1)
    return F.normalize(both, dim=1, eps=PIXEL_RADIUS * math.sqrt(both.shape[1]))
