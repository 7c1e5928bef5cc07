"""What is asked of members: random features of an image, of norm at most 1, fixed by constants and a seed."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from privagams.roles import Space
from privagams_oneshot.patterns import frequencies
from privagams_oneshot.textures import Textures, circle, ranked

CONSTANT, PATCHES, LAYOUT, STYLE, PIXELS = 0.10, 0.58, 0.12, 0.16, 0.0399
"""Shares of the squared norm; they add up to just under 1, which leaves room for rounding."""
GROUPS = 12
"""Groups of like frequencies in each block; see `fitting.trust`."""


class Embedding(nn.Module):
    """phi(x), five blocks of fixed squared norm that add up to less than 1.

    - a constant, which counts the records of a class;
    - *patches* and *style*: see `textures.Textures`;
    - *layout*: random Fourier features of the image at 8 x 8 px: how it is arranged;
    - *pixels*: values and squares at 8 x 8 px.

    Every weight is a public constant or a random number from the seed: nothing here is ever fitted to data.
    Guarantee: |phi(x)| <= 1 for every input (test_features_have_norm_at_most_one_for_any_input), and row i
    depends on record i only (test_a_records_features_do_not_depend_on_other_records).
    """

    def __init__(self, space: Space, features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.textures = Textures(space, features, rng)
        # The seed gives them back: what is saved stays small.
        layout = frequencies(features, 64 * space.channels, (3.0, 16.0), rng)
        self.register_buffer("layout", layout, persistent=False)
        self.register_buffer("groups", self._groups(space.channels), persistent=False)

    def _groups(self, channels: int) -> torch.Tensor:
        """Number the entries "d" so that like frequencies of a block share a number."""
        weights = [*self.textures.weights(), self.get_buffer("layout")]
        group = [ranked(w, GROUPS) + GROUPS * block for block, w in enumerate(weights, start=1)]
        pixels = GROUPS * (len(weights) + 1) + torch.arange(2).repeat_interleave(64 * channels)
        return torch.cat([torch.zeros(1, dtype=torch.int64), *group, pixels])

    def forward(self, pixels: torch.Tensor, offset: int = 0) -> torch.Tensor:
        """Embed float "n c h w" in [-1, 1] as float32 "n d"; `offset`: where the lattice of patches begins.

        Any other number is brought into that range first, since the norm must hold for whatever comes.
        """
        x = torch.nan_to_num(pixels.float(), nan=0.0).clamp(-1.0, 1.0)
        *patches, style = self.textures(x, offset)
        small = F.adaptive_avg_pool2d(x, 8).flatten(1)
        blocks = [
            (CONSTANT, torch.ones_like(small[:, :1])),
            *((PATCHES / len(patches), patch) for patch in patches),
            (STYLE, style),
            (LAYOUT, circle(small @ self.get_buffer("layout").T)),
            (PIXELS, torch.cat([small, small.square()], 1) / math.sqrt(2 * small.shape[1])),
        ]
        return torch.cat([block * math.sqrt(share) for share, block in blocks], 1)
