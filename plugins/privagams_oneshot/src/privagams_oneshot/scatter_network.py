"""The network that draws images for `scatter`: fully connected layers for the shape, convolutions for the detail."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from privagams.roles import Space

COARSEST = 8
"""Side of the coarsest map is at most this, px."""
EMBEDDED = 64
"""Length of a class's vector."""


class Dense(nn.Module):
    """Linear, normalised over the batch, rectified; told the class."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs + EMBEDDED, outputs, bias=False)
        # Batch statistics are of drawn images: this network never sees a member's.
        self.norm = nn.BatchNorm1d(outputs, momentum=None)

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.linear(torch.cat([x, told], 1))))


class Conv(nn.Module):
    """Convolution, noise where there is some, normalised over the batch, rectified."""

    def __init__(self, inputs: int, outputs: int, noisy: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.noise = nn.Parameter(0.1 * torch.randn(outputs, 1, 1)) if noisy else None
        self.norm = nn.BatchNorm2d(outputs, momentum=None)

    def forward(self, x: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        x = self.conv(x)
        if self.noise is not None and noise is not None:
            x = x + self.noise * noise
        return F.leaky_relu(self.norm(x), 0.1)


class ScatterNetwork(nn.Module):
    """(labels, random vector, noise maps) -> images in [-1, 1].

    Bilinear upsampling in place of transposed convolutions: those leave checkered marks that differ by class
    and that a classifier reads in place of the picture. Noise enters below full resolution only.
    """

    def __init__(self, space: Space, width: int, latent: int) -> None:
        super().__init__()
        self.size, self.latent, self.classes = space.size, latent, max(1, len(space.classes))
        doublings = max(0, math.ceil(math.log2(space.size / COARSEST)))
        self.base = math.ceil(space.size / 2**doublings)
        widths = [width << (doublings - level) for level in range(doublings + 1)]
        self.embed = nn.Embedding(self.classes, EMBEDDED)
        self.shape = Dense(latent, 256)
        self.start = Dense(256, widths[0] * self.base**2)
        pairs = [(widths[max(0, level - 1)], widths[level]) for level in range(1, doublings + 1)]
        self.convs = nn.ModuleList(
            nn.ModuleList([Conv(i, i, True), Conv(i, o, True)] if n + 1 < len(pairs) else [Conv(i, o, False)])
            for n, (i, o) in enumerate(pairs)
        )
        self.finish = nn.Conv2d(widths[-1], space.channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast at few channels

    def draw(self, n: int, rng: torch.Generator) -> list[torch.Tensor]:
        """Make all randomness of n images beforehand: random vectors, then a map for each noisy layer."""
        sides = [self.base << level for level in range(1, len(self.convs)) for _ in range(2)]
        return [
            torch.randn(n, self.latent, generator=rng),
            *(torch.randn(n, 1, side, side, generator=rng) for side in sides),
        ]

    def forward(self, labels: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        latent, *maps = (part.to(self.embed.weight.device) for part in noise)
        told = self.embed(labels)
        x = self.start(self.shape(latent, told), told).view(len(labels), -1, self.base, self.base)
        x = x.contiguous(memory_format=torch.channels_last)
        for level in self.convs:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            for layer in level:  # type: ignore[attr-defined]
                x = layer(x, maps.pop(0) if maps else None)
        image = self.finish(x)[..., : self.size, : self.size]
        # Stretched, so that pure black and white are reached without endless logits.
        return (2.6 * torch.sigmoid(image) - 1.3).clamp(-1.0, 1.0)
