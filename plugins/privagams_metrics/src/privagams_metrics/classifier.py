"""The small classifier by which utility is measured: one network, one recipe, nothing chosen by results."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from privagams.records import Records

_READ = 1024


class Recipe(Protocol):
    """What may be set about a training; the settings of metrics have these fields."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def side(self) -> int: ...


def trained(
    records: Records, labels: np.ndarray, classes: int, recipe: Recipe, rng: np.random.Generator
) -> nn.Module:
    """Train on `records` with `labels` (int64 "n" in 0…classes − 1), classes weighted to count alike.

    A network of three convolutions, AdamW with one rise and fall of the step size.
    """
    images = torch.cat([_images(some, recipe.side) for _, some in records.batches(_READ)])
    aims = torch.from_numpy(labels)
    weights = len(labels) / (classes * torch.bincount(aims, minlength=classes).float())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        net = _network(images.shape[1], classes)
    steps, rate = recipe.steps, recipe.learning_rate
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    for step in range(steps):
        # Up over the first tenth, then down to nothing.
        optimizer.param_groups[0]["lr"] = rate * min(
            (step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps)
        )
        rows = torch.from_numpy(rng.integers(0, len(images), recipe.batch))
        batch = images[rows].flip(-1) if rng.random() < 0.5 else images[rows]
        loss = functional.cross_entropy(net(batch), aims[rows], weight=weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net


@torch.inference_mode()
def outputs(net: nn.Module, records: Records, side: int) -> np.ndarray:
    """The network's output for each class, float32 "n classes", before any softmax."""
    found = [net(_images(some, side)) for _, some in records.batches(_READ)]
    return torch.cat(found).numpy()


def _network(channels: int, classes: int) -> nn.Module:
    def stage(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]

    return nn.Sequential(
        *stage(channels, 16), *stage(16, 32), *stage(32, 64),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )  # fmt: skip


def _images(pixels: np.ndarray, side: int) -> torch.Tensor:
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if min(images.shape[-2:]) > side:
        images = functional.adaptive_avg_pool2d(images, side)
    return images.contiguous()
