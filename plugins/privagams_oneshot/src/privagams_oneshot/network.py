"""The network that draws images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from privagams.roles import Space

COARSEST = 8
"""Side of the coarsest map is at most this, px."""


class DrawingNetwork(Protocol):
    """A `torch.nn.Module` that draws images of given classes from randomness made beforehand."""

    classes: int
    embed: nn.Embedding

    def draw(self, n: int, rng: torch.Generator) -> list[torch.Tensor]: ...
    def __call__(self, labels: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


class Layer(nn.Module):
    """Convolution, noise where there is some, normalisation, then scale and shift per class."""

    def __init__(self, inputs: int, outputs: int, classes: int, noisy: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate", bias=False)
        self.noise = nn.Parameter(0.3 * torch.randn(outputs, 1, 1)) if noisy else None
        # Batch statistics are of drawn images: this network never sees a member's.
        self.norm = nn.BatchNorm2d(outputs, affine=False, momentum=None)
        self.scale = nn.Embedding(classes, outputs)
        self.shift = nn.Embedding(classes, outputs)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        x = self.conv(x)
        if self.noise is not None and noise is not None:
            x = x + self.noise * noise
        x = self.norm(x) * self.scale(labels)[..., None, None] + self.shift(labels)[..., None, None]
        return F.leaky_relu(x, 0.2)


class Network(nn.Module):
    """(labels, random vector, noise maps) -> images in [-1, 1].

    Noise enters below full resolution only: speckle on the image itself is what a fit is slowest to remove.
    Bilinear upsampling in place of transposed convolutions: those leave checkered marks that differ by class
    and that a classifier reads in place of the picture.
    """

    def __init__(self, space: Space, width: int, latent: int) -> None:
        super().__init__()
        self.size, self.latent, self.classes = space.size, latent, max(1, len(space.classes))
        scales = max(0, math.ceil(math.log2(space.size / COARSEST)))
        self.base = math.ceil(space.size / 2**scales)
        # Two layers at each scale but the last, which is the dear one.
        self.scale_of = [level for level in range(scales + 1) for _ in range(2 if level < scales else 1)]
        self.noisy = max(1, len(self.scale_of) - 1)
        widths = [width * min(4, 2 ** (scales - level)) for level in self.scale_of]
        self.embed = nn.Embedding(self.classes, 16)
        self.start = nn.Linear(latent + 16, widths[0] * self.base**2)
        self.layers = nn.ModuleList(
            Layer(widths[max(0, place - 1)], outputs, self.classes, place < self.noisy)
            for place, outputs in enumerate(widths)
        )
        self.finish = nn.Conv2d(widths[-1], space.channels, 3, padding=1, padding_mode="replicate")

    def draw(self, n: int, rng: torch.Generator) -> list[torch.Tensor]:
        """Make all randomness of n images beforehand: random vectors, then a map for each noisy layer."""
        sides = [self.base << scale for scale in self.scale_of[: self.noisy]]
        return [
            torch.randn(n, self.latent, generator=rng),
            *(torch.randn(n, 1, side, side, generator=rng) for side in sides),
        ]

    def forward(self, labels: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        latent, *maps = (part.to(self.embed.weight.device) for part in noise)
        x = self.start(torch.cat([latent, self.embed(labels)], 1))
        x = x.view(len(labels), -1, self.base, self.base)
        for place, layer in enumerate(self.layers):
            while x.shape[-1] < self.base << self.scale_of[place]:
                x = _doubled(x)
            x = layer(x, labels, maps[place] if place < self.noisy else None)
        image = self.finish(x)[..., : self.size, : self.size]
        # Stretched, so that pure black and white are reached without endless logits.
        return (2.6 * torch.sigmoid(image) - 1.3).clamp(-1.0, 1.0)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    """Upsample twofold, bilinear; as two products with a small matrix, which is quicker on a CPU."""
    side = x.shape[-1]
    place = ((torch.arange(2 * side, device=x.device) + 0.5) / 2 - 0.5).clamp(0, side - 1)
    weights = (1 - (place[:, None] - torch.arange(side, device=x.device)).abs()).clamp(min=0).to(x.dtype)
    return weights @ x @ weights.T
