"""What is asked of members: random features of an image, of norm at most 1, fixed by constants and a seed."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from privagams.roles import Space
from privagams_oneshot.patterns import frequencies, patterns

CONSTANT, PATCHES, LAYOUT, STYLE, PIXELS = 0.10, 0.58, 0.12, 0.16, 0.0399
"""Shares of the squared norm; they add up to just under 1, which leaves room for rounding."""
COARSEST = 8
"""Side of the smallest level of the pyramid is at least this, px."""
LATTICE = 10
"""Patches are looked at on a lattice of about this many rows and columns."""
ENERGIES = 16
"""Patterns whose mean response to a level enters the style."""

GROUPS = 12
"""Groups of like frequencies in each block; see `fitting.trust`."""


class Embedding(nn.Module):
    """phi(x), five blocks of fixed squared norm that add up to less than 1.

    - a constant, which counts the records of a class;
    - *patches*: mean over positions of [cos w.p, sin w.p] for patches p of each level of a pyramid and random
      patterns w: the distribution of textures and contours, wherever they lie;
    - *style*: random Fourier features of mean colour, contrast and texture energies: how whole images differ;
    - *layout*: random Fourier features of the image at 8 x 8 px: how it is arranged;
    - *pixels*: values and squares at 8 x 8 px.

    Every weight is a public constant or a random number from the seed: nothing here is ever fitted to data.
    Guarantee: |phi(x)| <= 1 for every input (test_features_have_norm_at_most_one_for_any_input), and row i
    depends on record i only (test_a_records_features_do_not_depend_on_other_records).
    """

    def __init__(self, space: Space, features: int, rng: torch.Generator) -> None:
        super().__init__()
        channels = space.channels
        self.levels = 1 + max(0, int(math.log2(space.size / COARSEST)))
        side = min(7, space.size)
        for level in range(self.levels):
            self._keep(f"patch{level}", patterns(features, channels, side, rng))
        energy = patterns(ENERGIES, channels, side, rng)
        self._keep("energy", 10 * F.normalize(energy.flatten(1), p=1, dim=1).view_as(energy))
        self._keep("style", frequencies(features, 2 * channels + ENERGIES * self.levels, (0.5, 4.0), rng))
        self._keep("layout", frequencies(features, 64 * channels, (3.0, 16.0), rng))

        self._keep("groups", self._groups(features, channels))

    def _groups(self, features: int, channels: int) -> torch.Tensor:
        """Number the entries "d" so that like frequencies of a block share a number."""
        names = [*(f"patch{level}" for level in range(self.levels)), "style", "layout"]
        rank = [self.get_buffer(name).flatten(1).norm(dim=1).argsort().argsort() for name in names]
        group = [place * GROUPS // features + GROUPS * block for block, place in enumerate(rank, start=1)]
        pixels = GROUPS * (len(names) + 1) + torch.arange(2).repeat_interleave(64 * channels)
        return torch.cat([torch.zeros(1, dtype=torch.int64), *(part.repeat(2) for part in group), pixels])

    def _keep(self, name: str, value: torch.Tensor) -> None:
        # The seed gives them back: what is saved stays small.
        self.register_buffer(name, value, persistent=False)

    def forward(self, pixels: torch.Tensor, offset: int = 0) -> torch.Tensor:
        """Embed float "n c h w" in [-1, 1] as float32 "n d"; `offset`: where the lattice of patches begins.

        Any other number is brought into that range first, since the norm must hold for whatever comes.
        """
        x = torch.nan_to_num(pixels.float(), nan=0.0).clamp(-1.0, 1.0)
        patches, energies = self._textures(x, offset)
        style = torch.cat([x.mean((2, 3)), 2 * x.flatten(2).std(2, correction=0), *energies], 1)
        small = F.adaptive_avg_pool2d(x, 8).flatten(1)
        blocks = [
            (CONSTANT, torch.ones_like(small[:, :1])),
            *((PATCHES / self.levels, patch) for patch in patches),
            (STYLE, _circle(style @ self.get_buffer("style").T)),
            (LAYOUT, _circle(small @ self.get_buffer("layout").T)),
            (PIXELS, torch.cat([small, small.square()], 1) / math.sqrt(2 * small.shape[1])),
        ]
        return torch.cat([block * math.sqrt(share) for share, block in blocks], 1)

    def _textures(self, x: torch.Tensor, offset: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return for each level the mean patch features "n 2f" and the energies "n e"."""
        patches, energies = [], []
        for level in range(self.levels):
            x = F.avg_pool2d(x, 2) if level else x
            stride = max(1, x.shape[-1] // LATTICE)
            place = offset % stride
            seen = F.unfold(x[..., place:, place:], self.get_buffer("energy").shape[-1], stride=stride)
            patches.append(_circle(self.get_buffer(f"patch{level}").flatten(1) @ seen).mean(2))
            energies.append((self.get_buffer("energy").flatten(1) @ seen).abs().mean(2))
        return patches, energies


def _circle(phase: torch.Tensor) -> torch.Tensor:
    """Random Fourier features "n f ..." -> "n 2f ...", of norm 1."""
    return torch.cat([phase.cos(), phase.sin()], 1) / math.sqrt(phase.shape[1])
