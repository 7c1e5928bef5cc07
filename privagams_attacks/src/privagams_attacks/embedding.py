"""The network that an attacker trains from scratch to tell patients apart, and how it is trained."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from privagams.records import Records
from privagams_attacks.settings import LearnedLinkageSettings

_DIMENSIONS = 64
_BATCH = 256
_JITTER = 0.15
_SHIFT = 0.06


class Net(nn.Module):
    """Four strided convolutions and a linear layer; features of norm 1. A row depends on its own image alone."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = [channels, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.embed = nn.Linear(16 * sizes[-1], _DIMENSIONS)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.embed(self.features(pixels)), dim=1)


def load(records: Records, side: int) -> torch.Tensor:
    """Images in [−1, 1], float32 "n c h w", means over squares where they are larger than `side`."""
    parts = []
    for _, pixels in records.batches(_BATCH):
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        longest = max(images.shape[2:])
        if longest > side:
            size = (
                max(1, round(images.shape[2] * side / longest)),
                max(1, round(images.shape[3] * side / longest)),
            )
            images = F.adaptive_avg_pool2d(images, size)
        parts.append(images.contiguous())
    return torch.cat(parts)


def train(images: torch.Tensor, patient: np.ndarray, settings: LearnedLinkageSettings, seed: int) -> Net:
    """Learn which images are of one patient. `patient`: int64 "n"; a patient with one image pairs with itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(images.shape[1], settings.width)
    rng, draws = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    groups = [np.flatnonzero(patient == p) for p in np.unique(patient)]
    if len(groups) < 2:
        return net.eval()
    optimiser = torch.optim.Adam(net.parameters(), lr=settings.rate)
    for step in range(settings.steps):
        for setting in optimiser.param_groups:
            setting["lr"] = settings.rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        chosen = draws.permutation(len(groups))[: settings.batch]
        pairs = np.array([draws.choice(groups[g], 2, replace=len(groups[g]) < 2) for g in chosen])
        views = [varied(images[pairs[:, side]], rng) for side in (0, 1)]
        a, b = net(torch.cat(views)).chunk(2)
        loss = _contrastive(a, b, settings.temperature)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net.eval()


def embed(net: Net, images: torch.Tensor) -> np.ndarray:
    """Features, float32 "n 64"."""
    with torch.no_grad():
        return torch.cat([net(part) for part in torch.split(images, _BATCH)]).numpy()


def varied(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Each image flipped, moved by up to 6 % and recoloured at random: what says nothing about who it is."""
    n, channels = images.shape[:2]
    flip = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    move = (2 * torch.rand(n, 2, generator=rng) - 1) * 2 * _SHIFT
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = flip, 1, move
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    gain, offset = ((2 * torch.rand(n, channels, 1, 1, generator=rng) - 1) * _JITTER for _ in range(2))
    return moved * (1 + gain) + offset


def _contrastive(a: torch.Tensor, b: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of picking an image's other view among all others of the batch."""
    rows = torch.cat([a, b])
    logits = rows @ rows.T / temperature
    logits.fill_diagonal_(-math.inf)
    partner = torch.arange(len(rows)).roll(len(a))
    return F.cross_entropy(logits, partner)
