"""What is asked of members the second time: blocks of features, as vectors for records and as parts for the fit."""

from __future__ import annotations

import math

import torch
from torch import nn

from privagams.roles import Space
from privagams_oneshot import isometry
from privagams_oneshot.patterns import frequencies
from privagams_oneshot.scatter_features import HAIR, Scattering, unit_range
from privagams_oneshot.textures import Textures, circle, ranked
from privagams_oneshot.whitening import Whitening

CONSTANT, LINEAR, QUADRATIC, FOURIER, PIXELS, TEXTURES = 0.02, 0.26, 0.26, 0.26, 0.20, 0.50
"""Shares of the squared norm, in proportion: where a block is left out, the others grow."""
BANDWIDTHS = 0.3, 0.8
"""Of the kernels that the random frequencies stand for; records lie within radius 1."""
FREQUENCY_GROUPS = 8
DIRECTIONS = (8, 16, 32, 64, 128, 256)
"""Sizes of groups of directions, by falling variance; what is left is the last group."""


class Blocks(nn.Module):
    """e(x) = [1, y, y (x) y, cos and sin of w'y, u and u^2, t], each block times the root of its share.

    y: the whitened phi(x); u: the pixels' cosine transform; t: textures, wherever they lie. The quadratic block
    tells how directions vary together; the random Fourier features tell of clusters; every pixel's mean and
    variance are there so that none stays unobserved.

    Guarantee: |e| <= 1 for every input and any whitening (test_blocks_have_norm_at_most_one_for_any_input), and row
    i depends on record i alone (test_a_records_features_do_not_depend_on_other_records).
    """

    def __init__(
        self, space: Space, features: int, quadratic: bool, textures: int, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.phi = Scattering(space)
        self.quadratic = quadratic
        d, pixels = self.phi.size, 2 * space.channels * space.size**2
        shares = torch.tensor(
            [CONSTANT, LINEAR, QUADRATIC * quadratic, FOURIER, PIXELS, TEXTURES * (textures > 0)]
        )
        self.roots = [math.sqrt((1 - HAIR) * share) for share in (shares / shares.sum()).tolist()]
        # The seed gives them back: what is saved stays small.
        waves = frequencies(features, d, BANDWIDTHS, rng)
        self.textures = Textures(space, textures, rng) if textures else None
        every = 0 if self.textures is None else 2 * textures * len(self.textures.weights())
        self.sizes = [1, d, isometry.size(d) * quadratic, 2 * features, pixels, every]
        self.register_buffer("waves", waves, persistent=False)
        self.register_buffer("cosines", _cosines(space.size), persistent=False)
        kinds = [_kinds(waves, space)]
        for number, weights in enumerate([] if self.textures is None else self.textures.weights(), start=3):
            kinds.append(ranked(weights, FREQUENCY_GROUPS) + 100 * number)
        self.register_buffer("kinds", torch.cat(kinds), persistent=False)

    def vectors(self, pixels: torch.Tensor, whitening: Whitening) -> torch.Tensor:
        """Embed float "n c h w" in [-1, 1] as float32 "n d", the whole vector."""
        x = unit_range(pixels)
        y = whitening(self.phi(x))
        out = y.new_empty(len(y), sum(self.sizes))
        constant, linear, quadratic, fourier, rest, textures = torch.split(out, self.sizes, dim=1)
        constant[:] = self.roots[0]
        torch.mul(y, self.roots[1], out=linear)
        if self.quadratic:
            isometry.write_outer(y * math.sqrt(self.roots[2]), quadratic)
        fourier[:] = self._fourier(y)
        rest[:] = self._pixels(x)
        textures[:] = self._textures(x, 0)
        return out

    def parts(
        self, pixels: torch.Tensor, whitening: Whitening, offset: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return y "n d" times the fourth root of the quadratic block's share, and all shorter blocks "n e".

        `offset`: where the lattice of textures begins.
        """
        x = unit_range(pixels)
        y = whitening(self.phi(x))
        short = y * self.roots[1], self._fourier(y), self._pixels(x), self._textures(x, offset)
        return y * math.sqrt(self.roots[2]), torch.cat(short, 1)

    def _fourier(self, y: torch.Tensor) -> torch.Tensor:
        return circle(y @ self.get_buffer("waves").T) * self.roots[3]

    def _pixels(self, x: torch.Tensor) -> torch.Tensor:
        return _pixels(x, self.get_buffer("cosines")) * self.roots[4]

    def _textures(self, x: torch.Tensor, offset: int) -> torch.Tensor:
        if self.textures is None:
            return x.new_empty(len(x), 0)
        parts = self.textures(2 * x - 1, offset)
        return torch.cat(parts, 1) * (self.roots[5] / math.sqrt(len(parts)))


def _pixels(x: torch.Tensor, cosines: torch.Tensor) -> torch.Tensor:
    """Values in [-1, 1] and their squares, over the largest norm there is: brightness must not be scaled away.

    As cosine transforms, which change no distance, but bring what is noise and what is not to different entries.
    """
    values = 2 * x - 1
    both = torch.cat([values, values.square()], 1) / math.sqrt(2 * values[0].numel())
    return (cosines @ both @ cosines.T).flatten(1)


def _cosines(side: int) -> torch.Tensor:
    """The orthonormal discrete cosine transform, "side side"; row k has k half waves."""
    px = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * (px + 0.5) * px[:, None]) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    return waves.float()


def direction_groups(d: int) -> torch.Tensor:
    """Number directions, which come by falling variance, in groups of growing size: int64 "d"."""
    numbers = torch.arange(len(DIRECTIONS)).repeat_interleave(torch.tensor(DIRECTIONS))[:d]
    return torch.cat([numbers, torch.full((max(0, d - len(numbers)),), len(DIRECTIONS))])


def _kinds(waves: torch.Tensor, space: Space) -> torch.Tensor:
    """Number the entries of the first short blocks so that those of like frequency share a number, "e"."""
    k = torch.arange(space.size).float()
    octave = torch.log2(1 + torch.hypot(k, k[:, None])).ceil().long().flatten()
    pixels = torch.cat([octave.repeat(space.channels), octave.repeat(space.channels) + 50])
    return torch.cat([direction_groups(waves.shape[1]), 100 + ranked(waves, FREQUENCY_GROUPS), 200 + pixels])
