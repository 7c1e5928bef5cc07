"""The whole flow: levels one below the other, and the normal distributions of what leaves at each."""

from __future__ import annotations

import math

import torch
from torch import nn

from privagams_glow.flow import Level, SplitPrior, Watch, bounded_log_sd, squeeze, unsqueeze, unwatched


class Network(nn.Module):
    """Image "c h w n" ↔ whitened latents "n d", coarsest level first.

    At every level but the last half of the channels leave: z ~ N(μ, σ²) with μ and σ of what stays, and the
    latents are η = (z − μ) / σ. What is left at the coarsest has the mean and scale of its class. Under the
    model all of η is N(0, 1), independent.
    """

    def __init__(self, size: int, channels: int, levels: int, depth: int, width: int, classes: int) -> None:
        super().__init__()
        folded = [channels * 2 ** (number + 2) for number in range(levels)]
        self.levels = nn.ModuleList(Level(c, depth, width) for c in folded)
        self.splits = nn.ModuleList(SplitPrior(c) for c in folded[:-1])
        self.base = nn.Parameter(torch.zeros(2 * folded[-1]))
        self.by_class = nn.Parameter(torch.zeros(classes, 2 * folded[-1])) if classes else None
        leaving = [c // 2 for c in folded[:-1]] + folded[-1:]
        sides = [size // 2 ** (number + 1) for number in range(levels)]
        self.shapes = [(c, side, side) for c, side in zip(leaving, sides, strict=True)]
        """Of what leaves at each level, finest first."""

    def forward(
        self, x: torch.Tensor, labels: torch.Tensor | None, watch: Watch = unwatched
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """η "n d" and ln |det ∂η/∂x| "n". `labels`: −1 for the prior of any class."""
        latents, volume = [], x.new_zeros(x.shape[3])
        for number, level in enumerate(self.levels):
            x, more = level(squeeze(x), _at(number, watch))
            leaves = x
            if number < len(self.splits):
                x, leaves = x.chunk(2)
            mean, log_sd = self._prior(number, x, labels)
            whitened = (leaves - mean) * (-log_sd).exp()
            watch(f"level {number + 1}, prior", whitened)
            latents.append(whitened.flatten(0, 2))
            volume = volume + more - log_sd.expand_as(leaves).sum((0, 1, 2))
        return torch.cat(latents[::-1]).t(), volume

    def inverse(
        self, latents: torch.Tensor, labels: torch.Tensor | None, watch: Watch = unwatched
    ) -> torch.Tensor:
        """The images "c h w n" of latents "n d"."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = torch.split(latents.t(), sizes[::-1])[::-1]
        x = latents.new_empty(0)
        for number, level in reversed(list(enumerate(self.levels))):
            whitened = parts[number].reshape(*self.shapes[number], -1)
            mean, log_sd = self._prior(number, x if number < len(self.splits) else whitened, labels)
            entering = whitened * log_sd.exp() + mean
            x = torch.cat((x, entering)) if number < len(self.splits) else entering
            watch(f"level {number + 1}, prior", x)
            assert isinstance(level, Level)
            x = unsqueeze(level.inverse(x, _at(number, watch)))
        return x

    def _prior(
        self, number: int, stays: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """μ and ln σ of what leaves at a level: by what stays or, at the coarsest, by class."""
        if number < len(self.splits):
            mean, log_sd = self.splits[number](stays)
            return mean, log_sd
        chosen = self.base[:, None]
        if self.by_class is not None and labels is not None:
            # The last row belongs to no class, and −1 finds it.
            table = torch.cat((self.by_class, torch.zeros_like(self.by_class[:1])))
            chosen = chosen + table[torch.where(labels < 0, len(table) - 1, labels)].t()
        mean, log_sd = chosen[:, None, None, :].chunk(2)
        return mean, bounded_log_sd(log_sd)


def _at(number: int, watch: Watch) -> Watch:
    return lambda block, output: watch(f"level {number + 1}, {block}", output)
