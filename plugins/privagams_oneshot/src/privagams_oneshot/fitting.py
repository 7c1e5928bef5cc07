"""How the network is fitted to the noisy sum: by an unbiased distance between mean features."""

from __future__ import annotations

import torch
from torch import nn

from privagams.roles import Progress
from privagams_oneshot.features import Embedding
from privagams_oneshot.network import Network
from privagams_oneshot.settings import DpMerfSettings

WARM_UP = 20
"""Steps over which the step size rises."""


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
    network: Network,
    embedding: Embedding,
    target: torch.Tensor,
    weights: torch.Tensor,
    settings: DpMerfSettings,
    rng: torch.Generator,
    progress: Progress,
) -> None:
    """Bring the mean features of each class to `target` "k d", weighted; then fix the batch statistics."""
    labels = torch.arange(len(target), device=target.device).repeat_interleave(settings.batch)
    root = weights.sqrt()
    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, betas=(0.5, 0.99))
    average = [parameter.detach().clone() for parameter in parameters]
    network.train()
    for step in range(settings.steps):
        rate = min(1.0, (step + 1) / WARM_UP) * (1 - step / settings.steps) ** 0.7
        optimiser.param_groups[0]["lr"] = settings.learning_rate * rate
        # A lattice that moves leaves no place where a pattern of the lattice's own pitch could hide.
        offset = int(torch.randint(64, (), generator=rng))
        features = embedding(network(labels, network.draw(len(labels), rng)), offset)
        optimiser.zero_grad()
        weighted = features.view(len(target), settings.batch, -1) * root[:, None]
        torch.autograd.backward(distance(weighted, target * root).sum())
        optimiser.step()
        keep = min(settings.averaging, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 1 - keep)
        progress(step + 1, settings.steps)
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    _settle(network, labels, rng)


@torch.no_grad()
def _settle(network: Network, labels: torch.Tensor, rng: torch.Generator, batches: int = 20) -> None:
    """Take batch statistics anew, from drawn images, for the weights as they are now."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    network.train()
    for _ in range(batches):
        network(labels, network.draw(len(labels), rng))
    network.eval()
