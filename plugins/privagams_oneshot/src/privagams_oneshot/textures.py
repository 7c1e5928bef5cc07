"""How images are textured, wherever in them: patches and whole-image energies, as random features of norm 1."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from privagams.roles import Space
from privagams_oneshot.patterns import frequencies, patterns

COARSEST = 8
"""Side of the smallest level of the pyramid is at least this, px."""
LATTICE = 10
"""Patches are looked at on a lattice of about this many rows and columns."""
ENERGIES = 16
"""Patterns whose mean response to a level enters the style."""


class Textures(nn.Module):
    """Blocks of features "n 2f", each of norm 1: one of patches for each level of a pyramid, then one of style.

    - *patches*: mean over positions of [cos w.p, sin w.p] for patches p and random patterns w: the distribution of
      textures and contours, wherever they lie;
    - *style*: random Fourier features of mean colour, contrast and texture energies: how whole images differ.

    Every weight is a public constant or a random number from the seed.
    """

    def __init__(self, space: Space, features: int, rng: torch.Generator) -> None:
        super().__init__()
        channels, side = space.channels, min(7, space.size)
        self.levels = 1 + max(0, int(math.log2(space.size / COARSEST)))
        for level in range(self.levels):
            self._keep(f"patch{level}", patterns(features, channels, side, rng))
        energy = patterns(ENERGIES, channels, side, rng)
        self._keep("energy", 10 * F.normalize(energy.flatten(1), p=1, dim=1).view_as(energy))
        self._keep("style", frequencies(features, 2 * channels + ENERGIES * self.levels, (0.5, 4.0), rng))

    def weights(self) -> list[torch.Tensor]:
        """Frequencies "f ..." behind each block."""
        return [
            *(self.get_buffer(f"patch{level}") for level in range(self.levels)),
            self.get_buffer("style"),
        ]

    def forward(self, x: torch.Tensor, offset: int = 0) -> list[torch.Tensor]:
        """Embed "n c h w" in [-1, 1]; `offset`: where the lattice of patches begins."""
        means = [x.mean((2, 3)), 2 * x.flatten(2).std(2, correction=0)]
        patches, energies = [], []
        for level in range(self.levels):
            x = F.avg_pool2d(x, 2) if level else x
            stride = max(1, x.shape[-1] // LATTICE)
            place = offset % stride
            seen = F.unfold(x[..., place:, place:], self.get_buffer("energy").shape[-1], stride=stride)
            patches.append(circle(self.get_buffer(f"patch{level}").flatten(1) @ seen).mean(2))
            energies.append((self.get_buffer("energy").flatten(1) @ seen).abs().mean(2))
        style = torch.cat([*means, *energies], 1)
        return [*patches, circle(style @ self.get_buffer("style").T)]

    def _keep(self, name: str, value: torch.Tensor) -> None:
        # The seed gives them back: what is saved stays small.
        self.register_buffer(name, value, persistent=False)


def circle(phase: torch.Tensor) -> torch.Tensor:
    """Random Fourier features "n f ..." -> "n 2f ...", of norm 1."""
    return torch.cat([phase.cos(), phase.sin()], 1) / math.sqrt(phase.shape[1])


def ranked(weights: torch.Tensor, groups: int) -> torch.Tensor:
    """Number frequencies "f ..." so that those of like length share one of so many numbers, for "2f" features."""
    place = weights.flatten(1).norm(dim=1).argsort().argsort()
    return (place * groups // len(place)).repeat(2)
