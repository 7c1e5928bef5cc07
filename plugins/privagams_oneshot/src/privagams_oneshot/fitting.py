"""How a network is fitted to a noisy sum: by an unbiased distance between mean features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from privagams.roles import Progress
from privagams_oneshot.network import DrawingNetwork

WARM_UP = 20
"""Steps over which the step size rises."""


class FitSettings(Protocol):
    """What is set of a fit."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def averaging(self) -> float: ...


def distance(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Unbiased estimate of |E phi - target|^2 - |target|^2 for each class: "k b d" and "k d" to "k".

    The biased one, |mean phi - target|^2, holds trace(cov)/b besides, which rewards images that look alike.
    """
    total, b = features.sum(1), features.shape[1]
    pairs = (total.square().sum(1) - features.square().sum((1, 2))) / (b * (b - 1))
    return pairs - 2 * (total * target).sum(1) / b


def trust(means: torch.Tensor, noise_std: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Wiener weights s / (s + noise^2) for means "k d" whose noise is `noise_std` "k 1"; all 1 without noise.

    s, the signal's energy, is averaged over entries of like frequency (`groups`, "d"): most high ones hold
    nothing but noise, and a network left to match them draws that noise in place of images.
    """
    index = groups.expand_as(means)
    sums = torch.zeros(len(means), int(groups.max()) + 1, device=means.device)
    energy = sums.scatter_add(1, index, means.square()) / groups.bincount().clamp(min=1)
    signal = (energy - noise_std.square()).clamp(min=0)
    return (signal / (signal + noise_std.square()).clamp(min=1e-12)).gather(1, index)


def fit_network(
    network: DrawingNetwork,
    loss: Callable[[torch.Tensor, torch.Generator], torch.Tensor],
    settings: FitSettings,
    rng: torch.Generator,
    progress: Progress,
) -> None:
    """Lower `loss(images, rng)` of images "k·batch c h w", class by class; then fix the batch statistics."""
    device = network.embed.weight.device
    labels = torch.arange(network.classes, device=device).repeat_interleave(settings.batch)
    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, betas=(0.5, 0.99))
    average = [parameter.detach().clone() for parameter in parameters]
    network.train()
    for step in range(settings.steps):
        rate = min(1.0, (step + 1) / WARM_UP) * (1 - step / settings.steps) ** 0.7
        optimiser.param_groups[0]["lr"] = settings.learning_rate * rate
        optimiser.zero_grad()
        torch.autograd.backward(loss(network(labels, network.draw(len(labels), rng)), rng))
        optimiser.step()
        keep = min(settings.averaging, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 1 - keep)
        progress(step + 1, settings.steps)
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    _settle(network, labels, rng)


@torch.no_grad()
def _settle(network: DrawingNetwork, labels: torch.Tensor, rng: torch.Generator, batches: int = 20) -> None:
    """Take batch statistics anew, from drawn images, for the weights as they are now."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    network.train()
    for _ in range(batches):
        network(labels, network.draw(len(labels), rng))
    network.eval()
